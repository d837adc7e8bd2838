"""The melt-quench controller with an engine whose physics is known exactly."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from pydantic import Field

from laoc_flows.engines.base import Engine
from laoc_flows.engines.controller import Controller, Progress
from laoc_flows.engines.dynamics import MDState, Segment, SegmentRun, SinglePoint
from laoc_flows.engines.melting import judged_stages, melting_stages
from laoc_flows.engines.recording import Recording
from laoc_flows.engines.stage_records import warnings_of
from laoc_flows.errors import InputError
from laoc_flows.schemas.protocol import DensityEquilibration, Stage

SYMBOLS = ["Li"] * 4 + ["Al"] * 4 + ["Cl"] * 16
EQUILIBRIUM = 900.0  # A^3
MODULUS = 6.0  # GPa


class Walkers(Engine):
    """Independent random walkers at exactly the thermostat's target, with the pressure of a known equation of state."""

    name: str = "walkers"
    stride: float = Field(0.15, description="standard deviation of a step along each axis [A]")
    noise: float = Field(0.5, description="standard deviation of the pressure [GPa]")
    softens: bool = True
    stops_after: int | None = None
    fails_at: int | None = None

    @property
    def level_of_theory(self) -> str:
        return "walkers/r1"

    def single_points(self, frames: Sequence[Atoms], directory: Path) -> Iterator[SinglePoint]:
        raise AssertionError((frames, directory))

    def pressure(self, volume: float) -> float:
        return MODULUS * np.log(EQUILIBRIUM / volume) if self.softens else 5.0

    def run_segment(self, state: MDState, segment: Segment, directory: Path) -> SegmentRun:
        assert directory.is_dir()
        rng = np.random.default_rng(segment.seed)
        made = segment.n_steps if self.stops_after is None else min(segment.n_steps, self.stops_after)
        if self.fails_at is not None:
            made = min(made, self.fails_at)
        atoms = state.atoms.copy()
        frames, frame_steps, rows = [], [], []
        for step in range(1, made + 1):
            if segment.ensemble == "npt":
                atoms.set_cell(atoms.cell.array * (1 + 0.01 * rng.normal()), scale_atoms=True)
            if segment.ensemble != "relax":
                atoms.positions += self.stride * rng.normal(size=(len(atoms), 3))
            if step % segment.frame_every == 0:
                frames.append(Atoms(atoms.get_chemical_symbols(), atoms.positions, cell=atoms.cell, pbc=True))
                frame_steps.append(step)
            pressure = self.pressure(atoms.get_volume()) + self.noise * rng.normal()
            rows.append([step, segment.temperature_after(step), pressure, -1.0, atoms.get_volume()])
        return SegmentRun(
            made,
            frames,
            frame_steps,
            np.array(rows).reshape(-1, 5),
            MDState(atoms, b"restart"),
            "the engine broke" if self.fails_at is not None else "",
        )


def cell(volume=EQUILIBRIUM):
    rng = np.random.default_rng(1)
    edge = volume ** (1 / 3)
    return Atoms(SYMBOLS, rng.uniform(0, edge, (len(SYMBOLS), 3)), cell=[edge] * 3, pbc=True)


def stage(name, start, end=None, time=0.4, **more):
    return Stage(
        name=name, start_temperature=start, end_temperature=start if end is None else end, time=time, **more
    )


def run(tmp_path, engine, stages, *, atoms=None, budget=10**9, relax=0, every=4):
    controller = Controller(
        engine=engine,
        stages=tuple(stages),
        time_step=2.0,
        frame_interval=every * 0.002,
        relax_steps=relax,
        seed=5,
    )
    atoms = atoms if atoms is not None else cell()
    progress, state = Progress(), controller.start(atoms)
    recording = Recording(atoms.get_chemical_symbols())
    segments = 0
    while not controller.done(progress):
        progress, state, _, _, _ = controller.advance(progress, state, recording, budget, tmp_path)
        segments += 1
        assert segments < 1000
    return progress, state, recording


