"""One tree of errors: what is wrong, where, and what to do about it."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar


class LaocError(Exception):
    """Base of every error that laoc-flows raises on purpose.

    Parameters
    ----------
    message : str
        What is wrong, in one line.
    where : str, optional
        File, key and value the message is about, for example ``"a.yaml: cell.n_al = 0"``.
    remedy : str, optional
        What the user can do about it.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, where: str | None = None, remedy: str | None = None) -> None:
        self.message = " ".join(message.split())
        self.where = where
        self.remedy = remedy
        super().__init__(self.line)

    @property
    def line(self) -> str:
        """The whole error in one line."""
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text} -- {self.remedy}" if self.remedy else text


class InputError(LaocError):
    """The user's input cannot be used; nothing was written."""

    exit_code = 2


class CampaignFileError(InputError):
    """A campaign file is unreadable or says something that cannot be done."""


class CompositionError(InputError):
    """A point (x, y) lies outside the composition space or does not fit into a cell."""


class QueryError(InputError):
    """A query on the store cannot be understood."""


class EngineUnavailableError(InputError):
    """The engine is known but cannot run in this installation."""


class ServiceError(LaocError):
    """A service (MongoDB, a queue) is unreachable or did not start."""


class WorkspaceBusyError(LaocError):
    """Another process works in this workspace."""


class EngineError(LaocError):
    """An engine's program failed in a way that no typed outcome covers."""


class TrainingError(LaocError):
    """The training of a potential failed."""


class TrajectoryError(InputError):
    """A trajectory cannot be read, or cannot be analyzed as asked."""


class StructureRejectedError(LaocError):
    """A cell has reacted, collapsed or was never melted; it is not a glass."""


UNREADABLE = (
    *(ValueError, KeyError, TypeError, AttributeError, IndexError, ArithmeticError, EOFError, ImportError),
    *(gzip.BadGzipFile, zlib.error, tarfile.TarError),
)
"""What values of another shape or kind than expected lead to, and bytes that are no archive."""


@contextmanager
def as_written(what: str, remedy: str | None = None) -> Iterator[None]:
    """Say which stored thing cannot be read, where it is not as this version writes it; also a decorator.

    Parameters
    ----------
    what : str
        What is read, for the message.
    remedy : str, optional
        What to do about it, if it need not come from a backup.

    Raises
    ------
    ServiceError
        Instead of the errors that values of another shape or kind lead to; those of this package stay.
    """
    try:
        yield
    except UNREADABLE as error:
        msg = f"{what} cannot be read ({type(error).__name__})"
        backup = "another version has made it, or somebody has changed it: restore it from a backup"
        raise ServiceError(msg, remedy=remedy or backup) from error
