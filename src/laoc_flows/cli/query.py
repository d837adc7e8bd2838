"""``laoc query``: documents of the store as a table, as CSV or as JSON."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from laoc_flows.cli.console import console as standard_console
from laoc_flows.cli.console import fails_clearly, say
from laoc_flows.cli.options import WorkspaceOption, open_workspace
from laoc_flows.cli.query_columns import MAIN_TETRAHEDRA, Column, Row, columns_of, notes_of
from laoc_flows.errors import InputError, as_written
from laoc_flows.schemas.glass import StructureDocument
from laoc_flows.store.builders import n_left_out
from laoc_flows.store.catalog import COLLECTIONS, Field, fields_of, resolve
from laoc_flows.store.columns import csv_header, csv_row, jsonable, parse_columns, shown
from laoc_flows.store.laoc_store import LaocStore
from laoc_flows.store.query import parse_where, sort_order
from laoc_flows.store.stored import plain
from laoc_flows.store.workspace import Workspace

_ENDLESS: Final = 100_000


class Format(StrEnum):
    """How documents are printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


_CONDUCTIVITIES: Final = ("nernst_einstein", "collective", "haven_ratio")
_INSIDE: Final = {
    "compositions": [f"tetrahedra.{name}" for name in (*MAIN_TETRAHEDRA, "AlO3Cl", "AlO4")],
    "structures": [f"tetrahedra.{name}" for name in (*MAIN_TETRAHEDRA, "AlO3Cl", "AlO4")],
    "transport": [
        f"species.{species}.{name}"
        for species in ("Li", "Cl")
        for name in (
            *("status", "exponent", "n_eff", "last_lag", "last_msd", "n_windows"),
            *("diffusion.value", "diffusion.standard_error", "diffusion.upper_bound"),
        )
    ]
    + [
        *(f"{which}.{name}" for which in _CONDUCTIVITIES for name in ("status", "value", "standard_error")),
        *("hops.all.count", "hops.all.rate", "rotations.Cl.rotating.count", "rotations.Cl.rotating.rate"),
    ],
}
_NOT_IN_CSV: Final = frozenset({"schema_name", "schema_version", "uuids", "campaign_ids", "refusals"})


