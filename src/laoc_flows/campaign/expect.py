"""What a campaign file is expected to look like: validating it strictly, and wording what is wrong with it."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn, TypeAlias, get_args

from pydantic import BaseModel, Discriminator, Tag, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from laoc_flows.errors import CampaignFileError, LaocError

_SHOWN: Final = 60
_ABSENT: Final = object()
_UNKNOWN: Final = "unknown key"
Refusal: TypeAlias = tuple[str, str, str | None]
"""Message, remedy and dotted key of a problem that a validator finds."""

_MESSAGES: Final[dict[str, str]] = {
    "int": "is not a whole number",
    "float": "is not a number",
    "finite": "is not a finite number",
    "string": "is not text",
    "bool": "is neither true nor false",
    "tuple": "is not a list",
    "list": "is not a list",
    "model": "is not a mapping of keys to values",
    "dict": "is not a mapping of keys to values",
    "greater_than": "must be above {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be below {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "literal_error": "must be {expected}",
    "too_short": "has fewer entries than {min_length}",
    "too_long": "has more entries than {max_length}",
    "string_too_short": "is empty",
    "string_pattern_mismatch": "does not have the form that is asked for",
}


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a campaign file.

    Parameters
    ----------
    message : str
        What is wrong.
    remedy : str
        What to do about it.
    path : tuple of str and int
        Keys and list indices that lead to it.
    value : object, optional
        What stands there.
    """

    message: str
    remedy: str
    path: tuple[str | int, ...] = ()
    value: Any = _ABSENT

    def where(self, file: str) -> str:
        """File, key and value, such as ``a.yaml: cell.n_al = 0``."""
        text = f"{file}: {_dotted(self.path)}" if self.path else file
        return text if self.value is _ABSENT else f"{text} = {shown(self.value)}"


class InvalidCampaignError(CampaignFileError):
    """A campaign file with all of its problems.

    Parameters
    ----------
    file : Path
        The file.
    problems : sequence of Problem
        At least one.

    Attributes
    ----------
    lines : tuple of str
        One line for each problem.
    """

    def __init__(self, file: Path, problems: Sequence[Problem]) -> None:
        name = str(file) if str(file).isprintable() else repr(str(file))
        errors = [LaocError(p.message, where=p.where(name), remedy=p.remedy) for p in problems]
        self.lines = tuple(error.line for error in errors)
        super().__init__(errors[0].message, where=errors[0].where, remedy=errors[0].remedy)

    @property
    def line(self) -> str:
        """The first problem, and how many more there are."""
        more = len(self.lines) - 1
        return f"{self.lines[0]} (and {more} more)" if more else self.lines[0]


def reject(file: Path, message: str, remedy: str) -> NoReturn:
    """Raise InvalidCampaignError for a file as a whole."""
    raise InvalidCampaignError(file, [Problem(message, remedy)]) from None


def refuse(message: str, remedy: str, at: str | None = None) -> NoReturn:
    """Fail a validator: what is wrong, what to do, and the dotted key below the model that is to blame."""
    refuse_all([(message, remedy, at)])


def refuse_all(problems: Iterable[Refusal]) -> NoReturn:
    """Fail a validator for several reasons."""
    listed = [{"message": message, "remedy": remedy, "at": at} for message, remedy, at in problems]
    kind = "laoc"
    raise PydanticCustomError(kind, "{message}", {"message": listed[0]["message"], "problems": listed})


