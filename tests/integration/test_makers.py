"""The generic Makers under jobflow: chains of jobs, parts of batches, and typed failures in the store."""

import io
import tarfile
from dataclasses import replace
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from ase import Atoms
from jobflow import JobStore, run_locally
from maggma.stores import MemoryStore
from pydantic import Field

from laoc_flows.analysis import Trajectory
from laoc_flows.blobs import fetch_file, get_blob, put_blob
from laoc_flows.engines import clock
from laoc_flows.engines.base import Engine
from laoc_flows.engines.dynamics import MDState, SegmentRun, SinglePoint
from laoc_flows.frames import MEDIA_TYPE, decode_frames, encode_frames
from laoc_flows.schemas.base import Provenance
from laoc_flows.schemas.label import Correction, FrameSet, LabelBatch, LabelStatus, MDResult
from laoc_flows.schemas.protocol import LabelLimits, Stage

PROVENANCE = Provenance(campaign_id="c", campaign_seed=7, composition_id="x1.000-y0.000", stage="seed")
SPRING = 2.0  # eV/A^2


class Springs(Engine):
    """Atoms on springs to their sites, integrated exactly: the same steps whatever the segments."""

    name: str = "springs"
    cheaper: bool = Field(default=False, description="whether the dynamics are at another level of theory")

    @property
    def level_of_theory(self):
        return "springs/r1"

    @property
    def md_level_of_theory(self):
        return "springs/cheap/r1" if self.cheaper else self.level_of_theory

    def single_points(self, frames, directory):
        for frame in frames:
            assert directory.is_dir()
            if frame.positions[0, 0] > 100:
                buffer = io.BytesIO()
                with tarfile.open(fileobj=buffer, mode="w:gz"):
                    pass
                yield SinglePoint(
                    LabelStatus.UNCONVERGED,
                    "60 SCF steps",
                    corrections=(Correction(handler="UnconvergedErrorHandler", errors=("unconverged",)),),
                    log=buffer.getvalue(),
                )
                continue
            scale = 1e3 if frame.positions[0, 1] > 100 else 1.0
            energy = 7.0 if frame.positions[0, 2] > 100 else -3.0 * len(frame)
            yield SinglePoint(
                LabelStatus.CONVERGED,
                energy=energy,
                forces=scale * SPRING * np.sin(frame.positions),
                stress=np.zeros(6),
            )

    def run_segment(self, state: MDState, segment, directory):
        atoms = state.atoms.copy()
        frames, steps, rows = [], [], []
        for step in range(1, segment.n_steps + 1):
            atoms.positions += segment.time_step * 1e-3 * atoms.get_velocities()
            rows.append([step, segment.temperature_after(step), 0.1, -1.0, atoms.get_volume()])
            if step % segment.frame_every == 0:
                frame = Atoms(atoms.get_chemical_symbols(), atoms.positions, cell=atoms.cell, pbc=True)
                point = next(iter(self.single_points([frame], directory)))
                from ase.calculators.singlepoint import SinglePointCalculator

                frame.calc = SinglePointCalculator(
                    frame, energy=point.energy, forces=point.forces, stress=point.stress
                )
                frames.append(frame)
                steps.append(step)
        return SegmentRun(segment.n_steps, frames, steps, np.array(rows), MDState(atoms))


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("LAOC_WORKSPACE", str(tmp_path))
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore(key="blob_uuid")})
    store.connect()
    return store


def crystal(*first):
    atoms = Atoms(
        ["Li", "Al", "Cl", "Cl", "Cl", "Cl"],
        [[0, 0, 0], [4, 4, 4], [4, 0, 0], [0, 4, 0], [0, 0, 4], [4, 4, 0]],
        cell=[8.0] * 3,
        pbc=True,
    )
    if first:
        atoms.positions[0] = first
    return atoms


def frame_set(store, frames, temperatures=()):
    blob = put_blob(store, encode_frames(frames), MEDIA_TYPE)
    return FrameSet(frames=blob, n_frames=len(frames), temperatures=temperatures, provenance=PROVENANCE)


def plain(value):
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if not k.startswith("@")}
    return [plain(item) for item in value] if isinstance(value, list) else value


