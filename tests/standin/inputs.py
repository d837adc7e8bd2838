"""What the stand-in reads: INCAR, POSCAR, KPOINTS and POTCAR, as strictly as VASP where that matters."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

LOGICAL = {
    "ADDGRID", "LASPH", "LCHARG", "LWAVE", "LELF", "LVTOT", "LVHAR", "LAECHG", "LHFCALC", "LDAU", "LPLANE", "LDIAG",
    "LSCALU", "LCORR", "LUSE_VDW", "LMIXTAU", "LDIPOL", "KGAMMA", "LSORBIT", "LNONCOLLINEAR", "LEPSILON", "LCALCPOL",
    "LRPA", "LOPTICS", "LPEAD", "LSCALAPACK",
}  # fmt: skip
INTEGER = {
    "ISTART", "ICHARG", "ISPIN", "NELM", "NELMIN", "NELMDL", "ISMEAR", "NSW", "IBRION", "ISIF", "MDALGO", "NBLOCK",
    "KBLOCK", "ISYM", "NCORE", "NPAR", "KPAR", "IVDW", "IMIX", "MAXMIX", "LMAXMIX", "LORBIT", "NEDOS", "IALGO", "NBANDS",
    "NWRITE", "NSIM", "NFREE", "ISEARCH", "NGX", "NGY", "NGZ", "INIWAV", "IWAVPR", "NGYROMAG", "NPACO", "NELMGW",
}  # fmt: skip
INTEGERS = {"RANDOM_SEED"}
REAL = {
    "ENCUT", "ENAUG", "EDIFF", "EDIFFG", "SIGMA", "POTIM", "SMASS", "TEBEG", "TEEND", "PSTRESS", "PMASS",
    "LANGEVIN_GAMMA_L", "AMIX", "BMIX", "AMIX_MAG", "BMIX_MAG", "AMIN", "SYMPREC", "TIME", "KSPACING", "NELECT",
    "ANDERSEN_PROB", "VDW_RADIUS", "VDW_CNRADIUS", "NHC_PERIOD",
}  # fmt: skip
REALS = {"LANGEVIN_GAMMA", "MAGMOM", "ROPT", "DIPOL", "RWIGS"}

DEFAULTS = {
    "PREC": "normal", "ALGO": "Normal", "NELM": 60, "NELMIN": 2, "EDIFF": 1e-4, "ISMEAR": 1, "SIGMA": 0.2, "NSW": 0,
    "ISPIN": 1, "MDALGO": 0, "NBLOCK": 1, "POTIM": 0.5, "TEBEG": 0.0001, "SMASS": -3.0, "LREAL": False, "IVDW": 0,
    "PSTRESS": 0.0, "PMASS": 1000.0, "LANGEVIN_GAMMA_L": 0.0, "ISYM": 2, "SYMPREC": 1e-5, "ISTART": 0, "ICHARG": 2,
    "KBLOCK": 1000, "AMIX": 0.4, "BMIX": 1.0, "AMIN": 0.1, "AMIX_MAG": 1.6, "BMIX_MAG": 1.0, "IMIX": 4, "LORBIT": 0,
    "NWRITE": 2, "NEDOS": 301, "LASPH": False, "LWAVE": True, "LCHARG": True, "LHFCALC": False, "LDAU": False,
    "NCORE": 1, "KPAR": 1, "NFREE": 0, "NELMDL": -5, "LMAXMIX": 2, "MAXMIX": -45, "GGA": "--", "METAGGA": "--",
}  # fmt: skip


class BadInputError(Exception):
    """VASP's own complaint about its input; it stops."""


def _value(tag: str, text: str) -> object:
    words = text.split()
    try:
        if tag in LOGICAL or (tag == "LREAL" and words[0].strip(".").lower() in {"t", "f", "true", "false"}):
            return words[0].strip(".").upper().startswith("T")
        if tag in INTEGER:
            return int(float(words[0]))
        if tag in REAL:
            return float(words[0].lower().replace("d", "e"))
        if tag in INTEGERS:
            return [int(word) for word in words]
        if tag in REALS:
            numbers: list[float] = []
            for word in words:
                count, _, number = word.rpartition("*")
                numbers += [float(number)] * int(count or 1)
            return numbers
    except (ValueError, IndexError):
        msg = (
            f" Error reading item '{tag}' from file INCAR.\n Error code was IERR= 5 ... . Found N=    0 data."
        )
        raise BadInputError(msg) from None
    return text.strip()


class Incar(dict[str, object]):
    """Tags as they were written; defaults through :meth:`tag`."""

    @classmethod
    def read(cls, path: Path) -> Incar:
        incar = cls()
        for line in path.read_text().splitlines():
            for part in re.split(r"[#!]", line)[0].split(";"):
                name, equals, text = part.partition("=")
                if equals:
                    tag = name.strip().upper()
                    incar[tag] = _value(tag, text)
        return incar

    def tag(self, name: str) -> object:
        if name in self:
            return self[name]
        if name == "IBRION":
            return -1 if self.tag("NSW") in {0, -1} else 0
        if name == "ISIF":
            return 0 if self.tag("IBRION") == 0 else 2
        if name == "TEEND":
            return self.tag("TEBEG")
        if name == "EDIFFG":
            return 10.0 * float(self.tag("EDIFF"))
        return DEFAULTS[name]

    def number(self, name: str) -> float:
        return float(self.tag(name))

    def integer(self, name: str) -> int:
        return int(self.tag(name))

    @property
    def algo(self) -> str:
        return str(self.tag("ALGO")).strip().lower()[:1]


