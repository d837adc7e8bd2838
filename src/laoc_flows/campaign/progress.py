"""How far a campaign is: read from the queue and the store, shown by ``laoc run`` and ``laoc status``."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from fireworks import LaunchPad
from jobflow import JobStore

from laoc_flows.campaign.plan import CampaignPlan
from laoc_flows.campaign.repair import campaign_query
from laoc_flows.jobs import METADATA_KEY

STAGES = ("seed", "train", "explore", "label", "production")
_DONE = "COMPLETED"
_ACTIVE = ("RUNNING", "RESERVED")


@dataclass
class StageCount:
    """Jobs of one stage: finished, running, waiting, failed."""

    done: int = 0
    running: int = 0
    waiting: int = 0
    failed: int = 0

    @property
    def known(self) -> int:
        """Jobs that exist."""
        return self.done + self.running + self.waiting + self.failed


@dataclass
class Progress:
    """State of a campaign.

    Attributes
    ----------
    campaign_id : str
        Campaign.
    submitted : bool
        Whether it is in the queue at all.
    cells : dict
        Counts by (composition id, stage); the composition of jobs that serve the whole grid is empty.
    running : list of str
        Names of the jobs that run.
    failed : list of tuple
        Name and reason of the jobs that failed.
    labels : int
        Converged labels so far.
    iteration : int or None
        Latest iteration with a verdict.
    verdict : str
        Its verdict.
    deviation : float or None
        Largest model deviation of that iteration [eV/A].
    force_rmse : float or None
        Largest held-out force RMSE of that iteration [eV/A].
    time_left : float or None
        Estimate of the time that the jobs of the stages in which one has finished still take [s], with as many
        iterations as are allowed.
    untimed : list of str
        Stages still to come of which no job has finished: their time is not in the estimate.
    """

    campaign_id: str
    submitted: bool = False
    cells: dict[tuple[str, str], StageCount] = field(default_factory=dict)
    running: list[str] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    labels: int = 0
    iteration: int | None = None
    verdict: str = ""
    deviation: float | None = None
    force_rmse: float | None = None
    time_left: float | None = None
    untimed: list[str] = field(default_factory=list)

    @property
    def total(self) -> StageCount:
        """Counts of the whole campaign."""
        total = StageCount()
        for count in self.cells.values():
            total.done += count.done
            total.running += count.running
            total.waiting += count.waiting
            total.failed += count.failed
        return total

    @property
    def finished(self) -> bool:
        """Whether every job is done."""
        return self.submitted and self.total.done == self.total.known

    @property
    def stuck(self) -> bool:
        """Whether nothing can go on: something failed and nothing runs or is ready."""
        return bool(self.failed) and self.total.running == 0 and not self._ready

    _ready: bool = False


def read_progress(
    launchpad: LaunchPad, store: JobStore, campaign_id: str, plan: CampaignPlan, processes: int
) -> Progress:
    """Read the state of a campaign.

    Parameters
    ----------
    launchpad : fireworks.LaunchPad
        Queue.
    store : jobflow.JobStore
        Outputs of the jobs.
    campaign_id : str
        Campaign.
    plan : CampaignPlan
        What is to be expected, for the estimate of the time left.
    processes : int
        Jobs that run at once.
    """
    progress = Progress(campaign_id)
    fields = {"state": 1, "name": 1, "fw_id": 1, "launches": 1, f"spec.{METADATA_KEY}": 1}
    fireworks = list(launchpad.fireworks.find(campaign_query(campaign_id), fields))
    progress.submitted = bool(fireworks)
    for firework in fireworks:
        about = firework["spec"][METADATA_KEY]
        count = progress.cells.setdefault((about.get("composition", ""), about["stage"]), StageCount())
        state = firework["state"]
        if state == _DONE:
            count.done += 1
        elif state in _ACTIVE:
            count.running += 1
            progress.running.append(firework["name"])
        elif state == "FIZZLED":
            count.failed += 1
            progress.failed.append((firework["name"], _reason(launchpad, firework)))
        else:
            count.waiting += 1
            progress._ready = progress._ready or state == "READY"  # noqa: SLF001 -- its own module
    _read_learning(store, campaign_id, progress)
    _estimate(launchpad, fireworks, plan, progress, processes)
    return progress


def _reason(launchpad: LaunchPad, firework: dict[str, Any]) -> str:
    launch = launchpad.launches.find_one(
        {"launch_id": {"$in": firework["launches"]}, "state": "FIZZLED"},
        {"action.stored_data": 1},
        sort=[("launch_id", -1)],
    )
    if launch is None or not launch.get("action"):
        return "no reason recorded"
    exception = launch["action"].get("stored_data", {}).get("_exception", {})
    lines = [line for line in str(exception.get("_stacktrace", "")).splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no reason recorded"


def _read_learning(store: JobStore, campaign_id: str, progress: Progress) -> None:
    query = {"output.schema_name": "iteration", "output.campaign_id": campaign_id}
    latest: dict[str, Any] | None = None
    for document in store.docs_store.query(query, {"output": 1}):
        output = document["output"]
        if latest is None or output["iteration"] > latest["iteration"]:
            latest = output
    if latest is not None:
        progress.iteration = latest["iteration"]
        progress.verdict = str(_value(latest["verdict"]))
        deviations = [s["max_deviation"] for s in latest["strata"] if s["max_deviation"] is not None]
        progress.deviation = max(deviations, default=None)
        progress.force_rmse = latest["worst_force_rmse"]
    batches: dict[str, int] = {}
    for name in ("output", "output.labels"):
        match = {f"{name}.schema_name": "label_batch", f"{name}.campaign_id": campaign_id}
        fields = {f"{name}.key": 1, f"{name}.records.status": 1}
        for document in store.docs_store.query(match, fields):
            batch = document["output"] if name == "output" else document["output"]["labels"]
            converged = sum(_value(record["status"]) == "converged" for record in batch["records"])
            # Parts that were put together are stored by two jobs.
            batches[batch["key"]] = converged
    progress.labels = sum(batches.values())


def _value(stored: Any) -> Any:
    """Value of an enumeration as jobflow stores it."""
    return stored.get("value", stored) if isinstance(stored, dict) else stored


def _estimate(
    launchpad: LaunchPad,
    fireworks: list[dict[str, Any]],
    plan: CampaignPlan,
    progress: Progress,
    processes: int,
) -> None:
    """Remaining jobs times the mean time of their stage, over the number of processes."""
    stage_of = {launch: f["spec"][METADATA_KEY]["stage"] for f in fireworks for launch in f["launches"]}
    durations: dict[str, list[float]] = {}
    finished = {"launch_id": {"$in": list(stage_of)}, "state": _DONE}
    for launch in launchpad.launches.find(finished, {"launch_id": 1, "state_history": 1}):
        times = {entry["state"]: entry for entry in launch["state_history"]}
        if "RUNNING" in times and _DONE in times:
            begin, end = times["RUNNING"].get("created_on"), times[_DONE].get("created_on")
            if begin and end:
                seconds = (_time(end) - _time(begin)).total_seconds()
                durations.setdefault(stage_of[launch["launch_id"]], []).append(seconds)
    remaining = 0.0
    for stage in STAGES:
        done = sum(count.done for (_, name), count in progress.cells.items() if name == stage)
        known = sum(count.known for (_, name), count in progress.cells.items() if name == stage)
        open_loop = progress.verdict in ("", "continue") or stage == "production"
        expected = max(known, plan.stages[stage][1] if open_loop else known)
        left = max(0, expected - done)
        if left and stage not in durations:
            progress.untimed.append(stage)
        elif left:
            remaining += left * statistics.fmean(durations[stage])
    progress.time_left = remaining / max(1, processes) if durations else None


def _time(value: Any) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
