"""Stuck states of both queues, made on purpose: found, and settled."""

import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from jobflow import Flow
from jobflow.managers.fireworks import flow_to_workflow

from laoc_flows.campaign.causes import Cause
from laoc_flows.campaign.doctor import Doctor
from laoc_flows.campaign.queues import fireworks as fireworks_module
from laoc_flows.campaign.queues import jf as jf_module
from laoc_flows.campaign.queues.base import State
from laoc_flows.campaign.queues.fireworks import FireworksQueue
from laoc_flows.campaign.queues.jf_project import jf_environment, write_project
from laoc_flows.campaign.repair import campaign_query
from laoc_flows.campaign.resume import resume
from laoc_flows.jobs import stamp
from laoc_flows.store.workspace import Workspace, environment
from tests.queue_jobs import add, add_twice, fail, first_slow

CAMPAIGN = "c-1"
ROOT = Path(__file__).parents[2]
BIN = Path(os.path.abspath(sys.executable)).parent  # noqa: PTH100


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    place = Workspace.create(tmp_path_factory.mktemp("doctor") / "ws")
    file = place.path / "settings.yaml"
    file.write_text("runner_delay: 1\nworkers: {here: {max_jobs: 4}}\n")
    file.chmod(0o600)
    place = Workspace(place.path)
    try:
        with environment(place.environment()):
            yield place
    finally:
        place.mongo.stop()


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    for module in (fireworks_module, jf_module):
        monkeypatch.setattr(module, "_SETTLING", 0.5)


def stamped(*jobs):
    flow = Flow(list(jobs))
    for number, each in enumerate(jobs):
        stamp(each, step=f"step {number}")
    stamp(flow, campaign=CAMPAIGN, stage="seed", composition="")
    return flow


# FireWorks