def outcome(model, store, job):
    run_locally(job, store=store, ensure_success=True, log=False)
    return model.model_validate(plain(store.get_output(job.uuid, which="last")))


FRAMES = [
    crystal(),
    crystal(800.5, 0, 0),  # unconverged
    crystal(0, 800.3, 0),  # huge force
    crystal(0, 0, 800.4),  # unbound
    crystal(4.0, 4.0, 4.9),  # Li on Al
    crystal(0.1, 0, 0),
]


@pytest.mark.parametrize("parts", [None, 1, 2, 4, 6])
def test_every_frame_has_its_typed_outcome_however_the_batch_is_cut(store, parts):
    engine = Springs(labels_per_job=parts)
    temperatures = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
    batch = outcome(LabelBatch, store, engine.static_maker().make(frame_set(store, FRAMES, temperatures)))
    assert [record.status.value for record in batch.records] == [
        "converged",
        "unconverged",
        "rejected: force",
        "rejected: energy",
        "rejected: distance",
        "converged",
    ]
    assert [record.index for record in batch.records] == [0, None, None, None, None, 1]
    assert [record.temperature for record in batch.records] == list(temperatures)
    assert batch.records[1].corrections[0].handler == "UnconvergedErrorHandler"
    with tarfile.open(fileobj=io.BytesIO(get_blob(store, batch.records[1].log))) as archive:
        assert archive.getnames() == []
    kept = decode_frames(get_blob(store, batch.shard))
    assert [frame.positions[0, 0] for frame in kept] == [0.0, 0.1]
    # Parts are kept under another name: no label counts twice.
    assert len(list(store.query({"output.schema_name": "label_batch"}))) == 1
    cut = parts is not None and parts < len(FRAMES)
    assert len(list(store.query({"output.schema_name": "label_batch_part"}))) == (
        -(-6 // parts) if cut else 0
    )


def test_an_energy_far_from_its_batch_is_rejected(store):
    frames = [crystal(0.01 * i, 0, 0) for i in range(5)]

    class Jumps(Springs):
        def single_points(self, frames, directory):
            for index, point in enumerate(super().single_points(frames, directory)):
                yield (
                    point
                    if index != 3
                    else SinglePoint(
                        point.status, energy=point.energy - 20.0, forces=point.forces, stress=point.stress
                    )
                )

    maker = Jumps().static_maker(LabelLimits(energy_spread=3.0))
    batch = outcome(LabelBatch, store, maker.make(frame_set(store, frames)))
    assert [r.status.value for r in batch.records] == ["converged"] * 3 + ["rejected: energy"] + ["converged"]
    assert "3.33 eV/atom from the median" in batch.records[3].reason
    assert len(decode_frames(get_blob(store, batch.shard))) == 4


STAGES = (
    Stage(name="melt", start_temperature=900, end_temperature=900, time=0.04),
    Stage(name="quench", start_temperature=900, end_temperature=300, time=0.06),
)


def md(engine, store, **more):
    maker = engine.md_maker(STAGES, time_step=2.0, frame_every=2, label_every=4, **more)
    start = put_blob(store, encode_frames([crystal()]), MEDIA_TYPE)
    return outcome(MDResult, store, maker.make(start, PROVENANCE))


def test_a_run_in_one_job_and_in_a_chain_of_jobs_is_the_same(store, tmp_path):
    whole = md(Springs(), store)
    other = JobStore(MemoryStore(), additional_stores={"data": MemoryStore(key="blob_uuid")})
    other.connect()
    chain = md(Springs(steps_per_job=7), other)
    assert whole.status == chain.status == "completed"
    assert whole.key == chain.key
    assert whole.n_steps == chain.n_steps == 50
    positions = [
        Trajectory.read(fetch_file(run.trajectory, tmp_path / f"{i}.h5")).positions
        for i, run in enumerate((whole, chain))
    ]
    np.testing.assert_allclose(*positions, atol=1e-12)
    assert [r.model_dump() for r in whole.stages] == [r.model_dump() for r in chain.stages]
    assert [r.key for r in whole.labels.records] == [r.key for r in chain.labels.records]
    assert len(whole.labels.records) == 5 + 7
    # 50 steps, 6 of them in a job (whole frames only): one uuid, its index counts the jobs.
    rows = list(other.query({"output.schema_name": "md"}))
    assert len(rows) == 1
    assert rows[0]["index"] > 5


def test_dynamics_at_another_level_of_theory_leave_frames_to_be_labeled(store):
    run = md(Springs(cheaper=True), store)
    assert run.labels is None
    assert run.to_label.n_frames == 12
    assert run.to_label.temperatures[0] == 900
    assert run.to_label.temperatures[-1] == pytest.approx(900 - 600 * 28 / 30)
    frames = decode_frames(get_blob(store, run.to_label.frames))
    assert all(frame.calc is None for frame in frames)
    assert run.level_of_theory == "springs/cheap/r1"


def test_the_profile_and_the_records_tell_the_same_run(store):
    import json

    run = md(Springs(), store)
    profile = json.loads(get_blob(store, run.profile))
    assert profile["time_ps"][-1] == pytest.approx(0.1)
    assert profile["temperature_K"][-1] == pytest.approx(300)
    assert profile["stage"].count("melt") == 20
    assert [record.name for record in run.stages] == ["melt", "quench"]
    assert run.stages[1].rate.value == pytest.approx(10000)
    assert run.melt is not None
    assert not run.melt.passed


class Unreliable(Springs):
    """Crashes on the first try at some frames, as a broken node does; counts what it computes."""

    name: str = "unreliable"
    broken: bool = True

    def single_points(self, frames, directory):
        for index, point in enumerate(super().single_points(frames, directory)):
            computed_at.append(frames[index].positions[0, 0])
            yield SinglePoint(LabelStatus.CRASHED, "a node") if self.broken and index % 2 else point


computed_at = []


@pytest.mark.parametrize("parts", [None, 2, 3])
def test_what_failed_is_computed_again_and_what_converged_is_not(store, parts):
    frames = frame_set(store, [crystal(0.1 * i, 0, 0) for i in range(6)])
    computed_at.clear()
    first = outcome(
        LabelBatch, store, Unreliable(labels_per_job=parts, broken=True).static_maker().make(frames)
    )
    failed = [i for i, record in enumerate(first.records) if record.status is LabelStatus.CRASHED]
    assert failed
    assert not first.settled
    computed_at.clear()
    again = Unreliable(labels_per_job=parts, broken=False).static_maker()
    second = outcome(LabelBatch, store, again.make(frames))
    assert [record.status.value for record in second.records] == ["converged"] * 6
    assert computed_at == pytest.approx([0.1 * i for i in failed])
    computed_at.clear()
    # The same frames in another batch, of another campaign: nothing is computed.
    whole = frames.model_copy(update={"provenance": PROVENANCE.model_copy(update={"replica": 5})})
    third = outcome(LabelBatch, store, again.make(whole))
    assert [record.status.value for record in third.records] == ["converged"] * 6
    assert computed_at == []
    np.testing.assert_allclose(
        [frame.get_forces() for frame in decode_frames(get_blob(store, third.shard))],
        [SPRING * np.sin(crystal(0.1 * i, 0, 0).positions) for i in range(6)],
        atol=1e-7,
    )


def test_a_batch_that_outlasts_its_job_goes_on_in_another(store, monkeypatch):
    del store  # it sets the workspace; each engine has a store of its own
    now = [0.0]
    monkeypatch.setattr(clock, "time", SimpleNamespace(monotonic=lambda: now[0], time=lambda: 0.0))
    monkeypatch.setenv("LAOC_JOB_WALLTIME", "100")
    calls = []

    class Slow(Springs):
        def single_points(self, frames, directory):
            calls.append(len(frames))
            for point in super().single_points(frames, directory):
                now[0] += 40.0
                yield point

    frames = [crystal(0.1 * i, 0, 0) for i in range(5)]
    # What is done goes through a job of its own as well, which finds it.
    for engine, expected in ((Slow(), [5, 3, 1]), (Slow(labels_per_job=3), [3, 1, 2])):
        calls.clear()
        other = JobStore(MemoryStore(), additional_stores={"data": MemoryStore(key="blob_uuid")})
        other.connect()
        batch = outcome(
            LabelBatch,
            other,
            engine.static_maker().make(frame_set(other, frames, (1.0, 2.0, 3.0, 4.0, 5.0))),
        )
        # Two of 40 s each fit into 100 s: a third would be stopped.
        assert sorted(calls) == sorted(expected)
        assert [record.status.value for record in batch.records] == ["converged"] * 5
        assert [record.temperature for record in batch.records] == [1.0, 2.0, 3.0, 4.0, 5.0]
        assert len(list(other.query({"output.schema_name": "label_batch"}))) == 1


def test_a_label_that_the_end_of_the_job_stopped_has_another_try(store, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(clock, "time", SimpleNamespace(monotonic=lambda: now[0], time=lambda: 0.0))
    monkeypatch.setenv("LAOC_JOB_WALLTIME", "100")
    tries = []

    class Stopped(Springs):
        def single_points(self, frames, directory):
            for frame, point in zip(frames, super().single_points(frames, directory), strict=True):
                now[0] += 60.0
                tries.append(round(float(frame.positions[0, 0]), 3))
                late = tries.count(tries[-1]) == 1 and tries[-1] == 0.0
                yield SinglePoint(LabelStatus.UNCONVERGED, "stopped at the walltime") if late else point

    frames = [crystal(0.1 * i, 0, 0) for i in range(3)]
    batch = outcome(LabelBatch, store, Stopped().static_maker().make(frame_set(store, frames)))
    assert [record.status.value for record in batch.records] == ["converged"] * 3
    assert sorted(tries) == [0.0, 0.0, 0.1, 0.2]


def test_a_second_try_keeps_corrections_and_does_not_compute_what_was_refused(store):
    asked = []

    class Fussy(Springs):
        broken: bool = True
        schedules: ClassVar = (*Springs.schedules, "broken")

        def single_points(self, frames, directory):
            for index, point in enumerate(super().single_points(frames, directory)):
                asked.append(index)
                if self.broken and index == 0:
                    yield SinglePoint(LabelStatus.CRASHED, "a node")
                elif point.status is LabelStatus.CONVERGED:
                    yield replace(point, corrections=(Correction(handler="BRMIX"),))
                else:
                    yield point

    frames = frame_set(store, [crystal(), crystal(0.1, 0, 0), crystal(0, 800.3, 0)])
    first = outcome(LabelBatch, store, Fussy().static_maker().make(frames))
    assert [record.status.value for record in first.records] == ["crashed", "converged", "rejected: force"]
    asked.clear()
    second = outcome(LabelBatch, store, Fussy(broken=False).static_maker().make(frames))
    assert asked == [0]
    assert [record.status.value for record in second.records] == ["converged", "converged", "rejected: force"]
    assert [record.corrections[0].handler for record in second.records[:2]] == ["BRMIX"] * 2
    assert second.records[2] == first.records[2]
    # The failed document is still there, and hides nothing.
    asked.clear()
    assert outcome(LabelBatch, store, Fussy(broken=False).static_maker().make(frames)) == second
    assert asked == []


def test_the_settings_of_the_dynamics_are_part_of_a_run(store):
    class Damped(Springs):
        name: str = "damped"
        friction: float = 1.0
        cores: int = 4
        schedules: ClassVar = (*Springs.schedules, "cores")

    keys = [
        md(engine, store).key for engine in (Damped(), Damped(cores=8, steps_per_job=9), Damped(friction=2.0))
    ]
    assert keys[0] == keys[1] != keys[2]


def test_a_run_that_an_engine_failed_is_run_again_and_one_that_did_not_melt_is_not(store):
    class Breaks(Springs):
        name: str = "springs"
        schedules: ClassVar = (*Springs.schedules, "broken")
        broken: bool = True

        def run_segment(self, state, segment, directory):
            found = super().run_segment(state, segment, directory)
            return replace(found, failure="a disk") if self.broken else found

    stopped = md(Breaks(), store)
    assert stopped.status == "stopped: a disk"
    assert stopped.failed
    assert md(Breaks(broken=False), store).status == "completed"
    maker = Springs().md_maker(
        (STAGES[0].model_copy(update={"until_melted": True}), STAGES[1]), time_step=2.0, frame_every=2
    )
    start = put_blob(store, encode_frames([crystal()]), MEDIA_TYPE)
    cold = outcome(MDResult, store, maker.make(start, PROVENANCE))
    assert "not melted" in cold.status
    assert not cold.failed
