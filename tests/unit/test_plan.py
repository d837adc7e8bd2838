"""The plan of a campaign against the jobs that its flow really makes, and what the command prints."""

import csv
import io
import json
import math
import re
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import typer
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from jobflow import Flow, JobStore, run_locally
from maggma.stores import MemoryStore
from typer.testing import CliRunner

from laoc_flows.blobs import BlobRef, put_blob
from laoc_flows.campaign.expect import InvalidCampaignError
from laoc_flows.campaign.exploration_work import explored_frames, most_selected
from laoc_flows.campaign.file import CampaignFile
from laoc_flows.campaign.plan import plan
from laoc_flows.campaign.reference_work import melt_quench_work, run_work, trajectory_work
from laoc_flows.cli.plan import plan as plan_command
from laoc_flows.engines.base import Engine
from laoc_flows.engines.controller import Controller
from laoc_flows.engines.dynamics import MDState, SegmentRun, SinglePoint
from laoc_flows.errors import CampaignFileError
from laoc_flows.flows.campaign import CampaignMaker
from laoc_flows.flows.choice import Choice
from laoc_flows.flows.loop import _label_flow, iteration_flow, production_flow
from laoc_flows.flows.seeds import SeedMaker
from laoc_flows.flows.spec import LoopState
from laoc_flows.frames import MEDIA_TYPE, encode_frames
from laoc_flows.learning.novelty import Novelty
from laoc_flows.learning.selection import Decision, Offered, choose
from laoc_flows.schemas.base import Provenance
from laoc_flows.schemas.config import ReferenceSampling
from laoc_flows.schemas.dataset import Dataset
from laoc_flows.schemas.iteration import ExplorationDocument
from laoc_flows.schemas.label import FrameSet, LabelStatus
from laoc_flows.schemas.learning import Exploration, Selection
from laoc_flows.schemas.potential import PotentialDocument, SoftCore
from laoc_flows.schemas.protocol import DISTANCE_FLOOR, LabelLimits, Stage

BASE = {
    "name": "test",
    "seed": 1,
    "grid": {"points": [{"x": 1, "y": 0.75}, {"x": 0.5, "y": 0.75}, {"x": 1, "y": 0}]},
    "cell": {"n_al": 4},
    "engine": {"name": "xtb"},
    "melt_quench": {
        "packings": 2,
        "held_out": 1,
        "label_every": 7,
        "protocol": {"melt_time": 0.101, "quench_rate": 2400, "time_step": 2.0},
    },
    "learning": {
        "max_iterations": 3,
        "committee": 2,
        "exploration": {
            "temperatures": [1500, 400],
            "melt_time": 1,
            "hold_time": 1,
            "quench_rate": 1100,
            "replicas": 2,
        },
        "selection": {"labels_per_stratum": 3, "audit": 0},
        "probe": None,
    },
    "production": {"supercell": [2, 2, 2], "glasses": 2},
}
STAGES = ("seed", "train", "explore", "label", "production")
BLOB = BlobRef(sha256="0" * 64, size=1, media_type="chemical/x-extxyz+gzip")


def campaign(tmp_path, **changes):
    content = json.loads(json.dumps(BASE))
    for key, value in changes.items():
        *parents, last = key.split("__")
        node = content
        for parent in parents:
            node = node[parent]
        node[last] = value
    path = tmp_path / "test.yaml"
    path.write_text(json.dumps(content), encoding="utf-8")
    return CampaignFile.load(path)


def jobs_of(flow):
    return [job for child in flow.jobs for job in (jobs_of(child) if isinstance(child, Flow) else [child])]


def by_stage(flow):
    return Counter(job.metadata["laoc"]["stage"] for job in jobs_of(flow))


