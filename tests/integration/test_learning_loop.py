"""The learning loop against what goes wrong: every failure here is a real one, of a real loop on GFN1-xTB."""

import json
import os
import re
import signal
import threading
import time
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from jobflow import Flow, JobStore, job, run_locally
from maggma.stores import MemoryStore

from laoc_flows.analysis import Trajectory
from laoc_flows.blobs import fetch_file, get_blob, put_blob
from laoc_flows.campaign.base import base_of
from laoc_flows.campaign.file import CampaignFile
from laoc_flows.campaign.submit import submit
from laoc_flows.engines.dynamics import SinglePoint
from laoc_flows.engines.xtb import XtbEngine
from laoc_flows.errors import EngineError, InputError
from laoc_flows.flows.campaign import CampaignMaker, initial_dataset
from laoc_flows.flows.committee import TrainMaker
from laoc_flows.flows.explore import ExploreMaker
from laoc_flows.flows.loop import decide, extend_dataset
from laoc_flows.flows.potential import assemble_potential
from laoc_flows.flows.spec import LoopState
from laoc_flows.frames import MEDIA_TYPE, decode_frames, encode_frames
from laoc_flows.schemas.base import Provenance
from laoc_flows.schemas.dataset import Dataset
from laoc_flows.schemas.iteration import (
    CalibrationDocument,
    ExplorationDocument,
    IterationDocument,
    Spent,
    Verdict,
)
from laoc_flows.schemas.label import FrameSet, LabelBatch, LabelStatus
from laoc_flows.schemas.learning import Probe, TrustLevels
from laoc_flows.schemas.potential import PotentialDocument, TrainingOutcome, TrainingStatus
from laoc_flows.schemas.probe import ProbeDocument
from laoc_flows.schemas.protocol import PairDistances
from laoc_flows.store.stored import plain

TINY = Path(__file__).parents[1] / "data" / "tiny.yaml"
COMPOSITION = "x1.000-y0.500"


def memory():
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore(key="blob_uuid")})
    store.connect()
    return store


def mini(directory, **changes):
    """The tiny campaign with one composition and the smallest models."""
    content = yaml.safe_load(TINY.read_text())
    content["grid"] = {"points": [{"x": 1, "y": "1/2"}]}
    content["learning"]["training"]["steps"] = 100
    content["learning"]["selection"]["audit"] = 1
    for key, value in changes.items():
        *parents, last = key.split("__")
        node = content
        for parent in parents:
            node = node[parent]
        node[last] = value
    path = directory / "mini.yaml"
    path.write_text(yaml.safe_dump(content))
    return CampaignFile.load(path)


@job
def nothing():
    """In place of production."""


def without_production(spec, monkeypatch):
    """The loop ends before production: what is made of the potential is tested elsewhere."""
    monkeypatch.setattr("laoc_flows.flows.loop.production_flow", lambda *_: Flow([nothing()]))
    return spec


def outputs(store, schema, model, key="output"):
    rows = store.docs_store.query({f"{key}.schema_name": schema}, [key])
    return [model.model_validate(plain(row[key])) for row in rows]


def run(work, store):
    """Output of a job, in this process; what it adds is not run."""
    return work.run(store=store)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    root = tmp_path_factory.mktemp("loop")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAOC_WORKSPACE", str(root))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield root


@pytest.fixture(scope="module")
def campaign(workspace):
    """A loop of two iterations that ran to its end: file and store."""
    file, store = mini(workspace), memory()
    with pytest.MonkeyPatch.context() as patch:
        spec = without_production(file.spec(), patch)
        run_locally(CampaignMaker(spec).make(), store=store, ensure_success=True, log=False)
    return file, store


@pytest.fixture(scope="module")
def first(campaign):
    """Data set, potential and explorations of the first iteration."""
    _, store = campaign
    potential = min(outputs(store, "potential", PotentialDocument), key=lambda p: p.iteration)
    dataset = next(
        d
        for d in (Dataset.model_validate(plain(row["output"]["dataset"])) for row in store.docs_store.query({"output.schema_name": "dataset"}, ["output"]))
        if d.digest == potential.dataset_digest
    )  # fmt: skip
    explorations = [
        e for e in outputs(store, "exploration", ExplorationDocument) if e.provenance.iteration == 0
    ]
    return dataset, potential, explorations


