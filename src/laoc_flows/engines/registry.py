"""Engines by name. A new engine is one line here; its module is imported only when it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from laoc_flows.engines.base import Engine
from laoc_flows.errors import InputError

ENGINES = {
    "xtb": "laoc_flows.engines.xtb:XtbEngine",
    "chgnet": "laoc_flows.engines.mlip:ChgnetEngine",
    "sevennet": "laoc_flows.engines.mlip:SevenNetEngine",
    "mlip": "laoc_flows.engines.mlip:MlipEngine",
    "deepmd": "laoc_flows.engines.deepmd:DeepmdEngine",
    "vasp": "laoc_flows.engines.vasp:VaspEngine",
    "cp2k": "laoc_flows.engines.cp2k:Cp2kEngine",
}


def engine_class(name: str) -> type[Engine]:
    """Class of an engine.

    Raises
    ------
    InputError
        If no engine has this name.
    """
    if name not in ENGINES:
        msg = f"there is no engine {name!r}"
        raise InputError(msg, remedy=f"choose one of {', '.join(sorted(ENGINES))}")
    module, _, attribute = ENGINES[name].partition(":")
    return getattr(import_module(module), attribute)


def parse_engine(value: Any) -> Engine:
    """Engine from its settings: a mapping with at least ``name``.

    Raises
    ------
    ValueError
        If the mapping has no name or an unknown one (pydantic turns it into an error of the campaign file).
    """
    if isinstance(value, Engine):
        return value
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        msg = f"an engine needs a name, one of {', '.join(sorted(ENGINES))}"
        raise ValueError(msg)  # noqa: TRY004 -- pydantic collects ValueError only
    try:
        cls = engine_class(value["name"])
    except InputError as error:
        raise ValueError(error.line) from None
    return cls.model_validate(value)
