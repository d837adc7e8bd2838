"""What ``laoc query`` prints of each collection by default, and what it says below the table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from laoc_flows.errors import UNREADABLE
from laoc_flows.store.catalog import Field
from laoc_flows.store.columns import concise, is_measured, shown

Row = Mapping[str, Any]

MAIN_TETRAHEDRA: Final = ("AlCl4", "AlOCl3", "AlO2Cl2")
_SHORT: Final = 60


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

    def text(self, row: Row) -> str:
        """Cell of a document; a value that is not as this version writes it does not hide the others."""
        try:
            return self.cell(row)
        except UNREADABLE:
            return "unreadable"


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
    main = [shares.get(name, 0.0) for name in MAIN_TETRAHEDRA]
    return "/".join(f"{100 * share:.0f}" for share in (*main, max(0.0, 1.0 - sum(main))))


def _force(row: Row) -> str:
    error, zero = row.get("force_rmse"), row.get("zero_force_rmse")
    if not is_measured(error) or zero is None:
        return ""
    value, uncertainty = error["value"], error["standard_error"]
    return f"{concise(value, uncertainty) if uncertainty else format(value, '.3g')} ({zero:.2f})"


def _melted(row: Row) -> str:
    melt = row.get("melt")
    if not melt:
        return ""
    return ("yes" if melt["passed"] else "no") + (
        f" ({100 * melt['bragg']:.0f} %)" if melt.get("bragg") is not None else ""
    )


def _log(row: Row) -> str:
    log = row.get("log")
    return str(log["sha256"])[:12] if log else ""


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
        Column("melted", _melted),
        _right("asked_quench_rate", "asked"),
        _right("quench_rate", "K/ps"),
        _at("equilibration", "pressure"),
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
        _at("reason", short=_SHORT),
        _at("handlers"),
        Column("log", _log),
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
    ),
    "structures": (
        "melted (Bragg order left); asked and K/ps, quench rate asked for and achieved; pressure, whether the density "
        "was equilibrated; density in g/cm^3; lambda, links per Al"
    ),
}


def columns_of(collection: str, rows: Sequence[Row]) -> tuple[Column, ...]:
    """Columns that a collection has by default.

    Parameters
    ----------
    collection : str
        Name of the collection.
    rows : sequence of mapping
        What will be printed: summaries and potentials of several campaigns name theirs.
    """
    chosen = _COLUMNS[collection]
    if collection in {"compositions", "potentials"} and len({row.get("campaign_id") for row in rows}) > 1:
        chosen = (_at("campaign_id", "campaign"), *chosen)
    return chosen


def notes_of(collection: str, rows: Sequence[Row]) -> list[str]:
    """Lines below the table: what its columns mean, and what no column can hold.

    Parameters
    ----------
    collection : str
        Name of the collection.
    rows : sequence of mapping
        What was printed.
    """
    notes = [_CAPTIONS[collection]] if collection in _CAPTIONS else []
    for row in rows:
        texts: list[str] = []
        if collection == "compositions":
            texts = [*(row.get("refusals") or ()), *_rates(row), *_reference(row)]
        elif collection == "structures":
            texts = [*(row.get("warnings") or ()), *([row["reason"]] if row.get("reason") else ())]
        place = f"{row.get('composition_id')}"
        if collection == "structures":
            place += f" {row.get('stage')} {row.get('replica')}"
        notes += [f"{place}: {text}" for text in texts]
    return notes


def _rates(row: Row) -> list[str]:
    """Glasses of every quench rate, where there are several."""
    texts = []
    for each in row.get("by_rate") or ():
        rate = "own rate" if each["quench_rate"] is None else f"{each['quench_rate']:g} K/ps"
        found = [f"{each['n_glasses']} glasses, {each['n_refused']} refused"]
        found += [
            f"{name} {shown(each[field])}"
            for field, name in (("density", "density"), ("isolated_share", "Al_iso"))
            if each.get(field)
        ]
        found.append(f"D(Li) {_lithium(each)}" if each.get("li_diffusion") else f"Li {_lithium(each)}")
        texts.append(f"{rate}: {', '.join(found)}")
    return texts


def _reference(row: Row) -> list[str]:
    """Runs of the reference engine, which are in no other number."""
    n, refused = row.get("n_reference") or 0, row.get("n_reference_refused") or 0
    if not n and not refused:
        return []
    found = [f"{n} glasses, {refused} refused"]
    if row.get("reference_isolated_share"):
        found.append(f"Al_iso {shown(row['reference_isolated_share'])}")
    if row.get("reference_li_status"):
        found.append(f"Li {row['reference_li_status']}")
    if row.get("reference_li_last_msd"):
        lag = row.get("reference_li_last_lag") or 0.0
        found.append(f"MSD(Li) {shown(row['reference_li_last_msd'])} A^2 at {lag:g} ps")
    return [f"run with the reference engine: {', '.join(found)}"]