@fails_clearly
def query(
    collection: Annotated[
        str,
        typer.Argument(metavar="COLLECTION", help=f"One of: {', '.join(COLLECTIONS)}.", show_default=False),
    ],
    where: Annotated[
        str,
        typer.Option(
            "--where", help="Conditions, for example \"x>=0.5 and y=3/4, status=glass, reason~'Cl-Cl'\"."
        ),
    ] = "",
    columns: Annotated[
        str,
        typer.Option("--columns", "-c", help="Fields, for example composition_id,tetrahedra.AlCl4,density."),
    ] = "",
    fmt: Annotated[
        Format, typer.Option("--format", "-f", help="How to print: table, csv or json.")
    ] = Format.TABLE,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="Most documents; 0 for all.")] = 0,
    figures: Annotated[
        Path | None,
        typer.Option(
            "--figures",
            metavar="FOLDER",
            help="Draw how each cell was made (structures only), into this folder.",
            show_default=False,
        ),
    ] = None,
    sort: Annotated[
        str, typer.Option("--sort", help="Fields to sort by, for example x,-density; a minus sorts downward.")
    ] = "",
    rebuild: Annotated[
        bool,
        typer.Option("--rebuild", help="Make the collections anew from what jobs have returned, first."),
    ] = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Print documents of the store; the collections are brought up to date first."""
    # What cannot be understood is said before a database is started for it.
    parse_where(collection, where)
    chosen = parse_columns(collection, columns)
    sort_order(collection, sort)
    if figures is not None and collection != "structures":
        msg = f"there are no figures of {collection}"
        raise InputError(msg, where="--figures", remedy="ask for structures")
    place = open_workspace(workspace, create=False)
    with LaocStore.open(place) as store:
        store.build(rebuild=rebuild, processes=place.settings.cores)
        rows = store.query(collection, where, sort=sort or None, limit=limit)
        drawn = [] if figures is None else draw(store, rows, figures)
        left_out = n_left_out(store.job_store)
    render(collection, rows, chosen, fmt, standard_console())
    if figures is not None:
        say(f"drew {len(drawn)} figures into {figures}")
    if left_out:
        say(f"{left_out} finished jobs do not fit this version's documents and are left out")


def draw(store: LaocStore, rows: Sequence[Row], folder: Path) -> list[Path]:
    """Draw how cells were made; those of earlier versions have no profile and are left out.

    Parameters
    ----------
    store : LaocStore
        Where the profiles are.
    rows : sequence of mapping
        Whole documents of structures.
    folder : pathlib.Path
        Where to; made if it is not there.

    Returns
    -------
    list of pathlib.Path
        Files, PNG.
    """
    from laoc_flows.report.figures import write_run_figures

    written = []
    for row in rows:
        if row.get("profile"):
            fields = {name: row[name] for name in StructureDocument.model_fields if name in row}
            with as_written(f"the structure {str(row.get('key'))[:12]!r}"):
                document = StructureDocument.model_validate(plain(fields))
            written += write_run_figures(document, store.profile(row), folder, ["png"])
    return written


def print_compositions(workspace: Workspace, campaign_id: str, console: Console) -> None:
    """Print the compositions of a campaign, brought up to date first.

    Parameters
    ----------
    workspace : Workspace
        Where the campaign ran.
    campaign_id : str
        Campaign.
    console : rich.console.Console
        Where to print.
    """
    with LaocStore.open(workspace) as store:
        store.build()
        rows = store.query("compositions", campaign_id=campaign_id)
    render("compositions", rows, (), Format.TABLE, console)


def render(
    collection: str, rows: Sequence[Row], columns: Sequence[Field], fmt: Format | str, console: Console
) -> None:
    """Print documents.

    Parameters
    ----------
    collection : str
        Where they come from.
    rows : sequence of mapping
        Whole documents.
    columns : sequence of Field
        What to print; if empty, the usual columns (table), all plain fields (CSV) or all there is (JSON).
    fmt : Format
        Table, CSV or JSON. Only the table is for people; the others have all digits.
    console : rich.console.Console
        Where to print. A table is as wide as it needs to be unless this is a terminal.
    """
    kind = Format(fmt)
    if kind is Format.JSON:
        picked = [{each.path: each.value(row) for each in columns} for row in rows] if columns else list(rows)
        console.file.write(json.dumps(jsonable(picked), indent=2, allow_nan=False, ensure_ascii=False) + "\n")
    elif kind is Format.CSV:
        chosen = columns or _csv_columns(collection)
        writer = csv.writer(console.file, lineterminator="\n")
        writer.writerow(csv_header(chosen))
        writer.writerows(csv_row(chosen, row) for row in rows)
    else:
        _print_table(collection, rows, columns, console)


def _csv_columns(collection: str) -> tuple[Field, ...]:
    plain = [resolve(collection, name) for name in fields_of(collection) if name not in _NOT_IN_CSV]
    inside = [resolve(collection, path) for path in _INSIDE.get(collection, ())]
    return (*(each for each in plain if each.kind != "nested"), *inside)


def _asked(field: Field) -> Column:
    right = field.kind in ("number", "measured")
    return Column(field.path, lambda row: shown(field.value(row)), right)


def _print_table(collection: str, rows: Sequence[Row], columns: Sequence[Field], console: Console) -> None:
    with as_written(f"one of the {collection}", "see it whole: --format json; make all anew: --rebuild"):
        chosen = tuple(_asked(each) for each in columns) if columns else columns_of(collection, rows)
        notes = [] if columns or not rows else notes_of(collection, rows)
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for column in chosen:
        table.add_column(Text(column.header), justify="right" if column.right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(column.text(row)) for column in chosen))
    before = console.width
    if not console.is_terminal:
        # Files and pipes have no width: nothing is folded or cut for them.
        wide = Measurement.get(console, console.options.update(width=_ENDLESS), table).maximum
        console.width = max(before, wide, *map(len, notes), 1)
    try:
        console.print(table)
        if not rows:
            console.print(Text(f"no {collection}"))
        for note in notes:
            console.print(Text(note, style="dim"))
    finally:
        console.width = before
