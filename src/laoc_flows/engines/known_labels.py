"""Labels that are there already: of any batch, campaign or earlier try, at the same level of theory."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ase import Atoms
from jobflow import JobStore

from laoc_flows.blobs import BlobRef, get_blob
from laoc_flows.engines.dynamics import SinglePoint
from laoc_flows.frames import decode_frames
from laoc_flows.schemas.label import PART, Correction, LabelStatus

# A batch is an output of its own; the labels that a run gives are within the output of the run.
_PLACES: tuple[tuple[dict[str, Any], str], ...] = (
    ({"output.schema_name": {"$in": ["label_batch", PART]}}, "output"),
    ({}, "output.labels"),
)


def known_points(store: JobStore, keys: Collection[str]) -> dict[str, SinglePoint]:
    """Find converged labels by their content address.

    Parameters
    ----------
    store : jobflow.JobStore
        Where label batches are.
    keys : collection of str
        Addresses of geometry and level of theory.

    Returns
    -------
    dict
        What was computed, by address; an address without a converged label is left out.
    """
    found: dict[str, SinglePoint] = {}
    shards: dict[str, list[Atoms]] = {}
    wanted = set(keys)
    for more, place in _PLACES:
        left = sorted(wanted - set(found))
        if not left:
            break
        query = {**more, f"{place}.records.key": {"$in": left}}
        for document in store.docs_store.query(query, [f"{place}.records", f"{place}.shard"]):
            batch = document
            for part in place.split("."):
                batch = batch[part]
            for record in batch["records"]:
                if record["key"] not in wanted or record["key"] in found:
                    continue
                if record["status"] != LabelStatus.CONVERGED.value or record.get("index") is None:
                    continue
                digest = batch["shard"]["sha256"]
                if digest not in shards:
                    reference = {name: batch["shard"][name] for name in BlobRef.model_fields}
                    shards[digest] = decode_frames(get_blob(store, BlobRef.model_validate(reference)))
                found[record["key"]] = _point(shards[digest][record["index"]], record)
    return found


def _point(frame: Atoms, record: dict[str, Any]) -> SinglePoint:
    done = tuple(
        Correction(**{name: each[name] for name in Correction.model_fields})
        for each in record.get("corrections") or ()
    )
    return SinglePoint(
        LabelStatus.CONVERGED,
        energy=float(frame.get_potential_energy()),
        forces=frame.get_forces(),
        stress=frame.get_stress(),
        corrections=done,
    )