def test_the_loop_ends_in_a_verdict_with_its_reasons_levels_and_decisions(campaign):
    file, store = campaign
    one, two = sorted(outputs(store, "iteration", IterationDocument), key=lambda i: i.iteration)
    assert (one.verdict, two.verdict) == (Verdict.CONTINUE, Verdict.NOT_CONVERGED)
    assert two.limit == "max_iterations = 2 is reached"
    assert two.reasons
    # Every frame that could be labeled was decided on, and the counts of the strata are those of the decisions.
    decisions = json.loads(get_blob(store, one.decisions))
    chosen = [d for d in decisions["decision"] if d in {"selected", "audited"}]
    assert len(chosen) == one.n_selected == sum(s.n_selected for s in one.strata)
    assert all(decisions["reason"])
    assert two.n_train > one.n_train
    # The levels of the second iteration are from the errors of the labels that the first has asked for.
    points = [p for p in json.loads(get_blob(store, two.calibration_points)) if p["source"] == "selected"]
    assert points
    assert len(points) <= one.n_selected
    assert all(p["force_rmse"] > 0 and p["deviation"] > 0 for p in points)
    held_out = json.loads(get_blob(store, one.calibration_points))
    assert {p["source"] for p in held_out} == {"held out"}
    assert two.spent.labels == one.n_selected
    assert two.spent.core_hours > one.spent.core_hours > 0
    assert {c.stratum for c in two.calibration} == {s.stratum for s in two.strata}
    assert file.learning.max_iterations == 2


def test_the_levels_are_not_those_of_a_committee_of_another_campaign(campaign, first):
    file, store = campaign
    dataset, potential, _ = first
    batches = outputs(store, "label_batch", LabelBatch)
    asked = [each for each in batches if any(record.deviation is not None for record in each.records)]
    blob = put_blob(store, b"start", MEDIA_TYPE)
    for taken_over in (False, True):
        state = LoopState(dataset=dataset, starts={COMPOSITION: [blob]}, iteration=1, taken_over=taken_over)
        response = run(extend_dataset(file.spec(), potential, asked, state), store)
        (levels,) = (work for work, _ in response.addition.iterflow() if work.name == "calibrate i1")
        assert (levels.function_args[2] is None) is taken_over


def test_another_seed_comes_to_the_same_verdict_for_the_same_reasons(campaign, workspace):
    """Other packings, velocities, weights and choices: nothing of that decides whether the loop has converged."""
    _, store = campaign
    other = memory()
    directory = workspace / "other"
    directory.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        spec = without_production(mini(directory, seed=4).spec(), patch)
        run_locally(CampaignMaker(spec).make(), store=other, ensure_success=True, log=False)
    found = [
        sorted(outputs(each, "iteration", IterationDocument), key=lambda i: i.iteration)
        for each in (store, other)
    ]
    one, two = ([each.verdict for each in documents] for documents in found)
    assert one == two == [Verdict.CONTINUE, Verdict.NOT_CONVERGED]
    last, other_last = (documents[-1] for documents in found)
    assert last.limit == other_last.limit
    assert kinds(last.reasons) == kinds(other_last.reasons)
    # It was another run all the same.
    assert last.worst_force_rmse != other_last.worst_force_rmse


def kinds(reasons):
    """What is missing, without by how much; that frames were cut is one way of not being agreed on."""
    cut = r"(?:\d+% of the frames|all runs) at (.*) (?:are not agreed on.*|were cut before their first frame)"
    return {re.sub(r"[-\d.]+( %)?", "#", re.sub(cut, r"\1 is not agreed on", reason)) for reason in reasons}


def test_a_potential_says_where_it_comes_from_and_how_far_it_reaches(campaign):
    _, store = campaign
    one, two = sorted(outputs(store, "potential", PotentialDocument), key=lambda p: p.iteration)
    assert two.parent == one.key
    assert two.validity.compositions == (COMPOSITION,)
    assert two.validity.temperatures[0] >= 250
    assert two.validity.min_distances["Al-O"] > 1.2
    parity = json.loads(get_blob(store, two.parity))[COMPOSITION]
    error = two.held_out[COMPOSITION]
    assert np.sqrt(np.mean(np.square(parity["force_rmse"]))) == pytest.approx(error.force_rmse, rel=1e-4)
    assert len(parity["energy"]) == error.n_frames
    for model in two.models:
        curve = json.loads(get_blob(store, model.learning_curve))
        assert curve["step"][-1] == model.steps
        assert curve["rmse_f_trn"][-1] == pytest.approx(model.final_force_loss)
        assert [a.status for a in model.attempts] == [TrainingStatus.COMPLETED]


