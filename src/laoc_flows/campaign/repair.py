"""Putting FireWorks right after a kill: nothing lost, nothing done twice.

FireWorks changes several documents for one event (a launch, its Firework, its workflow, new Fireworks). A kill
between two writes leaves them in disagreement. The workflow document is written last and replaced as a whole,
so it is the truth; everything else follows from it and from the launches.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, TypeAlias

from fireworks import LaunchPad

from laoc_flows.jobs import METADATA_KEY

JobId: TypeAlias = tuple[str, int]
"""Uuid and index of a job."""

_ACTIVE = ("RUNNING", "RESERVED")


@dataclass
class Repairs:
    """What was put right.

    Attributes
    ----------
    unlocked : int
        Workflows whose lock a dead process held.
    orphans : int
        Fireworks of a change that was never finished.
    completed : int
        Jobs that were done but not yet entered.
    lost : int
        Jobs that were running when they were killed; they run again.
    failed : int
        Jobs that had failed and run again.
    labels : int
        Jobs whose labels had failed, too many for their data set, and run again.
    """

    unlocked: int = 0
    orphans: int = 0
    completed: int = 0
    lost: int = 0
    failed: int = 0
    labels: int = 0

    def __str__(self) -> str:
        """What was done, in words; empty if nothing was."""
        parts = [
            f"{self.completed} finished but not entered" if self.completed else "",
            f"{self.lost} interrupted" if self.lost else "",
            f"{self.failed} failed" if self.failed else "",
            f"{self.labels} with failed labels" if self.labels else "",
        ]
        return ", ".join(part for part in parts if part)


def campaign_query(campaign_id: str) -> dict[str, str]:
    """Query for the Fireworks of a campaign."""
    return {f"spec.{METADATA_KEY}.campaign": campaign_id}


def repair(
    launchpad: LaunchPad,
    campaign_id: str,
    *,
    rerun_failed: bool = True,
    failed_labels: Collection[JobId] = (),
) -> Repairs:
    """Make the Fireworks of a campaign consistent and ready to go on.

    Only to be called while no worker of this workspace lives (its lock is held).

    Parameters
    ----------
    launchpad : fireworks.LaunchPad
        LaunchPad.
    campaign_id : str
        Campaign.
    rerun_failed : bool
        Whether jobs that failed run again.
    failed_labels : collection of (str, int)
        Jobs of the campaign, uuid and index, that ended with labels that crashed or did not converge. Where a data set
        was refused for them, they run again.

    Returns
    -------
    Repairs
        What was done.
    """
    done = Repairs()
    query = {"metadata.laoc_campaign": campaign_id}
    done.unlocked = launchpad.workflows.update_many(
        {**query, "locked": {"$exists": True}}, {"$unset": {"locked": True}}
    ).modified_count
    workflows = list(launchpad.workflows.find(query, {"nodes": 1, "fw_states": 1, "links": 1}))
    known = [node for workflow in workflows for node in workflow["nodes"]]
    done.orphans = launchpad.fireworks.delete_many(
        {**campaign_query(campaign_id), "fw_id": {"$nin": known}}
    ).deleted_count
    for workflow in workflows:
        for fw_id in sorted(workflow["nodes"]):
            _repair_one(launchpad, fw_id, workflow["fw_states"][str(fw_id)], done, rerun_failed=rerun_failed)
        if rerun_failed and failed_labels:
            done.labels += _labels_again(launchpad, workflow, set(failed_labels))
    return done


def _labels_again(launchpad: LaunchPad, workflow: dict[str, Any], failed: set[JobId]) -> int:
    """Rerun the jobs of failed labels that a refused data set was to be made of; the number of them.

    They have ended well, each failure being a result, so nothing else would ever run them again.
    """
    query = {
        "fw_id": {"$in": workflow["nodes"]},
        f"spec.{METADATA_KEY}.step": "dataset",
    }
    datasets = set(launchpad.fireworks.distinct("fw_id", query))
    parents: dict[int, list[int]] = {}
    for parent, children in workflow["links"].items():
        for child in children:
            parents.setdefault(child, []).append(int(parent))
    waiting = [fw_id for fw_id in datasets if workflow["fw_states"][str(fw_id)] == "FIZZLED"]
    before: set[int] = set()
    while waiting:
        for parent in parents.get(waiting.pop(), ()):
            if parent not in before and parent not in datasets:
                before.add(parent)
                waiting.append(parent)
    again = [
        fw_id
        for fw_id in sorted(before)
        # What puts parts together has failed labels as well: it runs again after them.
        if (job := _job_of(launchpad, fw_id)) is not None
        and job["function"].get("@callable") == "LabelMaker.make"
        and (job["uuid"], job["index"]) in failed
    ]
    for fw_id in again:
        launchpad.rerun_fw(fw_id)
    return len(again)


def _job_of(launchpad: LaunchPad, fw_id: int) -> dict[str, Any] | None:
    firework = launchpad.fireworks.find_one({"fw_id": fw_id}, {"spec._tasks": 1})
    tasks = firework["spec"]["_tasks"]
    return tasks[0].get("job") if tasks else None


def _repair_one(
    launchpad: LaunchPad, fw_id: int, recorded: str, done: Repairs, *, rerun_failed: bool
) -> None:
    firework = launchpad.fireworks.find_one({"fw_id": fw_id}, {"state": 1, "launches": 1})
    launches = list(launchpad.launches.find({"launch_id": {"$in": firework["launches"]}}, {"state": 1}))
    finished = any(launch["state"] == "COMPLETED" for launch in launches)
    if recorded == "COMPLETED" and finished:
        _set_state(launchpad, fw_id, firework, "COMPLETED")
    elif finished:
        finish_entering(launchpad, fw_id)
        done.completed += 1
    elif any(launch["state"] in _ACTIVE for launch in launches):
        rerun_lost(launchpad, fw_id)
        done.lost += 1
    elif recorded == "FIZZLED":
        if rerun_failed:
            launchpad.rerun_fw(fw_id)
            done.failed += 1
    elif recorded in _ACTIVE or firework["state"] in _ACTIVE:
        # Reserved, but no launch was written.
        rerun_lost(launchpad, fw_id)
        done.lost += 1
    else:
        _set_state(launchpad, fw_id, firework, recorded)


def finish_entering(launchpad: LaunchPad, fw_id: int) -> None:
    """Enter the result of a job that has ended: its launch was written, what follows from it was not."""
    firework = launchpad.fireworks.find_one({"fw_id": fw_id}, {"state": 1})
    # Any state but COMPLETED makes FireWorks add what the job has made.
    _set_state(launchpad, fw_id, firework, "RUNNING", force=True)
    launchpad._refresh_wf(fw_id)  # noqa: SLF001 -- what complete_launch does next


def rerun_lost(launchpad: LaunchPad, fw_id: int) -> None:
    """Run a job again whose worker has died, whatever the states say."""
    firework = launchpad.fireworks.find_one({"fw_id": fw_id}, {"state": 1})
    _set_state(launchpad, fw_id, firework, "RUNNING", force=True)
    launchpad.rerun_fw(fw_id)


def _set_state(
    launchpad: LaunchPad, fw_id: int, firework: dict[str, Any], state: str, *, force: bool = False
) -> None:
    if firework["state"] != state:
        launchpad.fireworks.update_one({"fw_id": fw_id}, {"$set": {"state": state}})
    if force:
        launchpad.workflows.update_one({"nodes": fw_id}, {"$set": {f"fw_states.{fw_id}": state}})


def rerun_of_worker(launchpad: LaunchPad, campaign_id: str, worker: str) -> int:
    """Rerun what a dead worker was running.

    Parameters
    ----------
    launchpad : fireworks.LaunchPad
        LaunchPad.
    campaign_id : str
        Campaign.
    worker : str
        Name of the FireWorker.

    Returns
    -------
    int
        Number of jobs that run again.
    """
    lost = launchpad.launches.distinct("fw_id", {"state": {"$in": list(_ACTIVE)}, "fworker.name": worker})
    active = launchpad.fireworks.distinct(
        "fw_id", {**campaign_query(campaign_id), "fw_id": {"$in": lost}, "state": {"$in": list(_ACTIVE)}}
    )
    for fw_id in active:
        launchpad.workflows.update_one({"nodes": fw_id}, {"$unset": {"locked": True}})
        launchpad.rerun_fw(fw_id)
    return len(active)
