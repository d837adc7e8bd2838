"""What a campaign file is expected to look like: reading it strictly, and wording what is wrong with it."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn, TypeAlias, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from laoc_flows.errors import CampaignFileError, LaocError

_MAX_DEPTH: Final = 32
_MAX_INTEGER: Final = 2**63 - 1
_SHOWN: Final = 60
_ABSENT: Final = object()
_UNKNOWN: Final = "unknown key"
Refusal: TypeAlias = tuple[str, str, str | None]
"""Message, remedy and dotted key of a problem that a validator finds."""
_TAG: Final = "tag:yaml.org,2002:"

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


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML 1.2 scalars: 1e-6 is a number, and neither 'no' nor '1:30' is anything but text."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 -- PyYAML's own


_FLOAT = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z|[-+]?\.(inf|Inf|INF)\Z|\.(nan|NaN|NAN)\Z"
)
_Loader.add_implicit_resolver(f"{_TAG}null", re.compile(r"(~|null|Null|NULL|)\Z"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver(
    f"{_TAG}bool", re.compile(r"(true|True|TRUE|false|False|FALSE)\Z"), list("tTfF")
)
_Loader.add_implicit_resolver(f"{_TAG}int", re.compile(r"[-+]?[0-9]+\Z"), list("-+0123456789"))
_Loader.add_implicit_resolver(f"{_TAG}float", _FLOAT, list("-+.0123456789"))

_SCALARS: Final[dict[str, Callable[[str], Any]]] = {
    "str": str,
    "null": lambda _: None,
    "bool": lambda text: {"true": True, "false": False}[text.lower()],
    "int": int,
    "float": lambda text: float(text.lower().replace(".inf", "inf").replace(".nan", "nan")),
}


def read_mapping(path: Path, text: str) -> dict[str, Any]:
    """Read the text of a campaign file into plain values.

    Parameters
    ----------
    path : Path
        File to name in errors.
    text : str
        One YAML document that is a mapping.

    Raises
    ------
    InvalidCampaignError
        If it is anything else, repeats a key, or uses tags, anchors or numbers that are not finite.
    """
    try:
        _scan(path, text)
        node = yaml.compose(text, Loader=_Loader)
    except (yaml.YAMLError, RecursionError) as error:
        reject(path, *_yaml_problem(error, text))
    if node is None:
        reject(path, "the file is empty", "write a campaign; see campaigns/quickstart.yaml")
    problems: list[Problem] = []
    content = _plain(node, (), problems)
    if problems:
        raise InvalidCampaignError(path, problems)
    if not isinstance(content, dict):
        kind = {list: "a list", type(None): "empty"}.get(type(content), "a single value")
        reject(path, f"the file is {kind}, not a mapping", "write one 'key: value' per line")
    return content


def _scan(path: Path, text: str) -> None:
    """Refuse what could blow up before anything is built: aliases and endless nesting."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent):
            place = f"line {event.start_mark.line + 1}" if event.start_mark else "the file"
            reject(path, f"{place} refers to a YAML anchor (*{event.anchor:.40})", "write the value out")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            reject(path, f"more than {_MAX_DEPTH} levels are nested", "remove surplus brackets or indents")


def _yaml_problem(error: Exception, text: str) -> tuple[str, str]:
    mark = getattr(error, "problem_mark", None)
    reason = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be parsed"
    if mark is None:
        return f"the file is not valid YAML ({reason})", "save it as plain text, one 'key: value' per line"
    tabs = "\t" in "".join(text.split("\n")[mark.line : mark.line + 1])
    remedy = "write one 'key: value' per line, and indent what belongs together equally"
    message = f"line {mark.line + 1}, column {mark.column + 1} is not valid YAML ({reason})"
    return message, "indent with spaces, not with tabs" if tabs else remedy


