"""What was submitted: one document for each campaign, written before anything is put into a queue."""

from __future__ import annotations

import secrets
import socket
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psutil
from jobflow import JobStore
from pymongo.errors import DuplicateKeyError

from laoc_flows.campaign.file import CampaignFile
from laoc_flows.errors import InputError, ServiceError
from laoc_flows.store.incremental import sibling_store

COLLECTION = "laoc_submissions"
_LONGEST = timedelta(minutes=30)
"""After this a submission on another machine that has not ended counts as killed."""


@dataclass(frozen=True)
class Submission:
    """A campaign that was submitted.

    Attributes
    ----------
    campaign_id, name : str
        Campaign.
    queue : str
        Queue that it was put into.
    state : str
        ``submitting`` or ``submitted``.
    file : CampaignFile or None
        Campaign as it was submitted; None where this version does not read it.
    at : datetime.datetime
        When it was submitted.
    by : dict
        Machine, user, process and versions that have submitted it.
    extends : str or None
        Campaign that it has only added compositions to.
    """

    campaign_id: str
    name: str
    queue: str
    state: str
    file: CampaignFile | None
    at: datetime
    by: dict[str, Any]
    extends: str | None = None


class Submissions:
    """The submissions of a store.

    Parameters
    ----------
    store : jobflow.JobStore
        Connected JobStore; the collection is in its database.
    """

    def __init__(self, store: JobStore) -> None:
        self._store = sibling_store(store.docs_store, COLLECTION, key="_id")
        self._store.connect()
        self._collection = self._store._collection  # noqa: SLF001 -- the claim needs single atomic operations

    def claim(self, file: CampaignFile, queue: str, extends: str | None) -> str | None:
        """Claim the submission of a campaign for this process.

        Parameters
        ----------
        file : CampaignFile
            Campaign.
        queue : str
            Queue that it is going to be put into.
        extends : str or None
            Campaign that it only adds compositions to.

        Returns
        -------
        str or None
            Token of the claim; None if it was submitted before.

        Raises
        ------
        ServiceError
            If another process is submitting it.
        InputError
            If it is in another queue.
        """
        token = secrets.token_hex(8)
        document = {
            "_id": file.campaign_id,
            "name": file.name,
            "queue": queue,
            "state": "submitting",
            "token": token,
            "at": datetime.now(UTC),
            "by": _myself(),
            "extends": extends,
            "file": file.model_dump(mode="json"),
        }
        try:
            self._collection.insert_one(document)
        except DuplicateKeyError:
            pass
        else:
            return token
        there = self._collection.find_one({"_id": file.campaign_id})
        if there["queue"] != queue:
            msg = f"the campaign is in the queue of {there['queue']}"
            raise InputError(
                msg,
                where=file.campaign_id,
                remedy=f"submit it --to {there['queue']}, or change its seed or name",
            )
        if there["state"] == "submitted":
            return None
        if not _dead(there):
            by = there["by"]
            msg = f"process {by['process']} on {by['host']} is submitting it"
            raise ServiceError(msg, where=file.campaign_id, remedy="wait for it")
        # Of several that find a dead one, one takes over.
        mine = {"token": token, "at": document["at"], "by": document["by"]}
        unchanged = {"_id": file.campaign_id, "token": there["token"], "state": "submitting"}
        if self._collection.update_one(unchanged, {"$set": mine}).modified_count:
            return token
        msg = "another process is submitting it"
        raise ServiceError(msg, where=file.campaign_id, remedy="wait for it")

    def settle(self, campaign_id: str, token: str) -> None:
        """Note that a claimed submission has ended well."""
        self._collection.update_one({"_id": campaign_id, "token": token}, {"$set": {"state": "submitted"}})

    def release(self, campaign_id: str, token: str) -> None:
        """Give a claim back: nothing was submitted."""
        self._collection.delete_one({"_id": campaign_id, "token": token, "state": "submitting"})

    def abandoned(self, submission: Submission) -> str | None:
        """Token of a claim whose process has ended; None if there is none."""
        row = self._collection.find_one({"_id": submission.campaign_id, "state": "submitting"})
        return str(row["token"]) if row is not None and _dead(row) else None

    def all(self) -> list[Submission]:
        """All submissions, the newest first."""
        return [_submission(row) for row in self._collection.find().sort("at", -1)]

    def find(self, text: str) -> Submission:
        """Submission by the id of its campaign, its beginning, or its name: then the newest of that name.

        Raises
        ------
        InputError
            If there is none, or several begin like that.
        """
        submissions = self.all()
        exact = [s for s in submissions if s.campaign_id == text] or [
            s for s in submissions if s.name == text
        ][:1]
        found = exact or [s for s in submissions if s.campaign_id.startswith(text)]
        if len(found) == 1:
            return found[0]
        if found:
            msg = f"several campaigns begin with {text!r}: {', '.join(s.campaign_id for s in found[:5])}"
            raise InputError(msg, remedy="give more of the id")
        msg = f"there is no campaign {text!r} in this store"
        raise InputError(msg, remedy="see 'laoc status' for those that were submitted")

    def predecessor(self, file: CampaignFile) -> str | None:
        """Newest submitted campaign of the same name that differs from a file in having fewer compositions only."""
        for submission in self.all():
            if submission.name == file.name and submission.campaign_id != file.campaign_id:
                before = submission.file
                if before is not None and submission.state == "submitted" and _adds_only(before, file):
                    return submission.campaign_id
        return None


def _adds_only(before: CampaignFile, after: CampaignFile) -> bool:
    cells, more = before.cells(), after.cells()
    if not set(cells) < set(more):
        return False
    if any(cells[name].n_al != more[name].n_al for name in cells):
        return False
    if set(before.grid.tested_only) != set(after.grid.tested_only):
        return False
    same = ("seed", "engine", "melt_quench", "learning", "production")
    return all(getattr(before, name) == getattr(after, name) for name in same)


def _myself() -> dict[str, Any]:
    from laoc_flows import __version__

    process = psutil.Process()
    return {
        "host": socket.gethostname(),
        "user": process.username(),
        "process": process.pid,
        "begun": process.create_time(),
        "laoc_flows": __version__,
    }


def _dead(document: dict[str, Any]) -> bool:
    """Whether the process that has claimed a submission has ended."""
    by = document["by"]
    if by["host"] == socket.gethostname():
        try:
            return abs(psutil.Process(by["process"]).create_time() - by["begun"]) > 1
        except psutil.Error:
            return True
    at = document["at"].replace(tzinfo=UTC)
    return datetime.now(UTC) - at > _LONGEST


def _submission(row: dict[str, Any]) -> Submission:
    try:
        file = CampaignFile.model_validate(row["file"])
    except ValueError:
        file = None
    return Submission(
        campaign_id=row["_id"],
        name=row["name"],
        queue=row["queue"],
        state=row["state"],
        file=file,
        at=row["at"].replace(tzinfo=UTC),
        by=row["by"],
        extends=row.get("extends"),
    )
