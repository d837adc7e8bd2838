"""What an analysis of hops returns."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from laoc_flows.analysis.structure.chains import Rule
from laoc_flows.analysis.trajectories.frame import Column, Result
from laoc_flows.analysis.trajectories.paths import Drift


class HopEvents(Result):
    """Hops in order of time, one entry of every column per hop; kinds and chains are those at the event time."""

    ion: Column = Field(description="Atom index of the ion.")
    time: Column = Field(description="Middle of the crossing, on the time axis of the run [ps].")
    position: Column = Field(
        description="Midpoint of the mean positions before and after, shape (n, 3), continuous [A]."
    )
    displacement: Column = Field(description="Mean position after minus before, shape (n, 3) [A].")
    origin_center: Column = Field(description="Atom index of the center it left.")
    origin_image: Column = Field(
        description="Image of that center on the continuous coordinates, shape (n, 3)."
    )
    destination_center: Column = Field(description="Atom index of the center it went to.")
    destination_image: Column = Field(description="Image of that center, shape (n, 3).")
    back_jump: Column = Field(
        description="Whether it undoes the ion's hop before, within the back-jump time."
    )
    origin_type: Column = Field(description="Type of the center it left, an index into `HopResult.labels`.")
    destination_type: Column = Field(description="Type of the center it went to.")
    origin_chain: Column = Field(description="Chain it left, by the lowest atom index of its centers.")
    destination_chain: Column = Field(description="Chain it went to.")
    origin_chain_size: Column = Field(description="Number of centers, per cell, in the chain it left.")
    destination_chain_size: Column = Field(
        description="Number of centers, per cell, in the chain it went to."
    )
    origin_isolated: Column = Field(description="Whether the center it left is connected to none.")
    destination_isolated: Column = Field(description="Whether the center it went to is connected to none.")
    same_chain: Column = Field(
        description="Whether both centers belong to one chain; another periodic copy of it is another chain."
    )

    @property
    def n(self) -> int:
        """Number of hops."""
        return len(self.ion)


class TauCounts(Result):
    """What is counted with one dwell time."""

    tau: float = Field(description="Dwell time [ps].", gt=0)
    n_hops: int = Field(description="Hops between hosts.", ge=0)
    n_moves: int = Field(description="Moves at one host.", ge=0)
    n_rattles: int = Field(description="Short visits to other hosts that end where they began.", ge=0)
    n_relabels: int = Field(
        description="Changes of host by which the ion moved less than the least distance.", ge=0
    )
    exposure: float = Field(description="Time in which an event can be seen, times the number of ions [ps].")


class HopResult(Result):
    """Hops of all ions of a run."""

    status: Literal["ok", "empty", "insufficient"] = Field(
        description="'empty' when there are no carriers or no hosts; 'insufficient' when the run is too short or "
        "its frames are too far apart for the dwell time; 'ok' otherwise, also when no ion hops."
    )
    reason: str = Field(description="Why the status is what it is.")
    center: str = Field(description="Element of the hosts.")
    ligands: tuple[str, ...] = Field(description="Elements of the anions.")
    carrier: str = Field(description="Element of the hopping ions.")
    drift: Drift = Field(description="What was held at rest.")
    rule: Rule = Field(description="When two centers belong to one chain.")
    chain_cutoff: float | None = Field(
        description="Distance of the rule 'distance' [A]; None for the rule 'bridge'."
    )
    cutoffs: dict[str, float] = Field(description="Element of the ligand to the bond cutoff [A].")
    tau: float = Field(description="Dwell time before and after a hop [ps].", gt=0)
    window: float = Field(description="Window of coarse-graining as asked for [ps].", ge=0)
    gap: float = Field(description="The host stays unless another is closer by this [A].", ge=0)
    min_distance: float = Field(description="Least distance of the mean positions [A].", ge=0)
    back_jump_time: float = Field(description="A return within this time is a back-jump [ps].", ge=0)
    interval: float = Field(description="Time between the samples that were looked at [ps].", gt=0)
    start_time: float = Field(description="Time of the first sample [ps].")
    duration: float = Field(description="Time from the first to the last sample [ps].", ge=0)
    n_centers: int = Field(description="Number of centers.", ge=0)
    carriers: Column = Field(description="Atom index of every carrier, ascending.")
    labels: tuple[str, ...] = Field(
        description="Types of centers: all tetrahedra, then other classes ('CN5:O2Cl3') where they occur."
    )
    structure_counts: Column = Field(description="Centers of each type, summed over the samples.")
    neighbor_counts: Column = Field(
        description="Samples that each carrier spends at a host of each type, shape (n_carriers, n_types)."
    )
    events: HopEvents = Field(description="Hops from one host to another.")
    moves: HopEvents = Field(
        description="Moves at one host: it stays while the mean position changes by more than the least distance."
    )
    by_tau: tuple[TauCounts, ...] = Field(
        description="Counts for half, once and twice the dwell time, where frames and length of the run allow."
    )

    @property
    def n_carriers(self) -> int:
        """Number of carriers."""
        return len(self.carriers)

    @property
    def n_hops(self) -> int:
        """Number of hops between hosts."""
        return self.events.n

    @property
    def n_moves(self) -> int:
        """Number of moves at one host."""
        return self.moves.n

    @property
    def n_back_jumps(self) -> int:
        """Number of hops that undo the one before."""
        return int(np.sum(self.events.back_jump))

    @property
    def n_rattles(self) -> int:
        """Number of short visits to other hosts that end where they began."""
        return next((counts.n_rattles for counts in self.by_tau if counts.tau == self.tau), 0)

    @property
    def exposure(self) -> float:
        """Time in which a hop can be seen, times the number of carriers [ps]."""
        return self.n_carriers * max(self.duration - 2 * self.tau, 0.0)
