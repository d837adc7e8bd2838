"""Workers, roles, and what jobs ask a queue for."""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import bson
import pytest
from jobflow import CURRENT_JOB, JobStore
from jobflow.managers.fireworks import flow_to_workflow
from maggma.stores import MemoryStore
from monty.json import MontyDecoder, MontyEncoder
from pydantic import ValidationError

from laoc_flows.blobs import BlobRef
from laoc_flows.campaign.file import CampaignFile
from laoc_flows.campaign.queues.fireworks import category_of
from laoc_flows.campaign.queues.fireworks_files import adapter
from laoc_flows.campaign.queues.jf_project import (
    daemon_folder,
    environment_lines,
    jf_config_of,
    load_project,
    project_content,
    qresources,
    script_lines,
)
from laoc_flows.campaign.routing import FUNCTIONS, lane_of, lanes, route
from laoc_flows.errors import InputError
from laoc_flows.flows.campaign import CampaignMaker
from laoc_flows.flows.loop import iteration_flow, production_flow
from laoc_flows.flows.spec import MOST_AT_ONCE, LoopState
from laoc_flows.schemas.dataset import Dataset, DatasetMember
from laoc_flows.settings import Settings
from laoc_flows.store.workspace import Workspace
from laoc_flows.workers import Resources, Role, Route, Surroundings, Worker

TWO = {
    "workers": {
        "cpu": {
            "scheduler": "slurm",
            "max_jobs": 50,
            "resources": {"partition": "cpu", "account": "acc", "time_limit": 86400},
            "setup": {"modules": ["intel/2025"], "environment": {"A": "1"}},
        },
        "gpu": {"scheduler": "slurm", "resources": {"partition": "gpu"}},
    },
    "roles": {
        "dft": {
            "worker": "cpu",
            "resources": {"nodes": 2, "processes": 48},
            "engines": {"cp2k": {"resources": {"processes": 24}, "setup": {"modules": ["cp2k/2025.1"]}}},
        },
        "train": {"worker": "gpu", "resources": {"gpus": 1, "threads": 8}, "priority": 5},
        "md": {"worker": "gpu"},
    },
}


@pytest.fixture
def settings(tmp_path):
    return Settings(workspace=tmp_path, **TWO)


def test_without_any_worker_everything_runs_on_this_machine(tmp_path):
    settings = Settings(workspace=tmp_path)
    assert {name: lane.worker for name, lane in lanes(settings).items()} == dict.fromkeys(
        ("dft", "train", "md", "light"), "here"
    )


def test_a_lane_has_what_its_role_its_engine_and_its_worker_say(settings):
    vasp, cp2k = lane_of(settings, Role.DFT, "vasp"), lane_of(settings, Role.DFT, "cp2k")
    assert (vasp.name, cp2k.name) == ("dft", "dft-cp2k")
    assert vasp.resources.model_dump(exclude_unset=True) == {
        "partition": "cpu", "account": "acc", "time_limit": 86400, "nodes": 2, "processes": 48,
    }  # fmt: skip
    assert vasp.resources.cores == 96
    assert cp2k.resources.processes == 24
    assert cp2k.resources.partition == "cpu"
    assert cp2k.setup.modules == ("cp2k/2025.1",)
    # What was not named goes to the first.
    assert lane_of(settings, Role.LIGHT, "vasp").worker == "cpu"
    assert set(lanes(settings)) == {"dft", "dft-cp2k", "train", "md", "light"}


def test_resources_mean_the_same_to_both_queues(settings):
    from qtoolkit.io.slurm import SlurmIO

    lane = lane_of(settings, Role.DFT, "vasp")
    script = SlurmIO().get_submission_script("true", qresources(lane.resources))
    keys = adapter(_workspace(settings), lane, settings.workers["cpu"])
    for directive, key, value in (
        ("--partition=cpu", "queue", "cpu"),
        ("--account=acc", "account", "acc"),
        ("--nodes=2", "nodes", 2),
        ("--ntasks-per-node=48", "ntasks_per_node", 48),
    ):
        assert directive in script
        assert keys[key] == value
    assert "--time=1-0:0:0" in script
    assert keys["walltime"] == "24:00:00"


