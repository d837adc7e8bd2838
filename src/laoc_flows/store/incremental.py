"""The machinery of the builders: which jobs are new, and writing what they made exactly once.

The clock of a worker is no help to find what is new: jobs end on machines whose clocks and time zones differ, and
jobflow writes a local time without a zone. So a ledger holds which jobs were built, and a look at the number and
the latest of all jobs says whether it has to be read at all.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, ClassVar, Final

import bson
from maggma.core import Builder
from maggma.stores import MemoryStore, MongoStore
from pydantic import ValidationError
from pymongo import UpdateOne
from pymongo.errors import BulkWriteError

from laoc_flows.errors import UNREADABLE, ServiceError
from laoc_flows.jobs import METADATA_KEY
from laoc_flows.store.stored import Source, within

MAX_DOCUMENT: Final = 1_000_000
"""Largest document of the store [B]."""

MANY: Final = 5000
"""Jobs to build from which on several processes are worth their start [1]."""

LEDGER: Final = "laoc_builds"
"""Collection in which the builders keep what they have done."""

_WAVE = 4
"""Chunks for each process that are in memory at once [1]."""
_DUPLICATE_KEY = 11000
_ATTEMPTS = 5


def sibling_store(docs_store: Any, collection: str, key: str = "key") -> MongoStore:
    """Store of another collection in the database of the JobStore's documents, over the same connection.

    Parameters
    ----------
    docs_store : maggma.stores.MongoStore
        Connected store of the jobs' outputs; a MemoryStore gives a MemoryStore.
    collection : str
        Name of the collection.
    key : str
        Field that identifies a document.

    Raises
    ------
    ServiceError
        If the documents are not in a MongoDB.
    """
    if isinstance(docs_store, MemoryStore):
        store = MemoryStore(collection_name=collection, key=key, last_updated_field="last_updated")
    elif isinstance(docs_store, MongoStore):
        store = MongoStore(
            database=docs_store.database,
            collection_name=collection,
            host=docs_store.host,
            port=docs_store.port,
            username=docs_store.username,
            password=docs_store.password,
            auth_source=docs_store.auth_source,
            mongoclient_kwargs=docs_store.mongoclient_kwargs,
            uri=docs_store.uri,
            key=key,
            last_updated_field="last_updated",
        )
    else:
        msg = f"documents in a {type(docs_store).__name__} cannot be built from"
        raise ServiceError(msg, remedy="use a MongoStore as docs_store of the JobStore")
    store._coll = handle(docs_store).database[collection]  # noqa: SLF001  # one connection for all collections
    return store


def handle(store: Any) -> Any:
    """Pymongo collection of a connected store."""
    return store._collection  # noqa: SLF001  # maggma has no public name for it


@dataclass(frozen=True)
class Upsert:
    """One document to be written, in such a way that writing it again, or twice at once, changes nothing.

    Parameters
    ----------
    key : str
        Identity of the document.
    fields : dict
        Fields to set.
    initial : dict
        Fields to set only if the document is new.
    members : dict
        Fields that are sets, with what to add to each.
    ever : dict
        Fields that are true as soon as one upsert has said so.
    unless : dict
        Fields and values: a document that has one of them stays as it is. The time is then stamped by another upsert of
        the same key, which comes before.
    """

    key: str
    fields: dict[str, Any] = field(default_factory=dict)
    initial: dict[str, Any] = field(default_factory=dict)
    members: dict[str, tuple[str, ...]] = field(default_factory=dict)
    ever: dict[str, bool] = field(default_factory=dict)
    unless: dict[str, Any] = field(default_factory=dict)

    def operation(self) -> UpdateOne:
        """Give the upsert for pymongo; the server stamps the time."""
        change: dict[str, Any] = {} if self.unless else {"$currentDate": {"last_updated": True}}
        if self.fields:
            change["$set"] = self.fields
        if self.initial:
            change["$setOnInsert"] = self.initial
        if self.members:
            change["$addToSet"] = {name: {"$each": list(each)} for name, each in self.members.items()}
        if self.ever:
            change["$max"] = self.ever
        # Where a document has it, the filter finds none and the insert meets its key: `write` leaves it.
        other = {name: {"$ne": value} for name, value in self.unless.items()}
        return UpdateOne({"key": self.key, **other}, change, upsert=True)


@dataclass(frozen=True)
class Job:
    """A finished job as the builders see it."""

    uuid: str
    index: int
    completed_at: str | None
    campaigns: tuple[str, ...]


@dataclass(frozen=True)
class Built:
    """What became of one job."""

    job: Job
    upserts: tuple[Upsert, ...]
    error: str | None


class OutputBuilder(Builder):
    """Documents of one collection out of the outputs of jobs; each job is read once.

    Parameters
    ----------
    outputs : maggma.stores.MongoStore
        Outputs of the jobs.
    target : maggma.stores.MongoStore
        Collection to be written.
    ledger : maggma.stores.MongoStore
        Which jobs were built.
    chunk_size : int
        Jobs that are read at once.

    Notes
    -----
    An output that does not fit the present schema is noted in the ledger with the error and left out.
    """

    collection: ClassVar[str]
    version: ClassVar[int] = 1
    origins: ClassVar[tuple[Source, ...]]
    indexes: ClassVar[tuple[tuple[str, ...], ...]] = ()

    def __init__(self, outputs: Any, target: Any, ledger: Any, chunk_size: int = 100) -> None:
        self.outputs = outputs
        self.target = target
        self.ledger = ledger
        super().__init__(sources=[outputs], targets=[target, ledger], chunk_size=chunk_size)

    @property
    def identity(self) -> str:
        """Name of this builder in the ledger; documents of an older layout are built again."""
        return f"{self.collection}/{self.version}"

    @classmethod
    @abstractmethod
    def upserts(cls, document: dict[str, Any], job: Job) -> Iterable[Upsert]:
        """Say what to write for one document of a job."""

    def build(self, processes: int = 1) -> int:
        """Build what is new.

        Parameters
        ----------
        processes : int
            Processes that validate the documents, where there are many.

        Returns
        -------
        int
            Documents written; 0 after a handful of counts if no job has ended since.
        """
        # Taken before the jobs are listed: what ends in between makes the next look differ.
        fingerprint = self._fingerprint()
        if self._remembered() == fingerprint:
            return 0
        self._ensure_indexes()
        items = self.get_items()
        chunks = iter(lambda: list(islice(items, self.chunk_size)), [])
        written = sum(self.update_targets(built) for built in self._built(chunks, processes))
        state: dict[str, Any] = {"fingerprint": fingerprint}
        if written:
            state["wrote"] = True
        remember(self.ledger, self.identity, state)
        return written

    def get_items(self) -> Iterator[dict[str, Any]]:
        """Jobs that were not built yet, or were run again since, in the order in which they ended."""
        rows = handle(self.ledger).find(
            {"builder": self.identity}, {"uuid": 1, "index": 1, "completed_at": 1}
        )
        built = {(row["uuid"], row["index"]): row["completed_at"] for row in rows}
        pending: dict[tuple[str, int], str | None] = {}
        for source in self.origins:
            for row in handle(self.outputs).find(source.criteria, {"uuid": 1, "index": 1, "completed_at": 1}):
                identity, ended = (row.get("uuid"), row.get("index", 1)), row.get("completed_at")
                if not isinstance(identity[0], str) or not isinstance(identity[1], int):
                    continue  # of no job
                if identity not in built or built[identity] != ended:
                    pending[identity] = ended
        order = sorted(pending, key=lambda identity: (str(pending[identity]), identity))
        self.total = len(order)
        paths = {source.path for source in self.origins}
        top = {"output"} if "output" in paths else paths
        wanted = dict.fromkeys([*top, "uuid", "index", "completed_at", f"metadata.{METADATA_KEY}"], 1)
        for start in range(0, len(order), self.chunk_size):
            chunk = order[start : start + self.chunk_size]
            found = handle(self.outputs).find({"uuid": {"$in": sorted({uuid for uuid, _ in chunk})}}, wanted)
            jobs = {(row["uuid"], row.get("index", 1)): row for row in found}
            yield from (jobs[identity] for identity in chunk if identity in jobs)

    def _built(self, chunks: Iterator[list[dict[str, Any]]], processes: int) -> Iterator[list[Built]]:
        """Process the items, chunk by chunk and in their order, in several processes where there are many."""
        first = next(chunks, [])
        # The number of all is known since the first was read.
        if processes < 2 or self.total < MANY:  # noqa: PLR2004
            for chunk in chain([first] if first else [], chunks):
                yield [self.process_item(item) for item in chunk]
            return
        from joblib import Parallel, delayed

        chunks = chain([first], chunks)
        with Parallel(n_jobs=processes) as parallel:
            # In waves: what was read and not written yet is in memory.
            while wave := list(islice(chunks, _WAVE * processes)):
                for built in parallel(delayed(_processed)(type(self), chunk) for chunk in wave):
                    for each in built:
                        self._warn(each)
                    yield built

    def process_item(self, item: dict[str, Any]) -> Built:
        """Validate the document of one job and prepare what is to be written; no access to the database."""
        built = self.processed(item)
        self._warn(built)
        return built

    def _warn(self, built: Built) -> None:
        if built.error:
            self.logger.warning("%s: job %s is left out: %s", self.collection, built.job.uuid, built.error)

    @classmethod
    def processed(cls, item: dict[str, Any]) -> Built:
        """Validate the document of one job and prepare what is to be written; no access to the database, nothing is said."""
        stamped = within(item, "metadata", METADATA_KEY, "campaign")
        upserts: tuple[Upsert, ...] = ()
        error, campaigns = None, (str(stamped),) if stamped else ()
        for source in cls.origins:
            document = source.find(item)
            if document is None:
                continue
            # Work that another campaign did before is returned with that campaign's id in it: the stamp on
            # the job says for whom it was done this time.
            made_by = campaigns or (str(document.get("campaign_id")),)
            job = Job(item["uuid"], item.get("index", 1), item.get("completed_at"), made_by)
            try:
                upserts += tuple(cls.upserts(document, job))
                sizes = [len(bson.encode({**each.fields, **each.initial})) for each in upserts]
                if max(sizes, default=0) > MAX_DOCUMENT:
                    upserts, error = (), f"a document of {max(sizes)} B is over {MAX_DOCUMENT} B"
            except UNREADABLE as reason:
                upserts, error = (), _reason(reason)
        job = Job(item["uuid"], item.get("index", 1), item.get("completed_at"), campaigns)
        return Built(job, upserts, error)

    def update_targets(self, items: list[Built]) -> int:
        """Write the documents, then note the jobs in the ledger; return the number of documents."""
        operations = [upsert.operation() for item in items for upsert in item.upserts]
        write(self.target, operations)
        noted = [
            Upsert(
                f"{self.identity}/{item.job.uuid}/{item.job.index}",
                {
                    "builder": self.identity,
                    "uuid": item.job.uuid,
                    "index": item.job.index,
                    "completed_at": item.job.completed_at,
                    "error": item.error,
                },
            ).operation()
            for item in items
        ]
        write(self.ledger, noted)
        return len({upsert.key for item in items for upsert in item.upserts})

    def forget(self) -> None:
        """Remove the documents and what the ledger says of them; the next build starts from nothing."""
        handle(self.ledger).delete_many({"$or": [{"builder": self.identity}, {"key": self.identity}]})
        handle(self.target).delete_many({})

    def _fingerprint(self) -> list[Any]:
        found: list[Any] = []
        for source in self.origins:
            count = handle(self.outputs).count_documents(source.criteria)
            latest = handle(self.outputs).find_one(
                source.criteria, {"completed_at": 1}, sort=[("completed_at", -1)]
            )
            found.append([count, (latest or {}).get("completed_at")])
        return found

    def _remembered(self) -> list[Any] | None:
        state = remembered(self.ledger, self.identity)
        if state is None:
            return None
        if state.get("wrote") and handle(self.target).find_one({}, {"_id": 1}) is None:
            # Somebody dropped the collection: all of it is built again.
            handle(self.ledger).delete_many({"builder": self.identity})
            return None
        return list(state["fingerprint"])

    def _ensure_indexes(self) -> None:
        for source in self.origins:
            _index(self.outputs, (f"{source.path}.schema_name", "completed_at"))
            _index(self.outputs, (f"{source.path}.key",), sparse=True)
        _index(self.outputs, ("uuid", "index"))
        _index(self.ledger, ("builder",))
        ensure_indexes(self.target, self.indexes)
        ensure_indexes(self.ledger, ())


def _processed(kind: type[OutputBuilder], items: Sequence[dict[str, Any]]) -> list[Built]:
    return [kind.processed(item) for item in items]


def _reason(error: Exception) -> str:
    """Say what is wrong with a document, without repeating what is in it."""
    if not isinstance(error, ValidationError):
        return type(error).__name__
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in problems)[:500]


def ensure_indexes(store: Any, fields: Iterable[tuple[str, ...]]) -> None:
    """Index the key of a collection uniquely, its time of change, and further fields."""
    _index(store, ("key",), unique=True)
    for each in [("last_updated",), *fields]:
        _index(store, each)


def index_outputs(outputs: Any) -> None:
    """Index what jobs look for before they work: finished work by its key, and labels by theirs."""
    for path in ("output.key", "output.records.key", "output.labels.records.key"):
        _index(outputs, (path,), sparse=True)


def _index(store: Any, fields: tuple[str, ...], **options: bool) -> None:
    handle(store).create_index([(name, 1) for name in fields], **options)


def write(store: Any, operations: list[UpdateOne]) -> int:
    """Write upserts; one that meets another builder's insert of the same key is written again.

    Returns
    -------
    int
        Upserts that lost to another document with the same key every time: to a newer one, if the filter of
        the upsert asks for an older one.
    """
    for _ in range(_ATTEMPTS):
        if not operations:
            return 0
        try:
            handle(store).bulk_write(operations, ordered=False)
        except BulkWriteError as error:
            failures = error.details["writeErrors"]
            if any(failure["code"] != _DUPLICATE_KEY for failure in failures):
                raise
            operations = [operations[failure["index"]] for failure in failures]
        else:
            return 0
    return len(operations)


def remembered(ledger: Any, identity: str) -> dict[str, Any] | None:
    """State that a builder wrote at its last end."""
    found: dict[str, Any] | None = handle(ledger).find_one({"key": identity})
    return found


def remember(ledger: Any, identity: str, state: dict[str, Any]) -> None:
    """Write the state of a builder."""
    write(ledger, [Upsert(identity, state).operation()])
