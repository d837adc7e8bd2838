"""How much time a job has left: by the settings, and by the queue that it runs in."""

from __future__ import annotations

import os
import time

from laoc_flows.errors import ServiceError
from laoc_flows.settings import Settings

DAY = 86400.0
_LEAST = 180.0
"""Less than that before the end of an allocation nothing is begun [s]."""
_STORING = 60.0
"""What is kept of a queue's time to store what was made [s]."""


class JobClock:
    """Time of the running job, from when the clock is made.

    Parameters
    ----------
    settings : Settings
        Holds ``job_walltime``. In a Slurm allocation its end counts as well: a worker may take several jobs in one.
    """

    def __init__(self, settings: Settings) -> None:
        self._begun = time.monotonic()
        self._limit = settings.job_walltime
        self._threads = settings.threads_per_job
        end = os.environ.get("SLURM_JOB_END_TIME", "")
        # An end that is past was extended, or is that of another allocation.
        self._end = int(end) if end.isdigit() and int(end) > time.time() else None

    @property
    def elapsed(self) -> float:
        """Time since the clock was made [s]."""
        return time.monotonic() - self._begun

    @property
    def core_hours(self) -> float:
        """Work since the clock was made: wall time times the threads of a job [h]."""
        return self.elapsed * self._threads / 3600.0

    def left(self, otherwise: float) -> float:
        """Time that is left, may be negative [s].

        Parameters
        ----------
        otherwise : float
            What to say where nothing limits the job [s].
        """
        limits = [] if self._limit is None else [self._limit - self.elapsed]
        if self._end is not None:
            limits.append(self._end - time.time() - _STORING)
        return min(limits, default=otherwise)

    def check_begin(self) -> None:
        """Raise where the allocation ends before anything could be made: what is begun then would only fail.

        Raises
        ------
        ServiceError
            The job is then to be run again, in another allocation.
        """
        if self._end is not None and (left := self._end - time.time()) < _LEAST:
            msg = f"the Slurm allocation ends in {left:.0f} s: the job was not begun"
            raise ServiceError(msg, remedy="run it again in another allocation")
