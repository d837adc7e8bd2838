"""One campaign through jf and FireWorks on Slurm, through `laoc run`, and under attack: the same documents."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from laoc_flows.campaign.queues.base import State
from laoc_flows.campaign.submit import open_queue
from laoc_flows.store.workspace import Workspace
from tests.integration.test_campaign_run import (
    COLLECTIONS,
    SMALL,
    documents,
    fireworks,
    interrupt_when,
    processes_of,
    stop,
)
from tests.programs import missing
from tests.slurm import PROGRAMS, Slurm

LAOC = [sys.executable, "-c", "from laoc_flows.cli.main import main; main()"]
BIN = Path(os.path.abspath(sys.executable)).parent  # noqa: PTH100
ROLES = {
    "melt-quench": "cpu", "train": "gpu", "potential": "gpu", "explore": "gpu", "production": "gpu",
    "pack": "cpu", "assess": "cpu", "dataset": "cpu", "calibrate": "cpu", "decide": "cpu",
}  # fmt: skip
"""Partition of every step: also of those that the flow adds while it runs."""
SETTINGS = """
runner_delay: 1
workers:
  cpu: {scheduler: slurm, max_jobs: 3, resources: {partition: cpu}}
  gpu: {scheduler: slurm, max_jobs: 3, resources: {partition: gpu, time_limit: 1800}, setup: {environment: {WHERE: gpu}}}
roles:
  train: {worker: gpu}
  md: {worker: gpu}
