"""From trajectories to documents: whether it is a glass, and what it is like."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from laoc_flows.analysis import (
    PARTS,
    Analysis,
    Frame,
    FrameSeries,
    Part,
    Trajectory,
    analyze,
    bonds,
    distance_check,
    reaction_check,
)
from laoc_flows.blobs import BlobRef, FileRef, digest_json, fetch_file, put_blob
from laoc_flows.composition import Cell, Composition
from laoc_flows.engines.stage_records import quench_rate, warnings_of
from laoc_flows.flows.summaries import displacement_curves, pair_curves, structure_fields, transport_fields
from laoc_flows.jobs import current_store, finished, laoc_job, scratch_directory
from laoc_flows.schemas.base import Measured, Provenance
from laoc_flows.schemas.glass import GlassStatus, ProductionResult, StructureDocument
from laoc_flows.schemas.label import MDResult, MeltRecord
from laoc_flows.schemas.transport import TransportDocument

MAX_FRAMES = 200
"""Frames of a run that are checked for reactions and collapses, evenly spread."""

_STRUCTURE: tuple[Part, ...] = ("survey", "network", "mixing", "pairs")
_PACKED = "application/json+gzip"


def thinned(trajectory: Trajectory, n_frames: int = MAX_FRAMES) -> list[Frame]:
    """At most `n_frames` frames of a trajectory, evenly spread, the last one included."""
    picks = np.unique(
        np.linspace(0, trajectory.n_frames - 1, min(n_frames, trajectory.n_frames)).round().astype(int)
    )
    return [trajectory.frame(int(index)) for index in picks]


def verdict(frames: Sequence[Frame], melt: MeltRecord | None, failure: str = "") -> tuple[GlassStatus, str]:
    """Whether a cell may be called a glass.

    Parameters
    ----------
    frames : sequence of Frame
        Frames of the final run; every one is checked.
    melt : MeltRecord or None
        State before the quench; None when there was no melt.
    failure : str
        Why the run stopped early, empty if it did not.

    Returns
    -------
    status : GlassStatus
        Glass, or the first reason against it: stopped, collapsed, reacted, not melted, sum rule.
    reason : str
        The numbers behind it.
    """
    unmelted = melt is not None and not melt.passed
    if failure and not (unmelted and melt is not None and failure == melt.reason):
        return GlassStatus.STOPPED, failure
    for frame in frames:
        contact = distance_check(frame)
        reaction = reaction_check(frame)
        # A collapsed pair is also a short anion pair: the reaction is the more telling word for that.
        if not reaction.passed:
            return GlassStatus.REACTED, reaction.reason
        if not contact.passed:
            return GlassStatus.COLLAPSED, contact.reason
    if melt is None or not melt.passed:
        return GlassStatus.NOT_MELTED, melt.reason if melt is not None else "there was no melt"
    if frames:
        left, right = bonds(frames[-1]).sum_rule()
        if left != right:
            return GlassStatus.SUM_RULE, f"{left} links against {right} from the coordination numbers"
    return GlassStatus.GLASS, ""


def structure_of(trajectory: FrameSeries, seed: int) -> dict[str, Any]:
    """Structural fields of a structure document, averaged over a run, and its curves as a blob.

    Parameters
    ----------
    trajectory : FrameSeries
        The run.
    seed : int
        Seed of permutations.
    """
    return _structure(analyze(trajectory, seed=seed, parts=_STRUCTURE))


def production_of(
    trajectory: FrameSeries, temperature: float, seed: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Fields of the structure document and of the transport document of a run at constant volume.

    Parameters
    ----------
    trajectory : FrameSeries
        The run.
    temperature : float
        Its temperature [K].
    seed : int
        Seed of posteriors, bootstraps and permutations.
    """
    analysis = analyze(trajectory, temperature, seed=seed, parts=[p for p in PARTS if p != "amorphisation"])
    moved = {
        **transport_fields(analysis),
        "curves": _curves(displacement_curves(analysis)),
        "analysis": packed(analysis),
    }
    return _structure(analysis), moved


def packed(analysis: Analysis) -> BlobRef:
    """Blob of a whole analysis."""
    # A fixed time stamp, so that the same analysis is the same blob.
    data = gzip.compress(analysis.model_dump_json().encode(), mtime=0)
    return put_blob(current_store(), data, _PACKED)


def _structure(analysis: Analysis) -> dict[str, Any]:
    curves = _curves(pair_curves(analysis.pairs)) if analysis.pairs is not None else None
    return {**structure_fields(analysis), "curves": curves}


def _curves(curves: dict[str, Any]) -> BlobRef:
    return put_blob(current_store(), json.dumps(curves, sort_keys=True).encode(), "application/json")


