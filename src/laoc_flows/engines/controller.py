"""The melt-quench controller: takes a cell through stages with any engine, and says what really happened.

The controller decides from numbers only: how many steps are left, whether the melt is one, whether the density
is equilibrated. The engine runs segments. Between two segments everything is in a :class:`Progress`, an
:class:`~laoc_flows.engines.dynamics.MDState` and a :class:`~laoc_flows.engines.recording.Recording`, so that a
run can go on in another job.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase import Atoms
from pydantic import Field

from laoc_flows.blobs import derive_seed
from laoc_flows.engines.base import Engine
from laoc_flows.engines.density import mean_pressure, next_step
from laoc_flows.engines.dynamics import MDState, Segment, SegmentRun, in_cell, scaled
from laoc_flows.engines.melting import between_falls, melt_record, melting_stages
from laoc_flows.engines.recording import Recording
from laoc_flows.engines.stage_records import record_stage
from laoc_flows.errors import InputError
from laoc_flows.schemas.base import Model
from laoc_flows.schemas.label import Attempt, Correction, MeltRecord, StageRecord
from laoc_flows.schemas.protocol import DensityEquilibration, Stage

_MELT_CHECKS = 8
"""How often a stage that waits for the melt looks, at most."""

_AGAIN = 1
"""How often a segment that failed is begun again: what was struck by a node or a disk then succeeds."""

_WHOLE = 1e-6


class Progress(Model):
    """How far a run is; with state and recording, all there is to know."""

    relaxed: bool = Field(default=False, description="whether the relaxation is done")
    stage: int = Field(0, ge=0, description="stage that is under way")
    step: int = Field(0, ge=0, description="MD steps made in it")
    volume_from: int = Field(0, ge=0, description="step at which the present volume began")
    volume_runs: int = Field(1, ge=1, description="runs of the stage's time at the present volume, planned")
    runs: int = Field(0, ge=0, description="runs of the density equilibration so far")
    attempts: tuple[Attempt, ...] = Field((), description="volumes tried in the stage")
    records: tuple[StageRecord, ...] = Field((), description="stages that have ended")
    melt: MeltRecord | None = Field(None, description="state of the melt when it was last looked at")
    corrections: tuple[Correction, ...] = Field((), description="what custodian did")
    failures: int = Field(0, ge=0, description="segments in a row that failed and were begun again")
    failure: str = Field("", description="why the run has stopped early, empty if it has not")


class Advance(NamedTuple):
    """Where a run is after a segment.

    Attributes
    ----------
    progress : Progress
        How far it is.
    state : MDState
        Its state.
    made, asked : int
        Steps made and asked for; fewer made without a failure mean that the time of the job is over.
    log : bytes
        Log of a failure, gzipped tar.
    """

    progress: Progress
    state: MDState
    made: int
    asked: int
    log: bytes


@dataclass(frozen=True)
class Controller:
    """Stages, and how an engine runs them.

    Parameters
    ----------
    engine : Engine
        Who runs the segments.
    stages : tuple of Stage
        Protocol.
    time_step : float
        MD time step of the stages that do not set their own [fs].
    frame_interval : float
        Time between two frames that are kept [ps], a whole number of steps of every stage.
    relax_steps : int
        Steps of relaxation before the dynamics.
    seed : int
        Root of the seeds of velocities and thermostats.

    Raises
    ------
    InputError
        If the frame interval is no whole number of steps of a stage.
    """

    engine: Engine
    stages: tuple[Stage, ...]
    time_step: float
    frame_interval: float
    relax_steps: int
    seed: int

    def __post_init__(self) -> None:
        for stage in self.stages:
            self.frame_every(stage)

    def frame_every(self, stage: Stage) -> int:
        """Steps of a stage between two frames."""
        step = stage.time_step or self.time_step
        every = self.frame_interval * 1000.0 / step
        if every < 1 - _WHOLE or abs(every - round(every)) > _WHOLE:
            msg = (
                f"frames {1000 * self.frame_interval:g} fs apart are not a whole number of the {step:g} fs steps "
                f"of stage {stage.name!r}"
            )
            raise InputError(msg, remedy="choose frame_every so that they are")
        return round(every)

    @property
    def melting(self) -> range:
        """Stages that are to melt the cell."""
        return melting_stages(self.stages)

    def done(self, progress: Progress) -> bool:
        """Whether nothing is left to run."""
        return bool(progress.failure) or progress.stage >= len(self.stages)

    def start(self, atoms: Atoms) -> MDState:
        """State that a run begins with; the momenta come after the relaxation."""
        return MDState(
            Atoms(atoms.get_chemical_symbols(), positions=atoms.positions, cell=atoms.cell, pbc=True)
        )

    def advance(
        self,
        progress: Progress,
        state: MDState,
        recording: Recording,
        budget: int,
        directory: Path,
        time_limit: float | None = None,
    ) -> Advance:
        """Run one segment.

        Parameters
        ----------
        progress : Progress
            How far the run is.
        state : MDState
            Where it is.
        recording : Recording
            What it has produced; the segment is added.
        budget : int
            Steps that the segment may have at most.
        directory : pathlib.Path
            Empty directory to work in.
        time_limit : float, optional
            Wall time that the segment may take [s].

        Returns
        -------
        Advance
            Where the run is after the segment.
        """
        if not progress.relaxed:
            return self._relax(progress, state, directory, time_limit)
        stage = self.stages[progress.stage]
        segment = replace(self._segment(progress, stage, budget), time_limit=time_limit)
        run = self.engine.run_segment(state, segment, directory)
        progress = progress.model_copy(update={"corrections": progress.corrections + run.corrections})
        failure = run.failure or ("" if run.n_steps else "the engine made no step within its time limit")
        if failure and progress.failures < _AGAIN:
            # From the exact state before it: what it made until it failed is made again.
            progress = progress.model_copy(update={"failures": progress.failures + 1})
            return Advance(progress, state, 0, segment.n_steps, run.log)
        recording.add(run, progress.stage, progress.step)
        progress = progress.model_copy(
            update={"step": progress.step + run.n_steps, "failures": 0, "failure": failure}
        )
        judged, state = self._judge(progress, run.state, recording)
        return Advance(
            judged, self._handed_on(progress, judged, state), run.n_steps, segment.n_steps, run.log
        )

    def _relax(
        self, progress: Progress, state: MDState, directory: Path, time_limit: float | None
    ) -> Advance:
        first = self.stages[0].start_temperature
        run = SegmentRun(0, [], [], np.empty((0, 5)), state)
        if self.relax_steps:
            segment = Segment(
                ensemble="relax",
                n_steps=self.relax_steps,
                time_step=self.time_step,
                start_temperature=first,
                end_temperature=first,
                pressure=0.0,
                frame_every=self.relax_steps + 1,
                seed=derive_seed(self.seed, "relax"),
                time_limit=time_limit,
            )
            run = self.engine.run_segment(state, segment, directory)
        if run.failure and progress.failures < _AGAIN:
            update = {
                "failures": progress.failures + 1,
                "corrections": progress.corrections + run.corrections,
            }
            return Advance(progress.model_copy(update=update), state, 0, 1, run.log)
        from ase.md.velocitydistribution import Stationary, thermalize_momenta

        atoms = run.state.atoms.copy()
        rng = np.random.default_rng(derive_seed(self.seed, "velocities"))
        thermalize_momenta(atoms, temperature_K=first, rng=rng)
        Stationary(atoms)
        progress = progress.model_copy(
            update={
                "relaxed": True,
                "failures": 0,
                "corrections": progress.corrections + run.corrections,
                "failure": run.failure and f"relaxation: {run.failure}",
            }
        )
        # A relaxation ends where its forces do: fewer steps than asked are no reason to stop.
        return Advance(progress, MDState(atoms), run.n_steps, run.n_steps, run.log)

    def _segment(self, progress: Progress, stage: Stage, budget: int) -> Segment:
        total = stage.steps(self.time_step)
        every = self.frame_every(stage)
        begun = progress.step - progress.volume_from
        left = total * progress.volume_runs - begun
        if stage.until_melted:
            left = min(left, self._whole_frames(-(-total // _MELT_CHECKS), every))
        if left > budget:
            left = min(left, max(every, budget // every * every))
        if behind := begun % every:
            # A run that was stopped between two frames goes on to the next one first.
            every -= behind
            left = min(left, every)
        slope = (stage.end_temperature - stage.start_temperature) / total
        return Segment(
            ensemble=stage.ensemble,
            n_steps=left,
            time_step=stage.time_step or self.time_step,
            start_temperature=stage.start_temperature + slope * begun,
            end_temperature=stage.start_temperature + slope * (begun + left),
            pressure=stage.pressure,
            frame_every=every,
            seed=derive_seed(self.seed, stage.name, progress.stage, progress.step),
            thermostat=stage.thermostat,
        )

    @staticmethod
    def _whole_frames(steps: int, every: int) -> int:
        return -(-steps // every) * every

    def _judge(self, progress: Progress, state: MDState, recording: Recording) -> tuple[Progress, MDState]:
        """What the numbers say after a segment: go on, change the volume, next stage, or stop."""
        stage = self.stages[progress.stage]
        total = stage.steps(self.time_step)
        if progress.failure:
            return self._ended(progress, recording, "stopped", progress.failure), state
        if stage.until_melted:
            waited = self._wait_for_melt(progress, recording, total)
            if waited.stage > progress.stage and not waited.failure:
                state = self._mean_cell(progress, state, recording)
            return waited, state
        if stage.equilibrate is not None:
            if progress.step - progress.volume_from < total * progress.volume_runs:
                return progress, state
            return self._equilibrate(progress, state, recording, stage)
        if progress.step >= total:
            state = self._mean_cell(progress, state, recording)
            progress = self._ended(progress, recording, "completed", "")
        return progress, state

    def _handed_on(self, before: Progress, after: Progress, state: MDState) -> MDState:
        """State for the next stage; the engine's restart file holds for its own thermostat and time step only."""
        if after.stage == before.stage or after.stage >= len(self.stages):
            return state
        one, other = self.stages[before.stage], self.stages[after.stage]
        steps = [stage.time_step or self.time_step for stage in (one, other)]
        same = one.thermostat == other.thermostat and steps[0] == steps[1]
        return state if same else MDState(state.atoms)

    def _wait_for_melt(self, progress: Progress, recording: Recording, total: int) -> Progress:
        melt = self.melt_of(recording, progress.stage)
        progress = progress.model_copy(update={"melt": melt})
        if melt.passed:
            return self._ended(progress, recording, "melted", melt.reason)
        if progress.step < total:
            return progress
        # Quenching what is no melt makes no glass: the run stops here.
        progress = self._ended(progress, recording, "not melted", melt.reason)
        return progress.model_copy(update={"failure": melt.reason})

    def _equilibrate(
        self, progress: Progress, state: MDState, recording: Recording, stage: Stage
    ) -> tuple[Progress, MDState]:
        settings = stage.equilibrate or DensityEquilibration()
        rows = recording.of_stage(progress.stage)
        here = rows[rows[:, 1] > progress.volume_from]
        attempt = Attempt(
            volume=state.atoms.get_volume(),
            pressure=mean_pressure(here[:, 3], settings),
            time=(progress.step - progress.volume_from) * (stage.time_step or self.time_step) / 1000.0,
        )
        # A run that goes on at its volume is one attempt with more samples.
        before = progress.attempts if progress.volume_runs == 1 else progress.attempts[:-1]
        attempts, runs = (*before, attempt), progress.runs + 1
        step = next_step(attempts, runs, stage.pressure, settings)
        progress = progress.model_copy(update={"attempts": attempts, "runs": runs})
        if step.verdict == "longer":
            return progress.model_copy(update={"volume_runs": progress.volume_runs + 1}), state
        if step.verdict == "volume":
            update = {"volume_from": progress.step, "volume_runs": 1}
            return progress.model_copy(update=update), scaled(state, step.scale)
        status = "equilibrated" if step.verdict == "equilibrated" else "not equilibrated"
        return self._ended(progress, recording, status, step.reason), state

    def _mean_cell(self, progress: Progress, state: MDState, recording: Recording) -> MDState:
        """Before a run at constant volume, or none, that follows one at constant pressure: its mean cell."""
        stage, following = self.stages[progress.stage], self.stages[progress.stage + 1 : progress.stage + 2]
        if stage.ensemble != "npt" or (following and following[0].ensemble == "npt"):
            return state
        rows = recording.of_stage(progress.stage)
        # The first half equilibrates.
        rows = rows[len(rows) // 2 :]
        volume = float(rows[:, 5].mean())
        if stage.start_temperature != stage.end_temperature and len(rows) > 2:  # noqa: PLR2004
            # The mean is that of a temperature on the way: where the line through the volumes ends counts.
            slope, offset = np.polyfit(rows[:, 1], rows[:, 5], 1)
            volume = float(slope * rows[-1, 1] + offset)
        return in_cell(state, self._mean_shape(progress.stage, state, recording), volume)

    @staticmethod
    def _mean_shape(stage: int, state: MDState, recording: Recording) -> np.ndarray:
        """Mean cell of the second half of a stage; a barostat may change the shape, too."""
        frames = recording.frames_of([stage])
        frames = frames[len(frames) // 2 :]
        if not len(frames):
            return np.array(state.atoms.cell.array)
        return np.mean([recording.cell(int(index)) for index in frames], axis=0)

    def _ended(self, progress: Progress, recording: Recording, status: str, reason: str) -> Progress:
        index = progress.stage
        stage = self.stages[index]
        record = record_stage(
            recording,
            index,
            stage,
            time_step=stage.time_step or self.time_step,
            n_steps=progress.step,
            since=progress.volume_from,
            attempts=progress.attempts,
            status=status,
            reason=reason,
        )
        melt = progress.melt
        if status != "stopped" and index in self.melting and index + 1 not in self.melting:
            melt = melt if melt is not None and melt.passed else self.melt_of(recording, index)
        return progress.model_copy(
            update={
                "stage": index + 1,
                "step": 0,
                "volume_from": 0,
                "volume_runs": 1,
                "runs": 0,
                "attempts": (),
                "records": (*progress.records, record),
                "melt": melt,
            }
        )

    def melt_of(self, recording: Recording, stage: int) -> MeltRecord:
        """Judge the melt by the frames up to a stage, since the temperature last fell."""
        frames = recording.frames_of([index for index in between_falls(self.stages, stage) if index <= stage])
        if len(frames) == 0:
            return MeltRecord(passed=False, displacement={}, reason="nothing to judge: no frame was kept")
        return melt_record(recording.trajectory([int(i) for i in frames], self.frame_interval))
