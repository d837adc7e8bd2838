"""One run of VASP: atomate2's Maker, custodian with its handlers, and what it says at the end."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atomate2 import SETTINGS
from atomate2.vasp.jobs.base import BaseVaspMaker
from atomate2.vasp.jobs.core import RelaxMaker
from atomate2.vasp.jobs.md import MDMaker
from custodian.custodian import ErrorHandler
from custodian.vasp.handlers import (
    FrozenJobErrorHandler,
    LargeSigmaHandler,
    MeshSymmetryErrorHandler,
    NonConvergingErrorHandler,
    PositiveEnergyErrorHandler,
    PotimErrorHandler,
    StdErrHandler,
    UnconvergedErrorHandler,
    VaspErrorHandler,
    WalltimeHandler,
)
from custodian.vasp.validators import VaspFilesValidator, VasprunXMLValidator
from pymatgen.core import Structure

from laoc_flows.engines.vasp_potcar import potcar_library
from laoc_flows.errors import EngineUnavailableError
from laoc_flows.settings import Settings

_MAX_ERRORS = 10
_STARTED = "CUSTODIAN_WALLTIME_START"


@dataclass(frozen=True)
class Patience:
    """How often a run is looked at, and how long it is waited for.

    Attributes
    ----------
    poll : float
        Time between two looks at whether the program has ended [s].
    look : float
        Time between two looks of the handlers at what it writes [s].
    frozen : float
        Time without output after which it counts as frozen [s].
    before : float
        How long before the walltime it is asked to stop [s]; longer than `look`, or no look comes in time.
    share : float
        Largest share of the walltime that `before` and `look` may take [1].
    """

    poll: float = 0.5
    look: float = 300.0
    frozen: float = 21_600.0
    before: float = 600.0
    share: float = 0.25


PATIENCE = Patience()


class SegmentStartHandler(ErrorHandler):
    """Begins a segment of dynamics anew after a correction, from the POSCAR it began with.

    Handlers restart a run from its CONTCAR, which suits a relaxation. Dynamics would then lose the steps made so
    far and begin the ramp of the temperature again in the middle. It stands after every other handler.
    """

    is_monitor = False

    def check(self, directory: str = "./") -> bool:
        """Whether another handler has put something else in the place of POSCAR."""
        present, begun = Path(directory, "POSCAR"), Path(directory, "POSCAR.orig")
        return begun.is_file() and (not present.is_file() or present.read_bytes() != begun.read_bytes())

    def correct(self, directory: str = "./") -> dict[str, Any]:
        """Put it back."""
        shutil.copyfile(Path(directory, "POSCAR.orig"), Path(directory, "POSCAR"))
        action = {"file": "POSCAR.orig", "action": {"_file_copy": {"dest": "POSCAR"}}}
        return {"errors": ["the segment would go on from its middle"], "actions": [action]}


def run_maker(
    maker: BaseVaspMaker, structure: Structure, directory: Path, settings: Settings, walltime: float
) -> str:
    """Run one Maker of atomate2 to its end, here and now.

    Parameters
    ----------
    maker : BaseVaspMaker
        Maker that has not run before; what custodian needs is set on it.
    structure : pymatgen.core.Structure
        Start, in the order of its POTCAR.
    directory : pathlib.Path
        Directory of the run; made.
    settings : Settings
        Programs and library.
    walltime : float
        Time after which VASP is asked to stop [s].

    Returns
    -------
    str
        Why the run failed, in one line; empty if neither custodian nor the parser of atomate2 objected.

    Raises
    ------
    EngineUnavailableError
        If there is no VASP.
    """
    # All runs are at the Gamma point. custodian would take the standard program where it does not find the other.
    program = settings.command("vasp_gam" if settings.vasp_gamma_command else "vasp_std")
    command = _command(program)
    directory.mkdir(parents=True)
    with ExitStack() as stack:
        stack.enter_context(_environment(settings))
        stack.enter_context(potcar_library(settings.vasp_potcar_dir))
        stack.enter_context(_plain_files())
        stack.enter_context(chdir(directory))
        look = min(PATIENCE.look, PATIENCE.share * walltime / 2)
        maker.run_vasp_kwargs = {
            "vasp_cmd": command,
            "vasp_gamma_cmd": command,
            "max_errors": _MAX_ERRORS,
            "handlers": _handlers(maker, walltime),
            "validators": (VasprunXMLValidator(), VaspFilesValidator()),
            "custodian_kwargs": {
                "polling_time_step": PATIENCE.poll,
                "monitor_freq": max(1, round(look / PATIENCE.poll)),
            },
        }
        # Defaults of the user's ~/.atomate2.yaml would change the level of theory unseen.
        maker.write_input_set_kwargs["apply_incar_updates"] = False
        maker.stop_children_kwargs = {"handle_unsuccessful": False}
        try:
            type(maker).make.original(maker, structure)
        except Exception as error:  # noqa: BLE001 -- whatever stops one run, the others go on
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            _check_begun(program, directory, reason)
            return reason
    return ""


def _check_begun(program: list[str], directory: Path, reason: str) -> None:
    """Raise where VASP has never begun: an installation that does not work is no failure of a frame."""
    errors = Path("std_err.txt")
    # custodian makes the file when it starts the program: before that, it is the frame whose inputs cannot be made.
    if Path("OUTCAR").exists() or Path("vasprun.xml").exists() or not errors.exists():
        return
    said = " ".join(errors.read_text(errors="replace").split()) or reason
    msg = f"VASP has not begun: {shlex.join(program)} left no OUTCAR: {said[-200:]}"
    raise EngineUnavailableError(
        msg, where=str(directory), remedy="start it by hand on this machine; vasp_command is in settings.yaml"
    )


def _handlers(maker: BaseVaspMaker, walltime: float) -> list[ErrorHandler]:
    """Handlers of a run; new ones each time, because they count what they have tried."""
    handlers: list[ErrorHandler] = [
        VaspErrorHandler(),
        MeshSymmetryErrorHandler(),
        NonConvergingErrorHandler(),
        PositiveEnergyErrorHandler(),
        # One that hangs does not read that it is to stop: it has to be found before the walltime.
        FrozenJobErrorHandler(timeout=max(1, round(min(PATIENCE.frozen, PATIENCE.share * walltime)))),
        StdErrHandler(),
    ]
    if isinstance(maker, MDMaker):
        handlers += [LargeSigmaHandler(), SegmentStartHandler()]
    elif isinstance(maker, RelaxMaker):
        # A relaxation before the dynamics need not reach its minimum: nothing is unconverged.
        handlers.append(PotimErrorHandler())
    else:
        handlers += [UnconvergedErrorHandler(), LargeSigmaHandler()]
    static = not isinstance(maker, MDMaker | RelaxMaker)
    # Written here, because the one that atomate2 adds for `wall_time` cannot stop a single point.
    handlers.append(
        WalltimeHandler(
            wall_time=walltime,
            buffer_time=min(PATIENCE.before, PATIENCE.share * walltime),
            electronic_step_stop=static,
        )
    )
    return handlers


def _command(words: list[str]) -> str:
    # custodian keeps the process to itself: if we are killed, only the kernel can end VASP with us.
    keeper = shutil.which("setpriv")
    return shlex.join([keeper, "--pdeathsig", "TERM", *words] if keeper else words)


@contextmanager
def _environment(settings: Settings) -> Iterator[None]:
    """Threads of VASP's libraries, unless they are set, and custodian's clock at zero."""
    names = {
        key: value for key, value in settings.thread_environment().items() if key.endswith("_NUM_THREADS")
    }
    before = {key: os.environ.get(key) for key in (*names, _STARTED)}
    # custodian leaves the start of its first run here, and measures those that follow in this process from it.
    os.environ.pop(_STARTED, None)
    for key, value in names.items():
        os.environ.setdefault(key, value)
    try:
        yield
    finally:
        for key, old in before.items():
            if old is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = old


@contextmanager
def _plain_files() -> Iterator[None]:
    """Keep atomate2 from compressing what is read next and then thrown away."""
    before = SETTINGS.VASP_ZIP_FILES
    SETTINGS.VASP_ZIP_FILES = False
    try:
        yield
    finally:
        SETTINGS.VASP_ZIP_FILES = before
