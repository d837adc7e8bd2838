"""Labels with typed outcomes, the same for every engine that is an ASE calculator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.calculators.singlepoint import SinglePointCalculator

from laoc_flows.analysis import closest_contact
from laoc_flows.blobs import put_blob
from laoc_flows.frames import MEDIA_TYPE, encode_frames, geometry_key
from laoc_flows.jobs import current_store
from laoc_flows.schemas.base import Provenance
from laoc_flows.schemas.label import LabelBatch, LabelRecord, LabelStatus

EV_PER_A3_IN_GPA = 1.0 / units.GPa


def total_pressure(stress: np.ndarray, n_atoms: int, volume: float, temperature: float) -> float:
    """Total pressure with its ideal-gas term.

    Parameters
    ----------
    stress : numpy.ndarray, shape (6,) or (3, 3)
        Potential part of the stress, ASE sign [eV/A^3].
    n_atoms : int
        Number of atoms.
    volume : float
        Volume of the cell [A^3].
    temperature : float
        Temperature [K].

    Returns
    -------
    float
        ``-tr(stress) / 3 + N k_B T / V`` [GPa].
    """
    stress = np.asarray(stress)
    trace = stress[:3].sum() if stress.shape == (6,) else np.trace(stress)
    return float((-trace / 3.0 + n_atoms * units.kB * temperature / volume) * EV_PER_A3_IN_GPA)


def label_frame(
    atoms: Atoms,
    calculator: Calculator,
    level_of_theory: str,
    floors: Mapping[str, float],
    temperature: float | None = None,
    deviation: float | None = None,
) -> tuple[LabelRecord, Atoms | None]:
    """Single point with a typed outcome.

    Returns
    -------
    record : LabelRecord
        Outcome; its ``index`` is not set.
    labeled : ase.Atoms or None
        Frame with its results, None unless converged.
    """
    known: dict[str, Any] = {
        "key": geometry_key(atoms, level_of_theory),
        "n_atoms": len(atoms),
        "temperature": temperature,
        "deviation": deviation,
    }
    contact = closest_contact(atoms, floors)
    if contact is not None and contact.ratio < 1.0:
        return LabelRecord(
            status=LabelStatus.REJECTED_DISTANCE, reason=f"{contact} is inside its floor", **known
        ), None
    atoms = atoms.copy()
    atoms.calc = calculator
    try:
        energy = float(atoms.get_potential_energy())
        forces = atoms.get_forces(apply_constraint=False)
        stress = atoms.get_stress(apply_constraint=False)
    except Exception as error:  # noqa: BLE001 -- whatever a code does to one frame, the batch goes on
        text = " ".join(str(error).split())
        unconverged = "not converged" in text.lower()
        status = LabelStatus.UNCONVERGED if unconverged else LabelStatus.CRASHED
        return LabelRecord(status=status, reason=text[:300] or type(error).__name__, **known), None
    if not (np.isfinite(energy) and np.isfinite(forces).all() and np.isfinite(stress).all()):
        return LabelRecord(
            status=LabelStatus.CRASHED, reason="the results are not finite numbers", **known
        ), None
    pressure = None
    if temperature is not None:
        pressure = total_pressure(stress, len(atoms), atoms.get_volume(), temperature)
    labeled = Atoms(atoms.get_chemical_symbols(), positions=atoms.positions, cell=atoms.cell, pbc=True)
    labeled.calc = SinglePointCalculator(labeled, energy=energy, forces=forces, stress=stress)
    record = LabelRecord(
        status=LabelStatus.CONVERGED,
        energy=energy,
        max_force=float(np.abs(forces).max()),
        pressure=pressure,
        **known,
    )
    return record, labeled


def batch_of(
    outcomes: list[tuple[LabelRecord, Atoms | None]],
    *,
    key: str,
    level_of_theory: str,
    provenance: Provenance,
) -> LabelBatch:
    """Label batch out of single outcomes; its arrays go into one shard of the JobStore."""
    records: list[LabelRecord] = []
    frames: list[Atoms] = []
    for record, labeled in outcomes:
        if labeled is None:
            records.append(record)
        else:
            records.append(record.model_copy(update={"index": len(frames)}))
            frames.append(labeled)
    shard = put_blob(current_store(), encode_frames(frames), MEDIA_TYPE) if frames else None
    return LabelBatch(
        key=key,
        campaign_id=provenance.campaign_id,
        level_of_theory=level_of_theory,
        provenance=provenance,
        records=tuple(records),
        shard=shard,
    )
