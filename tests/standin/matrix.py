"""Every fault through the true path, and the table of what came of it.

``python -m tests.standin.matrix > docs/vasp_faults.md`` writes the page again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
from ase import Atoms
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary

from laoc_flows.engines.dynamics import MDState, Segment, SegmentRun, SinglePoint
from laoc_flows.engines.labels import outcome_of
from laoc_flows.engines.vasp import VaspEngine
from laoc_flows.schemas.label import Correction, LabelStatus
from laoc_flows.schemas.protocol import LabelLimits
from tests.standin import install
from tests.standin.faults import FAULTS

PAGE = Path(__file__).parents[2] / "docs" / "vasp_faults.md"
COMMAND = "python -m tests.standin.matrix > docs/vasp_faults.md"

N_STEPS = 14
SAME_ENERGY = 1e-6  # eV

KINDS = {"label": "single point", "dynamics": "dynamics", "relaxation": "relaxation"}
SAME = "same result as without the fault"
SAME_PATH = "same trajectory, with the stricter setting"
GOES_ON = "ends early, goes on in the next job"
RELAXED = "relaxes on from where it stopped"


@dataclass(frozen=True)
class Case:
    """A fault in a kind of run, and what has to come of it.

    Attributes
    ----------
    fault : str
        Key of :data:`tests.standin.faults.FAULTS`.
    run : str
        Key of :data:`KINDS`.
    handlers : str
        Classes of the handlers and validators that fire, in order.
    actions : str
        What they change, in order.
    outcome : str
        How the outcome begins.
    """

    fault: str
    run: str
    handlers: str
    actions: str
    outcome: str


VASP, SIGMA, FROZEN = "VaspErrorHandler", "LargeSigmaHandler", "FrozenJobErrorHandler"
POSITIVE, STDERR = "PositiveEnergyErrorHandler", "StdErrHandler"
XML, FILES = "VasprunXMLValidator", "VaspFilesValidator"

CASES = (
    Case("edddav", "label", VASP, "ALGO = All, ISEARCH = 1", SAME),
    Case(
        "eddrmm",
        "dynamics",
        f"{VASP}, SegmentStartHandler",
        "CONTCAR to POSCAR; ALGO = Normal; POSCAR.orig to POSCAR",
        SAME,
    ),
    Case("eddrmm", "relaxation", VASP, "CONTCAR to POSCAR; ALGO = Normal", RELAXED),
    Case("zbrent", "relaxation", VASP, "CONTCAR to POSCAR; EDIFF = 1e-06; NELMIN = 8", RELAXED),
    Case("brmix", "label", VASP, "ISTART = 1; IMIX = 1", SAME),
    Case("slow_scf", "label", "UnconvergedErrorHandler", "ALGO = All, ISEARCH = 1", SAME),
    Case("slow_scf", "dynamics", "NonConvergingErrorHandler", "ALGO = Normal; ALGO = All, ISEARCH = 1", SAME),
    Case(
        "hopeless_scf",
        "label",
        "UnconvergedErrorHandler",
        "ALGO = All, ISEARCH = 1; "
        "ALGO = Normal, AMIX_MAG = 0.8, BMIX = 0.001, BMIX_MAG = 0.001, ISTART = 1, NELMDL = -6",
        "unconverged",
    ),
    Case("subspacematrix", "label", VASP, "", "crashed"),
    Case("subspacematrix", "dynamics", VASP, "LREAL = False", SAME_PATH),
    Case("real_optlay", "dynamics", VASP, "LREAL = False", SAME_PATH),
    Case("too_few_bands", "label", VASP, "NBANDS = 82", SAME),
    Case("zpotrf", "label", VASP, "", "crashed"),
    Case("zpotrf", "dynamics", VASP, "POTIM = 0.5", "stopped after 0"),
    Case("positive_energy", "dynamics", POSITIVE, "ALGO = Normal", SAME),
    Case("always_positive", "label", POSITIVE, "", "crashed"),
    Case("large_sigma", "label", SIGMA, "SIGMA = 0.0283", "rejected: settings"),
    Case("large_sigma", "dynamics", SIGMA, "SIGMA = 0.0283", SAME_PATH),
    Case("mesh_symmetry", "label", "", "", SAME),
    Case("frozen", "label", FROZEN, "", "crashed"),
    Case("frozen", "dynamics", FROZEN, "ALGO = Normal", SAME),
    Case("walltime", "label", "WalltimeHandler", "", "unconverged"),
    Case("walltime", "dynamics", "WalltimeHandler", "", GOES_ON),
    Case("killed", "label", XML, "", "crashed"),
    Case("killed", "dynamics", XML, "", "stopped after 1"),
    Case("segfault", "label", XML, "", "crashed"),
    Case("disk_full", "label", XML, "", "crashed"),
    Case("out_of_memory", "label", STDERR, "", "crashed"),
    Case("truncated_xml", "label", XML, "", "crashed"),
    Case("truncated_xml", "dynamics", XML, "", "stopped after 1"),
    Case("missing_contcar", "label", FILES, "", "crashed"),
    Case("missing_contcar", "dynamics", FILES, "", f"stopped after {N_STEPS}"),
    Case("species_order", "label", "", "", "crashed"),
    Case("permuted_atoms", "label", "", "", "crashed"),
    Case("nan_forces", "label", "", "", "crashed"),
    Case("nan_forces", "dynamics", "", "", "stopped after 0"),
    Case("exploding", "label", "", "", "rejected: force"),
    Case("exploding", "dynamics", POSITIVE, "ALGO = Normal; POTIM = 0.5", "stopped after 0"),
)


@dataclass(frozen=True)
class Seen:
    """What a run with a fault really did."""

    corrections: tuple[Correction, ...]
    outcome: str

    @property
    def handlers(self) -> str:
        """Classes of what fired, in order, each once."""
        return ", ".join(dict.fromkeys(correction.handler for correction in self.corrections))

    @property
    def actions(self) -> str:
        """What was changed, in order."""
        found = [_plain(action) for correction in self.corrections for action in correction.actions]
        return "; ".join(dict.fromkeys(text for text in found if text))


def _plain(action: str) -> str:
    try:
        content = json.loads(action)
    except ValueError:
        return action
    change = content["action"]
    if "_set" in change:
        return ", ".join(f"{tag} = {_short(value)}" for tag, value in change["_set"].items())
    if "_file_copy" in change:
        return f"{content['file']} to {change['_file_copy']['dest']}"
    if "_file_delete" in change:
        return ""  # CHGCAR and WAVECAR, which are not written
    return action


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def frame() -> Atoms:
    """Twenty-three atoms, the species in no order."""
    from ase.spacegroup import crystal

    atoms = crystal(
        ["Li", "Al", "Cl", "Cl", "Cl", "Cl"],
        [
            (0.15688, 0.98308, 0.36658),
            (0.70588, 0.32198, 0.89924),
            (0.69400, 0.18329, 0.04695),
            (0.80902, 0.62835, 0.92849),
            (0.92580, 0.18160, 0.81372),
            (0.43947, 0.31364, 0.81280),
        ],
        spacegroup=14,
        cellpar=[7.007, 6.504, 12.995, 90, 93.32, 90],
    )
    del atoms[8]
    atoms.symbols[9] = "O"
    rng = np.random.default_rng(5)
    atoms = atoms[rng.permutation(len(atoms))]
    atoms.positions += rng.normal(scale=0.05, size=atoms.positions.shape)
    return Atoms(atoms.get_chemical_symbols(), positions=atoms.positions, cell=atoms.cell.array, pbc=True)


@contextlib.contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Environment of a run, its looks at the program as frequent as its runs are short."""
    from laoc_flows.engines import vasp_runs

    # A busy machine takes a while to start a program: only one that does hang is given up soon.
    frozen = 3.0 if values["STANDIN_VASP_FAULT"] == "frozen" else 60.0
    hurried = vasp_runs.Patience(poll=0.02, look=0.3, frozen=frozen, before=600.0, share=1.0)
    with mock.patch.dict(os.environ, values), mock.patch.object(vasp_runs, "PATIENCE", hurried):
        yield


