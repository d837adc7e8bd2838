"""Loading potentials from files and packages: their digests, and no noise."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from laoc_flows.blobs import digest_file
from laoc_flows.errors import EngineUnavailableError

_LENGTH = 16


def potential_digest(path: Path) -> str:
    """First 16 hexadecimal digits of the SHA-256 of a potential's file.

    Parameters
    ----------
    path : pathlib.Path
        File.

    Raises
    ------
    EngineUnavailableError
        If there is no such file.
    """
    if not path.is_file():
        msg = "the potential is not there, or is not a file"
        raise EngineUnavailableError(msg, where=str(path), remedy="give the path of the potential's file")
    stat = path.stat()
    return _digest(path, stat.st_size, stat.st_mtime_ns)[:_LENGTH]


@lru_cache(maxsize=32)
def _digest(path: Path, size: int, changed: int) -> str:
    # Size and time are only there to notice that the file is another one.
    del size, changed
    return digest_file(path)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keep what a package says about devices, parameters and missing accelerators out of the logs of jobs."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