def most_jobs(file):
    """Jobs of a campaign that never converges, counted in the flows themselves."""
    spec = file.spec()
    counts = by_stage(CampaignMaker(spec).make())
    dataset = Dataset(level_of_theory=spec.engine.level_of_theory, members=())
    starts = {name: [BLOB] for name in spec.explored}
    potential = PotentialDocument(
        key="0",
        campaign_id=spec.campaign_id,
        iteration=0,
        level_of_theory=spec.engine.level_of_theory,
        models=(),
        soft_core=SoftCore(radii=DISTANCE_FLOOR),
        dataset_digest="0",
        n_train=1,
        n_test=1,
        held_out={},
        parent=None,
    )
    for iteration in range(spec.learning.max_iterations):
        state = LoopState(dataset=dataset, starts=starts, iteration=iteration)
        loop = iteration_flow(spec, state)
        counts += by_stage(loop)
        if iteration + 1 < spec.learning.max_iterations:
            explorations, chosen = [], {}
            for job in jobs_of(loop):
                if job.metadata["laoc"]["stage"] != "explore":
                    continue
                provenance = Provenance(
                    campaign_id=spec.campaign_id,
                    campaign_seed=1,
                    composition_id=job.metadata["laoc"]["composition"],
                    stage="explore",
                )
                chosen[len(explorations)] = FrameSet(frames=BLOB, n_frames=1, provenance=provenance)
                explorations.append(
                    ExplorationDocument(
                        key="0",
                        campaign_id=spec.campaign_id,
                        provenance=provenance,
                        potential_key="0",
                        status="completed",
                        strata=(),
                        candidates=None,
                        trajectory=None,
                    )
                )
            following = state.model_copy(update={"iteration": iteration + 1})
            choice = Choice(chosen, (), None)
            counts += by_stage(_label_flow(spec, potential, explorations, choice, following))
    return counts + by_stage(production_flow(spec, potential))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"melt_quench__strains": []},
        {"melt_quench__packings": 1, "learning__committee": 4, "production__glasses": 1},
        {"learning__max_iterations": 1},
        {"grid": {"x": [0, 0.5, 1], "y": [0, 0.25]}, "learning__max_iterations": 2},
        {"learning__exploration__between": 2},
        {"grid": {"x": [1], "y": [0, 0.25], "held_out": [{"x": 1, "y": 0.5}, {"x": 1, "y": 0.25}]}},
    ],
)
def test_the_stages_hold_the_jobs_that_the_flow_makes(tmp_path, changes):
    file = campaign(tmp_path, **changes)
    planned = plan(file)
    assert tuple(planned.stages) == STAGES
    assert {stage: high for stage, (_, high) in planned.stages.items()} == {
        s: most_jobs(file)[s] for s in STAGES
    }
    first = by_stage(CampaignMaker(file.spec()).make())
    assert planned.stages["seed"] == (first["seed"], first["seed"])
    assert first["train"] == 1
    assert planned.stages["seed"][0] + 1 == len(jobs_of(CampaignMaker(file.spec()).make()))
    iterations = min(2, file.learning.max_iterations)
    assert planned.stages["train"][0] == iterations * (file.learning.committee + 4)
    assert planned.stages["label"][0] == 0
    assert planned.jobs == tuple(sum(bounds[i] for bounds in planned.stages.values()) for i in (0, 1))


def test_the_expectation_is_what_a_pencil_finds(tmp_path):
    planned = plan(campaign(tmp_path))
    # 0.101 ps are 50 steps (round half to even), 1200 K at 2400 K/ps are 250; every 7th of 300 is labeled.
    assert planned.seed_steps == (300, 300)
    assert planned.seed_labels == (42 + 2, 42 + 2)
    assert (planned.reference_runs, planned.reference_steps, planned.quench_rates) == (0, 0, (2400.0,))
    assert planned.seeds == 9
    assert planned.iterations == (2, 3)
    assert planned.trainings == (4, 6)
    assert planned.explorations == (12, 18)
    assert planned.productions == 6
    # 2 labeling iterations x 3 compositions x 2 temperatures, 3 by quota for the two replicas together.
    assert planned.labels == (9 * 44, 9 * 44 + 2 * 3 * 2 * 3)
    assert planned.jobs == (45 + 12 + 12 + 0 + 12, 45 + 18 + 18 + 12 + 12)


def test_probes_audits_and_a_budget_of_labels_are_counted(tmp_path):
    without = plan(campaign(tmp_path))
    probed = plan(campaign(tmp_path, learning__probe={}))
    # After the second and the third iteration: 3 compositions x 2 models, and one verdict.
    assert probed.stages["explore"] == (without.stages["explore"][0], without.stages["explore"][1] + 2 * 6)
    assert probed.stages["train"] == (without.stages["train"][0], without.stages["train"][1] + 2)
    audited = plan(campaign(tmp_path, learning__selection__audit=2))
    # Both replicas are of one stratum at each of two temperatures: the quota and the audit are theirs together.
    assert audited.labels[1] == 9 * 44 + 2 * 3 * 2 * (3 + 2)
    assert plan(campaign(tmp_path, learning__max_labels=7)).labels[1] == 9 * 44 + 7


