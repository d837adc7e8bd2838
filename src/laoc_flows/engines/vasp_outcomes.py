"""Outcomes of VASP runs: labels and segments, in the order of the atoms that were asked for."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator
from atomate2.vasp.sets.base import VaspInputGenerator
from pymatgen.io.vasp.inputs import Poscar

from laoc_flows.engines.custody import corrections_of, failure_log
from laoc_flows.engines.dynamics import MDState, Segment, SegmentRun, SinglePoint
from laoc_flows.engines.labels import total_pressure
from laoc_flows.engines.vasp_inputs import LANGEVIN, Ordered
from laoc_flows.engines.vasp_outputs import Output, changed_settings, read_output
from laoc_flows.schemas.label import Correction, LabelStatus

LOGS = ("vasp.out", "std_err.txt", "INCAR", "KPOINTS", "OSZICAR", "OUTCAR")

_SAME_PLACE = 1e-4
_LONGEST_STEP = 0.4
_UNCONVERGED_SHARE = 0.1
_OTHER_SPECIES = "the species of the output are not those of the cell, in the order of POSCAR"


def label_of(ordered: Ordered, generator: VaspInputGenerator, directory: Path, problem: str) -> SinglePoint:
    """Outcome of a single point.

    Parameters
    ----------
    ordered : Ordered
        Frame.
    generator : VaspInputGenerator
        Its input set.
    directory : pathlib.Path
        Where VASP ran.
    problem : str
        What custodian or the parser of atomate2 objected to; empty if nothing.
    """
    corrections = corrections_of(directory)
    output: Output | None = None
    try:
        output = read_output(directory)
        changed = changed_settings(ordered, generator, directory, dynamics=False)
        status, reason = _judged(ordered, output, changed, problem, corrections)
    except Exception as error:  # noqa: BLE001 -- whatever is wrong with the files of one frame
        status, reason = LabelStatus.CRASHED, _reason(problem or str(error), corrections)
    log = failure_log(directory, LOGS)
    if output is None or status is not LabelStatus.CONVERGED:
        return SinglePoint(status, reason, corrections=corrections, log=log)
    return SinglePoint(
        status,
        energy=float(output.energies[-1]),
        forces=ordered.back(output.forces[-1]),
        stress=output.stresses[-1],
        corrections=corrections,
        log=log,
    )


def _judged(
    ordered: Ordered,
    output: Output,
    changed: tuple[str, ...],
    problem: str,
    corrections: tuple[Correction, ...],
) -> tuple[LabelStatus, str]:
    """Status of a label whose output can be read, and why it is not converged."""
    wrong = _other_cell(ordered, output) if output.complete else "vasprun.xml is truncated"
    if wrong:
        return LabelStatus.CRASHED, _reason(problem, corrections) if problem else wrong
    if not output.converged[-1]:
        if any(correction.handler == "WalltimeHandler" for correction in corrections):
            return LabelStatus.UNCONVERGED, "stopped at the walltime"
        return LabelStatus.UNCONVERGED, _reason("the SCF did not reach EDIFF", corrections)
    if problem:
        return LabelStatus.CRASHED, _reason(problem, corrections)
    if np.abs(output.kpoints).max() > 0:
        changed = (*changed, "KPOINTS, which are not Gamma")
    if changed:
        return LabelStatus.REJECTED_SETTINGS, f"custodian changed {', '.join(changed)}"
    return LabelStatus.CONVERGED, ""


def segment_of(
    ordered: Ordered, segment: Segment, generator: VaspInputGenerator, directory: Path, problem: str
) -> SegmentRun:
    """Outcome of a segment of dynamics.

    Parameters
    ----------
    ordered : Ordered
        Start.
    segment : Segment
        What was asked for.
    generator : VaspInputGenerator
        Its input set.
    directory : pathlib.Path
        Where VASP ran.
    problem : str
        What custodian or the parser of atomate2 objected to; empty if nothing.
    """
    corrections = corrections_of(directory)
    try:
        output = read_output(directory)
        changed = changed_settings(ordered, generator, directory, dynamics=True)
        reason = _other_cell(ordered, output)
    except Exception as error:  # noqa: BLE001 -- whatever is wrong with the files of one run
        return _nothing(ordered, directory, _reason(problem or str(error), corrections))
    if reason or changed:
        return _nothing(ordered, directory, reason or f"custodian changed {', '.join(changed)}")
    fractions = _unwrapped(ordered.fractions, output.fractions)
    sound, failure = _sound(output, fractions)
    n_steps = min(sound, segment.n_steps)
    # What is wrong with the numbers says more than what a parser made of them.
    if not failure and problem:
        failure = _reason(problem, corrections)
    if not failure and not output.complete:
        failure = "vasprun.xml is truncated"
    lost = int((~output.converged[:n_steps]).sum())
    if not failure and lost > _UNCONVERGED_SHARE * n_steps:
        failure = f"the SCF of {lost} of {n_steps} steps did not reach EDIFF"
    if n_steps == 0:
        return _nothing(ordered, directory, failure)
    try:
        state = _continued(ordered, fractions[n_steps - 1], directory)
    except Exception as error:  # noqa: BLE001 -- whatever is wrong with the file
        failure = failure or f"CONTCAR cannot be used: {' '.join(str(error).split())}"
        state = _stopped(ordered, segment, output, fractions[:n_steps])
    kept = range(segment.frame_every, n_steps + 1, segment.frame_every)
    return SegmentRun(
        n_steps,
        frames=[_frame(ordered, output, fractions, step - 1) for step in kept],
        frame_steps=list(kept),
        rows=_rows(output, n_steps, generator),
        state=state,
        failure=failure,
        corrections=corrections,
        log=failure_log(directory, LOGS) if failure else b"",
    )


def relaxation_of(ordered: Ordered, segment: Segment, directory: Path, problem: str) -> SegmentRun:
    """Outcome of a relaxation; a limit of steps that it reached is no failure.

    Parameters
    ----------
    ordered : Ordered
        Start.
    segment : Segment
        What was asked for.
    directory : pathlib.Path
        Where VASP ran.
    problem : str
        What custodian or the parser of atomate2 objected to; empty if nothing.
    """
    corrections = corrections_of(directory)
    try:
        output = read_output(directory)
        if output.symbols != ordered.symbols:
            return _nothing(ordered, directory, _OTHER_SPECIES)
        sound, failure = _sound(output, _unwrapped(ordered.fractions, output.fractions))
        n_steps = min(sound, segment.n_steps)
        # After a correction the steps begin anywhere; where it ends is close to the start all the same.
        relaxed = _continued(ordered, ordered.fractions, directory).atoms
    except Exception as error:  # noqa: BLE001 -- whatever is wrong with the files of one run
        return _nothing(ordered, directory, _reason(problem or str(error), corrections))
    if not output.complete or failure or problem:
        return _nothing(
            ordered, directory, _reason(problem or failure or "vasprun.xml is truncated", corrections)
        )
    relaxed.set_momenta(np.zeros((len(relaxed), 3)))
    volumes = np.abs(np.linalg.det(output.cells[:n_steps]))
    pressures = [total_pressure(output.stresses[i], 0, volumes[i], 0.0) for i in range(n_steps)]
    steps = np.arange(1, n_steps + 1)
    rows = np.column_stack([steps, np.zeros(n_steps), pressures, output.energies[:n_steps], volumes])
    return SegmentRun(n_steps, [], [], rows, MDState(relaxed), corrections=corrections)


def _other_cell(ordered: Ordered, output: Output) -> str:
    """Why the first step is not the cell that was asked for; empty if it is."""
    if output.symbols != ordered.symbols:
        return _OTHER_SPECIES
    if not np.allclose(output.cells[0], ordered.atoms.cell.array, atol=_SAME_PLACE):
        return "the cell of the output is not the one that was asked for"
    away = output.fractions[0] - ordered.fractions
    if np.abs((away - np.round(away)) @ output.cells[0]).max() > _SAME_PLACE:
        return "the positions of the output are not those that were asked for"
    return ""


def _sound(output: Output, fractions: np.ndarray) -> tuple[int, str]:
    """Number of steps before the first one that cannot be used, and why it cannot."""
    finite = np.isfinite(output.energies) & np.isfinite(output.forces).all((1, 2))
    finite &= np.isfinite(output.stresses).all(1)
    leaps = np.abs(np.diff(fractions, axis=0)).max((1, 2), initial=0.0) >= _LONGEST_STEP
    good = finite & ~np.concatenate([[False], leaps])
    if good.all():
        return len(good), ""
    step = int(np.argmin(good))
    what = "atoms leap through the cell" if finite[step] else "the results are not finite numbers"
    return step, f"{what} at step {step + 1}"


def _unwrapped(start: np.ndarray, fractions: np.ndarray) -> np.ndarray:
    """Fractional coordinates that continue those of the start, by the shortest steps."""
    steps = np.diff(np.concatenate([start[None], fractions]), axis=0)
    return start + np.cumsum(steps - np.round(steps), axis=0)


def _rows(output: Output, n_steps: int, generator: VaspInputGenerator) -> np.ndarray:
    n_atoms = len(output.symbols)
    # Only the Langevin thermostat moves the center of mass.
    langevin = generator.user_incar_settings["MDALGO"] == LANGEVIN
    freedom = 3 * n_atoms if langevin else max(1, 3 * n_atoms - 3)
    temperatures = 2.0 * output.kinetic[:n_steps] / (freedom * units.kB)
    volumes = np.abs(np.linalg.det(output.cells[:n_steps]))
    pressures = [
        total_pressure(stress, n_atoms, volume, temperature)
        for stress, volume, temperature in zip(output.stresses[:n_steps], volumes, temperatures, strict=True)
    ]
    steps = np.arange(1, n_steps + 1)
    return np.column_stack([steps, temperatures, pressures, output.energies[:n_steps], volumes])


def _frame(ordered: Ordered, output: Output, fractions: np.ndarray, index: int) -> Atoms:
    frame = _placed(ordered, fractions[index], output.cells[index])
    # A step whose SCF did not converge is a configuration and no label.
    if output.converged[index]:
        frame.calc = SinglePointCalculator(
            frame,
            energy=float(output.energies[index]),
            forces=ordered.back(output.forces[index]),
            stress=output.stresses[index],
        )
    return frame


def _placed(ordered: Ordered, fractions: np.ndarray, cell: np.ndarray) -> Atoms:
    symbols = ordered.atoms.get_chemical_symbols()
    return Atoms(symbols, positions=ordered.back(fractions @ cell), cell=cell, pbc=True)


def _continued(ordered: Ordered, last: np.ndarray, directory: Path) -> MDState:
    """State in CONTCAR, its positions continued from the last step."""
    data = (directory / "CONTCAR").read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        poscar = Poscar.from_str(data.decode())
    structure = poscar.structure
    if [site.specie.symbol for site in structure] != ordered.symbols:
        raise ValueError(_OTHER_SPECIES)
    fractions = _unwrapped(last, structure.frac_coords[None])[0]
    if not np.isfinite(fractions).all() or np.abs(fractions - last).max() >= _LONGEST_STEP:
        msg = "its atoms are not where the run ended"
        raise ValueError(msg)
    atoms = _placed(ordered, fractions, structure.lattice.matrix)
    if poscar.velocities is not None and len(poscar.velocities):
        # Cartesian, in A/fs.
        atoms.set_velocities(ordered.back(np.array(poscar.velocities, dtype=np.float64)) / units.fs)
    return MDState(atoms, data)


def _stopped(ordered: Ordered, segment: Segment, output: Output, fractions: np.ndarray) -> MDState:
    """State of a run without a CONTCAR: its last step, the velocities from the last two."""
    atoms = _placed(ordered, fractions[-1], output.cells[len(fractions) - 1])
    if len(fractions) > 1:
        path = (fractions[-1] - fractions[-2]) @ atoms.cell.array
        atoms.set_velocities(ordered.back(path) / (segment.time_step * units.fs))
    else:
        atoms.set_momenta(ordered.atoms.get_momenta())
    return MDState(atoms)


def _nothing(ordered: Ordered, directory: Path, failure: str) -> SegmentRun:
    """Run of which no step can be used."""
    return SegmentRun(
        0,
        frames=[],
        frame_steps=[],
        rows=np.empty((0, 5)),
        state=MDState(ordered.atoms.copy()),
        failure=failure,
        corrections=corrections_of(directory),
        log=failure_log(directory, LOGS),
    )


def _reason(text: str, corrections: tuple[Correction, ...]) -> str:
    """Reason in one line, with the last thing that custodian found."""
    if not corrections:
        return text
    last = corrections[-1]
    return f"{text}; last found by {last.handler}: {', '.join(last.errors) or 'nothing'}"
