"""A stand-in for VASP: reads VASP's input, computes with a cheap model, writes VASP's output and takes VASP's faults.

It is what the tests run in place of ``vasp_std``; nobody has to own VASP to test what surrounds it. Energies have
nothing to do with DFT, formats and file handling have everything to do with VASP 6.4.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np

from tests.standin import outputs, xml
from tests.standin.dynamics import MASS, Dynamics, Ions, Relaxation, ions_of
from tests.standin.faults import Planted
from tests.standin.inputs import BadInputError, Incar, Kpoints, Poscar, Potential, read_potcar
from tests.standin.model import calculator

# How far the first electronic step is from the energy [eV], and what is left of it in each of the next.
FIRST_CHANGE, NEXT_CHANGE = 50.0, 0.5
CONTRACTION = {"n": 0.22, "a": 0.25, "c": 0.25}


@dataclass
class Step:
    """Results of one ionic step; energies in eV."""

    number: int
    scf: list[float]
    converged: bool
    free_energy: float
    entropy: float
    dispersion: float
    forces: np.ndarray
    virial: np.ndarray
    pv: float = 0.0
    change: float = 0.0
    is_aborted: bool = False
    nose: tuple[float, float] = (0.0, 0.0)
    lattice_kinetic: float = 0.0

    def total(self, ions: Ions) -> float:
        """What the dynamics conserve."""
        return self.free_energy + self.pv + ions.kinetic + sum(self.nose) + self.lattice_kinetic


@dataclass
class Job:
    """Input of a run."""

    incar: Incar
    poscar: Poscar
    kpoints: Kpoints
    potentials: list[Potential]
    seed: list[int]
    dynamics: Dynamics | None = None
    symbols: list[str] = field(default_factory=list)

    @property
    def elements(self) -> list[str]:
        return [p.element for p in self.potentials]

    @property
    def counts(self) -> list[int]:
        return self.poscar.counts

    @property
    def is_dynamics(self) -> bool:
        return self.incar.tag("IBRION") == 0

    @property
    def encut(self) -> float:
        return float(self.incar.get("ENCUT", max(p.enmax for p in self.potentials)))

    @property
    def n_electrons(self) -> float:
        return sum(p.valence * n for p, n in zip(self.potentials, self.counts, strict=True))

    @property
    def n_bands(self) -> int:
        return int(self.incar.get("NBANDS", self.n_electrons // 2 + max(len(self.symbols) // 2, 3)))

    def bands(self) -> list[tuple[float, float]]:
        """Bands of an insulator: energy [eV] and occupation."""
        full = int(self.n_electrons // 2)
        return [(-20.0 + 15.0 * n / max(1, full), 1.0) for n in range(full)] + [
            (2.0 + 0.1 * n, 0.0) for n in range(self.n_bands - full)
        ]


def read_input(directory: Path, planted: Planted, incar: Incar) -> Job:
    """Input files, with VASP's complaints."""
    poscar = Poscar.read(directory / "POSCAR")
    if not (directory / "POTCAR").exists():
        msg = " ERROR: the file POTCAR could not be opened"
        raise BadInputError(msg)
    potentials = read_potcar(directory / "POTCAR")
    if planted.is_("species_order"):
        potentials = potentials[::-1]
    if len(potentials) != len(poscar.counts):
        msg = " ERROR: number of potentials on File POTCAR incompatible with number of species"
        raise BadInputError(msg)
    seed = incar.get("RANDOM_SEED")
    if seed is None:
        seed = [int(time.time_ns() % 900_000_000), 0, 0]
    job = Job(incar, poscar, Kpoints.read(directory / "KPOINTS", incar), potentials, list(seed))
    job.symbols = [p.element for p, n in zip(potentials, poscar.counts, strict=True) for _ in range(n)]
    if planted.is_("permuted_atoms"):
        poscar.fractional = np.roll(poscar.fractional, 1, axis=0)
    if job.is_dynamics and "POTIM" not in incar:
        msg = " ERROR: POTIM must be set in INCAR for molecular dynamics"
        raise BadInputError(msg)
    return job


