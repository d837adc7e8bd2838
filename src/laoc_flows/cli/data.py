"""``laoc data``: labels as files for other programs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from laoc_flows.cli.console import fails_clearly, say
from laoc_flows.cli.options import WorkspaceOption, open_workspace

data = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    help="Labels as files for other programs.",
)


class Format(StrEnum):
    """Formats of labels."""

    EXTXYZ = "extxyz"
    NPY = "deepmd/npy"
    MIXED = "deepmd/npy/mixed"


@data.callback()
def _group() -> None:
    """Keep the name of the subcommand, of which there is one."""


@data.command("export")
@fails_clearly
def export(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="New folder.", show_default=False)],
    where: Annotated[
        str,
        typer.Option(
            "--where", help="Conditions on labels, for example \"campaign_id = 'mine-1a2b3c4d5e6f'\"."
        ),
    ] = "",
    fmt: Annotated[Format, typer.Option("--format", "-f", help="Format of the labels.")] = Format.EXTXYZ,
    license_name: Annotated[
        str, typer.Option("--license", help="License of the data, for the card.")
    ] = "not stated",
    workspace: WorkspaceOption = None,
) -> None:
    """Write converged labels of one level of theory, held-out trajectories apart, with a card."""
    from laoc_flows.store.exports import export_labels
    from laoc_flows.store.laoc_store import LaocStore

    with LaocStore.open(open_workspace(workspace, create=False)) as store:
        store.build()
        card = export_labels(store, folder, where, fmt.value, license_name=license_name)
    counts = card["counts"]
    say(f"wrote {counts['train']} labels to train on and {counts['test']} held out to {folder}")
