"""A VASP for tests: an executable that behaves like ``vasp_std`` and can be told to fail."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path


def install(
    directory: Path, *, fault: str | None = None, calculator: str | None = None, max_fires: int = 1
) -> dict[str, str]:
    """Install the stand-in and its POTCAR library below a directory.

    Parameters
    ----------
    directory : pathlib.Path
        Where ``bin/vasp_std`` and ``potcars/`` are written.
    fault : str, optional
        Fault to plant, a key of :data:`tests.standin.faults.FAULTS`.
    calculator : str, optional
        ``"pair"`` (default), the ionic pair model of a few milliseconds, or ``"xtb"``.
    max_fires : int
        Executions in one directory that a fault without a cure in INCAR spoils.

    Returns
    -------
    dict of str to str
        Environment variables that make the engine run it.
    """
    from tests.standin.faults import FAULTS
    from tests.standin.potcar import write_library

    if fault is not None and fault not in FAULTS:
        msg = f"no such fault: {fault}; known: {', '.join(FAULTS)}"
        raise ValueError(msg)
    program = directory / "bin" / "vasp_std"
    program.parent.mkdir(parents=True, exist_ok=True)
    script = Path(__file__).with_name("vasp.py")
    # One thread: a calculation of milliseconds does not wait for a pool. The files of a run before are emptied at once,
    # as VASP's are long before custodian looks; python takes a while to get there.
    program.write_text(
        "#!/bin/sh\nfor file in OUTCAR OSZICAR vasprun.xml XDATCAR CONTCAR; do : > $file; done\n"
        f"OMP_NUM_THREADS=1 exec {shlex.quote(sys.executable)} -P {shlex.quote(str(script))}\n"
    )
    program.chmod(0o755)
    library = write_library(directory / "potcars", "PBE_64")
    for functional in ("PBE", "PBE_54"):
        write_library(library, functional)
    return {
        "LAOC_VASP_COMMAND": str(program),
        "LAOC_VASP_POTCAR_DIR": str(library),
        "STANDIN_VASP_FAULT": fault or "",
        "STANDIN_VASP_CALCULATOR": calculator or "pair",
        "STANDIN_VASP_FIRES": str(max_fires),
    }
