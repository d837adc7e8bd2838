"""Functions by their names: every job carries what is asked of others, and must not import it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from monty.json import MSONable


@dataclass(frozen=True, eq=False)
class OneOf(MSONable):
    """Equal to each of some functions, which need not be imported for it.

    jobflow stores the functions that its config updates ask for in every job, and imports them again wherever a job runs; that takes
    seconds where they need much. It compares them with the function of a job, and so may this be.

    Parameters
    ----------
    names : tuple of str
        Functions as ``module:qualname``.
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        """JSON has made a list of them."""
        object.__setattr__(self, "names", tuple(self.names))

    @classmethod
    def of(cls, *functions: Callable[..., Any]) -> Self:
        """Names of functions, or of what a decorator has wrapped.

        Parameters
        ----------
        *functions : callable
            The functions.
        """
        return cls(tuple(_name(getattr(each, "__wrapped__", each)) for each in functions))

    def __eq__(self, other: object) -> bool:
        """Whether the other is one of the functions, or asks for the same."""
        if isinstance(other, OneOf):
            return self.names == other.names
        return _name(other) in self.names

    def __hash__(self) -> int:
        """Hash of the names."""
        return hash(self.names)


def _name(function: object) -> str:
    return f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', '')}"
