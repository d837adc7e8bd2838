"""The campaign file: one YAML mapping that says everything about a campaign."""

from __future__ import annotations

import json
from collections.abc import Mapping
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Self

from pydantic import (
    Discriminator,
    Field,
    PlainSerializer,
    PlainValidator,
    SerializeAsAny,
    Tag,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from laoc_flows.blobs import digest_json
from laoc_flows.campaign.between import between
from laoc_flows.campaign.expect import (
    InvalidCampaignError,
    Problem,
    did_you_mean,
    refuse,
    refuse_all,
    reject,
    validate,
)
from laoc_flows.campaign.plan import CellSize, undoable, unplannable
from laoc_flows.campaign.reading import read_mapping
from laoc_flows.composition import (
    MAX_RANGE,
    Cell,
    Composition,
    as_fraction,
    expand_grid,
    frange,
)
from laoc_flows.engines.base import Engine
from laoc_flows.engines.registry import ENGINES, engine_class, parse_engine
from laoc_flows.errors import CompositionError
from laoc_flows.schemas.base import Model
from laoc_flows.schemas.config import Production, ReferenceSampling
from laoc_flows.schemas.imported import NAME_PATTERN
from laoc_flows.schemas.learning import Learning

if TYPE_CHECKING:
    from laoc_flows.flows.spec import BaseData, CampaignSpec

_MAX_AMOUNT: Final = 1000
_MAX_DENOMINATOR: Final = 1_000_000
_MAX_BYTES: Final = 1_000_000


def _amount(value: Any) -> Fraction:
    try:
        amount = as_fraction(value)
    except CompositionError as error:
        refuse(error.message, error.remedy or "")
    if not 0 <= amount <= _MAX_AMOUNT:
        refuse("is negative" if amount < 0 else "is too large", f"write a number from 0 to {_MAX_AMOUNT}")
    if amount.denominator > _MAX_DENOMINATOR:
        refuse("is finer than any cell can be", f"write a ratio of whole numbers up to {_MAX_DENOMINATOR}")
    return amount


Amount = Annotated[
    Fraction,
    PlainValidator(_amount),
    PlainSerializer(str),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0, "maximum": _MAX_AMOUNT},
                {"type": "string", "pattern": r"^\s*\+?(\d+/\d+|\d+\.?\d*|\.\d+)\s*$"},
            ]
        }
    ),
]
"""An exact number: an integer, a decimal, or a ratio such as "1/3"."""


class Point(Model):
    """One composition of the grid."""

    x: Amount = Field(description="Li per Al [1]")
    y: Amount = Field(description="O per Al [1]")

    @model_validator(mode="after")
    def _in_the_space(self) -> Self:
        try:
            Composition(self.x, self.y)
        except CompositionError as error:
            refuse(error.message, error.remedy or "")
        return self


class Range(Model):
    """Values at equal steps; the stop belongs to them if a whole number of steps leads to it."""

    start: Amount = Field(description="first value [1]")
    stop: Amount = Field(description="largest value [1]")
    step: Amount = Field(description="spacing of the values, above 0 [1]")

    @model_validator(mode="after")
    def _can_be_listed(self) -> Self:
        if self.step == 0:
            refuse("must be above 0", "write the spacing of the values", "step")
        if self.stop < self.start:
            refuse("is below start", "write a stop of at least start", "stop")
        if (self.stop - self.start) / self.step >= MAX_RANGE:
            refuse(f"makes more than {MAX_RANGE} values", "choose a larger step", "step")
        return self

    def values(self) -> tuple[Fraction, ...]:
        """List the values [1]."""
        return frange(self.start, self.stop, self.step)


def _is_range(value: Any) -> str:
    return "range" if isinstance(value, Mapping | Range) else "list"


Axis = Annotated[
    Annotated[Range, Tag("range")] | Annotated[tuple[Amount, ...], Tag("list")],
    Discriminator(_is_range),
]
"""Values of one coordinate: a list, or a range."""


