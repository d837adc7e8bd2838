"""What every queue says of its jobs, and can be asked to do."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Protocol

from jobflow import Flow
from pydantic.dataclasses import dataclass as checked

STAGES = ("seed", "train", "explore", "label", "production")


class State(StrEnum):
    """What becomes of a job, in the words of both queues."""

    WAITING = "waiting"
    READY = "ready"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    HELD = "held"


# Checked: it comes out of a database.
@checked(frozen=True)
class QueuedJob:
    """A job as its queue knows it.

    Attributes
    ----------
    id : str
        What the queue calls it.
    uuid : str
        Uuid of the job in the JobStore.
    name : str
        Name.
    state : State
        State.
    native : str
        The queue's own word for the state.
    stage, step, composition : str
        Where in the campaign it belongs; the composition of jobs that serve the whole grid is empty.
    iteration : int
        Iteration of the learning loop.
    worker : str
        Where it runs, ran, or is going to run.
    cores : int
        Cores that it takes [1].
    started, ended : datetime.datetime or None
        When its last run began and ended.
    reason : str
        Why it failed.
    trace : str
        All that was recorded of the failure.
    directory : str
        Where its files are.
    host : str
        Machine that runs it, or ran it.
    queue_id : str
        Its number in Slurm or another scheduler, where there is one.
    """

    id: str
    uuid: str
    name: str
    state: State
    native: str
    stage: str
    step: str = ""
    composition: str = ""
    iteration: int = 0
    worker: str = ""
    cores: int = 1
    started: datetime | None = None
    ended: datetime | None = None
    reason: str = ""
    trace: str = ""
    directory: str = ""
    host: str = ""
    queue_id: str = ""

    @property
    def seconds(self) -> float | None:
        """Wall time of the last run, up to now where it runs [s]; None if it has not begun."""
        if self.started is None:
            return None
        if self.ended is None and self.state is not State.RUNNING:
            return None
        return max(0.0, ((self.ended or datetime.now(UTC)) - self.started).total_seconds())


@checked(frozen=True)
class Run:
    """One run of a job, also of those that were run again.

    Attributes
    ----------
    job : str
        Id of the job.
    stage, composition : str
        Where in the campaign it belongs.
    seconds : float
        Wall time [s].
    cores : int
        Cores [1].
    useful : bool
        Whether its result counts; otherwise it failed or was lost.
    """

    job: str
    stage: str
    composition: str
    seconds: float
    cores: int
    useful: bool


@dataclass(frozen=True)
class Trouble:
    """A stuck state.

    Attributes
    ----------
    kind : str
        What it is, in a word or two.
    about : str
        What it is about: a job, a workflow, a runner.
    message : str
        What is wrong.
    remedy : str
        What to do about it: a command, as a rule.
    fix : str
        What `laoc doctor --fix` does about it; empty where that is left to the user.
    data : dict
        What the fix needs to know.
    """

    kind: str
    about: str
    message: str
    remedy: str
    fix: str = ""
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def line(self) -> str:
        """The trouble in one line."""
        return f"{self.about}: {self.message} -- {self.remedy}"


class Queue(Protocol):
    """A queue with the jobs of campaigns in it."""

    name: str
    """What the user calls it: ``fireworks`` or ``jf``."""

    def has(self, campaign_id: str) -> bool:
        """Whether a campaign is in the queue."""

    def add(self, flow: Flow, campaign_id: str, campaign_name: str, engine: str) -> None:
        """Put the flow of a campaign into the queue, its jobs sent to the workers of their roles."""

    def jobs(self, campaign_id: str) -> list[QueuedJob]:
        """All jobs of a campaign."""

    def runs(self, campaign_id: str) -> Iterator[Run]:
        """All runs of the jobs of a campaign that have ended, failed and lost ones included."""

    def campaigns(self) -> list[str]:
        """Ids of the campaigns in the queue."""

    def rerun(self, jobs: Collection[QueuedJob]) -> int:
        """Run failed jobs again; the number of those that do."""

    def ensure_indexes(self) -> None:
        """Make the indexes of every query that is made here."""

    def diagnose(self) -> list[Trouble]:
        """Stuck states."""

    def fix(self, trouble: Trouble) -> str:
        """Settle a stuck state; what was done, in words."""


def last_line(text: str) -> str:
    """Last line of a traceback that says something; 'no reason recorded' if there is none."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason recorded"


def moment(value: Any) -> datetime | None:
    """Time with its zone, out of what a queue has stored; times without a zone are UTC."""
    if value is None or value == "":
        return None
    found = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
