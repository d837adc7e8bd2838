"""Imports in the store: the newest of a name, and what of one that was read is there already."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

from jobflow import JobStore

from laoc_flows.blobs import put_blob
from laoc_flows.engines.known_labels import known_points
from laoc_flows.errors import InputError
from laoc_flows.frames import MEDIA_TYPE, encode_frames
from laoc_flows.schemas.base import Provenance
from laoc_flows.schemas.imported import STAGE, ImportDocument, ImportOrder, import_id
from laoc_flows.schemas.label import FrameSet, LabelBatch, LabelRecord
from laoc_flows.store.import_reading import Found, ImportTrajectory, ReadImport, energies_differ
from laoc_flows.store.stored import plain

BATCH_SIZE: Final = 1000
"""Most frames of a batch: the documents of longer trajectories would be too large."""


def find_import(store: JobStore, name: str) -> ImportDocument | None:
    """Newest document of an import.

    Parameters
    ----------
    store : jobflow.JobStore
        Connected JobStore.
    name : str
        Name of the import.

    Returns
    -------
    ImportDocument or None
        None if there was no such import, or it never came to its end.
    """
    query = {"output.schema_name": "import", "output.facts.name": name}
    found = [
        ImportDocument.model_validate(plain(row["output"]))
        for row in store.docs_store.query(query, ["output"])
    ]
    # An import only ever grows: the newest is the largest, whatever the clocks of two machines say.
    return max(
        found, key=lambda each: (each.dataset.n_train + each.dataset.n_test, _n_rejected(each)), default=None
    )


def _n_rejected(document: ImportDocument) -> int:
    return sum(document.rejected.values())


def imported_batches(store: JobStore, name: str) -> list[LabelBatch]:
    """Label batches of an import, also of one that never came to its end.

    Parameters
    ----------
    store : jobflow.JobStore
        Connected JobStore.
    name : str
        Name of the import.

    Returns
    -------
    list of LabelBatch
        Each of them once, sorted by trajectory.
    """
    query = {"output.schema_name": "label_batch", "output.campaign_id": import_id(name)}
    found: dict[str, LabelBatch] = {}
    for row in store.docs_store.query(query, ["output"]):
        batch = LabelBatch.model_validate(plain(row["output"]))
        found.setdefault(batch.key, batch)
    return sorted(
        found.values(),
        key=lambda each: (each.provenance.composition_id, each.provenance.replica, each.key),
    )


class _There(NamedTuple):
    provenance: Provenance
    record: LabelRecord


def order_import(store: JobStore, read: ReadImport) -> ImportOrder:
    """Compare with what is there under the same name, and say what is to be added.

    The frames that are new are put into the JobStore as blobs; nothing refers to them before the import is run.

    Parameters
    ----------
    store : jobflow.JobStore
        Connected JobStore.
    read : ReadImport
        What was read.

    Returns
    -------
    ImportOrder
        What is to be done.

    Raises
    ------
    InputError
        If the name stands for other labels already: an import may grow, and nothing else; or if the store has another
        energy for one of the geometries at this level of theory.
    """
    facts = read.facts
    known = imported_batches(store, facts.name)
    there = {record.key: _There(batch.provenance, record) for batch in known for record in batch.records}
    _check_growth(read, known, there)
    _check_energies(store, read, there)
    replicas: Counter[str] = Counter()
    for batch in known:
        place = batch.provenance
        replicas[place.composition_id] = max(replicas[place.composition_id], place.replica + 1)
    planned: list[tuple[Provenance, list[Found]]] = []
    for trajectory in read.trajectories:
        fresh = [label for label in trajectory.labels if label.key not in there]
        if not fresh:
            continue
        old = [there[label.key].provenance for label in trajectory.labels if label.key in there]
        provenance = old[0] if old else _provenance(facts.name, trajectory, replicas)
        planned += [
            (provenance, fresh[start : start + BATCH_SIZE]) for start in range(0, len(fresh), BATCH_SIZE)
        ]
    frames = [
        FrameSet(
            frames=put_blob(store, encode_frames([label.atoms for label in labels]), MEDIA_TYPE),
            n_frames=len(labels),
            provenance=provenance,
        )
        for provenance, labels in planned
    ]
    return ImportOrder(facts=facts, frames=tuple(frames), known=tuple(known))


def _provenance(name: str, trajectory: ImportTrajectory, replicas: Counter[str]) -> Provenance:
    replica = replicas[trajectory.composition_id]
    replicas[trajectory.composition_id] += 1
    return Provenance(
        campaign_id=import_id(name),
        campaign_seed=0,
        composition_id=trajectory.composition_id,
        stage=STAGE,
        replica=replica,
        held_out=trajectory.held_out,
    )


def _check_energies(store: JobStore, read: ReadImport, there: dict[str, _There]) -> None:
    """Raise where another import or a campaign has another energy for the same geometry and level of theory."""
    given = [
        label for trajectory in read.trajectories for label in trajectory.labels if label.key not in there
    ]
    known = known_points(store, [label.key for label in given])
    for label in given:
        old = known.get(label.key)
        if (
            old is not None
            and old.energy is not None
            and energies_differ(label.energy, old.energy, len(label.atoms))
        ):
            msg = (
                f"its energy is {label.energy:.4f} eV, and {old.energy:.4f} eV in the store, "
                f"at {read.facts.level_of_theory!r:.100}"
            )
            raise InputError(
                msg,
                where=label.where,
                remedy="mend the file, or name another level of theory for these labels",
            )


def _check_growth(read: ReadImport, known: Sequence[LabelBatch], there: dict[str, _There]) -> None:
    name, level = read.facts.name, read.facts.level_of_theory
    for batch in known:
        if batch.level_of_theory != level:
            msg = f"{name!r} holds labels of {batch.level_of_theory!r}, and these are of {level!r}"
            raise InputError(msg, remedy="choose another name")
    given = {label.key for trajectory in read.trajectories for label in trajectory.labels}
    if gone := len(there.keys() - given):
        msg = f"{name!r} was imported with other content: {gone} of its {len(there)} labels are not in these files"
        raise InputError(
            msg, remedy="choose another name, or give what was imported together with what is new"
        )
    for trajectory in read.trajectories:
        for label in trajectory.labels:
            if (old := there.get(label.key)) is None:
                continue
            if old.provenance.held_out != trajectory.held_out:
                now = "held out" if trajectory.held_out else "trained on"
                msg = f"this label would now be {now}, which it is not in {name!r}"
                raise InputError(
                    msg, where=label.where, remedy="hold out the same trajectories, or choose another name"
                )
            if old.record.energy is not None and energies_differ(
                label.energy, old.record.energy, len(label.atoms)
            ):
                msg = f"its energy is {label.energy:.4f} eV, and {old.record.energy:.4f} eV in {name!r}"
                raise InputError(msg, where=label.where, remedy="choose another name")
