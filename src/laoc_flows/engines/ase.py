"""Engines that are ASE calculators: single points, relaxation and dynamics, the same for all of them.

atomate2's ``AseMDMaker`` and the static Makers of its force fields were considered and not used: they relax with
zero steps, raise when an SCF does not converge, cannot seed their thermostat and lose the whole trajectory when
one step fails. ASE's own optimizer and dynamics do the work; the choice among them is in
:mod:`laoc_flows.engines.ase_dynamics`.
"""

from __future__ import annotations

import time
import warnings
from abc import abstractmethod
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.calculators.singlepoint import SinglePointCalculator

from laoc_flows.engines.base import Engine
from laoc_flows.engines.clock import DAY, JobClock
from laoc_flows.engines.dynamics import ROW_COLUMNS, MDState, Segment, SegmentRun, SinglePoint
from laoc_flows.engines.labels import total_pressure
from laoc_flows.schemas.label import LabelStatus
from laoc_flows.settings import Settings

_MAX_STEP, _MAX_FORCE = 0.1, 0.05
# A cell this much hotter than it should be has left its potential's range of validity, or its time step.
_RUNAWAY = 5.0
_REASON_LENGTH = 300


class AseEngine(Engine):
    """An engine whose code has an ASE calculator.

    A subclass gives the calculator, the identity of its numbers and what it needs to run. The calculator has to
    give energy, forces and stress of a periodic cell.
    """

    @abstractmethod
    def calculator(self) -> Calculator:
        """A new ASE calculator.

        Raises
        ------
        EngineUnavailableError
            If a package or a file that it needs is missing.
        """

    def known_species(self, calculator: Calculator) -> Collection[str] | None:  # noqa: ARG002
        """Chemical symbols that the calculator can compute, None if it says so itself."""
        return None

    def single_points(self, frames: Sequence[Atoms], directory: Path) -> Iterator[SinglePoint]:
        """Compute frames with one calculator, a new one after a frame that failed.

        Parameters
        ----------
        frames : sequence of ase.Atoms
            Periodic cells.
        directory : pathlib.Path
            Not used: nothing is written.

        Yields
        ------
        SinglePoint
            Unconverged if the code says so, crashed if it fails otherwise or gives numbers that are not finite.
        """
        del directory
        calculator = self.calculator()
        for frame in frames:
            atoms = _bare(frame)
            try:
                self._attach(atoms, calculator)
                energy, forces, stress = _results(atoms)
            except Exception as error:  # noqa: BLE001 -- whatever a code does to one frame, the batch goes on
                reason = _reason(error)
                unconverged = "not converged" in reason.lower()
                yield SinglePoint(LabelStatus.UNCONVERGED if unconverged else LabelStatus.CRASHED, reason)
                # What a failed calculation leaves behind in its code would be the next one's first guess.
                calculator = self.calculator()
            else:
                yield SinglePoint(LabelStatus.CONVERGED, energy=energy, forces=forces, stress=stress)

    def run_segment(self, state: MDState, segment: Segment, directory: Path) -> SegmentRun:
        """Run a segment of dynamics, or a relaxation, with a row for each step.

        A state without any momentum gets those of the segment's first temperature, from its seed. The total
        momentum is zero, and temperatures count ``3 N - 3`` degrees of freedom. The segment ends early,
        without a failure, at the time limit of the settings.

        Parameters
        ----------
        state : MDState
            Start, with momenta unless it is a relaxation; its restart is the momentum of the barostat.
        segment : Segment
            What to run.
        directory : pathlib.Path
            Not used: nothing is written.
        """
        del directory
        calculator = self.calculator()
        deadline = time.monotonic() + (segment.time_limit or JobClock(Settings.load()).left(DAY))
        atoms = _bare(state.atoms)
        record = _Record(atoms, segment, state)
        try:
            self._attach(atoms, calculator)
            for step in (
                _relax(atoms, segment) if segment.ensemble == "relax" else _move(atoms, segment, state)
            ):
                record.add(*step)
                if time.monotonic() > deadline:
                    break
        except Exception as error:  # noqa: BLE001 -- a failed step ends the segment, not the campaign
            return record.run(failure=f"step {record.n_steps + 1}: {_reason(error)}")
        return record.run()

    def _attach(self, atoms: Atoms, calculator: Calculator) -> None:
        known = self.known_species(calculator)
        unknown = set() if known is None else set(atoms.get_chemical_symbols()).difference(known)
        if unknown:
            msg = f"{self.name} does not know {', '.join(sorted(unknown))}"
            raise ValueError(msg)
        atoms.calc = calculator


