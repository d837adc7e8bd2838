"""Workers and queue adapters of FireWorks that belong to a workspace: one of each for every lane."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from laoc_flows.campaign.queues.jf_project import environment_lines, script_lines
from laoc_flows.campaign.routing import Lane, lanes
from laoc_flows.store.workspace import Workspace, write_yaml
from laoc_flows.workers import Resources, Role, Worker

_TYPES = {"slurm": "SLURM", "pbs": "PBS", "sge": "SGE"}
_HOUR = 3600


def folder(workspace: Workspace) -> Path:
    """Where the files of FireWorks are."""
    return workspace.path / "fireworks"


def write_files(workspace: Workspace) -> list[Path]:
    """Write a worker file for every lane, and a queue adapter for those that a queue runs.

    Parameters
    ----------
    workspace : Workspace
        Workspace; its LaunchPad file is written elsewhere.

    Returns
    -------
    list of pathlib.Path
        The files.
    """
    folder(workspace).mkdir(mode=0o700, exist_ok=True)
    written = []
    for lane in lanes(workspace.settings).values():
        worker = workspace.settings.workers[lane.worker]
        path = folder(workspace) / f"{lane.name}.fworker.yaml"
        write_yaml(path, {"name": f"{lane.worker}-{lane.name}", "category": lane.name, "query": "{}"})
        written.append(path)
        if worker.scheduler != "shell":
            path = folder(workspace) / f"{lane.name}.qadapter.yaml"
            write_yaml(path, adapter(workspace, lane, worker))
            written.append(path)
    return written


def adapter(workspace: Workspace, lane: Lane, worker: Worker) -> dict[str, Any]:
    """Content of a queue adapter.

    Parameters
    ----------
    workspace : Workspace
        Workspace.
    lane : Lane
        What the jobs need.
    worker : Worker
        Worker that has the queue.
    """
    root = Path(worker.workspace) if worker.workspace is not None else workspace.path
    launch = f"rlaunch -l {root / workspace.launchpad_file.name} -w {root / 'fireworks' / f'{lane.name}.fworker.yaml'}"
    # Of what takes minutes an allocation takes as many as there are; the others may be reserved one by one.
    launch += " rapidfire --nlaunches 0" if lane.role is Role.LIGHT else " singleshot"
    lines = [*environment_lines(workspace, worker), *script_lines(worker.setup), *script_lines(lane.setup)]
    return {
        "_fw_name": "CommonAdapter",
        "_fw_q_type": _TYPES[worker.scheduler],
        "rocket_launch": launch,
        "job_name": f"laoc-{lane.name}",
        "logdir": str(root / "launches"),
        "pre_rocket": "\n".join(lines),
        **_keys(worker.scheduler, lane.resources),
    }


def _keys(scheduler: str, resources: Resources) -> dict[str, Any]:
    """Resources by the names of FireWorks' templates."""
    limit = resources.time_limit
    found: dict[str, Any] = {"queue": resources.partition, "account": resources.account}
    if limit is not None:
        found["walltime"] = f"{limit // _HOUR}:{limit % _HOUR // 60:02d}:{limit % 60:02d}"
    if scheduler == "slurm":
        found |= {
            "nodes": resources.nodes,
            "ntasks": resources.processes if resources.nodes is None else None,
            "ntasks_per_node": None if resources.nodes is None else resources.processes,
            "cpus_per_task": resources.threads,
            "gpus": resources.gpus,
            "qos": resources.qos,
            "mem_per_cpu": resources.memory_per_core,
        }
    elif scheduler == "pbs":
        found |= {"nnodes": resources.nodes or 1, "ppnode": resources.processes * resources.threads}
    else:
        found |= {"ncores": resources.cores}
    return {key: value for key, value in {**found, **resources.options}.items() if value is not None}
