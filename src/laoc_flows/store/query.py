"""The little language of ``--where``: terms joined by ``and`` or commas, data and never code.

``x>=0.5``, ``0.5<=x<=1``, ``y = 3/4``, ``status=glass``, ``reason ~ "Cl-Cl"``, ``density.value > 1.7``,
``o_to_cl=none``. A term compares one field with one literal; there is no way to write an operator of the database.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from laoc_flows.composition import as_fraction
from laoc_flows.errors import CompositionError, QueryError
from laoc_flows.schemas.imported import CAMPAIGN_ID
from laoc_flows.store.catalog import TOLERANT, Field, fields_of, resolve, suggest

TOLERANCE: Final = 1e-9
"""Within which two values of x, y, O/Cl or Li/Al are equal [1]."""

MAX_LENGTH: Final = 10_000
MAX_TERMS: Final = 200

OPERATORS: Final = ("=", "!=", "<", "<=", ">", ">=", "~")
_FLIPPED: Final = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "=", "!=": "!="}
_MONGO: Final = {"<": "$lt", "<=": "$lte", ">": "$gt", ">=": "$gte"}
_TOKEN: Final = re.compile(
    r"""(?P<space>\s+)
    | (?P<quoted>"[^"]*"|'[^']*')
    | (?P<operator><=|>=|!=|==|[=<>~])
    | (?P<comma>,)
    | (?P<word>[^\s,<>=!~"']+)""",
    re.VERBOSE,
)
_NUMBER_START: Final = re.compile(r"[+-]?[.\d]")
_EXAMPLE: Final = "for example: x>=0.5 and y=0.75 and status=glass"
_NONE: Final = frozenset({"none", "null"})
_CAMPAIGNS: Final = frozenset({"campaign_id", "campaign_ids"})
_FLAGS: Final = {"true": True, "yes": True, "false": False, "no": False}

Condition = tuple[str, str, str, bool]
"""Field, operator, literal, and whether the literal was quoted."""


def parse_where(collection: str, text: str) -> dict[str, Any]:
    """Translate an expression into a filter of the database.

    Parameters
    ----------
    collection : str
        Name of the collection.
    text : str
        Terms joined by ``and`` or commas; all must hold. A term is ``field operator value`` or, for numbers, a
        range such as ``0.5 <= x < 1``. Operators: = != < <= > >= and ~ (contains, in whatever case). Numbers may
        be ratios such as 1/3; text with spaces, commas or operators is quoted; ``none`` is a missing value.

    Returns
    -------
    dict
        Filter; empty for an empty expression.

    Raises
    ------
    QueryError
        If the expression cannot be understood, or asks for a field that the collection does not have.

    Examples
    --------
    >>> parse_where("structures", "0.5 <= iteration, stage = production")
    {'$and': [{'iteration': {'$gte': 0.5}}, {'stage': {'$eq': 'production'}}]}
    """
    fields_of(collection)
    if len(text) > MAX_LENGTH:
        msg = f"the condition is longer than {MAX_LENGTH} characters"
        raise QueryError(msg, remedy="ask for less at once")
    terms = _terms(_tokens(text))
    if len(terms) > MAX_TERMS:
        msg = f"there are more than {MAX_TERMS} conditions"
        raise QueryError(msg, remedy="ask for less at once")
    return conjunction(
        condition(collection, *each) for term in terms for each in _conditions(collection, term)
    )


def where_from(collection: str, where: str | Mapping[str, Any] | None) -> dict[str, Any]:
    """Translate conditions into a filter of the database.

    Parameters
    ----------
    collection : str
        Name of the collection.
    where : str, mapping or None
        An expression for `parse_where`; or field -> value, field -> (low, high) with None for an open end,
        field -> list of values one of which must hold. Operators of the database are refused.

    Raises
    ------
    QueryError
        If a condition cannot be understood.
    """
    fields_of(collection)
    if where is None:
        return {}
    if isinstance(where, str):
        return parse_where(collection, where)
    found = []
    for name, value in where.items():
        if not isinstance(name, str):
            msg = f"{name!r:.80} is not a field"
            raise QueryError(msg, remedy="give a mapping of field names to values")
        if isinstance(value, tuple):
            if len(value) != 2:  # noqa: PLR2004
                msg = f"{name}: a range is a pair (low, high), not {len(value)} values"
                raise QueryError(msg, remedy="use None for an open end, a list for alternatives")
            bounds = zip((">=", "<="), value, strict=True)
            found += [
                condition(collection, name, sign, _literal(bound), False)
                for sign, bound in bounds
                if bound is not None
            ]
        elif isinstance(value, list):
            if not value:
                msg = f"{name}: there is nothing in the list"
                raise QueryError(msg, remedy="give at least one value")
            found.append({"$or": [_equal(collection, name, each) for each in value]})
        else:
            found.append(_equal(collection, name, value))
    return conjunction(found)


def conjunction(filters: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """One filter that holds where all of them hold."""
    found = [dict(each) for each in filters if each]
    return {} if not found else found[0] if len(found) == 1 else {"$and": found}


def condition(collection: str, name: str, sign: str, literal: str, quoted: bool) -> dict[str, Any]:
    """Translate one comparison into a filter of the database.

    Parameters
    ----------
    collection, name : str
        Collection and field.
    sign : str
        One of `OPERATORS`.
    literal : str
        What the field is compared with, as text.
    quoted : bool
        Whether it is text whatever it looks like.

    Raises
    ------
    QueryError
        If the field is unknown, or its kind does not take this operator or this value.
    """
    if sign not in OPERATORS:
        msg = f"{sign!r:.20} is not an operator"
        raise QueryError(msg, remedy=f"use one of {' '.join(OPERATORS)}")
    field = resolve(collection, _alias(collection, name))
    path = _database_path(field)
    if not quoted and literal.lower() in _NONE and sign in ("=", "!="):
        return {path: {"$eq" if sign == "=" else "$ne": None}}
    if field.kind == "nested":
        msg = f"{field.path} has no single value that could be compared"
        raise QueryError(msg, remedy=f"ask for a field within it, for example {field.path}.<name>")
    if field.kind in ("number", "measured"):
        return _number_condition(field, path, sign, literal)
    if field.kind == "time":
        return _time_condition(field, path, sign, literal)
    if field.kind == "flag":
        if literal.lower() not in _FLAGS or sign not in ("=", "!="):
            msg = f"{field.path} {sign} {_shown(literal)}: it is either true or false"
            raise QueryError(msg, remedy=f"write {field.path}=true or {field.path}=false")
        return {path: {"$eq": _FLAGS[literal.lower()] is (sign == "=")}}
    return _text_condition(field, path, sign, literal)


def _number_condition(field: Field, path: str, sign: str, literal: str) -> dict[str, Any]:
    if sign == "~":
        msg = f"{field.path} is a number and contains nothing"
        raise QueryError(msg, remedy="use = != < <= > >=")
    value = _number(field.path, literal)
    slack = TOLERANCE if path in TOLERANT else 0.0
    if sign in ("=", "!=") and slack:
        low, high = value - slack, value + slack
        if sign == "=":
            return {path: {"$gte": low, "$lte": high}}
        return {"$or": [{path: {"$lt": low}}, {path: {"$gt": high}}]}
    if sign in ("=", "!="):
        return {path: {"$eq" if sign == "=" else "$ne": value}}
    # A bound that is meant exactly is not missed by a rounding error, and is not passed by one.
    value += slack if sign in ("<=", ">") else -slack
    return {path: {_MONGO[sign]: value}}


def _time_condition(field: Field, path: str, sign: str, literal: str) -> dict[str, Any]:
    try:
        time = datetime.fromisoformat(literal)
        time = time.replace(tzinfo=time.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        time = None
    if time is None or sign == "~":
        msg = f"{field.path} {sign} {_shown(literal)}: this is no comparison of times"
        raise QueryError(msg, remedy=f"write a date in UTC, for example {field.path}>=2025-01-31T12:00")
    if sign in ("=", "!="):
        return {path: {"$eq" if sign == "=" else "$ne": time}}
    return {path: {_MONGO[sign]: time}}


def _text_condition(field: Field, path: str, sign: str, literal: str) -> dict[str, Any]:
    try:
        literal.encode()
    except UnicodeEncodeError:
        literal = "\0"
    if "\0" in literal:
        msg = f"{field.path}: the text holds characters that no document holds"
        raise QueryError(msg, remedy="write plain text")
    if sign == "~":
        return {path: {"$regex": re.escape(literal), "$options": "i"}}
    if sign in _MONGO:
        msg = f"{field.path} is text, for which {sign} has no meaning"
        raise QueryError(msg, remedy="use = != or ~ (contains)")
    if field.choices and literal not in field.choices:
        msg = f"{field.path} is never {_shown(literal)}"
        raise QueryError(
            msg, remedy=suggest(literal, field.choices, "~ finds a part; in quotes it is one of")
        )
    if path in _CAMPAIGNS and not CAMPAIGN_ID.search(literal):
        # A name stands for every campaign of that name; an import has no other.
        named = {"$regex": f"^{re.escape(literal)}(-[0-9a-f]{{12}})?$"}
        return {path: named if sign == "=" else {"$not": named}}
    return {path: {"$eq" if sign == "=" else "$ne": literal}}


def _number(name: str, literal: str) -> float:
    try:
        return float(as_fraction(literal))
    except (CompositionError, OverflowError):
        msg = f"{name}: {_shown(literal)} is not a number"
        raise QueryError(msg, remedy='write an integer, a decimal or a ratio such as "1/3"') from None


def _alias(collection: str, name: str) -> str:
    # What several campaigns share belongs to each of them.
    return "campaign_ids" if name == "campaign_id" and "campaign_ids" in fields_of(collection) else name


def _database_path(field: Field) -> str:
    if any("." in part for part in field.parts):
        msg = f"{field.path} can be shown but not compared: a name in it holds dots"
        raise QueryError(msg, remedy="ask the collection 'compositions' instead")
    return ".".join((*field.parts, "value") if field.kind == "measured" else field.parts)


def sort_order(collection: str, text: str) -> list[tuple[str, int]]:
    """Translate ``"x,-density"`` into the sort order of the database; a minus sorts downward.

    Raises
    ------
    QueryError
        If a field is unknown.
    """
    order = []
    for word in filter(None, (each.strip() for each in text.split(","))):
        field = resolve(collection, word.removeprefix("-"))
        order.append((_database_path(field), -1 if word.startswith("-") else 1))
    return order


def _equal(collection: str, name: str, value: Any) -> dict[str, Any]:
    return condition(collection, name, "=", _literal(value), isinstance(value, str))


def _literal(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float):
        return float.__repr__(value)  # numpy's float64 writes its own name around the number
    if isinstance(value, bool | int | str) or type(value).__name__ == "Fraction":
        return str(value)
    if hasattr(value, "__index__"):
        return str(value.__index__())
    msg = f"{value!r:.80} is not a value that a field could have"
    raise QueryError(msg, remedy="give numbers, text, true or false")


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens, position = [], 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            msg = f"the condition cannot be read from {_shown(text[position:])} on"
            raise QueryError(msg, remedy=f"quotes come in pairs, and ! is only a part of !=; {_EXAMPLE}")
        position = match.end()
        if match.lastgroup != "space":
            tokens.append((str(match.lastgroup), match.group()))
    return tokens


def _terms(tokens: list[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    terms: list[list[tuple[str, str]]] = [[]]
    for kind, text in tokens:
        if kind == "comma" or (kind == "word" and text.lower() == "and"):
            terms.append([])
        else:
            terms[-1].append((kind, text))
    if not terms[-1] and len(terms) > 1 and tokens[-1][0] == "comma":
        terms.pop()
    if terms == [[]]:
        return []
    if any(not term for term in terms):
        msg = "there is nothing between two joining words"
        raise QueryError(msg, remedy=_EXAMPLE)
    return terms


def _conditions(collection: str, term: list[tuple[str, str]]) -> list[Condition]:
    """Split ``field op value``, ``value op field`` or ``low op field op high`` into conditions."""
    kinds = ["operator" if kind == "operator" else "operand" for kind, _ in term]
    shown = " ".join(text for _, text in term)
    if kinds == ["operand", "operator", "operand"]:
        left, (_, sign), right = term
        # A literal comes first only as a number, and no field begins like one.
        if left[0] == "word" and _NUMBER_START.match(left[1]) and _sign(sign) in _FLIPPED:
            return [_condition(right, _FLIPPED[_sign(sign)], left)]
        return [_condition(left, _sign(sign), right)]
    if kinds == ["operand", "operator", "operand", "operator", "operand"]:
        low, (_, first), middle, (_, second), high = term
        if first[0] == second[0] and first[0] in "<>":
            return [_condition(middle, _FLIPPED[first], low), _condition(middle, second, high)]
        msg = f"{_shown(shown)} is not a range"
        raise QueryError(msg, remedy="write low <= field <= high, for example 0.5<=x<=1")
    msg = f"{_shown(shown)} is not a condition on a field of {collection}"
    if any(text.lower() in ("or", "not", "in", "like") for kind, text in term if kind == "word"):
        raise QueryError(msg, remedy=f"conditions are joined by 'and' only; {_EXAMPLE}")
    raise QueryError(msg, remedy=f"write field operator value, and quote text with spaces; {_EXAMPLE}")


def _sign(sign: str) -> str:
    return "=" if sign == "==" else sign


def _condition(field: tuple[str, str], sign: str, literal: tuple[str, str]) -> Condition:
    if field[0] == "quoted":
        msg = f"{_shown(field[1])} is quoted and therefore no field"
        raise QueryError(msg, remedy=_EXAMPLE)
    quoted = literal[0] == "quoted"
    return field[1], sign, literal[1][1:-1] if quoted else literal[1], quoted


def _shown(text: str) -> str:
    return f"{text!r:.80}"
