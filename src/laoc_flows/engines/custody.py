"""What custodian leaves behind, as documents: its corrections, and the log of a failure."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monty.io import zopen
from monty.os.path import zpath

from laoc_flows.schemas.label import Correction

CUSTODIAN_FILE = "custodian.json"
_TAIL_BYTES = 20_000
_SHOWN = 200


def corrections_of(directory: Path) -> tuple[Correction, ...]:
    """Read what custodian did in a directory.

    Parameters
    ----------
    directory : pathlib.Path
        Where custodian ran; ``custodian.json`` may be compressed, or missing if custodian never started.

    Returns
    -------
    tuple of Correction
        In order; a validator that failed, or a program that ended with an error, is one without actions.
    """
    path = Path(zpath(str(directory / CUSTODIAN_FILE)))
    if not path.exists():
        return ()
    with zopen(path, "rt", encoding="utf-8") as handle:
        runs = json.load(handle)
    found: list[Correction] = []
    for run in runs:
        found += [_correction(entry) for entry in run.get("corrections") or ()]
        if validator := run.get("validator"):
            found.append(Correction(handler=_name(validator), errors=("the output is not valid",)))
        elif run.get("nonzero_return_code"):
            found.append(Correction(handler="custodian", errors=("the program ended with an error",)))
    return tuple(found)


def _correction(entry: dict[str, Any]) -> Correction:
    return Correction(
        handler=_name(entry.get("handler")),
        errors=tuple(str(error) for error in entry.get("errors") or ()),
        actions=tuple(_short(action) for action in entry.get("actions") or ()),
    )


def _name(handler: Any) -> str:
    if isinstance(handler, dict):
        return str(handler.get("@class", "unknown"))
    return type(handler).__name__ if handler is not None and not isinstance(handler, str) else str(handler)


def _short(action: Any) -> str:
    text = action if isinstance(action, str) else json.dumps(action, sort_keys=True, default=str)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def failure_log(directory: Path, names: Sequence[str]) -> bytes:
    """Pack custodian's log and the ends of a program's files into a gzipped tar.

    Parameters
    ----------
    directory : pathlib.Path
        Where the program ran.
    names : sequence of str
        Files whose last 20 kB are kept; a missing one is left out, a compressed one is unpacked.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name in (CUSTODIAN_FILE, *names):
            path = Path(zpath(str(directory / name)))
            if not path.is_file():
                continue
            with zopen(path, "rb") as handle:
                data = handle.read()
            tail = data if name == CUSTODIAN_FILE else data[-_TAIL_BYTES:]
            info = tarfile.TarInfo(name)
            info.size = len(tail)
            archive.addfile(info, io.BytesIO(tail))
    return buffer.getvalue()
