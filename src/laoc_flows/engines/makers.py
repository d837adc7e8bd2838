"""The Makers of every engine: labels of frames, and runs through the stages of a protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ase import Atoms
from jobflow import CURRENT_JOB, Flow, Job, Response

from laoc_flows.blobs import BlobRef, FileRef, derive_seed, digest_json, get_blob, publish_file, put_blob
from laoc_flows.engines.base import Engine
from laoc_flows.engines.clock import DAY, JobClock
from laoc_flows.engines.controller import Controller
from laoc_flows.engines.dynamics import SinglePoint
from laoc_flows.engines.known_labels import known_points
from laoc_flows.engines.labels import LOG_TYPE, Outcome, batch_of, merged, outcome_of, too_close
from laoc_flows.engines.runs import Checkpoint, Run
from laoc_flows.engines.stage_records import profile_of
from laoc_flows.frames import MEDIA_TYPE, decode_frames, encode_frames, geometry_key
from laoc_flows.jobs import (
    METADATA_KEY,
    LaocMaker,
    current_store,
    finished,
    laoc_job,
    scratch_directory,
    stamp,
)
from laoc_flows.schemas.base import Provenance
from laoc_flows.schemas.label import PART, FrameSet, LabelBatch, LabelRecord, LabelStatus, MDResult
from laoc_flows.schemas.protocol import LabelLimits, Stage
from laoc_flows.settings import Settings

# Of a batch whose labels would all come out the same again.
_SETTLED = {"output.records.status": {"$nin": [LabelStatus.CRASHED.value, LabelStatus.UNCONVERGED.value]}}


def _here() -> dict[str, Any]:
    """Bookkeeping of the running job, for the jobs that take its place."""
    job = CURRENT_JOB.job
    return dict(job.metadata.get(METADATA_KEY, {})) if job is not None else {}


_Done = TypeVar("_Done", LabelBatch, MDResult)


def _kept_apart(done: _Done, provenance: Provenance) -> _Done:
    """Earlier work, trained or tested on as it is wanted now: a larger campaign may train on what a smaller one held out."""
    if done.provenance.held_out == provenance.held_out:
        return done
    update: dict[str, Any] = {"provenance": provenance}
    if isinstance(done, MDResult):
        for name in ("labels", "to_label"):
            part = getattr(done, name)
            update[name] = part and part.model_copy(update={"provenance": provenance})
    return done.model_copy(update=update)


def _named(suffix: str) -> str:
    job = CURRENT_JOB.job
    return f"{job.name.split(' | ')[0]} | {suffix}" if job is not None else suffix


@dataclass
class LabelMaker(LaocMaker):
    """Labels of a set of frames.

    A batch that is larger than what the engine does in one job becomes a job for each part, and one that puts
    the parts together: a part that is lost is computed again, the others are not.

    Parameters
    ----------
    engine : Engine
        Engine that computes them.
    limits : LabelLimits
        What is refused, before and after it is computed.
    """

    engine: Engine
    limits: LabelLimits = field(default_factory=LabelLimits)
    name: str = "label"

    def _key(self, frames: FrameSet) -> str:
        return digest_json(
            [
                self.engine.level_of_theory,
                frames.frames.sha256,
                frames.provenance.trajectory_id,
                self.limits.model_dump(),
            ]
        )

    # Without an output schema: jobflow checks it against the reference that stands for the parts put together.
    @laoc_job()
    def make(self, frames: FrameSet) -> LabelBatch | Response[LabelBatch]:
        """Label frames.

        Parameters
        ----------
        frames : FrameSet
            Frames to label.
        """
        key = self._key(frames)
        schema = PART if frames.is_part else "label_batch"
        if (done := finished(LabelBatch, schema, key, where=_SETTLED)) is not None:
            return _kept_apart(done, frames.provenance)
        clock = JobClock(Settings.load())
        atoms_list = decode_frames(get_blob(current_store(), frames.frames))
        most = self.engine.labels_per_job
        if most is not None and len(atoms_list) > most:
            return self._in_parts(frames, most)
        tried = finished(LabelBatch, schema, key)
        points = self._points(atoms_list, tried.records if tried is not None else ())
        unknown = (None,) * len(atoms_list)
        outcomes = [
            Outcome(point, None)
            if isinstance(point, LabelRecord)
            else outcome_of(atoms, point, self.engine.level_of_theory, self.limits, temperature, deviation)
            # Shorter where the time of the job was over.
            for atoms, point, temperature, deviation in zip(
                atoms_list,
                points,
                frames.temperatures or unknown,
                frames.deviations or unknown,
                strict=False,
            )
        ]
        begun = len(points) < len(atoms_list)
        batch = batch_of(
            outcomes,
            key=key,
            level_of_theory=self.engine.level_of_theory,
            provenance=frames.provenance,
            # The median of a part is not that of the batch.
            spread=None if begun or frames.is_part else self.limits.energy_spread,
        ).model_copy(update={"core_hours": clock.core_hours})
        if begun:
            return self._go_on(frames, batch, atoms_list)
        return batch.model_copy(update={"schema_name": PART}) if frames.is_part else batch

    def _points(
        self, atoms_list: list[Atoms], tried: Sequence[LabelRecord]
    ) -> list[SinglePoint | LabelRecord]:
        """Outcomes of the frames, up to the first that the job has no time for; what is known is not computed."""
        level, floors = self.engine.level_of_theory, self.limits.distance_floor.distances
        keys = [geometry_key(atoms, level) for atoms in atoms_list]
        there = known_points(current_store(), keys)
        # What an earlier try has refused for what it is would be refused again.
        refused = {record.key: record for record in tried if record.status.value.startswith("rejected")}
        found = [
            too_close(atoms, floors) or there.get(key) or refused.get(key)
            for atoms, key in zip(atoms_list, keys, strict=True)
        ]
        wanted = [atoms for atoms, point in zip(atoms_list, found, strict=True) if point is None]
        clock, longest = JobClock(Settings.load()), 0.0
        if wanted:
            clock.check_begin()
        computed: list[SinglePoint] = []
        with scratch_directory("label") as directory:
            begun = clock.elapsed
            for point in self.engine.single_points(wanted, directory):
                computed.append(point)
                longest, begun = max(longest, clock.elapsed - begun), clock.elapsed
                if clock.left(DAY) < longest:
                    # A label that is begun too late would be stopped, and would be none.
                    break
        points: list[SinglePoint | LabelRecord] = []
        for known in found:
            if known is None and not computed:
                break
            points.append(known if known is not None else computed.pop(0))
        return points

    def _go_on(self, frames: FrameSet, begun: LabelBatch, atoms_list: list[Atoms]) -> Response[LabelBatch]:
        """Leave what is left of a batch to other jobs.

        What is done goes through a job of its own as well, which finds it: one that can be run again for the labels that
        failed, and tries those once more that the end of this job has stopped.
        """
        done = len(begun.records)
        parts = [
            self._part(frames, atoms_list, 0, done),
            self._part(frames, atoms_list, done, len(atoms_list)),
        ]
        jobs = [self.make(part) for part in parts]
        jobs[0].name, jobs[1].name = _named(f"up to {done}"), _named(f"from {done + 1}")
        made = begun.model_copy(update={"schema_name": PART, "key": self._key(parts[0])})
        return Response(output=made, replace=self._together(jobs, frames))

    @staticmethod
    def _part(frames: FrameSet, atoms_list: list[Atoms], first: int, last: int) -> FrameSet:
        part = atoms_list[first:last]
        return FrameSet(
            frames=put_blob(current_store(), encode_frames(part), MEDIA_TYPE),
            n_frames=len(part),
            temperatures=frames.temperatures[first:last],
            deviations=frames.deviations[first:last],
            provenance=frames.provenance,
            is_part=True,
        )

    def _together(self, jobs: list[Job], frames: FrameSet) -> Flow:
        limits = None if frames.is_part else self.limits
        whole = merge_labels([job.output for job in jobs], self._key(frames), limits)
        whole.name = _named("together")
        flow = Flow([*jobs, whole], output=whole.output)
        stamp(flow, **_here())
        return flow

    def _in_parts(self, frames: FrameSet, most: int) -> Response[LabelBatch]:
        atoms_list = decode_frames(get_blob(current_store(), frames.frames))
        jobs = []
        for first in range(0, len(atoms_list), most):
            last = min(first + most, len(atoms_list))
            job = self.make(self._part(frames, atoms_list, first, last))
            job.name = _named(f"{first + 1}-{last} of {len(atoms_list)}")
            jobs.append(job)
        return Response(replace=self._together(jobs, frames))


@laoc_job(output_schema=LabelBatch)
def merge_labels(batches: list[LabelBatch], key: str, limits: LabelLimits | None) -> LabelBatch:
    """One batch out of the parts that separate jobs computed.

    Parameters
    ----------
    batches : list of LabelBatch
        Parts, in order.
    key : str
        Content address of the whole.
    limits : LabelLimits or None
        What is refused; None where the whole is a part itself.
    """
    if limits is None:
        return merged(batches, key=key, spread=None).model_copy(update={"schema_name": PART})
    return merged(batches, key=key, spread=limits.energy_spread)


@dataclass
class MDMaker(LaocMaker):
    """A run through the stages of a protocol, with any engine.

    The run is cut into jobs of the engine's ``steps_per_job``; each hands the exact state, velocities and
    thermostat on to the next. A run that fails midway keeps what it made until then and says why it stopped.

    Parameters
    ----------
    engine : Engine
        Engine that runs it.
    stages : tuple of Stage
        Protocol.
    time_step : float
        MD time step of the stages that do not set their own [fs].
    frame_every : int
        Steps of `time_step` between two frames that are kept.
    label_every : int or None
        Steps of `time_step` between two labels, a multiple of `frame_every`; None for no labels.
    relax_steps : int
        Steps of relaxation before the dynamics.
    limits : LabelLimits
        What is refused as a label.
    purpose : str
        What the run is for, part of its seed; the name cannot be, a job that is renamed renames its Maker.
    """

    engine: Engine
    stages: tuple[Stage, ...] = ()
    time_step: float = 2.0
    frame_every: int = 4
    label_every: int | None = None
    relax_steps: int = 0
    limits: LabelLimits = field(default_factory=LabelLimits)
    purpose: str = "reference md"
    name: str = "reference md"

    @laoc_job(output_schema=MDResult)
    def make(
        self,
        start: BlobRef,
        provenance: Provenance,
        checkpoint: Checkpoint | None = None,
        veto: str = "",
    ) -> MDResult | Response[MDResult]:
        """Run the protocol, or go on with it.

        Parameters
        ----------
        start : BlobRef
            One frame, extended XYZ.
        provenance : Provenance
            Composition, stage and replica; the seed derives from it.
        checkpoint : Checkpoint, optional
            Where an earlier job has stopped.
        veto : str
            Why the run is not worth its time; it then has no step and stopped for this reason.
        """
        stages = tuple(Stage.model_validate(stage) for stage in self.stages)
        seed = derive_seed(provenance.campaign_seed, provenance.trajectory_id, self.purpose)
        key = digest_json(
            [
                [self.engine.md_level_of_theory, self.engine.level_of_theory, self.engine.dynamics_settings],
                start.sha256,
                [stage.model_dump() for stage in stages],
                [self.time_step, self.frame_every, self.label_every, self.relax_steps, seed],
                [self.limits.model_dump(), veto],
            ]
        )
        # One that an engine has failed is run again; one that stopped for what it is stops again.
        if (done := finished(MDResult, "md", key, where={"output.failed": {"$ne": True}})) is not None:
            return _kept_apart(done, provenance)
        controller = Controller(
            engine=self.engine,
            stages=stages,
            time_step=self.time_step,
            frame_interval=self.frame_every * self.time_step / 1000.0,
            relax_steps=self.relax_steps,
            seed=seed,
        )
        run = Run(controller, start, checkpoint, veto)
        run.go(self.engine.steps_per_job)
        if not controller.done(run.progress):
            # A single job takes this one's place, uuid and metadata: nothing piles up however long the chain.
            following = self.make(start, provenance, run.checkpoint())
            following.name = _named(f"step {run.n_steps}")
            return Response(replace=following)
        return self._result(key, provenance, run)

    def _result(self, key: str, provenance: Provenance, run: Run) -> MDResult:
        store = current_store()
        progress, recording = run.progress, run.recording
        last = run.state.atoms.copy()
        known: dict[str, Any] = {}
        if self.label_every is not None:
            known = self._labels(key, provenance, run)
        return MDResult(
            key=key,
            campaign_id=provenance.campaign_id,
            level_of_theory=self.engine.md_level_of_theory,
            provenance=provenance,
            status=f"stopped: {progress.failure[:300]}" if progress.failure else "completed",
            failed=run.failed,
            n_steps=run.n_steps,
            time_step=self.time_step,
            final_frame=put_blob(store, encode_frames([last]), MEDIA_TYPE),
            trajectory=self._publish(key, provenance, run),
            frame_interval=run.controller.frame_interval,
            stages=progress.records,
            melt=progress.melt,
            profile=put_blob(
                store, profile_of(recording, run.controller.stages, self.time_step), "application/json"
            ),
            corrections=progress.corrections,
            log=put_blob(store, run.log, LOG_TYPE) if run.log else None,
            mean_temperature={
                record.name: record.temperature.value for record in progress.records if record.temperature
            },
            mean_pressure={
                record.name: record.pressure.value for record in progress.records if record.pressure
            },
            **known,
        )

    def _labels(self, key: str, provenance: Provenance, run: Run) -> dict[str, Any]:
        """Every `label_every`-th step: a label already, or a frame to be labeled."""
        recording, stages = run.recording, run.controller.stages
        stride = max(1, round((self.label_every or 1) / self.frame_every))
        picked = []
        for stage in range(len(stages)):
            picked += [int(i) for i in recording.frames_of([stage])[stride - 1 :: stride]]
        targets = [
            _target(stages[recording.frame_stage[i]], recording.frame_step[i], self.time_step) for i in picked
        ]
        frames = [recording.frame(i) for i in picked]
        for frame in frames:
            frame.wrap()
        if not self.engine.harvests:
            for frame in frames:
                frame.calc = None
            blob = put_blob(current_store(), encode_frames(frames), MEDIA_TYPE)
            return {
                "to_label": FrameSet(
                    frames=blob, n_frames=len(frames), temperatures=tuple(targets), provenance=provenance
                )
            }
        floors = self.limits.distance_floor.distances
        level = self.engine.level_of_theory
        outcomes = []
        for index, frame, target in zip(picked, frames, targets, strict=True):
            point = too_close(frame, floors) or recording.single_point(index)
            outcomes.append(outcome_of(frame, point, level, self.limits, target))
        batch = batch_of(
            outcomes,
            key=digest_json([key, "labels"]),
            level_of_theory=level,
            provenance=provenance,
            spread=self.limits.energy_spread,
        )
        return {"labels": batch}

    def _publish(self, key: str, provenance: Provenance, run: Run) -> FileRef | None:
        recording = run.recording
        if not recording.n_frames:
            return None
        with scratch_directory("trajectory") as directory:
            path = directory / "trajectory.h5"
            everything = range(recording.n_frames)
            recording.trajectory(everything, run.controller.frame_interval).write(path)
            name = f"{provenance.campaign_id}/{provenance.composition_id}/{provenance.stage}-{key[:16]}.h5"
            return publish_file(path, Settings.load().trajectory_root, name)


def _target(stage: Stage, step: int, time_step: float) -> float:
    """Target of the thermostat at a step of a stage [K]."""
    share = min(1.0, step / stage.steps(time_step))
    return stage.start_temperature + (stage.end_temperature - stage.start_temperature) * share
