"""What every Al is surrounded by: AlO_mCl_(4-m), and everything that is no tetrahedron."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from pydantic import Field

from laoc_flows.analysis.bonds import BOND_CUTOFFS, bonds
from laoc_flows.analysis.frame import Result, StructureLike

TETRAHEDRA = ("AlCl4", "AlOCl3", "AlO2Cl2", "AlO3Cl", "AlO4")
"""The five tetrahedra, in the order of their number of O."""


class Tetrahedra(Result):
    """Types of all Al of one structure."""

    n_al: int = Field(description="Number of Al in the cell.", ge=0)
    al_indices: tuple[int, ...] = Field(description="Atom index of every Al, ascending.")
    labels: tuple[str, ...] = Field(description="Type of every Al, as `al_indices`.")
    counts: dict[str, int] = Field(
        description="Type to number of Al: the five tetrahedra always, other classes ('CN5:O2Cl3') where they occur."
    )
    fractions: dict[str, float] = Field(
        description="Type to its share of all Al, other classes included, never renormalized; empty without Al."
    )


def label_of(n_o: int, n_cl: int) -> str:
    """Name the type of an Al.

    Parameters
    ----------
    n_o, n_cl : int
        Its bonds with O and with Cl.

    Returns
    -------
    str
        ``"AlOCl3"`` and the like for four bonds, else ``"CN5:O2Cl3"``.
    """
    if n_o + n_cl == 4:  # noqa: PLR2004 - a tetrahedron
        return TETRAHEDRA[n_o]
    return f"CN{n_o + n_cl}:O{n_o}Cl{n_cl}"


def tetrahedra(structure: StructureLike, cutoffs: Mapping[str, float] = BOND_CUTOFFS) -> Tetrahedra:
    """Classify every Al by its bonded anions.

    Parameters
    ----------
    structure : Frame, ase.Atoms or pymatgen.core.Structure
        The structure.
    cutoffs : mapping of str to float, default {"O": 2.4, "Cl": 2.8}
        Bond cutoffs [A].

    Returns
    -------
    Tetrahedra
        Counts and fractions over all Al.

    Raises
    ------
    InputError
        When a cutoff is missing.
    """
    table = bonds(structure, "Al", ("O", "Cl"), cutoffs)
    by_ligand = table.coordination_by_ligand
    labels = tuple(label_of(m, n) for m, n in zip(by_ligand["O"], by_ligand["Cl"], strict=True))
    found = Counter(labels)
    counts = {label: found[label] for label in TETRAHEDRA}
    counts |= {label: found[label] for label in sorted(found) if label not in counts}
    n_al = len(labels)
    return Tetrahedra(
        n_al=n_al,
        al_indices=table.center_indices,
        labels=labels,
        counts=counts,
        fractions={label: n / n_al for label, n in counts.items()} if n_al else {},
    )
