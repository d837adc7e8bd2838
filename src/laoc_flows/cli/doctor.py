"""``laoc doctor``."""

from __future__ import annotations

from typing import Annotated

import typer

from laoc_flows.campaign.doctor import Doctor
from laoc_flows.cli.console import fails_clearly, say
from laoc_flows.cli.options import WorkspaceOption, open_workspace
from laoc_flows.errors import LaocError


@fails_clearly
def doctor(
    fix: Annotated[bool, typer.Option("--fix", help="Settle what can be settled safely.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Do not say what is looked at.")] = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Find what is stuck: stale locks, lost jobs, dead runners, missing workers, full disks; print the remedies."""
    place = open_workspace(workspace, create=False)
    found = Doctor(place, (lambda _: None) if quiet else (lambda what: say(f"looking at {what}")))
    left = 0
    troubles = found.examine()
    for trouble in troubles:
        typer.echo(f"{trouble.kind}: {trouble.line}")
        if fix and trouble.fix:
            try:
                typer.echo(f"  {found.fix(trouble)}")
            except LaocError as error:
                typer.echo(f"  could not be settled: {error.line}")
                left += 1
        else:
            left += 1
    if not troubles:
        say("nothing is wrong")
    if left:
        raise typer.Exit(1)
