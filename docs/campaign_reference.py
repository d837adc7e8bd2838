"""Writes the reference of the campaign file from the pydantic models that read it."""

from __future__ import annotations

import types
import typing
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Tag
from pydantic_core import PydanticUndefined

from laoc_flows.campaign.file import CampaignFile
from laoc_flows.engines.registry import ENGINES, engine_class


def write_reference(directory: Path) -> None:
    directory.mkdir(exist_ok=True)
    lines = [
        "# Campaign file",
        "",
        "Every key that a campaign file may have, written from the model that reads it. Unknown keys are refused. Units",
        "are in square brackets. `laoc plan FILE --schema campaign.schema.json` writes the same as a JSON Schema, with which",
        "editors complete and check the file while you type.",
        "",
    ]
    _section(CampaignFile, "", lines, level=2, seen=set())
    lines += ["## Engines", "", "The mapping `engine` has the key `name` and the keys of that engine.", ""]
    for name in sorted(ENGINES):
        cls = engine_class(name)
        lines += [f"### `engine: {{name: {name}}}`", "", (cls.__doc__ or "").strip().splitlines()[0], ""]
        _table(cls, lines, skip={"name"})
    (directory / "campaign-file.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _section(
    model: type[BaseModel],
    prefix: str,
    lines: list[str],
    level: int,
    seen: set[tuple[str, str]],
    form: str = "",
) -> None:
    title = f"`{prefix}`{form}" if prefix else "Top level"
    lines += ["#" * min(level, 4) + f" {title}", "", (model.__doc__ or "").strip().splitlines()[0], ""]
    _table(model, lines)
    for name, field in model.model_fields.items():
        for nested, tag in _models(field.annotation):
            path = f"{prefix}.{field.alias or name}".lstrip(".")
            if (path, nested.__name__) not in seen and nested.__name__ != "Engine":
                seen.add((path, nested.__name__))
                several = len(_models(field.annotation)) > 1
                _section(nested, path, lines, level + 1, seen, f", {tag}" if several else "")


def _table(model: type[BaseModel], lines: list[str], skip: set[str] = frozenset()) -> None:
    lines += ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    for name, field in model.model_fields.items():
        if name in skip:
            continue
        cells = [
            f"`{field.alias or name}`",
            _type(field.annotation),
            _default(field),
            field.description or "",
        ]
        lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    lines.append("")


def _models(annotation: Any, tag: str = "") -> list[tuple[type[BaseModel], str]]:
    """Models of a field; those of a union with what tells them apart."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [(annotation, tag)]
    for each in getattr(annotation, "__metadata__", ()):
        tag = each.tag if isinstance(each, Tag) else tag
    return [model for part in typing.get_args(annotation) for model in _models(part, tag)]


def _type(annotation: Any) -> str:
    if annotation is None or annotation is type(None):
        return "none"
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _type(parts[0])
    if origin is typing.Literal:
        return " or ".join(f"`{part}`" for part in parts)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(_type(part) for part in parts))
    if origin in (tuple, list):
        inner = [part for part in parts if part is not Ellipsis]
        if Ellipsis in parts or origin is list:
            return f"list of {_type(inner[0])}"
        return f"{len(inner)} times {_type(inner[0])}"
    if origin is dict:
        return f"mapping to {_type(parts[1])}"
    if isinstance(annotation, type):
        names = {
            "int": "integer",
            "float": "number",
            "str": "text",
            "bool": "true or false",
            "Fraction": "number or fraction",
        }
        return (
            "mapping"
            if issubclass(annotation, BaseModel)
            else names.get(annotation.__name__, annotation.__name__)
        )
    return str(annotation)


def _default(field: Any) -> str:
    if field.is_required():
        return "**required**"
    value = field.default if field.default is not PydanticUndefined else None
    if field.default_factory is not None or isinstance(value, BaseModel):
        return "see below"
    if isinstance(value, tuple):
        return f"`{list(value)}`"
    return "none" if value in {None, ""} else f"`{value}`"
