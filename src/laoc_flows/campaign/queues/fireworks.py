"""Campaigns in FireWorks."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from fireworks import LaunchPad
from fireworks.core.launchpad import LockedWorkflowError
from jobflow import Flow
from jobflow.managers.fireworks import flow_to_workflow

from laoc_flows.campaign.queues.base import QueuedJob, Run, State, Trouble, last_line, moment
from laoc_flows.campaign.repair import campaign_query, finish_entering, rerun_lost
from laoc_flows.campaign.routing import Lane, lanes, route
from laoc_flows.errors import ServiceError, as_written
from laoc_flows.jobs import METADATA_KEY
from laoc_flows.settings import Settings
from laoc_flows.store.workspace import PING

CORES_KEY = "laoc_cores"
_SILENT = 5 * PING
_SETTLING = 30.0
_UNTOUCHED = 300.0
"""Time after which jobs that nothing fetches have nobody who would [s]."""
_STATES = {
    "COMPLETED": State.DONE,
    "RUNNING": State.RUNNING,
    "RESERVED": State.RUNNING,
    "FIZZLED": State.FAILED,
    "READY": State.READY,
    "DEFUSED": State.HELD,
    "PAUSED": State.HELD,
    "ARCHIVED": State.HELD,
}
_ENDED = ("COMPLETED", "FIZZLED")


def category_of(lane: Lane) -> dict[str, Any]:
    """What FireWorks wants to know of a lane: its category, which a worker takes or does not."""
    return {"_category": lane.name, "_priority": lane.priority, CORES_KEY: lane.resources.cores}


class FireworksQueue:
    """Campaigns in FireWorks.

    Parameters
    ----------
    launchpad : fireworks.LaunchPad
        Connected LaunchPad.
    settings : Settings
        Settings of the workspace.
    """

    name = "fireworks"

    def __init__(self, launchpad: LaunchPad, settings: Settings) -> None:
        self.launchpad = launchpad
        self.settings = settings

    def has(self, campaign_id: str) -> bool:
        """Whether a campaign is in the queue."""
        query = {"metadata.laoc_campaign": campaign_id}
        return self.launchpad.workflows.find_one(query, {"_id": 1}) is not None

    def add(self, flow: Flow, campaign_id: str, campaign_name: str, engine: str) -> None:
        """Put the flow of a campaign into the queue, its jobs sent to the categories of their roles."""
        self.ensure_indexes()
        # What a submission that was killed has left behind.
        self.launchpad.fireworks.delete_many(campaign_query(campaign_id))
        route(flow, self.settings, engine, category_of)
        metadata = {"laoc_campaign": campaign_id, "laoc_name": campaign_name}
        # The store is left out: its configuration, password included, would be in every Firework.
        self.launchpad.add_wf(flow_to_workflow(flow, metadata=metadata))

    def campaigns(self) -> list[str]:
        """Ids of the campaigns in the queue."""
        return sorted(self.launchpad.workflows.distinct("metadata.laoc_campaign"))

    @as_written("a job in the queue of fireworks")
    def jobs(self, campaign_id: str) -> list[QueuedJob]:
        """All jobs of a campaign."""
        fields = {
            "state": 1, "name": 1, "fw_id": 1, "launches": 1, f"spec.{METADATA_KEY}": 1, "spec._category": 1,
            f"spec.{CORES_KEY}": 1, "spec._tasks.job.uuid": 1, "_id": 0,
        }  # fmt: skip
        fireworks = list(self.launchpad.fireworks.find(campaign_query(campaign_id), fields))
        # An action may hold whole workflows: it is left out.
        wanted = {"launch_id": {"$in": [launch for each in fireworks for launch in each["launches"]]}}
        fields = {
            "launch_id": 1, "state": 1, "state_history": 1, "fworker.name": 1, "host": 1, "launch_dir": 1, "_id": 0,
        }  # fmt: skip
        launches = {each["launch_id"]: each for each in self.launchpad.launches.find(wanted, fields)}
        failed = [f["launches"][-1] for f in fireworks if f["state"] == "FIZZLED" and f["launches"]]
        traces = self._traces(failed)
        return [
            self._job(each, launches.get(each["launches"][-1]) if each["launches"] else None, traces)
            for each in fireworks
        ]

    def _traces(self, launches: Collection[int]) -> dict[int, str]:
        key = "action.stored_data._exception"
        found = {}
        for each in self.launchpad.launches.find(
            {"launch_id": {"$in": list(launches)}}, {"launch_id": 1, key: 1, "_id": 0}
        ):
            exception = ((each.get("action") or {}).get("stored_data") or {}).get("_exception") or {}
            found[each["launch_id"]] = str(exception.get("_stacktrace", ""))
        return found

    def _job(
        self, firework: Mapping[str, Any], launch: Mapping[str, Any] | None, traces: Mapping[int, str]
    ) -> QueuedJob:
        spec, about = firework["spec"], firework["spec"][METADATA_KEY]
        state = _STATES.get(firework["state"], State.WAITING)
        trace = traces.get(launch["launch_id"], "") if launch is not None else ""
        started, ended = _times(launch) if launch is not None else (None, None)
        return QueuedJob(
            id=str(firework["fw_id"]),
            uuid=_uuid(spec),
            name=firework["name"],
            state=state,
            native=firework["state"],
            stage=about["stage"],
            step=about.get("step", ""),
            composition=about.get("composition", ""),
            iteration=about.get("iteration", 0),
            worker=launch["fworker"]["name"] if launch is not None else spec.get("_category", ""),
            cores=spec.get(CORES_KEY, self.settings.threads_per_job),
            started=started,
            ended=ended,
            reason=last_line(trace) if state is State.FAILED else "",
            trace=trace,
            directory=launch["launch_dir"] if launch is not None else "",
            host=launch["host"] if launch is not None else "",
            queue_id=_reservation(launch),
        )

    def runs(self, campaign_id: str) -> Iterator[Run]:
        """All runs of the jobs of a campaign that have ended, failed and lost ones included."""
        fields = {
            "fw_id": 1, "launches": 1, "archived_launches": 1, f"spec.{METADATA_KEY}": 1, f"spec.{CORES_KEY}": 1, "_id": 0,
        }  # fmt: skip
        job_of: dict[int, dict[str, Any]] = {}
        valid: set[int] = set()
        for each in self.launchpad.fireworks.find(campaign_query(campaign_id), fields):
            valid.update(each["launches"])
            for launch in (*each["launches"], *each.get("archived_launches", ())):
                job_of[launch] = each
        fields = {"launch_id": 1, "state": 1, "state_history": 1, "_id": 0}
        for launch in self.launchpad.launches.find({"launch_id": {"$in": list(job_of)}}, fields):
            started, ended = _times(launch)
            job = job_of[launch["launch_id"]]
            about = job["spec"][METADATA_KEY]
            lost = launch["launch_id"] not in valid
            if started is None or (ended is None and not lost):
                continue
            # Of a run that was lost the last sign of life is what is known.
            end = ended or _last_sign(launch) or started
            yield Run(
                job=str(job["fw_id"]),
                stage=about["stage"],
                composition=about.get("composition", ""),
                seconds=max(0.0, (end - started).total_seconds()),
                cores=job["spec"].get(CORES_KEY, self.settings.threads_per_job),
                useful=launch["state"] == "COMPLETED" and not lost,
            )

    def rerun(self, jobs: Collection[QueuedJob]) -> int:
        """Run failed jobs again; the number of those that do."""
        return sum(bool(self.launchpad.rerun_fw(int(job.id))) for job in jobs)

    def ensure_indexes(self) -> None:
        """Make the indexes of every query that is made here, and what `lpad reset` does for a new database."""
        pad = self.launchpad
        counters = {"next_fw_id": 1, "next_launch_id": 1}
        # With an id of its own: two that come first at the same time would make two of them.
        pad.fw_id_assigner.update_one({}, {"$setOnInsert": {"_id": 0, **counters}}, upsert=True)
        pad.fireworks.create_index([(f"spec.{METADATA_KEY}.campaign", 1), ("state", 1)])
        pad.fireworks.create_index("fw_id", unique=True)
        pad.fireworks.create_index([("state", 1), ("spec._category", 1), ("spec._priority", -1)])
        pad.launches.create_index("launch_id", unique=True)
        pad.launches.create_index([("fworker.name", 1), ("state", 1)])
        pad.launches.create_index("state")
        pad.workflows.create_index("nodes")
        pad.workflows.create_index("metadata.laoc_campaign")

    @as_written("a job in the queue of fireworks")
    def diagnose(self) -> list[Trouble]:
        """Stuck states; a lock is looked at twice, since a living process holds it for moments."""
        # Locks first: what they hold up cannot be settled before.
        return [
            *self._stale_locks(),
            *self._silent_jobs(),
            *self._unfinished_entries(),
            *self._orphans(),
            *self._unknown_categories(),
            *self._untouched(),
        ]

    def _campaign_jobs(self, states: Collection[str]) -> dict[int, dict[str, Any]]:
        query = {f"spec.{METADATA_KEY}.campaign": {"$exists": True}, "state": {"$in": list(states)}}
        fields = {"fw_id": 1, "name": 1, "launches": 1, "state": 1, "_id": 0}
        return {each["fw_id"]: each for each in self.launchpad.fireworks.find(query, fields)}

    def _launches_of(self, jobs: Mapping[int, Mapping[str, Any]]) -> Iterator[tuple[int, dict[str, Any]]]:
        fw_of = {launch: fw_id for fw_id, job in jobs.items() for launch in job["launches"]}
        fields = {"launch_id": 1, "state": 1, "state_history": 1, "host": 1, "fworker.name": 1, "_id": 0}
        for launch in self.launchpad.launches.find({"launch_id": {"$in": list(fw_of)}}, fields):
            yield fw_of[launch["launch_id"]], launch

    def _silent_jobs(self) -> Iterator[Trouble]:
        jobs = self._campaign_jobs(["RUNNING"])
        late = datetime.now(UTC) - timedelta(seconds=_SILENT)
        for fw_id, launch in self._launches_of(jobs):
            sign = _last_sign(launch)
            if launch["state"] == "RUNNING" and sign is not None and sign < late:
                silent = (datetime.now(UTC) - sign).total_seconds() / 60
                yield Trouble(
                    "lost job",
                    f"job {fw_id} ({jobs[fw_id]['name']})",
                    f"is RUNNING on {launch['host']}, which has given no sign of life for {silent:.0f} min",
                    f"lpad rerun_fws -i {fw_id}",
                    fix="rerun",
                    data={"fw_id": fw_id},
                )

    def _unfinished_entries(self) -> Iterator[Trouble]:
        jobs = self._campaign_jobs(["RUNNING", "RESERVED", "FIZZLED"])
        late = datetime.now(UTC) - timedelta(seconds=_SETTLING)
        for fw_id, launch in self._launches_of(jobs):
            ended = _times(launch)[1]
            if launch["state"] == "COMPLETED" and ended is not None and ended < late:
                yield Trouble(
                    "result not entered",
                    f"job {fw_id} ({jobs[fw_id]['name']})",
                    f"has ended well, but its workflow still has it as {jobs[fw_id]['state']}",
                    "laoc doctor --fix",
                    fix="enter",
                    data={"fw_id": fw_id},
                )

    def _orphans(self) -> Iterator[Trouble]:
        """Fireworks that no workflow knows; looked at twice, since a workflow is written moments after them."""
        first = self._orphan_ids()
        if not first:
            return
        time.sleep(_SETTLING)
        for campaign, found in self._orphan_ids().items():
            if orphans := sorted(found & first.get(campaign, set())):
                yield Trouble(
                    "orphans",
                    f"campaign {campaign}",
                    f"has {len(orphans)} Fireworks that no workflow knows, of a change that was never finished",
                    "laoc doctor --fix",
                    fix="delete orphans",
                    data={"ids": orphans},
                )

    def _orphan_ids(self) -> dict[str, set[int]]:
        pipeline = [
            {"$match": {f"spec.{METADATA_KEY}.campaign": {"$exists": True}}},
            {"$group": {"_id": f"$spec.{METADATA_KEY}.campaign", "ids": {"$push": "$fw_id"}}},
        ]
        found = {}
        for group in self.launchpad.fireworks.aggregate(pipeline, allowDiskUse=True):
            query = {"metadata.laoc_campaign": group["_id"]}
            workflows = self.launchpad.workflows.find(query, {"nodes": 1})
            if orphans := set(group["ids"]) - {node for workflow in workflows for node in workflow["nodes"]}:
                found[group["_id"]] = orphans
        return found

    def _unknown_categories(self) -> Iterator[Trouble]:
        """Jobs of a category that the settings have no more: no worker of theirs takes it."""
        query = {f"spec.{METADATA_KEY}.campaign": {"$exists": True}, "state": {"$in": ["READY", "WAITING"]}}
        for category in self.launchpad.fireworks.distinct("spec._category", query):
            if category not in lanes(self.settings):
                yield Trouble(
                    "missing worker",
                    f"category {category}",
                    "has jobs that wait for it, but is no role in the settings",
                    f"name it again in roles, or start a worker of your own: rlaunch -w FILE with category: {category}",
                )

    def _untouched(self) -> Iterator[Trouble]:
        """Jobs of a category of which nothing runs, and none has been fetched for a while."""
        pipeline = [
            {"$match": {f"spec.{METADATA_KEY}.campaign": {"$exists": True}}},
            {
                "$group": {
                    "_id": "$spec._category",
                    "ready": {"$sum": {"$cond": [{"$eq": ["$state", "READY"]}, 1, 0]}},
                    "busy": {"$sum": {"$cond": [{"$in": ["$state", ["RUNNING", "RESERVED"]]}, 1, 0]}},
                    "newest": {"$max": "$updated_on"},
                }
            },
        ]
        for group in self.launchpad.fireworks.aggregate(pipeline):
            newest = moment(group["newest"])
            if not group["ready"] or group["busy"] or newest is None:
                continue
            silent = (datetime.now(UTC) - newest).total_seconds()
            if silent > _UNTOUCHED:
                name = group["_id"]
                files = f"-w fireworks/{name}.fworker.yaml -q fireworks/{name}.qadapter.yaml"
                launch = f"qlaunch {files} rapidfire --nlaunches infinite" if name else "rlaunch rapidfire"
                yield Trouble(
                    "no launcher",
                    f"category {name or 'of none'}",
                    f"{group['ready']} of its jobs are ready, and nothing has fetched one for {silent / 60:.0f} min",
                    f"laoc run FILE, or in the workspace: {launch}",
                )

    def _stale_locks(self) -> Iterator[Trouble]:
        query = {"locked": {"$exists": True}, "metadata.laoc_campaign": {"$exists": True}}
        fields = {"nodes": {"$slice": 1}, "updated_on": 1, "metadata": 1}
        first = {each["_id"]: each for each in self.launchpad.workflows.find(query, fields)}
        if not first:
            return
        time.sleep(_SETTLING)
        for each in self.launchpad.workflows.find({**query, "_id": {"$in": list(first)}}, fields):
            if each["updated_on"] == first[each["_id"]]["updated_on"]:
                node = each["nodes"][0]
                yield Trouble(
                    "stale lock",
                    f"workflow of {each['metadata']['laoc_campaign']}",
                    f"has been locked for more than {_SETTLING:.0f} s without a change: its holder is dead",
                    f"lpad admin unlock -i {node}",
                    fix="unlock",
                    data={"_id": each["_id"], "updated_on": each["updated_on"]},
                )

    def fix(self, trouble: Trouble) -> str:
        """Settle a stuck state; what was done, in words.

        Raises
        ------
        ServiceError
            If the workflow is locked.
        """
        try:
            return self._fixed(trouble)
        except LockedWorkflowError:
            msg = f"the workflow of {trouble.about} is locked"
            raise ServiceError(msg, remedy="give the command again") from None

    def _fixed(self, trouble: Trouble) -> str:
        if trouble.fix == "rerun":
            rerun_lost(self.launchpad, trouble.data["fw_id"])
            return "runs again"
        if trouble.fix == "enter":
            finish_entering(self.launchpad, trouble.data["fw_id"])
            return "entered"
        if trouble.fix == "delete orphans":
            self.launchpad.fireworks.delete_many({"fw_id": {"$in": trouble.data["ids"]}})
            return "deleted"
        unchanged = {"_id": trouble.data["_id"], "updated_on": trouble.data["updated_on"]}
        self.launchpad.workflows.update_one(unchanged, {"$unset": {"locked": True}})
        return "unlocked"


def _uuid(spec: Mapping[str, Any]) -> str:
    tasks = spec.get("_tasks") or [{}]
    return str((tasks[0].get("job") or {}).get("uuid", ""))


def _times(launch: Mapping[str, Any]) -> tuple[datetime | None, datetime | None]:
    """Begin and end of a launch; the end is missing while it runs, and where it was lost."""
    when = {entry["state"]: entry.get("created_on") for entry in launch["state_history"]}
    end = next((when[state] for state in _ENDED if state in when and launch["state"] == state), None)
    return moment(when.get("RUNNING")), moment(end)


def _last_sign(launch: Mapping[str, Any]) -> datetime | None:
    signs = [moment(e.get("updated_on") or e.get("created_on")) for e in launch["state_history"]]
    return max((sign for sign in signs if sign is not None), default=None)


def _reservation(launch: Mapping[str, Any] | None) -> str:
    if launch is None:
        return ""
    return next((str(e["reservation_id"]) for e in launch["state_history"] if "reservation_id" in e), "")
