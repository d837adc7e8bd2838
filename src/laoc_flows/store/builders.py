"""Builders: from the outputs of jobs to the collections that people query.

Every document has a `key`, the content address of what it describes, and is written by an upsert on it: building
twice, or at once in two places, makes no second copy. Documents hold what their schema names and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar, Final

from jobflow import JobStore

from laoc_flows.blobs import digest_json
from laoc_flows.composition import Composition
from laoc_flows.errors import as_written
from laoc_flows.schemas.base import Provenance
from laoc_flows.schemas.glass import StructureDocument
from laoc_flows.schemas.iteration import IterationDocument, Verdict
from laoc_flows.schemas.label import LabelBatch, LabelStatus
from laoc_flows.schemas.potential import PotentialDocument
from laoc_flows.schemas.transport import TransportDocument
from laoc_flows.store.compositions import CompositionBuilder
from laoc_flows.store.incremental import LEDGER, Job, OutputBuilder, Upsert, handle, sibling_store
from laoc_flows.store.stored import Source

_PER_COMPOSITION: Final = (("composition_id",), ("campaign_ids",), ("x", "y"))


class StructureBuilder(OutputBuilder):
    """Cells that were melted and quenched, of seeds, of the reference engine's and of production's runs.

    They become ``structures``, with what can be asked for by itself: `melted`, and how a density equilibration
    ended, `equilibration`.
    """

    collection: ClassVar[str] = "structures"
    version: ClassVar[int] = 2
    origins: ClassVar[tuple[Source, ...]] = (
        Source("output", "structure"),
        Source("output.structure", "structure"),
    )
    indexes: ClassVar[tuple[tuple[str, ...], ...]] = (*_PER_COMPOSITION, ("stage",))

    @classmethod
    def upserts(cls, document: dict[str, Any], job: Job) -> Iterator[Upsert]:
        """One structure."""
        structure = StructureDocument.model_validate(document)
        ends = [stage.status for stage in structure.stages if stage.attempts]
        derived = {
            "melted": structure.melt.passed if structure.melt is not None else None,
            "equilibration": ends[-1] if ends else None,
        }
        yield _upsert(structure.key, _fields(structure) | flattened(structure.provenance) | derived, job)


class TransportBuilder(OutputBuilder):
    """Transport measured in glasses -> ``transport``."""

    collection: ClassVar[str] = "transport"
    version: ClassVar[int] = 2
    origins: ClassVar[tuple[Source, ...]] = (Source("output.transport", "transport"),)
    indexes: ClassVar[tuple[tuple[str, ...], ...]] = (*_PER_COMPOSITION, ("structure_key",))

    @classmethod
    def upserts(cls, document: dict[str, Any], job: Job) -> Iterator[Upsert]:
        """One transport document."""
        transport = TransportDocument.model_validate(document)
        yield _upsert(transport.key, _fields(transport) | flattened(transport.provenance), job)


class LabelBuilder(OutputBuilder):
    """Label batches, also those harvested from dynamics -> ``labels``, one document for every label.

    The key of a label is its content: geometry and level of theory. A label that two campaigns asked for is one
    document that names both in `campaign_ids`; provenance and shard are those of the converged batch that was built
    first, and it is held out if any of them holds it out: what tests one potential is never training data of
    an export. A converged outcome replaces a failed one and is never replaced. `handlers` are those of custodian that
    fired, each once.
    """

    collection: ClassVar[str] = "labels"
    version: ClassVar[int] = 3
    origins: ClassVar[tuple[Source, ...]] = (
        Source("output", "label_batch"),
        Source("output.labels", "label_batch"),
    )
    indexes: ClassVar[tuple[tuple[str, ...], ...]] = (*_PER_COMPOSITION, ("status",))

    @classmethod
    def upserts(cls, document: dict[str, Any], job: Job) -> Iterator[Upsert]:
        """One document for each record of a batch."""
        batch = LabelBatch.model_validate(document)
        common = flattened(batch.provenance) | {
            "schema_name": "label",
            "schema_version": batch.schema_version,
            "campaign_id": batch.campaign_id,
            "level_of_theory": batch.level_of_theory,
            "shard": batch.shard.model_dump(mode="json") if batch.shard else None,
            "batch_key": batch.key,
        }
        for record in batch.records:
            handlers = list(dict.fromkeys(each.handler for each in record.corrections))
            fields = common | record.model_dump(mode="json", exclude={"key"}) | {"handlers": handlers}
            if record.status is not LabelStatus.CONVERGED:
                yield _upsert(record.key, {}, job, fields)
                continue
            fields |= {"completed_at": job.completed_at}
            del fields["held_out"]
            yield replace(_upsert(record.key, {}, job), ever={"held_out": batch.provenance.held_out})
            yield Upsert(record.key, fields, unless={"status": record.status.value})


class IterationBuilder(OutputBuilder):
    """Iterations of the learning loop and their verdicts -> ``iterations``, one for each campaign."""

    collection: ClassVar[str] = "iterations"
    origins: ClassVar[tuple[Source, ...]] = (Source("output", "iteration"),)
    indexes: ClassVar[tuple[tuple[str, ...], ...]] = (("campaign_id", "iteration"), ("potential_key",))

    @classmethod
    def upserts(cls, document: dict[str, Any], job: Job) -> Iterator[Upsert]:
        """One iteration."""
        iteration = IterationDocument.model_validate(document)
        # Campaigns with the same explorations may differ in what they call converged.
        key = digest_json([iteration.campaign_id, iteration.key])
        yield _upsert(key, _fields(iteration), job)


class PotentialBuilder(OutputBuilder):
    """Potentials, with the verdict of their iteration once it is there -> ``potentials``."""

    collection: ClassVar[str] = "potentials"
    origins: ClassVar[tuple[Source, ...]] = (Source("output", "potential"), Source("output", "iteration"))
    indexes: ClassVar[tuple[tuple[str, ...], ...]] = (("campaign_ids",), ("iteration",))

    @classmethod
    def upserts(cls, document: dict[str, Any], job: Job) -> Iterator[Upsert]:
        """One potential, or the verdict on one."""
        if document["schema_name"] == "potential":
            potential = PotentialDocument.model_validate(document)
            fields = _fields(potential) | {
                "worst_force_rmse": potential.worst_force_rmse,
                "n_models": len(potential.models),
            }
            yield _upsert(potential.key, fields, job, {"verdict": None, "final": False})
        else:
            iteration = IterationDocument.model_validate(document)
            # Campaigns that share a potential may hold it against other targets: each has its own verdict on it.
            fields = {
                "verdict": iteration.verdict.value,
                f"verdicts.{iteration.campaign_id}": iteration.verdict.value,
                "final": iteration.verdict is not Verdict.CONTINUE,
            }
            yield Upsert(iteration.potential_key, fields)


OUTPUT_BUILDERS: Final[tuple[type[OutputBuilder], ...]] = (
    StructureBuilder,
    LabelBuilder,
    IterationBuilder,
    PotentialBuilder,
    TransportBuilder,
)


def builders(job_store: JobStore) -> tuple[OutputBuilder | CompositionBuilder, ...]:
    """Builders of a JobStore, in the order in which they have to run.

    Parameters
    ----------
    job_store : jobflow.JobStore
        Connected JobStore whose documents are in a MongoDB; the collections are made in the same database.
    """
    docs = job_store.docs_store
    ledger = sibling_store(docs, LEDGER)
    made = [each(docs, sibling_store(docs, each.collection), ledger) for each in OUTPUT_BUILDERS]
    stores = {each.collection: each.target for each in made}
    target = sibling_store(docs, CompositionBuilder.collection)
    return (*made, CompositionBuilder(stores, target, ledger))


def build_all(job_store: JobStore, *, rebuild: bool = False, processes: int = 1) -> dict[str, int]:
    """Bring all collections up to date.

    Cheap when nothing is new: some counts for each collection. May run in several processes at once.

    Parameters
    ----------
    job_store : jobflow.JobStore
        Connected JobStore.
    rebuild : bool
        Whether to remove the collections first and to build them from nothing.
    processes : int
        Processes that validate documents, where there are thousands.

    Returns
    -------
    dict of str to int
        Documents written, by collection.

    Raises
    ------
    ServiceError
        If the documents of the JobStore are not in a MongoDB, or somebody has changed those of the collections.
    """
    ordered = builders(job_store)
    if rebuild:
        for builder in ordered:
            builder.forget()
    with as_written(
        "a document of the collections",
        "make them anew from what jobs have returned: laoc query COLLECTION --rebuild",
    ):
        return {builder.collection: builder.build(processes) for builder in ordered}


def n_left_out(job_store: JobStore) -> int:
    """Jobs whose outputs do not fit the present schemas and are in no collection."""
    ledger = handle(sibling_store(job_store.docs_store, LEDGER))
    return int(ledger.count_documents({"error": {"$type": "string"}}))


def flattened(provenance: Provenance) -> dict[str, Any]:
    """Where in a campaign something comes from, as fields that can be queried."""
    composition = Composition.from_id(provenance.composition_id)
    return {
        "composition_id": provenance.composition_id,
        "x": float(composition.x),
        "y": float(composition.y),
        "o_to_cl": None if composition.o_to_cl is None else float(composition.o_to_cl),
        "li_to_al": float(composition.li_to_al),
        "trajectory_id": provenance.trajectory_id,
        "stage": provenance.stage,
        "iteration": provenance.iteration,
        "replica": provenance.replica,
        "asked_quench_rate": provenance.quench_rate,
        "held_out": provenance.held_out,
    }


def _fields(
    document: StructureDocument | TransportDocument | IterationDocument | PotentialDocument,
) -> dict[str, Any]:
    return document.model_dump(mode="json", exclude={"key"})


def _upsert(key: str, fields: dict[str, Any], job: Job, initial: dict[str, Any] | None = None) -> Upsert:
    if fields:
        fields = fields | {"completed_at": job.completed_at}
    return Upsert(key, fields, initial or {}, {"campaign_ids": job.campaigns, "uuids": (job.uuid,)})
