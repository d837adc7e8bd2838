"""Jobs for the tests of the queues: workers import them by name."""

from __future__ import annotations

import time
from pathlib import Path

from jobflow import Flow, Response, job


@job
def add(a, b):
    """Sum."""
    return a + b


@job
def add_twice(a, b):
    """Sum, and two jobs more."""
    first, second = add(a, 1), add(b, 1)
    for number, each in enumerate((first, second)):
        each.metadata = {"laoc": {"campaign": "c-1", "stage": "seed", "step": f"more {number}"}}
        each.name = f"more {number}"
    return Response(output=a + b, addition=Flow([first, second]))


@job
def first_slow(path):
    """Wait for ever the first time, and be done at once the second time."""
    mark = Path(path)
    if not mark.exists():
        mark.write_text("running")
        time.sleep(600)
    return "done"


@job
def fail(reason):
    """Fail for a reason of its own."""
    raise ValueError(reason)
