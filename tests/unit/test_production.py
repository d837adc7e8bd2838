"""Production: its stages, and what is read off a run: a glass with transport, or a refusal with its reason and none."""

import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import make_supercell
from jobflow import CURRENT_JOB, JobStore, run_locally
from maggma.stores import MemoryStore
from monty.json import MontyDecoder, MontyEncoder
from pydantic import ValidationError

from laoc_flows.analysis import Analysis, Trajectory
from laoc_flows.blobs import fetch_file, get_blob, put_blob
from laoc_flows.campaign.reference_work import glass_steps
from laoc_flows.engines.base import Engine
from laoc_flows.engines.controller import Controller
from laoc_flows.engines.dynamics import MDState, Segment, SegmentRun, SinglePoint
from laoc_flows.engines.runs import Run
from laoc_flows.flows import production
from laoc_flows.flows.production import GlassMaker, documents
from laoc_flows.frames import MEDIA_TYPE, decode_frames, encode_frames
from laoc_flows.schemas.base import Provenance
from laoc_flows.schemas.config import Production
from laoc_flows.schemas.glass import GlassStatus, ProductionResult
from laoc_flows.schemas.potential import PotentialDocument
from laoc_flows.schemas.protocol import DensityEquilibration, SoftCore

SETTINGS = Production(
    supercell=(1, 1, 1), melt_time=5, quench_rate=200, npt_time=2, nvt_time=4, frame_interval=0.05
)
PROVENANCE = Provenance(
    campaign_id="c", campaign_seed=1, composition_id="x1.000-y0.000", stage="production", quench_rate=400.0
)


class Played(Engine):
    """A run whose every position is known: a crystal that rattles, and in the melt leaves along straight lines."""

    name: str = "played"
    melt_step: float = 0.05
    li_step: float = 0.0
    move: tuple[int, int, float] | None = None
    fails_in: str = ""

    @property
    def level_of_theory(self) -> str:
        return "played"

    def single_points(self, frames: Sequence[Atoms], directory: Path) -> Iterator[SinglePoint]:
        raise AssertionError(frames, directory)

    def run_segment(self, state: MDState, segment: Segment, directory: Path) -> SegmentRun:
        assert directory.is_dir()
        rng = np.random.default_rng(segment.seed)
        n = segment.n_steps // segment.frame_every
        stage = "melt" if segment.end_temperature == 1500 else segment.thermostat
        first = state.atoms.positions
        positions = np.array([first] * n) + rng.normal(scale=0.02, size=(n, *first.shape))
        if stage == "melt":
            directions = np.random.default_rng(5).normal(size=first.shape)
            directions /= np.linalg.norm(directions, axis=1)[:, None]
            positions += np.arange(1, n + 1)[:, None, None] * self.melt_step * directions
        if stage == "measure":
            li = np.array(state.atoms.get_chemical_symbols()) == "Li"
            positions[:, li] += self.li_step * rng.normal(size=(n, li.sum(), 3)).cumsum(axis=0)
            if self.move is not None:
                positions[n // 2 :, self.move[0]] = positions[n // 2 :, self.move[1]] + [0, 0, self.move[2]]
        steps = segment.frame_every * np.arange(1, n + 1)
        # The melt is one on the way only: what is quenched is the crystal again, whose structure is known.
        after = state.atoms.copy()
        if stage == "melt":
            after.positions += n * self.melt_step * directions
        elif segment.ensemble == "npt" and segment.start_temperature == 1500:
            after.positions = self.crystal()
            positions[:] = after.positions
        volume = np.full(n, after.get_volume())
        if segment.ensemble == "npt" and segment.start_temperature == 300:
            volume *= np.linspace(0.9, 1.1, n)
        hot = [segment.temperature_after(int(step)) for step in steps]
        rows = np.column_stack([steps, hot, np.full(n, 0.25), np.full(n, -1.0), volume])
        frames = [Atoms(after.get_chemical_symbols(), p, cell=after.cell, pbc=True) for p in positions]
        failure = "ERROR: Lost atoms" if self.fails_in == stage else ""
        return SegmentRun(segment.n_steps, frames, list(steps), rows, MDState(after), failure)

    def crystal(self) -> np.ndarray:
        return CRYSTAL["positions"]


CRYSTAL: dict[str, np.ndarray] = {}


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("LAOC_WORKSPACE", str(tmp_path))
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore(key="blob_uuid")})
    store.connect()
    CURRENT_JOB.store = store
    yield store
    CURRENT_JOB.reset()


