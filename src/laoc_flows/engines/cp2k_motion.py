"""A segment of dynamics or a relaxation with CP2K: legs at one temperature each, one after the other.

CP2K's thermostats know no ramp. A ramp is a staircase of legs; each goes on from the restart file of the one before,
thermostat and wavefunction included, with the next temperature.

Like everything that runs CP2K, this is imported only where it is used: it imports custodian.
"""

from __future__ import annotations

import math
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from laoc_flows.engines.cp2k_inputs import INPUT_FILE, motion_input, physics_of
from laoc_flows.engines.cp2k_outputs import OUTPUT_FILE, Step, read_report, read_steps
from laoc_flows.engines.cp2k_recipe import Dynamics, Leg, Physics, Scf
from laoc_flows.engines.cp2k_restart import holds, read_restart, write_positions, write_restart
from laoc_flows.engines.cp2k_runs import LOG_FILES, Program, next_project, run_cp2k
from laoc_flows.engines.custody import corrections_of, failure_log
from laoc_flows.engines.dynamics import ROW_COLUMNS, MDState, Segment, SegmentRun
from laoc_flows.schemas.label import Correction

_FIRST_PROJECT = "run0"
_WAVEFUNCTION = "start.wfn"
# A leg that has less than this left would be stopped before its first step is done.
_SHORTEST = 30.0


def stairs(segment: Segment, highest: float) -> list[Leg]:
    """Legs of a segment: equal stairs, the last one at the end temperature.

    Parameters
    ----------
    segment : Segment
        What to run.
    highest : float
        Largest difference of the temperature between two legs [K].

    Examples
    --------
    >>> ramp = Segment("nvt", 10, 1.0, 400.0, 300.0, 0.0, 1, 0)
    >>> stairs(ramp, 50.0)
    [Leg(n_steps=5, temperature=350.0), Leg(n_steps=5, temperature=300.0)]
    """
    difference = segment.end_temperature - segment.start_temperature
    ramp = segment.ensemble != "relax" and difference != 0.0
    n_legs = min(segment.n_steps, max(1, math.ceil(abs(difference) / highest))) if ramp else 1
    edges = np.linspace(0, segment.n_steps, n_legs + 1).round().astype(int)
    targets = segment.start_temperature + difference * np.arange(1, n_legs + 1) / n_legs
    return [
        Leg(int(steps), float(target)) for steps, target in zip(np.diff(edges), targets, strict=True) if steps
    ]


@dataclass
class _Progress:
    """What the legs have made so far."""

    state: MDState
    rung: int
    wavefunction: Path | None = None
    steps: list[Step] = field(default_factory=list)
    corrections: tuple[Correction, ...] = ()
    failure: str = ""
    log: bytes = b""