class _Record:
    """Rows, frames and the last good state of a segment while it runs."""

    def __init__(self, atoms: Atoms, segment: Segment, state: MDState) -> None:
        self._atoms = atoms
        self._segment = segment
        self._state = state
        self._frames: list[Atoms] = []
        self._frame_steps: list[int] = []
        self._rows: list[tuple[float, ...]] = []
        # A cell that is handed hot to a cold thermostat has not run away.
        self._start = _temperature(state.atoms)
        self.n_steps = 0

    def add(self, step: int, restart: bytes) -> None:
        """Keep a step, unless its numbers cannot be those of this cell."""
        atoms = self._atoms
        energy, forces, stress = _results(atoms)
        temperature = 0.0 if self._segment.ensemble == "relax" else _temperature(atoms)
        volume = float(atoms.get_volume())
        if not np.isfinite([temperature, volume, *atoms.positions.ravel()]).all():
            msg = "positions or momenta are not finite numbers"
            raise FloatingPointError(msg)
        if temperature > _RUNAWAY * max(self._segment.temperature_after(step), self._start):
            msg = f"the temperature ran away to {temperature:.0f} K"
            raise FloatingPointError(msg)
        pressure = total_pressure(stress, len(atoms), volume, temperature)
        self._rows.append((step, temperature, pressure, energy, volume))
        self._state = MDState(_bare(atoms), restart)
        self.n_steps = step
        if step % self._segment.frame_every == 0:
            frame = _bare(atoms)
            frame.calc = SinglePointCalculator(frame, energy=energy, forces=forces, stress=stress)
            self._frames.append(frame)
            self._frame_steps.append(step)

    def run(self, failure: str = "") -> SegmentRun:
        """Everything made so far."""
        return SegmentRun(
            n_steps=self.n_steps,
            frames=self._frames,
            frame_steps=self._frame_steps,
            rows=np.array(self._rows, dtype=float).reshape(-1, len(ROW_COLUMNS)),
            state=self._state,
            failure=failure,
        )


def _relax(atoms: Atoms, segment: Segment) -> Iterator[tuple[int, bytes]]:
    """FIRE at constant cell; ends before its time when the forces are small."""
    # Here and below: ASE's constraints and dynamics import half of scipy, and a status asks an engine for its name only.
    from ase.constraints import FixCom
    from ase.optimize import FIRE

    atoms.set_constraint(FixCom())
    optimizer = FIRE(atoms, logfile=None, maxstep=_MAX_STEP)
    done = 0
    for _ in optimizer.irun(fmax=_MAX_FORCE, steps=segment.n_steps):
        if optimizer.nsteps > done:
            done = optimizer.nsteps
            yield done, b""


def _move(atoms: Atoms, segment: Segment, state: MDState) -> Iterator[tuple[int, bytes]]:
    """Dynamics at the ensemble and the thermostat of a segment, one step at a time."""
    from ase.constraints import FixCom
    from ase.md.velocitydistribution import thermalize_momenta

    from laoc_flows.engines.ase_dynamics import dynamics_of

    rng = _generator(segment.seed)
    atoms.set_constraint(FixCom())
    if not atoms.get_momenta().any():
        thermalize_momenta(atoms, temperature_K=segment.start_temperature, rng=rng)
    atoms.set_momenta(atoms.get_momenta())
    dynamics = dynamics_of(atoms, segment, rng, state.restart)
    for step in range(1, segment.n_steps + 1):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dynamics.step(segment.temperature_after(step))
        yield step, dynamics.restart


def _temperature(atoms: Atoms) -> float:
    """Kinetic temperature of a cell whose center of mass is at rest [K]."""
    return float(2.0 * atoms.get_kinetic_energy() / (max(1, 3 * len(atoms) - 3) * units.kB))


def _generator(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def _bare(atoms: Atoms) -> Atoms:
    """Periodic cell with its momenta, without calculator and constraints."""
    bare = Atoms(atoms.get_chemical_symbols(), positions=atoms.positions, cell=atoms.cell, pbc=True)
    if atoms.has("momenta"):
        bare.set_momenta(atoms.get_momenta())
    return bare


def _results(atoms: Atoms) -> tuple[float, np.ndarray, np.ndarray]:
    """Energy [eV], forces [eV/A] and stress [eV/A^3] of the present frame, in double precision."""
    # What a neural network says to every job about its device and its tensors is not about the job.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        energy = float(atoms.get_potential_energy())
        forces = np.array(atoms.get_forces(apply_constraint=False), dtype=float)
        stress = np.array(atoms.get_stress(apply_constraint=False), dtype=float)
    if not (np.isfinite(energy) and np.isfinite(forces).all() and np.isfinite(stress).all()):
        msg = "the results are not finite numbers"
        raise FloatingPointError(msg)
    return energy, forces, stress


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:_REASON_LENGTH] or type(error).__name__