@pytest.fixture(scope="module")
def cell(lialcl4):
    made = make_supercell(lialcl4, np.diag([2, 1, 1]))
    CRYSTAL["positions"] = made.positions.copy()
    return made


@pytest.fixture(scope="module")
def potential():
    return PotentialDocument(
        key="p", campaign_id="c", iteration=0, level_of_theory="l", models=(), soft_core=SoftCore(), dataset_digest="d",
        n_train=1, n_test=1, held_out={}, parent=None,
    )  # fmt: skip


def made(cell, settings=SETTINGS, **how):
    controller = Controller(
        engine=Played(**how), stages=settings.stages(PROVENANCE.quench_rate), time_step=2.0, frame_interval=0.05,
        relax_steps=0, seed=3,
    )  # fmt: skip
    start = put_blob(CURRENT_JOB.store, encode_frames([cell]), MEDIA_TYPE)
    run = Run(controller, start, None, kept_stages={*controller.melting, len(controller.stages) - 1})
    while not controller.done(run.progress):
        run.go(10**12)
    return run


def result(run, potential):
    return documents(run, "k", potential, "x1.000-y0.000", 8, PROVENANCE)


def test_a_glass_says_how_it_was_made(cell, potential, store, tmp_path):
    found = result(made(cell), potential)
    structure, transport = found.structure, found.transport
    assert [stage.name for stage in structure.stages] == ["melt", "quench", "npt", "nvt"]
    melt, quench, npt, _ = structure.stages
    # 0.05 A a frame, drift included: 10 A^2 after 63 frames or somewhat more, looked at every 13 of 100.
    assert (melt.status, melt.n_frames, melt.n_steps) == ("melted", 78, 1950)
    assert structure.melt.passed
    assert 10 < min(structure.melt_displacement.values()) < (77 * 0.05) ** 2
    assert quench.rate.value == pytest.approx(400, rel=1e-6)
    assert structure.quench_rate == quench.rate
    assert structure.provenance.quench_rate == 400.0
    assert structure.warnings == ()
    assert structure.potential_key == transport.potential_key == "p"
    assert structure.level_of_theory == transport.level_of_theory == "deepmd/l"
    assert structure.pressure.value == pytest.approx(0.25)
    # The density is that of the second half at constant pressure, and the volume of what follows its mean.
    assert npt.n_frames == quench.n_frames == 0
    n_rows = npt.n_steps // 25
    second = np.linspace(0.9, 1.1, n_rows)[n_rows // 2 :]
    mass = cell.get_masses().sum() * 1.66053907 / cell.get_volume()
    assert structure.density.value == pytest.approx((mass / second).mean(), rel=1e-5)
    last = decode_frames(get_blob(store, structure.structure))[0]
    assert last.get_volume() == pytest.approx(cell.get_volume() * second.mean(), rel=1e-6)
    profile = json.loads(get_blob(store, structure.profile))
    assert dict.fromkeys(profile["stage"]) == dict.fromkeys(["melt", "quench", "npt", "nvt"])
    assert profile["time_ps"][-1] == pytest.approx(3.9 + 3 + 2 + 4)
    # What is published is what was analyzed: the run at constant volume alone.
    run = Trajectory.read(fetch_file(transport.trajectory, tmp_path / "t.h5"))
    assert (run.n_frames, run.time_step) == (80, pytest.approx(0.05))
    assert run.duration == pytest.approx(transport.duration)


def test_a_glass_has_its_structure_and_transport(cell, potential):
    structure, transport = (found := result(made(cell), potential)).structure, found.transport
    assert structure.status is GlassStatus.GLASS
    assert structure.formula == "Li8Al8Cl32"
    assert structure.tetrahedra["AlCl4"].value == 1.0
    assert structure.links_found.value == structure.links_expected == 0
    assert structure.balance.closes
    assert {chain.rule: chain.isolated_share.value for chain in structure.chains} == {
        "distance": 1.0,
        "bridge": 1.0,
    }
    assert 2.1 < structure.pair_correlations["Al-Cl"].peak < 2.2
    assert structure.pair_correlations["Al-Cl"].coordination == pytest.approx(4.0)
    assert structure.pair_correlations["Al-Al"].coordination == 0
    assert transport.duration == pytest.approx(79 * 0.05)
    assert transport.mean_temperature.value == 300.0
    # Ions that rattle have not moved: there is nothing to conclude.
    assert transport.species["Li"].status == "insufficient"
    assert transport.species["Li"].last_msd == pytest.approx(6 * 0.02**2, rel=0.2)
    # No number without a status that allows it, and an upper bound in its place.
    assert transport.species["Li"].diffusion.value is None
    assert transport.nernst_einstein.value is None
    assert transport.nernst_einstein.upper_bound > 0
    assert (transport.hops.all.count, transport.hops.back_jumps.count) == (0, 0)
    assert set(transport.rotations) == {"Cl"}
    assert (transport.rotations["Cl"].rotating.count, transport.rotations["Cl"].exchanges.count) == (0, 0)
    assert structure.coordination["CN(Cl)"].value == 4.0
    assert structure.coordination["Q0"].value == 1.0
    assert structure.links_by_kind == {"corner": 0, "edge": 0, "face": 0}
    assert (structure.rings, structure.bridge_angle, structure.mixing) == ({}, None, None)


def test_the_whole_analysis_is_kept_with_the_document(cell, potential, store):
    transport = result(made(cell), potential).transport
    whole = Analysis.model_validate_json(gzip.decompress(get_blob(store, transport.analysis)))
    assert whole.system.formula == {"Li": 8, "Al": 8, "Cl": 32}
    assert whole.msd["Li"].value[-1] == transport.species["Li"].last_msd
    assert result(made(cell), potential).transport.analysis == transport.analysis


def test_moving_li_is_seen_and_still_chlorine_is_not(cell, potential):
    transport = result(made(cell, li_step=0.03), potential).transport
    # A walk with steps of 0.03 A along each axis: 3 * 0.03^2 per frame.
    assert transport.species["Li"].last_msd == pytest.approx(3 * 0.03**2 * 39, rel=0.6)
    assert transport.species["Cl"].last_msd < 0.01


@pytest.mark.parametrize(
    ("change", "status", "word"),
    [
        ({"melt_step": 0.001}, GlassStatus.NOT_MELTED, "Al"),
        ({"move": (20, 30, 2.0)}, GlassStatus.REACTED, "Cl-Cl"),
        ({"move": (0, 1, 1.2)}, GlassStatus.COLLAPSED, "Li-Li"),
        ({"fails_in": "sample"}, GlassStatus.STOPPED, "Lost atoms"),
        ({"fails_in": "measure"}, GlassStatus.STOPPED, "Lost atoms"),
    ],
)
def test_what_is_no_glass_is_refused_with_its_reason_and_has_no_transport(
    cell, potential, change, status, word
):
    found = result(made(cell, **change), potential)
    assert found.structure.status is status
    assert word in found.structure.reason
    assert found.transport is None


def test_what_a_run_made_before_it_failed_is_kept(cell, potential, monkeypatch):
    published = []
    monkeypatch.setattr(production, "publish_file", lambda path, *_: published.append(Trajectory.read(path)))
    run = made(cell, fails_in="measure")
    n_frames = len(run.recording.frames_of([len(run.controller.stages) - 1]))
    assert result(run, potential).structure.status is GlassStatus.STOPPED
    assert [trajectory.n_frames for trajectory in published] == [n_frames]
    assert n_frames > 0


def test_a_glass_that_takes_several_jobs_is_the_same_and_is_never_made_twice(
    cell, potential, tmp_path, monkeypatch
):
    whole = result(made(cell), potential)
    # The runner of the jobs has its own.
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore(key="blob_uuid")})
    store.connect()
    start = put_blob(store, encode_frames([cell]), MEDIA_TYPE)
    monkeypatch.setattr(production, "write_models", lambda *_, **__: [tmp_path / "model.pb"])

    def glass(steps_per_job):
        monkeypatch.setattr(production, "LammpsEngine", lambda **_: Played(steps_per_job=steps_per_job))
        job = GlassMaker(SETTINGS).make(potential, start, "x1.000-y0.000", 8, PROVENANCE)
        run_locally(job, store=store, ensure_success=True, log=False)
        return ProductionResult.model_validate(plain(store.get_output(job.uuid)))

    # The melt is looked at wherever a job ends, too: these end where it is looked at anyway.
    cut = glass(975)
    names = [row["name"] for row in store.docs_store.query()]
    assert any(name.startswith("production x1.000-y0.000 glass 0 | step ") for name in names)
    assert len(names) >= 6
    assert cut.structure.status is GlassStatus.GLASS
    assert [(s.name, s.status, s.n_steps, s.first_frame, s.n_frames) for s in cut.structure.stages] == [
        (s.name, s.status, s.n_steps, s.first_frame, s.n_frames) for s in whole.structure.stages
    ]
    assert cut.transport.duration == whole.transport.duration
    monkeypatch.setattr(Played, "run_segment", lambda *_: pytest.fail("it was run again"))
    assert glass(10**12) == cut