def run(kind: str, directory: Path) -> SinglePoint | SegmentRun:
    """One run of a kind with the engine, in an environment that is set."""
    engine, atoms = VaspEngine(), frame()
    if kind == "label":
        return next(iter(engine.single_points([atoms], directory)))
    if kind == "dynamics":
        MaxwellBoltzmannDistribution(atoms, temperature_K=600.0, rng=np.random.default_rng(3))
        Stationary(atoms)
    segment = Segment(
        ensemble="nvt" if kind == "dynamics" else "relax",
        n_steps=N_STEPS,
        time_step=1.0,
        start_temperature=600.0,
        end_temperature=600.0,
        pressure=0.0,
        frame_every=1,
        seed=11,
    )
    return engine.run_segment(MDState(atoms), segment, directory)


def outcome(found: SinglePoint | SegmentRun, reference: SinglePoint | SegmentRun) -> str:
    """Outcome in the words of the table."""
    if isinstance(found, SinglePoint):
        return _outcome_of_label(found, reference)
    if found.failure:
        return f"stopped after {found.n_steps} of {N_STEPS} steps: {_words(found.failure)}"
    ends = found.state.atoms.positions - reference.state.atoms.positions
    if found.n_steps == reference.n_steps and np.abs(ends).max() < 1e-6:
        return SAME if np.allclose(found.rows, reference.rows, rtol=0.0, atol=1e-4) else SAME_PATH
    if not found.state.atoms.get_momenta().any():
        return RELAXED
    rows = reference.rows[: found.n_steps]
    cut = found.n_steps < reference.n_steps and np.allclose(found.rows, rows, atol=1e-6)
    return GOES_ON if cut else "ANOTHER RUN"


