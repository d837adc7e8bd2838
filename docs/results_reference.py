"""The page with the fields of every typed result, written from the models themselves."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from laoc_flows import analysis

GROUPS = {
    "Bonds and tetrahedra": ("BondTable", "Tetrahedra", "SurveyResult"),
    "Network": ("NetworkResult",),
    "Chains": ("ChainResult", "ChainSeries", "RuleDisagreement"),
    "Mixing": ("MixingResult",),
    "Pair correlations": ("RdfResult", "RdfsResult"),
    "Scattering": ("StructureFactorResult", "PhaseMixture"),
    "Displacement": ("MSDResult", "MSDPerParticle", "DiffusiveWindow"),
    "Diffusion": ("DiffusionResult", "CombinedResult"),
    "Conductivity": ("ConductivityResult", "HavenResult"),
    "Hops": (
        "HopResult",
        "HopMatrix",
        "HopClasses",
        "DwellCurve",
        "Enrichment",
        "JumpDiffusion",
        "PHopResult",
    ),
    "Rotations": ("RotationResult", "CouplingResult"),
    "Bond persistence": ("BondPersistenceResult", "BondHistory"),
    "Amorphisation": ("AmorphisationResult",),
    "Glass transition": ("GlassTransitionResult",),
    "Finite size": ("FiniteSizeResult",),
    "Checks": ("ContactVerdict", "MeltVerdict"),
    "Everything at once": ("Analysis",),
    "Numbers": ("Measured", "Rate", "Share"),
}
"""Titles of the sections, each with the results that it starts from; what they hold follows them."""

_NAMES = {"int": "integer", "float": "number", "str": "text", "bool": "true or false", "NoneType": "None"}


def write_results(directory: Path) -> None:
    """Write the page into the folder of generated pages."""
    directory.mkdir(exist_ok=True)
    (directory / "results.md").write_text(results_page(), encoding="utf-8")


def results_page() -> str:
    """Return the whole page."""
    numbers = {getattr(analysis, name) for name in GROUPS["Numbers"]}
    written: set[type[BaseModel]] = set()
    lines = [
        "# Results",
        "",
        "Every field of every typed result, with its unit in square brackets.",
        "",
    ]
    for title, names in GROUPS.items():
        lines += [f"## {title}", ""]
        for name in names:
            for model in _tree(getattr(analysis, name)):
                if model not in written and (title == "Numbers" or model not in numbers):
                    written.add(model)
                    lines += _section(model)
    return "\n".join(lines)


def _tree(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    yield model
    for field in model.model_fields.values():
        for held in _models(field.annotation):
            yield from _tree(held)


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in typing.get_args(annotation) for model in _models(part)]


def _section(model: type[BaseModel]) -> list[str]:
    about = (model.__doc__ or "").strip().splitlines()[0]
    lines = [
        f"### {model.__name__}",
        "",
        _marked(about),
        "",
        "| field | type | meaning |",
        "| --- | --- | --- |",
    ]
    for name, field in model.model_fields.items():
        lines.append(f"| `{name}` | {_type(field.annotation)} | {_marked(field.description or '')} |")
    return [*lines, ""]


def _marked(text: str) -> str:
    """Escape what Markdown would read as markup; code in backticks stays as it is."""
    parts = re.split(r"(`[^`]*`)", text)
    plain = [re.sub(r"([|*_<>\[\]^])", r"\\\1", part) for part in parts[::2]]
    parts[::2] = plain
    return "".join(parts)


def _type(annotation: Any) -> str:
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _type(parts[0])
    if origin is np.ndarray or annotation is np.ndarray:
        return "array"
    if origin is typing.Literal:
        return ", ".join(f"`{part}`" for part in parts)
    if origin in {typing.Union, types.UnionType}:
        return " or ".join(dict.fromkeys(_type(part) for part in parts))
    if origin in {tuple, list}:
        if parts[-1] is Ellipsis:
            return f"list of {_type(parts[0])}"
        kinds = list(dict.fromkeys(_type(part) for part in parts))
        return f"{len(parts)} {kinds[0]}s" if len(kinds) == 1 else ", ".join(kinds)
    if origin is dict:
        return f"mapping of {_type(parts[0])} to {_type(parts[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    name = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    return _NAMES.get(name, name)
