"""Campaigns in the queue of jobflow-remote."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from jobflow import Flow

from laoc_flows.campaign.queues.base import QueuedJob, Run, State, Trouble, last_line, moment
from laoc_flows.campaign.queues.jf_project import jf_config_of, load_project, project_content
from laoc_flows.campaign.routing import route
from laoc_flows.errors import as_written
from laoc_flows.jobs import METADATA_KEY
from laoc_flows.store.workspace import Workspace

if TYPE_CHECKING:
    from jobflow_remote.jobs.jobcontroller import JobController

_ABOUT = f"job.metadata.{METADATA_KEY}"
_SETTLING = 30.0
_STATES = {
    "WAITING": State.WAITING,
    "READY": State.READY,
    "COMPLETED": State.DONE,
    "FAILED": State.FAILED,
    "REMOTE_ERROR": State.FAILED,
    "PAUSED": State.HELD,
    "STOPPED": State.HELD,
    "USER_STOPPED": State.HELD,
}
"""All others are on their way through the runner and a worker."""


class JfQueue:
    """Campaigns in the queue of jobflow-remote.

    Parameters
    ----------
    workspace : Workspace
        Workspace; its database holds the queue.
    """

    name = "jf"

    def __init__(self, workspace: Workspace) -> None:
        from jobflow_remote.jobs.jobcontroller import JobController

        self.workspace = workspace
        self.settings = workspace.settings
        self.project = load_project(project_content(workspace))
        self.controller: JobController = JobController.from_project(self.project)
        self._make_ready()

    def _make_ready(self) -> None:
        """What `jf admin reset` does for a new database, without deleting anything."""
        auxiliary = self.controller.auxiliary
        # Each with an id of its own: two that come first at the same time would make two of them.
        for name, first in (("next_id", 1), ("running_runner", None), ("runner_pings", [])):
            if auxiliary.find_one({name: {"$exists": True}}) is None:
                auxiliary.update_one({"_id": name}, {"$setOnInsert": {name: first}}, upsert=True)
        if auxiliary.find_one({"jobflow_remote_version": {"$exists": True}}) is None:
            self.controller.update_version_information()

    def ensure_indexes(self) -> None:
        """Make the indexes of every query that is made here."""
        self.controller.build_indexes()
        self.controller.jobs.create_index([(f"{_ABOUT}.campaign", 1), ("state", 1)])
        self.controller.flows.create_index("metadata.laoc_campaign")

    def has(self, campaign_id: str) -> bool:
        """Whether a campaign is in the queue, and not only the beginning of a submission that was killed."""
        query = {"metadata.laoc_campaign": campaign_id}
        flow = self.controller.flows.find_one(query, {"ids": 1})
        if flow is None:
            return False
        there = list(self.controller.jobs.find({f"{_ABOUT}.campaign": campaign_id}, ["db_id", "state"]))
        if any(row["state"] not in {"READY", "WAITING"} for row in there):
            return True
        # The flow is inserted first, its jobs after it.
        return {each[0] for each in flow["ids"]} <= {row["db_id"] for row in there}

    def add(self, flow: Flow, campaign_id: str, campaign_name: str, engine: str) -> None:
        """Put the flow of a campaign into the queue, its jobs sent to the workers of their roles."""
        self.ensure_indexes()
        # What a submission that was killed has left behind.
        self.controller.jobs.delete_many({f"{_ABOUT}.campaign": campaign_id})
        self.controller.flows.delete_many({"metadata.laoc_campaign": campaign_id})
        route(flow, self.settings, engine, lambda lane: jf_config_of(self.settings, lane))
        flow.metadata = {"laoc_campaign": campaign_id, "laoc_name": campaign_name}
        self.controller.add_flow(flow, worker=next(iter(self.settings.workers)))

    def campaigns(self) -> list[str]:
        """Ids of the campaigns in the queue."""
        return sorted(self.controller.flows.distinct("metadata.laoc_campaign"))

    def _rows(self, query: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        fields = [
            "db_id", "uuid", "index", "state", "worker", "error", "remote", "run_dir", "start_time", "end_time", "resources",
            "job.name", "job.metadata", "updated_on", "lock_id", "lock_time", "previous_state", "parents",
        ]  # fmt: skip
        return self.controller.jobs.find(query, fields)

    @as_written("a job in the queue of jf")
    def jobs(self, campaign_id: str) -> list[QueuedJob]:
        """All jobs of a campaign; one that goes on in another job is there once for each."""
        return [self._job(row) for row in self._rows({f"{_ABOUT}.campaign": campaign_id})]

    def _job(self, row: Mapping[str, Any]) -> QueuedJob:
        about, remote = row["job"]["metadata"][METADATA_KEY], row.get("remote") or {}
        state = _STATES.get(row["state"], State.RUNNING)
        trace = ""
        if state is State.FAILED:
            parts = (row.get("error"), remote.get("error"), remote.get("queue_err"))
            trace = "\n".join(str(part) for part in parts if part)
        return QueuedJob(
            id=str(row["db_id"]),
            uuid=row["uuid"],
            name=row["job"]["name"],
            state=state,
            native=row["state"],
            stage=about["stage"],
            step=about.get("step", ""),
            composition=about.get("composition", ""),
            iteration=about.get("iteration", 0),
            worker=row["worker"],
            cores=_cores(row),
            started=moment(row.get("start_time")),
            ended=moment(row.get("end_time")),
            reason=last_line(str(row.get("error") or remote.get("error") or trace)) if trace else "",
            trace=trace,
            directory=row.get("run_dir") or "",
            queue_id=str(remote.get("process_id") or ""),
        )

    def runs(self, campaign_id: str) -> Iterator[Run]:
        """Runs of the jobs of a campaign that have ended; of one that ran again jf knows the last run only."""
        for job in self.jobs(campaign_id):
            if job.ended is not None and job.seconds is not None:
                yield Run(job.id, job.stage, job.composition, job.seconds, job.cores, job.state is State.DONE)

    def rerun(self, jobs: Collection[QueuedJob]) -> int:
        """Run failed jobs again; the number of those that do."""
        again = 0
        for job in jobs:
            # It refuses where other jobs have gone on from this one.
            with contextlib.suppress(ValueError):
                again += bool(self.controller.rerun_job(db_id=job.id))
        return again

    @as_written("a job in the queue of jf")
    def diagnose(self) -> list[Trouble]:
        """Stuck states; a lock is looked at twice, since a living process holds it for moments."""
        return [*self._locks(), *self._half_entered(), *self._runner(), *self._missing_workers()]

    def _locks(self) -> Iterator[Trouble]:
        """Locks that nobody has moved in a while; by themselves, not by their time, which a clock may have got wrong."""
        places = {
            "job": self.controller.jobs,
            "flow": self.controller.flows,
            "runner": self.controller.auxiliary,
        }
        query = {"lock_id": {"$ne": None, "$exists": True}}
        first = {
            name: {row["_id"]: row["lock_id"] for row in collection.find(query, {"lock_id": 1})}
            for name, collection in places.items()
        }
        if not any(first.values()):
            return
        time.sleep(_SETTLING)
        for name, locked in first.items():
            fields = {"lock_id": 1, "db_id": 1, "name": 1, "job.name": 1}
            for row in places[name].find({"_id": {"$in": list(locked)}}, fields):
                if row.get("lock_id") != locked[row["_id"]]:
                    continue
                about, remedy = _lock_words(name, row)
                yield Trouble(
                    "stale lock",
                    about,
                    f"has been locked for more than {_SETTLING:.0f} s: its holder is dead",
                    remedy,
                    fix="unlock",
                    data={"place": name, "_id": row["_id"], "lock_id": row["lock_id"]},
                )

    def _half_entered(self) -> Iterator[Trouble]:
        """Results of which a part was entered when the runner or the database died."""
        query = {
            f"{_ABOUT}.campaign": {"$exists": True},
            "$or": [
                {"state": "REMOTE_ERROR", "previous_state": "DOWNLOADED"},
                {"state": "DOWNLOADED", "remote.step_attempts": {"$gt": 0}},
            ],
        }
        for row in self._rows(query):
            error = str((row.get("remote") or {}).get("error") or "")
            if "duplicate key" in error or "DuplicateKey" in error or "BulkWriteError" in error:
                yield Trouble(
                    "result half entered",
                    f"job {row['db_id']} ({row['job']['name']})",
                    "has ended well, but its result was being entered when the runner or the database died",
                    "laoc doctor --fix",
                    fix="enter",
                    data={"db_id": row["db_id"]},
                )

    def _runner(self) -> Iterator[Trouble]:
        moving = self.controller.jobs.count_documents(
            {
                f"{_ABOUT}.campaign": {"$exists": True},
                "state": {"$nin": [name for name, state in _STATES.items() if name != "READY"]},
            }
        )
        if not moving:
            return
        from jobflow_remote.jobs.daemon import DaemonError, DaemonManager, DaemonStatus

        runner = self.controller.get_running_runner()
        if isinstance(runner, dict) and runner.get("hostname") != socket.gethostname():
            sign = moment(runner.get("last_pinged"))
            silent = (datetime.now(UTC) - sign).total_seconds() if sign is not None else float("inf")
            if silent > 5 * float(self.project.runner.delay_ping_db):
                yield Trouble(
                    "dead runner",
                    f"runner on {runner.get('hostname')}",
                    f"has given no sign of life for {silent / 60:.0f} min, and {moving} jobs wait for it",
                    "start it there again (jf runner start), or, if that machine is gone: jf runner reset",
                )
            return
        pings = self.controller.get_runner_pings()
        sign = moment(pings[-1]["time"]) if pings else None
        foreground = sign is not None and (datetime.now(UTC) - sign).total_seconds() < 2 * float(
            self.project.runner.delay_ping_db
        )
        status: DaemonStatus | None = None
        try:
            status = DaemonManager.from_project(self.project).check_status(raise_on_shutdown=False)
            message = f"is {status.value.lower().replace('_', ' ')}"
        except DaemonError as error:
            message = str(error)
        if status in {DaemonStatus.RUNNING, DaemonStatus.STARTING}:
            return
        was_started = bool(runner) and isinstance(runner, dict)
        if foreground and not was_started:
            # One in the foreground leaves no other trace than that.
            return
        yield Trouble(
            "dead runner",
            "runner of jf",
            f"{message}, and {moving} jobs wait for it",
            "jf runner start",
            # Only what was started here before is started again.
            fix="start runner" if was_started and status is not None else "",
        )

    def _missing_workers(self) -> Iterator[Trouble]:
        query = {f"{_ABOUT}.campaign": {"$exists": True}, "state": {"$nin": ["COMPLETED", "FAILED"]}}
        for worker in self.controller.jobs.distinct("worker", query):
            if worker not in self.project.workers:
                yield Trouble(
                    "missing worker",
                    f"worker {worker}",
                    "has jobs that wait for it, but is not in the settings",
                    f"add it to workers in {self.workspace.path / 'settings.yaml'}, or move the jobs: "
                    "jf job set worker NAME -wk " + str(worker),
                )
        for name in self.controller.jobs.distinct("exec_config", query):
            if isinstance(name, str) and name not in self.project.exec_config:
                yield Trouble(
                    "missing worker",
                    f"role {name}",
                    "has jobs that wait for what it sets up, but is no role in the settings",
                    f"name it again in roles in {self.workspace.path / 'settings.yaml'}, and give laoc init",
                )

    def fix(self, trouble: Trouble) -> str:
        """Settle a stuck state; what was done, in words."""
        from laoc_flows.campaign.queues.jf_entering import finish_entering, start_runner

        if trouble.fix == "unlock":
            places = {
                "job": self.controller.jobs,
                "flow": self.controller.flows,
                "runner": self.controller.auxiliary,
            }
            # Only if it is still the same lock.
            unchanged = {"_id": trouble.data["_id"], "lock_id": trouble.data["lock_id"]}
            places[trouble.data["place"]].update_one(
                unchanged, {"$set": {"lock_id": None, "lock_time": None}}
            )
            return "unlocked"
        if trouble.fix == "enter":
            finish_entering(self.controller, trouble.data["db_id"])
            return "entered"
        start_runner(self.workspace, self.project)
        return "started"


def _lock_words(place: str, row: Mapping[str, Any]) -> tuple[str, str]:
    if place == "job":
        return f"job {row['db_id']} ({row['job']['name']})", f"jf admin unlock -did {row['db_id']}"
    if place == "flow":
        return f"flow {row['name']}", "jf admin unlock-flow"
    return "runner of jf", "jf admin unlock-runner"


def _cores(row: Mapping[str, Any]) -> int:
    resources = row.get("resources") or {}
    processes = (resources.get("nodes") or 1) * (
        resources.get("processes_per_node") or resources.get("processes") or 1
    )
    return int(processes) * int(resources.get("threads_per_process") or 1)