def plain(value):
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if not k.startswith("@")}
    return [plain(item) for item in value] if isinstance(value, list) else value


def test_what_does_not_melt_is_never_quenched(cell, potential):
    structure = result(made(cell, melt_step=0.001), potential).structure
    assert [(stage.name, stage.status, stage.n_steps) for stage in structure.stages] == [
        ("melt", "not melted", 2500)
    ]
    assert structure.quench_rate is None
    assert not structure.melt.passed
    # Its structure is told all the same: the crystal it still is.
    assert structure.tetrahedra["AlCl4"].value == 1.0


def test_a_density_that_is_not_reached_is_a_warning(cell, potential):
    settings = SETTINGS.model_copy(update={"equilibrate": DensityEquilibration(attempts=2, tolerance=0.1)})
    structure = result(made(cell, settings=settings), potential).structure
    assert structure.status is GlassStatus.GLASS
    assert len(structure.warnings) == 1
    assert structure.warnings[0].startswith("density: not equilibrated, 0.25 +- 0.00 GPa")


def test_a_production_of_several_rates_has_an_ensemble_for_each():
    settings = Production(glasses=2, quench_rate=[1.0, 10.0, 0.1], melt_temperature=1000)
    assert settings.glass_runs() == ((0, 1.0), (1, 1.0), (2, 10.0), (3, 10.0), (4, 0.1), (5, 0.1))
    quench = {rate: settings.stages(rate)[1] for rate in settings.quench_rate}
    assert {rate: stage.time for rate, stage in quench.items()} == {
        1.0: pytest.approx(700),
        10.0: pytest.approx(70),
        0.1: pytest.approx(7000),
    }
    assert settings.stages() == settings.stages(1.0)
    # A rate more leaves the glasses that there are with their numbers, hence with their seeds.
    more = Production(glasses=2, quench_rate=[1.0, 10.0, 0.1, 5.0])
    assert more.glass_runs()[:6] == settings.glass_runs()
    assert Production(quench_rate=3).quench_rate == (3.0,)
    with pytest.raises(ValidationError, match="a quench rate is given twice"):
        Production(quench_rate=[1, 1.0])
    with pytest.raises(ValidationError):
        Production(quench_rate=[])


