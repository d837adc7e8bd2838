"""A potential out of its committee: its errors, its range, and the labels that it finds doubtful."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from jobflow import JobStore

from laoc_flows.blobs import BlobRef, digest_json, get_blob, put_blob
from laoc_flows.errors import LaocError
from laoc_flows.flows.kept import held
from laoc_flows.frames import decode_frames
from laoc_flows.jobs import current_store, finished, laoc_job, scratch_directory
from laoc_flows.learning.calibration import deviations_of
from laoc_flows.learning.errors import fit_error, held_out_error
from laoc_flows.learning.evaluate import Prediction, predict
from laoc_flows.learning.quarantine import doubtful
from laoc_flows.learning.validity import validity_of
from laoc_flows.schemas.dataset import Dataset, DatasetMember
from laoc_flows.schemas.potential import (
    MODEL_SUFFIXES,
    HeldOutError,
    PotentialDocument,
    Suspect,
    TrainingOutcome,
)
from laoc_flows.schemas.protocol import SoftCore

_LEAST_MODELS = 2
"""Models that make a committee: with one there is no deviation."""


def frames_of(store: JobStore, members: Sequence[DatasetMember]) -> list[Atoms]:
    """Labeled frames of data set members that are not in quarantine, in their order."""
    return [frame for member in members for _, frame in _indexed(store, member)]


def _indexed(store: JobStore, member: DatasetMember) -> list[tuple[int, Atoms]]:
    frames = decode_frames(get_blob(store, member.shard))
    return [(i, frame) for i, frame in enumerate(frames) if i not in member.left_out]


def model_file(store: JobStore, blob: BlobRef, directory: Path, stem: str) -> Path:
    """Write a model into a directory, its digest verified, under the suffix of its backend."""
    path = directory / f"{stem}{MODEL_SUFFIXES.get(blob.media_type, '.pb')}"
    path.write_bytes(get_blob(store, blob))
    return path


def write_models(
    store: JobStore, potential: PotentialDocument, directory: Path, count: int | None = None
) -> list[Path]:
    """Write the first `count` models of a potential (all by default) into a directory, digests verified."""
    return [
        model_file(store, model.model, directory, f"model-{index}")
        for index, model in enumerate(potential.models[:count])
    ]


@laoc_job(output_schema=PotentialDocument)
def assemble_potential(
    outcomes: list[TrainingOutcome],
    dataset: Dataset | BlobRef,
    soft_core: SoftCore,
    campaign_id: str,
    iteration: int,
    parent: str | None,
    max_force: float = math.inf,
) -> PotentialDocument:
    """Potential out of its committee, tested on the held-out trajectories.

    Parameters
    ----------
    outcomes : list of TrainingOutcome
        The committee; members that could not be trained are left out while two are there.
    dataset : Dataset or BlobRef
        Data it was trained on, with the held-out trajectories.
    soft_core : SoftCore
        Repulsion that belongs to the potential.
    campaign_id : str
        Campaign.
    iteration : int
        Iteration of the loop.
    parent : str or None
        Key of the potential before.
    max_force : float
        Largest force component of a label that is trained on [eV/A].
    """
    dataset = held(Dataset, dataset)
    models = [outcome.model for outcome in outcomes if outcome.model is not None]
    failed = [outcome.attempts[-1] for outcome in outcomes if outcome.model is None]
    if len(models) < _LEAST_MODELS:
        reasons = "; ".join(f"{each.status.value}: {each.reason}" for each in failed)
        msg = f"only {len(models)} of {len(outcomes)} models could be trained ({reasons})"
        raise LaocError(msg, remedy="see learning.training: start_lr, max_force, steps")
    members = [model.key for model in models]
    # One that was trained in another iteration is taken over by this campaign: a document of its own.
    taken_over = [campaign_id] if models[0].iteration != iteration else []
    limit = max_force if math.isfinite(max_force) else None
    key = digest_json([members, dataset.digest, soft_core.model_dump(), limit, *taken_over, "potential/r3"])
    if (done := finished(PotentialDocument, "potential", key)) is not None:
        return done
    store = current_store()
    frames, places = _all_frames(store, dataset, max_force)
    with scratch_directory("potential") as directory:
        paths = [model_file(store, model.model, directory, f"model-{i}") for i, model in enumerate(models)]
        answers = predict(paths, frames, directory, models[0].backend)
    answers = [answer.with_core(frames, soft_core) for answer in answers]
    trained = [i for i, (member, _) in enumerate(places) if not member.held_out]
    tested = [i for i, (member, _) in enumerate(places) if member.held_out]
    suspects = _suspects(frames, answers[0], places)
    errors, parity = _held_out(frames, answers, _groups(places, tested, suspects), places)
    fitted = {
        name: fit_error([frames[i] for i in picks], _picked(answers[0], picks))
        for name, picks in _groups(places, trained, suspects).items()
    }
    learned = {places[i][0].composition_id for i in trained}
    return PotentialDocument(
        key=key,
        campaign_id=campaign_id,
        iteration=iteration,
        level_of_theory=dataset.level_of_theory,
        models=tuple(models),
        failed=tuple(failed),
        soft_core=soft_core,
        dataset_digest=dataset.digest,
        n_train=dataset.n_train,
        n_test=dataset.n_test,
        held_out=errors,
        fitted=fitted,
        tested_only=tuple(sorted(set(errors) - learned)),
        parent=parent,
        validity=validity_of(
            [frames[i] for i in trained],
            [places[i][0].composition_id for i in trained],
            [member.temperatures for member in dataset.members if not member.held_out],
        ),
        parity=put_blob(store, json.dumps(parity).encode(), "application/json") if parity else None,
        suspects=suspects,
        core_hours=sum(outcome.core_hours for outcome in outcomes),
    )


_Place = tuple[DatasetMember, int]


def _all_frames(store: JobStore, dataset: Dataset, max_force: float) -> tuple[list[Atoms], list[_Place]]:
    """Frames that were trained on, and those that are held out."""
    frames, places = [], []
    for member in dataset.members:
        for index, frame in _indexed(store, member):
            if not member.held_out and np.abs(frame.get_forces()).max() > max_force:
                continue
            frames.append(frame)
            places.append((member, index))
    return frames, places


def _suspects(frames: Sequence[Atoms], answer: Prediction, places: Sequence[_Place]) -> tuple[Suspect, ...]:
    trained = [not member.held_out for member, _ in places]
    found = doubtful(frames, answer, [member.composition_id for member, _ in places], trained)
    return tuple(
        Suspect(
            shard=places[i][0].shard.sha256,
            index=places[i][1],
            composition_id=places[i][0].composition_id,
            trajectory_id=places[i][0].trajectory_id,
            reason=reason,
        )
        for i, reason in found.items()
    )


def _groups(
    places: Sequence[_Place], picks: Sequence[int], suspects: Sequence[Suspect]
) -> dict[str, list[int]]:
    """Frames by composition, without labels that are in doubt: they are no test of a potential."""
    doubted = {(suspect.shard, suspect.index) for suspect in suspects}
    groups: dict[str, list[int]] = {}
    for i in picks:
        member, index = places[i]
        if (member.shard.sha256, index) not in doubted:
            groups.setdefault(member.composition_id, []).append(i)
    return dict(sorted(groups.items()))


def _held_out(
    frames: Sequence[Atoms],
    answers: Sequence[Prediction],
    groups: dict[str, list[int]],
    places: Sequence[_Place],
) -> tuple[dict[str, HeldOutError], dict[str, dict[str, list[float]]]]:
    """Errors and parity by composition."""
    errors, parity = {}, {}
    for name, picks in groups.items():
        members = [frames[i] for i in picks]
        n_trajectories = len({places[i][0].trajectory_id for i in picks})
        parts = [_picked(answer, picks) for answer in answers]
        errors[name] = held_out_error(members, parts[0], n_trajectories)
        parity[name] = _parity(members, parts)
    return errors, parity


def _picked(answer: Prediction, picks: Sequence[int]) -> Prediction:
    return Prediction(
        answer.energies[list(picks)], [answer.forces[i] for i in picks], answer.virials[list(picks)]
    )


_MOST_FORCES = 3000
"""Force components of one composition that a parity plot shows: more are thinned evenly."""


def _parity(frames: Sequence[Atoms], parts: Sequence[Prediction]) -> dict[str, list[float]]:
    sizes = np.array([len(frame) for frame in frames])
    forces = np.concatenate([frame.get_forces().ravel() for frame in frames])
    predicted = np.concatenate([force.ravel() for force in parts[0].forces])
    step = max(1, -(-len(forces) // _MOST_FORCES))
    rmse = [
        float(np.sqrt(np.mean((frame.get_forces() - force) ** 2)))
        for frame, force in zip(frames, parts[0].forces, strict=True)
    ]
    energies = np.array([frame.get_potential_energy() for frame in frames])
    return {
        "energy": (energies / sizes).round(6).tolist(),
        "predicted_energy": (parts[0].energies / sizes).round(6).tolist(),
        "force": forces[::step].round(5).tolist(),
        "predicted_force": predicted[::step].round(5).tolist(),
        "deviation": deviations_of([part.forces for part in parts]).round(6).tolist(),
        "force_rmse": np.round(rmse, 6).tolist(),
    }
