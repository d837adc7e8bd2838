"""``laoc data``: labels as files for other programs, and labels of other programs in the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from laoc_flows.cli.console import fails_clearly, say
from laoc_flows.cli.options import WorkspaceOption, open_workspace

if TYPE_CHECKING:
    from laoc_flows.schemas.imported import ImportDocument

data = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    help="Labels: import those of other programs, and export them as files.",
)


class Format(StrEnum):
    """Formats of labels."""

    EXTXYZ = "extxyz"
    NPY = "deepmd/npy"
    MIXED = "deepmd/npy/mixed"


class ImportFormat(StrEnum):
    """Formats of labels that can be imported."""

    AUTO = "auto"
    EXTXYZ = "extxyz"
    NPY = "deepmd/npy"
    MIXED = "deepmd/npy/mixed"
    XML = "vasp/xml"
    OUTCAR = "vasp/outcar"


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


@data.command("import")
@fails_clearly
def import_(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="Name: lower-case letters, digits, hyphens.", show_default=False),
    ],
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH...", help="Files, or folders of exports and of DeePMD-kit.", show_default=False
        ),
    ],
    level_of_theory: Annotated[
        str | None,
        typer.Option(
            "--level-of-theory",
            metavar="TEXT",
            help="What computed the labels, as 'laoc plan' prints it; exports say it themselves.",
            show_default=False,
        ),
    ] = None,
    fmt: Annotated[
        ImportFormat, typer.Option("--format", "-f", help="Format of the files.")
    ] = ImportFormat.AUTO,
    test: Annotated[
        list[Path] | None,
        typer.Option("--test", metavar="PATH", help="Files that are held out.", show_default=False),
    ] = None,
    hold_out: Annotated[
        int | None,
        typer.Option(
            "--hold-out", metavar="N", help="Hold out every N-th trajectory instead.", show_default=False
        ),
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out frames that are no labels, and say how many.")
    ] = False,
    license_name: Annotated[
        str | None,
        typer.Option("--license", help="License of the data; exports say it themselves.", show_default=False),
    ] = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Read labels that were computed elsewhere into the store, whole trajectories held out."""
    from laoc_flows.flows.imports import run_import
    from laoc_flows.store.import_reading import read_import
    from laoc_flows.store.imports import find_import, order_import
    from laoc_flows.store.laoc_store import LaocStore

    with _reading() as show:
        read = read_import(
            name,
            paths,
            level_of_theory=level_of_theory,
            fmt=fmt.value,
            test=test or (),
            hold_out=hold_out,
            skip_bad=skip_bad,
            license_name=license_name,
            show=show,
        )
    # Made after everything was read: bad input leaves no workspace behind.
    with LaocStore.open(open_workspace(workspace, create=True)) as store:
        order = order_import(store.job_store, read)
        document = run_import(store.job_store, order, find_import(store.job_store, name))
        store.build()
    say(_summary(document, sum(frames.n_frames for frames in order.frames)))


@contextmanager
def _reading() -> Iterator[Callable[[str, int], None] | None]:
    """Show what is being read, where somebody may be looking."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    # On standard error, as everything that is not the result itself.
    out = Console(stderr=True)
    if not out.is_terminal:
        yield None
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=out, transient=True) as progress:
        task = progress.add_task("reading")

        def show(name: str, n_frames: int) -> None:
            progress.update(task, description=f"reading {name}: {n_frames} frames")

        yield show


def _summary(document: ImportDocument, n_new: int) -> str:
    facts, dataset = document.facts, document.dataset
    left_out = {
        **({"twice in the files": facts.n_duplicates} if facts.n_duplicates else {}),
        **facts.left_out,
        **document.rejected,
    }
    told = f" ({', '.join(f'{n} {reason}' for reason, n in left_out.items())})" if left_out else ""
    new = "" if n_new else "; nothing of it is new"
    return (
        f"{document.campaign_id}: {dataset.n_train} labels to train on, {dataset.n_test} held out, "
        f"{sum(left_out.values())} left out{told}; level of theory {dataset.level_of_theory}{new}"
    )
