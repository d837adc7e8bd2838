"""What every Al is surrounded by: AlO_mCl_(4-m), and everything that is no tetrahedron."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import product
from math import comb

import numpy as np
from pydantic import Field

from laoc_flows.analysis.structure.bonds import CENTER, LIGANDS, bonds
from laoc_flows.analysis.trajectories.frame import IntArray, Result, StructureLike
from laoc_flows.errors import InputError

TETRAHEDRA = ("AlCl4", "AlOCl3", "AlO2Cl2", "AlO3Cl", "AlO4")
"""The five tetrahedra, in the order of their number of O."""
COORDINATION = 4
"""Bonds of a regular center."""


class Tetrahedra(Result):
    """Types of all centers (Al) of one structure."""

    center: str = Field(description="Element of the centers.")
    ligands: tuple[str, ...] = Field(description="Elements of the ligands.")
    n_centers: int = Field(description="Number of centers in the cell.", ge=0)
    center_indices: tuple[int, ...] = Field(description="Atom index of every center, ascending.")
    labels: tuple[str, ...] = Field(description="Type of every center, as `center_indices`.")
    counts: dict[str, int] = Field(
        description="Type to number of centers: the regular types always (for Al the five tetrahedra), other "
        "classes ('CN5:O2Cl3') where they occur."
    )
    fractions: dict[str, float] = Field(
        description="Type to its share of all centers, other classes included, never renormalized; empty without "
        "centers."
    )

    @property
    def n_al(self) -> int:
        """The same as `n_centers`."""
        return self.n_centers

    @property
    def al_indices(self) -> tuple[int, ...]:
        """The same as `center_indices`."""
        return self.center_indices


def type_label(
    numbers: Sequence[int],
    center: str = CENTER,
    ligands: Sequence[str] = LIGANDS,
    coordination: int = COORDINATION,
) -> str:
    """Name the type of a center.

    Parameters
    ----------
    numbers : sequence of int
        Its bonds with each of the ligands.
    center : str, default "Al"
        Element of the center.
    ligands : sequence of str, default ("O", "Cl")
        Elements of the ligands.
    coordination : int, default 4
        Bonds of a regular center.

    Returns
    -------
    str
        A formula such as ``"AlOCl3"`` for a regular center, else ``"CN5:O2Cl3"``.

    Examples
    --------
    >>> type_label((1, 3)), type_label((2, 3)), type_label((4,), "P", ("S",))
    ('AlOCl3', 'CN5:O2Cl3', 'PS4')
    """
    pairs = list(zip(ligands, numbers, strict=True))
    if sum(numbers) != coordination:
        return f"CN{sum(numbers)}:" + "".join(f"{symbol}{n}" for symbol, n in pairs)
    return center + "".join(symbol + (str(n) if n > 1 else "") for symbol, n in pairs if n)


def regular_types(
    center: str = CENTER, ligands: Sequence[str] = LIGANDS, coordination: int = COORDINATION
) -> tuple[str, ...]:
    """Name all types of regular centers.

    Parameters
    ----------
    center : str, default "Al"
        Element of the center.
    ligands : sequence of str, default ("O", "Cl")
        Elements of the ligands.
    coordination : int, default 4
        Bonds of a regular center.

    Returns
    -------
    tuple of str
        In ascending order of the bonds with the first ligand, then the second, and so on.

    Raises
    ------
    InputError
        When `coordination` is below 1.

    Examples
    --------
    >>> regular_types()
    ('AlCl4', 'AlOCl3', 'AlO2Cl2', 'AlO3Cl', 'AlO4')
    >>> regular_types("P", ("S",))
    ('PS4',)
    """
    if coordination < 1:
        message = f"coordination = {coordination} is not at least 1"
        raise InputError(message)
    return tuple(
        type_label(numbers, center, ligands, coordination) for numbers in _ways(coordination, len(ligands))
    )


def _ways(total: int, n_parts: int) -> list[tuple[int, ...]]:
    """List the ways to share bonds among ligands, in lexical order."""
    every = product(range(total + 1), repeat=n_parts)
    return [numbers for numbers in every if sum(numbers) == total]


def _n_ways(total: int, n_parts: int) -> int:
    return comb(total + n_parts - 1, n_parts - 1) if n_parts else int(total == 0)


def _number(numbers: tuple[int, ...], coordination: int) -> int:
    """Number a type: the regular ones first, then by coordination number, each in lexical order."""
    n_ligands, total = len(numbers), sum(numbers)
    place = 0
    if total != coordination:
        place = sum(_n_ways(n, n_ligands) for n in {coordination, *range(total)})
    for k, n in enumerate(numbers):
        rest = total - sum(numbers[:k])
        place += sum(_n_ways(rest - lower, n_ligands - k - 1) for lower in range(n))
    return place


@cache
def _numbers_up_to(largest: int, n_ligands: int, coordination: int) -> IntArray:
    """Tabulate `_number` for up to `largest` bonds with each ligand."""
    table = np.empty((largest + 1,) * n_ligands, dtype=np.int64)
    for numbers in np.ndindex(table.shape):
        table[numbers] = _number(numbers, coordination)
    return table


def type_numbers(by_ligand: IntArray, coordination: int = COORDINATION) -> IntArray:
    """Number the types of centers, alike for every frame and every run.

    Parameters
    ----------
    by_ligand : ndarray of int, shape (n_centers, n_ligands)
        Bonds of every center with each ligand.
    coordination : int, default 4
        Bonds of a regular center.

    Returns
    -------
    ndarray of int, shape (n_centers,)
        0, 1, ... for the regular types, as `regular_types`; higher numbers for other classes.

    Examples
    --------
    >>> type_numbers(np.array([[0, 4], [1, 3], [0, 0], [2, 3]])).tolist()
    [0, 1, 5, 17]
    >>> [numbered_type(n) for n in (0, 1, 5, 17)]
    ['AlCl4', 'AlOCl3', 'CN0:O0Cl0', 'CN5:O2Cl3']
    """
    if by_ligand.size == 0:
        return np.full(len(by_ligand), _number((), coordination), dtype=np.int64)
    # A table that holds the usual numbers of bonds is made once.
    largest = max(2 * coordination, int(by_ligand.max()))
    return np.asarray(_numbers_up_to(largest, by_ligand.shape[1], coordination)[tuple(by_ligand.T)])


def numbered_type(
    number: int,
    center: str = CENTER,
    ligands: Sequence[str] = LIGANDS,
    coordination: int = COORDINATION,
) -> str:
    """Name a type by its number: the inverse of `type_numbers`.

    Parameters
    ----------
    number : int
        From `type_numbers`.
    center : str, default "Al"
        Element of the center.
    ligands : sequence of str, default ("O", "Cl")
        Elements of the ligands.
    coordination : int, default 4
        Bonds of a regular center.

    Returns
    -------
    str
        The label.

    Raises
    ------
    InputError
        When there is no such type.
    """
    place, total = 0, -1
    while number >= 0 and total <= number:
        of = coordination if total < 0 else total
        ways = _n_ways(of, len(ligands)) if total != coordination else 0
        if number < place + ways:
            return type_label(_ways(of, len(ligands))[number - place], center, ligands, coordination)
        place, total = place + ways, total + 1
    message = f"there is no type number {number} of {center} with {list(ligands)}"
    raise InputError(message)


def tetrahedra(
    structure: StructureLike,
    center: str = CENTER,
    ligands: Sequence[str] = LIGANDS,
    cutoffs: Mapping[str, float] | None = None,
    coordination: int = COORDINATION,
) -> Tetrahedra:
    """Classify every center by its bonded anions.

    Parameters
    ----------
    structure : Frame, ase.Atoms or pymatgen.core.Structure
        The structure.
    center : str, default "Al"
        Element of the centers.
    ligands : sequence of str, default ("O", "Cl")
        Elements of the ligands; labels name them in this order.
    cutoffs : mapping of str to float, optional
        Bond cutoffs [A]; for Al {"O": 2.4, "Cl": 2.8}, for other elements they must be given.
    coordination : int, default 4
        Bonds of a regular center, which is named by its formula; 6 for octahedra.

    Returns
    -------
    Tetrahedra
        Counts and fractions over all centers.

    Raises
    ------
    InputError
        When a cutoff is missing or not positive, a ligand is named twice, or `coordination` is below 1.

    Examples
    --------
    >>> from ase.build import bulk
    >>> tetrahedra(bulk("GaAs", "zincblende", a=5.65), "Ga", ("As",), {"As": 2.8}).counts
    {'GaAs4': 1}
    """
    regular = regular_types(center, ligands, coordination)
    table = bonds(structure, center, ligands, cutoffs)
    numbers = list(zip(*(table.coordination_by_ligand[symbol] for symbol in ligands), strict=True))
    # Without ligands there is nothing to zip, but every center still has its class.
    numbers = numbers if ligands else [()] * table.n_centers
    labels = tuple(type_label(n, center, ligands, coordination) for n in numbers)
    found = Counter(labels)
    counts = {label: found[label] for label in regular}
    counts |= {label: found[label] for label in sorted(found) if label not in counts}
    return Tetrahedra(
        center=center,
        ligands=tuple(ligands),
        n_centers=table.n_centers,
        center_indices=table.center_indices,
        labels=labels,
        counts=counts,
        fractions={label: n / len(labels) for label, n in counts.items()} if labels else {},
    )