@dataclass(frozen=True)
class Mover:
    """Runs segments with given settings.

    Attributes
    ----------
    program : Program
        How CP2K is started.
    data_dir : pathlib.Path
        CP2K's basis sets and potentials.
    physics : Physics
        Level of theory.
    scf : Scf
        How to converge.
    dynamics : Dynamics
        Time constants.
    max_temperature_step : float
        Largest difference of the temperature between two legs [K].
    walltime : float
        Time of the whole segment [s].
    """

    program: Program
    data_dir: Path
    physics: Physics
    scf: Scf
    dynamics: Dynamics
    max_temperature_step: float
    walltime: float

    def run(self, state: MDState, segment: Segment, directory: Path) -> SegmentRun:
        """Run a segment.

        Parameters
        ----------
        state : MDState
            Start.
        segment : Segment
            What to run.
        directory : pathlib.Path
            Directory to work in, one subdirectory for each leg.
        """
        deadline = time.monotonic() + self.walltime
        progress = _Progress(state, self.scf.rung)
        for number, leg in enumerate(stairs(segment, self.max_temperature_step)):
            left = deadline - time.monotonic()
            if number and left < _SHORTEST:
                break
            here = directory / f"leg-{number:03d}"
            here.mkdir()
            if not self._leg(progress, segment, leg, here, left):
                break
        return _result(progress, segment)

    def _leg(self, progress: _Progress, segment: Segment, leg: Leg, here: Path, walltime: float) -> bool:
        """Run a leg; whether it was finished."""
        start = progress.state.atoms
        write_positions(start, here)
        if holds(progress.state.restart, segment.ensemble, self.dynamics.thermostat):
            (here / "start.restart").write_bytes(progress.state.restart)
        elif segment.ensemble != "relax":
            write_restart(start, here, seed=segment.seed, thermostat=self.dynamics.thermostat)
        if progress.wavefunction is not None:
            shutil.copy(progress.wavefunction, here / _WAVEFUNCTION)
        scf = Scf(self.scf.max_scf, self.scf.outer_scf, progress.rung)
        intended = motion_input(
            start,
            segment,
            leg,
            self.physics,
            scf,
            self.dynamics,
            data_dir=self.data_dir,
            project=_FIRST_PROJECT,
            walltime=walltime,
            wavefunction=_WAVEFUNCTION if progress.wavefunction is not None else "",
        )
        intended.write_file(INPUT_FILE, here)
        progress.rung = run_cp2k(
            self.program, here, rung=progress.rung, max_scf=self.scf.max_scf, walltime=walltime
        )
        progress.corrections += corrections_of(here)
        if physics_of((here / INPUT_FILE).read_text()) != physics_of(str(intended)):
            # Its frames are of another level of theory: none is taken.
            failure = "a correction has changed the level of theory"
        else:
            failure = _gather(progress, here)
        if failure:
            progress.failure = failure
            progress.log = failure_log(here, LOG_FILES)
        return not failure and not read_report(here / OUTPUT_FILE).out_of_time


def _gather(progress: _Progress, here: Path) -> str:
    """Take what the attempts of a leg have made; why it failed, if it did."""
    made: dict[int, Step] = {}
    project, done, state = _FIRST_PROJECT, 0, progress.state
    while True:
        archived = here / f"{project}.out"
        report = read_report(archived if archived.exists() else here / OUTPUT_FILE)
        found = read_steps(here, project, state.atoms, report.good_steps)
        if found:
            made.update({done + step: value for step, value in found.items()})
            done += max(found)
            restart = (here / f"{project}-1_{max(found)}.restart").read_bytes()
            state = MDState(read_restart(state.atoms, restart), restart)
        if not archived.exists():
            break
        project = next_project(project)
    progress.steps += [made[step] for step in sorted(made)]
    progress.state = state
    wavefunction = here / f"{project}-RESTART.wfn"
    progress.wavefunction = wavefunction if wavefunction.exists() else None
    if report.unconverged:
        return f"the SCF of step {len(progress.steps) + 1} did not converge on any rung of the ladder"
    if not report.ended:
        return f"CP2K stopped after step {len(progress.steps)}: {report.message or 'without a message'}"
    return ""


def _result(progress: _Progress, segment: Segment) -> SegmentRun:
    kept = range(segment.frame_every, len(progress.steps) + 1, segment.frame_every)
    state = progress.state
    if segment.ensemble == "relax":
        # The restart file of an optimizer is no beginning of a dynamics.
        resting = state.atoms.copy()
        resting.set_momenta(np.zeros((len(resting), 3)))
        state = MDState(resting)
    return SegmentRun(
        n_steps=len(progress.steps),
        frames=[progress.steps[step - 1].atoms for step in kept],
        frame_steps=list(kept),
        rows=np.array([(number, *step.row) for number, step in enumerate(progress.steps, start=1)]).reshape(
            -1, len(ROW_COLUMNS)
        ),
        state=state,
        failure=progress.failure,
        corrections=progress.corrections,
        log=progress.log,
    )
