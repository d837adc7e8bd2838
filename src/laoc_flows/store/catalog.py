"""What can be asked for: the collections, their fields, and what kind of value each field has.

The fields come from the schemas, so that a query is checked before it reaches the database.
"""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Annotated, Any, Final, Literal, TypeAlias, Union, get_args, get_origin

from pydantic import BaseModel

from laoc_flows.blobs import BlobRef
from laoc_flows.errors import QueryError
from laoc_flows.schemas.base import Measured
from laoc_flows.schemas.glass import StructureDocument
from laoc_flows.schemas.iteration import IterationDocument
from laoc_flows.schemas.label import LabelRecord
from laoc_flows.schemas.potential import PotentialDocument
from laoc_flows.schemas.summary import CompositionSummary
from laoc_flows.schemas.transport import TransportDocument

Kind: TypeAlias = Literal["number", "measured", "text", "flag", "time", "nested"]
"""How a field is compared and written; 'measured' is a number with its uncertainty."""

_BUILT: Final[dict[str, Any]] = {
    "uuids": tuple[str, ...],
    "campaign_ids": tuple[str, ...],
    "completed_at": str,
    "last_updated": datetime,
}
_PLACE: Final[dict[str, Any]] = {
    "composition_id": str,
    "x": float,
    "y": float,
    "o_to_cl": float,
    "li_to_al": float,
    "trajectory_id": str,
    "stage": str,
    "iteration": int,
    "replica": int,
    "asked_quench_rate": float,
    "held_out": bool,
}
_LABEL: Final[dict[str, Any]] = {
    "schema_name": str,
    "schema_version": int,
    "campaign_id": str,
    "level_of_theory": str,
    "shard": BlobRef,
    "batch_key": str,
    "handlers": tuple[str, ...],
}
_STRUCTURE: Final[dict[str, Any]] = {"melted": bool, "equilibration": str}


def _of(model: type[BaseModel], *extra: Mapping[str, Any]) -> dict[str, Any]:
    fields = {name: each.annotation for name, each in model.model_fields.items()}
    for each in extra:
        fields |= each
    return fields


COLLECTIONS: Final[dict[str, dict[str, Any]]] = {
    "compositions": _of(CompositionSummary, {"last_updated": datetime}),
    "structures": _of(StructureDocument, _STRUCTURE, _PLACE, _BUILT),
    "transport": _of(TransportDocument, _PLACE, _BUILT),
    "labels": _of(LabelRecord, _LABEL, _PLACE, _BUILT),
    "potentials": _of(
        PotentialDocument,
        _BUILT,
        {"worst_force_rmse": float, "n_models": int, "verdict": str, "final": bool},
        {"verdicts": dict[str, str]},
    ),
    "iterations": _of(IterationDocument, _BUILT),
}
"""Type of every field by collection."""

TOLERANT: Final = frozenset({"x", "y", "o_to_cl", "li_to_al"})
"""Fields that hold a rational as a float: they are equal within 1e-9."""

_KINDS: Final[tuple[tuple[tuple[type, ...], Kind], ...]] = (
    ((Measured,), "measured"),
    ((bool,), "flag"),
    ((int, float), "number"),
    ((datetime,), "time"),
    ((str, Enum), "text"),
)
_MOST_NAMES: Final = 20
_INDEX: Final = re.compile(r"\d{1,6}", re.ASCII)


@dataclass(frozen=True)
class Field:
    """A field of a collection.

    Parameters
    ----------
    path : str
        What the user wrote.
    parts : tuple of str
        Names to follow in a document; a name may hold dots (composition ids do).
    kind : str
        How it is compared and written.
    choices : tuple of str, optional
        All values that it can have; empty where any text will do.
    """

    path: str
    parts: tuple[str, ...]
    kind: Kind
    choices: tuple[str, ...] = ()

    @property
    def root(self) -> str:
        """Field of the document that it lies in."""
        return self.parts[0]

    def value(self, document: Mapping[str, Any]) -> Any:
        """Value in a document, None where it is missing."""
        found: Any = document
        for part in self.parts:
            if isinstance(found, Mapping):
                found = found.get(part)
            elif isinstance(found, list | tuple) and part.isdigit() and int(part) < len(found):
                found = found[int(part)]
            else:
                return None
        return found


