"""What the commands share: where they print, how they fail."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import typer
from bson.errors import BSONError
from pymongo.errors import ConnectionFailure, PyMongoError
from rich.console import Console

from laoc_flows.errors import LaocError, ServiceError

_P = ParamSpec("_P")
_R = TypeVar("_R")
_PLAIN_WIDTH = 160


def console() -> Console:
    """Console on standard output; wide enough for a table when that is no terminal."""
    width = None if sys.stdout.isatty() else _PLAIN_WIDTH
    return Console(width=width, highlight=False, soft_wrap=False)


def say(message: str) -> None:
    """One line on standard error, for what is not the result itself."""
    typer.echo(f"laoc: {message}", err=True)


def fails_clearly(command: Callable[_P, _R]) -> Callable[_P, _R]:
    """Turn every LaocError into one line for each problem and its exit code, and so a database that goes away."""

    @wraps(command)
    def wrapped(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return command(*args, **kwargs)
        except LaocError as error:
            for line in getattr(error, "lines", None) or [error.line]:
                say(line)
            raise typer.Exit(error.exit_code) from None
        except (PyMongoError, BSONError) as error:
            known = database_lost(error)
            say(known.line)
            raise typer.Exit(known.exit_code) from None

    return wrapped


def database_lost(error: Exception) -> ServiceError:
    """What a failure of the database's driver means to the user.

    Parameters
    ----------
    error : pymongo.errors.PyMongoError or bson.errors.BSONError
        The failure; its own words are long, and name every server it knows.
    """
    words = str(error).partition(",")[0].partition(" (configured timeouts")[0][:200]
    if isinstance(error, ConnectionFailure):
        return ServiceError(
            f"the database does not answer any more ({words})",
            remedy="give the command again; 'laoc doctor' says what is wrong",
        )
    return ServiceError(
        f"the database refuses, or has sent what cannot be read ({type(error).__name__}: {words})",
        remedy="check its version, and what its user may do",
    )