class _Workspace:
    """What the writers of files need of a workspace, without a database."""

    def __init__(self, settings):
        self.settings = settings
        self.path = settings.workspace
        self.jobflow_file = self.path / "jobflow.yaml"
        self.fireworks_file = self.path / "FW_config.yaml"
        self.launchpad_file = self.path / "my_launchpad.yaml"

    def job_store_spec(self):
        mongo = {
            "uri": "mongodb://127.0.0.1:1",
            "database": "laoc",
            "mongoclient_kwargs": {"password": "secret"},
        }
        return {
            "docs_store": {"type": "MongoStore", "collection_name": "outputs", **mongo},
            "additional_stores": {"data": {"type": "GridFSStore", "collection_name": "blobs", **mongo}},
        }


def _workspace(settings):
    return _Workspace(settings)


def test_jobflow_remote_takes_the_project(settings):
    project = load_project(project_content(_workspace(settings)))
    assert set(project.workers) == {"cpu", "gpu"}
    assert project.workers["cpu"].scheduler_type == "slurm"
    assert "module load intel/2025" in project.workers["cpu"].pre_run
    assert project.workers["cpu"].max_jobs == 50
    assert set(project.exec_config) == set(lanes(settings))
    assert project.exec_config["dft-cp2k"].modules == ["cp2k/2025.1"]


def test_a_worker_on_another_machine_is_reached_by_ssh_and_has_its_own_paths(tmp_path):
    far = {
        "host": "cluster.example.org", "user": "me", "scheduler": "slurm",
        "python": "/home/me/venv/bin/python", "workspace": "/scratch/me/laoc",
    }  # fmt: skip
    settings = Settings(workspace=tmp_path, workers={"far": far})
    project = load_project(project_content(_workspace(settings)))
    worker = project.workers["far"]
    assert (worker.type, worker.host, worker.user) == ("remote", "cluster.example.org", "me")
    assert str(worker.work_dir) == "/scratch/me/laoc/launches/jf/far"
    assert "/home/me/venv/bin" in worker.pre_run
    assert "export JOBFLOW_CONFIG_FILE=/scratch/me/laoc/jobflow.yaml" in worker.pre_run
    assert str(tmp_path) not in worker.pre_run


def test_values_of_variables_are_never_run():
    evil = "$(touch /tmp/x); `id` \"'"
    lines = script_lines(Surroundings(environment={"A": evil}))
    import subprocess

    done = subprocess.run(
        ["bash", "-c", f'{lines[0]}; printf %s "$A"'], capture_output=True, text=True, check=True
    )
    assert done.stdout == evil


@pytest.mark.parametrize(
    "content",
    [
        {"partition": "cpu\n#SBATCH --wrap=id"},
        {"partition": "a b"},
        {"account": "$(id)"},
        {"options": {"constraint": "x; rm -rf /"}},
        {"options": {"a\nb": "x"}},
        {"processes": 0},
        {"time_limit": 5},
        {"gpu": 1},
    ],
)
def test_what_would_end_up_in_a_script_is_refused(content):
    with pytest.raises(ValidationError):
        Resources.model_validate(content)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("workers: {a: {scheduler: lsf}}\n", ["workers.a.scheduler = 'lsf'", "slurm"]),
        ("workers: {a: {host: h}}\n", ["workers.a", "python and workspace"]),
        ("workers: {a: {database: false}}\n", ["workers", "a does not reach the database", "blob_root"]),
        ("workers: {a: {key_file: k}}\n", ["workers.a.key_file = 'k'", "absolute"]),
        ("roles: {dft: {worker: nobody}}\n", ["roles", "nobody", "here"]),
        ("roles: {dfd: {}}\n", ["roles.dfd", "dft"]),
        (
            "roles: {dft: {resources: {processes: many}}}\n",
            ["roles.dft.resources.processes = 'many'", "integer"],
        ),
        ("webhook: ftp://x\n", ["webhook = (hidden)", "http"]),
    ],
)
def test_settings_name_key_value_and_remedy(tmp_path, text, parts):
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(InputError) as caught:
        Settings.load(tmp_path)
    for part in (str(path), *parts):
        assert part in caught.value.line