"""
# Under jf a worker need not reach the database: what is large goes through a folder then.
WITHOUT = SETTINGS.replace("gpu: {scheduler", "gpu: {database: false, scheduler") + "blob_root: blobs\n"


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    assert not missing(PROGRAMS), "Slurm is not installed: .ci/run does that"
    cluster = Slurm(tmp_path_factory.mktemp("slurm") / "cluster")
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def laoc(workspace, *arguments, slurm=None, check=True, timeout=600):
    done = subprocess.run(
        [*LAOC, *map(str, arguments), "--workspace", str(workspace)],
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
        env={**os.environ, **(slurm.environment if slurm else {})},
    )
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


def made(path, slurm, settings=SETTINGS):
    place = Workspace.create(path)
    file = place.path / "settings.yaml"
    file.write_text(settings)
    file.chmod(0o600)
    done = laoc(place.path, "init", slurm=slurm)
    assert "all workers can be used" in done.stderr
    return place.path


def shell_environment(workspace, slurm):
    """What `eval "$(laoc env)"` gives."""
    lines = laoc(workspace, "env").stdout.splitlines()
    lines = [line for line in lines if "PATH=" not in line]
    pairs = (line.removeprefix("export ").partition("=") for line in lines)
    return {
        **os.environ,
        **{name: value.strip("'") for name, _, value in pairs},
        **slurm.environment,
        "PATH": f"{BIN}:{os.environ['PATH']}",
    }


@pytest.fixture(scope="module")
def both(tmp_path_factory, slurm):
    """The campaign in both queues at once, each in a workspace of its own, until both have ended."""
    root = tmp_path_factory.mktemp("queues")
    jf, fireworks = made(root / "jf", slurm, WITHOUT), made(root / "fireworks", slurm)
    launchers = []
    try:
        assert "is in the queue" in laoc(jf, "submit", SMALL, "--to", "jf", slurm=slurm).stderr
        assert "is in the queue" in laoc(fireworks, "submit", SMALL, "--to", "fireworks", slurm=slurm).stderr
        subprocess.run([BIN / "jf", "runner", "start", "-s"], env=shell_environment(jf, slurm), check=True)
        launchers = list(qlaunch(fireworks, slurm))
        for workspace in (jf, fireworks):
            laoc(workspace, "watch", "small", "--every", 2, slurm=slurm, timeout=1500)
            # Brings the collections up to date.
            laoc(workspace, "query", "compositions")
        yield jf, fireworks
    finally:
        for launcher in launchers:
            launcher.kill()
            launcher.wait()
        for command in ("kill", "shutdown"):
            subprocess.run([BIN / "jf", "runner", command], env=shell_environment(jf, slurm), check=False)
        stop(jf)
        stop(fireworks)


def qlaunch(workspace, slurm):
    """A launcher for every lane; those of single jobs reserve them."""
    for lane in ("dft", "train", "md", "light"):
        files = workspace / "fireworks" / lane
        reserve = [] if lane == "light" else ["-r"]
        command = [
            BIN / "qlaunch", "-l", workspace / "my_launchpad.yaml", "-w", f"{files}.fworker.yaml", "-q", f"{files}.qadapter.yaml",
            *reserve, "--launch_dir", workspace / "launches", "rapidfire", "--nlaunches", "infinite", "--sleep", "1", "-m", "3",
        ]  # fmt: skip
        with (workspace / f"qlaunch-{lane}.log").open("w") as log:
            yield subprocess.Popen(
                list(map(str, command)), env=shell_environment(workspace, slurm), stdout=log, stderr=log
            )


@pytest.fixture(scope="module")
def alone(tmp_path_factory, both):
    """The campaign through `laoc run`, after the others: they share the cores."""
    del both
    workspace = tmp_path_factory.mktemp("alone") / "ws"
    laoc(workspace, "run", SMALL)
    yield workspace
    stop(workspace)


def queue_of(workspace, name):
    return open_queue(name, Workspace(workspace))


def campaign_id():
    from laoc_flows.campaign.file import CampaignFile

    return CampaignFile.load(SMALL).campaign_id


@pytest.mark.timeout(1800)
def test_all_three_end_with_the_same_documents(both, alone):
    jf, fireworks = both
    found = [documents(workspace) for workspace in (jf, fireworks, alone)]
    for name in COLLECTIONS:
        assert found[2][name] or name == "transport", name
        assert found[0][name] == found[2][name], name
        assert found[1][name] == found[2][name], name


@pytest.mark.parametrize("name", ["jf", "fireworks"])
def test_every_job_ran_in_the_partition_of_its_role(both, name):
    workspace = both[0] if name == "jf" else both[1]
    jobs = queue_of(workspace, name).jobs(campaign_id())
    assert {job.state for job in jobs} == {State.DONE}
    assert {job.step for job in jobs} == set(ROLES)
    for job in jobs:
        if name == "jf":
            script = (Path(job.directory) / "submit.sh").read_text()
            assert job.worker == ROLES[job.step], job.name
        else:
            # Several light jobs may share an allocation: then their folders are below that of its script.
            place = Path(job.directory)
            script = next(p for p in (place, place.parent) if (p / "FW_submit.script").exists())
            script = (script / "FW_submit.script").read_text()
            assert job.worker.startswith(ROLES[job.step]), job.name
        assert f"--partition={ROLES[job.step]}" in script, job.name
        assert ("export WHERE=gpu" in script) == (ROLES[job.step] == "gpu")
        assert job.seconds is not None
        assert job.seconds > 0


def test_jobs_that_do_not_reach_the_database_give_the_same_documents(both):
    workspace = both[0]
    jobs = queue_of(workspace, "jf").jobs(campaign_id())
    for job in jobs:
        script = (Path(job.directory) / "submit.sh").read_text()
        assert ("JOBFLOW_CONFIG_FILE=" in script) == (job.worker == "cpu")
    assert len([path for path in (workspace / "blobs").rglob("*") if path.is_file()]) > 10


def test_submitting_again_adds_nothing(both, slurm):
    for workspace, name in zip(both, ("jf", "fireworks"), strict=True):
        before = len(queue_of(workspace, name).jobs(campaign_id()))
        done = laoc(workspace, "submit", SMALL, "--to", name, slurm=slurm)
        assert "nothing was added" in done.stderr
        assert len(queue_of(workspace, name).jobs(campaign_id())) == before


def test_a_campaign_is_in_one_queue(both, slurm):
    done = laoc(both[0], "submit", SMALL, "--to", "fireworks", slurm=slurm, check=False)
    assert done.returncode == 2
    assert "in the queue of jf" in done.stderr
    done = laoc(both[0], "run", SMALL, check=False)
    assert done.returncode == 2
    assert "in the queue of jf" in done.stderr


def test_status_and_cost_are_by_campaign(both):
    for workspace, name in zip(both, ("jf", "fireworks"), strict=True):
        overview = laoc(workspace, "status").stdout
        assert campaign_id() in overview
        assert name in overview
        assert "not converged" in overview
        whole = laoc(workspace, "status", SMALL)
        assert "x1.000-y0.000" in whole.stdout
        assert "finished" in whole.stderr
        rows = json.loads(laoc(workspace, "cost", "small", "--format", "json").stdout)
        jobs = Counter(job.stage for job in queue_of(workspace, name).jobs(campaign_id()))
        assert {row["stage"]: row["runs"] for row in rows} == jobs
        assert all(0 < row["core_hours"] < 1 for row in rows)
        assert "nothing has failed" in laoc(workspace, "resume", "small").stderr


def test_doctor_finds_nothing_where_nothing_is_wrong(both, slurm):
    for workspace in both:
        done = laoc(workspace, "doctor", slurm=slurm, check=False)
        assert done.returncode == 0, done.stdout


def test_jf_has_the_commands_as_a_plugin(both, slurm):
    done = subprocess.run(
        [BIN / "jf", "laoc", "status", "small"],
        env=shell_environment(both[0], slurm),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert campaign_id() in done.stdout


def test_the_password_is_in_private_files_only(both):
    for workspace in both:
        place = Workspace(workspace)
        secret = place.database_uri().get_secret_value().split(":")[2].partition("@")[0]
        private = 0
        for path in place.path.rglob("*"):
            inside = path.is_relative_to(place.path / "mongod" / "data")
            if path.is_file() and not inside and secret.encode() in path.read_bytes():
                assert path.stat().st_mode & 0o077 == 0, path
                private += 1
        assert private >= 3
        client = place.launchpad().fireworks.database
        for name in client.list_collection_names():
            for document in client[name].find():
                assert secret not in str(document), name


def test_two_submitters_at_once_add_one_campaign(tmp_path, slurm):
    for name in ("jf", "fireworks"):
        workspace = made(tmp_path / name, slurm)
        try:
            command = [*LAOC, "submit", str(SMALL), "--to", name, "--workspace", str(workspace)]
            both_at_once = [
                subprocess.Popen(
                    command, stderr=subprocess.PIPE, text=True, env={**os.environ, **slurm.environment}
                )
                for _ in range(3)
            ]
            said = [process.communicate()[1] for process in both_at_once]
            assert sum("is in the queue" in words for words in said) == 1, said
            queue = queue_of(workspace, name)
            assert queue.campaigns() == [campaign_id()]
            assert len(queue.jobs(campaign_id())) == 7
        finally:
            stop(workspace)


@pytest.mark.timeout(1200)
def test_stopped_once_and_killed_at_three_stages_it_ends_with_the_same_documents(alone, tmp_path):
    workspace = tmp_path / "ws"
    try:
        finished_before = {}
        interrupt_when(workspace, "melt-quench", signal.SIGINT, 130)
        assert not processes_of(workspace), "orphans after Ctrl-C"
        for step in ("train", "explore", "production"):
            finished_before |= interrupt_when(workspace, step)
            deadline = time.monotonic() + 10
            while (left := processes_of(workspace)) and time.monotonic() < deadline:
                time.sleep(0.1)
            assert not left, f"orphans after a kill: {left}"
        laoc(workspace, "run", SMALL)
        rows, launches = fireworks(workspace)
        assert len(finished_before) > 5
        for row in rows:
            assert row["state"] == "COMPLETED"
            completed = [i for i in row["launches"] + row["archived_launches"] if launches[i] == "COMPLETED"]
            assert len(completed) == 1, f"{row['name']} was done {len(completed)} times"
            if row["fw_id"] in finished_before:
                assert row["launches"] == finished_before[row["fw_id"]], f"{row['name']} was repeated"
        other, _ = fireworks(alone)
        assert sorted(row["name"] for row in rows) == sorted(row["name"] for row in other)
        assert documents(workspace) == documents(alone)
    finally:
        stop(workspace)


@pytest.mark.timeout(2400)
def test_it_survives_what_clusters_do(alone):
    """Five events here; `make chaos` has twenty."""
    rights = [] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
    command = [
        *rights, sys.executable, "-m", "tests.chaos", "--events", "5", "--seed", "1", "--campaign", SMALL,
        "--reference", alone, "--pause", "10", "--limit", "1800",
    ]  # fmt: skip
    done = subprocess.run(
        list(map(str, command)), cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
