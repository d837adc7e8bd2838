"""``laoc init``, ``laoc env`` and ``laoc db``."""

from __future__ import annotations

import os
import shlex
import sys
from typing import Annotated

import typer

from laoc_flows.campaign.doctor import checks
from laoc_flows.campaign.queues.fireworks_files import write_files
from laoc_flows.campaign.queues.jf_project import jf_environment, write_project
from laoc_flows.campaign.routing import lanes
from laoc_flows.cli.console import fails_clearly, say
from laoc_flows.cli.options import WorkspaceOption, open_workspace

db = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    help="The embedded MongoDB of a workspace.",
)


@fails_clearly
def init(
    check: Annotated[bool, typer.Option(help="See whether workers and queues can be used.")] = True,
    workspace: WorkspaceOption = None,
) -> None:
    """Make a workspace, or bring it up to date: settings, database, and what jobflow, jf and FireWorks need.

    Workers and roles are in its settings.yaml; give the command again when they have changed.
    """
    place = open_workspace(workspace, create=True)
    place.write_service_files()
    place.job_store().close()
    place.launchpad().fireworks.database.command("ping")
    project = write_project(place)
    files = write_files(place)
    settings = place.settings
    typer.echo(f"workspace {place.path}")
    typer.echo(f"  settings    {place.path / 'settings.yaml'}")
    typer.echo(
        f"  database    {'embedded MongoDB, running' if settings.mongo_uri is None else 'as in the settings'}"
    )
    typer.echo(f"  JobStore    {place.jobflow_file}")
    typer.echo(f"  FireWorks   {place.launchpad_file}, and {len(files)} files in {place.path / 'fireworks'}")
    typer.echo(f"  jf          {project}")
    typer.echo("roles")
    for name, lane in lanes(settings).items():
        scheduler = settings.workers[lane.worker].scheduler
        how = "processes" if scheduler == "shell" else f"{scheduler}, {lane.resources.cores} cores a job"
        typer.echo(f"  {name:<11} worker {lane.worker} ({how})")
    typer.echo('to use jf, lpad, rlaunch and qlaunch: eval "$(laoc env)"')
    if not check:
        return
    wrong = checks(place)
    for trouble in wrong:
        typer.echo(f"{trouble.kind}: {trouble.line}")
    if wrong:
        raise typer.Exit(1)
    say("all workers can be used")


@fails_clearly
def env(workspace: WorkspaceOption = None) -> None:
    """Print what a shell needs to use jf, lpad and rlaunch with a workspace.

    For example: eval "$(laoc env)"
    """
    place = open_workspace(workspace, create=False)
    programs = os.path.dirname(os.path.abspath(sys.executable))  # noqa: PTH100, PTH120
    if programs not in os.environ.get("PATH", "").split(os.pathsep):
        typer.echo(f'export PATH={shlex.quote(programs)}:"$PATH"')
    for name, value in {**place.environment(), **jf_environment(place)}.items():
        typer.echo(f"export {name}={shlex.quote(value)}")


@db.command("start")
@fails_clearly
def start(workspace: WorkspaceOption = None) -> None:
    """Start the embedded MongoDB; it stays up until it is stopped."""
    place = open_workspace(workspace, create=True)
    place.database_uri()
    place.write_service_files()
    _report(workspace)


@db.command("stop")
@fails_clearly
def stop(workspace: WorkspaceOption = None) -> None:
    """Stop the embedded MongoDB; its data stay."""
    place = open_workspace(workspace, create=False)
    with place.lock():
        place.mongo.stop()
    say("the embedded MongoDB is stopped")


@db.command("status")
@fails_clearly
def status(workspace: WorkspaceOption = None) -> None:
    """Show whether the embedded MongoDB runs, and where."""
    _report(workspace)


def _report(workspace: WorkspaceOption) -> None:
    found = open_workspace(workspace, create=False).mongo.status()
    state = f"running, process {found.pid}, 127.0.0.1:{found.port}" if found.running else "stopped"
    typer.echo(f"embedded MongoDB {found.version}: {state}")
    typer.echo(f"  data {found.dbpath} ({found.size / 1e6:.0f} MB)")
