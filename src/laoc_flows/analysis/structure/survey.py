"""Bonds, tetrahedra and chains along a whole run, in one pass through it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from pydantic import Field

from laoc_flows.analysis.statistics import Measured, block_average
from laoc_flows.analysis.structure.bonds import CENTER, LIGANDS, Roles, assign_roles
from laoc_flows.analysis.structure.chain_series import ChainSeries, Debouncer, GraphSeries, Tally, Turns
from laoc_flows.analysis.structure.chains import Rule, chain_cutoff
from laoc_flows.analysis.structure.survey_kernels import (
    bond_numbers,
    count_bonds,
    count_common,
    count_links,
    find_links,
    shift_images,
)
from laoc_flows.analysis.structure.survey_states import CenterStates, center_states, near_edges
from laoc_flows.analysis.structure.tetrahedra import COORDINATION, numbered_type, regular_types, type_numbers
from laoc_flows.analysis.trajectories.frame import Column, FloatArray, IntArray, Result
from laoc_flows.analysis.trajectories.paths import MAX_STEP
from laoc_flows.analysis.trajectories.trajectory import FrameSeries
from laoc_flows.errors import InputError

__all__ = ["CenterStates", "ChainSeries", "SurveyResult", "center_states", "survey"]

DEBOUNCE = 0.5
"""An edge of a chain changes only when the change lasts this long [ps]."""

DebounceStatus: TypeAlias = Literal["ok", "no-op", "insufficient", "refused"]


class SurveyResult(Result):
    """Bonds, tetrahedra and chains of a run, frame by frame."""

    status: Literal["ok", "empty"] = Field(
        description="'empty' without centers: every series is without rows."
    )
    reason: str = Field(description="Why the status is what it is.")
    center: str = Field(description="Element of the centers.")
    ligands: tuple[str, ...] = Field(description="Elements of the ligands.")
    bond_cutoffs: dict[str, float] = Field(description="Ligand to its bond cutoff [A].")
    cutoff: float = Field(description="Center-center cutoff of the distance rule [A].")
    coordination: int = Field(description="Bonds of a regular center.", ge=1)
    n_centers: int = Field(description="Number of centers.", ge=0)
    n_anions: dict[str, int] = Field(description="Ligand to the number of its atoms.")
    stride: int = Field(description="Every how many frames of the run one was looked at.", ge=1)
    time: Column = Field(description="Times of the frames [ps], shape (n_frames,).")
    type_labels: tuple[str, ...] = Field(
        description="Types of the centers: the regular ones always, others that occur in the run."
    )
    type_fractions: Column = Field(
        description="Share of each type, of all centers and never renormalized, shape (n_frames, n_types)."
    )
    mean_coordination: Column = Field(
        description="Mean bonds of a center with each ligand, shape (n_frames, n_ligands)."
    )
    q_fractions: Column = Field(
        description="Share of the centers with n = 0, 1, ... bonds to bridging anions (Q^n), shape (n_frames, "
        "n_max + 1)."
    )
    links_per_center: Column = Field(
        description="Sum over anions of max(c_a - 1, 0), per center, shape (n_frames,)."
    )
    sum_rule: Column = Field(
        description="Both sides of the sum rule, see `BondTable.sum_rule`, shape (n_frames, 2)."
    )
    links: Column = Field(
        description="Links through one (corner), two (edge), three or more (face) shared anions, shape "
        "(n_frames, 3)."
    )
    free_anions: Column = Field(
        description="Anions bonded to no center, by ligand, shape (n_frames, n_ligands)."
    )
    bridges: Column = Field(
        description="Anions with c_a >= 2, tri-clusters included, by ligand, shape (n_frames, n_ligands)."
    )
    triclusters: Column = Field(description="Anions with c_a = 3, by ligand, shape (n_frames, n_ligands).")
    disagreement: Column = Field(
        description="Edges of both rules, of the distance rule only, and of the bridge rule only, shape "
        "(n_frames, 3)."
    )
    chains: dict[Rule, ChainSeries] = Field(
        description="Rule to its chains, edges as they are in each frame."
    )
    debounce: float = Field(
        description="Time that a change of an edge has to last to count in `debounced` [ps]."
    )
    debounce_status: DebounceStatus = Field(
        description="'no-op': frames are as far apart as that, and `debounced` equals `chains`; 'insufficient': the run "
        "is shorter; 'refused': positions cannot be followed from frame to frame."
    )
    debounce_reason: str = Field(description="Why the status of the debounce is what it is.")
    debounced: dict[Rule, ChainSeries] = Field(
        description="Rule to its chains with debounced edges; empty when the debounce is insufficient or refused."
    )
    averages: dict[str, Measured] = Field(
        description="Type label, 'CN(ligand)', 'Q0', 'Q1', ..., and 'links' (per center) to the time average, with a "
        "standard error from blocks."
    )


class _Record:
    """What the frames show, row by row."""

    def __init__(self, roles: Roles, coordination: int, n_frames: int) -> None:
        self.roles = roles
        self.coordination = coordination
        self.regular = regular_types(roles.center, roles.ligands, coordination)
        self.types, self.bridging = Tally(n_frames), Tally(n_frames)
        self.numbers = np.zeros((n_frames, len(roles.ligands) + 1, 4), dtype=np.int64)
        self.links = np.zeros((n_frames, 3), dtype=np.int64)
        self.edges = np.zeros((n_frames, 3), dtype=np.int64)

    def look(
        self, frame: int, positions: FloatArray, cell: FloatArray, cutoff: float
    ) -> tuple[IntArray, IntArray]:
        """Look at one frame; return its edges under either rule."""
        roles = self.roles
        n_centers = roles.centers.size
        first, second, image, _ = roles.bonds(positions, cell)
        by_ligand, per_anion, bridging = count_bonds(
            first, second, roles.ligand_of_anion, n_centers, len(roles.ligands)
        )
        near = near_edges(positions, cell, roles.centers, cutoff)
        links = find_links(first, second, image, per_anion, n_centers)
        common = count_common(near, links)
        self.types.add(frame, Counter(type_numbers(by_ligand, self.coordination).tolist()).items())
        self.bridging.add(frame, Counter(bridging.tolist()).items())
        self.numbers[frame] = bond_numbers(by_ligand, per_anion, roles.ligand_of_anion)
        self.links[frame] = count_links(links)
        self.edges[frame] = common, len(near) - common, len(links) - common
        return near, links

    def columns(self) -> dict[str, Any]:
        """Return the columns of the result."""
        center, ligands = self.roles.center, self.roles.ligands
        n_ligands, n = len(ligands), max(self.roles.centers.size, 1)
        others = sorted(k for k in self.types.columns if k >= len(self.regular))
        labels = self.regular + tuple(numbered_type(k, center, ligands, self.coordination) for k in others)
        fractions = self.types.table([*range(len(self.regular)), *others]) / n
        coordinations = self.numbers[:, :n_ligands, 0] / n
        q = self.bridging.table(range(max(self.bridging.columns, default=-1) + 1)) / n
        links_per_center = self.numbers[:, n_ligands, 0] / n
        named = {label: fractions[:, k] for k, label in enumerate(labels)}
        named |= {f"CN({symbol})": coordinations[:, k] for k, symbol in enumerate(ligands)}
        named |= {f"Q{k}": q[:, k] for k in range(q.shape[1])} | {"links": links_per_center}
        return {
            "type_labels": labels,
            "type_fractions": fractions,
            "mean_coordination": coordinations,
            "q_fractions": q,
            "links_per_center": links_per_center,
            "sum_rule": self.numbers[:, n_ligands, :2],
            "links": self.links,
            "free_anions": self.numbers[:, :n_ligands, 1],
            "bridges": self.numbers[:, :n_ligands, 2],
            "triclusters": self.numbers[:, :n_ligands, 3],
            "disagreement": self.edges,
            "averages": {name: block_average(c, "1") for name, c in named.items()} if len(q) else {},
        }


def survey(
    trajectory: FrameSeries,
    center: str = CENTER,
    ligands: Sequence[str] = LIGANDS,
    bond_cutoffs: Mapping[str, float] | None = None,
    cutoff: float | None = None,
    *,
    coordination: int = COORDINATION,
    debounce: float = DEBOUNCE,
    stride: int = 1,
) -> SurveyResult:
    """Follow bonds, tetrahedra and chains through a run.

    Parameters
    ----------
    trajectory : FrameSeries
        The run; its cell may vary. It is read once, piece by piece: memory holds one piece (64 MiB of positions) and
        the columns of the result, a few kB per frame.
    center : str, default "Al"
        Element of the centers.
    ligands : sequence of str, default ("O", "Cl")
        Elements of the ligands.
    bond_cutoffs : mapping of str to float, optional
        Bond cutoffs [A]; {"O": 2.4, "Cl": 2.8} for Al, for other elements they must be given.
    cutoff : float, optional
        Center-center cutoff of the distance rule [A]; 4.2 for Al, for other centers it must be given.
    coordination : int, default 4
        Bonds of a regular center.
    debounce : float, default 0.5
        Time that a change of an edge has to last to count in the debounced series [ps].
    stride : int, default 1
        Look at every so many frames, the first included.

    Returns
    -------
    SurveyResult
        Frame by frame the same numbers as `bonds`, `tetrahedra` and `chains` give.

    Raises
    ------
    InputError
        When a cutoff is missing or not positive, `stride` or `coordination` is below 1, or `debounce` is negative.

    Notes
    -----
    An edge is (i, j, image of j) between continuous positions, so that it stays the same edge when an atom leaves the
    cell on one side and enters on the other. Debounced, it has in the first frame the state that it has there, and
    changes when the other state lasts for ``ceil(debounce / (stride * time_step))`` frames in a row, with effect from
    the first of these frames: chains keep their times. Shorter flickers leave no trace, and neither does a change so
    close to the end of the run that it cannot be confirmed.

    The pooled number-weighted histogram is a ratio of two averages over frames; its standard error is that of
    ``(n_N(t) - R n(t)) / <n>`` with the ratio R, to first order in the fluctuations.

    Examples
    --------
    Two Al that come closer than 4.2 A for one frame only, and later for good.

    >>> from laoc_flows.analysis import Trajectory
    >>> distance = np.array([5.0, 4.0, 5.0, 5.0, 4.0, 4.0, 4.0])
    >>> positions = np.zeros((7, 2, 3))
    >>> positions[:, 1, 0] = distance
    >>> run = Trajectory(["Al", "Al"], positions, 20 * np.eye(3), time_step=0.25)
    >>> result = survey(run)
    >>> result.chains["distance"].n_edges.tolist()
    [0, 1, 0, 0, 1, 1, 1]
    >>> result.debounced["distance"].n_edges.tolist()
    [0, 0, 0, 0, 1, 1, 1]
    """
    if stride < 1 or not (math.isfinite(debounce) and debounce >= 0):
        message = f"{stride = } and {debounce = } are not a number of frames and a time"
        raise InputError(message, remedy="give stride >= 1 and debounce >= 0 in ps")
    roles = assign_roles(trajectory.species, center, ligands, bond_cutoffs)
    reach = chain_cutoff(center, cutoff)
    n_centers = roles.centers.size
    times = trajectory.times[::stride] if n_centers else np.empty(0)
    hold = max(1, math.ceil(debounce / (stride * trajectory.time_step) - 1e-9))
    names: tuple[Rule, Rule] = ("distance", "bridge")
    record = _Record(roles, coordination, len(times))
    graphs = {rule: GraphSeries(n_centers, len(times)) for rule in names}
    steady = {rule: Debouncer(hold, n_centers, len(times)) for rule in names}
    turns = Turns(continuous=trajectory.continuous)
    follow = 1 < hold <= len(times)
    frames = _frames(trajectory, stride, roles.centers, turns if follow else None)
    for k, (positions, cell, ahead) in enumerate(frames):
        edges = record.look(k, positions, cell, reach)
        for rule, found in zip(names, edges, strict=True):
            graphs[rule].add(found)
            if ahead is not None:
                steady[rule].add(shift_images(found, ahead))
    chains = {rule: graphs[rule].series(rule, debounced=False) for rule in names}
    status, why = _debounce_status(hold, len(times), turns.largest, debounce)
    debounced: dict[Rule, ChainSeries] = {}
    if status == "no-op":
        debounced = {rule: part.model_copy(update={"debounced": True}) for rule, part in chains.items()}
    elif status == "ok":
        debounced = {rule: steady[rule].finish().series(rule, debounced=True) for rule in names}
    return SurveyResult(
        status="ok" if n_centers else "empty",
        reason=f"{len(times)} frames" if n_centers else f"there is no {center}",
        center=center,
        ligands=roles.ligands,
        bond_cutoffs=roles.cutoffs,
        cutoff=reach,
        coordination=coordination,
        n_centers=n_centers,
        n_anions={s: int((roles.ligand_of_anion == k).sum()) for k, s in enumerate(roles.ligands)},
        stride=stride,
        time=times,
        chains=chains,
        debounce=debounce,
        debounce_status=status,
        debounce_reason=why,
        debounced=debounced,
        **record.columns(),
    )


def _frames(
    trajectory: FrameSeries, stride: int, centers: IntArray, turns: Turns | None
) -> Iterator[tuple[FloatArray, FloatArray, IntArray | None]]:
    """Yield positions, cell and the turns of the centers of every frame that is looked at."""
    if centers.size == 0:
        return
    done = 0
    for piece in trajectory.chunks():
        # Atoms are followed through every frame, also through those that are not looked at.
        ahead = turns.add(piece.positions[:, centers], piece.cells) if turns is not None else None
        for k in range(-done % stride, piece.n_frames, stride):
            yield piece.positions[k], piece.cells[k], None if ahead is None else ahead[k]
        done += piece.n_frames


def _debounce_status(hold: int, n_frames: int, largest: float, debounce: float) -> tuple[DebounceStatus, str]:
    if hold == 1:
        return "no-op", f"frames are {debounce:g} ps or more apart: every change counts"
    if n_frames < hold:
        return "insufficient", f"{n_frames} frames, and a change takes {hold} in a row"
    if largest >= MAX_STEP:
        return "refused", (
            f"a center moves by {largest:.2f} of a cell vector between frames; below {MAX_STEP} is needed to follow it"
        )
    return "ok", f"a change takes {hold} frames in a row"
