"""What the rotations of ligands are told as: events, numbers by type of host, and the whole."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from laoc_flows.analysis.events.ligand_hosts import HostChanges
from laoc_flows.analysis.events.tetrahedron_motion import MotionKind
from laoc_flows.analysis.rates import Rate, Share
from laoc_flows.analysis.trajectories.frame import Column, Result
from laoc_flows.analysis.trajectories.paths import Drift


class RotationEvents(Result):
    """Every rotation event, one row each, by time."""

    ligand: Column = Field(description="Atom index of the ligand, shape (n,).")
    host: Column = Field(description="Atom index of the center it turned about, shape (n,).")
    host_type: tuple[str, ...] = Field(description="Type of the host at that time, for example 'AlOCl3'.")
    time: Column = Field(
        description="Time of the run [ps] of the first frame of the new direction, shape (n,)."
    )
    position: Column = Field(
        description="Position of the ligand in that frame [A], continuous and free of drift, shape (n, 3)."
    )
    angle: Column = Field(
        description="Angle between the old and the new confirmed direction [deg], shape (n,)."
    )
    kind: tuple[MotionKind, ...] = Field(
        description="What the ligands of the host did together, see `MOTION_KINDS`."
    )
    motion: Column = Field(
        description="Number of the motion of the host that the event is part of: ligands that turned about one host "
        "within the time of holding share it, shape (n,)."
    )

    def __len__(self) -> int:
        """Return the number of events."""
        return len(self.time)


class HostTypeRotations(Result):
    """Rotations about hosts of one type."""

    label: str = Field(description="The type, for example 'AlOCl3'.")
    n_events: int = Field(description="Number of events about hosts that had the type at the time.", ge=0)
    n_rotating_ligands: int = Field(description="Number of different ligands in these events.", ge=0)
    n_rotating_hosts: int = Field(description="Number of different hosts in these events.", ge=0)
    mean_ligands: float = Field(
        description="Ligands that had a host of the type, averaged over the frames; bridging ones count once.",
        ge=0,
    )
    mean_hosts: float = Field(description="Centers of the type, averaged over the frames.", ge=0)
    rate: Rate = Field(description="Events, per ligand with such a host and ns.")


class RotationResult(Result):
    """Rotation of one kind of ligand about one kind of center."""

    center: str = Field(description="Element of the centers.")
    ligand: str = Field(description="Element of the ligands.")
    drift: Drift = Field(description="What was held at rest in the positions of the events.")
    angle: float = Field(description="Smallest angle of a turn [deg].", gt=0, lt=180)
    average: float = Field(
        description="Time that a direction was averaged over [ps]; 0 for single frames.", ge=0
    )
    hold: float = Field(description="Time that a turn had to last [ps].", ge=0)
    start_time: float = Field(description="Time of the first frame [ps].")
    duration: float = Field(description="Time between the first and the last frame [ps].", ge=0)
    cell: Column = Field(description="Mean cell over the run, rows a, b and c [A], shape (3, 3).")
    n_centers: int = Field(description="Number of centers.", ge=0)
    n_ligands: int = Field(description="Number of ligands, bonded or not.", ge=0)
    n_hosted: int = Field(description="Number of ligands that were bonded at any time.", ge=0)
    events: RotationEvents = Field(description="All events.")
    rotating_ligands: Share = Field(description="Ligands with at least one event, of those that were bonded.")
    rotating_hosts: Share = Field(description="Centers with at least one event, of all centers.")
    rate: Rate = Field(
        description="Events, per bonded ligand and ns; motions of one host count once per ligand."
    )
    events_by_kind: dict[MotionKind, int] = Field(description="Kind of motion to number of events.")
    motions_by_kind: dict[MotionKind, int] = Field(
        description="Kind of motion to number of motions, each with one or more events."
    )
    by_type: tuple[HostTypeRotations, ...] = Field(
        description="By type of the host: the regular types always, others where they occur."
    )
    changes: HostChanges = Field(description="Every change of host (migration); these are no rotations.")
    status: Literal["ok", "coarse", "empty", "insufficient"] = Field(
        description="'coarse' when the frames are too far apart to average or to tell whether a turn is held; "
        "'empty' without any bond; 'insufficient' when no ligand keeps its host for long enough to see a turn."
    )
    reason: str = Field(description="Why the status is what it is.")

    @property
    def n_events(self) -> int:
        """Number of events."""
        return len(self.events)

    @property
    def n_migrations(self) -> int:
        """Number of changes of host."""
        return len(self.changes)