def _config_of(lane):
    return {"worker": lane.worker, "lane": lane.name}


@pytest.fixture
def file():
    from pathlib import Path

    return CampaignFile.load(Path(__file__).parents[1] / "data" / "tiny.yaml")


def _lanes_by_step(jobs):
    return {job.metadata["laoc"].get("step", ""): job.config.manager_config["lane"] for job in jobs}


def _jobs(flow):
    return [job for job, _ in flow.iterflow()]


def test_every_job_of_a_flow_goes_to_the_lane_of_its_role(file, settings):
    flow = CampaignMaker(file.spec()).make()
    route(flow, settings, file.engine.name, _config_of)
    assert _lanes_by_step(_jobs(flow)) == {
        "pack": "light", "melt-quench": "dft", "assess": "light", "strain": "light", "label": "dft", "dataset": "light",
    }  # fmt: skip


def test_jobs_that_are_made_later_go_there_too_also_after_a_round_through_json(file, settings):
    flow = CampaignMaker(file.spec()).make()
    route(flow, settings, file.engine.name, _config_of)
    last = _jobs(flow)[-1]
    # What a queue stores.
    again = json.loads(json.dumps(last.as_dict(), cls=MontyEncoder), cls=MontyDecoder)
    spec = file.spec()
    state = LoopState(
        dataset=Dataset(level_of_theory=spec.engine.level_of_theory, members=()),
        starts={name: [_blob()] for name in spec.explored},
    )
    new = iteration_flow(spec, state)
    for update in again.config_updates:
        new.update_config(**update)
    assert _lanes_by_step(_jobs(new)) == {
        "train": "train", "potential": "train", "calibrate": "light", "explore": "md", "decide": "light",
    }  # fmt: skip
    assert not again.config.pass_manager_config


