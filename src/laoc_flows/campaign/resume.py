"""Running again what failed for reasons outside, within a budget and with growing delays."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from jobflow import JobStore

from laoc_flows.campaign.causes import Cause, cause_of
from laoc_flows.campaign.queues.base import Queue, QueuedJob, State
from laoc_flows.errors import InputError
from laoc_flows.store.incremental import sibling_store

COLLECTION = "laoc_retries"
_FIRST_DELAY = timedelta(seconds=60)
_GROWTH = 4


@dataclass
class Resumed:
    """What `resume` did.

    Attributes
    ----------
    again : list of tuple
        Jobs that run again, and why they had failed.
    later : list of tuple
        Jobs that may run again, and when.
    spent : list of tuple
        Jobs that have used up their tries, and why they failed last.
    own : list of QueuedJob
        Jobs that failed for reasons of their own.
    refused : list of QueuedJob
        Jobs that the queue does not run again.
    """

    again: list[tuple[QueuedJob, Cause]] = field(default_factory=list)
    later: list[tuple[QueuedJob, datetime]] = field(default_factory=list)
    spent: list[tuple[QueuedJob, Cause]] = field(default_factory=list)
    own: list[QueuedJob] = field(default_factory=list)
    refused: list[QueuedJob] = field(default_factory=list)


def resume(
    queue: Queue,
    store: JobStore,
    campaign_id: str,
    *,
    tries: int,
    now: bool = False,
    only: Collection[str] = (),
) -> Resumed:
    """Run again what failed for reasons outside.

    Parameters
    ----------
    queue : Queue
        Queue of the campaign.
    store : jobflow.JobStore
        Connected JobStore; its database keeps the tries.
    campaign_id : str
        Campaign.
    tries : int
        How often one job is run again.
    now : bool
        Whether not to wait between the tries of a job.
    only : collection of str
        Ids of jobs that run again whatever their reasons and tries; none of the others then does.

    Returns
    -------
    Resumed
        What was done.

    Raises
    ------
    InputError
        If one of `only` is no failed job of the campaign.
    """
    failed = {job.id: job for job in queue.jobs(campaign_id) if job.state is State.FAILED}
    if unknown := sorted(set(only) - set(failed)):
        msg = f"{', '.join(unknown)}: no failed job of {campaign_id}"
        raise InputError(msg, where="--job", remedy="see 'laoc status' for the failed jobs and their ids")
    budget = _Budget(store, queue.name)
    done = Resumed()
    for job in failed.values():
        if only:
            if job.id in only:
                _run_again(queue, job, done)
            continue
        cause = cause_of(job)
        if not cause.outside:
            done.own.append(job)
            continue
        used, due = budget.state(job)
        if used >= tries:
            done.spent.append((job, cause))
        elif due > datetime.now(UTC) and not now:
            done.later.append((job, due))
        # Two that look at the same time: one of them runs it.
        elif budget.take(job, used):
            _run_again(queue, job, done)
    return done


def _run_again(queue: Queue, job: QueuedJob, done: Resumed) -> None:
    if queue.rerun([job]):
        done.again.append((job, cause_of(job)))
    else:
        done.refused.append(job)


class _Budget:
    """How often jobs were run again, and when they may be again."""

    def __init__(self, store: JobStore, queue: str) -> None:
        self._store = sibling_store(store.docs_store, COLLECTION, key="_id")
        self._store.connect()
        self._collection = self._store._collection  # noqa: SLF001 -- the claim needs single atomic operations
        self._queue = queue

    def _key(self, job: QueuedJob) -> str:
        return f"{self._queue}:{job.uuid}:{job.id}"

    def state(self, job: QueuedJob) -> tuple[int, datetime]:
        row: dict[str, Any] = self._collection.find_one({"_id": self._key(job)}) or {}
        due = row.get("due")
        return row.get("tries", 0), datetime.min.replace(tzinfo=UTC) if due is None else due.replace(
            tzinfo=UTC
        )

    def take(self, job: QueuedJob, used: int) -> bool:
        due = datetime.now(UTC) + _FIRST_DELAY * _GROWTH**used
        if used == 0:
            document = {"$setOnInsert": {"tries": 1, "due": due, "name": job.name}}
            return (
                self._collection.update_one({"_id": self._key(job)}, document, upsert=True).upserted_id
                is not None
            )
        unchanged = {"_id": self._key(job), "tries": used}
        return bool(
            self._collection.update_one(unchanged, {"$set": {"tries": used + 1, "due": due}}).modified_count
        )
