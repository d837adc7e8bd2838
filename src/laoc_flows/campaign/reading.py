"""Reading the text of a campaign file into plain values: YAML 1.2 without anything that surprises."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import yaml

from laoc_flows.campaign.expect import InvalidCampaignError, Problem, reject

_MAX_DEPTH: Final = 32
_MAX_INTEGER: Final = 2**63 - 1
_TAG: Final = "tag:yaml.org,2002:"


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