def _outcome_of_label(found: SinglePoint, reference: SinglePoint) -> str:
    status, reason = found.status, found.reason
    if status is LabelStatus.CONVERGED:
        # What the Makers refuse of what the engine returns; there is no store for its log here.
        silent = dataclasses.replace(found, log=b"")
        record = outcome_of(frame(), silent, VaspEngine().level_of_theory, LabelLimits()).record
        status, reason = record.status, record.reason
    if status is not LabelStatus.CONVERGED:
        return f"{status.value}: {_words(reason.removeprefix(status.value))}"
    same = abs(found.energy - reference.energy) < SAME_ENERGY
    same = same and np.allclose(found.forces, reference.forces, atol=1e-6)
    return SAME if same else "ANOTHER LABEL"


def _words(reason: str) -> str:
    # What follows the semicolon repeats the handler; an object's address is no information.
    plain = re.sub(r"<[\w.]*?(\w+) object at 0x[0-9a-f]+>", r"\1", reason.split(";", maxsplit=1)[0])
    plain = re.sub(r"\d+\.\d+", lambda number: f"{float(number[0]):.3g}", plain)
    return re.sub(r"^\w+Error: ", "", plain)


def observe(
    fault: str, kind: str, directory: Path, reference: SinglePoint | SegmentRun | None = None
) -> tuple[Seen, SinglePoint | SegmentRun]:
    """Run with a fault and see what comes of it; without a reference the run is its own.

    Parameters
    ----------
    fault : str
        Fault; empty for none.
    kind : str
        Kind of run.
    directory : pathlib.Path
        Directory to work in; made.
    reference : SinglePoint or SegmentRun, optional
        The same run without the fault.
    """
    values = install(directory / "program", fault=fault or None)
    values["LAOC_WORKSPACE"] = str(directory)
    if fault == "walltime":
        values["LAOC_JOB_WALLTIME"] = "61"
    with environment(values), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = run(kind, directory / "run")
    return Seen(found.corrections, outcome(found, reference or found)), found


def line(case: Case, seen: Seen) -> str:
    """Line of the table."""
    cells = (
        FAULTS[case.fault].what,
        KINDS[case.run],
        f"`{seen.handlers}`".replace(", ", "`, `") if seen.handlers else "none",
        f"`{seen.actions}`".replace("; ", "`, then `") if seen.actions else "nothing",
        seen.outcome,
    )
    return f"| {' | '.join(cells)} |"


INTRODUCTION = """\
# What happens when VASP fails

<!-- Written by `{command}`; the tests compare it with what they see. -->

The faults below are planted in a stand-in for VASP that reads and writes VASP's files, because a real VASP fails when it
likes; the handlers and validators that answer them are custodian's own, started by atomate2 as in a campaign. A correction
may change how the electrons are converged but never what is computed: a label with other settings is rejected, a run with
another time step is stopped, and every label and run has its corrections with it.

| fault | run | handlers | what they change | outcome |
|---|---|---|---|---|
"""


def page(lines: list[str]) -> str:
    """Page of the documentation."""
    return INTRODUCTION.format(command=COMMAND) + "\n".join(lines) + "\n"


def main() -> None:
    """Write the page to stdout."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        references = {kind: observe("", kind, directory / kind)[1] for kind in KINDS}
        lines = []
        for case in CASES:
            seen, _ = observe(
                case.fault, case.run, directory / f"{case.fault}-{case.run}", references[case.run]
            )
            lines.append(line(case, seen))
    sys.stdout.write(page(lines))


if __name__ == "__main__":
    main()