def explore(potential, spec, store, start, iteration=7, **changes):
    learning = spec.learning.model_copy(update=changes)
    provenance = Provenance(
        campaign_id="c", campaign_seed=1, composition_id=COMPOSITION, stage="explore", iteration=iteration
    )
    return run(ExploreMaker(learning).make(potential, start, provenance), store).output


@pytest.fixture
def start(campaign):
    _, store = campaign
    rows = store.docs_store.query({"output.schema_name": "md"}, ["output"])
    return next(iter(LabelBatch.model_validate(plain(row["output"]["labels"])).shard for row in rows))


def test_a_committee_of_identical_models_is_not_mistaken_for_convergence(campaign, first, start):
    file, store = campaign
    spec = file.spec()
    dataset, potential, _ = first
    # A perfect record otherwise: errors under the target, and agreement the time before.
    same = potential.model_copy(update={"models": (potential.models[0],) * 2, "key": "same"})
    found = explore(same, spec, store, start)
    assert {report.max_deviation for report in found.strata} <= {0.0, None}
    assert any(report.max_deviation == 0 for report in found.strata)
    learning = spec.learning.model_copy(
        update={"targets": spec.learning.targets.model_copy(update={"force_rmse": 99.0, "energy_rmse": 99.0})}
    )
    state = LoopState(dataset=dataset, starts={COMPOSITION: [start]}, iteration=1, previous=found.strata)
    calibration = CalibrationDocument(key="k", campaign_id="c", calibration=(), points=None)
    work = decide(spec.model_copy(update={"learning": learning}), same, calibration, [found], state)
    document = run(work, store).output
    assert document.verdict is Verdict.NOT_CONVERGED
    assert any("the models of the committee are the same" in reason for reason in document.reasons)


def test_properties_are_probed_once_all_else_has_converged(campaign, first, start, monkeypatch):
    file, store = campaign
    dataset, potential, _ = first
    learning = file.learning
    calm = {
        "exploration": learning.exploration.model_copy(update={"temperatures": (30.0,), "melt_time": 0.05}),
        "selection": learning.selection.model_copy(
            update={"cold": TrustLevels(low=90.0, high=99.0), "calibrate": False}
        ),
        # A potential of a minute is soon cut, even when it is cold.
        "targets": learning.targets.model_copy(
            update={"force_rmse": 99.0, "energy_rmse": 99.0, "candidate_share": 0.95}
        ),
        "probe": Probe(temperature=50, npt_time=0.02, nvt_time=0.04, time_step=0.5, frame_interval=0.002),
    }
    spec = without_production(file.spec(), monkeypatch)
    spec = spec.model_copy(update={"learning": learning.model_copy(update=calm)})
    found = explore(
        potential,
        spec,
        store,
        start,
        iteration=11,
        exploration=calm["exploration"],
        selection=calm["selection"],
    )
    (report,) = found.strata
    assert (report.n_candidates, report.n_failed) == (0, 0)
    assert report.candidate_share < 0.95
    state = LoopState(dataset=dataset, starts={COMPOSITION: [start]}, iteration=1, previous=found.strata)
    levels = CalibrationDocument(key="k", campaign_id="c", calibration=(), points=None)
    response = run(decide(spec, potential, levels, [found], state), store)
    assert response.output is None
    probed = memory_with(store)
    run_locally(response.addition, store=probed, ensure_success=True, log=False)
    (document,) = outputs(probed, "iteration", IterationDocument)
    assert {check.name for check in document.properties} == {"density", "g(r)", "diffusion"}
    assert len(outputs(probed, "probe", ProbeDocument)) == len(potential.models)
    differ = [check for check in document.properties if check.status == "differ"]
    assert document.verdict is (Verdict.NOT_CONVERGED if differ else Verdict.CONVERGED)
    assert len(document.reasons) == len(differ)


