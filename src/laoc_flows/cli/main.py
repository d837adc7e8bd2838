"""The command ``laoc``; each subcommand is imported when it is called, because what it needs takes seconds to import."""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from laoc_flows import __version__


class Place(NamedTuple):
    """Where a subcommand is.

    Attributes
    ----------
    module, name : str
        Module, and the function or group in it.
    help : str
        What ``laoc --help`` says of it: the first line of its own help.
    """

    module: str
    name: str
    help: str


COMMANDS = {
    "init": Place(
        "init",
        "init",
        "Make a workspace, or bring it up to date: settings, database, and what jobflow, jf and FireWorks need.",
    ),
    "plan": Place("plan", "plan", "Show what a campaign will make, without starting or writing anything."),
    "run": Place("run", "run", "Run a campaign on this machine, or go on with it after any interruption."),
    "submit": Place(
        "submit",
        "submit",
        "Put a campaign into a queue, for workers on this machine or on others; a second time adds nothing.",
    ),
    "status": Place(
        "status",
        "status",
        "Show how far a campaign is, from any terminal: what runs where, what failed and why.",
    ),
    "watch": Place(
        "status", "watch", "Follow campaigns until they end, and send the notifications of the settings."
    ),
    "cost": Place(
        "status", "cost", "Show core hours and wall time spent, by stage and composition, against the plan."
    ),
    "doctor": Place(
        "doctor",
        "doctor",
        "Find what is stuck: stale locks, lost jobs, dead runners, missing workers, full disks; print the remedies.",
    ),
    "resume": Place(
        "submit",
        "resume",
        "Run again what failed for reasons outside: a kill, a full disk, a database or a node that was away.",
    ),
    "query": Place(
        "query", "query", "Print documents of the store; the collections are brought up to date first."
    ),
    "data": Place("data", "data", "Labels: import those of other programs, and export them as files."),
    "potential": Place("potential", "potential", "Potentials: list, show, compare, and export as files."),
    "learning": Place(
        "learning",
        "learning",
        "Show what the learning loop of a campaign did: errors, agreement, labels, and why it ended.",
    ),
    "analyze": Place(
        "analyze",
        "analyze_command",
        "Analyze a trajectory: structure, chains, hops, rotations, diffusion and conductivity.",
    ),
    "env": Place("init", "env", "Print what a shell needs to use jf, lpad and rlaunch with a workspace."),
    "db": Place("init", "db", "The embedded MongoDB of a workspace."),
}


def load(name: str) -> Any:
    """Import a subcommand.

    Parameters
    ----------
    name : str
        One of `COMMANDS`.

    Returns
    -------
    click command or group
        As typer makes it.
    """
    place = COMMANDS[name]
    found = getattr(import_module(f"laoc_flows.cli.{place.module}"), place.name)
    if isinstance(found, typer.Typer):
        return get_command(found)
    # As the settings of the main command, which a subcommand inherits.
    alone = typer.Typer(pretty_exceptions_enable=False, add_completion=False, rich_markup_mode=None)
    alone.command(name)(found)
    return get_command(alone)


class Lazy(TyperGroup):
    """Group that knows its subcommands by name, and imports the one that is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names, in the order of the help."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """What the help shows of a subcommand."""
        del ctx
        return TyperCommand(cmd_name, help=COMMANDS[cmd_name].help) if cmd_name in COMMANDS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Subcommand that is called."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, load(name) if name in COMMANDS else command, rest


app = typer.Typer(
    cls=Lazy,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    # Square brackets are units here, not markup.
    rich_markup_mode=None,
    help="Amorphous Li-Al-O-Cl electrolytes: from one campaign file to a queried store.",
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"laoc-flows {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version."
    ),
) -> None:
    """Options of the command itself."""


def main() -> None:
    """Entry point of the script ``laoc``."""
    app()
