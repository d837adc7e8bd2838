"""Labels that come from elsewhere, on their way into the store: one job for each batch, and one for the whole."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from jobflow import Flow, Job, JobStore, run_locally

from laoc_flows.blobs import digest_json, get_blob
from laoc_flows.engines.dynamics import SinglePoint
from laoc_flows.engines.labels import batch_of, outcome_of, too_close
from laoc_flows.frames import decode_frames
from laoc_flows.jobs import LaocMaker, current_store, finished, laoc_job, stamp
from laoc_flows.schemas.dataset import Dataset
from laoc_flows.schemas.imported import STAGE, ImportDocument, ImportFacts, ImportOrder, import_id
from laoc_flows.schemas.label import FrameSet, LabelBatch, LabelStatus
from laoc_flows.schemas.protocol import LabelLimits


@laoc_job(output_schema=LabelBatch)
def import_batch(frames: FrameSet, level_of_theory: str, limits: LabelLimits) -> LabelBatch:
    """Label batch out of frames that have their results already.

    Parameters
    ----------
    frames : FrameSet
        Frames with energy [eV], forces [eV/A] and stress [eV/A^3].
    level_of_theory : str
        What computed them.
    limits : LabelLimits
        What is refused as a label; it stays in the records with its outcome.

    Returns
    -------
    LabelBatch
        Labels as those of an engine.
    """
    key = digest_json([level_of_theory, frames.frames.sha256, limits.model_dump(), "import/r1"])
    # The same frames under another name may be held out there and trained on here.
    where = {
        "output.campaign_id": frames.provenance.campaign_id,
        "output.provenance.held_out": frames.provenance.held_out,
    }
    if (done := finished(LabelBatch, "label_batch", key, where=where)) is not None:
        return done
    floors = limits.distance_floor.distances
    outcomes = []
    for atoms in decode_frames(get_blob(current_store(), frames.frames)):
        results = atoms.calc.results
        point = too_close(atoms, floors) or SinglePoint(
            LabelStatus.CONVERGED,
            energy=float(results["energy"]),
            forces=results["forces"],
            stress=results["stress"],
        )
        outcomes.append(outcome_of(atoms, point, level_of_theory, limits))
    return batch_of(
        outcomes,
        key=key,
        level_of_theory=level_of_theory,
        provenance=frames.provenance,
        spread=limits.energy_spread,
    )


def import_key(facts: ImportFacts, batches: Sequence[LabelBatch]) -> str:
    """Content address of an import.

    Parameters
    ----------
    facts : ImportFacts
        Name and level of theory.
    batches : sequence of LabelBatch
        All of its batches, in any order.
    """
    return digest_json(
        [facts.name, facts.level_of_theory, sorted(batch.key for batch in batches), "import/r1"]
    )


@laoc_job(output_schema=ImportDocument)
def assemble_import(facts: ImportFacts, batches: list[LabelBatch]) -> ImportDocument:
    """Put the batches of an import together.

    Parameters
    ----------
    facts : ImportFacts
        What is known besides the labels.
    batches : list of LabelBatch
        All of its batches, in order.

    Returns
    -------
    ImportDocument
        With the data set that training can start from.
    """
    key = import_key(facts, batches)
    if (done := finished(ImportDocument, "import", key)) is not None:
        return done
    outcomes: Counter[str] = Counter()
    for batch in batches:
        outcomes.update(batch.counts)
    outcomes.pop(LabelStatus.CONVERGED.value, None)
    return ImportDocument(
        key=key,
        campaign_id=import_id(facts.name),
        facts=facts,
        dataset=Dataset(level_of_theory=facts.level_of_theory, members=()).extended(batches),
        rejected=dict(sorted(outcomes.items())),
    )


@dataclass
class ImportMaker(LaocMaker):
    """Import of labels into a JobStore.

    Parameters
    ----------
    limits : LabelLimits
        What is refused as a label.
    """

    limits: LabelLimits
    name: str = "import"

    def make(self, order: ImportOrder) -> Flow:
        """Flow that writes what is not there yet.

        Parameters
        ----------
        order : ImportOrder
            What is to be done.

        Returns
        -------
        jobflow.Flow
            Output: the `ImportDocument`.
        """
        facts = order.facts
        jobs: list[Job] = []
        for frames in order.frames:
            composition_id = frames.provenance.composition_id
            job = import_batch(frames, facts.level_of_theory, self.limits)
            job.name = f"import {composition_id} r{frames.provenance.replica}"
            stamp(job, step="import", composition=composition_id)
            jobs.append(job)
        whole = assemble_import(facts, [*order.known, *(job.output for job in jobs)])
        whole.name = f"import {facts.name}"
        stamp(whole, step="dataset", composition="")
        flow = Flow([*jobs, whole], output=whole.output, name=f"import {facts.name}")
        stamp(flow, campaign=import_id(facts.name), stage=STAGE, iteration=0)
        return flow


def run_import(
    store: JobStore,
    order: ImportOrder,
    existing: ImportDocument | None = None,
    *,
    limits: LabelLimits | None = None,
) -> ImportDocument:
    """Do what an import still has to do, in this process.

    Parameters
    ----------
    store : jobflow.JobStore
        Connected JobStore.
    order : ImportOrder
        What is to be done.
    existing : ImportDocument, optional
        What the same import made before; it is returned where there is nothing to add, and nothing is written.
    limits : LabelLimits, optional
        What is refused as a label; by default what a campaign refuses.

    Returns
    -------
    ImportDocument
        The whole import.
    """
    if existing is not None and not order.frames and existing.key == import_key(order.facts, order.known):
        return existing
    flow = ImportMaker(limits or LabelLimits()).make(order)
    last = flow.jobs[-1].uuid
    with warnings.catch_warnings():
        # jobflow uses what monty has declared old; that is nothing for the user of a command.
        warnings.simplefilter("ignore", FutureWarning)
        responses = run_locally(flow, store=store, log=False, raise_immediately=True)
    document: ImportDocument = responses[last][1].output
    return document
