"""``laoc query``: documents of the store as a table, as CSV or as JSON."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from laoc_flows.cli.console import console as standard_console
from laoc_flows.cli.console import fails_clearly, say
from laoc_flows.cli.options import WorkspaceOption, open_workspace
from laoc_flows.store.builders import n_left_out
from laoc_flows.store.catalog import COLLECTIONS, Field, fields_of, resolve
from laoc_flows.store.columns import concise, csv_header, csv_row, is_measured, jsonable, parse_columns, shown
from laoc_flows.store.laoc_store import LaocStore
from laoc_flows.store.query import parse_where, sort_order
from laoc_flows.store.workspace import Workspace

Row = Mapping[str, Any]

_ENDLESS: Final = 100_000
_MAIN_TETRAHEDRA: Final = ("AlCl4", "AlOCl3", "AlO2Cl2")


class Format(StrEnum):
    """How documents are printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Parameters
    ----------
    header : str
        What stands above it.
    cell : callable
        Text of a document.
    right : bool
        Whether the cells are aligned to the right.
    """

    header: str
    cell: Callable[[Row], str]
    right: bool = False


def _at(path: str, header: str | None = None, *, short: int | None = None) -> Column:
    """Make the column of one field; every name in its path is between two dots."""
    parts = tuple(path.split("."))
    field = Field(path, parts, "nested")

    def cell(row: Row) -> str:
        value = field.value(row)
        if isinstance(value, float):
            return f"{value:.3g}"
        return shown(value)[:short]

    return Column(header or parts[-1], cell)


def _right(path: str, header: str | None = None, form: str = ".3g") -> Column:
    """Make the column of one number, with its uncertainty if it has one."""
    field = Field(path, tuple(path.split(".")), "nested")

    def cell(row: Row) -> str:
        value = field.value(row)
        if is_measured(value):
            error = value["standard_error"]
            return concise(value["value"], error) if error else format(value["value"], form)
        return format(value, form) if isinstance(value, float) else shown(value)

    return Column(header or path.rpartition(".")[2], cell, right=True)


def _tetrahedra(row: Row) -> str:
    shares = {
        name: each["value"] for name, each in (row.get("tetrahedra") or {}).items() if is_measured(each)
    }
    if not shares:
        return ""
    main = [shares.get(name, 0.0) for name in _MAIN_TETRAHEDRA]
    return "/".join(f"{100 * share:.0f}" for share in (*main, max(0.0, 1.0 - sum(main))))


def _force(row: Row) -> str:
    error, zero = row.get("force_rmse"), row.get("zero_force_rmse")
    if not is_measured(error) or zero is None:
        return ""
    value, uncertainty = error["value"], error["standard_error"]
    return f"{concise(value, uncertainty) if uncertainty else format(value, '.3g')} ({zero:.2f})"


def _lithium(row: Row) -> str:
    if row.get("li_diffusion"):
        return f"{shown(row['li_diffusion'])} cm^2/s"
    # Without a glass there is nothing to measure: the row says why.
    return str(row.get("li_status") or row.get("status") or "")


_COLUMNS: Final[dict[str, tuple[Column, ...]]] = {
    "compositions": (
        _at("composition_id", "composition"),
        _at("formula"),
        _right("n_atoms", "atoms"),
        _right("density", form=".4g"),
        _right("links_expected", "lambda"),
        _right("links_found", "links"),
        _right("isolated_share", "Al_iso"),
        Column("m=0/1/2/..", _tetrahedra, right=True),
        Column("force RMSE", _force, right=True),
        _right("deviation", "dev.", ".2g"),
        _at("verdict"),
        Column("D(Li)", _lithium),
    ),
    "structures": (
        _at("composition_id", "composition"),
        _at("stage"),
        _right("replica", "#"),
        _at("status"),
        _at("formula"),
        _right("density", form=".4g"),
        _right("links_expected", "lambda"),
        _right("links_found", "links"),
        _right("chains.0.isolated_share", "Al_iso"),
        _at("key", short=12),
    ),
    "transport": (
        _at("composition_id", "composition"),
        _right("replica", "#"),
        _right("temperature", "T [K]"),
        _right("duration", "time [ps]"),
        _at("species.Li.status", "Li"),
        _right("species.Li.exponent", "exponent"),
        _right("species.Li.last_msd", "MSD [A^2]"),
        _right("species.Li.last_lag", "at [ps]"),
        _right("species.Li.diffusion.value", "D(Li) [cm^2/s]"),
        _right("nernst_einstein.value", "sigma [mS/cm]"),
        _right("hops.all.count", "hops"),
        _right("rotations.Cl.rotating.count", "rotating Cl"),
        _at("species.Cl.status", "Cl"),
        _at("key", short=12),
    ),
    "labels": (
        _at("trajectory_id", "trajectory"),
        _right("index", "#"),
        _at("held_out", "test"),
        _at("status"),
        _right("n_atoms", "atoms"),
        _right("energy", "E [eV]", ".3f"),
        _right("max_force", "F [eV/A]"),
        _right("pressure", "P [GPa]"),
        _right("deviation", "dev. [eV/A]"),
        _at("key", short=12),
    ),
    "potentials": (
        _right("iteration"),
        _right("n_models", "models"),
        _right("n_train", "train"),
        _right("n_test", "test"),
        _right("worst_force_rmse", "worst force RMSE [eV/A]"),
        _at("verdict"),
        _at("final"),
        _at("level_of_theory", "level of theory"),
        _at("key", short=12),
    ),
    "iterations": (
        _at("campaign_id", "campaign"),
        _right("iteration"),
        _at("verdict"),
        _right("n_train", "train"),
        _right("n_selected", "selected"),
        _right("worst_force_rmse", "worst force RMSE [eV/A]"),
        _at("potential_key", "potential", short=12),
    ),
}
_CAPTIONS: Final = {
    "compositions": (
        "density in g/cm^3; lambda, links per Al; m: O in AlO_mCl_(4-m), % of Al; "
        "force RMSE (if all forces were zero), dev. in eV/A"
    )
}
_CONDUCTIVITIES: Final = ("nernst_einstein", "collective", "haven_ratio")
_INSIDE: Final = {
    "compositions": [f"tetrahedra.{name}" for name in (*_MAIN_TETRAHEDRA, "AlO3Cl", "AlO4")],
    "structures": [f"tetrahedra.{name}" for name in (*_MAIN_TETRAHEDRA, "AlO3Cl", "AlO4")],
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
    sort: Annotated[
        str, typer.Option("--sort", help="Fields to sort by, for example x,-density; a minus sorts downward.")
    ] = "",
    workspace: WorkspaceOption = None,
) -> None:
    """Print documents of the store; the collections are brought up to date first."""
    # What cannot be understood is said before a database is started for it.
    parse_where(collection, where)
    chosen = parse_columns(collection, columns)
    sort_order(collection, sort)
    with LaocStore.open(open_workspace(workspace, create=False)) as store:
        store.build()
        rows = store.query(collection, where, sort=sort or None, limit=limit)
        left_out = n_left_out(store.job_store)
    render(collection, rows, chosen, fmt, standard_console())
    if left_out:
        say(f"{left_out} finished jobs do not fit this version's documents and are left out")


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


def _notes(collection: str, rows: Sequence[Row]) -> list[str]:
    notes = [_CAPTIONS[collection]] if collection in _CAPTIONS else []
    if collection == "compositions":
        notes += [
            f"{row.get('composition_id')}: {text}" for row in rows for text in row.get("refusals") or ()
        ]
    return notes


def _print_table(collection: str, rows: Sequence[Row], columns: Sequence[Field], console: Console) -> None:
    if columns:
        chosen = tuple(_asked(each) for each in columns)
    else:
        chosen = _COLUMNS[collection]
        if collection == "compositions" and len({row.get("campaign_id") for row in rows}) > 1:
            chosen = (_at("campaign_id", "campaign"), *chosen)
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for column in chosen:
        table.add_column(Text(column.header), justify="right" if column.right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(column.cell(row)) for column in chosen))
    notes = [] if columns or not rows else _notes(collection, rows)
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
