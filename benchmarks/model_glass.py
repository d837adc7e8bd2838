"""A model glass for benchmarks and for the pictures of the documentation: no potential has to be trained for it.

Ions with scaled formal charges (damped shifted Coulomb) and Born repulsion in LAMMPS: tetrahedra, chains and mobile Li
come out as in the real material, numbers do not. Nothing of it is a result on oxychlorides.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
from ase.io.lammpsdata import write_lammps_data

from laoc_flows.analysis import Trajectory
from laoc_flows.composition import Cell, Composition
from laoc_flows.engines.lammps import lammps_environment, lammps_program, masses_and_order
from laoc_flows.engines.packing import CHARGE_SCALE, pack
from laoc_flows.process import run_program
from laoc_flows.schemas.base import SPECIES

CHARGES = {"Li": 1.0, "Al": 3.0, "O": -2.0, "Cl": -1.0}
CONTACTS = {
    ("Li", "O"): 1.85,
    ("Li", "Cl"): 2.2,
    ("Al", "O"): 1.5,
    ("Al", "Cl"): 1.82,
    ("O", "O"): 2.75,
    ("O", "Cl"): 3.12,
    ("Cl", "Cl"): 3.5,
    ("Li", "Li"): 2.0,
    ("Li", "Al"): 2.2,
    ("Al", "Al"): 2.6,
}
HARDNESS = 0.28
COULOMB = 14.399645


def _repulsion(a: str, b: str) -> str:
    """Born repulsion that balances the attraction of two unlike ions at contact; like ions get the same strength."""
    r = CONTACTS[a, b] if (a, b) in CONTACTS else CONTACTS[b, a]
    force = CHARGE_SCALE**2 * abs(CHARGES[a] * CHARGES[b]) * COULOMB / r**2
    return f"{HARDNESS * force * math.exp(r / HARDNESS):.8g} {HARDNESS} 0.0"


def model_glass(
    x: str, y: str, n_al: int, temperature: float, duration: float, interval: float, seed: int = 1
) -> Trajectory:
    """Melt at 1500 K, quench to a temperature in 40 ps, and run there at constant volume.

    Parameters
    ----------
    x, y : str
        Composition, as exact decimals or fractions.
    n_al : int
        Al atoms of the cell.
    temperature : float
        Temperature of the run [K].
    duration, interval : float
        Length of the run and time between frames [ps].
    seed : int, default 1
        Seed of packing and velocities.
    """
    cell = Cell(Composition(x, y), n_al)
    symbols = [s for s in SPECIES for _ in range(cell.counts.get(s, 0))]
    length = (41.8 * symbols.count("Cl") + 17.0 * symbols.count("O")) ** (1 / 3)
    every = round(interval / 0.002)
    pairs = [
        f"pair_coeff {SPECIES.index(a) + 1} {SPECIES.index(b) + 1} buck {_repulsion(a, b)}"
        for a, b in combinations_with_replacement(SPECIES, 2)
    ]
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        atoms = pack(symbols, length, seed, directory)
        atoms.set_initial_charges([CHARGE_SCALE * CHARGES[s] for s in symbols])
        write_lammps_data(
            directory / "start.data",
            atoms,
            specorder=list(SPECIES),
            masses=True,
            units="metal",
            atom_style="charge",
        )
        script = [
            "units metal",
            "atom_style charge",
            "read_data start.data",
            *masses_and_order(),
            "pair_style hybrid/overlay coul/dsf 0.2 9.0 buck 7.0",
            "pair_coeff * * coul/dsf",
            *pairs,
            "minimize 0.0 0.05 500 5000",
            f"velocity all create 1500 {seed}",
            "timestep 0.002",
            "fix 1 all nvt temp 1500 1500 0.2",
            "run 10000",
            f"fix 1 all nvt temp 1500 {temperature} 0.2",
            "run 20000",
            f"fix 1 all nvt temp {temperature} {temperature} 0.2",
            "run 10000",
            "reset_timestep 0",
            f"dump 1 all custom {every} run.dump id type x y z",
            "dump_modify 1 sort id format float %.6f",
            f"run {round(duration / 0.002)}",
        ]
        (directory / "in.lammps").write_text("\n".join(script) + "\n")
        done = run_program(
            [*lammps_program(), "-in", "in.lammps", "-log", "none"],
            directory=directory,
            log="out.log",
            environment=lammps_environment(plugin=False),
            timeout=7200,
        )
        if done.returncode:
            raise SystemExit(done.tail())
        rows = np.loadtxt(
            (line for line in (directory / "run.dump").open() if line.count(" ") == 4 and line[0].isdigit()),
            usecols=(2, 3, 4),
        )
    positions = rows.reshape(-1, len(symbols), 3)
    return Trajectory(symbols, positions, np.eye(3) * length, interval)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--x", default="1")
    parser.add_argument("--y", default="0.75")
    parser.add_argument("--n-al", type=int, default=16)
    parser.add_argument("--temperature", type=float, default=700)
    parser.add_argument("--duration", type=float, default=200)
    parser.add_argument("--interval", type=float, default=0.05)
    given = parser.parse_args()
    made = model_glass(given.x, given.y, given.n_al, given.temperature, given.duration, given.interval)
    print(made.write(given.out), made.n_frames, "frames")
