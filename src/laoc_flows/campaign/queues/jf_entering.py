"""Entering a result into the queue of jobflow-remote to the end, after it was interrupted; and its runner."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from laoc_flows.campaign.queues.jf_project import jf_environment, write_project
from laoc_flows.errors import ServiceError
from laoc_flows.store.workspace import Workspace

if TYPE_CHECKING:
    from jobflow_remote.config.base import Project
    from jobflow_remote.jobs.jobcontroller import JobController

_START = 120.0  # s


class _OnlyNew:
    """A collection of jobs that leaves out those which are there when it is asked to insert some."""

    def __init__(self, collection: Any) -> None:
        self._collection = collection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._collection, name)

    def insert_many(self, documents: Sequence[dict[str, Any]]) -> None:
        new = [
            each
            for each in documents
            if self._collection.find_one({"uuid": each["uuid"], "index": each["index"]}, {"_id": 1}) is None
        ]
        if new:
            self._collection.insert_many(new)


def finish_entering(controller: JobController, db_id: str) -> None:
    """Enter the result of a job that has ended well, and of whose new jobs some may be there already.

    jobflow-remote enters a result in several steps, first the flow, then its new jobs, then the job's own state; the
    output, whose jobs have uuids of their own, is still there to go through them again.

    Parameters
    ----------
    controller : JobController
        Controller of the project.
    db_id : str
        Job.

    Raises
    ------
    ServiceError
        If the job or its flow is locked, or its output is gone.
    """
    from jobflow_remote.remote.data import get_local_data_path

    assert controller.project is not None  # noqa: S101 -- it was made from one
    with controller.lock_job(filter={"db_id": db_id}) as lock:
        document = lock.locked_document
        if document is None:
            msg = f"job {db_id} is locked"
            raise ServiceError(msg, remedy="give the command again")
        place = get_local_data_path(
            controller.project, document["worker"], document["uuid"], document["index"], document["run_dir"]
        )
        if not (Path(place) / "jfremote_out.json").exists():
            msg = f"the output of job {db_id} is gone"
            raise ServiceError(msg, where=str(place), remedy=f"jf job rerun -f {db_id}")
        jobs = controller.jobs
        controller.jobs = _OnlyNew(jobs)
        try:
            controller.complete_job(document, place, controller.jobstore)
        finally:
            controller.jobs = jobs
        lock.update_on_release = {
            "$set": {
                "state": "COMPLETED",
                "previous_state": None,
                "remote.error": None,
                "remote.step_attempts": 0,
                "remote.retry_time_limit": None,
            }
        }
    _only_real_ids(controller, document["uuid"])
    flow = controller.flows.find_one({"jobs": document["uuid"]}, {"uuid": 1})
    controller.update_flow_state(flow["uuid"])


def _only_real_ids(controller: JobController, uuid: str) -> None:
    """Take those entries out of a flow that name jobs which were never inserted."""
    flow = controller.flows.find_one({"jobs": uuid}, {"uuid": 1, "ids": 1})
    there = {
        (row["db_id"], row["uuid"], row["index"])
        for row in controller.jobs.find(
            {"db_id": {"$in": [each[0] for each in flow["ids"]]}}, ["db_id", "uuid", "index"]
        )
    }
    ids = [each for each in flow["ids"] if tuple(each) in there]
    controller.flows.update_one({"uuid": flow["uuid"]}, {"$set": {"ids": ids}})


def start_runner(workspace: Workspace, project: Project) -> None:
    """Start the runner of the project on this machine, in the background, in as many processes as the last time.

    Raises
    ------
    ServiceError
        If it does not start.
    """
    from jobflow_remote.jobs.daemon import DaemonManager

    write_project(workspace)
    manager = DaemonManager.from_project(project)
    single = ["-s"] if not manager.conf_filepath.exists() or manager.parse_config_file().get("single") else []
    programs = Path(os.path.abspath(sys.executable)).parent  # noqa: PTH100
    # It starts supervisord and itself by their names.
    path = f"{programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    done = subprocess.run(
        [str(programs / "jf"), "runner", "start", *single],
        env={**os.environ, **workspace.environment(), **jf_environment(workspace), "PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=_START,
    )
    if done.returncode:
        msg = f"the runner of jf did not start: {' '.join((done.stdout + done.stderr).split())[-300:]}"
        raise ServiceError(msg, remedy="see 'jf runner status' and its log")
