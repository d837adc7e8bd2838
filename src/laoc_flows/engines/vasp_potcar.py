"""Libraries of POTCARs: which one pymatgen reads, and whether what is needed is in it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pymatgen.core import SETTINGS
from pymatgen.io.vasp.inputs import PotcarSingle

from laoc_flows.errors import EngineUnavailableError
from laoc_flows.settings import SETTINGS_FILE, Settings

_KEY = "PMG_VASP_PSP_DIR"
_WHERE = "vasp_potcar_dir"


@contextmanager
def potcar_library(directory: Path | None) -> Iterator[str | None]:
    """Let pymatgen read POTCARs from a directory, for a while.

    Parameters
    ----------
    directory : pathlib.Path or None
        Library; None leaves pymatgen's own setting.

    Yields
    ------
    str or None
        Library that pymatgen reads.
    """
    before = SETTINGS.get(_KEY)
    if directory is not None:
        SETTINGS[_KEY] = str(directory)
    try:
        # pymatgen warns of every POTCAR whose hash it does not know, and of settings that are not its own.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield SETTINGS.get(_KEY)
    finally:
        if before is None:
            SETTINGS.pop(_KEY, None)
        else:
            SETTINGS[_KEY] = before


def check_library(potcars: Mapping[str, str], functional: str, settings: Settings) -> None:
    """Raise EngineUnavailableError when the library or a POTCAR in it is missing, unreadable or not PBE.

    Parameters
    ----------
    potcars : mapping of str to str
        POTCAR by element.
    functional : str
        Release of the library, as pymatgen names it.
    settings : Settings
        Where the library is.
    """
    remedy = f"set {_WHERE} in {settings.workspace / SETTINGS_FILE}, or {_KEY} for pymatgen"
    with potcar_library(settings.vasp_potcar_dir) as library:
        if library is None:
            msg = "VASP needs a library of POTCARs, and none is set"
            raise EngineUnavailableError(msg, where=_WHERE, remedy=remedy)
        if not Path(library).expanduser().is_dir():
            msg = f"the library of POTCARs is not there: {library}"
            raise EngineUnavailableError(msg, where=_WHERE, remedy=remedy)
        for element, name in potcars.items():
            _check_potcar(element, name, functional, library)


def _check_potcar(element: str, name: str, functional: str, library: str) -> None:
    folder = PotcarSingle.functional_dir[functional]
    where = f"engine.potcar.{element} = {name}"
    try:
        potcar = PotcarSingle.from_symbol_and_functional(name, functional)
        found = (potcar.element, potcar.keywords.get("LEXCH"))
    except FileNotFoundError:
        msg = f"the library {library} has no POTCAR {name} of {functional}"
        remedy = f"put it at {folder}/{name}/POTCAR or {folder}/POTCAR.{name}.gz there, or choose another"
        raise EngineUnavailableError(msg, where=where, remedy=remedy) from None
    except Exception as error:
        msg = f"the POTCAR {name} in {library} cannot be read ({type(error).__name__})"
        remedy = f"replace {folder}/{name}/POTCAR"
        raise EngineUnavailableError(msg, where=where, remedy=remedy) from error
    if found != (element, "PE"):
        msg = f"the POTCAR {name} in {library} is for {found[0]} with LEXCH = {found[1]}"
        raise EngineUnavailableError(msg, where=where, remedy=f"a PBE POTCAR of {element} has LEXCH = PE")
