"""Why jobs fail: for reasons outside, which another try settles, or for their own."""

from __future__ import annotations

import re
from enum import StrEnum

from laoc_flows.campaign.queues.base import QueuedJob, last_line


class Cause(StrEnum):
    """What has made a job fail."""

    DATABASE = "the database did not answer"
    KILLED = "it was killed"
    TIME = "its time was over"
    DISK = "the disk was full"
    MEMORY = "the memory was full"
    NODE = "its node or the network failed"
    QUEUE = "the queue refused it"
    OWN = "its own"

    @property
    def outside(self) -> bool:
        """Whether another try may settle it."""
        return self is not Cause.OWN


# The last line of a traceback names the error; what a signal or a queue has ended leaves words of jf or of the queue.
_PATTERNS: tuple[tuple[Cause, str], ...] = (
    (
        Cause.DATABASE,
        (
            r"ServerSelectionTimeoutError|AutoReconnect|NetworkTimeout|NotPrimaryError|ConnectionFailure|WriteConcernError"
            r"|ServiceError.*(MongoDB|database)|CursorNotFound|WaitQueueTimeoutError"
        ),
    ),
    (Cause.DISK, r"No space left on device|\[Errno 28\]|Disk quota exceeded|\[Errno 122\]|OutOfDiskSpace"),
    (Cause.MEMORY, r"\bMemoryError\b|Cannot allocate memory|oom.?kill|Out Of Memory|OUT_OF_MEMORY"),
    (Cause.TIME, r"DUE TO TIME LIMIT|allocation ends in|TIMEOUT\b.*CANCELLED|walltime .* exceeded"),
    (
        Cause.NODE,
        (
            r"NODE_FAIL|NodeFail|Stale file handle|\[Errno 116\]|Input/output error|\[Errno 5\]|Connection reset|Broken pipe"
            r"|No route to host|Network is unreachable|Socket timed out|SSHException|paramiko|EOFError: "
        ),
    ),
    (
        Cause.KILLED,
        (
            r"likely killed|was not present in the download folder|output store file .* is missing|SIGKILL|SIGTERM"
            r"|CANCELLED AT|status -9\b|status -15\b|signal 9|signal 15|exit(ed with)? (code|status) 137"
        ),
    ),
    (Cause.QUEUE, r"submission failed|sbatch: error|Unable to contact slurm|slurm_load_jobs error"),
)
_COMPILED = tuple((cause, re.compile(pattern, re.IGNORECASE)) for cause, pattern in _PATTERNS)


def cause_of(job: QueuedJob) -> Cause:
    """Why a failed job failed.

    Parameters
    ----------
    job : QueuedJob
        Failed job.

    Returns
    -------
    Cause
        Its own, where nothing that is known from outside is named.
    """
    # A failure of its own may mention anything on the way: only its last words count.
    words = " ".join(dict.fromkeys([job.reason, last_line(job.trace)]))
    for cause, pattern in _COMPILED:
        if pattern.search(words):
            return cause
    if job.native == "REMOTE_ERROR":
        for cause, pattern in _COMPILED:
            if pattern.search(job.trace):
                return cause
    return Cause.OWN
