"""The command ``laoc``."""

from __future__ import annotations

import typer

from laoc_flows import __version__
from laoc_flows.cli.analyze import analyze_command
from laoc_flows.cli.init import db, init
from laoc_flows.cli.plan import plan
from laoc_flows.cli.query import query
from laoc_flows.cli.run import run, status

app = typer.Typer(
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


app.command()(init)
app.add_typer(db, name="db")
app.command()(plan)
app.command()(run)
app.command()(status)
app.command()(query)
app.command("analyze")(analyze_command)


def main() -> None:
    """Entry point of the script ``laoc``."""
    app()