def test_stages_follow_each_other_and_the_ramp_ends_where_it_should(tmp_path):
    stages = [
        stage("heat", 300, 1500),
        stage("melt", 1500),
        stage("quench", 1500, 300, 0.8),
        stage("hold", 300),
    ]
    progress, _, recording = run(tmp_path, Walkers(), stages)
    assert [record.name for record in progress.records] == ["heat", "melt", "quench", "hold"]
    assert [record.status for record in progress.records] == ["completed"] * 4
    assert [record.n_steps for record in progress.records] == [200, 200, 400, 200]
    quench = progress.records[2]
    assert recording.of_stage(2)[-1, 2] == pytest.approx(300)
    assert quench.final_temperature.value == pytest.approx(300)
    assert quench.rate.value == pytest.approx(1500, rel=1e-6)  # 1200 K in 0.8 ps
    assert quench.rate.standard_error == pytest.approx(0, abs=1e-6)
    assert progress.records[1].rate is None
    assert [record.n_frames for record in progress.records] == [50, 50, 100, 50]
    assert [record.first_frame for record in progress.records] == [0, 50, 100, 200]
    assert progress.failure == ""


@pytest.mark.parametrize("budget", [1, 7, 64, 199])
def test_a_run_cut_into_jobs_has_the_same_stages_frames_and_targets(tmp_path, budget):
    stages = [stage("melt", 1500), stage("quench", 1500, 300), stage("hold", 300, time=0.0501)]
    whole = run(tmp_path, Walkers(), stages)
    parts = run(tmp_path, Walkers(), stages, budget=budget)
    assert whole[2].frame_step == parts[2].frame_step
    assert whole[2].frame_stage == parts[2].frame_stage
    for index in range(3):
        np.testing.assert_allclose(
            whole[2].of_stage(index)[:, :3], parts[2].of_stage(index)[:, :3], rtol=1e-12
        )


@pytest.mark.parametrize("stops_after", [3, 5, 50])
def test_a_time_limit_between_two_frames_keeps_the_frames_even(tmp_path, stops_after):
    stages = [stage("melt", 1500), stage("quench", 1500, 300)]
    progress, _, recording = run(tmp_path, Walkers(stops_after=stops_after), stages)
    assert [record.n_steps for record in progress.records] == [200, 200]
    assert recording.frame_step == 2 * list(range(4, 201, 4))
    np.testing.assert_allclose(recording.of_stage(1)[:, 2], 1500 - 6 * np.arange(1, 201))


def test_an_engine_that_makes_no_step_stops_the_run(tmp_path):
    progress, _, _ = run(tmp_path, Walkers(stops_after=0), [stage("melt", 1500)])
    assert "no step" in progress.failure


def test_a_failure_keeps_what_was_made(tmp_path):
    progress, _, recording = run(tmp_path, Walkers(fails_at=50), [stage("melt", 1500), stage("hold", 300)])
    assert progress.failure == "the engine broke"
    assert [(r.name, r.status, r.n_steps) for r in progress.records] == [("melt", "stopped", 50)]
    assert recording.n_frames == 12


def test_a_melt_ends_when_it_is_one(tmp_path):
    # 3 * 0.3^2 A^2 a step: 10 A^2 after 37 steps, seen at the first look, an eighth of the stage.
    stages = [stage("melt", 1500, time=4.0, until_melted=True), stage("quench", 1500, 300)]
    progress, _, _ = run(tmp_path, Walkers(stride=0.3), stages)
    melt = progress.records[0]
    assert melt.status == "melted"
    assert melt.n_steps == 252
    assert progress.melt.passed
    assert progress.melt.displacement["Al"] > 10
    assert len(progress.records) == 2


def test_what_does_not_melt_is_not_quenched(tmp_path):
    stages = [stage("melt", 1500, until_melted=True), stage("quench", 1500, 300)]
    progress, _, _ = run(tmp_path, Walkers(stride=0.01), stages)
    assert [record.status for record in progress.records] == ["not melted"]
    assert not progress.melt.passed
    assert progress.failure.startswith("not melted")


