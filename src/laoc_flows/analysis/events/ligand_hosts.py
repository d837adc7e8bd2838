"""Which center a ligand belongs to at each time: one host at a time, also for a ligand that bridges."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from pydantic import Field

from laoc_flows.analysis.events.bond_history import BondHistory
from laoc_flows.analysis.trajectories.frame import Column, IntArray, Result
from laoc_flows.errors import InputError


class HostChanges(Result):
    """Every change of host of a ligand, one row each, by time."""

    ligand: Column = Field(description="Atom index of the ligand, shape (n,).")
    from_center: Column = Field(description="Atom index of the host that is left, shape (n,).")
    from_image: Column = Field(
        description="Lattice image of the ligand that was bonded to it, on continuous coordinates, shape (n, 3)."
    )
    to_center: Column = Field(description="Atom index of the new host, shape (n,).")
    to_image: Column = Field(description="Lattice image of the ligand that is bonded to it, shape (n, 3).")
    time: Column = Field(
        description="Time of the run [ps] at which the old bond broke, or the new one was made if that is later."
    )

    def __len__(self) -> int:
        """Return the number of changes."""
        return len(self.time)


class HostStretches(NamedTuple):
    """Stretches of time in which a ligand has one host; rows by ligand, then by time.

    Parameters
    ----------
    ligand : ndarray of int, shape (n,)
        Atom index of the ligand.
    center : ndarray of int, shape (n,)
        Atom index of the host.
    image : ndarray of int, shape (n, 3)
        Lattice image of the ligand that is bonded to it, on continuous coordinates.
    start, stop : ndarray of int, shape (n,)
        Half-open range of frames.
    """

    ligand: IntArray
    center: IntArray
    image: IntArray
    start: IntArray
    stop: IntArray


def host_stretches(history: BondHistory, ligand: str = "Cl", max_gap: int = 0) -> HostStretches:
    """Give every ligand one host at a time, with as few changes of host as its bonds allow.

    Parameters
    ----------
    history : BondHistory
        From `bond_history`.
    ligand : str, default "Cl"
        Element of the ligands.
    max_gap : int, default 0
        A ligand that lets go of its host and returns to it within so many frames, with no other host in between, has
        not left it.

    Returns
    -------
    HostStretches
        Stretches of one ligand do not overlap.

    Raises
    ------
    InputError
        When the history does not hold the ligand.

    Notes
    -----
    A ligand stays with its host until that bond breaks, whatever other bonds it has meanwhile. Then, if it is bonded
    still, that bond becomes its host which lasts longest (between equal ones the older, then the shorter): this greedy
    choice gives the smallest number of changes, so an anion that bridges between two centers for a while, and goes on
    with the second, changes once, and one that returns to the first does not change at all.

    Examples
    --------
    A chlorine that is handed from one Al to another, bridging for a moment:

    >>> import numpy as np
    >>> from laoc_flows.analysis import Trajectory
    >>> from laoc_flows.analysis import bond_history
    >>> positions = np.zeros((5, 3, 3))
    >>> positions[:, 1, 0] = 5.2
    >>> positions[:, 2, 0] = [2.1, 2.4, 2.7, 2.8, 2.9]
    >>> positions[3:, 0, 0] = -1.0
    >>> run = Trajectory(("Al", "Al", "Cl"), positions, 20 * np.eye(3), time_step=0.1)
    >>> hosts = host_stretches(bond_history(run), "Cl")
    >>> list(zip(hosts.center.tolist(), hosts.start.tolist(), hosts.stop.tolist()))
    [(0, 0, 3), (1, 3, 5)]
    """
    if ligand not in history.limits:
        message = f"the bonds with {ligand} were not followed, only those with {', '.join(history.limits)}"
        raise InputError(message, remedy="name it among the ligands")
    chosen = np.flatnonzero(np.isin(history.bond_ligand, history.ligand_indices[ligand]))
    rows: list[tuple[int, int, int]] = []
    borders = np.flatnonzero(np.diff(history.bond_ligand[chosen])) + 1
    for group in np.split(chosen, borders):
        rows += _hosts_of_one(history, group, max_gap)
    table = np.array(rows, dtype=np.int64).reshape(-1, 3)
    bond = table[:, 0]
    return HostStretches(
        ligand=np.asarray(history.bond_ligand[bond], dtype=np.int64),
        center=np.asarray(history.bond_center[bond], dtype=np.int64),
        image=np.asarray(history.bond_image[bond], dtype=np.int64),
        start=table[:, 1],
        stop=table[:, 2],
    )


def _hosts_of_one(history: BondHistory, group: IntArray, max_gap: int) -> list[tuple[int, int, int]]:
    """Return (row of the bond, start, stop) of the hosts of one ligand, whose bonds are ordered by start."""
    start, stop = history.start[group].tolist(), history.stop[group].tolist()
    length = history.mean_distance[group].tolist()
    found: list[tuple[int, int, int]] = []
    n, following = len(group), 0
    alive: list[int] = []
    frame = start[0] if n else 0
    while True:
        while following < n and start[following] <= frame:
            alive.append(following)
            following += 1
        alive = [k for k in alive if stop[k] > frame]
        if not alive:
            if following == n:
                break
            frame = start[following]
            continue
        best = max(alive, key=lambda k: (stop[k], -start[k], -length[k]))
        last = found[-1] if found else None
        if last and frame - last[2] <= max_gap and _same_bond(history, last[0], group[best]):
            found[-1] = (last[0], last[1], stop[best])
        else:
            found.append((int(group[best]), frame, stop[best]))
        frame = stop[best]
    return found


def _same_bond(history: BondHistory, one: int, other: int) -> bool:
    same_image = np.array_equal(history.bond_image[one], history.bond_image[other])
    return bool(same_image and history.bond_center[one] == history.bond_center[other])


def host_changes(history: BondHistory, hosts: HostStretches) -> HostChanges:
    """List the changes of host.

    Parameters
    ----------
    history : BondHistory
        What the hosts were taken from.
    hosts : HostStretches
        From `host_stretches`.

    Returns
    -------
    HostChanges
        Another lattice image of the same center is another host.
    """
    follows = hosts.ligand[1:] == hosts.ligand[:-1]
    moved = (hosts.center[1:] != hosts.center[:-1]) | (hosts.image[1:] != hosts.image[:-1]).any(axis=1)
    new = np.flatnonzero(follows & moved) + 1
    new = new[np.lexsort((hosts.ligand[new], hosts.start[new]))]
    return HostChanges(
        ligand=hosts.ligand[new],
        from_center=hosts.center[new - 1],
        from_image=hosts.image[new - 1],
        to_center=hosts.center[new],
        to_image=hosts.image[new],
        time=history.start_time + history.time_step * hosts.start[new],
    )