class Grid(Model):
    """Compositions Li_x Al O_y Cl_(3+x-2y) of a campaign; points, the plane (x, y) and the ratios add up."""

    points: tuple[Point, ...] = Field((), description="single compositions, each with x and y")
    x: Axis = Field((), description="Li per Al, a list or a range; every x meets every y [1]")
    y: Axis = Field((), description="O per Al, a list or a range [1]")
    o_to_cl: Axis = Field((), description="O per Cl, a list or a range; every ratio meets every li_to_al [1]")
    li_to_al: Axis = Field((), description="Li per Al, a list or a range [1]")
    held_out: tuple[Point, ...] = Field(
        (),
        description="compositions, of the grid or besides it, that are never trained on or explored, only tested",
    )

    def _values(self, name: str) -> tuple[Fraction, ...]:
        axis = getattr(self, name)
        return axis.values() if isinstance(axis, Range) else axis

    @model_validator(mode="after")
    def _expands(self) -> Self:
        for first, second in (("x", "y"), ("o_to_cl", "li_to_al")):
            sizes = {name: len(self._values(name)) for name in (first, second)}
            if sizes[first] * sizes[second] > MAX_RANGE:
                refuse(f"makes more than {MAX_RANGE} compositions", "choose a coarser grid", first)
            if bool(sizes[first]) != bool(sizes[second]):
                empty, full = sorted((first, second), key=lambda name: sizes[name])
                refuse(f"has no values, but {full} has", f"give both {first} and {second}", empty)
        try:
            _ = self.compositions
        except CompositionError as error:
            # A single point is checked by itself: what is left is a repeated point, the plane, or nothing at all.
            guilty = "points" if "twice" in error.message else "y" if self._values("y") else None
            refuse(error.message, error.remedy or "", guilty)
        return self

    @cached_property
    def compositions(self) -> tuple[Composition, ...]:
        """Distinct compositions, sorted by (x, y)."""
        listed = expand_grid(
            points=((p.x, p.y) for p in self.points),
            **{name: self._values(name) for name in ("x", "y", "o_to_cl", "li_to_al")},
        )
        return tuple(sorted({*listed, *self.tested_only}, key=lambda c: (c.x, c.y)))

    @cached_property
    def tested_only(self) -> tuple[Composition, ...]:
        """Compositions that are held out as a whole, sorted by (x, y)."""
        found = {Composition(p.x, p.y) for p in self.held_out}
        return tuple(sorted(found, key=lambda c: (c.x, c.y)))


class Workers(Model):
    """Overrides of the workspace's settings for its workers."""

    processes: int | None = Field(None, ge=1, le=10_000, description="jobs that run at once [processes]")
    threads: int | None = Field(None, ge=1, le=1024, description="threads of one job [threads]")


class Store(Model):
    """Overrides of the workspace's settings for where results are kept."""

    database: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_-]{1,60}$",
        description="MongoDB database, letters, digits, _ and - [identifier]",
    )
    trajectory_root: str | None = Field(
        None, min_length=1, description="where trajectories are kept [fsspec URL, or path in the workspace]"
    )


