"""``laoc init`` and ``laoc db``."""

from __future__ import annotations

import typer

from laoc_flows.cli.console import fails_clearly, say
from laoc_flows.cli.options import WorkspaceOption, open_workspace

db = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    help="The embedded MongoDB of a workspace.",
)


@fails_clearly
def init(workspace: WorkspaceOption = None) -> None:
    """Make a workspace: settings, database, JobStore and FireWorks configuration, private to you."""
    place = open_workspace(workspace, create=True)
    place.write_service_files()
    place.job_store().close()
    place.launchpad().fireworks.database.command("ping")
    typer.echo(f"workspace {place.path}")
    typer.echo(f"  settings    {place.path / 'settings.yaml'}")
    typer.echo(f"  JobStore    {place.jobflow_file}   (export JOBFLOW_CONFIG_FILE to use it)")
    typer.echo(f"  FireWorks   {place.launchpad_file}   (lpad -l, rlaunch -l)")
    typer.echo(
        f"  database    {'embedded MongoDB, running' if place.settings.mongo_uri is None else 'as in the settings'}"
    )


@db.command("start")
@fails_clearly
def start(workspace: WorkspaceOption = None) -> None:
    """Start the embedded MongoDB; it stays up until it is stopped."""
    place = open_workspace(workspace, create=True)
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