def test_compositions_between_are_halfway_and_never_those_that_are_held_out(tmp_path):
    grid = {"x": [1], "y": [0, 1], "held_out": [{"x": 1, "y": 0.5}]}
    assert campaign(tmp_path, grid=grid, learning__exploration__between=1).between == ()
    free = campaign(tmp_path, grid={"x": [1], "y": [0, 1]}, learning__exploration__between=9)
    assert [name for name, _ in free.between] == ["x1.000-y0.500"]
    square = campaign(tmp_path, grid={"x": [0.5, 1.5], "y": [0, 1]}, learning__exploration__between=1)
    # The middle of the square is farthest from its corners.
    assert [name for name, _ in square.between] == ["x1.000-y0.500"]


def test_every_volume_and_pressure_has_a_replica(tmp_path):
    with pytest.raises(InvalidCampaignError, match="replicas must be at least 3"):
        campaign(
            tmp_path, learning__exploration__volume_scales=[1, 0.9], learning__exploration__pressures=[1]
        )


def test_labels_from_elsewhere_may_leave_no_seeds_to_make(tmp_path):
    planned = plan(campaign(tmp_path, melt_quench__packings=0, learning__data=["before"]))
    assert planned.stages["seed"][0] == 0
    assert planned.labels[0] == 0
    # The first potential may be the one of before.
    assert planned.trainings == (2, 6)
    with pytest.raises(InvalidCampaignError, match="leaves no label to begin with"):
        campaign(tmp_path, melt_quench__packings=0)


def test_rows_hold_the_cells(tmp_path):
    row = plan(campaign(tmp_path)).rows[2]
    assert (row.composition_id, row.formula) == ("x1.000-y0.750", "Li4Al4O3Cl10")
    assert (row.x, row.y, row.n_al, row.n_atoms, row.production_atoms) == (1.0, 0.75, 4, 21, 168)
    assert row.links_per_al == 0.75
    assert row.box == pytest.approx((10 * 41.8 + 3 * 17) ** (1 / 3))
    mass = 4 * 6.94 + 4 * 26.9815384 + 3 * 15.999 + 10 * 35.45
    assert row.density == pytest.approx(mass / (0.602214076 * 469), rel=1e-9)


def test_one_iteration_labels_nothing(tmp_path):
    planned = plan(campaign(tmp_path, learning__max_iterations=1))
    assert planned.iterations == (1, 1)
    assert planned.labels[0] == planned.labels[1] == 9 * 44
    assert planned.stages["label"] == (0, 0)


@pytest.mark.parametrize("spacing", [0.0, 0.1, 0.25, 0.5, 3.0])
@pytest.mark.parametrize("quota", [1, 4, 1000])
def test_no_selection_exceeds_the_most_and_one_reaches_it(spacing, quota):
    exploration = Exploration(temperatures=(1500, 900, 400), melt_time=1.03, hold_time=0.7, quench_rate=1000)
    settings = Selection(labels_per_stratum=quota, spacing=spacing, audit=0, novelty=0)
    frames = explored_frames(exploration)
    total = sum(stage.steps(exploration.time_step) for stage in exploration.stages())
    assert sum(frames.values()) == total // 50
    most = most_selected(exploration, settings)
    found = []
    for seed in range(60):
        places = np.random.default_rng(seed).permutation(sum(frames.values())).astype(float)
        offered, step = [], 0
        for temperature, n in frames.items():
            offered += [Offered(0, temperature, (step + i) * 0.1, 0.25) for i in range(1, n + 1)]
            step += n
        atoms = [Atoms("Li", cell=[9, 9, 9], pbc=True)] * len(offered)
        features = [np.array([[place]]) for place in places]
        novelty = Novelty([np.array([[-5.0]]), np.array([[-9.0]])], [atoms[0]] * 2, features, atoms)
        decisions = choose(offered, novelty, settings)
        found.append(decisions.count(Decision.SELECTED))
    assert max(found) <= most
    if spacing <= 0.1 or quota == 1:
        assert max(found) == min(most, sum(min(quota, n) for n in frames.values()))
    assert most <= math.ceil(sum(frames.values()) / max(1, math.ceil(spacing / 0.1 - 1e-9)))


def test_ten_thousand_compositions_take_seconds(tmp_path):
    axis = {"start": 0, "stop": "99/100", "step": "1/100"}
    start = time.perf_counter()
    file = campaign(tmp_path, grid={"x": axis, "y": axis}, cell={"n_al": 100})
    planned = plan(file)
    assert time.perf_counter() - start < 30
    assert len(planned.rows) == 10_000
    assert len({row.composition_id for row in planned.rows}) == 10_000


