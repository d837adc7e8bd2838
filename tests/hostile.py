"""Hostile values and what they must not do, for the tests that feed them to every reader."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

MARK = "laoc-hostile-mark"
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 10**30, float("nan"), float("inf"), -0.0, 1e-320, "", " ", "\x00", "\u202e", "é" * 300, "x" * 5000,
    [], {}, [[]], {"": None}, {"$where": f"sleep(1);'{MARK}'"}, {"$ne": None}, {"$gt": ""}, "$(touch laoc-hostile-mark)",
    "`touch laoc-hostile-mark`", "; touch laoc-hostile-mark #", "'; touch laoc-hostile-mark; '", "../../etc/passwd", "/dev/zero", "file:///etc/passwd",
    "{0.__class__.__mro__}", "%s%s%n", "${jndi:ldap://x}", "__import__('os').system('touch laoc-hostile-mark')",
    {"@module": "os", "@callable": "system", "@bound": None},
    {"@module": "subprocess", "@class": "Popen", "args": ["touch", MARK]},
    {"@module": "builtins", "@class": "eval", "value": f"open('{MARK}', 'w')"},
    {"@class": "PosixPath", "@module": "pathlib"},
    {"__reduce__": ["os.system", ["touch laoc-hostile-mark"]]},
    ["x"] * 2000, [[[[[[[[[[[[1]]]]]]]]]]]],
)  # fmt: skip
TEXTS = (
    "!!python/object/apply:os.system ['touch laoc-hostile-mark']", "!!python/name:os.system", "!!python/object/new:type {}",
    "&a [*a, *a]", "&a {b: *a}", "{{", "}", "- - - -", "\t", "? : ?", "%YAML 9.9", "--- a\n--- b", "<<: *x", "!!binary aaa", "!<tag:x> y",
    "0x" + "f" * 400, "1:2:3:4", "9" * 500, ". ", "\ufeff", "\u2028", "a: b: c", "'unterminated", '"\\x', "[" * 300, "{a: " * 200,
)  # fmt: skip


def mutated(value: Any, rng: random.Random, depth: int = 0) -> Any:
    """A copy in which something is hostile, missing, doubled or moved."""
    if depth > 8 or rng.random() < 0.06:
        return rng.choice(VALUES)
    if isinstance(value, dict) and value:
        found = dict(value)
        key = rng.choice(list(found))
        action = rng.random()
        if action < 0.12:
            del found[key]
        elif action < 0.2:
            found[rng.choice(["@module", "@class", "@callable", "$set", "__class__", "a.b", key + "x"])] = (
                found[key]
            )
        else:
            found[key] = mutated(found[key], rng, depth + 1)
        return found
    if isinstance(value, list) and value:
        found_list = list(value)
        index = rng.randrange(len(found_list))
        if rng.random() < 0.15:
            del found_list[index]
        else:
            found_list[index] = mutated(found_list[index], rng, depth + 1)
        return found_list
    return rng.choice(VALUES)


@contextlib.contextmanager
def nothing_happens(directory: Path) -> Iterator[None]:
    """Fail where a process is started, a network connection is made or a file appears in the current directory."""

    def refused(*arguments: object, **_: object) -> None:
        message = f"something was run: {arguments}"
        raise AssertionError(message)

    before = sorted(directory.rglob("*"))
    names = ("system", "popen", "execv", "execve", "posix_spawn", "fork")
    with contextlib.ExitStack() as stack:
        for name in names:
            stack.enter_context(mock.patch.object(os, name, refused))
        stack.enter_context(mock.patch.object(subprocess.Popen, "__init__", refused))
        stack.enter_context(contextlib.chdir(directory))
        yield
    assert sorted(directory.rglob("*")) == before
    assert not (directory / MARK).exists()
    assert MARK not in sys.modules
