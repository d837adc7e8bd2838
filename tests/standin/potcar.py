"""Made POTCARs: headers that VASP's and pymatgen's readers understand, and no pseudopotential behind them."""

from __future__ import annotations

import gzip
from pathlib import Path

FOLDERS = {
    "PBE": "POT_GGA_PAW_PBE",
    "PBE_52": "POT_GGA_PAW_PBE_52",
    "PBE_54": "POT_GGA_PAW_PBE_54",
    "PBE_64": "POT_PAW_PBE_64",
}
# Name: valence shells, valence electrons, mass [u], default and least cutoff [eV].
KINDS = {
    "Li_sv": ("s1p0", 3.0, 7.010, 499.0, 374.0, "10Sep2004"),
    "Li": ("s1p0", 1.0, 7.010, 140.0, 100.0, "17Jan2003"),
    "Al": ("s2p1", 3.0, 26.982, 240.3, 180.2, "04Jan2001"),
    "O": ("s2p4", 6.0, 16.000, 400.0, 300.0, "08Apr2002"),
    "Cl": ("s2p5", 7.0, 35.453, 262.5, 196.9, "06Sep2000"),
}

_HEADER = """\
  PAW_PBE {name} {date}
   {zval:.8f}
 parameters from PSCTR are:
   VRHFIN ={element}: {shells} made for tests, no potential
   LEXCH  = PE
   EATOM  = {eatom:10.4f} eV, {eatom_ry:9.4f} Ry

   TITEL  = PAW_PBE {name} {date}
   LULTRA =        F    use ultrasoft PP ?
   IUNSCR =        0    unscreen: 0-lin 1-nonlin 2-no
   RPACOR =    0.000    partial core radius
   POMASS = {mass:8.3f}; ZVAL   = {zval:8.3f}    mass and valenz
   RCORE  =    1.500    outmost cutoff radius
   RWIGS  =    2.000; RWIGS  =    1.058    wigner-seitz radius (au A)
   ENMAX  = {enmax:8.3f}; ENMIN  = {enmin:8.3f} eV
   LCOR   =        T    correct aug charges
   LPAW   =        T    paw PP
   EAUG   =  {eaug:8.3f}
   DEXC   =    0.000
   RMAX   =    1.550    core radius for proj-oper
   RAUG   =    1.300    factor for augmentation sphere
   RDEP   =    1.550    radius for radial grids
   RDEPT  =    1.400    core radius for aug-charge

   Atomic configuration
    1 entries
     n  l   j            E        occ.
     2  0  0.50        -5.0000   {zval:.4f}
   Description
     l       E           TYP  RCUT    TYP  RCUT
     0     -5.0000000     23  1.500
   Error from kinetic energy argument (eV)
   NDATA  =      100
   STEP   =   20.000   1.050
  10.0      5.00      1.00      0.500
END of PSCTR-controll parameters
 local part
   1.0000000000000
  0.10000000E+00  0.20000000E+00  0.30000000E+00
 End of Dataset
"""


def text(name: str) -> str:
    """POTCAR of one kind of atom, for example ``Li_sv``."""
    shells, zval, mass, enmax, enmin, date = KINDS[name]
    eatom = 100.0 * zval
    return _HEADER.format(
        name=name,
        element=name.split("_", maxsplit=1)[0],
        date=date,
        shells=shells,
        zval=zval,
        mass=mass,
        enmax=enmax,
        enmin=enmin,
        eaug=1.5 * enmax,
        eatom=eatom,
        eatom_ry=eatom / 13.605693,
    )


def write_library(path: Path, functional: str = "PBE_64", *, names: tuple[str, ...] = tuple(KINDS)) -> Path:
    """Write POTCARs as pymatgen lays a library out, ``<path>/POT_PAW_PBE_64/POTCAR.Al.gz`` and so on.

    Parameters
    ----------
    path : pathlib.Path
        Root of the library, what PMG_VASP_PSP_DIR names.
    functional : str
        Release, as pymatgen spells it.
    names : tuple of str
        POTCARs to write; leave one out to test that it is missed.
    """
    folder = path / FOLDERS[functional]
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        with gzip.open(folder / f"POTCAR.{name}.gz", "wt", encoding="ascii") as handle:
            handle.write(text(name))
    return path