@pytest.fixture
def run():
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(plan_command)

    def invoke(*arguments):
        return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "160"})

    return invoke


def test_a_grid_that_no_queue_would_take_is_told(tmp_path, run):
    axis = {"start": 0, "stop": "99/100", "step": "1/100"}
    campaign(tmp_path, grid={"x": axis, "y": axis}, cell={"n_al": 100})
    result = run(tmp_path / "test.yaml", "--format", "csv")
    assert result.exit_code == 0
    (note,) = result.stderr.splitlines()
    assert "cannot be submitted as a whole" in note
    assert "several campaigns" in note


def test_the_table_names_every_cell_and_the_work(tmp_path, run):
    file = campaign(tmp_path)
    result = run(tmp_path / "test.yaml")
    assert result.exit_code == 0
    for word in (file.campaign_id, "Li4Al4O3Cl10", "x0.500-y0.750", "density [g/cm3]", "labels: 396 to 432"):
        assert word in result.stdout
    assert result.stderr == ""


def test_csv_and_json_are_pure(tmp_path, run):
    planned = plan(campaign(tmp_path))
    path = tmp_path / "test.yaml"
    rows = list(csv.DictReader(io.StringIO(run(path, "--format", "csv").stdout)))
    assert [row["composition_id"] for row in rows] == [row.composition_id for row in planned.rows]
    assert float(rows[0]["density"]) == pytest.approx(planned.rows[0].density)
    document = json.loads(run(path, "--format", "json").stdout)
    assert document["stages"] == {stage: list(bounds) for stage, bounds in planned.stages.items()}
    assert document["campaign_id"] == planned.campaign_id


def test_an_engine_that_cannot_run_here_is_noted(tmp_path, run):
    campaign(tmp_path, engine={"name": "vasp"})
    result = run(tmp_path / "test.yaml", "--format", "json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["level_of_theory"].startswith("vasp/PBE/d3bj")
    assert result.stderr.startswith("laoc: note: it cannot run here yet")
    assert len(result.stderr.splitlines()) == 1


def test_errors_have_a_line_each_and_write_nothing(tmp_path, run):
    path = tmp_path / "broken.yaml"
    path.write_text(json.dumps({**BASE, "seed": -1, "name": "a/b"}), encoding="utf-8")
    result = run(path, "--schema", tmp_path / "schema.json")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert [line.startswith(f"laoc: {path}: ") for line in result.stderr.splitlines()] == [True, True]
    assert list(tmp_path.iterdir()) == [path]


def test_the_schema_is_written_with_and_without_a_campaign(tmp_path, run):
    schema = tmp_path / "schema.json"
    assert run("--schema", schema).exit_code == 0
    assert json.loads(schema.read_text())["title"] == "laoc-flows campaign"
    result = run("--schema", tmp_path / "missing" / "schema.json")
    assert result.exit_code == 2
    assert "cannot be written" in result.stderr
    assert run().exit_code == 2


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[2] / "campaigns").glob("*.yaml")), ids=lambda p: p.stem
)
def test_the_shipped_campaigns_plan(path, run):
    result = run(path)
    assert result.exit_code == 0
    assert CampaignFile.load(path).campaign_id in result.stdout


class Still(Engine):
    """Atoms that hardly move, at the thermostat's target: what counts is how many jobs there are."""

    name: str = "still"
    cheaper: bool = False

    @property
    def level_of_theory(self):
        return "still/r1"

    @property
    def md_level_of_theory(self):
        return "still/cheap/r1" if self.cheaper else self.level_of_theory

    def single_points(self, frames, directory):
        assert directory.is_dir()
        for frame in frames:
            yield SinglePoint(
                LabelStatus.CONVERGED, energy=-3.0, forces=np.zeros((len(frame), 3)), stress=np.zeros(6)
            )

    def run_segment(self, state, segment, directory):
        assert directory.is_dir()
        atoms = state.atoms.copy()
        frames, steps, rows = [], [], []
        for step in range(1, segment.n_steps + 1):
            rows.append([step, segment.temperature_after(step), 0.1, -1.0, atoms.get_volume()])
            if step % segment.frame_every == 0:
                frame = Atoms(atoms.get_chemical_symbols(), atoms.positions, cell=atoms.cell, pbc=True)
                frame.calc = SinglePointCalculator(
                    frame, energy=-3.0, forces=np.zeros((len(frame), 3)), stress=np.zeros(6)
                )
                frames.append(frame)
                steps.append(step)
        return SegmentRun(segment.n_steps, frames, steps, np.array(rows), MDState(atoms))


