"""``laoc status``, ``laoc watch`` and ``laoc cost``."""

from __future__ import annotations

import csv
import json
import sys
import time
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated, Self

import typer
from pymongo.errors import ConnectionFailure
from rich.live import Live

from laoc_flows.campaign.cost import costs
from laoc_flows.campaign.display import bill, details, overview, picture, summary
from laoc_flows.campaign.file import CampaignFile
from laoc_flows.campaign.notify import Notifier
from laoc_flows.campaign.overview import Campaign, Campaigns, asked_for
from laoc_flows.campaign.progress import Progress
from laoc_flows.cli.console import console, database_lost, fails_clearly, say
from laoc_flows.cli.options import AnyCampaign, CampaignReference, WorkspaceOption, open_workspace
from laoc_flows.errors import InputError


class Format(StrEnum):
    """How a bill is printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


@fails_clearly
def status(
    campaign: AnyCampaign = None,
    job: Annotated[
        str | None,
        typer.Option("--job", help="Show all that is known of one job, by its id.", show_default=False),
    ] = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Show how far a campaign is, from any terminal: what runs where, what failed and why."""
    wanted = None if campaign is None else asked_for(campaign)
    campaigns = Campaigns(open_workspace(workspace, create=False))
    if wanted is None:
        rows = [(each.submission, each.progress()) for each in campaigns.all()]
        if rows:
            console().print(overview(rows))
        else:
            say("nothing was submitted here: laoc run FILE, or laoc submit FILE --to jf|fireworks")
        return
    found = campaigns.find(wanted)
    if job is not None:
        mine = next((each for each in found.queue.jobs(found.id) if each.id == job), None)
        if mine is None:
            msg = f"{job!r} is no job of {found.id}"
            raise InputError(msg, where="--job", remedy="the ids are in brackets in 'laoc status'")
        console().print(details(mine))
        return
    progress = found.progress()
    console().print(picture(progress))
    if progress.finished:
        say("finished")


@fails_clearly
def watch(
    campaign: AnyCampaign = None,
    every: Annotated[
        float, typer.Option("--every", min=1.0, max=86400.0, help="Time between two looks [s].")
    ] = 10.0,
    keep: Annotated[
        bool, typer.Option("--keep", help="Go on when all is finished: campaigns may still come.")
    ] = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Follow campaigns until they end, and send the notifications of the settings."""
    wanted = None if campaign is None else asked_for(campaign)
    place = open_workspace(workspace, create=False)
    campaigns = Campaigns(place)
    notifier = Notifier(place.settings, campaigns.store, say)
    begin = time.monotonic()
    out = console()
    away = False
    seen: list[tuple[Campaign, Progress]] = []
    try:
        with Live(console=out, refresh_per_second=1) if out.is_terminal else _Quiet() as live:
            while True:
                try:
                    seen = _look(campaigns, wanted, notifier)
                except ConnectionFailure as error:
                    if not away:
                        say(f"{database_lost(error).message}; looking again")
                    away = True
                    time.sleep(every)
                    continue
                away = False
                if wanted is None:
                    live.update(overview([(each.submission, progress) for each, progress in seen]))
                else:
                    live.update(picture(seen[0][1], time.monotonic() - begin))
                live.say([summary(progress) for _, progress in seen]) if isinstance(live, _Quiet) else None
                if not keep and all(progress.finished or progress.stuck for _, progress in seen):
                    break
                time.sleep(every)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    if any(progress.stuck for _, progress in seen):
        raise typer.Exit(1)


def _look(
    campaigns: Campaigns, wanted: CampaignFile | str | None, notifier: Notifier
) -> list[tuple[Campaign, Progress]]:
    watched = campaigns.all() if wanted is None else [campaigns.find(wanted)]
    seen = [(each, each.progress()) for each in watched]
    for _, progress in seen:
        notifier.look(progress)
    return seen


class _Quiet:
    """Stands for the live picture where there is no terminal: a line when something has changed."""

    def __init__(self) -> None:
        self._said: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to end."""

    def update(self, _: object) -> None:
        """Draw nothing."""

    def say(self, lines: list[str]) -> None:
        """Print the lines that are new."""
        for line in lines:
            if line not in self._said:
                print(line, file=sys.stderr, flush=True)  # noqa: T201
        self._said = lines


@fails_clearly
def cost(
    campaign: CampaignReference,
    form: Annotated[Format, typer.Option("--format", "-f", help="How it is printed.")] = Format.TABLE,
    workspace: WorkspaceOption = None,
) -> None:
    """Show core hours and wall time spent, by stage and composition, against the plan."""
    wanted = asked_for(campaign)
    found = Campaigns(open_workspace(workspace, create=False)).find(wanted)
    rows = costs(found.queue.runs(found.id))
    if form is Format.JSON:
        typer.echo(json.dumps([asdict(row) for row in rows], indent=1))
    elif form is Format.CSV:
        writer = csv.DictWriter(
            sys.stdout,
            ["stage", "composition", "runs", "core_hours", "wall_hours", "lost_runs", "lost_core_hours"],
        )
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    else:
        console().print(bill(rows, found.plan))
        if found.queue.name == "jf":
            say("jf keeps the last run of a job only: what was lost before is not in it")
