"""``laoc plan``."""

from __future__ import annotations

import csv
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from laoc_flows.campaign.file import CampaignFile, write_schema
from laoc_flows.campaign.plan import CampaignPlan, PlanRow
from laoc_flows.campaign.plan import plan as plan_campaign
from laoc_flows.cli.console import console, fails_clearly, say
from laoc_flows.errors import EngineUnavailableError, InputError

_MOST_ROWS = 200
_COLUMNS = {
    "composition": lambda row: row.composition_id,
    "cell": lambda row: row.formula,
    "n_Al": lambda row: str(row.n_al),
    "atoms": lambda row: str(row.n_atoms),
    "production atoms": lambda row: str(row.production_atoms),
    "lambda": lambda row: f"{row.links_per_al:.3f}",
    "box [A]": lambda row: f"{row.box:.2f}",
    "density [g/cm3]": lambda row: f"{row.density:.3f}",
}


class Format(StrEnum):
    """How the plan is printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


@fails_clearly
def plan(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="Campaign file (YAML).", show_default=False)
    ] = None,
    output_format: Annotated[
        Format, typer.Option("--format", help="Table, CSV (the compositions) or JSON (everything).")
    ] = Format.TABLE,
    schema: Annotated[
        Path | None,
        typer.Option(
            "--schema", metavar="PATH", help="Write the JSON Schema of campaign files.", show_default=False
        ),
    ] = None,
) -> None:
    """Show what a campaign will make, without starting or writing anything."""
    if file is None and schema is None:
        msg = "there is no campaign file"
        raise InputError(msg, remedy="give its path, or --schema PATH")
    campaign = None if file is None else CampaignFile.load(file)
    if schema is not None:
        _write_schema(schema)
    if campaign is None:
        return
    planned = plan_campaign(campaign)
    if output_format is Format.JSON:
        typer.echo(planned.model_dump_json(indent=2))
    elif output_format is Format.CSV:
        _print_csv(planned)
    else:
        _print_table(planned)
    try:
        campaign.engine.check_available()
    except EngineUnavailableError as error:
        say(f"note: it cannot run here yet: {error.line}")
    try:
        campaign.spec().check_size()
    except InputError as error:
        say(f"note: it cannot be submitted as a whole: {error.line}")


def _write_schema(path: Path) -> None:
    try:
        write_schema(path)
    except OSError as error:
        msg = f"the schema cannot be written ({error.strerror})"
        raise InputError(msg, where=str(path), remedy="give a path in a directory that exists") from None
    say(f"wrote {path}")


def _print_csv(planned: CampaignPlan) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(PlanRow.model_fields)
    writer.writerows(row.model_dump().values() for row in planned.rows)


def _print_table(planned: CampaignPlan) -> None:
    out = console()
    table = Table(title=planned.campaign_id, title_justify="left")
    for name in _COLUMNS:
        table.add_column(
            Text(name), justify="left" if name in {"composition", "cell"} else "right", no_wrap=True
        )
    for row in planned.rows[:_MOST_ROWS]:
        table.add_row(*(text(row) for text in _COLUMNS.values()))
    out.print(table)
    if len(planned.rows) > _MOST_ROWS:
        out.print(f"... and {len(planned.rows) - _MOST_ROWS} more; --format csv lists all")
    for line in planned.words:
        out.print(line, soft_wrap=True, markup=False)