def test_the_stages_are_those_that_were_asked_for():
    settings = Production(melt_ensemble="npt", equilibrate={}, equilibrate_time=3, pressure=2)
    melt, density, quench, npt, nvt = settings.stages()
    assert (melt.ensemble, melt.until_melted) == ("npt", True)
    assert (density.ensemble, density.time, density.equilibrate.attempts) == ("nvt", 3, 8)
    assert (quench.ensemble, npt.ensemble, nvt.ensemble) == ("npt", "npt", "nvt")
    assert {stage.pressure for stage in (melt, density, quench, npt)} == {2.0}
    assert [stage.thermostat for stage in (melt, density, quench, npt, nvt)] == ["sample"] * 4 + ["measure"]
    assert [stage.name for stage in Production().stages()] == ["melt", "quench", "npt", "nvt"]


def test_documents_stay_small(cell, potential):
    found = result(made(cell), potential)
    assert len(found.model_dump_json()) < 50_000


def test_a_protocol_takes_the_place_of_the_parameters():
    production = Production(protocol={"preset": "mlip", "length": 0.01, "quench_rates": [100, 10]}, glasses=2)
    assert [stage.name for stage in production.stages()] == ["melt", "quench", "npt", "hold"]
    assert [rate for _, rate in production.glass_runs()] == [100, 100, 10, 10]
    assert production.stages(10.0)[1].time == pytest.approx(70)
    assert production.stages(10.0)[-1].thermostat == "measure"
    assert production.frame_every == 50
    # At least: the melt of a cell that never is one.
    assert glass_steps(production, 10.0) == (5000, 5000 + 35000 + 5000 + 50000)
    # As it travels between jobs.
    assert Production.model_validate(production.model_dump(mode="json")) == production
    again = json.loads(json.dumps(GlassMaker(production), cls=MontyEncoder), cls=MontyDecoder)
    assert again.production == production
    own = Production(protocol={"preset": "dai2023"})
    assert own.rates == (None,)
    assert own.glass_runs() == ((0, None),)
    with pytest.raises(ValidationError, match="protocol says it all: leave out melt_time, quench_rate"):
        Production(protocol={"preset": "mlip"}, melt_time=10, quench_rate=3)
    quench = {"name": "quench", "start_temperature": 900, "end_temperature": 300, "time": 1}
    with pytest.raises(ValidationError, match="the last stage of protocol must be a run that is analyzed"):
        Production(protocol={"stages": [quench]})


def test_a_glass_by_a_protocol_is_made_of_its_stages(cell, potential):
    stages = [
        {"name": "hot", "start_temperature": 1500, "end_temperature": 1500, "time": 5, "until_melted": True},
        {"name": "cool", "start_temperature": 1500, "end_temperature": 300, "time": 2, "ensemble": "npt"},
        {"name": "settle", "start_temperature": 300, "end_temperature": 300, "time": 1, "ensemble": "npt"},
        {"name": "run", "start_temperature": 300, "end_temperature": 300, "time": 4, "thermostat": "measure"},
    ]
    settings = Production(protocol={"time_step": 2.0, "stages": stages}, frame_interval=0.05)
    found = result(made(cell, settings), potential)
    assert [stage.name for stage in found.structure.stages] == ["hot", "cool", "settle", "run"]
    assert found.structure.status is GlassStatus.GLASS
    assert found.transport.temperature == 300
    assert found.transport.duration == pytest.approx(79 * 0.05)
