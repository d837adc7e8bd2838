"""Crystals that amorphous structures are compared with, as their determinations report them."""

from __future__ import annotations

from ase import Atoms
from ase.spacegroup import crystal


def lialcl4() -> Atoms:
    """Unit cell of LiAlCl4: four AlCl4, every Al isolated.

    Returns
    -------
    ase.Atoms
        24 atoms, P2_1/c, 591.2 A^3.

    Notes
    -----
    Mairesse, Barbier and Wignacourt, Cryst. Struct. Commun. 6, 15 (1977); Crystallography Open Database 1004036.

    Examples
    --------
    >>> cell = lialcl4()
    >>> cell.get_chemical_formula(), round(float(cell.get_volume()), 1)
    ('Al4Cl16Li4', 591.2)
    """
    sites = (
        ("Li", 0.15688, 0.98308, 0.36658),
        ("Al", 0.70588, 0.32198, 0.89924),
        ("Cl", 0.69400, 0.18329, 0.04695),
        ("Cl", 0.80902, 0.62835, 0.92849),
        ("Cl", 0.92580, 0.18160, 0.81372),
        ("Cl", 0.43947, 0.31364, 0.81280),
    )
    return crystal(
        [symbol for symbol, *_ in sites],
        [place for _, *place in sites],
        spacegroup=14,
        cellpar=[7.007, 6.504, 12.995, 90, 93.32, 90],
    )
