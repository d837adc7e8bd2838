"""Checks that a cell has neither reacted nor collapsed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from pydantic import Field

from laoc_flows.analysis.structure.neighbors import canonical, pairs
from laoc_flows.analysis.trajectories.frame import (
    Frame,
    Image,
    Result,
    StructureLike,
    as_frame,
)
from laoc_flows.errors import InputError
from laoc_flows.schemas.base import SPECIES
from laoc_flows.schemas.protocol import DISTANCE_FLOOR

REACTION_LIMITS: Mapping[str, float] = MappingProxyType({"O-O": 2.0, "O-Cl": 2.0, "Cl-Cl": 2.5})
"""Two anions closer than this [A] have formed a bond."""

DISTANCE_FLOORS: Mapping[str, float] = MappingProxyType(DISTANCE_FLOOR.distances)
"""Two atoms closer than this [A] have collapsed onto each other."""


class Contact(Result):
    """Two atoms that are closer than allowed."""

    pair: str = Field(description="The two elements, as in the table of limits.")
    i: int = Field(description="Index of the first atom.")
    j: int = Field(description="Index of the second atom; not below i.")
    image: Image = Field(description="Lattice image of the second atom.")
    distance: float = Field(description="Distance [A].")
    limit: float = Field(description="Limit that holds for the pair [A].")

    @property
    def ratio(self) -> float:
        """Distance over limit; below 1 the limit is undercut."""
        return self.distance / self.limit

    def __str__(self) -> str:
        """Pair and distance."""
        return f"{self.pair} {self.distance:.2f} A"


class ContactVerdict(Result):
    """Whether a structure keeps all its distances."""

    passed: bool = Field(description="True when no contact is below its limit.")
    contacts: tuple[Contact, ...] = Field(description="The offending contacts, relatively shortest first.")
    counts: dict[str, int] = Field(description="Pair of elements to the number of its offending contacts.")
    reason: str = Field(description="The verdict in words.")


def reaction_check(structure: StructureLike, limits: Mapping[str, float] = REACTION_LIMITS) -> ContactVerdict:
    """Look for bonds between anions: peroxide, hypochlorite, chlorine.

    Parameters
    ----------
    structure : Frame, ase.Atoms or pymatgen.core.Structure
        The structure.
    limits : mapping of str to float, default {"O-O": 2.0, "O-Cl": 2.0, "Cl-Cl": 2.5}
        Pair of elements to the distance below which they are bonded [A].

    Returns
    -------
    ContactVerdict
        Passed when there is none.

    Raises
    ------
    InputError
        When a key is no pair of elements or a limit is not positive.

    Examples
    --------
    >>> from laoc_flows.analysis import Frame
    >>> chlorine = Frame(("Cl", "Cl"), [[0.0, 0, 0], [1.99, 0, 0]], [[9.0, 0, 0], [0, 9.0, 0], [0, 0, 9.0]])
    >>> reaction_check(chlorine).passed
    False
    """
    return _check(structure, limits, "anion-anion bonds")


def distance_check(structure: StructureLike, floors: Mapping[str, float] = DISTANCE_FLOORS) -> ContactVerdict:
    """Look for atoms that have collapsed onto each other.

    Parameters
    ----------
    structure : Frame, ase.Atoms or pymatgen.core.Structure
        The structure.
    floors : mapping of str to float, default `DISTANCE_FLOORS`
        Pair of elements to the shortest physical distance [A]; pairs that are not named are not checked.

    Returns
    -------
    ContactVerdict
        Passed when every distance is at or above its floor.

    Raises
    ------
    InputError
        When a key is no pair of elements or a floor is not positive.

    Examples
    --------
    >>> from laoc_flows.analysis import Frame
    >>> pair = Frame(("Al", "O"), [[0.0, 0, 0], [1.0, 0, 0]], [[9.0, 0, 0], [0, 9.0, 0], [0, 0, 9.0]])
    >>> distance_check(pair, {"Al-O": 1.25}).reason
    '1 distances below their floor, the worst Al-O 1.00 A (limit 1.25 A)'
    """
    return _check(structure, floors, "distances below their floor")


def closest_contact(
    structure: StructureLike, floors: Mapping[str, float] = DISTANCE_FLOORS
) -> Contact | None:
    """Find the contact that is shortest relative to its floor.

    Parameters
    ----------
    structure : Frame, ase.Atoms or pymatgen.core.Structure
        The structure.
    floors : mapping of str to float, default `DISTANCE_FLOORS`
        Pair of elements to the shortest physical distance [A].

    Returns
    -------
    Contact or None
        Its `ratio` is below 1 when the structure has collapsed. None when no named pair is present.

    Raises
    ------
    InputError
        When a key is no pair of elements or a floor is not positive.

    Examples
    --------
    >>> from laoc_flows.analysis import Frame
    >>> pair = Frame(("Al", "O"), [[0.0, 0, 0], [1.0, 0, 0]], [[9.0, 0, 0], [0, 9.0, 0], [0, 0, 9.0]])
    >>> found = closest_contact(pair, {"Al-O": 1.25})
    >>> found.pair, found.ratio
    ('Al-O', 0.8)
    """
    frame = as_frame(structure)
    kinds = sorted(set(frame.species))
    floor = np.full((len(kinds), len(kinds)), np.nan)
    for (a, b), limit in _table(floors).items():
        if a in kinds and b in kinds:
            i, j = kinds.index(a), kinds.index(b)
            floor[i, j] = floor[j, i] = limit
    if np.isnan(floor).all():
        return None
    kind = np.array([kinds.index(symbol) for symbol in frame.species])
    largest, reach, best, found = float(np.nanmax(floor)), 1.0, math.inf, None
    # Beyond the radius of the search a ratio is above `reach`; images make sure that a wide search finds a pair.
    while best > reach:
        reach *= 1.5
        near = pairs(frame, None, None, reach * largest)
        limits = floor[kind[near.i], kind[near.j]]
        ratios = np.where(np.isnan(limits), np.inf, near.distance / limits)
        if len(ratios) and (best := float(ratios.min())) < math.inf:
            n = int(ratios.argmin())
            i, j, image = canonical(int(near.i[n]), int(near.j[n]), _image(near.image[n]))
            found = Contact(
                pair="-".join(sorted((frame.species[i], frame.species[j]), key=_order)),
                i=i,
                j=j,
                image=image,
                distance=float(near.distance[n]),
                limit=float(limits[n]),
            )
    return found


def min_distance_ratio(structure: StructureLike, floors: Mapping[str, float] = DISTANCE_FLOORS) -> float:
    """Return the smallest ratio of a distance to its floor; ``math.inf`` when no named pair is present.

    Parameters and errors are those of `closest_contact`.

    Examples
    --------
    >>> from laoc_flows.analysis import Frame
    >>> pair = Frame(("Al", "O"), [[0.0, 0, 0], [1.0, 0, 0]], [[9.0, 0, 0], [0, 9.0, 0], [0, 0, 9.0]])
    >>> min_distance_ratio(pair, {"Al-O": 1.25})
    0.8
    """
    contact = closest_contact(structure, floors)
    return math.inf if contact is None else contact.ratio


def _image(image: np.ndarray) -> Image:
    return int(image[0]), int(image[1]), int(image[2])


def _order(symbol: str) -> tuple[bool, int, str]:
    known = symbol in SPECIES
    return not known, SPECIES.index(symbol) if known else 0, symbol


def _table(limits: Mapping[str, float]) -> dict[tuple[str, str], float]:
    table: dict[tuple[str, str], float] = {}
    for key, limit in limits.items():
        ends = key.split("-")
        if len(ends) != 2 or not all(ends) or not (math.isfinite(limit) and limit > 0):  # noqa: PLR2004 - a pair
            message = f"{key!r}: {limit} is not a pair of elements with a distance, such as 'Al-O': 1.4"
            raise InputError(message)
        table[ends[0], ends[1]] = float(limit)
    return table


def _check(structure: StructureLike, limits: Mapping[str, float], what: str) -> ContactVerdict:
    frame = as_frame(structure)
    found = [contact for (a, b), limit in _table(limits).items() for contact in _contacts(frame, a, b, limit)]
    found.sort(key=lambda c: (c.distance / c.limit, c.i, c.j, c.image))
    names = np.array([contact.pair for contact in found])
    counts = {pair: int((names == pair).sum()) for pair in limits if pair in names}
    if found:
        worst = found[0]
        reason = (
            f"{len(found)} {what}, the worst {worst.pair} {worst.distance:.2f} A (limit {worst.limit:g} A)"
        )
    else:
        reason = f"no {what}"
    return ContactVerdict(passed=not found, contacts=tuple(found), counts=counts, reason=reason)


def _contacts(frame: Frame, a: str, b: str, limit: float) -> list[Contact]:
    near = pairs(frame, a, b, limit)
    rows = zip(near.i.tolist(), near.j.tolist(), near.image.tolist(), near.distance.tolist(), strict=True)
    unique = {canonical(i, j, (n[0], n[1], n[2])): d for i, j, n, d in rows}
    return [
        Contact(pair=f"{a}-{b}", i=i, j=j, image=image, distance=d, limit=limit)
        for (i, j, image), d in unique.items()
    ]