def test_a_run_that_leaves_physics_is_cut_there_and_goes_on_colder(campaign, first, start, workspace):
    file, store = campaign
    _, potential, _ = first
    hot = file.learning.exploration.model_copy(
        update={
            "temperatures": (6000.0, 50.0),
            "melt_time": 2.0,
            "quench_rate": 1e5,
            "hold_time": 0.2,
            "time_step": 5.0,
            "frame_interval": 0.02,
        }
    )
    found = explore(potential, file.spec(), store, start, iteration=8, exploration=hot)
    assert found.status.startswith("cut: ")
    melt, cold = found.strata
    assert melt.n_cut > 0
    assert (melt.n_frames, cold.n_frames) == (100, 13)
    assert melt.candidate_share > 0
    assert cold.n_cut < cold.n_frames
    frames = Trajectory.read(fetch_file(found.trajectory, workspace / "cut.h5"))
    assert frames.n_frames == melt.n_frames - melt.n_cut + cold.n_frames - cold.n_cut


def test_a_melt_that_evaporates_is_cut_before_gas_is_labeled(campaign, first, start):
    file, store = campaign
    _, potential, _ = first
    pulled = file.learning.exploration.model_copy(
        update={
            "temperatures": (2500.0,),
            "melt_time": 1.0,
            "frame_interval": 0.02,
            "volume_scales": (),
            "pressures": (-10.0,),
        }
    )
    selection = file.learning.selection.model_copy(update={"distance_floor": PairDistances(distances={})})
    found = explore(
        potential, file.spec(), store, start, iteration=9, exploration=pulled, selection=selection
    )
    assert "evaporates" in found.status
    (report,) = found.strata
    assert 0 < report.n_cut < report.n_frames


def killer(pattern, times):
    """Kill programs whose command line holds a pattern, each once it runs, a number of times."""
    killed, stop = [], threading.Event()

    def watch():
        while not stop.is_set() and len(killed) < times:
            for entry in Path("/proc").glob("[0-9]*"):
                try:
                    line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    mine = f"PPid:\t{os.getpid()}\n" in (entry / "status").read_text()
                except OSError:
                    continue
                if mine and pattern in line and int(entry.name) not in killed and ready(entry):
                    os.kill(int(entry.name), signal.SIGKILL)
                    killed.append(int(entry.name))
            time.sleep(0.02)

    def ready(entry):
        """Whether it has begun its work: LAMMPS its dump, a training its first checkpoint."""
        try:
            here = (entry / "cwd").readlink()
        except OSError:
            return False
        return any(here.glob("stage-0.dump")) or (here / "checkpoint").exists()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return killed, lambda: (stop.set(), thread.join())


def test_a_killed_exploration_begins_again_and_one_that_is_killed_again_is_an_error(campaign, first, start):
    file, store = campaign
    _, potential, _ = first
    longer = file.learning.exploration.model_copy(update={"melt_time": 3.0, "frame_interval": 0.05})
    undisturbed = explore(potential, file.spec(), memory_with(store), start, iteration=9, exploration=longer)
    killed, done = killer("-in md.in", 1)
    found = explore(potential, file.spec(), memory_with(store), start, iteration=9, exploration=longer)
    done()
    assert len(killed) == 1
    assert found.strata == undisturbed.strata
    killed, done = killer("-in md.in", 2)
    with pytest.raises(EngineError, match="killed twice"):
        explore(potential, file.spec(), memory_with(store), start, iteration=9, exploration=longer)
    done()


def memory_with(store):
    """Store with the same blobs and no documents: nothing is found as done before."""
    fresh = memory()
    rows = list(store.additional_stores["data"].query())
    fresh.additional_stores["data"].update([{k: v for k, v in row.items() if k != "_id"} for row in rows])
    return fresh


def test_a_killed_training_goes_on_from_its_checkpoint(campaign, first):
    file, store = campaign
    dataset, _, _ = first
    learning = file.learning.model_copy(
        update={"training": file.learning.training.model_copy(update={"steps": 1500})}
    )
    killed, done = killer("backend.py train", 1)
    outcome = run(TrainMaker(learning).make(dataset, "c", 5, 0, 0), store).output
    done()
    assert len(killed) == 1
    assert outcome.model is not None
    curve = json.loads(get_blob(store, outcome.model.learning_curve))
    assert curve["step"][-1] == 1500
    # One report for each step: what was trained twice counts once.
    assert len(curve["step"]) == len(set(curve["step"]))
    assert outcome.model.final_force_loss < curve["rmse_f_trn"][0]


