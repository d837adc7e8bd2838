"""The project of jobflow-remote that belongs to a workspace."""

from __future__ import annotations

import hashlib
import os
import shlex
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtoolkit.core.data_objects import ProcessPlacement, QResources

from laoc_flows.campaign.routing import Lane, lanes
from laoc_flows.errors import InputError, ServiceError
from laoc_flows.settings import Settings
from laoc_flows.store.workspace import Workspace, write_yaml
from laoc_flows.workers import Resources, Surroundings, Worker

if TYPE_CHECKING:
    from jobflow_remote.config.base import Project

PROJECT = "laoc"
COLLECTIONS = {"jobs": "jf_jobs", "flows": "jf_flows", "auxiliary": "jf_auxiliary", "batches": "jf_batches"}
_REFRESH = 60.0
"""Delay of what the runner only looks at for the user's sake [s]."""
_LONGEST_SOCKET = 90
"""Longest path of a socket, with room for what supervisord adds; Linux takes 107 [B]."""
_CONNECT, _PATIENCE = 15, 60
"""How long connecting by SSH, and a command there, may take [s]."""
_WAIT_AGAIN = (10.0, 60.0, 300.0, 900.0)
"""Delays between the attempts of a step that fails, where a machine does not answer [s]."""


def qresources(resources: Resources) -> QResources:
    """Resources as jf's queue adapters take them."""
    # Spread over nodes, or wherever there is room; jf wants to be told which.
    spread = resources.nodes is not None
    return QResources(
        queue_name=resources.partition,
        account=resources.account,
        qos=resources.qos,
        nodes=resources.nodes,
        processes_per_node=resources.processes if spread else None,
        processes=None if spread else resources.processes,
        process_placement=(
            ProcessPlacement("EVENLY_DISTRIBUTED") if spread else ProcessPlacement("NO_CONSTRAINTS")
        ),
        threads_per_process=resources.threads,
        gpus_per_job=resources.gpus,
        memory_per_thread=resources.memory_per_core,
        time_limit=resources.time_limit,
        scheduler_kwargs=dict(resources.options),
    )


def jf_config_of(settings: Settings, lane: Lane) -> dict[str, Any]:
    """What jf wants to know of a lane: worker, resources, and the name of what is set up."""
    queued = settings.workers[lane.worker].scheduler != "shell"
    return {
        "worker": lane.worker,
        "exec_config": lane.name,
        "priority": lane.priority,
        # Processes of a machine ask nobody for resources.
        "resources": qresources(lane.resources) if queued else {},
    }


def script_lines(setup: Surroundings) -> list[str]:
    """What is set up, as lines of a job script; values of variables are quoted."""
    return [
        *(f"module load {module}" for module in setup.modules),
        *(f"export {name}={shlex.quote(value)}" for name, value in setup.environment.items()),
        *setup.commands,
    ]


def worker_environment(workspace: Workspace, worker: Worker) -> dict[str, str]:
    """Variables that a job needs on a worker; those that lead to the database only where it is reached from there."""
    there = Path(worker.workspace) if worker.workspace is not None else workspace.path
    database = {
        "JOBFLOW_CONFIG_FILE": str(there / workspace.jobflow_file.name),
        "FW_CONFIG_FILE": str(there / workspace.fireworks_file.name),
    }
    return {
        "LAOC_WORKSPACE": str(there),
        **(database if worker.database else {}),
        **workspace.settings.thread_environment(),
    }


def environment_lines(workspace: Workspace, worker: Worker) -> list[str]:
    """What makes a shell on a worker find this program and its workspace."""
    # Not resolved: the link in a virtual environment is what makes it one.
    python = Path(worker.python or os.path.abspath(sys.executable))  # noqa: PTH100
    values = worker_environment(workspace, worker)
    return [
        f'export PATH={shlex.quote(str(python.parent))}:"$PATH"',
        *(f"export {name}={shlex.quote(value)}" for name, value in values.items()),
        # What the shell of the runner has set would lead there as well.
        *([] if worker.database else ["unset JOBFLOW_CONFIG_FILE FW_CONFIG_FILE"]),
    ]


def _worker(workspace: Workspace, name: str, worker: Worker) -> dict[str, Any]:
    root = Path(worker.workspace) if worker.workspace is not None else workspace.path
    content: dict[str, Any] = {
        "type": "local" if worker.host is None else "remote",
        "scheduler_type": worker.scheduler,
        "work_dir": str(root / "launches" / "jf" / name),
        "max_jobs": worker.max_jobs,
        "pre_run": "\n".join([*environment_lines(workspace, worker), *script_lines(worker.setup)]),
    }
    if worker.host is not None:
        content |= {"host": worker.host, "timeout_execute": _PATIENCE, "connect_timeout": _CONNECT}
        content |= {"port": worker.port} if worker.port else {}
        content |= {"user": worker.user} if worker.user else {}
        content |= {"key_filename": worker.key_file} if worker.key_file else {}
    return content


