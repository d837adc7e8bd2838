"""``python -m laoc_flows.campaign.worker CAMPAIGN INDEX``: one process that works off a campaign's jobs."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from laoc_flows.campaign.repair import campaign_query
from laoc_flows.process import die_with_parent
from laoc_flows.store.workspace import Workspace

_POLL = 0.25  # s


def worker_name(index: int) -> str:
    """Name of the FireWorker with an index on this machine."""
    return f"laoc-{index}"


def work(campaign_id: str, index: int) -> None:
    """Run the jobs of a campaign, one after the other, until the parent ends this process.

    Parameters
    ----------
    campaign_id : str
        Campaign.
    index : int
        Index of the worker.
    """
    # Ctrl-C is for the parent, which ends its workers in order; and no worker outlives it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent()
    from fireworks import FWorker
    from fireworks.core.rocket_launcher import launch_rocket

    workspace = Workspace()
    launchpad = workspace.launchpad()
    worker = FWorker(name=worker_name(index), query=campaign_query(campaign_id))
    root = workspace.launches / campaign_id
    while True:
        if not launchpad.run_exists(worker):
            time.sleep(_POLL)
            continue
        directory = root / f"{time.time_ns()}-{index}"
        directory.mkdir(parents=True)
        os.chdir(directory)
        ran = launch_rocket(launchpad, worker, strm_lvl="WARNING")
        os.chdir(root)
        if not ran:
            _remove_if_empty(directory)


def _remove_if_empty(directory: Path) -> None:
    if not any(directory.iterdir()):
        directory.rmdir()


if __name__ == "__main__":
    work(sys.argv[1], int(sys.argv[2]))