@dataclass
class Poscar:
    """A POSCAR with everything that may follow its positions; lengths in A, velocities in A/fs."""

    comment: str
    cell: np.ndarray
    symbols: list[str]
    counts: list[int]
    fractional: np.ndarray
    lattice_velocities: np.ndarray | None = None
    velocities: np.ndarray | None = None
    nose: np.ndarray = field(default_factory=lambda: np.zeros(4))
    predictor: np.ndarray | None = None

    @property
    def n_atoms(self) -> int:
        return len(self.fractional)

    @classmethod
    def read(cls, path: Path) -> Poscar:
        lines = path.read_text().splitlines()
        try:
            return cls._parse(lines)
        except (ValueError, IndexError) as error:
            msg = f" ERROR: there is something wrong with the file POSCAR: {error}"
            raise BadInputError(msg) from None

    @classmethod
    def _parse(cls, lines: list[str]) -> Poscar:
        scale = float(lines[1].split()[0])
        cell = np.array([[float(x) for x in line.split()[:3]] for line in lines[2:5]])
        volume = np.linalg.det(cell)
        cell *= scale if scale > 0 else (-scale / abs(volume)) ** (1 / 3)
        if volume < 0:
            msg = " ERROR: the triple product of the basis vectors is negative exchange two basis vectors"
            raise BadInputError(msg)
        symbols = [word.split("/")[0].split("_")[0] for word in lines[5].split()]
        counts = [int(word) for word in lines[6].split()]
        row = 7
        if lines[row].strip()[:1] in {"s", "S"}:
            row += 1
        cartesian = lines[row].strip()[:1] in {"c", "C", "k", "K"}
        row += 1
        n = sum(counts)
        read = np.array([[float(x) for x in line.split()[:3]] for line in lines[row : row + n]])
        fractional = (read * scale) @ np.linalg.inv(cell) if cartesian else read
        found = cls(lines[0].strip(), cell, symbols, counts, fractional - np.floor(fractional))
        row += n
        if row < len(lines) and lines[row].strip()[:1] in {"l", "L"}:
            block = [[float(x) for x in line.split()[:3]] for line in lines[row + 2 : row + 8]]
            found.lattice_velocities = np.array(block[:3])
            row += 8
        if row + n < len(lines) and not lines[row].strip():
            found.velocities = np.array(
                [[float(x) for x in line.split()[:3]] for line in lines[row + 1 : row + 1 + n]]
            )
            row += 1 + n
        if row + 4 + 3 * n <= len(lines) and not lines[row].strip():
            found.nose = np.array([float(x) for x in lines[row + 3].split()[:4]])
            found.predictor = np.array(
                [[float(x) for x in line.split()[:3]] for line in lines[row + 4 : row + 4 + 3 * n]]
            ).reshape(3, n, 3)
        return found


@dataclass(frozen=True)
class Potential:
    """What VASP takes from the header of one POTCAR; mass in u, cutoffs in eV."""

    title: str
    element: str
    mass: float
    valence: float
    enmax: float
    header: str


def read_potcar(path: Path) -> list[Potential]:
    """POTCAR, one entry for each kind of atom."""
    found = []
    for block in path.read_text().split("End of Dataset")[:-1]:
        entries = dict(re.findall(r"(\w+)\s*=\s*([^;\n]*)", block.split("END of PSCTR")[0]))
        found.append(
            Potential(
                title=entries["TITEL"].strip(),
                element=entries["VRHFIN"].split(":")[0].strip(),
                mass=float(entries["POMASS"]),
                valence=float(entries["ZVAL"].split()[0]),
                enmax=float(entries["ENMAX"]),
                header=block.split("parameters from PSCTR are:")[-1].split("END of PSCTR")[0].strip("\n"),
            )
        )
    return found


@dataclass(frozen=True)
class Kpoints:
    """A mesh of k-points."""

    style: str
    divisions: tuple[int, int, int]

    @classmethod
    def read(cls, path: Path, incar: Incar) -> Kpoints:
        if not path.exists():
            if "KSPACING" in incar:
                return cls("Gamma", (1, 1, 1))
            msg = " ERROR: no KPOINTS file and no KSPACING in INCAR"
            raise BadInputError(msg)
        lines = path.read_text().splitlines()
        style = "Gamma" if lines[2].strip()[:1] in {"g", "G"} else "Monkhorst-Pack"
        n1, n2, n3 = (int(word) for word in lines[3].split()[:3])
        return cls(style, (n1, n2, n3))
