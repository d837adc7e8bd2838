"""Running other programs so that none outlives the process that started it."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_LEAST_SPACE = 1 << 20  # B; a disk that takes less is full
_FULL = (errno.ENOSPC, errno.EDQUOT)
# Loaded here, so that a child between fork and exec only makes the call: another thread may have held a lock.
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True)
class Finished:
    """A program that ended.

    Attributes
    ----------
    returncode : int
        Exit status; negative for a signal; ``None`` never occurs.
    log : pathlib.Path
        Its standard output and error.
    timed_out : bool
        Whether it was killed at its time limit.
    """

    returncode: int
    log: Path
    timed_out: bool = False

    def tail(self, lines: int = 3) -> str:
        """Last non-empty lines of the log, joined into one."""
        text = self.log.read_text(errors="replace").splitlines()
        return " | ".join([line.strip() for line in text if line.strip()][-lines:])


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies (Linux; elsewhere nothing happens)."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def run_program(
    command: Sequence[str],
    *,
    directory: Path,
    log: str,
    environment: Mapping[str, str] | None = None,
    stdin: Path | None = None,
    timeout: float | None = None,
) -> Finished:
    """Run a program to its end, its output in a log file.

    The program gets a session of its own, so that Ctrl-C reaches only us, and dies when we die, however we
    die: a campaign that was killed leaves no orphan computing into its directories.

    Parameters
    ----------
    command : sequence of str
        Program and arguments; no shell is involved.
    directory : pathlib.Path
        Working directory.
    log : str
        Name of the log file in the working directory.
    environment : mapping, optional
        Variables added to ours.
    stdin : pathlib.Path, optional
        File given as standard input; nothing otherwise.
    timeout : float, optional
        Time limit [s].

    Returns
    -------
    Finished
        Exit status and log.

    Raises
    ------
    OSError
        If it has failed and its disk is full: then it may say nothing of why, and its failure says nothing of what it ran.
    """
    done = _run(command, directory, log, environment, stdin, timeout)
    if done.returncode != 0:
        _check_space(directory)
    return done


def _check_space(directory: Path) -> None:
    try:
        with tempfile.TemporaryFile(dir=directory) as probe:
            probe.write(bytes(_LEAST_SPACE))
            probe.flush()
            # Some file systems only find out when it is really written.
            os.fsync(probe.fileno())
    except OSError as error:
        if error.errno in _FULL:
            raise OSError(error.errno, error.strerror, str(directory)) from None


def _run(
    command: Sequence[str],
    directory: Path,
    log: str,
    environment: Mapping[str, str] | None,
    stdin: Path | None,
    timeout: float | None,
) -> Finished:
    path = directory / log
    source = stdin.open("rb") if stdin is not None else None
    try:
        with path.open("wb") as output:
            process = subprocess.Popen(
                list(command),
                cwd=directory,
                env={**os.environ, **(environment or {})},
                stdin=source if source is not None else subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 -- it makes one system call
            )
            try:
                return Finished(process.wait(timeout), path)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                return Finished(process.wait(), path, timed_out=True)
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise
    finally:
        if source is not None:
            source.close()
