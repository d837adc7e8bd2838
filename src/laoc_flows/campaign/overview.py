"""Campaigns of a workspace as they are asked for: by their file, by their id or name, or all."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from jobflow import JobStore

from laoc_flows.campaign.file import CampaignFile
from laoc_flows.campaign.plan import CampaignPlan, plan
from laoc_flows.campaign.progress import Progress, read_progress
from laoc_flows.campaign.queues.base import Queue
from laoc_flows.campaign.submissions import Submission, Submissions
from laoc_flows.campaign.submit import open_queue
from laoc_flows.errors import InputError
from laoc_flows.store.workspace import Workspace


@dataclass
class Campaign:
    """A campaign that was submitted, with its queue.

    Attributes
    ----------
    submission : Submission
        What was submitted.
    queue : Queue
        Queue that it is in.
    store : jobflow.JobStore
        Connected JobStore.
    plan : CampaignPlan or None
        What is expected; None where this version does not read the file.
    processes : int
        Jobs that run at once.
    """

    submission: Submission
    queue: Queue
    store: JobStore
    plan: CampaignPlan | None
    processes: int

    @property
    def id(self) -> str:
        """Id of the campaign."""
        return self.submission.campaign_id

    def progress(self) -> Progress:
        """State of the campaign."""
        return read_progress(self.queue, self.store, self.id, self.plan, self.processes)


class Campaigns:
    """The campaigns of a workspace.

    Parameters
    ----------
    workspace : Workspace
        Workspace.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.store = workspace.job_store()
        self.submissions = Submissions(self.store)
        self._queues: dict[str, Queue] = {}

    def _queue(self, name: str) -> Queue:
        if name not in self._queues:
            self._queues[name] = open_queue(name, self.workspace)
        return self._queues[name]

    def _campaign(self, submission: Submission) -> Campaign:
        settings = self.workspace.settings
        file = submission.file
        if submission.queue == "fireworks" and file is not None and file.workers.processes:
            processes = file.workers.processes
        elif submission.queue == "jf":
            processes = sum(worker.max_jobs for worker in settings.workers.values())
        else:
            processes = settings.cores
        return Campaign(
            submission,
            self._queue(submission.queue),
            self.store,
            None if file is None else plan(file),
            processes,
        )

    def all(self) -> list[Campaign]:
        """All campaigns, the newest first."""
        return [self._campaign(submission) for submission in self.submissions.all()]

    def find(self, what: CampaignFile | str) -> Campaign:
        """Campaign by its file, by its id or the beginning of it, or by its name.

        Raises
        ------
        InputError
            If it was never submitted here.
        """
        if isinstance(what, str):
            return self._campaign(self.submissions.find(what))
        known = {submission.campaign_id: submission for submission in self.submissions.all()}
        if what.campaign_id in known:
            return self._campaign(known[what.campaign_id])
        # One of before there were submissions.
        queue = self._queue("fireworks")
        if queue.has(what.campaign_id):
            now = datetime.now(UTC)
            return self._campaign(
                Submission(what.campaign_id, what.name, queue.name, "submitted", what, now, {})
            )
        msg = "was never started here"
        raise InputError(
            msg, where=what.campaign_id, remedy="laoc run FILE, or laoc submit FILE --to jf|fireworks"
        )


def asked_for(text: str) -> CampaignFile | str:
    """Campaign file at a path, or the text itself: an id, the beginning of one, or a name.

    Raises
    ------
    CampaignFileError
        If it is the path of a file that is no campaign.
    """
    path = Path(text)
    return CampaignFile.load(path) if path.suffix in {".yaml", ".yml"} or path.is_file() else text
