"""How far a campaign is: read from the queue and the store, shown by ``laoc run`` and ``laoc status``."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from jobflow import JobStore

from laoc_flows.campaign.plan import CampaignPlan
from laoc_flows.campaign.queues.base import STAGES, Queue, QueuedJob, State
from laoc_flows.errors import as_written


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
    running : list of QueuedJob
        Jobs that run.
    failed : list of QueuedJob
        Jobs that failed.
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
        Estimate of the time that the jobs still take [s], by those of their kind that have finished, with as many
        iterations as are allowed.
    untimed : list of str
        Stages with jobs of a kind of which none has finished: their time is not in the estimate.
    """

    campaign_id: str
    submitted: bool = False
    cells: dict[tuple[str, str], StageCount] = field(default_factory=dict)
    running: list[QueuedJob] = field(default_factory=list)
    failed: list[QueuedJob] = field(default_factory=list)
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


@as_written("the state of the campaign in the database")
def read_progress(
    queue: Queue, store: JobStore, campaign_id: str, expected: CampaignPlan | None, processes: int
) -> Progress:
    """Read the state of a campaign.

    Parameters
    ----------
    queue : Queue
        Queue that it is in.
    store : jobflow.JobStore
        Outputs of the jobs.
    campaign_id : str
        Campaign.
    expected : CampaignPlan or None
        What is to be expected, for the estimate of the time left; None for what is in the queue now.
    processes : int
        Jobs that run at once.

    Raises
    ------
    ServiceError
        If what the database says of it is not as this version writes it.
    """
    progress = Progress(campaign_id)
    jobs = queue.jobs(campaign_id)
    progress.submitted = bool(jobs)
    for job in jobs:
        count = progress.cells.setdefault((job.composition, job.stage), StageCount())
        if job.state is State.DONE:
            count.done += 1
        elif job.state is State.RUNNING:
            count.running += 1
            progress.running.append(job)
        elif job.state is State.FAILED:
            count.failed += 1
            progress.failed.append(job)
        else:
            count.waiting += 1
            progress._ready = progress._ready or job.state is State.READY  # noqa: SLF001 -- its own module
    _read_learning(store, campaign_id, progress)
    _estimate(jobs, expected, progress, processes)
    return progress


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
    jobs: Sequence[QueuedJob], plan: CampaignPlan | None, progress: Progress, processes: int
) -> None:
    """Remaining jobs times the mean time of their kind, over the number of processes.

    A kind is what a job does, not its stage alone: a cell is packed in a second, and the production run in it takes hours.
    Jobs that are expected, but not in the queue yet, take the mean of their stage.
    """
    durations: dict[tuple[str, str], list[float]] = {}
    open_jobs: Counter[tuple[str, str]] = Counter()
    for job in jobs:
        if job.state is not State.DONE:
            open_jobs[job.stage, job.step] += 1
        elif job.seconds is not None:
            durations.setdefault((job.stage, job.step), []).append(job.seconds)
    remaining = 0.0
    for stage in STAGES:
        known = sum(count.known for (_, name), count in progress.cells.items() if name == stage)
        open_loop = progress.verdict in ("", "continue") or stage == "production"
        if stage == "seed" and progress.iteration is not None:
            # A campaign that begins with the data of another has fewer seeds than its plan.
            open_loop = False
        to_come = max(0, plan.stages[stage][1] - known) if open_loop and plan is not None else 0
        of_stage = [seconds for (name, _), each in durations.items() if name == stage for seconds in each]
        for kind, count in open_jobs.items():
            if kind[0] == stage and kind in durations:
                remaining += count * statistics.fmean(durations[kind])
        if to_come and of_stage:
            remaining += to_come * statistics.fmean(of_stage)
        if (to_come and not of_stage) or any(
            name == stage and (name, step) not in durations for name, step in open_jobs
        ):
            progress.untimed.append(stage)
    progress.time_left = remaining / max(1, processes) if durations else None
