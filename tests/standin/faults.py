"""Faults that can be planted in the stand-in, each with what VASP says when it happens and what cures it."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.standin.inputs import Incar
from tests.standin.outputs import say

RECORD = ".standin_vasp"  # survives the restarts of custodian; one line for each execution


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes
    ----------
    what : str
        What happens, in words.
    says : str
        What VASP writes to stdout when it stops for it; empty if it does not stop with a message.
    step : int
        Ionic step in which it happens.
    cured : callable, optional
        Whether an INCAR cures it; without it the fault is over after some executions.
    """

    what: str
    says: str = ""
    step: int = 1
    cured: Callable[[Incar], bool] | None = None


FAULTS = {
    "edddav": Fault(
        "the Davidson solver fails",
        " Error EDDDAV: Call to ZHEGV failed. Returncode =   8   2  16",
        cured=lambda incar: incar.algo == "a",
    ),
    "eddrmm": Fault(
        "the RMM-DIIS solver fails",
        " WARNING in EDDRMM: call to ZHEGV failed, returncode =   6  3     57",
        step=3,
        cured=lambda incar: incar.algo not in {"f", "v"},
    ),
    "brmix": Fault(
        "the mixer loses charge",
        " BRMIX: very serious problems\n the old and the new charge density differ\n"
        " old charge density:   192.00000 new  188.41234",
        cured=lambda incar: incar.tag("IMIX") == 1,
    ),
    "zbrent": Fault(
        "the line search of a relaxation fails",
        " ZBRENT: fatal error in bracketing\n     please rerun with smaller EDIFF, or copy CONTCAR\n"
        "     to POSCAR and continue",
        step=3,
        cured=lambda incar: incar.integer("NELMIN") >= 8,
    ),
    "subspacematrix": Fault(
        "the subspace matrix is not Hermitian",
        " WARNING: Sub-Space-Matrix is not hermitian in DAV            1",
    ),
    "real_optlay": Fault(
        "the real-space projectors cannot be optimized",
        " REAL_OPTLAY: internal error (1)           0",
        cured=lambda incar: not incar.tag("LREAL"),
    ),
    "too_few_bands": Fault("too few bands", " TOO FEW BANDS!!", cured=lambda incar: "NBANDS" in incar),
    "zpotrf": Fault(
        "a Cholesky decomposition fails",
        " LAPACK: Routine ZPOTRF failed!           4         1        -1",
        step=3,
    ),
    "slow_scf": Fault("the SCF converges only with ALGO = All", cured=lambda incar: incar.algo == "a"),
    "hopeless_scf": Fault("the SCF never converges", cured=lambda _: False),
    "positive_energy": Fault(
        "the energy is positive until ALGO = Normal", cured=lambda incar: incar.algo == "n"
    ),
    "always_positive": Fault("the energy is positive whatever ALGO", cured=lambda _: False),
    "large_sigma": Fault("the smearing entropy is large", cured=lambda incar: incar.number("SIGMA") < 0.04),
    "mesh_symmetry": Fault("VASP warns of k-points and lattice of different class, and computes on"),
    "frozen": Fault("the program hangs and writes nothing more", step=3),
    "walltime": Fault("the time limit comes closer", step=3),
    "killed": Fault("the program is killed", step=2),
    "segfault": Fault("the program crashes", step=2),
    "disk_full": Fault("the disk is full", step=2),
    "out_of_memory": Fault("the memory is not enough"),
    "truncated_xml": Fault("vasprun.xml ends in the middle"),
    "missing_contcar": Fault("CONTCAR is not written"),
    "species_order": Fault("POTCAR has the species in another order than POSCAR"),
    "permuted_atoms": Fault("the atoms come back in another order"),
    "nan_forces": Fault("the forces are not numbers", step=1),
    "exploding": Fault(
        "the forces explode",
        step=4,
        cured=lambda incar: incar.integer("NSW") > 0 and incar.number("POTIM") < 0.6,
    ),
}


class Planted:
    """The fault of this execution, if one was planted and still fires."""

    def __init__(self, directory: Path, incar: Incar) -> None:
        self._n_steps = max(1, incar.integer("NSW"))
        record = directory / RECORD
        lines = record.read_text().splitlines() if record.exists() else []
        name = os.environ.get("STANDIN_VASP_FAULT", "")
        limit = int(os.environ.get("STANDIN_VASP_FIRES", "1"))
        fired = sum(json.loads(line)["fires"] for line in lines)
        self.name, self.fault = name, FAULTS[name] if name else None
        self.fires = False
        if self.fault is not None:
            self.fires = not self.fault.cured(incar) if self.fault.cured else fired < limit
        lines.append(json.dumps({"fires": self.fires, "incar": {k: str(v) for k, v in incar.items()}}))
        record.write_text("\n".join(lines) + "\n")

    def is_(self, name: str, step: int | None = None) -> bool:
        """Whether this fault fires, and in this step if one is given."""
        return self.fires and self.name == name and (step is None or step >= self._step(step))

    def _step(self, step: int) -> int:
        return min(self.fault.step, self._n_steps) if self.fault is not None else step + 1

    def in_the_middle(self, step: int) -> None:
        """Stop with a message, hang or die after the first electronic steps of an ionic step."""
        if not self.fires or self.fault is None or step != self._step(step):
            return
        if self.fault.says:
            say(f"{self.fault.says}\n")
            raise SystemExit(1)
        if self.name == "frozen":
            # Until custodian loses patience; a test that forgets to set its time limit fails before long.
            signal.sigtimedwait([signal.SIGUSR1], 60)
            raise SystemExit(1)
        if self.name == "walltime":
            end = time.monotonic() + 60
            stopcar = Path("STOPCAR")
            while not (stopcar.exists() and "TRUE" in stopcar.read_text()) and time.monotonic() < end:
                time.sleep(0.02)
        if self.name == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.name == "segfault":
            sys.stderr.write("forrtl: severe (174): SIGSEGV, segmentation fault occurred\n")
            sys.stderr.flush()
            signal.signal(signal.SIGSEGV, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGSEGV)
        if self.name == "disk_full":
            sys.stderr.write(
                "forrtl: No space left on device\nforrtl: severe (38): error during write, unit 21, file vasprun.xml\n"
            )
            raise SystemExit(38)
        if self.name == "out_of_memory":
            sys.stderr.write(
                "0: ALLOCATE: 8589934592 bytes requested; Allocation would exceed memory limit\n"
            )
            raise SystemExit(127)

    def at_the_end(self) -> None:
        """Spoil the files of a run that has ended."""
        if self.is_("missing_contcar"):
            Path("CONTCAR").unlink(missing_ok=True)
        if self.is_("truncated_xml"):
            text = Path("vasprun.xml").read_text()
            Path("vasprun.xml").write_text(text[: int(0.8 * len(text))])
