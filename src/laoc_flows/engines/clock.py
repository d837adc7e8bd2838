"""How much time a job has left: by the settings, and by the queue that it runs in."""

from __future__ import annotations

import os
import time

from laoc_flows.settings import Settings

DAY = 86400.0
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

    @property
    def elapsed(self) -> float:
        """Time since the clock was made [s]."""
        return time.monotonic() - self._begun

    def left(self, otherwise: float) -> float:
        """Time that is left, may be negative [s].

        Parameters
        ----------
        otherwise : float
            What to say where nothing limits the job [s].
        """
        limits = [] if self._limit is None else [self._limit - self.elapsed]
        end = os.environ.get("SLURM_JOB_END_TIME", "")
        if end.isdigit():
            limits.append(int(end) - time.time() - _STORING)
        return min(limits, default=otherwise)
