"""Running a campaign on this machine: submit once, work it off, survive any kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fireworks import LaunchPad
from jobflow import JobStore

from laoc_flows.campaign.file import CampaignFile
from laoc_flows.campaign.notify import Notifier
from laoc_flows.campaign.plan import CampaignPlan, plan
from laoc_flows.campaign.progress import Progress, read_progress
from laoc_flows.campaign.queues.fireworks import FireworksQueue
from laoc_flows.campaign.repair import JobId, Repairs, repair, rerun_of_worker
from laoc_flows.campaign.submit import submit
from laoc_flows.campaign.worker import worker_name
from laoc_flows.errors import LaocError
from laoc_flows.jobs import METADATA_KEY
from laoc_flows.process import die_with_parent
from laoc_flows.schemas.label import LabelStatus
from laoc_flows.store.builders import build_all
from laoc_flows.store.incremental import index_outputs
from laoc_flows.store.workspace import Workspace, environment

_POLL = 1.0  # s
_BUILD_EVERY = 15.0  # s
_LOCK_TIMEOUT = 20.0  # s; orphans of a kill need a moment to end
_MAX_RESTARTS = 3


class CampaignFailedError(LaocError):
    """A job failed for its own reasons; what was done is kept."""


@dataclass
class Outcome:
    """How a run ended.

    Attributes
    ----------
    progress : Progress
        Last state.
    already_finished : bool
        Whether there was nothing to do.
    """

    progress: Progress
    already_finished: bool


@dataclass
class Workers:
    """The processes that work a campaign off."""

    campaign_id: str
    count: int
    environment: dict[str, str]
    directory: Path
    lock: int
    processes: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    restarts: int = 0

    def start(self, index: int) -> None:
        """Start the worker with an index; its output goes to a log file of its own."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / f"worker-{index}.log").open("ab") as log:
            self.processes[index] = subprocess.Popen(
                [sys.executable, "-m", "laoc_flows.campaign.worker", self.campaign_id, str(index)],
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                # The workers hold the lock as well: the workspace is free when the last of them has ended.
                pass_fds=[self.lock],
                preexec_fn=die_with_parent,  # noqa: PLW1509 -- it makes one system call
            )

    def tend(self, launchpad: LaunchPad) -> None:
        """Start again what died, and rerun what it was running.

        Raises
        ------
        LaocError
            If workers keep dying.
        """
        for index, process in list(self.processes.items()):
            code = process.poll()
            if code is None:
                continue
            self.restarts += 1
            if self.restarts > _MAX_RESTARTS:
                msg = f"workers keep dying (last exit status {code})"
                raise LaocError(msg, where=str(self.directory / f"worker-{index}.log"))
            rerun_of_worker(launchpad, self.campaign_id, worker_name(index))
            self.start(index)

    def stop(self) -> None:
        """End all workers; what they were running runs again next time."""
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def prepare(queue: FireworksQueue, store: JobStore, campaign_id: str) -> Repairs:
    """Make queue and store ready, consistent and fast before workers start."""
    index_outputs(store.docs_store)
    queue.ensure_indexes()
    return repair(queue.launchpad, campaign_id, failed_labels=_failed_labels(store, campaign_id))


def _failed_labels(store: JobStore, campaign_id: str) -> set[JobId]:
    """Jobs of a campaign with labels that are worth another try."""
    query = {
        f"metadata.{METADATA_KEY}.campaign": campaign_id,
        "output.records.status": {"$in": [LabelStatus.CRASHED.value, LabelStatus.UNCONVERGED.value]},
    }
    found = {(row["uuid"], row["index"]) for row in store.docs_store.query(query, ["uuid", "index"])}
    last: dict[str, int] = {}
    for row in store.docs_store.query({"uuid": {"$in": [uuid for uuid, _ in found]}}, ["uuid", "index"]):
        last[row["uuid"]] = max(last.get(row["uuid"], 0), row["index"])
    # One that other jobs have replaced made these already: run again, it would make them twice.
    return {(uuid, index) for uuid, index in found if index == last[uuid]}


def run(
    file: CampaignFile,
    workspace: Workspace,
    *,
    show: Callable[[Progress, float], None],
    say: Callable[[str], None],
) -> Outcome:
    """Run a campaign to its end, or go on with it.

    Parameters
    ----------
    file : CampaignFile
        Campaign.
    workspace : Workspace
        Where it runs.
    show : callable
        Called with the progress and the elapsed time [s] about once a second.
    say : callable
        Called with one-line messages.

    Returns
    -------
    Outcome
        Last state.

    Raises
    ------
    CampaignFailedError
        If a job failed and nothing else can go on.
    """
    expected = plan(file)
    campaign_id = file.campaign_id
    processes = file.workers.processes or workspace.settings.cores
    with workspace.lock(timeout=_LOCK_TIMEOUT) as lock, environment(workspace.environment()):
        workspace.database_uri()
        launchpad = workspace.launchpad()
        queue = FireworksQueue(launchpad, workspace.settings)
        store = workspace.job_store()
        repairs = prepare(queue, store, campaign_id)
        added = submit(queue, file, store, say=say)
        progress = read_progress(queue, store, campaign_id, expected, processes)
        if progress.finished:
            build_all(store)
            return Outcome(progress, already_finished=True)
        if not added:
            again = f" ({repairs}: run again)" if str(repairs) else ""
            say(f"going on with {campaign_id}: {progress.total.done} jobs are done{again}")
        workers = Workers(
            campaign_id,
            processes,
            workspace.environment(),
            workspace.launches / campaign_id,
            lock,
        )
        try:
            for index in range(processes):
                workers.start(index)
            notifier = Notifier(workspace.settings, store, say)

            def seen(progress: Progress, elapsed: float) -> None:
                show(progress, elapsed)
                notifier.look(progress)

            progress = _watch(workers, queue, store, expected, seen)
        finally:
            workers.stop()
            build_all(store)
    if not progress.finished:
        first = progress.failed[0]
        more = f" (and {len(progress.failed) - 1} more)" if len(progress.failed) > 1 else ""
        msg = f"the job {first.name!r} failed: {first.reason}{more}"
        raise CampaignFailedError(
            msg, remedy="what was done is kept; mend the cause and give the same command again"
        )
    return Outcome(progress, already_finished=False)


def _watch(
    workers: Workers,
    queue: FireworksQueue,
    store: JobStore,
    expected: CampaignPlan,
    show: Callable[[Progress, float], None],
) -> Progress:
    begin = built = time.monotonic()
    with _noting_interrupts() as interrupted:
        while not interrupted.wait(_POLL):
            workers.tend(queue.launchpad)
            progress = read_progress(queue, store, workers.campaign_id, expected, workers.count)
            show(progress, time.monotonic() - begin)
            if progress.finished or progress.stuck:
                return progress
            if time.monotonic() - built > _BUILD_EVERY:
                build_all(store)
                built = time.monotonic()
    raise KeyboardInterrupt


@contextmanager
def _noting_interrupts() -> Iterator[threading.Event]:
    """Note Ctrl-C instead of raising wherever it comes: an exception within a finalizer would be swallowed."""
    event = threading.Event()
    previous = signal.getsignal(signal.SIGINT)
    # A process that was started in the background of a shell ignores Ctrl-C, and goes on to do so.
    if previous is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda *_: event.set())
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, previous)