class CampaignFile(Model):
    """A campaign as its file spells it.

    Examples
    --------
    >>> file = CampaignFile.load(Path("campaigns/paper2025.yaml"))  # doctest: +SKIP
    >>> file.cells()["x1.000-y0.750"].formula  # doctest: +SKIP
    'Li16Al16O12Cl40'
    """

    name: str = Field(
        pattern=NAME_PATTERN,
        description="name of the campaign: lower-case letters, digits and hyphens, at most 41",
    )
    description: str = Field("", description="what the campaign is for, free text")
    seed: int = Field(ge=0, description="seed that every random choice derives from [1]")
    grid: Grid = Field(description="compositions")
    cell: CellSize = Field(description="size of the cells: n_al, or n_atoms with a tolerance")
    engine: SerializeAsAny[Engine] = Field(description="reference engine: its name and its settings")
    melt_quench: ReferenceSampling = Field(description="seed trajectories of the reference engine")
    learning: Learning = Field(description="learning loop")
    production: Production = Field(description="production runs")
    workers: Workers = Field(default_factory=Workers, description="overrides of the workspace's workers")
    store: Store = Field(default_factory=Store, description="overrides of the workspace's storage")

    @field_validator("engine", mode="before")
    @classmethod
    def _engine(cls, value: object) -> Engine:
        return parse_engine(value)

    @model_validator(mode="after")
    def _can_be_done(self) -> Self:
        problems = [*unplannable(self.grid.compositions, self.cell, self.production), *undoable(self)]
        if problems:
            refuse_all(problems)
        return self

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read and validate a campaign file.

        Parameters
        ----------
        path : Path
            YAML file.

        Returns
        -------
        CampaignFile
            Campaign that can be planned; nothing was written.

        Raises
        ------
        CampaignFileError
            If anything is wrong; its ``lines`` name file, key, value and remedy of every problem.
        """
        path = Path(path)
        content = read_mapping(path, _read_text(path))
        problems = _engine_problems(content["engine"]) if "engine" in content else []
        found = validate(cls, content)
        if isinstance(found, cls) and not problems:
            return found
        others = [] if isinstance(found, cls) else found
        problems += [p for p in others if p.path[:1] != ("engine",) or "engine" not in content]
        raise InvalidCampaignError(path, problems)

    def cells(self) -> dict[str, Cell]:
        """Cells by composition id, sorted by (x, y)."""
        return dict(self.planned)

    @cached_property
    def planned(self) -> tuple[tuple[str, Cell], ...]:
        """Composition ids and their cells, sorted by (x, y)."""
        return tuple((composition.id, self.cell.plan(composition)) for composition in self.grid.compositions)

    @cached_property
    def between(self) -> tuple[tuple[str, Cell], ...]:
        """Composition ids and cells of what is explored between the points of the grid."""
        trained = [c for c in self.grid.compositions if c not in self.grid.tested_only]
        return between(trained, self.learning.exploration.between, self.cell.plan, self.grid.tested_only)

    def _settings(self) -> dict[str, Any]:
        kept = {"seed", "engine", "melt_quench", "learning", "production"}
        return self.model_dump(mode="json", include=kept) | {
            "cells": {k: c.n_al for k, c in self.cells().items()},
            "between": {k: c.n_al for k, c in self.between},
            "tested_only": [c.id for c in self.grid.tested_only],
        }

    @cached_property
    def campaign_id(self) -> str:
        """Name and content address of everything that changes results."""
        return f"{self.name}-{digest_json(self._settings())[:12]}"

    def spec(self, base: BaseData | None = None) -> CampaignSpec:
        """Plan for the flow.

        Parameters
        ----------
        base : BaseData, optional
            What `learning.data` names, as it is in the store.
        """
        from laoc_flows.flows.spec import CampaignSpec

        return CampaignSpec.model_validate(
            {"campaign_id": self.campaign_id, "base": base, **self._settings()}
        )

    def settings_overrides(self) -> dict[str, Any]:
        """List the settings of the workspace that this file overrides, by their names there."""
        values = {
            "processes": self.workers.processes,
            "threads_per_job": self.workers.threads,
            "database": self.store.database,
            "trajectory_root": self.store.trajectory_root,
        }
        return {name: value for name, value in values.items() if value is not None}


def _read_text(path: Path) -> str:
    try:
        if path.is_dir():
            reject(path, "is a directory, not a file", "give the path of a campaign file")
        if not path.exists():
            reject(path, "there is no such file", "check the path")
        if not path.is_file():
            reject(path, "is no regular file", "give the path of a campaign file")
        with path.open("rb") as handle:
            data = handle.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            remedy = "write the grid as ranges, not as single points"
            reject(path, f"the file is larger than {_MAX_BYTES // 1000} kB", remedy)
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        reject(path, f"the file is not UTF-8 text (byte {error.start})", "save it as UTF-8 text")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        reject(path, f"the file cannot be read ({reason})", "make it readable")


def _engine_problems(content: Any) -> list[Problem]:
    remedy = f"choose one of {', '.join(sorted(ENGINES))}"
    if not isinstance(content, dict):
        return [
            Problem("is not a mapping with a name", f"write 'name:' below it; {remedy}", ("engine",), content)
        ]
    if "name" not in content:
        return [Problem("is missing", f"add the name of the engine; {remedy}", ("engine", "name"))]
    name = content["name"]
    if not isinstance(name, str) or name not in ENGINES:
        return [
            Problem(
                "there is no such engine", did_you_mean(str(name), sorted(ENGINES)), ("engine", "name"), name
            )
        ]
    found = validate(engine_class(name), content, ("engine",))
    return found if isinstance(found, list) else []


def json_schema() -> dict[str, Any]:
    """JSON Schema of campaign files, for editors.

    Returns
    -------
    dict
        Draft 2020-12; ``engine`` is any of the engines in the registry, told apart by ``name``.
    """
    schema = CampaignFile.model_json_schema()
    definitions = schema["$defs"]
    definitions.pop("Engine", None)
    references = []
    for name in sorted(ENGINES):
        cls = engine_class(name)
        engine = cls.model_json_schema()
        definitions |= engine.pop("$defs", {})
        definitions[cls.__name__] = engine | {"required": ["name", *engine.get("required", [])]}
        references.append({"$ref": f"#/$defs/{cls.__name__}"})
    description = CampaignFile.model_fields["engine"].description
    schema["properties"]["engine"] = {"anyOf": references, "description": description}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "laoc-flows campaign",
        "description": "What laoc-flows is to make, of which compositions, and with which engine.",
    }


def write_schema(path: Path) -> None:
    """Write the JSON Schema of campaign files.

    Parameters
    ----------
    path : Path
        File to make or replace.
    """
    path.write_text(json.dumps(json_schema(), indent=2) + "\n", encoding="utf-8")