RATES = {"melt_time": 0.1, "quench_rate": [6000, 12000]}
WAITING = {"melt_time": 0.1, "quench_rate": 6000, "equilibrate": {"attempts": 5}, "equilibrate_time": 0.05}
NEVER = {"melt_time": 0.2, "quench_rate": 6000, "until_melted": True}


@pytest.mark.parametrize(
    ("engine", "changes"),
    [
        ({}, {"protocol": RATES}),
        ({"steps_per_job": 33}, {"protocol": RATES}),
        ({"steps_per_job": 3}, {"protocol": RATES, "label_every": 14, "frame_every": 7}),
        ({"steps_per_job": 40, "cheaper": True}, {"protocol": RATES}),
        ({"steps_per_job": 40, "cheaper": True, "labels_per_job": 1}, {"protocol": RATES, "strains": []}),
        ({"labels_per_job": 2, "cheaper": True}, {"protocol": RATES, "strains": [0.9, 0.95, 1.05]}),
        (
            {"steps_per_job": 20, "cheaper": True, "labels_per_job": 4},
            {"protocol": RATES, "production": {"time": 0.1, "analyze_from": 0.05, "label_every": 20}},
        ),
        ({"steps_per_job": 20}, {"production": {"time": 0.1, "analyze_from": 0.05, "label_every": None}}),
        ({"steps_per_job": 12}, {"protocol": WAITING}),
        ({"steps_per_job": 12}, {"protocol": NEVER}),
        ({"steps_per_job": 1000, "cheaper": True}, {"protocol": {**NEVER, "hot_time_step": 1.0}}),
    ],
)
def test_the_jobs_of_a_trajectory_are_those_that_run(tmp_path, monkeypatch, engine, changes):
    monkeypatch.setenv("LAOC_WORKSPACE", str(tmp_path))
    monkeypatch.setenv("LAOC_SCRATCH", str(tmp_path / "scratch"))
    still = Still(**engine)
    sampling = ReferenceSampling.model_validate(
        {"label_every": 5, "relax_steps": 2, "protocol": {"melt_time": 0.1, "quench_rate": 6000}, **changes}
    )
    for rate in sampling.protocol.rates():
        provenance = Provenance(
            campaign_id="c",
            campaign_seed=1,
            composition_id="x1.000-y0.000",
            stage="seed",
            quench_rate=rate,
        )
        store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore(key="blob_uuid")})
        flow = SeedMaker(still, sampling, LabelLimits()).make("x1.000-y0.000", 2, provenance)
        ran = run_locally(flow, store=store, ensure_success=True, log=False)
        work = trajectory_work(still, sampling, rate)
        n_jobs = sum(len(responses) for responses in ran.values())
        (run,) = store.query(
            {"output.schema_name": "md", "output.provenance.stage": "seed"}, {"output.n_steps": 1}
        )
        batches = {}
        for field in ("output", "output.labels"):
            for row in store.query({f"{field}.schema_name": "label_batch"}, {field: 1}):
                batch = row["output"] if field == "output" else row["output"]["labels"]
                batches[batch["key"]] = len(batch["records"])
        md = melt_quench_work(still, sampling, rate)
        assert md.steps[0] <= run["output"]["n_steps"] <= md.steps[1]
        assert work.jobs[0] <= n_jobs <= work.jobs[1]
        assert work.labels[0] <= sum(batches.values()) <= work.labels[1]
        stages = sampling.protocol.stages()
        if not any(stage.until_melted or stage.equilibrate for stage in stages):
            # Atoms that keep still melt nothing: no cell is run on, which is the least there can be.
            assert md.steps[0] == md.steps[1]
            assert (work.jobs[0], work.labels[0]) == (n_jobs, sum(batches.values()))
            if sampling.production is None:
                assert (work.jobs[1], work.labels[1]) == (n_jobs, sum(batches.values()))


