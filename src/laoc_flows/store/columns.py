"""How documents are written as rows: numbers with their uncertainty, nothing that is not a number."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeGuard

from uncertainties import ufloat  # type: ignore[import-untyped,unused-ignore]

from laoc_flows.errors import QueryError
from laoc_flows.store.catalog import Field, fields_of, resolve

_DIGITS: Final = 4
_MOST_COLUMNS: Final = 200


def parse_columns(collection: str, text: str | Sequence[str] | None) -> tuple[Field, ...]:
    """Read a list of columns, such as ``"composition_id,tetrahedra.AlCl4,density"``.

    Parameters
    ----------
    collection : str
        Name of the collection.
    text : str, sequence of str or None
        Dotted paths; a string holds several, joined by commas.

    Raises
    ------
    QueryError
        If the collection has no such field, or there are more than 200 columns.
    """
    fields_of(collection)
    words = text.split(",") if isinstance(text, str) else list(text or ())
    paths = [word.strip() for word in words if word.strip()]
    if len(paths) > _MOST_COLUMNS:
        msg = f"{len(paths)} columns are too many"
        raise QueryError(msg, remedy=f"ask for at most {_MOST_COLUMNS}, or for --format json")
    return tuple(resolve(collection, path) for path in dict.fromkeys(paths))


def concise(value: float, error: float | None) -> str:
    """Write a number with its standard error as ``1.734(12)``; four digits where there is no error.

    Parameters
    ----------
    value : float
        The number.
    error : float or None
        Its standard error.
    """
    if not math.isfinite(value):
        return ""
    if error is None or not math.isfinite(error) or error <= 0:
        return f"{value:.{_DIGITS}g}"
    return f"{ufloat(value, error):.2uS}"


def shown(value: Any) -> str:
    """Write a value for people."""
    text = "" if value is None else str(value)
    if is_measured(value):
        text = concise(value["value"], value["standard_error"])
    elif isinstance(value, Mapping):
        text = ", ".join(f"{name} {shown(each)}" for name, each in value.items())
    elif isinstance(value, list | tuple):
        text = ", ".join(shown(each) for each in value)
    elif isinstance(value, bool):
        text = "yes" if value else "no"
    elif isinstance(value, float):
        text = concise(value, None)
    elif isinstance(value, datetime):
        text = zoned(value).strftime("%Y-%m-%d %H:%M:%S")
    return text


def is_measured(value: Any) -> TypeGuard[Mapping[str, Any]]:
    """Whether a stored value is a number with its uncertainty."""
    return isinstance(value, Mapping) and {"value", "standard_error", "unit"} <= value.keys()


def zoned(time: datetime) -> datetime:
    """Time as the database gives it, with its zone."""
    return time.replace(tzinfo=time.tzinfo or UTC)


def jsonable(value: Any) -> Any:
    """Value in types that JSON has; a number that is not finite is null, as JSON has none."""
    if isinstance(value, Mapping):
        return {str(name): jsonable(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, datetime):
        return zoned(value).isoformat()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def csv_header(columns: Sequence[Field]) -> list[str]:
    """Names of the columns of a CSV file; a number with an uncertainty has two, ``density,density_error``."""
    names = []
    for column in columns:
        names += [column.path, f"{column.path}_error"] if column.kind == "measured" else [column.path]
    return names


def csv_row(columns: Sequence[Field], document: Mapping[str, Any]) -> list[str]:
    """Cells of one row of a CSV file; missing values are empty, nested ones are JSON."""
    cells = []
    for column in columns:
        value = jsonable(column.value(document))
        if column.kind == "measured":
            pair = (value["value"], value["standard_error"]) if is_measured(value) else (None, None)
            cells += [_csv_cell(each) for each in pair]
        else:
            cells.append(_csv_cell(value))
    return cells


def _csv_cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return json.dumps(value, allow_nan=False, ensure_ascii=False)
