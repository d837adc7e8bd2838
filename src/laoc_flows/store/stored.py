"""Documents within the stored outputs of jobs: where they are, and as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_MARKERS = frozenset({"@module", "@class", "@version"})


@dataclass(frozen=True)
class Source:
    """Where in the outputs of jobs a kind of document is.

    Parameters
    ----------
    path : str
        Field of the stored job: ``output``, or a field below it.
    schema_name : str
        Kind of the document.
    """

    path: str
    schema_name: str

    @property
    def criteria(self) -> dict[str, Any]:
        """Filter of the jobs that hold one."""
        return {f"{self.path}.schema_name": self.schema_name}

    def find(self, output: Mapping[str, Any]) -> dict[str, Any] | None:
        """Document in a stored job, class markers removed; None if it holds another kind."""
        value = within(output, *self.path.split("."))
        if not isinstance(value, Mapping) or value.get("schema_name") != self.schema_name:
            return None
        return plain(value)


def within(value: Any, *path: str) -> Any:
    """Value at a path in a document, None where it does not lead anywhere."""
    for part in path:
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def plain(value: Any) -> Any:
    """Strip the class markers that jobflow adds to stored models."""
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items() if name not in _MARKERS}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