@pytest.mark.parametrize("budget", [6, 20, 33, 50, 51, 150, 1000])
@pytest.mark.parametrize("every", [1, 7, 60])
def test_the_jobs_of_a_run_are_those_of_its_controller(tmp_path, monkeypatch, budget, every):
    monkeypatch.setenv("LAOC_WORKSPACE", str(tmp_path))
    monkeypatch.setenv("LAOC_SCRATCH", str(tmp_path / "scratch"))
    hot = {"start_temperature": 900, "end_temperature": 900}
    stages = (
        Stage(name="a", time=0.1, **hot),
        Stage(name="b", start_temperature=900, end_temperature=300, time=0.076, time_step=1.0),
        Stage(name="c", time=0.006, **hot),
        Stage(name="d", time=0.24, **hot),
    )
    maker = Still(steps_per_job=budget).md_maker(stages, time_step=2.0, frame_every=every, relax_steps=2)
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore(key="blob_uuid")})
    store.connect()
    atoms = Atoms("Al", cell=[5.0] * 3, pbc=True)
    start = put_blob(store, encode_frames([atoms]), MEDIA_TYPE)
    provenance = Provenance(campaign_id="c", campaign_seed=1, composition_id="x1.000-y0.000", stage="seed")
    ran = run_locally(maker.make(start, provenance), store=store, ensure_success=True, log=False)
    controller = Controller(maker.engine, stages, 2.0, every * 0.002, 2, 0)
    (indices,) = ran.values()
    assert run_work(controller, None).jobs == (len(indices), len(indices))
    assert run_work(controller, None).steps == (50 + 76 + 3 + 120,) * 2


def test_rates_and_reference_runs_are_counted(tmp_path):
    planned = plan(
        campaign(
            tmp_path,
            melt_quench__protocol={"melt_time": 0.1, "quench_rate": [2400, 1200], "time_step": 2.0},
            melt_quench__production={"time": 1, "analyze_from": 0.2, "frame_every": 10, "label_every": 100},
            production={"supercell": [2, 2, 2], "glasses": 2, "quench_rate": [10, 5, 1]},
        )
    )
    # Two packings at each of two rates, and one held out at the first: 5 of every composition.
    assert planned.seeds == 15
    assert planned.quench_rates == (2400, 1200)
    assert planned.seed_steps == (50 + 250, 50 + 500)
    assert planned.seed_labels == (7 + 35 + 2, 7 + 71 + 2 + 5)
    assert planned.labels[0] == 3 * (3 * 44 + 2 * 80)
    assert (planned.reference_runs, planned.reference_steps) == (15, 500)
    assert planned.productions == 3 * 2 * 3
    # pack, melt-quench, assess; strain, label; prepare, run, analyze
    assert planned.stages["seed"] == (15 * 8, 15 * 8)
    assert planned.stages["production"] == (36, 36)
    assert "quenched at 2400, 1200 K/ps; each is run on for 500 MD steps" in planned.words[1]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {
                "melt_quench__frame_every": 7,
                "melt_quench__protocol": {"preset": "paper", "hot_time_step": 1.5},
            },
            "melt_quench.frame_every = 7: frames 14 fs apart are not a whole number of the 1.5 fs steps of stage 'heat'",
        ),
        (
            {"melt_quench__protocol": {"preset": "paper", "hot_time_step": 1.5}},
            "melt_quench.label_every = 7: frames 14 fs apart are not a whole number of the 1.5 fs steps",
        ),
        (
            {"melt_quench__frame_every": 3},
            "melt_quench.label_every = 7: label_every is no multiple of frame_every, 3",
        ),
        (
            {"melt_quench__protocol": {"melt_time": 0.01, "quench_rate": 100, "until_melted": True}},
            "melt_quench.label_every = 7: keeps 0 frames until the end of stage 'melt'",
        ),
        (
            {"melt_quench__production": {"time": 1, "analyze_from": 0.2, "label_every": 520}},
            "melt_quench.production.label_every = 520: a run of 500 MD steps gives no label",
        ),
        (
            {
                "melt_quench__production": {
                    "time": 1,
                    "analyze_from": 0.99,
                    "frame_every": 600,
                    "label_every": None,
                }
            },
            "melt_quench.production.frame_every = 600: leaves no frame to analyze",
        ),
        (
            {"production": {"quench_rate": [1, 1e-9]}},
            "production: takes more than 1e+11 MD steps",
        ),
        (
            {"melt_quench__protocol": {"melt_time": 1, "quench_rate": [100, 1e-9]}},
            "melt_quench.protocol: takes more than 1e+11 MD steps",
        ),
    ],
)
def test_what_cannot_run_is_one_line_that_names_its_key(tmp_path, run, changes, line):
    with pytest.raises(CampaignFileError) as caught:
        campaign(tmp_path, **changes)
    (found,) = caught.value.lines
    assert re.sub(r"(protocol|production) = \{.*?\}:", r"\1:", found).startswith(
        f"{tmp_path / 'test.yaml'}: {line}"
    )
    assert " -- " in found
    result = run(tmp_path / "test.yaml")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
