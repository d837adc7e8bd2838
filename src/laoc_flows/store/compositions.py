"""The builder of composition summaries, out of the other collections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final

from maggma.core import Builder
from maggma.stores import MemoryStore
from pymongo import UpdateOne

from laoc_flows.blobs import digest_json
from laoc_flows.schemas.label import LabelStatus
from laoc_flows.store.incremental import ensure_indexes, handle, remember, remembered, write
from laoc_flows.store.summarize import Sources, summarize

_OVERLAP: Final = timedelta(seconds=60)
"""Writes of several builders become visible in another order than their times say."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_PER_COMPOSITION: Final = ("structures", "transport", "labels")
_COMMON: Final = ("key", "uuids", "composition_id", "asked_quench_rate", "last_updated")
_STRUCTURE_FIELDS: Final = (
    *_COMMON,
    *("status", "reason", "formula", "n_atoms", "density", "links_found", "tetrahedra", "chains"),
)
_TRANSPORT_FIELDS: Final = (
    *_COMMON,
    *("species", "nernst_einstein", "collective", "haven_ratio", "hops", "rotations"),
)


class CompositionBuilder(Builder):
    """Structures, transport, potentials, iterations and labels -> ``compositions``, one for each campaign's.

    Parameters
    ----------
    stores : mapping of str to maggma.stores.MongoStore
        The other collections, by name.
    target : maggma.stores.MongoStore
        Collection to be written.
    ledger : maggma.stores.MongoStore
        What was built.

    Notes
    -----
    A composition is summarized again when one of its sources is newer than the last build. A summary of older
    sources never replaces one of newer sources, whichever builder comes last.
    """

    collection: ClassVar[str] = "compositions"
    version: ClassVar[int] = 4
    indexes: ClassVar[tuple[tuple[str, ...], ...]] = (("composition_id",), ("campaign_id",), ("x", "y"))

    def __init__(self, stores: Mapping[str, Any], target: Any, ledger: Any, chunk_size: int = 100) -> None:
        self.stores = dict(stores)
        self.target = target
        self.ledger = ledger
        self._since: datetime | None = None
        super().__init__(sources=list(stores.values()), targets=[target, ledger], chunk_size=chunk_size)

    @property
    def identity(self) -> str:
        """Name of this builder in the ledger."""
        return f"{self.collection}/{self.version}"

    def build(self, processes: int = 1) -> int:
        """Summarize what has changed.

        Parameters
        ----------
        processes : int
            Not used: there is one document for many.

        Returns
        -------
        int
            Summaries written; 0 after a handful of counts if no source has changed.
        """
        del processes
        fingerprint = {name: self._fingerprint(store) for name, store in self.stores.items()}
        state = remembered(self.ledger, self.identity) or {}
        if state.get("wrote") and handle(self.target).find_one({}, {"_id": 1}) is None:
            state = {}  # somebody dropped the collection
        before = state.get("fingerprint")
        if before is not None and _comparable(before) == _comparable(fingerprint):
            return 0
        ensure_indexes(self.target, self.indexes)
        self._since = None
        # The stand-in for MongoDB in memory cannot compare the times that it stamps: all is looked at.
        if before is not None and not isinstance(self.target, MemoryStore):
            latest = max((_utc(each["latest"]) for each in before.values() if each["latest"]), default=None)
            self._since = latest - _OVERLAP if latest else None
        written = 0
        for item in self.get_items():
            written += self.update_targets([self.process_item(item)])
        after: dict[str, Any] = {"fingerprint": fingerprint}
        if written:
            after["wrote"] = True
        remember(self.ledger, self.identity, after)
        return written

    def get_items(self) -> Iterator[list[Sources]]:
        """Yield the sources of the compositions that may have changed, campaign by campaign."""
        for campaign_id, composition_ids in sorted(self._changed().items()):
            yield list(self._sources(campaign_id, sorted(composition_ids)))

    def process_item(self, item: list[Sources]) -> list[tuple[dict[str, Any], datetime]]:
        """Summarize; no access to the database."""
        return [(summarize(each).model_dump(mode="json"), each.newest) for each in item]

    def update_targets(self, items: list[list[tuple[dict[str, Any], datetime]]]) -> int:
        """Write the summaries whose content has changed; return their number."""
        rows = [(summary, newest, digest_json(summary)) for item in items for summary, newest in item]
        keys = [summary["key"] for summary, _, _ in rows]
        found = handle(self.target).find({"key": {"$in": keys}}, {"key": 1, "digest": 1})
        present = {row["key"]: row.get("digest") for row in found}
        operations = []
        for summary, newest, digest in rows:
            if present.get(summary["key"]) == digest:
                continue
            fields = {**summary, "digest": digest, "newest_source": newest.timestamp()}
            fields.pop("key")
            operations.append(
                UpdateOne(
                    {"key": summary["key"], "newest_source": {"$lte": newest.timestamp()}},
                    {"$set": fields, "$currentDate": {"last_updated": True}},
                    upsert=True,
                )
            )
        return len(operations) - write(self.target, operations)

    def forget(self) -> None:
        """Remove the summaries and what the ledger says of them."""
        handle(self.ledger).delete_many({"key": self.identity})
        handle(self.target).delete_many({})

    def _fingerprint(self, store: Any) -> dict[str, Any]:
        latest = handle(store).find_one({}, {"last_updated": 1}, sort=[("last_updated", -1)])
        return {
            "count": handle(store).estimated_document_count(),
            "latest": _utc(latest["last_updated"]) if latest else None,
        }

    def _changed(self) -> dict[str, set[str]]:
        """Compositions with a source that is newer than the last build, by campaign."""
        recent: dict[str, Any] = {"last_updated": {"$gte": self._since}} if self._since else {}
        whole: set[str] = set()
        for name in ("potentials", "iterations"):
            whole.update(handle(self.stores[name]).distinct("campaign_ids", recent))
        changed: dict[str, set[str]] = {}
        for name in _PER_COMPOSITION:
            pairs = self._pairs(name, recent)
            if whole and recent:
                of_these = self._pairs(name, {"campaign_ids": {"$in": sorted(whole)}})
                pairs += [pair for pair in of_these if pair[0] in whole]
            for campaign_id, composition_id in pairs:
                changed.setdefault(campaign_id, set()).add(composition_id)
        return changed

    def _pairs(self, name: str, criteria: dict[str, Any]) -> list[tuple[str, str]]:
        pipeline = [
            {"$match": criteria},
            {"$unwind": "$campaign_ids"},
            {"$group": {"_id": {"campaign": "$campaign_ids", "composition": "$composition_id"}}},
        ]
        rows = handle(self.stores[name]).aggregate(pipeline)
        return [(row["_id"]["campaign"], row["_id"]["composition"]) for row in rows]

    def _sources(self, campaign_id: str, composition_ids: list[str]) -> Iterator[Sources]:
        wanted = {"campaign_ids": campaign_id, "composition_id": {"$in": composition_ids}}
        production, reference = ({**wanted, "stage": stage} for stage in ("production", "reference"))
        structures = self._grouped("structures", production, _STRUCTURE_FIELDS)
        transport = self._grouped("transport", production, _TRANSPORT_FIELDS)
        reference_structures = self._grouped("structures", reference, _STRUCTURE_FIELDS)
        reference_transport = self._grouped("transport", reference, _TRANSPORT_FIELDS)
        labels = self._labels(wanted)
        iteration = self._newest("iterations", {"campaign_id": campaign_id})
        criteria: dict[str, Any] = {"campaign_ids": campaign_id, "held_out": {"$exists": True}}
        if iteration is not None:
            later = self._newest("potentials", criteria | {"iteration": {"$gt": iteration["iteration"]}})
            potential = later or self._newest("potentials", {"key": iteration["potential_key"]})
        else:
            potential = self._newest("potentials", criteria)
        of_campaign = [each for each in (iteration, potential) if each is not None]
        for composition_id in composition_ids:
            cells, runs = structures.get(composition_id, []), transport.get(composition_id, [])
            own_cells = reference_structures.get(composition_id, [])
            own_runs = reference_transport.get(composition_id, [])
            counts = labels.get(composition_id, {})
            times = [
                _utc(each["last_updated"]) for each in [*of_campaign, *cells, *runs, *own_cells, *own_runs]
            ]
            yield Sources(
                campaign_id=campaign_id,
                composition_id=composition_id,
                newest=max([*times, *(newest for _, newest in counts.values())], default=_EPOCH),
                structures=cells,
                transport=runs,
                reference_structures=own_cells,
                reference_transport=own_runs,
                potential=potential,
                iteration=iteration,
                n_train=counts.get(False, (0, _EPOCH))[0],
                n_test=counts.get(True, (0, _EPOCH))[0],
            )

    def _newest(self, name: str, criteria: dict[str, Any]) -> dict[str, Any] | None:
        order = [("iteration", -1), ("last_updated", -1)]
        found: dict[str, Any] | None = handle(self.stores[name]).find_one(criteria, sort=order)
        return found

    def _grouped(self, name: str, criteria: dict[str, Any], fields: tuple[str, ...]) -> dict[str, list[Any]]:
        groups: dict[str, list[Any]] = {}
        for row in handle(self.stores[name]).find(criteria, dict.fromkeys(fields, 1)):
            groups.setdefault(row["composition_id"], []).append(row)
        return groups

    def _labels(self, criteria: dict[str, Any]) -> dict[str, dict[bool, tuple[int, datetime]]]:
        """Converged labels by composition and by whether they are held out, with the newest's time."""
        group = {"composition": "$composition_id", "held_out": "$held_out"}
        pipeline = [
            {"$match": {**criteria, "status": LabelStatus.CONVERGED.value}},
            {"$group": {"_id": group, "n": {"$sum": 1}, "newest": {"$max": "$last_updated"}}},
        ]
        counts: dict[str, dict[bool, tuple[int, datetime]]] = {}
        for row in handle(self.stores["labels"]).aggregate(pipeline):
            by_use = counts.setdefault(row["_id"]["composition"], {})
            by_use[row["_id"]["held_out"]] = (row["n"], _utc(row["newest"]))
        return counts


def _comparable(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: (each["count"], each["latest"] and _utc(each["latest"])) for name, each in fingerprint.items()
    }


def _utc(time: datetime) -> datetime:
    """Time with its zone, whether or not the client is set up to give it."""
    return time if time.tzinfo else time.replace(tzinfo=UTC)