@pytest.fixture
def fireworks(workspace, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    launchpad = workspace.launchpad()
    for name in ("fireworks", "launches", "workflows"):
        getattr(launchpad, name).delete_many({})
    queue = FireworksQueue(launchpad, workspace.settings)
    queue.ensure_indexes()
    first = add(1, 2)
    second = add(first.output, 10)
    first.name, second.name = "1 first", "2 second"
    launchpad.add_wf(flow_to_workflow(stamped(first, second), metadata={"laoc_campaign": CAMPAIGN}))
    return queue


def worker(name="w"):
    from fireworks import FWorker

    return FWorker(name=name, query=campaign_query(CAMPAIGN))


def launch(queue):
    from fireworks.core.rocket_launcher import launch_rocket

    return launch_rocket(queue.launchpad, worker(), strm_lvl="ERROR")


def states(queue):
    return [job.native for job in sorted(queue.jobs(CAMPAIGN), key=lambda job: job.name)]


def only(troubles, kind):
    assert [trouble.kind for trouble in troubles] == [kind]
    return troubles[0]


def aged(queue, seconds=3600):
    """Make the last signs of life of all launches as old as that."""
    past = (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()
    for row in queue.launchpad.launches.find():
        history = [{**entry, "created_on": past, "updated_on": past} for entry in row["state_history"]]
        queue.launchpad.launches.update_one({"_id": row["_id"]}, {"$set": {"state_history": history}})


def test_nothing_is_wrong_with_a_new_campaign(fireworks):
    assert fireworks.diagnose() == []
    assert states(fireworks) == ["READY", "WAITING"]


def test_a_lock_that_nobody_holds_is_found_and_released(fireworks):
    fireworks.launchpad.workflows.update_one({}, {"$set": {"locked": True}})
    trouble = only(fireworks.diagnose(), "stale lock")
    assert "lpad admin unlock" in trouble.remedy
    assert fireworks.fix(trouble) == "unlocked"
    assert fireworks.diagnose() == []
    assert launch(fireworks)


def test_a_lock_of_the_living_is_left_alone(fireworks, monkeypatch):
    collection = fireworks.launchpad.workflows
    collection.update_one({}, {"$set": {"locked": True}})
    monkeypatch.setattr(
        fireworks_module.time, "sleep", lambda _: collection.update_one({}, {"$unset": {"locked": True}})
    )
    assert fireworks.diagnose() == []


def test_a_job_without_a_sign_of_life_runs_again(fireworks):
    fireworks.launchpad.checkout_fw(worker(), str(Path.cwd()))
    assert states(fireworks) == ["RUNNING", "WAITING"]
    assert fireworks.diagnose() == []
    aged(fireworks)
    trouble = only(fireworks.diagnose(), "lost job")
    assert "1 first" in trouble.line
    assert "lpad rerun_fws" in trouble.remedy
    assert fireworks.fix(trouble) == "runs again"
    assert states(fireworks) == ["READY", "WAITING"]
    # It counts as lost, with the time up to its last sign of life.
    (run,) = fireworks.runs(CAMPAIGN)
    assert not run.useful


def test_a_result_that_was_not_entered_is_entered(fireworks, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(type(fireworks.launchpad), "_refresh_wf", lambda *_: None)
        launch(fireworks)
    assert states(fireworks) == ["RUNNING", "WAITING"]
    aged(fireworks, 60)
    trouble = only(fireworks.diagnose(), "result not entered")
    assert fireworks.fix(trouble) == "entered"
    assert states(fireworks) == ["COMPLETED", "READY"]
    (run,) = fireworks.runs(CAMPAIGN)
    assert run.useful


def test_what_no_workflow_knows_is_removed(fireworks):
    row = fireworks.launchpad.fireworks.find_one({"name": "1 first"})
    del row["_id"]
    fireworks.launchpad.fireworks.insert_one({**row, "fw_id": 0, "name": "orphan"})
    trouble = only(fireworks.diagnose(), "orphans")
    assert fireworks.fix(trouble) == "deleted"
    assert states(fireworks) == ["READY", "WAITING"]


# jf


def runs_jf(workspace, code):
    """Run Python with the project of a workspace."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=jf_shell(workspace),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def jf_shell(workspace):
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    return {
        **os.environ,
        **workspace.environment(),
        **jf_environment(workspace),
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "PYTHONPATH": path,
    }


ALL = "from jobflow_remote.jobs.runner import Runner; Runner().run_all_jobs(max_seconds=240)"


@pytest.fixture
def jf(workspace):
    write_project(workspace)
    queue = jf_module.JfQueue(workspace)
    queue.controller.jobs.delete_many({})
    queue.controller.flows.delete_many({})
    queue.ensure_indexes()
    yield queue
    queue.controller.close()


def put(queue, *jobs):
    queue.add(stamped(*jobs), CAMPAIGN, "c", "xtb")


def jf_states(queue):
    return {job.name: job.native for job in queue.jobs(CAMPAIGN)}


def test_locks_of_jf_are_found_by_not_moving_whatever_their_clock_says(jf):
    put(jf, add(1, 2))
    ahead = datetime.now(UTC) + timedelta(days=1)
    for collection in (jf.controller.jobs, jf.controller.flows):
        collection.update_many({}, {"$set": {"lock_id": "dead", "lock_time": ahead}})
    troubles = [trouble for trouble in jf.diagnose() if trouble.kind == "stale lock"]
    assert [trouble.about.split()[0] for trouble in troubles] == ["job", "flow"]
    assert "jf admin unlock" in troubles[0].remedy
    assert [jf.fix(trouble) for trouble in troubles] == ["unlocked", "unlocked"]
    assert not [trouble for trouble in jf.diagnose() if trouble.kind == "stale lock"]


def test_a_result_that_was_entered_by_half_is_entered_to_its_end(jf, workspace):
    first = add_twice(1, 2)
    after = add(first.output, 1)
    after.name = "after"
    put(jf, first, after)
    runs_jf(workspace, ALL)
    assert jf_states(jf) == dict.fromkeys(("add_twice", "more 0", "more 1", "after"), "COMPLETED")
    # As if the runner had died between two of its writes: one of the new jobs is missing, no state has changed yet.
    jobs, flows = jf.controller.jobs, jf.controller.flows
    jobs.delete_one({"job.name": "more 1"})
    jobs.update_one({"job.name": "after"}, {"$set": {"state": "WAITING"}})
    jobs.update_one(
        {"job.name": "add_twice"},
        {
            "$set": {
                "state": "REMOTE_ERROR",
                "previous_state": "DOWNLOADED",
                "remote.error": "E11000 duplicate key error",
            }
        },
    )
    flows.update_one({}, {"$set": {"state": "RUNNING"}})
    trouble = next(trouble for trouble in jf.diagnose() if trouble.kind == "result half entered")
    assert jf.fix(trouble) == "entered"
    assert jf_states(jf) == {
        "add_twice": "COMPLETED", "more 0": "COMPLETED", "more 1": "READY", "after": "READY",
    }  # fmt: skip
    runs_jf(workspace, ALL)
    assert set(jf_states(jf).values()) == {"COMPLETED"}
    (flow,) = flows.find({})
    assert flow["state"] == "COMPLETED"
    there = {(row["db_id"], row["uuid"], row["index"]) for row in jobs.find({})}
    assert {tuple(each) for each in flow["ids"]} == there
    assert len(there) == 4


def test_a_killed_job_runs_again_and_one_that_failed_by_itself_does_not(jf, workspace, tmp_path):
    mark = tmp_path / "mark"
    slow, wrong = first_slow(str(mark)), fail("of its own")
    put(jf, slow, wrong)
    runner = subprocess.Popen([sys.executable, "-c", ALL], env=jf_shell(workspace), stderr=subprocess.DEVNULL)
    try:
        wait_for(mark.exists)
        victim = next(
            process
            for process in psutil.process_iter(["cmdline"])
            if any("execution" in word for word in process.info["cmdline"] or ())
            and any(slow.uuid in word for word in process.info["cmdline"] or ())
        )
        victim.kill()
        assert runner.wait(120) == 0
    finally:
        runner.kill()
        runner.wait()
    assert jf_states(jf) == {"first_slow": "FAILED", "fail": "FAILED"}
    done = resume(jf, workspace.job_store(), CAMPAIGN, tries=3)
    assert [(job.name, cause) for job, cause in done.again] == [("first_slow", Cause.KILLED)]
    assert [(job.name, job.reason) for job in done.own] == [("fail", "ValueError: of its own")]
    runs_jf(workspace, ALL)
    assert jf_states(jf) == {"first_slow": "COMPLETED", "fail": "FAILED"}
    assert {job.name: job.state for job in jf.jobs(CAMPAIGN)}["first_slow"] is State.DONE


def wait_for(condition, timeout=300):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.timeout(1200)
def test_a_runner_that_has_died_is_started_again(jf, workspace, monkeypatch):
    # Its workers look for the jobs of these tests.
    monkeypatch.setenv("PYTHONPATH", jf_shell(workspace)["PYTHONPATH"])
    put(jf, add(1, 2))
    never = next(trouble for trouble in jf.diagnose() if trouble.kind == "dead runner")
    # One that was never started here is not started by itself.
    assert never.fix == ""
    assert never.remedy == "jf runner start"
    shell = jf_shell(workspace)
    try:
        subprocess.run([BIN / "jf", "runner", "start", "-s"], env=shell, check=True, capture_output=True)
        wait_for(lambda: jf.jobs(CAMPAIGN)[0].state in {State.DONE, State.FAILED})
        put_more = add(3, 4)
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or ()
            if any(str(workspace.path) in word for word in words) and any(
                "supervisord" in word for word in words
            ):
                for child in process.children(recursive=True):
                    child.send_signal(signal.SIGKILL)
                process.send_signal(signal.SIGKILL)
        jf.controller.flows.delete_many({})
        put(jf, put_more)
        trouble = next(trouble for trouble in jf.diagnose() if trouble.kind == "dead runner")
        assert trouble.fix == "start runner"
        assert jf.fix(trouble) == "started"
        wait_for(lambda: jf.jobs(CAMPAIGN)[0].state in {State.DONE, State.FAILED})
        assert jf_states(jf) == {"add": "COMPLETED"}
        assert not [trouble for trouble in jf.diagnose() if trouble.kind == "dead runner"]
    finally:
        for command in ("kill", "shutdown"):
            subprocess.run([BIN / "jf", "runner", command], env=shell, check=False, capture_output=True)


def test_jobs_of_a_worker_that_is_gone_are_named(jf):
    put(jf, add(1, 2))
    jf.controller.jobs.update_many({}, {"$set": {"worker": "gone", "exec_config": "dft-vasp"}})
    troubles = [trouble for trouble in jf.diagnose() if trouble.kind == "missing worker"]
    assert [trouble.about for trouble in troubles] == ["worker gone", "role dft-vasp"]
    assert all("settings.yaml" in trouble.remedy for trouble in troubles)


def test_half_a_submission_is_none(jf):
    put(jf, add(1, 2), add(3, 4))
    assert jf.has(CAMPAIGN)
    jf.controller.jobs.delete_one({})
    assert not jf.has(CAMPAIGN)
    put(jf, add(1, 2), add(3, 4))
    assert jf.has(CAMPAIGN)
    assert len(jf.jobs(CAMPAIGN)) == 2
    # One that has begun is never taken for half a submission.
    jf.controller.jobs.update_one({}, {"$set": {"state": "COMPLETED"}})
    jf.controller.jobs.delete_one({"state": "READY"})
    assert jf.has(CAMPAIGN)


def test_a_category_that_no_worker_takes_is_named(fireworks):
    fireworks.launchpad.fireworks.update_many({}, {"$set": {"spec._category": "dft-gone"}})
    trouble = only(fireworks.diagnose(), "missing worker")
    assert trouble.about == "category dft-gone"


# The rest


def test_jobs_that_nothing_fetches_are_named(fireworks, monkeypatch):
    fireworks.launchpad.fireworks.update_many({}, {"$set": {"spec._category": "light"}})
    assert fireworks.diagnose() == []
    monkeypatch.setattr(fireworks_module, "_UNTOUCHED", -1.0)
    trouble = only(fireworks.diagnose(), "no launcher")
    assert trouble.about == "category light"
    assert trouble.message.startswith("1 of its jobs are ready, and nothing has fetched one for ")
    assert trouble.remedy.endswith(
        "qlaunch -w fireworks/light.fworker.yaml -q fireworks/light.qadapter.yaml rapidfire --nlaunches infinite"
    )
    assert not trouble.fix
    # Where something runs, somebody fetches.
    fireworks.launchpad.checkout_fw(worker(), str(Path.cwd()))
    fireworks.launchpad.fireworks.update_one({"state": "WAITING"}, {"$set": {"state": "READY"}})
    assert not [trouble for trouble in fireworks.diagnose() if trouble.kind == "no launcher"]


def test_a_full_disk_and_a_database_that_is_away_are_told(workspace, monkeypatch):
    nearly_full = SimpleNamespace(total=10**12, used=10**12, free=10**8)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: nearly_full)
    found = Doctor(workspace, lambda _: None).examine()
    assert {trouble.kind for trouble in found} >= {"full disk"}
    assert "0.1 GB left" in found[0].line
    monkeypatch.undo()
    monkeypatch.setenv("LAOC_MONGO_URI", "mongodb://someone:secret@127.0.0.1:9/")
    found = Doctor(Workspace(workspace.path), lambda _: None).examine()
    trouble = next(trouble for trouble in found if trouble.kind == "unreachable store")
    assert "does not answer" in trouble.line
    assert "secret" not in trouble.line