class Vasp:
    """One execution in a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._started = time.monotonic()
        incar = Incar.read(directory / "INCAR")
        self._planted = Planted(directory, incar)
        self._job = read_input(directory, self._planted, incar)
        self._compute = calculator()
        self._files = {
            name: (directory / name).open("w") for name in ("OUTCAR", "OSZICAR", "vasprun.xml", "XDATCAR")
        }
        (directory / "CONTCAR").write_text("")

    def _write(self, name: str, text: str) -> None:
        self._files[name].write(text)

    def _flush(self) -> None:
        for handle in self._files.values():
            handle.flush()

    def run(self) -> None:
        """Compute, move, write; stop when asked to."""
        job, planted = self._job, self._planted
        rng = np.random.default_rng([abs(x) for x in job.seed])
        masses = (
            np.array([p.mass for p, n in zip(job.potentials, job.counts, strict=True) for _ in range(n)])
            * MASS
        )
        ions = ions_of(job.poscar, job.symbols, masses, job.incar, rng)
        if job.is_dynamics:
            job.dynamics = Dynamics(job.incar, job.elements, rng)
        relaxation = Relaxation()
        outputs.say(
            f" running    1 mpi-ranks, on    1 nodes\n distrk:  each k-point on    1 cores,    1 groups\n {outputs.BANNER}\n"
            f" POSCAR found type information on POSCAR {' '.join(job.poscar.symbols)}\n"
            f" POSCAR found :{len(job.counts):3d} types and {len(job.symbols):7d} ions\n"
        )
        self._complain()
        outputs.say(" POSCAR, INCAR and KPOINTS ok, starting setup\n WAVECAR not read\n entering main loop\n")
        self._write("OUTCAR", outputs.header(job, ions))
        self._write("vasprun.xml", xml.preamble(job, ions))
        n_steps = max(1, job.incar.integer("NSW"))
        previous: Step | None = None
        for number in range(1, n_steps + 1):
            begun = time.monotonic()
            step, stop = self._ionic_step(ions, number, previous)
            done = self._is_relaxed(step)
            last = number == n_steps or stop or done
            self._write("vasprun.xml", xml.end_of_calculation(job, last=last))
            if job.dynamics is not None:
                job.dynamics.after(ions, step.forces, step.virial, number)
            elif job.incar.integer("NSW") > 0 and not done:
                relaxation.move(ions, step.free_energy, step.forces)
            outputs.write_now(self._directory / "CONTCAR", outputs.contcar(job, ions))
            self._write("OUTCAR", outputs.loop_time(time.monotonic() - begun))
            self._flush()
            if last:
                break
            previous = step
        if done:
            outputs.say(" reached required accuracy - stopping structural energy minimisation\n")
        self._finish(ions)
        planted.at_the_end()

    def _complain(self) -> None:
        job, planted = self._job, self._planted
        if job.elements != job.poscar.symbols:
            text = outputs.boxed(
                "WARNING",
                [
                    "type information on POSCAR and POTCAR are incompatible",
                    "POTCAR overwrites the type information in POSCAR",
                ],
            )
            outputs.say(text)
            self._write("OUTCAR", text)
        if planted.is_("mesh_symmetry"):
            outputs.say(
                " Reciprocal lattice and k-lattice belong to different class of lattices.\n"
                " Often results are still useful...\n"
            )

    def _ionic_step(self, ions: Ions, number: int, previous: Step | None) -> tuple[Step, bool]:
        job, planted = self._job, self._planted
        result = self._compute(job.symbols, ions.positions, ions.cell, dispersion=bool(job.incar.tag("IVDW")))
        forces, virial = result.forces, result.virial
        if planted.is_("nan_forces"):
            forces = np.full_like(forces, np.nan)
        if planted.is_("exploding", number):
            forces = 1e4 * forces
        if job.dynamics is not None:
            job.dynamics.before(ions, forces, virial, number)
        entropy = self._entropy()
        free_energy = result.energy + self._offset() - entropy
        step = Step(number, [], False, 0.0, entropy, result.dispersion, forces, virial)
        self._converge(step, free_energy - result.dispersion)
        step.free_energy = step.scf[-1] + result.dispersion
        step.pv = job.incar.number("PSTRESS") / 1602.1766 * ions.volume
        step.change = step.free_energy - (previous.free_energy if previous else 0.0)
        if job.dynamics is not None:
            step.nose = job.dynamics.extended_energy(ions, number)
            step.lattice_kinetic = job.dynamics.lattice_kinetic(ions)
        line = outputs.ionic_line(job, step, ions)
        self._write("OSZICAR", line)
        outputs.say(line)
        self._write("OUTCAR", outputs.ionic_step(job, step, ions))
        if job.is_dynamics:
            self._write("OUTCAR", outputs.dynamics_step(job, step, ions))
        self._write("vasprun.xml", xml.calculation(job, step, ions))
        if number % max(1, job.incar.integer("NBLOCK")) == 0:
            if number == max(1, job.incar.integer("NBLOCK")) or job.incar.tag("ISIF") == 3:
                self._write("XDATCAR", outputs.xdatcar_head(job, ions.cell))
            self._write(
                "XDATCAR", f"Direct configuration={number:6d}\n{outputs.rows(ions.fractional, 12, 8)}"
            )
        self._flush()
        return step, step.is_aborted or self._asked_to_stop("LSTOP")

    def _converge(self, step: Step, energy: float) -> None:
        """Electronic steps, each a constant factor closer to the energy."""
        job, planted, incar = self._job, self._planted, self._job.incar
        factor = CONTRACTION.get(incar.algo, 0.3)
        if planted.is_("slow_scf") or planted.is_("hopeless_scf"):
            factor = 0.95
        if planted.is_("positive_energy") or planted.is_("always_positive"):
            energy = abs(energy)
        change = FIRST_CHANGE if step.number == 1 else NEXT_CHANGE
        head = "       N       E                     dE             d eps       ncg     rms          rms(c)\n"
        least, most = max(2, incar.integer("NELMIN")), incar.integer("NELM")
        for index in range(most):
            step.scf.append(energy + change)
            moved = abs(step.scf[-1] - step.scf[-2]) if index else np.inf
            if moved < incar.number("EDIFF") and index + 1 >= least:
                # What is left of the change is as far below EDIFF as VASP's own is: nothing.
                step.scf[-1], step.converged = energy, index + 1 < most
            lines = (head if index == 0 else "") + outputs.scf_line(step, index, job.n_bands)
            self._write("OSZICAR", lines)
            outputs.say(lines)
            self._write("OUTCAR", outputs.iteration(job, step, index))
            if index == 2:
                self._flush()
                planted.in_the_middle(step.number)
            if index >= 2 and not step.converged:
                step.is_aborted = self._asked_to_stop("LABORT")
            if step.converged or step.is_aborted:
                return
            change *= factor

    def _entropy(self) -> float:
        sigma, n = self._job.incar.number("SIGMA"), len(self._job.symbols)
        per_atom = (
            2e-3 * (sigma / 0.05) ** 2 if self._planted.name == "large_sigma" else 1e-7 * (sigma / 0.05) ** 2
        )
        return n * per_atom

    def _offset(self) -> float:
        # Settings that change what VASP computes change the energy a little, so that nothing of it passes unseen.
        incar, n = self._job.incar, len(self._job.symbols)
        precise = str(incar.tag("PREC")).strip().lower()[:1] == "a"
        offset = 0.3 * np.exp(-self._job.encut / 100.0) + (0.0 if precise else 2e-3)
        offset += 1e-3 if incar.tag("LREAL") else 0.0
        offset += 5e-4 * (np.prod(self._job.kpoints.divisions) - 1)
        return float(n * offset)

    def _is_relaxed(self, step: Step) -> bool:
        incar = self._job.incar
        if self._job.is_dynamics or incar.integer("NSW") == 0:
            return False
        limit = incar.number("EDIFFG")
        if limit < 0:
            return bool(np.linalg.norm(step.forces, axis=1).max() < -limit)
        return step.number > 1 and abs(step.change) < limit

    def _asked_to_stop(self, tag: str) -> bool:
        path = self._directory / "STOPCAR"
        try:
            return Incar.read(path).get(tag, "").strip(".").upper().startswith("T")
        except FileNotFoundError:
            return False

    def _finish(self, ions: Ions) -> None:
        stopcar = self._directory / "STOPCAR"
        if stopcar.exists():
            kind = "hard" if self._asked_to_stop("LABORT") else "soft"
            self._write("OUTCAR", f" {kind} stop encountered!  aborting job ...\n")
            outputs.say(f" {kind} stop encountered!  aborting job ...\n")
            stopcar.unlink()
        self._write("OUTCAR", outputs.footer(time.monotonic() - self._started))
        self._write("vasprun.xml", xml.closing(self._job, ions))
        for handle in self._files.values():
            handle.close()
        outputs.say(" writing wavefunctions\n")


def main() -> None:
    """Run in the present directory."""
    try:
        Vasp(Path.cwd()).run()
    except BadInputError as error:
        outputs.say(
            f"{error}\n{outputs.boxed('ERROR', ['I REFUSE TO CONTINUE WITH THIS SICK JOB ... BYE!!!'])}"
        )
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
