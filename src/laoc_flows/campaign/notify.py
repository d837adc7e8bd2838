"""Telling the outside world how a campaign goes: a webhook and a command, each event once."""

from __future__ import annotations

import json
import shlex
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from jobflow import JobStore
from pymongo.errors import DuplicateKeyError

from laoc_flows.campaign.progress import Progress
from laoc_flows.schemas.iteration import Verdict
from laoc_flows.settings import Settings
from laoc_flows.store.incremental import sibling_store
from laoc_flows.store.stored import plain

COLLECTION = "laoc_notifications"
_TIMEOUT = 20.0  # s


class Kind(StrEnum):
    """What has happened."""

    FINISHED = "finished"
    FAILED = "failed"
    NOT_CONVERGED = "not converged"
    BUDGET_REACHED = "budget reached"


@dataclass(frozen=True)
class Event:
    """Something that has happened to a campaign.

    Attributes
    ----------
    kind : Kind
        What.
    campaign_id : str
        Campaign.
    message : str
        The event in one line.
    about : str
        What tells it from other events of its kind: a job, an iteration.
    """

    kind: Kind
    campaign_id: str
    message: str
    about: str = ""

    def content(self) -> dict[str, Any]:
        """What is sent."""
        return {
            "event": self.kind.value,
            "campaign": self.campaign_id,
            "message": self.message,
            "about": self.about,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
        }


def events_of(progress: Progress, store: JobStore) -> list[Event]:
    """Events that the state of a campaign shows.

    Parameters
    ----------
    progress : Progress
        State.
    store : jobflow.JobStore
        Connected JobStore, for the verdict's reasons.
    """
    name = progress.campaign_id
    found = [
        Event(Kind.FAILED, name, f"the job {job.name!r} failed: {job.reason}", f"{job.uuid}:{job.id}")
        for job in progress.failed
    ]
    if progress.verdict == Verdict.NOT_CONVERGED.value:
        query = {
            "output.schema_name": "iteration",
            "output.campaign_id": name,
            "output.iteration": progress.iteration,
        }
        rows = [plain(row["output"]) for row in store.docs_store.query(query, ["output"])]
        limit = rows[0].get("limit") if rows else None
        about = f"iteration {progress.iteration}"
        if limit:
            found.append(Event(Kind.BUDGET_REACHED, name, str(limit), about))
        found.append(Event(Kind.NOT_CONVERGED, name, f"the potential has not converged at {about}", about))
    if progress.finished:
        found.append(Event(Kind.FINISHED, name, f"all {progress.total.done} jobs are done"))
    return found


class Notifier:
    """Sends events, each once however many processes watch a campaign.

    Parameters
    ----------
    settings : Settings
        Holds `webhook` and `notify_command`.
    store : jobflow.JobStore
        Connected JobStore; its database keeps what was sent.
    say : callable
        Called with a line where an event cannot be sent.
    """

    def __init__(self, settings: Settings, store: JobStore, say: Callable[[str], None]) -> None:
        self._settings = settings
        self._job_store = store
        self._say = say
        self._store = sibling_store(store.docs_store, COLLECTION, key="_id")
        self._store.connect()
        self._collection = self._store._collection  # noqa: SLF001 -- the claim needs single atomic operations
        self._seen: set[str] = set()

    @property
    def wanted(self) -> bool:
        """Whether there is anybody to tell."""
        return self._settings.webhook is not None or self._settings.notify_command is not None

    def look(self, progress: Progress) -> None:
        """Send what is new in the state of a campaign.

        Parameters
        ----------
        progress : Progress
            State.
        """
        if self.wanted:
            for event in events_of(progress, self._job_store):
                self.send(event)

    def send(self, event: Event) -> None:
        """Send an event unless it was sent before; failing to is told, and never stops a campaign."""
        key = f"{event.campaign_id}/{event.kind.value}/{event.about}"
        if key in self._seen:
            return
        # Noted as seen only when that is known: where the database goes away meanwhile, another look tries again.
        try:
            self._collection.insert_one({"_id": key, **event.content()})
        except DuplicateKeyError:
            self._seen.add(key)
            return
        if self._tell(event):
            self._seen.add(key)
        else:
            # Nobody knows of it: another look may try again.
            self._collection.delete_one({"_id": key})

    def _tell(self, event: Event) -> bool:
        """Tell those who want to know; whether one of them was told."""
        body = json.dumps(event.content()).encode() + b"\n"
        sent = []
        if self._settings.webhook is not None:
            sent.append(self._post(self._settings.webhook.get_secret_value(), body))
        if self._settings.notify_command is not None:
            sent.append(self._call(self._settings.notify_command, body))
        return any(sent)

    def _post(self, url: str, body: bytes) -> bool:
        request = urllib.request.Request(  # noqa: S310 -- the settings allow http and https only
            url, data=body, headers={"Content-Type": "application/json", "User-Agent": "laoc-flows"}
        )
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT):  # noqa: S310
                return True
        # What is said of it may quote the address, which may be the secret.
        except (urllib.error.URLError, OSError, ValueError) as error:
            code = f" {error.code}" if isinstance(error, urllib.error.HTTPError) else ""
            self._say(f"the webhook could not be reached ({type(error).__name__}{code})")
            return False

    def _call(self, command: str, body: bytes) -> bool:
        words = shlex.split(command)
        try:
            done = subprocess.run(
                words,
                input=body,
                capture_output=True,
                timeout=_TIMEOUT,
                check=False,
                cwd=self._settings.workspace,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            self._say(f"notify_command {words[0]!r} did not run ({type(error).__name__})")
            return False
        if done.returncode:
            self._say(f"notify_command {words[0]!r} ended with status {done.returncode}")
        return done.returncode == 0