def test_a_melt_that_nobody_waits_for_is_judged_all_the_same(tmp_path):
    progress, _, _ = run(tmp_path, Walkers(stride=0.01), [stage("melt", 1500), stage("quench", 1500, 300)])
    assert progress.failure == ""
    assert not progress.melt.passed
    hot, _, _ = run(tmp_path, Walkers(stride=0.4), [stage("melt", 600), stage("hold", 300)])
    assert hot.melt.passed  # a drop in temperature is a quench, too
    heated, _, _ = run(tmp_path, Walkers(stride=0.4), [stage("heat", 300, 900), stage("quench", 900, 300)])
    assert heated.melt.passed  # the way up belongs to the melt
    flat, _, _ = run(tmp_path, Walkers(stride=0.4), [stage("hold", 300)])
    assert flat.melt is None


@pytest.mark.parametrize("factor", [0.8, 1.3])
def test_the_density_is_equilibrated_to_the_known_volume(tmp_path, factor):
    settings = DensityEquilibration(tolerance=0.1, attempts=12, bulk_modulus=15)
    stages = [stage("density", 1500, time=2.0, equilibrate=settings), stage("hold", 1500)]
    progress, state, _ = run(tmp_path, Walkers(), stages, atoms=cell(factor * EQUILIBRIUM))
    record = progress.records[0]
    assert record.status == "equilibrated"
    last = record.attempts[-1].pressure
    assert abs(last.value) <= 0.1
    assert last.standard_error <= 0.1
    # A pressure within 0.1 GPa plus four standard errors is a volume within that over the bulk modulus.
    assert abs(np.log(state.atoms.get_volume() / EQUILIBRIUM)) < (0.1 + 4 * last.standard_error) / MODULUS
    edges = np.array([attempt.volume for attempt in record.attempts]) ** (1 / 3)
    assert np.abs(np.diff(np.log(edges))).max() <= np.log(1.04) + 1e-12


def test_a_noisy_pressure_runs_longer_at_its_volume_instead_of_moving_on(tmp_path):
    settings = DensityEquilibration(tolerance=0.2, attempts=30)
    progress, _, _ = run(
        tmp_path,
        Walkers(noise=16.0),
        [stage("density", 1500, time=2.0, equilibrate=settings), stage("hold", 1500)],
    )
    record = progress.records[0]
    assert record.status == "equilibrated"
    assert record.attempts[-1].pressure.standard_error <= 0.2
    assert record.attempts[-1].time > 2.0


def test_a_pressure_that_cannot_be_reached_is_said_to_be(tmp_path):
    settings = DensityEquilibration(tolerance=0.1, attempts=3)
    progress, _, _ = run(
        tmp_path,
        Walkers(softens=False),
        [stage("density", 1500, time=1.0, equilibrate=settings), stage("hold", 300)],
    )
    record = progress.records[0]
    assert record.status == "not equilibrated"
    assert len(record.attempts) == 3
    assert "after 3 runs" in record.reason
    assert progress.failure == ""  # it goes on, and says so


