"""Labels with typed outcomes, the same for every engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator

from laoc_flows.analysis import closest_contact
from laoc_flows.blobs import BlobRef, get_blob, put_blob
from laoc_flows.engines.dynamics import SinglePoint
from laoc_flows.frames import MEDIA_TYPE, decode_frames, encode_frames, geometry_key
from laoc_flows.jobs import current_store
from laoc_flows.schemas.base import Provenance
from laoc_flows.schemas.label import LabelBatch, LabelRecord, LabelStatus
from laoc_flows.schemas.protocol import LabelLimits

EV_PER_A3_IN_GPA = 1.0 / units.GPa
LOG_TYPE = "application/gzip"
_MEDIAN_FROM = 4
"""Labels that a batch needs before its median says anything about a single one."""


class Outcome(NamedTuple):
    """What became of one frame.

    Attributes
    ----------
    record : LabelRecord
        Its record; ``index`` is not set.
    labeled : ase.Atoms or None
        Frame with its results, None unless converged.
    log : bytes
        Log of a label that converged, in case its numbers are rejected later; empty if there is none.
    """

    record: LabelRecord
    labeled: Atoms | None
    log: bytes = b""


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


def too_close(atoms: Atoms, floors: Mapping[str, float]) -> SinglePoint | None:
    """Outcome of a frame that is not worth a calculation, None if its distances are physical.

    Parameters
    ----------
    atoms : ase.Atoms
        Frame.
    floors : mapping of str to float
        Shortest physical distance by pair [A].
    """
    contact = closest_contact(atoms, floors)
    if contact is None or contact.ratio >= 1.0:
        return None
    return SinglePoint(LabelStatus.REJECTED_DISTANCE, f"{contact} is inside its floor")


def outcome_of(
    atoms: Atoms,
    point: SinglePoint,
    level_of_theory: str,
    limits: LabelLimits,
    temperature: float | None = None,
    deviation: float | None = None,
) -> Outcome:
    """Record of a single point, and the labeled frame if it may be trained on.

    Parameters
    ----------
    atoms : ase.Atoms
        Frame.
    point : SinglePoint
        What the engine made of it.
    level_of_theory : str
        Identity of the engine.
    limits : LabelLimits
        What is refused.
    temperature : float, optional
        Temperature of the ideal-gas term of the pressure [K].
    deviation : float, optional
        Model deviation that selected the frame [eV/A].

    Returns
    -------
    Outcome
        Record, and the labeled frame if it may be trained on.
    """
    known: dict[str, Any] = {
        "key": geometry_key(atoms, level_of_theory),
        "n_atoms": len(atoms),
        "temperature": temperature,
        "deviation": deviation,
        "corrections": point.corrections,
    }

    def failed(status: LabelStatus, reason: str) -> Outcome:
        return Outcome(
            LabelRecord(status=status, reason=reason[:300] or status.value, log=_kept(point.log), **known),
            None,
        )

    if point.status is not LabelStatus.CONVERGED:
        return failed(point.status, point.reason)
    if point.energy is None or point.forces is None or point.stress is None:
        return failed(LabelStatus.CRASHED, "the engine left a result out")
    energy, forces, stress = point.energy, point.forces, point.stress
    if not (np.isfinite(energy) and np.isfinite(forces).all() and np.isfinite(stress).all()):
        return failed(LabelStatus.CRASHED, "the results are not finite numbers")
    known |= {"energy": energy, "max_force": float(np.abs(forces).max())}
    if temperature is not None:
        known["pressure"] = total_pressure(stress, len(atoms), atoms.get_volume(), temperature)
    if known["max_force"] > limits.max_force:
        reason = f"a force component of {known['max_force']:.1f} eV/A is above {limits.max_force:g}"
        return failed(LabelStatus.REJECTED_FORCE, reason)
    if energy >= 0:
        reason = f"the energy, {energy:.3f} eV, is positive: the cell is not bound"
        return failed(LabelStatus.REJECTED_ENERGY, reason)
    labeled = Atoms(atoms.get_chemical_symbols(), positions=atoms.positions, cell=atoms.cell, pbc=True)
    labeled.calc = SinglePointCalculator(labeled, energy=energy, forces=forces, stress=stress)
    return Outcome(LabelRecord(status=LabelStatus.CONVERGED, **known), labeled, point.log)


def _kept(log: bytes) -> BlobRef | None:
    return put_blob(current_store(), log, LOG_TYPE) if log else None


def _without_outliers(outcomes: Sequence[Outcome], spread: float) -> list[Outcome]:
    """Reject energies far from the median: an SCF that converged to another state looks like that."""
    energies = [
        outcome.record.energy / outcome.record.n_atoms
        for outcome in outcomes
        if outcome.labeled and outcome.record.energy is not None
    ]
    if len(energies) < _MEDIAN_FROM:
        return list(outcomes)
    median = float(np.median(energies))
    checked: list[Outcome] = []
    for outcome in outcomes:
        record = outcome.record
        away = abs((record.energy or 0.0) / record.n_atoms - median)
        if outcome.labeled is None or away <= spread:
            checked.append(outcome)
            continue
        reason = f"the energy is {away:.2f} eV/atom from the median of its batch, above {spread:g}"
        update = {"status": LabelStatus.REJECTED_ENERGY, "reason": reason, "log": _kept(outcome.log)}
        checked.append(Outcome(record.model_copy(update=update), None))
    return checked


def batch_of(
    outcomes: Sequence[Outcome],
    *,
    key: str,
    level_of_theory: str,
    provenance: Provenance,
    spread: float | None,
) -> LabelBatch:
    """Label batch out of single outcomes; its arrays go into one shard of the JobStore.

    Parameters
    ----------
    outcomes : sequence of Outcome
        One for each frame.
    key : str
        Content address of the batch.
    level_of_theory : str
        Identity of the engine.
    provenance : Provenance
        Trajectory that the frames come from.
    spread : float or None
        Largest distance of an energy from the median of the batch [eV/atom]; None for a part, whose median says
        nothing.
    """
    if spread is not None:
        outcomes = _without_outliers(outcomes, spread)
    records: list[LabelRecord] = []
    frames: list[Atoms] = []
    for record, labeled, _ in outcomes:
        if labeled is None:
            records.append(record)
        else:
            records.append(record.model_copy(update={"index": len(frames)}))
            frames.append(labeled)
    return LabelBatch(
        key=key,
        campaign_id=provenance.campaign_id,
        level_of_theory=level_of_theory,
        provenance=provenance,
        records=tuple(records),
        shard=_shard(frames),
    )


def merged(batches: Sequence[LabelBatch], *, key: str, spread: float | None) -> LabelBatch:
    """One batch out of its parts, in order.

    Parameters
    ----------
    batches : sequence of LabelBatch
        Parts of one batch that separate jobs computed, at least one.
    key : str
        Content address of the whole.
    spread : float or None
        As in `batch_of`.
    """
    outcomes: list[Outcome] = []
    for batch in batches:
        frames = decode_frames(get_blob(current_store(), batch.shard)) if batch.shard is not None else []
        outcomes += [
            Outcome(
                record.model_copy(update={"index": None}),
                frames[record.index] if record.index is not None else None,
            )
            for record in batch.records
        ]
    first = batches[0]
    return batch_of(
        outcomes,
        key=key,
        level_of_theory=first.level_of_theory,
        provenance=first.provenance,
        spread=spread,
    ).model_copy(update={"core_hours": sum(batch.core_hours for batch in batches)})


def _shard(frames: list[Atoms]) -> BlobRef | None:
    return put_blob(current_store(), encode_frames(frames), MEDIA_TYPE) if frames else None
