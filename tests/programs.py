"""Programs that the tests need and that are not in an environment of Python: where they are, and which are missing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable


def program(name: str) -> str | None:
    """Path of a program, also of those that only an administrator has on PATH."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def missing(names: Iterable[str]) -> list[str]:
    """Those that are not installed."""
    return [name for name in names if program(name) is None]