@laoc_job(output_schema=StructureDocument)
def assess_seed(run: MDResult, composition_id: str, n_al: int) -> StructureDocument:
    """Structure document of a seed trajectory of the reference engine.

    Seeds give labels. They are glasses only if they pass the same checks as production does; a seed of some
    hundred femtoseconds has not melted and says so.

    Parameters
    ----------
    run : MDResult
        Seed trajectory.
    composition_id : str
        Canonical composition id.
    n_al : int
        Al atoms of the cell.
    """
    key = digest_json([run.key, "assess/r3"])
    if (done := finished(StructureDocument, "structure", key)) is not None:
        return done
    frames: list[Frame] = []
    last = None
    if run.trajectory is not None:
        with scratch_directory("assess") as directory:
            trajectory = Trajectory.read(fetch_file(run.trajectory, directory / "trajectory.h5"))
        frames = thinned(trajectory)
        last = trajectory.block(trajectory.n_frames - 1, trajectory.n_frames)
    # The raw packing reacts or not within the first frames; the verdict is on where the quench ended.
    status, reason = verdict(frames[-1:], run.melt, failure_of(run))
    fields = structure_of(last, run.provenance.campaign_seed) if last is not None else {}
    return structure_document(
        run, key, composition_id, n_al, status=status, reason=reason, provenance=run.provenance, **fields
    )


def finished_production(key: str) -> ProductionResult | None:
    """An earlier production with the same content address."""
    structure = finished(StructureDocument, "structure", key, field="output.structure")
    if structure is None:
        return None
    transport = finished(
        TransportDocument, "transport", digest_json([key, "transport"]), field="output.transport"
    )
    return ProductionResult(structure=structure, transport=transport)


def failure_of(run: MDResult) -> str:
    """Why a run stopped early, empty if it did not."""
    return run.status.removeprefix("stopped: ") if run.status != "completed" else ""


def structure_document(
    run: MDResult,
    key: str,
    composition_id: str,
    n_al: int,
    *,
    status: GlassStatus,
    reason: str,
    provenance: Provenance,
    potential_key: str | None = None,
    flags: tuple[str, ...] = (),
    **fields: Any,
) -> StructureDocument:
    """Structure document of the cell that a run ended in.

    Parameters
    ----------
    run : MDResult
        The run, melt and quench included.
    key : str
        Content address of the document.
    composition_id : str
        Canonical composition id.
    n_al : int
        Al atoms of the cell.
    status : GlassStatus
        Whether it is a glass.
    reason : str
        The numbers behind that.
    provenance : Provenance
        Where the cell belongs.
    potential_key : str, optional
        Potential that made it; none for the reference engine.
    flags : tuple of str
        In what respect the run is outside the range of that potential.
    **fields
        Fields of the structure, averaged over a run.
    """
    composition = Composition.from_id(composition_id)
    cell = Cell(composition, n_al)
    return StructureDocument(
        key=key,
        campaign_id=run.campaign_id,
        provenance=provenance,
        status=status,
        reason=reason,
        level_of_theory=run.level_of_theory,
        potential_key=potential_key,
        formula=cell.formula,
        n_atoms=cell.n_atoms,
        x=float(composition.x),
        y=float(composition.y),
        links_expected=float(Fraction(composition.links_per_al)),
        structure=run.final_frame,
        melt_displacement=run.melt.displacement if run.melt is not None else {},
        melt=run.melt,
        quench_rate=quench_rate(run.stages),
        stages=run.stages,
        profile=run.profile,
        warnings=(*warnings_of(run.stages), *flags),
        **fields,
    )


def transport_document(
    structure: StructureDocument,
    temperature: float,
    mean_temperature: Measured,
    window: FrameSeries,
    trajectory: FileRef | None,
    moved: Mapping[str, Any],
) -> TransportDocument:
    """Transport document of a glass.

    Parameters
    ----------
    structure : StructureDocument
        The glass.
    temperature : float
        Target of the thermostat [K].
    mean_temperature : Measured
        Kinetic temperature of the run.
    window : FrameSeries
        What was analyzed of it.
    trajectory : FileRef or None
        Where it is.
    moved : mapping
        Fields of `production_of`.
    """
    return TransportDocument(
        key=digest_json([structure.key, "transport"]),
        campaign_id=structure.campaign_id,
        provenance=structure.provenance,
        structure_key=structure.key,
        potential_key=structure.potential_key,
        level_of_theory=structure.level_of_theory,
        warnings=structure.warnings,
        x=structure.x,
        y=structure.y,
        temperature=temperature,
        mean_temperature=mean_temperature,
        duration=window.duration,
        drift="framework",
        trajectory=trajectory,
        **moved,
    )