def ask_remote(workspace: Workspace, name: str, worker: Worker, command: str) -> str:
    """Run a command on the machine of a worker, connected to as the runner of jf connects.

    Parameters
    ----------
    workspace : Workspace
        Workspace.
    name : str
        Name of the worker.
    worker : Worker
        Worker; it has a host.
    command : str
        Command line for the shell there.

    Returns
    -------
    str
        What it prints.

    Raises
    ------
    ServiceError
        If the machine cannot be reached, or the command fails.
    """
    from invoke.exceptions import CommandTimedOut, Failure, ThreadException
    from jobflow_remote.config.base import RemoteWorker
    from paramiko import SSHException

    host = RemoteWorker(**_worker(workspace, name, worker)).get_host()
    try:
        host.connect()
        # Its own `execute` would read what the user types.
        done = host.connection.run(
            f"bash -l -c {shlex.quote(command)}", hide=True, warn=True, in_stream=False, timeout=_PATIENCE
        )
    except CommandTimedOut:
        msg = f"has not answered within {_PATIENCE} s"
        raise ServiceError(msg, where=f"worker {name}") from None
    except (SSHException, Failure, ThreadException, OSError, EOFError) as error:
        msg = f"cannot be reached ({type(error).__name__}: {' '.join(str(error).split())[:150]})"
        raise ServiceError(msg, where=f"worker {name}") from None
    finally:
        host.close()
    if done.exited:
        msg = f"the command has ended with {done.exited}: {' '.join(done.stderr.split())[-150:]}"
        raise ServiceError(msg, where=f"worker {name}")
    return str(done.stdout)


def project_content(workspace: Workspace) -> dict[str, Any]:
    """Content of the project file; it holds the password of the database.

    Parameters
    ----------
    workspace : Workspace
        Workspace, whose database was reached when this returns.
    """
    settings = workspace.settings
    store = workspace.job_store_spec()
    queue = {**store["docs_store"], "collection_name": COLLECTIONS["jobs"]}
    base = workspace.path / "jf" / PROJECT
    delay = settings.runner_delay
    return {
        "name": PROJECT,
        "base_dir": str(base),
        "tmp_dir": str(base / "tmp"),
        "log_dir": str(base / "log"),
        "daemon_dir": str(daemon_folder(workspace)),
        "runner": {
            "delay_checkout": delay,
            "delay_check_run_status": delay,
            "delay_advance_status": delay,
            "delay_refresh_limited": _REFRESH,
            "delay_ping_db": _REFRESH,
            "max_step_attempts": len(_WAIT_AGAIN),
            "delta_retry": list(_WAIT_AGAIN),
        },
        "workers": {name: _worker(workspace, name, worker) for name, worker in settings.workers.items()},
        "exec_config": {name: _exec_config(lane) for name, lane in lanes(settings).items()},
        "queue": {
            "store": queue,
            "flows_collection": COLLECTIONS["flows"],
            "auxiliary_collection": COLLECTIONS["auxiliary"],
            "batches_collection": COLLECTIONS["batches"],
        },
        "jobstore": store,
    }


def _exec_config(lane: Lane) -> dict[str, Any]:
    return {
        "modules": list(lane.setup.modules),
        # Quoted here: they are written into the script as they stand.
        "export": {name: shlex.quote(value) for name, value in lane.setup.environment.items()},
        "pre_run": "\n".join(lane.setup.commands),
    }


def daemon_folder(workspace: Workspace) -> Path:
    """Where the runner's socket is: in the workspace, unless its path is longer than that of a socket may be."""
    wanted = workspace.path / "jf" / PROJECT / "daemon"
    if len(os.fsencode(wanted / "s.sock")) <= _LONGEST_SOCKET:
        return wanted
    mark = hashlib.sha256(os.fsencode(workspace.path)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"laoc-jf-{os.getuid()}-{mark}"


def project_file(workspace: Workspace) -> Path:
    """Where the project file of a workspace is."""
    return workspace.path / "jf" / f"{PROJECT}.yaml"


def jf_environment(workspace: Workspace) -> dict[str, str]:
    """Environment variables that make ``jf`` use the project of a workspace."""
    return {"JFREMOTE_PROJECTS_FOLDER": str(project_file(workspace).parent), "JFREMOTE_PROJECT": PROJECT}


def write_project(workspace: Workspace) -> Path:
    """Write the project file; only its owner may read it.

    Parameters
    ----------
    workspace : Workspace
        Workspace.

    Returns
    -------
    pathlib.Path
        The file.
    """
    path = project_file(workspace)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    for name in ("tmp", "log"):
        (path.parent / PROJECT / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    daemon = daemon_folder(workspace)
    daemon.mkdir(mode=0o700, parents=True, exist_ok=True)
    if daemon.stat().st_uid != os.getuid():
        msg = "is somebody else's"
        raise ServiceError(msg, where=str(daemon), remedy="put the workspace at a shorter path")
    write_yaml(path, project_content(workspace))
    return path


def load_project(content: Mapping[str, Any]) -> Project:
    """Project out of its content.

    Raises
    ------
    InputError
        If jobflow-remote does not take it.
    """
    from jobflow_remote.config.base import Project
    from pydantic import ValidationError

    try:
        return Project.model_validate(dict(content))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        msg = f"jobflow-remote refuses the project: {first['msg']}"
        raise InputError(msg, where=where, remedy="check workers and roles in the settings") from None