def shown(value: Any) -> str:
    """Write a value as the campaign file spells it, in one line and shortened."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else f"{'-' if value < 0 else ''}.inf"
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _dotted(path: Iterable[str | int]) -> str:
    words = (
        part if isinstance(part, int) or re.fullmatch(r"[\w-]{1,60}", part) else shown(part) for part in path
    )
    return "".join(f"[{word}]" if isinstance(word, int) else f".{word}" for word in words).removeprefix(".")


def validate(model: type[BaseModel], content: Mapping[str, Any], at: tuple[str | int, ...] = ()) -> Any:
    """Validate plain values strictly.

    Parameters
    ----------
    model : type
        Model to make.
    content : mapping
        What was read.
    at : tuple of str and int
        Keys that lead to it in the file.

    Returns
    -------
    pydantic.BaseModel or list of Problem
        The model, or what is wrong, unknown keys first.
    """
    try:
        # As JSON, because strict validation of JSON takes lists for tuples but no text for numbers.
        return model.model_validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        return _problems(error, model, content, at)


def _problems(
    error: ValidationError, model: type[BaseModel], content: Mapping[str, Any], at: tuple[str | int, ...]
) -> list[Problem]:
    groups: dict[tuple[str | int, ...], list[dict[str, Any]]] = {}
    found = error.errors(include_url=False)
    for detail in found:
        if detail["type"] == "too_short" and any(_within(other["loc"], detail["loc"]) for other in found):
            continue  # only what is right was counted
        context = detail.get("ctx", {})
        for part in context.get("problems", [context]):
            entry = {**detail, "ctx": part, "msg": part.get("message", detail["msg"])}
            path = _real(detail["loc"], content, last=detail["type"] in {"missing", "extra_forbidden"})
            path += tuple(part["at"].split(".")) if part.get("at") else ()
            groups.setdefault(_blamed(path, entry, model, content), []).append(entry)
    problems: list[Problem] = []
    for path, details in groups.items():
        if len(details) > 1 and any(detail["type"] != "laoc" for detail in details):
            # The branches of a union: what is allowed says more than why each branch is not met.
            value, remedy = _value(path, content), _expected(model, path, content)
            problems.append(Problem("is none of the allowed values", remedy, (*at, *path), value))
        else:
            problems += [_problem(detail, path, model, content, at) for detail in details]
    return sorted(problems, key=lambda problem: problem.message != _UNKNOWN)


def _problem(
    detail: dict[str, Any],
    path: tuple[str | int, ...],
    model: type[BaseModel],
    content: Mapping[str, Any],
    at: tuple[str | int, ...],
) -> Problem:
    kind, value = detail["type"], _value(path, content)
    full = (*at, *path)
    if kind == "extra_forbidden":
        owner = _walk(model, path[:-1], content)[0]
        return Problem(_UNKNOWN, did_you_mean(str(path[-1]), _names(owner)), full, value)
    if kind == "missing":
        if isinstance(path[-1], int):
            value = _value(path[:-1], content)
            return Problem("has too few entries", _expected(model, path, content), full[:-1], value)
        return Problem(
            "is missing", f"add it: {_expected(model, path, content).removeprefix('expected: ')}", full
        )
    if kind in {"laoc", "value_error"}:
        message = detail["msg"].removeprefix("Value error, ")
        return Problem(message, detail["ctx"].get("remedy") or _expected(model, path, content), full, value)
    template = _MESSAGES.get(kind) or _MESSAGES.get(kind.split("_")[0])
    message = (
        template.format(**detail["ctx"]) if template else detail["msg"].replace("Input should", "should")
    )
    remedy = _expected(model, path, content)
    if isinstance(value, str) and kind.split("_")[0] in {"int", "float"}:
        remedy = f"write a number without quotes; {remedy}"
    return Problem(message, remedy, full, value)


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """Remedy for an unknown word: the closest allowed one, and all of them."""
    names = list(allowed)
    close = difflib.get_close_matches(word, names, n=1)
    return (f"did you mean {close[0]!r}? " if close else "") + f"allowed: {', '.join(names)}"


def _real(loc: tuple[str | int, ...], content: Any, *, last: bool) -> tuple[str | int, ...]:
    """Drop from a location what is no key of the file: the names of a union's branches."""
    path: list[str | int] = []
    node = content
    for index, part in enumerate(loc):
        found = _step(node, part)
        if found is not _ABSENT:
            node = found
        elif not (last and index == len(loc) - 1):
            continue
        path.append(part)
    return tuple(path)


def _within(inner: tuple[str | int, ...], outer: tuple[str | int, ...]) -> bool:
    return len(inner) > len(outer) and inner[: len(outer)] == outer


def _blamed(
    path: tuple[str | int, ...], detail: dict[str, Any], model: type[BaseModel], content: Any
) -> tuple[str | int, ...]:
    """Add the field that a cross-field message begins with: 'low must be below high' is about low."""
    if detail["type"] == "value_error":
        word = detail["msg"].removeprefix("Value error, ").split(" ", 1)[0]
        fields = _names(_walk(model, path, content)[0])
        for name in (word, f"{word}s"):
            if name in fields and (not path or path[-1] != name):
                return (*path, name)
    return path


def _step(node: Any, part: str | int) -> Any:
    if isinstance(node, Mapping) and part in node:
        return node[part]
    if isinstance(node, list) and isinstance(part, int) and part < len(node):
        return node[part]
    return _ABSENT


def _value(path: tuple[str | int, ...], content: Any) -> Any:
    for part in path:
        content = _step(content, part)
    return content


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models(argument)]


def _names(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Fields by the names that a file spells them with."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _branch(field: FieldInfo, node: Any) -> type[BaseModel] | None:
    """Model of a field; of a union the one that its discriminator chooses for what the file has there."""
    models = _models(field.annotation)
    choose = next((each for each in field.metadata if isinstance(each, Discriminator)), field.discriminator)
    if len(models) > 1 and isinstance(choose, Discriminator) and callable(choose.discriminator):
        tag = choose.discriminator(node)
        for branch in get_args(field.annotation):
            if any(isinstance(each, Tag) and each.tag == tag for each in getattr(branch, "__metadata__", ())):
                models = _models(branch) or models
    return next(iter(models), None)


def _walk(
    model: type[BaseModel], path: tuple[str | int, ...], content: Any
) -> tuple[type[BaseModel], FieldInfo | None]:
    field = None
    for part in path:
        content = _step(content, part)
        found = _names(model).get(str(part))
        if found is not None:
            field, model = found, _branch(found, content) or model
    return model, field


def _expected(model: type[BaseModel], path: tuple[str | int, ...], content: Any) -> str:
    field = _walk(model, path, content)[1]
    if field is None or not field.description:
        return "see the JSON schema that 'laoc plan --schema' writes"
    if isinstance(field.default, bool | int | float | str) and field.default != "":
        return f"expected: {field.description}; the default is {shown(field.default)}"
    return f"expected: {field.description}"
