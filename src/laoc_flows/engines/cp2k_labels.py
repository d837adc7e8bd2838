"""One label with CP2K: run it under custodian, and say what became of it.

Like everything that runs CP2K, this is imported only where it is used: it imports custodian.
"""

from __future__ import annotations

from pathlib import Path

from ase import Atoms

from laoc_flows.engines.cp2k_inputs import INPUT_FILE, physics_of, single_point_input
from laoc_flows.engines.cp2k_outputs import OUTPUT_FILE, read_report, read_single_point
from laoc_flows.engines.cp2k_recipe import VALENCE, Physics, Scf
from laoc_flows.engines.cp2k_restart import write_positions
from laoc_flows.engines.cp2k_runs import LOG_FILES, Program, run_cp2k
from laoc_flows.engines.custody import corrections_of, failure_log
from laoc_flows.engines.dynamics import SinglePoint
from laoc_flows.schemas.label import LabelStatus


def compute_label(
    atoms: Atoms,
    directory: Path,
    *,
    program: Program,
    physics: Physics,
    scf: Scf,
    data_dir: Path,
    walltime: float,
) -> tuple[SinglePoint, int]:
    """Energy, forces and stress of a cell, or why there are none.

    Parameters
    ----------
    atoms : ase.Atoms
        Periodic cell.
    directory : pathlib.Path
        Empty directory to work in.
    program : Program
        How CP2K is started.
    physics : Physics
        Level of theory; a run that a correction has moved away from it is rejected.
    scf : Scf
        How to converge.
    data_dir : pathlib.Path
        CP2K's basis sets and potentials.
    walltime : float
        Time after which CP2K is to stop [s].

    Returns
    -------
    outcome : SinglePoint
        Typed outcome.
    rung : int
        Rung of the ladder that it ended on.
    """
    if unknown := sorted(set(atoms.get_chemical_symbols()) - set(VALENCE)):
        reason = f"there are no basis sets for {', '.join(unknown)}"
        return SinglePoint(LabelStatus.CRASHED, reason), scf.rung
    write_positions(atoms, directory)
    intended = single_point_input(atoms, physics, scf, data_dir=data_dir, project="run0", walltime=walltime)
    intended.write_file(INPUT_FILE, directory)
    rung = run_cp2k(program, directory, rung=scf.rung, max_scf=scf.max_scf, walltime=walltime)
    status, reason = _status(directory, str(intended))
    corrections, log = corrections_of(directory), failure_log(directory, LOG_FILES)
    if status is LabelStatus.CONVERGED:
        try:
            energy, forces, stress = read_single_point(directory / OUTPUT_FILE, atoms.get_chemical_symbols())
        except ValueError as error:
            status, reason = LabelStatus.CRASHED, str(error)
        else:
            return SinglePoint(status, "", energy, forces, stress, corrections, log), rung
    # The next frame begins anew: a rung that did not help is no good beginning.
    return SinglePoint(status, reason, corrections=corrections, log=log), scf.rung


def _status(directory: Path, intended: str) -> tuple[LabelStatus, str]:
    report = read_report(directory / OUTPUT_FILE)
    if report.unconverged:
        return LabelStatus.UNCONVERGED, "the SCF did not converge on any rung of the ladder"
    if report.out_of_time:
        return LabelStatus.UNCONVERGED, "stopped at the walltime"
    if not (report.ended and report.converged):
        return LabelStatus.CRASHED, report.message or "CP2K stopped without a message"
    if physics_of((directory / INPUT_FILE).read_text()) != physics_of(intended):
        return LabelStatus.REJECTED_SETTINGS, "a correction has changed the level of theory"
    return LabelStatus.CONVERGED, ""
