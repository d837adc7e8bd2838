"""FireWorks after a kill between any two of its writes: nothing lost, nothing twice."""

import operator
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import jobflow
import pytest
from ase import Atoms
from ase.calculators.calculator import CalculationFailed, all_changes
from ase.calculators.lj import LennardJones
from jobflow import Flow, job
from jobflow.managers.fireworks import flow_to_workflow

from laoc_flows.blobs import put_blob
from laoc_flows.campaign.launch import prepare as prepare_queue
from laoc_flows.campaign.queues.fireworks import FireworksQueue
from laoc_flows.campaign.repair import campaign_query, repair, rerun_of_worker
from laoc_flows.engines import clock
from laoc_flows.engines.registry import parse_engine
from laoc_flows.errors import LaocError
from laoc_flows.frames import MEDIA_TYPE, encode_frames
from laoc_flows.jobs import stamp
from laoc_flows.schemas.base import Provenance
from laoc_flows.schemas.label import FrameSet
from laoc_flows.schemas.protocol import LabelLimits, PairDistances
from laoc_flows.settings import Settings
from laoc_flows.store.builders import build_all
from laoc_flows.store.incremental import handle
from laoc_flows.store.workspace import Workspace, environment

CAMPAIGN = "c-1"


def prepare(launchpad, store, campaign):
    return prepare_queue(FireworksQueue(launchpad, Settings()), store, campaign)


add = job(operator.add)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    place = Workspace.create(tmp_path_factory.mktemp("repair") / "ws")
    try:
        with environment(place.environment()):
            yield place
    finally:
        place.mongo.stop()


@pytest.fixture
def launchpad(workspace, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    launchpad = workspace.launchpad()
    for name in ("fireworks", "launches", "workflows"):
        getattr(launchpad, name).delete_many({})
    prepare(launchpad, workspace.job_store(), CAMPAIGN)
    first = add(1, 2)
    second = add(first.output, 10)
    first.name, second.name = "1 first", "2 second"
    flow = Flow([first, second])
    stamp(flow, campaign=CAMPAIGN, stage="seed", step="add")
    launchpad.add_wf(flow_to_workflow(flow, metadata={"laoc_campaign": CAMPAIGN}))
    return launchpad


def launch(launchpad, name="w"):
    from fireworks import FWorker
    from fireworks.core.rocket_launcher import launch_rocket

    return launch_rocket(launchpad, FWorker(name=name, query=campaign_query(CAMPAIGN)), strm_lvl="ERROR")


def checkout(launchpad, name="w"):
    from fireworks import FWorker

    return launchpad.checkout_fw(FWorker(name=name, query=campaign_query(CAMPAIGN)), str(Path.cwd()))


def states(launchpad):
    rows = list(launchpad.fireworks.find({}, {"fw_id": 1, "state": 1}, sort=[("name", 1)]))
    recorded = launchpad.workflows.find_one({})["fw_states"]
    assert {str(row["fw_id"]): row["state"] for row in rows} == recorded, "the documents disagree"
    return [row["state"] for row in rows]


def work_off(launchpad):
    done = 0
    while launch(launchpad):
        done += 1
    assert states(launchpad) == ["COMPLETED"] * 2
    assert launchpad.launches.count_documents({"state": "COMPLETED"}) == 2
    return done


def test_a_healthy_queue_is_left_alone(launchpad):
    assert launch(launchpad)
    before = list(launchpad.fireworks.find({}))
    assert str(repair(launchpad, CAMPAIGN)) == ""
    assert list(launchpad.fireworks.find({})) == before
    assert work_off(launchpad) == 1


def test_killed_while_a_job_ran(launchpad):
    checkout(launchpad)
    assert states(launchpad) == ["RUNNING", "WAITING"]
    assert repair(launchpad, CAMPAIGN).lost == 1
    assert states(launchpad) == ["READY", "WAITING"]
    assert work_off(launchpad) == 2


def test_killed_after_the_job_was_reserved(launchpad):
    launchpad.fireworks.update_one({"state": "READY"}, {"$set": {"state": "RESERVED"}})
    assert repair(launchpad, CAMPAIGN).lost == 1
    assert work_off(launchpad) == 2


def test_killed_after_the_launch_was_written_and_before_the_workflow_knew(launchpad, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(type(launchpad), "_refresh_wf", lambda *_: None)
        launch(launchpad)
    # The launch is COMPLETED; neither the Firework nor the workflow is.
    assert launchpad.launches.count_documents({"state": "COMPLETED"}) == 1
    repairs = repair(launchpad, CAMPAIGN)
    assert (repairs.completed, repairs.lost) == (1, 0)
    assert states(launchpad) == ["COMPLETED", "READY"]
    assert work_off(launchpad) == 1


def test_killed_after_the_fireworks_were_written_and_before_the_workflow_was(launchpad):
    before = launchpad.workflows.find_one({})
    launch(launchpad)
    # The Fireworks are up to date and the child is READY, but the workflow still is as it was before.
    orphan = launchpad.fireworks.find_one({"state": "READY"}, {"_id": 0})
    launchpad.fireworks.insert_one({**orphan, "fw_id": 999_999})
    running = {
        **before["fw_states"],
        str(launchpad.fireworks.find_one({"name": "1 first"})["fw_id"]): "RUNNING",
    }
    launchpad.workflows.replace_one({}, {**before, "fw_states": running, "locked": True})
    repairs = repair(launchpad, CAMPAIGN)
    assert (repairs.unlocked, repairs.orphans, repairs.completed) == (1, 1, 1)
    assert states(launchpad) == ["COMPLETED", "READY"]
    assert work_off(launchpad) == 1


def test_killed_while_submitting_leaves_orphans_that_are_removed(launchpad):
    launchpad.workflows.delete_many({})
    assert repair(launchpad, CAMPAIGN).orphans == 2
    assert launchpad.fireworks.count_documents({}) == 0


def test_failed_jobs_run_again_when_asked_to(launchpad):
    firework = launchpad.fireworks.find_one({"state": "READY"})
    task = firework["spec"]["_tasks"][0]
    broken = {**task, "job": {**task["job"], "function_args": ["1", 2]}}
    launchpad.fireworks.update_one({"fw_id": firework["fw_id"]}, {"$set": {"spec._tasks": [broken]}})
    launch(launchpad)
    assert states(launchpad) == ["FIZZLED", "WAITING"]
    assert repair(launchpad, CAMPAIGN, rerun_failed=False).failed == 0
    launchpad.fireworks.update_one({"fw_id": firework["fw_id"]}, {"$set": {"spec._tasks": [task]}})
    assert repair(launchpad, CAMPAIGN).failed == 1
    assert work_off(launchpad) == 2


def test_what_a_dead_worker_ran_runs_again_and_nothing_else(launchpad):
    checkout(launchpad, "laoc-1")
    assert rerun_of_worker(launchpad, CAMPAIGN, "laoc-0") == 0
    assert states(launchpad) == ["RUNNING", "WAITING"]
    assert rerun_of_worker(launchpad, CAMPAIGN, "laoc-1") == 1
    assert work_off(launchpad) == 2


def test_counters_of_a_new_database_are_made_once(launchpad, workspace):
    store = workspace.job_store()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: prepare(launchpad, store, CAMPAIGN), range(4)))
    assert launchpad.fw_id_assigner.count_documents({}) == 1