def fields_of(collection: str) -> dict[str, Any]:
    """Types of the fields of a collection, by name.

    Raises
    ------
    QueryError
        If there is no such collection.
    """
    if collection not in COLLECTIONS:
        msg = f"there is no collection {_shown(collection)}"
        raise QueryError(msg, remedy=suggest(collection, list(COLLECTIONS), "collections"))
    return COLLECTIONS[collection]


def resolve(collection: str, path: str) -> Field:
    """Find a field by its dotted path, such as ``tetrahedra.AlCl4`` or ``provenance.replica``.

    Parameters
    ----------
    collection : str
        Name of the collection.
    path : str
        Field, or fields within each other.

    Raises
    ------
    QueryError
        If the collection has no such field; the message names what is near.
    """
    fields = fields_of(collection)
    names = path.split(".")
    if names[0] not in fields:
        msg = f"{collection} have no field {_shown(path)}"
        raise QueryError(msg, remedy=suggest(names[0], sorted(fields), "fields"))
    if len(names) > _MOST_NAMES or not all(_is_name(name) for name in names):
        msg = f"{_shown(path)} is not a field"
        raise QueryError(
            msg, remedy="write names with single dots between them, for example tetrahedra.AlCl4"
        )
    for parts, annotation in _walk(fields[names[0]], names[1:]):
        return Field(path, (names[0], *parts), _kind(annotation), _choices(annotation))
    msg = f"{collection} have no field {_shown(path)}"
    within = _names_within(fields[names[0]])
    remedy = f"{names[0]} has: {', '.join(within)}" if within else f"{names[0]} has no fields of its own"
    raise QueryError(msg, remedy=remedy)


def _is_name(name: str) -> bool:
    return bool(name) and not name.startswith("$") and name.isprintable()


def _walk(annotation: Any, names: list[str]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the ways to follow names into a type; one name may be several, where keys hold dots."""
    if not names:
        yield (), annotation
        return
    for each in _alternatives(annotation):
        origin, arguments = get_origin(each), get_args(each)
        if isinstance(each, type) and issubclass(each, BaseModel):
            field = each.model_fields.get(names[0])
            if field is not None:
                yield from _prefixed((names[0],), field.annotation, names[1:])
        elif origin is dict and len(arguments) > 1:
            for n in range(1, len(names) + 1):
                yield from _prefixed((".".join(names[:n]),), arguments[1], names[n:])
        elif origin is tuple and arguments and _INDEX.fullmatch(names[0]):
            yield from _prefixed((names[0],), arguments[0], names[1:])


def _prefixed(
    before: tuple[str, ...], annotation: Any, names: list[str]
) -> Iterator[tuple[tuple[str, ...], Any]]:
    for parts, found in _walk(annotation, names):
        yield (*before, *parts), found


def _alternatives(annotation: Any) -> list[Any]:
    """Types that a value may have, None and annotations removed."""
    if get_origin(annotation) is Annotated:
        return _alternatives(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [each for part in get_args(annotation) for each in _alternatives(part)]
    return [] if annotation is type(None) else [annotation]


def _kind(annotation: Any) -> Kind:
    for each in _alternatives(annotation):
        if get_origin(each) is tuple:
            # A condition on a list of plain values holds if one of them fulfills it.
            inner = _kind(get_args(each)[0])
            return inner if inner in ("text", "number") else "nested"
        if isinstance(each, type):
            return next((kind for types_, kind in _KINDS if issubclass(each, types_)), "nested")
    return "nested"


def _names_within(annotation: Any) -> list[str]:
    for each in _alternatives(annotation):
        if isinstance(each, type) and issubclass(each, BaseModel):
            return sorted(each.model_fields)
        if get_origin(each) is dict:
            return ["<key>", *(f"<key>.{name}" for name in _names_within(get_args(each)[1]))]
        if get_origin(each) is tuple:
            return ["0", *(f"0.{name}" for name in _names_within(get_args(each)[0]))]
    return []


def _choices(annotation: Any) -> tuple[str, ...]:
    for each in _alternatives(annotation):
        if isinstance(each, type) and issubclass(each, Enum):
            return tuple(str(choice.value) for choice in each)
    return ()


def suggest(wrong: str, known: Sequence[str], what: str) -> str:
    """Remedy for a word that is not known: what is near, and all that there is."""
    near = difflib.get_close_matches(wrong[:100], known, n=3)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return f"{hint}{what}: {', '.join(known)}"


def _shown(text: str) -> str:
    return f"{text!r:.80}"