def test_a_rate_that_diverges_is_tried_once_more_at_a_lower_one_and_then_a_typed_failure(campaign, first):
    file, store = campaign
    dataset, potential, _ = first
    # One that is no number at all, and one whose energies are off by a million.
    for rate in (1e4, 1e30):
        wild = file.learning.training.model_copy(update={"start_lr": rate, "stop_lr": rate / 10})
        learning = file.learning.model_copy(update={"training": wild})
        outcome = run(TrainMaker(learning).make(dataset, "c", 6, 0, 0), store).output
        assert outcome.model is None
        assert [attempt.status for attempt in outcome.attempts] == [TrainingStatus.DIVERGED] * 2
        assert outcome.attempts[1].start_lr < outcome.attempts[0].start_lr
    # The committee goes on without it while two are left.
    good = [
        TrainingOutcome(key=m.key, campaign_id="c", model=m, attempts=m.attempts) for m in potential.models
    ]
    work = assemble_potential([*good, outcome], dataset, potential.soft_core, "c", 0, None)
    made = run(work, memory_with(store)).output
    assert len(made.models) == 2
    assert made.failed[0].status is TrainingStatus.DIVERGED
    with pytest.raises(Exception, match="only 1 of 2 models could be trained"):
        run(
            assemble_potential([good[0], outcome], dataset, potential.soft_core, "c", 0, None),
            memory_with(store),
        )


def test_one_poisoned_label_is_found_and_left_out(campaign, first):
    file, store = campaign
    dataset, potential, _ = first
    store = memory_with(store)
    member = max((m for m in dataset.members if not m.held_out), key=lambda m: m.n_labels)
    frames = decode_frames(get_blob(store, member.shard))
    frames[2].calc.results["energy"] += 40.0
    poisoned = put_blob(store, encode_frames(frames), MEDIA_TYPE)
    members = [m.model_copy(update={"shard": poisoned}) if m is member else m for m in dataset.members]
    spoiled = dataset.model_copy(update={"members": tuple(members)})
    outcomes = [run(TrainMaker(file.learning).make(spoiled, "c", 7, 0, i), store).output for i in range(2)]
    made = run(assemble_potential(outcomes, spoiled, potential.soft_core, "c", 0, None), store).output
    assert [(s.shard, s.index) for s in made.suspects] == [(poisoned.sha256, 2)]
    assert "eV/atom" in made.suspects[0].reason
    clean = spoiled.without(made.suspects)
    assert clean.n_train == spoiled.n_train - 1
    assert clean.digest != spoiled.digest
    # In an undisturbed campaign nothing is in doubt.
    assert potential.suspects == ()


def test_a_third_of_the_labels_failing_at_random_stops_nothing(campaign, first, monkeypatch):
    file, store = campaign
    dataset, potential, explorations = first
    store = memory_with(store)
    spec, whole = file.spec(), XtbEngine.single_points
    fate = cycle([False, True, True, False, True, True, True, False, True, True])

    def unreliable(self, frames, directory):
        for frame, lives in zip(frames, fate, strict=False):
            if lives:
                yield from whole(self, [frame], directory)
            else:
                yield SinglePoint(LabelStatus.CRASHED, "a node was lost")

    monkeypatch.setattr(XtbEngine, "single_points", unreliable)
    frames = [f for e in explorations for f in decode_frames(get_blob(store, e.candidates.frames))][:10]
    deviations = tuple(d for e in explorations for d in e.candidates.deviations)[:10]
    wanted = FrameSet(
        frames=put_blob(store, encode_frames(frames), MEDIA_TYPE),
        n_frames=len(frames),
        temperatures=(500.0,) * len(frames),
        deviations=deviations,
        provenance=explorations[0].provenance,
    )
    batch = run(spec.engine.static_maker(spec.learning.selection.limits).make(wanted), store).output
    assert batch.counts[LabelStatus.CRASHED.value] == 3
    state = LoopState(dataset=dataset, starts={COMPOSITION: [wanted.frames]}, iteration=1, parent=potential)
    response = run(extend_dataset(spec, potential, [batch], state), store)
    assert 6 <= batch.n_converged <= 7
    assert response.output.dataset.n_train == dataset.n_train + batch.n_converged
    assert response.addition is not None
    # Fewer than the quorum is an error that says why.
    strict = spec.model_copy(update={"learning": spec.learning.model_copy(update={"quorum": 0.9})})
    with pytest.raises(Exception, match=r"only \d of \d+ labels succeeded .*'crashed': 3"):
        run(extend_dataset(strict, potential, [batch], state), store)


