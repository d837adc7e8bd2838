"""The choice among all frames that an iteration's explorations offer, and what the labels of the last one have shown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from laoc_flows.blobs import BlobRef, derive_seed, get_blob, put_blob
from laoc_flows.flows.potential import frames_of, model_file, write_models
from laoc_flows.frames import MEDIA_TYPE, decode_frames, encode_frames
from laoc_flows.jobs import current_store, scratch_directory
from laoc_flows.learning.calibration import LabelError
from laoc_flows.learning.evaluate import describe, predict
from laoc_flows.learning.novelty import Novelty
from laoc_flows.learning.selection import REASONS, Decision, Offered, choose, counted
from laoc_flows.schemas.dataset import Dataset
from laoc_flows.schemas.iteration import ExplorationDocument, Stratum, StratumReport
from laoc_flows.schemas.label import FrameSet, LabelBatch
from laoc_flows.schemas.learning import Learning
from laoc_flows.schemas.potential import PotentialDocument

_JSON = "application/json"
_MOST_KNOWN = 1500
"""Labeled frames that candidates are compared with: more are drawn from at random."""


@dataclass(frozen=True)
class Choice:
    """What was chosen of an iteration's explorations.

    Attributes
    ----------
    frames : dict
        Frames to label by index of the exploration.
    strata : tuple of StratumReport
        Strata with the numbers of decisions.
    decisions : BlobRef or None
        JSON of every decision; None without any.
    """

    frames: dict[int, FrameSet]
    strata: tuple[StratumReport, ...]
    decisions: BlobRef | None

    @property
    def n_selected(self) -> int:
        """Number of frames to label."""
        return sum(frames.n_frames for frames in self.frames.values())


def choice_of(
    learning: Learning,
    potential: PotentialDocument,
    explorations: Sequence[ExplorationDocument],
    dataset: Dataset,
    strata: Sequence[StratumReport],
    budget: int | None,
    seed: int,
) -> Choice:
    """Choose what to label, farthest first in the space of the potential's own descriptors.

    Parameters
    ----------
    learning : Learning
        Quota, spacing, novelty and audit.
    potential : PotentialDocument
        Its first model gives the descriptors.
    explorations : sequence of ExplorationDocument
        What they offer.
    dataset : Dataset
        What is labeled already.
    strata : sequence of StratumReport
        All strata, replicas added up.
    budget : int or None
        Labels that are left, None for no limit.
    seed : int
        Seed of the draws.
    """
    store = current_store()
    offered: list[Offered] = []
    frames: list[Atoms] = []
    deviations: list[float] = []
    for run, exploration in enumerate(explorations):
        if exploration.candidates is None:
            continue
        frames += decode_frames(get_blob(store, exploration.candidates.frames))
        deviations += exploration.candidates.deviations
        highs = {report.stratum: report.trust_high for report in exploration.strata}
        for temperature, time, deviation, agreed in zip(
            exploration.candidates.temperatures,
            exploration.times,
            exploration.candidates.deviations,
            exploration.audited,
            strict=True,
        ):
            stratum = _stratum(learning, exploration, temperature)
            above = deviation >= highs.get(stratum, np.inf)
            offered.append(Offered(run, stratum, time, deviation, agreed, above))
    if not offered:
        return Choice({}, tuple(strata), None)
    decisions = _decided(learning, potential, dataset, offered, frames, budget, seed)
    where = [each.stratum for each in offered]
    return Choice(
        frames=_frame_sets(explorations, offered, frames, decisions),
        strata=counted(strata, where, decisions),
        decisions=put_blob(store, json.dumps(_table(explorations, offered, decisions)).encode(), _JSON),
    )


def _stratum(learning: Learning, exploration: ExplorationDocument, temperature: float) -> Stratum:
    volume_scale, pressure = learning.exploration.condition(exploration.provenance.replica)
    return Stratum(
        composition_id=exploration.provenance.composition_id,
        temperature=temperature,
        volume_scale=volume_scale,
        pressure=pressure,
    )


def _decided(
    learning: Learning,
    potential: PotentialDocument,
    dataset: Dataset,
    offered: Sequence[Offered],
    frames: Sequence[Atoms],
    budget: int | None,
    seed: int,
) -> list[Decision]:
    store = current_store()
    known = frames_of(store, [member for member in dataset.members if not member.held_out])
    if len(known) > _MOST_KNOWN:
        generator = np.random.default_rng(derive_seed(seed, "known"))
        known = [known[i] for i in np.sort(generator.choice(len(known), _MOST_KNOWN, replace=False))]
    with scratch_directory("select") as directory:
        first = potential.models[0]
        # The descriptors of a compressed model are those of its tables; the frozen one has its own.
        model = model_file(store, first.frozen or first.model, directory, "model")
        features = describe(model, [*known, *frames], directory, first.backend)
    split = len(known)
    novelty = Novelty(features[:split], known, features[split:], frames, derive_seed(seed, "novelty"))
    return choose(
        offered,
        novelty,
        learning.selection,
        budget=budget,
        seed=derive_seed(seed, "audit"),
    )


def _frame_sets(
    explorations: Sequence[ExplorationDocument],
    offered: Sequence[Offered],
    frames: Sequence[Atoms],
    decisions: Sequence[Decision],
) -> dict[int, FrameSet]:
    found: dict[int, FrameSet] = {}
    for run, exploration in enumerate(explorations):
        chosen = [
            i
            for i, (frame, decision) in enumerate(zip(offered, decisions, strict=True))
            if frame.run == run and decision in {Decision.SELECTED, Decision.AUDITED}
        ]
        if not chosen:
            continue
        strata = [offered[i].stratum for i in chosen]
        found[run] = FrameSet(
            frames=put_blob(current_store(), encode_frames([frames[i] for i in chosen]), MEDIA_TYPE),
            n_frames=len(chosen),
            temperatures=tuple(stratum.temperature for stratum in strata if isinstance(stratum, Stratum)),
            deviations=tuple(offered[i].deviation for i in chosen),
            provenance=exploration.provenance,
        )
    return found


def _table(
    explorations: Sequence[ExplorationDocument], offered: Sequence[Offered], decisions: Sequence[Decision]
) -> dict[str, list[object]]:
    strata = [each.stratum for each in offered]
    return {
        "run": [explorations[each.run].provenance.trajectory_id for each in offered],
        "temperature_K": [s.temperature for s in strata if isinstance(s, Stratum)],
        "condition": [s.condition for s in strata if isinstance(s, Stratum)],
        "time_ps": [round(each.time, 4) for each in offered],
        "deviation_eV_per_angstrom": [round(each.deviation, 5) for each in offered],
        "decision": [decision.value for decision in decisions],
        "reason": [REASONS[decision] for decision in decisions],
    }


def errors_of_labels(
    learning: Learning,
    potential: PotentialDocument,
    batches: Sequence[LabelBatch],
    strata: Sequence[StratumReport],
) -> list[LabelError]:
    """Errors of a potential on the labels that it asked for, before it is trained on them.

    Parameters
    ----------
    learning : Learning
        Which replica was run at what.
    potential : PotentialDocument
        The potential that drove the explorations.
    batches : sequence of LabelBatch
        Labels of its choice.
    strata : sequence of StratumReport
        Trust levels of the iteration: a label below the lower one is of the audit.
    """
    store = current_store()
    frames: list[Atoms] = []
    known: list[tuple[LabelBatch, float, float | None]] = []
    for batch in batches:
        shard = decode_frames(get_blob(store, batch.shard)) if batch.shard is not None else []
        for record in batch.records:
            if record.index is not None and record.deviation is not None:
                frames.append(shard[record.index])
                known.append((batch, record.deviation, record.temperature))
    if not frames:
        return []
    with scratch_directory("errors") as directory:
        paths = write_models(store, potential, directory, count=1)
        (answer,) = predict(paths, frames, directory, potential.models[0].backend)
    answer = answer.with_core(frames, potential.soft_core)
    levels = {report.stratum: report.trust_low for report in strata}
    found = []
    for frame, forces, (batch, deviation, temperature) in zip(frames, answer.forces, known, strict=True):
        volume_scale, pressure = learning.exploration.condition(batch.provenance.replica)
        difference = forces - frame.get_forces()
        error = LabelError(
            composition_id=batch.provenance.composition_id,
            temperature=temperature,
            volume_scale=volume_scale,
            pressure=pressure,
            deviation=deviation,
            force_rmse=float(np.sqrt(np.mean(difference**2))),
            max_error=float(np.linalg.norm(difference, axis=1).max()),
            source="selected",
        )
        low = levels.get(
            Stratum(
                composition_id=error.composition_id,
                temperature=temperature or 0.0,
                volume_scale=volume_scale,
                pressure=pressure,
            )
        )
        found.append(error.model_copy(update={"agreed": low is not None and deviation < low}))
    return found


def held_out_errors(potential: PotentialDocument) -> list[LabelError]:
    """Errors of a potential on held-out labels, where its committee's deviation is known as well."""
    if potential.parity is None:
        return []
    parity = json.loads(get_blob(current_store(), potential.parity))
    return [
        LabelError(
            composition_id=composition_id,
            temperature=None,
            volume_scale=None,
            pressure=None,
            deviation=deviation,
            force_rmse=rmse,
            max_error=rmse,
            source="held out",
        )
        for composition_id, columns in parity.items()
        for deviation, rmse in zip(columns["deviation"], columns["force_rmse"], strict=True)
    ]


def errors_blob(errors: Sequence[LabelError]) -> BlobRef:
    """Errors of labels as a blob: JSON, a list of mappings."""
    return put_blob(current_store(), json.dumps([e.model_dump() for e in errors]).encode(), _JSON)


def read_errors(blob: BlobRef | None) -> list[LabelError]:
    """Errors of labels that a blob holds."""
    if blob is None:
        return []
    return [LabelError.model_validate(each) for each in json.loads(get_blob(current_store(), blob))]