def test_what_one_job_adds_fits_into_a_document(file, settings, monkeypatch):
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore(key="blob_uuid")})
    store.connect()
    monkeypatch.setattr(CURRENT_JOB, "store", store)
    n = 100
    names = [f"x1.000-y0.{i:03}" for i in range(n)]
    spec = file.spec().model_copy(update={"cells": dict.fromkeys(names, 4)})
    shards = [BlobRef(sha256=f"{i:064}", size=1, media_type="x") for i in range(5 * n)]
    members = [
        DatasetMember(
            shard=shard, composition_id=names[i // 5], trajectory_id=str(i), held_out=False, n_labels=1
        )
        for i, shard in enumerate(shards)
    ]
    dataset = Dataset(level_of_theory=spec.engine.level_of_theory, members=members)
    state = LoopState(dataset=dataset, starts=dict(zip(names, ([b] for b in shards), strict=False)))
    sizes = {}
    # As a potential would: it has an entry for each composition.
    large = dataset
    for name, flow in (("loop", iteration_flow(spec, state)), ("production", production_flow(spec, large))):
        route(flow, settings, file.engine.name, _config_of)
        jobs = flow_to_workflow(flow).fws
        sizes[name] = sum(len(bson.encode(each.to_dict())) for each in jobs) / len(jobs)
    # Of the 16 MB: what is written is not all that a document holds.
    assert MOST_AT_ONCE * max(sizes.values()) < 12e6, sizes


def _blob():
    return BlobRef(sha256="0" * 64, size=1, media_type="x")


def test_a_job_that_carries_the_roles_does_not_import_what_they_run(file, settings):
    flow = CampaignMaker(file.spec()).make()
    route(flow, settings, file.engine.name, _config_of)
    updates = json.dumps(_jobs(flow)[0].config_updates, cls=MontyEncoder)
    code = f"""
import sys, json
from monty.json import MontyDecoder
json.loads({updates!r}, cls=MontyDecoder)
print([name for name in sys.modules if name.startswith("laoc_flows.") and not name.startswith("laoc_flows.campaign")])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_function_of_a_role_is_a_job():
    for functions in FUNCTIONS.values():
        for function in functions:
            assert hasattr(function, "__wrapped__"), function


def test_both_queues_are_told_of_the_lane(settings):
    lane = lane_of(settings, Role.TRAIN, "vasp")
    assert category_of(lane) == {"_category": "train", "_priority": 5, "laoc_cores": 8}
    told = jf_config_of(settings, lane)
    assert (told["worker"], told["exec_config"], told["priority"]) == ("gpu", "train", 5)
    assert told["resources"].gpus_per_job == 1
    assert told["resources"].threads_per_process == 8


def test_processes_of_a_machine_ask_nobody_for_resources(tmp_path):
    settings = Settings(workspace=tmp_path)
    assert jf_config_of(settings, lane_of(settings, Role.DFT, "xtb"))["resources"] == {}


def test_a_shell_on_a_worker_finds_this_program(settings):
    import subprocess

    workspace = _workspace(settings)
    lines = environment_lines(workspace, Worker(database=False))
    script = "\n".join(
        [
            *("export JOBFLOW_CONFIG_FILE=x", *lines),
            *("command -v jf", 'echo "$LAOC_WORKSPACE"', 'echo "[$JOBFLOW_CONFIG_FILE]"'),
        ]
    )
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=True, env={"PATH": "/usr/bin:/bin"}
    )
    jf, place, config = done.stdout.split()
    assert jf.endswith("/bin/jf")
    assert place == str(settings.workspace)
    # It does not reach the database, whatever the shell of the runner says.
    assert config == "[]"


def test_route_with_an_engine_adds_to_the_role():
    route_ = Route.model_validate(
        {
            "resources": {"processes": 4},
            "setup": {"environment": {"A": "1", "B": "1"}, "commands": ["one"]},
            "engines": {"vasp": {"setup": {"environment": {"B": "2"}, "commands": ["two"]}}},
        }
    )
    needs = route_.needs("vasp")
    assert needs.resources.processes == 4
    assert needs.setup.environment == {"A": "1", "B": "2"}
    assert needs.setup.commands == ("one", "two")
    assert route_.needs("cp2k").setup.commands == ("one",)


PAGES = sorted((Path(__file__).parents[2] / "docs" / "launching").glob("*.md"))


def _blocks(page):
    return re.findall(r"^```yaml\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    ("page", "block"),
    [(page, block) for page in PAGES for block in _blocks(page)],
    ids=lambda value: value.stem if isinstance(value, Path) else "",
)
def test_the_files_of_the_documentation_are_settings_that_both_queues_take(tmp_path, page, block):
    path = tmp_path / "settings.yaml"
    path.write_text(block)
    path.chmod(0o600)
    settings = Settings.load(tmp_path)
    workspace = _workspace(settings)
    project = load_project(project_content(workspace))
    assert set(project.workers) == set(settings.workers)
    for lane in lanes(settings).values():
        worker = settings.workers[lane.worker]
        if worker.scheduler != "shell":
            script = worker_script(project, lane)
            assert f"--partition={lane.resources.partition}" in script
            assert adapter(workspace, lane, worker)["queue"] == lane.resources.partition
    assert page.stem in {"index", "workstation", "slurm", "two-clusters", "no-network"}


def worker_script(project, lane):
    from qtoolkit.io import scheduler_mapping

    scheduler = scheduler_mapping[project.workers[lane.worker].scheduler_type]()
    return scheduler.get_submission_script("true", qresources(lane.resources))


def test_every_pattern_has_a_page_with_files():
    assert {page.stem for page in PAGES if _blocks(page)} == {
        "index", "workstation", "slurm", "two-clusters", "no-network",
    }  # fmt: skip


def test_the_socket_of_the_runner_has_a_path_that_a_socket_may_have(tmp_path):
    long = Workspace.create(tmp_path / ("w" * 120))
    assert daemon_folder(Workspace.create(Path(tempfile.mkdtemp()) / "w")).name == "daemon"
    assert len(str(daemon_folder(long) / "s.sock")) < 100
    assert daemon_folder(long) != daemon_folder(Workspace.create(tmp_path / ("v" * 120)))