class Sometimes(LennardJones):
    """A code that crashes on every other frame while the machine is broken."""

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        CALLS.append(round(float(atoms.positions[1, 0]), 3))
        NOW[0] += 40.0
        if os.environ.get("BROKEN") and round(100 * CALLS[-1]) % 2 == 0:
            raise CalculationFailed
        super().calculate(atoms, properties, system_changes)
        # Bound, as a cell has to be.
        self.results["energy"] -= 100.0


CALLS = []
NOW = [0.0]


@job
def a_dataset(batch):
    if not batch.settled:
        msg = "too few labels"
        raise LaocError(msg)
    return len(batch.records)


@pytest.mark.parametrize("cut", ["into parts", "by its time"])
def test_labels_that_failed_are_computed_again_once_the_cause_is_mended(
    launchpad, workspace, monkeypatch, cut
):
    """Fewer than the quorum: the data set fails, and the same command computes the failed labels, and no other."""
    store = workspace.job_store()
    monkeypatch.setattr(jobflow.SETTINGS, "JOB_STORE", store)
    frames = [
        Atoms("LiCl", positions=[[0, 0, 0], [2.3 + 0.01 * i, 0, 0]], cell=[12.0] * 3, pbc=True)
        for i in range(5)
    ]
    provenance = Provenance(
        campaign_id=CAMPAIGN, campaign_seed=1, composition_id="x1.000-y0.000", stage="seed"
    )
    wanted = FrameSet(
        frames=put_blob(store, encode_frames(frames), MEDIA_TYPE), n_frames=5, provenance=provenance
    )
    handle(store.docs_store).delete_many({})
    parts = 2 if cut == "into parts" else None
    if parts is None:
        # Two of 40 s each fit into a job.
        monkeypatch.setenv("LAOC_JOB_WALLTIME", "100")
        monkeypatch.setattr(clock, "time", SimpleNamespace(monotonic=lambda: NOW[0], time=lambda: 0.0))
    engine = parse_engine({"name": "mlip", "model": f"{__name__}:Sometimes", "labels_per_job": parts})
    labels = engine.static_maker(LabelLimits(distance_floor=PairDistances(distances={}))).make(wanted)
    stamp(labels, step="label")
    dataset = a_dataset(labels.output)
    stamp(dataset, step="dataset")
    flow = Flow([labels, dataset])
    stamp(flow, campaign=CAMPAIGN, stage="seed", iteration=0)
    for name in ("fireworks", "launches", "workflows"):
        getattr(launchpad, name).delete_many({})
    launchpad.add_wf(flow_to_workflow(flow, metadata={"laoc_campaign": CAMPAIGN}))
    monkeypatch.setenv("BROKEN", "1")
    CALLS.clear()
    while launch(launchpad):
        pass
    rows = launchpad.fireworks.find({}, {"name": 1, "state": 1})
    assert {row["name"]: row["state"] for row in rows}["a_dataset"] == "FIZZLED"
    # The end of a job may have been what failed them: they have one more try at once.
    again = [2.3, 2.32] if parts is None else []
    assert sorted(CALLS) == sorted([2.3, 2.31, 2.32, 2.33, 2.34, *again])
    monkeypatch.delenv("BROKEN")
    CALLS.clear()
    repairs = prepare(launchpad, store, CAMPAIGN)
    assert (repairs.failed, repairs.labels) == (1, 3)
    assert str(repairs) == "1 failed, 3 with failed labels"
    while launch(launchpad):
        pass
    assert set(launchpad.fireworks.distinct("state")) == {"COMPLETED"}
    assert sorted(CALLS) == [2.3, 2.32, 2.34]
    assert store.get_output(dataset.uuid) == 5
    assert str(prepare(launchpad, store, CAMPAIGN)) == ""
    # Jobs look for finished labels by an index, which the builders' own do not contradict.
    plan = handle(store.docs_store).find({"output.records.key": "k"}).explain()
    assert "output.records.key_1" in str(plan["queryPlanner"]["winningPlan"])
    assert build_all(store)["labels"] == 5