def _plain(node: yaml.Node, path: tuple[str | int, ...], problems: list[Problem]) -> Any:
    kind = node.tag.removeprefix(_TAG)
    if isinstance(node, yaml.MappingNode) and kind == "map":
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else "?"
            value = _plain(value_node, (*path, key), problems)
            if not isinstance(key_node, yaml.ScalarNode):
                problems.append(Problem("a key is not a single word", "write plain keys", path))
            elif key in found:
                message = f"the key is repeated in line {key_node.start_mark.line + 1}"
                problems.append(Problem(message, "keep one of the two", (*path, key), value))
            found[key] = value
        return found
    if isinstance(node, yaml.SequenceNode) and kind == "seq":
        return [_plain(child, (*path, index), problems) for index, child in enumerate(node.value)]
    if not isinstance(node, yaml.ScalarNode) or kind not in _SCALARS:
        tag = f"!!{kind}" if kind != node.tag else node.tag
        problems.append(Problem(f"the YAML tag {tag:.60} is not allowed", "write a plain value", path))
        return None
    try:
        value = _SCALARS[kind](node.value)
    except (ValueError, KeyError):
        problems.append(Problem("is not what its YAML tag says", "write a plain value", path, node.value))
        return None
    if isinstance(value, float) and not math.isfinite(value):
        problems.append(Problem("is not a finite number", "write a finite number", path, value))
    if isinstance(value, int) and abs(value) > _MAX_INTEGER:
        problems.append(Problem("is too large a number", f"write at most {_MAX_INTEGER}", path, value))
    return value


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
    for detail in error.errors(include_url=False):
        context = detail.get("ctx", {})
        for part in context.get("problems", [context]):
            entry = {**detail, "ctx": part, "msg": part.get("message", detail["msg"])}
            path = _real(detail["loc"], content, last=detail["type"] in {"missing", "extra_forbidden"})
            path += tuple(part["at"].split(".")) if part.get("at") else ()
            groups.setdefault(_blamed(path, entry, model), []).append(entry)
    problems: list[Problem] = []
    for path, details in groups.items():
        if len(details) > 1 and any(detail["type"] != "laoc" for detail in details):
            # The branches of a union: what is allowed says more than why each branch is not met.
            value, remedy = _value(path, content), _expected(model, path)
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
        owner = _walk(model, path[:-1])[0]
        return Problem(_UNKNOWN, did_you_mean(str(path[-1]), owner.model_fields), full, value)
    if kind == "missing":
        if isinstance(path[-1], int):
            value = _value(path[:-1], content)
            return Problem("has too few entries", _expected(model, path), full[:-1], value)
        return Problem("is missing", f"add it: {_expected(model, path).removeprefix('expected: ')}", full)
    if kind in {"laoc", "value_error"}:
        message = detail["msg"].removeprefix("Value error, ")
        return Problem(message, detail["ctx"].get("remedy") or _expected(model, path), full, value)
    template = _MESSAGES.get(kind) or _MESSAGES.get(kind.split("_")[0])
    message = (
        template.format(**detail["ctx"]) if template else detail["msg"].replace("Input should", "should")
    )
    remedy = _expected(model, path)
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


def _blamed(
    path: tuple[str | int, ...], detail: dict[str, Any], model: type[BaseModel]
) -> tuple[str | int, ...]:
    """Add the field that a cross-field message begins with: 'low must be below high' is about low."""
    if detail["type"] == "value_error":
        word = detail["msg"].removeprefix("Value error, ").split(" ", 1)[0]
        fields = _walk(model, path)[0].model_fields
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


def _walk(model: type[BaseModel], path: tuple[str | int, ...]) -> tuple[type[BaseModel], FieldInfo | None]:
    field = None
    for part in path:
        if part in model.model_fields:
            field = model.model_fields[str(part)]
            model = next(iter(_models(field.annotation)), model)
    return model, field


def _expected(model: type[BaseModel], path: tuple[str | int, ...]) -> str:
    field = _walk(model, path)[1]
    if field is None or not field.description:
        return "see the JSON schema that 'laoc plan --schema' writes"
    if isinstance(field.default, bool | int | float | str) and field.default != "":
        return f"expected: {field.description}; the default is {shown(field.default)}"
    return f"expected: {field.description}"
