"""CP2K under custodian: the process, the ladder of SCF methods, and a stretch of motion.

What is wrong in ``custodian.cp2k``, and is therefore not used as it is (each held by a test that fails when it is
mended):

* ``Cp2kJob.terminate`` calls ``killall``: it ends every CP2K of this user on the machine. `Cp2kRun` ends its own.
* ``UnconvergedScfErrorHandler`` looks at one SCF of a run only, and ``Cp2kOutputValidator`` likewise: unconverged
  steps of a dynamics pass. On a correction after some steps both the precision and the atoms' order are lost, since
  the restart file goes through ``Cp2kInput.from_file`` (see `laoc_flows.engines.cp2k_inputs`).
* ``NumericalPrecisionHandler``, ``DivergingScfErrorHandler`` and ``AbortHandler`` change EPS_DEFAULT, EPS_PGF_ORB or
  the XC grid: that is another level of theory, and with it another energy zero.
* ``StdErrHandler`` opens its file in the current directory whatever directory custodian works in: it gets a full path.

This module is imported only where CP2K runs: it imports custodian.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from custodian import Custodian
from custodian.cp2k.handlers import StdErrHandler, WalltimeHandler
from custodian.cp2k.interpreter import Cp2kModder
from custodian.cp2k.jobs import Cp2kJob
from custodian.custodian import CustodianError, ErrorHandler, Validator
from pymatgen.io.cp2k.inputs import Cp2kInput

from laoc_flows.engines.cp2k_inputs import INPUT_FILE, restart_words
from laoc_flows.engines.cp2k_outputs import OUTPUT_FILE, read_report
from laoc_flows.engines.cp2k_recipe import LADDER, ladder_words
from laoc_flows.errors import EngineUnavailableError
from laoc_flows.process import die_with_parent

ERROR_FILE = "std_err.txt"
LOG_FILES = (INPUT_FILE, OUTPUT_FILE, ERROR_FILE)
_CHOLESKY = re.compile(r"Cholesky decompos\w+ failed|Cholesky decompose failed")
_POLLING = 0.25
_MONITOR_EVERY = 40
_GRACE = 20.0
_FROZEN_SHARE, _LEAST_SILENCE = 0.25, 60.0


@dataclass(frozen=True)
class Program:
    """How CP2K is started.

    Attributes
    ----------
    command : sequence of str
        Program and its arguments, with its mpirun.
    environment : mapping
        Variables added to ours.
    frozen_after : float
        Time without a word after which it counts as frozen [s].
    """

    command: Sequence[str]
    environment: Mapping[str, str]
    frozen_after: float = 3600.0


class Cp2kRun(Cp2kJob):
    """A CP2K process of our own: it dies with us, and only it is terminated."""

    def __init__(self, cp2k_cmd: list[str], environment: dict[str, str] | None = None) -> None:
        super().__init__(cp2k_cmd, INPUT_FILE, OUTPUT_FILE, ERROR_FILE)
        self.environment = environment or {}
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, directory: str = "./") -> subprocess.Popen[bytes]:
        """Start it."""
        here = Path(directory)
        with (here / self.output_file).open("wb") as output, (here / self.stderr_file).open("wb") as errors:
            self._process = subprocess.Popen(
                [*self.cp2k_cmd, "-i", self.input_file],
                cwd=directory,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 -- it makes one system call
            )
        return self._process

    def terminate(self, directory: str = "./") -> None:
        """End it and whatever it started."""
        del directory
        process = self._process
        if process is None or process.poll() is not None:
            return
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class LadderHandler(ErrorHandler):
    """Where an SCF does not converge, go on with the next rung of the ladder.

    A single point begins again; a motion goes on from the last step that was converged, under the next project
    name, so that no file of the earlier attempt is written to.

    Parameters
    ----------
    rung : int
        Rung that the run begins with.
    max_scf : int
        Inner SCF steps of the first rung.
    """

    is_monitor = True

    def __init__(self, rung: int, max_scf: int) -> None:
        self.rung = rung
        self.max_scf = max_scf

    def check(self, directory: str = "./") -> bool:
        """Whether an SCF has not converged, or its preconditioner has failed."""
        return bool(self._error(Path(directory)))

    def correct(self, directory: str = "./") -> dict[str, Any]:
        """Write the input of the next rung; without one there is no action."""
        here = Path(directory)
        error = self._error(here)
        if self.rung + 1 >= len(LADDER):
            return {"errors": [error], "actions": []}
        self.rung += 1
        source = Cp2kInput.from_file(here / INPUT_FILE)
        project = source["GLOBAL"]["PROJECT_NAME"].values[0]
        good = read_report(here / OUTPUT_FILE).good_steps
        settings: dict[str, Any] = {
            "FORCE_EVAL": {"DFT": {"SCF": {**ladder_words(self.rung, self.max_scf), "SCF_GUESS": "ATOMIC"}}}
        }
        if source.check("MOTION"):
            settings.update(self._carry_on(here, source, project, good))
        shutil.copy(here / OUTPUT_FILE, here / f"{project}.out")
        actions = [{"dict": INPUT_FILE, "action": {"_set": settings}}]
        Cp2kModder(filename=INPUT_FILE, ci=source, directory=directory).apply_actions(actions)
        return {"errors": [error], "actions": actions}

    @staticmethod
    def _error(directory: Path) -> str:
        report = read_report(directory / OUTPUT_FILE)
        if report.unconverged:
            return "SCF run NOT converged"
        return report.message if _CHOLESKY.search(report.message) else ""

    @staticmethod
    def _carry_on(directory: Path, source: Cp2kInput, project: str, good: int | None) -> dict[str, Any]:
        done = 0
        settings: dict[str, Any] = {"GLOBAL": {"PROJECT_NAME": next_project(project)}}
        saved = saved_steps(directory, project)
        usable = [step for step in saved if good is None or step <= good]
        if usable:
            done = max(usable)
            settings["EXT_RESTART"] = restart_words(f"{project}-1_{done}.restart", _ensemble(source))
        section, keyword = ("MD", "STEPS") if source.check("MOTION/MD") else ("GEO_OPT", "MAX_ITER")
        left = int(source["MOTION"][section][keyword].values[0]) - done
        settings["MOTION"] = {section: {keyword: left}}
        return settings


def _ensemble(source: Cp2kInput) -> str:
    if not source.check("MOTION/MD"):
        return "relax"
    return "npt" if source.check("MOTION/MD/BAROSTAT") else "nvt"


class FrozenHandler(ErrorHandler):
    """A run that has not said a word for long is ended.

    Parameters
    ----------
    timeout : float
        Longest silence [s].
    """

    is_monitor = True

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout

    def check(self, directory: str = "./") -> bool:
        """Whether the output has not grown for too long."""
        path = Path(directory) / OUTPUT_FILE
        return path.exists() and time.time() - path.stat().st_mtime > self.timeout

    def correct(self, directory: str = "./") -> dict[str, Any]:
        """There is nothing to correct."""
        del directory
        return {"errors": [f"no output for {self.timeout:g} s"], "actions": []}


class EndValidator(Validator):
    """A run is valid if the program reached its end; convergence is looked at step by step elsewhere."""

    def check(self, directory: str = "./") -> bool:
        """Whether the end is missing."""
        return not read_report(Path(directory) / OUTPUT_FILE).ended


def handlers_of(
    program: Program, directory: Path, rung: int, max_scf: int, walltime: float
) -> tuple[ErrorHandler, ...]:
    """Handlers of a run, in order.

    Parameters
    ----------
    program : Program
        How CP2K is started.
    directory : pathlib.Path
        Where it runs.
    rung, max_scf : int
        As in `LadderHandler`.
    walltime : float
        Time after which CP2K is to stop [s]; one that hangs is found before.
    """
    return (
        StdErrHandler(std_err=str(directory / ERROR_FILE)),
        LadderHandler(rung, max_scf),
        FrozenHandler(min(program.frozen_after, max(_LEAST_SILENCE, _FROZEN_SHARE * walltime))),
        WalltimeHandler(enable_checkpointing=False),
    )


def run_cp2k(program: Program, directory: Path, *, rung: int, max_scf: int, walltime: float) -> int:
    """Run the input of a directory under custodian; whatever CP2K does once it has begun, nothing is raised.

    Parameters
    ----------
    program : Program
        How CP2K is started.
    directory : pathlib.Path
        Directory with the input.
    rung, max_scf : int
        As in `LadderHandler`.
    walltime : float
        Time after which CP2K is to stop [s].

    Returns
    -------
    int
        Rung that the run ended on.

    Raises
    ------
    EngineUnavailableError
        If CP2K has never begun: an installation that does not work is no failure of a frame.
    """
    handlers = handlers_of(program, directory, rung, max_scf, walltime)
    custodian = Custodian(
        handlers,
        [Cp2kRun(list(program.command), dict(program.environment))],
        validators=[EndValidator()],
        max_errors=len(LADDER) + 2,
        polling_time_step=_POLLING,
        monitor_freq=_MONITOR_EVERY,
        directory=str(directory),
    )
    try:
        custodian.run()
    except CustodianError:
        # The outcome is read from the files: custodian.json and the output say more than the exception.
        _check_begun(program, directory)
    return _rung(handlers, rung)


def _check_begun(program: Program, directory: Path) -> None:
    output = directory / OUTPUT_FILE
    if output.is_file() and output.stat().st_size:
        return
    errors = directory / ERROR_FILE
    said = " ".join(errors.read_text(errors="replace").split()) if errors.is_file() else ""
    msg = f"CP2K has not begun: {shlex.join(program.command)} wrote nothing{said and f' and said: {said[-200:]}'}"
    raise EngineUnavailableError(
        msg, where=str(directory), remedy="start it by hand on this machine; cp2k_command is in settings.yaml"
    )


def _rung(handlers: Sequence[ErrorHandler], first: int) -> int:
    return max((handler.rung for handler in handlers if isinstance(handler, LadderHandler)), default=first)


def saved_steps(directory: Path, project: str) -> list[int]:
    """Steps with a restart file, in order."""
    return sorted(int(path.stem.rsplit("_", 1)[1]) for path in directory.glob(f"{project}-1_*.restart"))


def next_project(project: str) -> str:
    """Name of the next attempt: run0 -> run1."""
    stem, number = re.fullmatch(r"(\D+)(\d+)", project).groups()  # type: ignore[union-attr]
    return f"{stem}{int(number) + 1}"