def test_constant_volume_after_constant_pressure_is_the_mean_volume(tmp_path):
    progress, state, recording = run(
        tmp_path, Walkers(), [stage("npt", 300, time=0.2, ensemble="npt"), stage("hold", 300)]
    )
    volumes = recording.of_stage(0)[:, 5]
    assert state.atoms.get_volume() == pytest.approx(volumes[len(volumes) // 2 :].mean())
    assert progress.records[1].volume == pytest.approx(state.atoms.get_volume())


def test_a_changed_cell_drops_the_engines_restart_file_and_keeps_the_momenta(tmp_path):
    seen = []

    class Spy(Walkers):
        def run_segment(self, state, segment, directory):
            seen.append((state.restart, state.atoms.get_momenta().copy()))
            return super().run_segment(state, segment, directory)

    run(tmp_path, Spy(), [stage("npt", 300, ensemble="npt"), stage("hold", 300), stage("more", 300)])
    assert [restart for restart, _ in seen] == [b"", b"", b"restart"]
    assert np.abs(seen[1][1]).max() > 0


def test_velocities_have_no_drift_and_their_seed(tmp_path):
    seen = []

    class Spy(Walkers):
        def run_segment(self, state, segment, directory):
            seen.append(state.atoms.get_momenta())
            return super().run_segment(state, segment, directory)

    for _ in range(2):
        run(tmp_path, Spy(), [stage("melt", 1500, time=0.002)], every=1)
    np.testing.assert_array_equal(seen[0], seen[1])
    np.testing.assert_allclose(seen[0].sum(axis=0), 0, atol=1e-9)


def test_the_state_survives_its_bytes_exactly():
    atoms = cell()
    atoms.set_momenta(np.random.default_rng(3).normal(size=(24, 3)))
    again = MDState.unpack(MDState(atoms, b"\x00nose").pack())
    np.testing.assert_array_equal(again.atoms.positions, atoms.positions)
    np.testing.assert_array_equal(again.atoms.get_momenta(), atoms.get_momenta())
    assert again.restart == b"\x00nose"


def test_frames_that_are_no_whole_number_of_steps_are_refused():
    stages = (stage("melt", 1500, time_step=1.5),)
    with pytest.raises(
        InputError, match=r"8 fs apart are not a whole number of the 1.5 fs steps of stage 'melt'"
    ):
        Controller(Walkers(), stages, 2.0, 0.008, 0, 1)


def test_constant_volume_after_a_ramp_at_constant_pressure_is_where_the_ramp_ends(tmp_path):
    class Expands(Walkers):
        """Volume in step with the temperature, without noise."""

        def run_segment(self, state, segment, directory):
            run = super().run_segment(state, replace(segment, ensemble="nvt"), directory)
            if segment.ensemble != "npt":
                return run
            for row in run.rows:
                row[4] = EQUILIBRIUM * (1 + 3e-4 * (segment.temperature_after(row[0]) - 300))
            atoms = run.state.atoms.copy()
            atoms.set_cell(atoms.cell.array * (run.rows[-1, 4] / atoms.get_volume()) ** (1 / 3))
            return replace(run, state=MDState(atoms))

    stages = [stage("melt", 1500), stage("quench", 1500, 300, 0.8, ensemble="npt"), stage("hold", 300)]
    _, state, _ = run(tmp_path, Expands(), stages)
    # The mean of the second half would be that of 600 K, 9 % more.
    assert state.atoms.get_volume() == pytest.approx(EQUILIBRIUM, rel=1e-6)


def test_the_last_stage_at_constant_pressure_ends_in_its_mean_cell_and_shape(tmp_path):
    class Shears(Walkers):
        def run_segment(self, state, segment, directory):
            found = super().run_segment(state, segment, directory)
            rng = np.random.default_rng(segment.seed)
            for frame in found.frames:
                frame.cell[1, 0] += rng.normal()
            return found

    stages = [stage("melt", 1500), stage("npt", 300, ensemble="npt")]
    _, state, recording = run(tmp_path, Shears(), stages)
    volumes = recording.of_stage(1)[:, 5]
    assert state.atoms.get_volume() == pytest.approx(volumes[len(volumes) // 2 :].mean())
    frames = recording.frames_of([1])
    mean = np.mean([recording.cell(i) for i in frames[len(frames) // 2 :]], axis=0)
    np.testing.assert_allclose(state.atoms.cell[1, 0] / state.atoms.cell[1, 1], mean[1, 0] / mean[1, 1])


def test_what_moved_before_a_fall_says_nothing_of_the_melt_after_it(tmp_path):
    class Freezes(Walkers):
        def run_segment(self, state, segment, directory):
            still = Walkers(stride=0.01) if segment.start_temperature < 1500 else Walkers(stride=0.4)
            return still.run_segment(state, segment, directory)

    hot, cold = stage("first", 1500), stage("cold", 300)
    wait = {"time": 0.4, "until_melted": True}
    ends = [stage("quench", 1500, 300), cold]
    # Mobile once, immobile where it is waited for: refused.
    immobile = [hot, stage("quench 1", 1500, 300), stage("melt", 1400, **wait), *ends]
    progress, _, _ = run(tmp_path, Freezes(), immobile)
    assert [record.status for record in progress.records] == ["completed", "completed", "not melted"]
    # Immobile for long and mobile where it is waited for: a melt.
    mobile = [
        stage("anneal", 900, time=2.0),
        stage("cold", 300),
        stage("heat", 300, 1500),
        stage("melt", 1500, **wait),
    ]
    progress, _, _ = run(tmp_path, Freezes(), [*mobile, *ends])
    assert progress.records[3].status == "melted"
    assert progress.melt.passed


@pytest.mark.parametrize("fails", [1, 2])
def test_a_segment_that_fails_is_begun_again_once_from_the_state_before_it(tmp_path, fails):
    calls = []

    class Struck(Walkers):
        def run_segment(self, state, segment, directory):
            found = super().run_segment(state, segment, directory)
            calls.append(segment)
            struck = 2 <= len(calls) < 2 + fails
            return replace(found, n_steps=30, failure="a node") if struck else found

    stages = [stage("melt", 1500), stage("quench", 1500, 300)]
    undisturbed = run(tmp_path, Walkers(), stages, budget=100)
    progress, state, recording = run(tmp_path, Struck(), stages, budget=100)
    assert calls[1] == calls[2]
    if fails == 1:
        assert progress.failure == ""
        np.testing.assert_array_equal(state.atoms.positions, undisturbed[1].atoms.positions)
        np.testing.assert_array_equal(recording.of_stage(1), undisturbed[2].of_stage(1))
    else:
        assert progress.failure == "a node"
        assert [(r.status, r.n_steps) for r in progress.records] == [("stopped", 130)]


def test_another_thermostat_or_time_step_drops_the_restart_file_of_the_engine(tmp_path):
    seen = []

    class Spy(Walkers):
        def run_segment(self, state, segment, directory):
            seen.append(state.restart)
            return super().run_segment(state, segment, directory)

    stages = [
        stage("melt", 1500),
        stage("more", 1500, time_step=2.0),
        stage("weak", 1500, thermostat="measure"),
        stage("short", 1500, thermostat="measure", time_step=1.0),
        stage("last", 1500, thermostat="measure", time_step=1.0),
    ]
    run(tmp_path, Spy(), stages)
    assert seen == [b"", b"restart", b"", b"", b"restart"]


def test_what_was_not_reached_is_a_warning(tmp_path):
    class Lags(Walkers):
        def run_segment(self, state, segment, directory):
            found = super().run_segment(state, segment, directory)
            found.rows[:, 1] += 400
            return found

    stages = [
        stage("melt", 1500, time=1.2),
        stage("quench", 1500, 300, time=1.2),
        stage("hold", 300, time=1.2),
    ]
    progress, _, _ = run(tmp_path, Lags(), stages, atoms=cell(0.7 * EQUILIBRIUM))
    # 24 atoms at 1500 K fluctuate by 250 K: 400 K are no wonder there.
    quench, hold, pressure = warnings_of(progress.records)
    assert quench == "quench: ended at 700 K, not at 300 K"
    assert hold.startswith("hold: ended at 700 K")
    assert "hold: the mean pressure at this volume is 2.1" in pressure
    assert pressure.endswith("not 0 GPa: the cell is not at its density")
    progress, _, _ = run(tmp_path, Walkers(), stages)
    assert warnings_of(progress.records) == ()


def test_a_recording_without_forces_takes_no_memory_for_them_and_keeps_what_it_is_to_keep(tmp_path):
    stages = [stage("melt", 1500), stage("quench", 1500, 300)]
    _, _, recording = run(tmp_path, Walkers(), stages)
    packed = recording.pack()
    with np.load(io.BytesIO(packed)) as arrays:
        assert arrays["forces"].size == 0
    again = Recording.unpack([packed])
    assert again.n_frames == recording.n_frames == 100
    assert again.frame(3).calc is None
    assert Recording.unpack([packed, packed]).n_frames == 200
    only = Recording(recording.symbols, {1})
    controller = Controller(Walkers(), tuple(stages), 2.0, 0.008, 0, 5)
    progress, state = Progress(), controller.start(cell())
    while not controller.done(progress):
        progress, state, *_ = controller.advance(progress, state, only, 10**9, tmp_path)
    assert set(only.frame_stage) == {1}
    assert len(only.of_stage(0)) == len(recording.of_stage(0)) == 200


def test_a_short_stage_of_a_small_cell_is_not_blamed_for_its_fluctuation(tmp_path):
    """Canonical fluctuations that remember themselves for half a picosecond: one warning in hundreds of stages."""

    class Fluctuates(Walkers):
        def run_segment(self, state, segment, directory):
            found = super().run_segment(state, segment, directory)
            rng = np.random.default_rng(segment.seed)
            keep = np.exp(-segment.time_step / 500.0)
            noise, value = [], rng.normal()
            for _ in found.rows:
                value = keep * value + np.sqrt(1 - keep**2) * rng.normal()
                noise.append(value)
            found.rows[:, 1] *= 1 + np.array(noise) * np.sqrt(2 / (3 * len(SYMBOLS) - 3))
            return found

    stages = [stage(f"hold {i}", 900, time=2.0) for i in range(40)]
    progress, _, _ = run(tmp_path, Fluctuates(), [*stages, stage("last", 300)], every=50)
    assert len([text for text in warnings_of(progress.records) if "ended at" in text]) <= 2


def test_a_relaxation_that_fails_is_begun_again_once_too(tmp_path):
    calls = []

    class Struck(Walkers):
        strikes: int = 1

        def run_segment(self, state, segment, directory):
            found = super().run_segment(state, segment, directory)
            calls.append(segment.ensemble)
            return replace(found, failure="a node") if calls.count("relax") <= self.strikes else found

    stages = [stage("melt", 1500)]
    progress, _, _ = run(tmp_path, Struck(), stages, relax=5)
    assert progress.failure == ""
    assert calls == ["relax", "relax", "nvt"]
    calls.clear()
    progress, _, _ = run(tmp_path, Struck(strikes=2), stages, relax=5)
    assert progress.failure == "relaxation: a node"
    assert calls == ["relax", "relax"]


def test_a_segment_without_a_step_is_begun_again_once(tmp_path):
    calls = []

    class Late(Walkers):
        def run_segment(self, state, segment, directory):
            calls.append(segment)
            if len(calls) == 1:
                return SegmentRun(0, [], [], np.empty((0, 5)), state)
            return super().run_segment(state, segment, directory)

    progress, _, _ = run(tmp_path, Late(), [stage("melt", 1500)])
    assert progress.failure == ""
    assert calls[0] == calls[1]


def test_a_melt_at_constant_pressure_ends_in_its_mean_cell(tmp_path):
    stages = [
        stage("melt", 1500, time=4.0, until_melted=True, ensemble="npt"),
        stage("hold", 1500),
        stage("quench", 1500, 300),
    ]
    progress, _, recording = run(tmp_path, Walkers(stride=0.3), stages)
    volumes = recording.of_stage(0)[:, 5]
    assert progress.records[1].volume == pytest.approx(volumes[len(volumes) // 2 :].mean())


def test_the_frames_of_every_melt_that_is_waited_for_are_judged():
    stages = [
        stage("first", 2000, until_melted=True),
        stage("cool", 2000, 1200),
        stage("second", 1200, until_melted=True),
        stage("quench", 1200, 300),
        stage("hold", 300),
    ]
    assert judged_stages(stages) == {0, 2}
    assert list(melting_stages(stages)) == [2]
    assert judged_stages(stages[3:]) == set()
