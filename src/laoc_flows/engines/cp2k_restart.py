"""Where a run of CP2K begins and ends: positions, velocities and the thermostat, in files that no editor reads."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from ase import Atoms, units

from laoc_flows.engines.cp2k_inputs import POSITIONS_FILE, RESTART_FILE

# Seeds of CP2K's generator (L'Ecuyer's MRG32k3a): two triples below two moduli.
_MODULI = (4294967087, 4294944443)
_VELOCITY = units.Bohr / units.AUT


def write_positions(atoms: Atoms, directory: Path) -> None:
    """Write the positions where the inputs expect them, in the order of the atoms."""
    (directory / POSITIONS_FILE).write_text("\n".join([str(len(atoms)), "", *_coordinates(atoms), ""]))


def write_restart(atoms: Atoms, directory: Path, *, seed: int, thermostat: str) -> None:
    """Write a state as a restart file, as precisely as a float is.

    ``GLOBAL/SEED`` does not reach the CSVR thermostat: without its own seed, every run that CP2K 2023 begins
    meets the same noise.

    Parameters
    ----------
    atoms : ase.Atoms
        Cell, positions and momenta.
    directory : pathlib.Path
        Where CP2K is to run.
    seed : int
        Seed of the thermostat and of the barostat's thermostat.
    thermostat : {"CSVR", "NOSE"}
        Kind of thermostat; NOSE begins at rest and draws nothing.
    """
    cell = zip("ABC", atoms.cell.tolist(), strict=True)
    velocities = (atoms.get_velocities() / _VELOCITY).tolist()
    lines = [
        *(_noise(seed) if thermostat == "CSVR" else []),
        "&FORCE_EVAL",
        "&SUBSYS",
        "&CELL",
        *(f"{axis} {x!r} {y!r} {z!r}" for axis, (x, y, z) in cell),
        "&END CELL",
        "&COORD",
        *_coordinates(atoms),
        "&END COORD",
        "&VELOCITY",
        *(f"{x!r} {y!r} {z!r}" for x, y, z in velocities),
        "&END VELOCITY",
        "&END SUBSYS",
        "&END FORCE_EVAL",
        "",
    ]
    (directory / RESTART_FILE).write_text("\n".join(lines))


def _coordinates(atoms: Atoms) -> list[str]:
    rows = zip(atoms.get_chemical_symbols(), atoms.positions.tolist(), strict=True)
    return [f"{symbol} {x!r} {y!r} {z!r}" for symbol, (x, y, z) in rows]


def _noise(seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    thermostat, barostat = (
        ["TYPE CSVR", "&CSVR", "&RNG_INIT", _record(rng), "&END RNG_INIT", "&END CSVR"] for _ in range(2)
    )
    return [
        "&MOTION",
        "&MD",
        "&BAROSTAT",
        "&THERMOSTAT",
        *barostat,
        "&END THERMOSTAT",
        "&END BAROSTAT",
        "&THERMOSTAT",
        *thermostat,
        "&END THERMOSTAT",
        "&END MD",
        "&END MOTION",
    ]


def _record(rng: np.random.Generator) -> str:
    # Format (A40,I2,3L2,ES25.16,18F20.1): name, Gaussian, antithetic, extended precision, buffer; state three times.
    state = [int(rng.integers(1, modulus)) for modulus in _MODULI for _ in range(3)]
    numbers = "".join(f"{value:20.1f}" for _ in range(3) for value in state)
    return f"{'Wiener process for Thermostat # 1':<40} 1 F T F{0.0:25.16E}{numbers}"


def holds(restart: bytes, ensemble: str, thermostat: str) -> bool:
    """Whether a restart file fits what is to be run.

    Parameters
    ----------
    restart : bytes
        A restart file that CP2K wrote, or nothing.
    ensemble : {"nvt", "npt"}
        Ensemble that goes on.
    thermostat : {"CSVR", "NOSE"}
        Kind of thermostat.
    """
    if not restart:
        return False
    words = restart.decode().split()
    return f"&{thermostat}" in words and ("&BAROSTAT" in words) == (ensemble == "npt")


def read_restart(atoms: Atoms, data: bytes) -> Atoms:
    """Positions, velocities and cell of a restart file.

    Parameters
    ----------
    atoms : ase.Atoms
        The same atoms in the same order.
    data : bytes
        A restart file that CP2K wrote.

    Raises
    ------
    ValueError
        If it is about other atoms.
    """
    text = data.decode()
    coordinates = [line.split() for line in _block(text, "COORD")]
    if [fields[0] for fields in coordinates] != atoms.get_chemical_symbols():
        msg = "the restart file has other atoms, or in another order"
        raise ValueError(msg)
    moved: Atoms = atoms.copy()
    moved.set_cell(np.array([line.split()[1:4] for line in _block(text, "CELL")[:3]], dtype=float))
    moved.positions = np.array([fields[1:4] for fields in coordinates], dtype=float)
    velocities = _block(text, "VELOCITY", missing_ok=True)
    if velocities:
        moved.set_velocities(np.loadtxt(io.StringIO("\n".join(velocities)), ndmin=2) * _VELOCITY)
    return moved


def _block(text: str, name: str, *, missing_ok: bool = False) -> list[str]:
    # The barostat has a &VELOCITY of its own: that of the atoms is in the part after.
    lines = [line.strip() for line in text[text.index("&FORCE_EVAL") :].splitlines()]
    if missing_ok and f"&{name}" not in lines:
        return []
    start = lines.index(f"&{name}") + 1
    return lines[start : lines.index(f"&END {name}", start)]
