"""``laoc run``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.live import Live

from laoc_flows.campaign.display import picture, summary
from laoc_flows.campaign.file import CampaignFile
from laoc_flows.campaign.launch import run as run_campaign
from laoc_flows.campaign.progress import Progress
from laoc_flows.cli.console import console, fails_clearly, say
from laoc_flows.cli.options import WorkspaceOption, open_workspace
from laoc_flows.cli.query import print_compositions

_LOG_EVERY = 30.0  # s

CampaignArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="Campaign file (YAML).", show_default=False)
]


@fails_clearly
def run(file: CampaignArgument, workspace: WorkspaceOption = None) -> None:
    """Run a campaign on this machine, or go on with it after any interruption."""
    campaign = CampaignFile.load(file)
    # Before anything is written: a campaign that cannot run leaves nothing behind.
    campaign.engine.check_available()
    place = open_workspace(workspace, campaign, create=True)
    out = console()
    try:
        if out.is_terminal:
            with Live(console=out, refresh_per_second=2) as live:
                outcome = run_campaign(
                    campaign, place, show=lambda progress, t: live.update(picture(progress, t)), say=say
                )
        else:
            outcome = run_campaign(campaign, place, show=_Log(), say=say)
    except KeyboardInterrupt:
        say("stopped; nothing is lost: give the same command again to go on")
        raise typer.Exit(130) from None
    if outcome.already_finished:
        say(f"{campaign.campaign_id} is finished: there is nothing to do")
    print_compositions(place, campaign.campaign_id, out)


class _Log:
    """Progress as lines of a log: one when something changed, at most every half minute otherwise."""

    def __init__(self) -> None:
        self.done = -1
        self.printed = 0.0

    def __call__(self, progress: Progress, elapsed: float) -> None:
        done = progress.total.done
        if done == self.done and elapsed - self.printed < _LOG_EVERY:
            return
        self.done, self.printed = done, elapsed
        running = f"; running: {', '.join(job.name for job in progress.running)}" if progress.running else ""
        print(summary(progress, elapsed) + running, file=sys.stderr, flush=True)  # noqa: T201