def test_a_budget_that_is_used_up_ends_the_loop_and_is_reported(campaign, first):
    file, store = campaign
    dataset, potential, explorations = first
    calibration = CalibrationDocument(key="k", campaign_id="c", calibration=(), points=None)
    spec = file.spec()
    limited = spec.learning.model_copy(update={"max_labels": 3, "max_iterations": 9})
    state = LoopState(dataset=dataset, starts={COMPOSITION: []}, spent=Spent(labels=1))
    work = decide(spec.model_copy(update={"learning": limited}), potential, calibration, explorations, state)
    document = run(work, store).output
    assert document.verdict is Verdict.CONTINUE
    assert document.n_selected == 2
    assert document.spent.labels == 3
    assert sum(report.n_over_budget for report in document.strata) > 0
    over = state.model_copy(update={"spent": document.spent, "iteration": 1})
    work = decide(spec.model_copy(update={"learning": limited}), potential, calibration, explorations, over)
    last = run(work, store).output
    assert last.verdict is Verdict.NOT_CONVERGED
    assert last.limit == "max_labels = 3 is reached: 3 labels were asked for"
    assert last.n_selected == 0


def jobs_that_follow(spec, store):
    """Jobs of the first iteration of a campaign without seeds of its own."""
    blob = put_blob(store, b"start", MEDIA_TYPE)
    response = run(initial_dataset(spec, [], {name: [blob] for name in spec.explored}), store)
    return {work.name for work, _ in response.addition.iterflow()}


def test_a_larger_grid_goes_on_from_the_potential_and_its_labels(campaign, workspace):
    _, store = campaign
    content = yaml.safe_load((workspace / "mini.yaml").read_text())
    content["grid"]["points"].append({"x": 1, "y": 0})
    content["melt_quench"]["packings"] = 0
    content["learning"]["data"] = ["tiny"]
    path = workspace / "more.yaml"
    path.write_text(yaml.safe_dump(content))
    more = CampaignFile.load(path)
    base = base_of(more, store)
    potentials = outputs(store, "potential", PotentialDocument)
    assert base.potential == max(potentials, key=lambda p: p.iteration)
    assert base.compositions == {COMPOSITION}
    flow = CampaignMaker(more.spec(base)).make()
    jobs = {job.name for job, _ in flow.iterflow()}
    # Of the new composition a held-out trajectory and a packing to explore from; of the old one nothing.
    assert "pack x1.000-y0.000 start" in jobs
    assert not [name for name in jobs if COMPOSITION in name]
    assert len([name for name in jobs if name.startswith("melt-quench")]) == 1
    # Which campaign a name stands for is said, with what it has.
    lines: list[str] = []
    queue = SimpleNamespace(name="fireworks", has=lambda _: False, add=lambda *_: None)
    assert submit(queue, more.model_copy(update={"name": "more"}), store, say=lines.append)
    (line,) = lines
    assert line.startswith(
        f"begins with {base.dataset.n_train} labels and {base.dataset.n_test} held out, from tiny-"
    )
    assert line.endswith(f"is {base.potential.key[:12]} of {base.potential.n_train} labels")
    # With nothing new to train on, the potential that is there is the first one; with another core it is not.
    names = jobs_that_follow(more.spec(base), store)
    assert not [name for name in names if name.startswith("train i0")]
    assert [name for name in names if name.startswith("explore")]
    core = more.learning.soft_core.model_copy(update={"prefactor": 5.0})
    harder = more.model_copy(update={"learning": more.learning.model_copy(update={"soft_core": core})})
    assert [name for name in jobs_that_follow(harder.spec(base), store) if name.startswith("train i0")]
    # What this campaign only tests on is not trained on, wherever its labels come from.
    content["grid"]["held_out"] = [{"x": 1, "y": "1/2"}]
    path.write_text(yaml.safe_dump(content))
    apart = base_of(CampaignFile.load(path), store)
    assert apart.compositions == frozenset()
    assert apart.dataset.n_test == base.dataset.n_test
    with pytest.raises(InputError, match="is no import and no campaign"):
        base_of(
            more.model_copy(update={"learning": more.learning.model_copy(update={"data": ("what",)})}), store
        )
    other = more.model_copy(update={"engine": XtbEngine(accuracy=1)})
    with pytest.raises(InputError, match="holds labels of"):
        base_of(other, store)
