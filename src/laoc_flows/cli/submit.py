"""``laoc submit`` and ``laoc resume``."""

from __future__ import annotations

import shutil
from typing import Annotated

import typer

from laoc_flows.campaign.file import CampaignFile
from laoc_flows.campaign.overview import Campaigns, asked_for
from laoc_flows.campaign.queues.fireworks_files import write_files
from laoc_flows.campaign.queues.jf_project import write_project
from laoc_flows.campaign.resume import resume as resume_campaign
from laoc_flows.campaign.submit import QUEUES, open_queue
from laoc_flows.campaign.submit import submit as submit_campaign
from laoc_flows.cli.console import fails_clearly, say
from laoc_flows.cli.options import CampaignReference, WorkspaceOption, open_workspace
from laoc_flows.cli.run import CampaignArgument
from laoc_flows.store.incremental import index_outputs


@fails_clearly
def submit(
    file: CampaignArgument,
    to: Annotated[str, typer.Option("--to", help=f"Queue: {' or '.join(QUEUES)}.", show_default=False)],
    workspace: WorkspaceOption = None,
) -> None:
    """Put a campaign into a queue, for workers on this machine or on others; a second time adds nothing."""
    campaign = CampaignFile.load(file)
    place = open_workspace(workspace, campaign, create=True)
    queue = open_queue(to, place)
    if to == "jf":
        write_project(place)
    else:
        write_files(place)
    store = place.job_store()
    index_outputs(store.docs_store)
    added = submit_campaign(queue, campaign, store, say=say)
    kept = place.campaigns / f"{campaign.campaign_id}.yaml"
    if added and not kept.exists():
        shutil.copyfile(file, kept)
    if added:
        say(f"{campaign.campaign_id} is in the queue of {to}: laoc status {campaign.campaign_id}")
        _next_steps(to)
    else:
        say(f"{campaign.campaign_id} was submitted before: nothing was added")


def _next_steps(to: str) -> None:
    if to == "jf":
        say('its runner: eval "$(laoc env)"; jf runner start')
    else:
        say('its workers: eval "$(laoc env)"; rlaunch rapidfire, or qlaunch with the files of laoc init')


@fails_clearly
def resume(
    campaign: CampaignReference,
    job: Annotated[
        list[str] | None,
        typer.Option(
            "--job", help="Run this failed job again whatever its reasons; may be given several times."
        ),
    ] = None,
    tries: Annotated[
        int, typer.Option("--tries", min=1, max=100, help="How often one job is run again.")
    ] = 3,
    now: Annotated[bool, typer.Option("--now", help="Do not wait between the tries of a job.")] = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Run again what failed for reasons outside: a kill, a full disk, a database or a node that was away."""
    wanted = asked_for(campaign)
    found = Campaigns(open_workspace(workspace, create=False)).find(wanted)
    done = resume_campaign(found.queue, found.store, found.id, tries=tries, now=now, only=job or ())
    for each, cause in done.again:
        say(f"runs again: {each.name} ({each.id}), {cause.value}")
    for each, due in done.later:
        say(f"may run again at {due.astimezone():%H:%M:%S}: {each.name} ({each.id})")
    for each, cause in done.spent:
        say(f"failed {tries} times more: {each.name} ({each.id}), {cause.value}: {each.reason}")
    for each in done.own:
        say(f"failed for its own reasons: {each.name} ({each.id}): {each.reason}")
    for each in done.refused:
        say(f"{found.queue.name} does not run it again: {each.name} ({each.id}), others have gone on from it")
    if not any((done.again, done.later, done.spent, done.own, done.refused)):
        say("nothing has failed")
    if done.own or done.spent or done.refused:
        raise typer.Exit(1)
