"""Submitting a campaign: to FireWorks or to jf, once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from jobflow import JobStore

from laoc_flows.campaign.base import base_of
from laoc_flows.campaign.file import CampaignFile
from laoc_flows.campaign.queues.base import Queue
from laoc_flows.campaign.queues.fireworks import FireworksQueue
from laoc_flows.campaign.submissions import Submissions
from laoc_flows.errors import InputError
from laoc_flows.flows.campaign import CampaignMaker
from laoc_flows.store.workspace import Workspace

if TYPE_CHECKING:
    from laoc_flows.flows.spec import BaseData

QUEUES = ("fireworks", "jf")


def open_queue(name: str, workspace: Workspace) -> Queue:
    """Connect to a queue of a workspace.

    Parameters
    ----------
    name : str
        ``fireworks`` or ``jf``.
    workspace : Workspace
        Workspace.

    Raises
    ------
    InputError
        If no queue has this name.
    """
    if name == "fireworks":
        return FireworksQueue(workspace.launchpad(), workspace.settings)
    if name == "jf":
        from laoc_flows.campaign.queues.jf import JfQueue

        return JfQueue(workspace)
    msg = f"there is no queue {name!r}"
    raise InputError(msg, where="--to", remedy=f"choose one of {', '.join(QUEUES)}")


def submit(queue: Queue, file: CampaignFile, store: JobStore, *, say: Callable[[str], None]) -> bool:
    """Put a campaign into a queue unless it is there.

    A campaign that differs from an earlier one of the same name in having more compositions only takes over the labels
    and the potential of that one, and makes seeds of the new compositions alone.

    Parameters
    ----------
    queue : Queue
        Queue.
    file : CampaignFile
        Campaign.
    store : jobflow.JobStore
        Where the data are that it begins with.
    say : callable
        Called with one-line messages.

    Returns
    -------
    bool
        Whether it was added.

    Raises
    ------
    InputError
        If it is in another queue, begins with data that are not there, or adds more jobs at once than a queue takes.
    ServiceError
        If another process is submitting it.
    """
    submissions = Submissions(store)
    extends = submissions.predecessor(file)
    token = submissions.claim(file, queue.name, extends)
    if token is None:
        return False
    if queue.has(file.campaign_id):
        # One that was submitted before there were claims, or whose submitter was killed after it had done its work.
        submissions.settle(file.campaign_id, token)
        return False
    try:
        # Looked up once: what the campaign begins with does not change while it runs.
        base = _base(file, store, extends)
        spec = file.spec(base)
        spec.check_size()
        flow = CampaignMaker(spec).make()
        queue.add(flow, file.campaign_id, file.name, file.engine.name)
    except BaseException:
        submissions.release(file.campaign_id, token)
        raise
    submissions.settle(file.campaign_id, token)
    if base is not None:
        say(_begins_with(base))
    if extends is not None and base is not None:
        new = len(file.cells()) - len(base.compositions & set(file.cells()))
        say(f"takes over the labels of {extends}: {new} composition{'s are' if new != 1 else ' is'} new")
    return True


def _begins_with(base: BaseData) -> str:
    # A name stands for the campaign of that name that has made data last, which may not be the one that was meant.
    data = base.dataset
    line = f"begins with {data.n_train} labels and {data.n_test} held out, from {', '.join(base.names)}"
    if base.potential is None:
        return line
    return f"{line}; the potential there is {base.potential.key[:12]} of {base.potential.n_train} labels"


def _base(file: CampaignFile, store: JobStore, extends: str | None) -> BaseData | None:
    if extends is None:
        return base_of(file, store)
    try:
        return base_of(file, store, also=extends)
    except InputError:
        # It has made no data set yet: there is nothing to take over.
        return base_of(file, store)
