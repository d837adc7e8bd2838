"""The whole campaign as one flow: seeds, the learning loop, production."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jobflow import Flow, Response
from pydantic import Field, field_serializer, field_validator

from laoc_flows.blobs import BlobRef, digest_json
from laoc_flows.engines.base import Engine
from laoc_flows.engines.registry import parse_engine
from laoc_flows.errors import LaocError
from laoc_flows.flows.committee import CommitteeMaker
from laoc_flows.flows.explore import ExploreMaker
from laoc_flows.flows.production import ProductionMaker
from laoc_flows.flows.seeds import SeedMaker
from laoc_flows.jobs import LaocMaker, laoc_job, stamp
from laoc_flows.learning.convergence import judge
from laoc_flows.learning.selection import merge
from laoc_flows.schemas.base import Model, Provenance
from laoc_flows.schemas.config import Learning, Production, ReferenceSampling
from laoc_flows.schemas.dataset import Dataset
from laoc_flows.schemas.iteration import ExplorationDocument, IterationDocument, StratumReport, Verdict
from laoc_flows.schemas.label import LabelBatch
from laoc_flows.schemas.potential import PotentialDocument


class CampaignSpec(Model):
    """A planned campaign: what the flow needs to know, and nothing that does not change its results."""

    campaign_id: str = Field(description="content address with the campaign's name in front")
    seed: int = Field(description="seed of the campaign")
    cells: dict[str, int] = Field(description="Al atoms of the cell by composition id")
    engine: Engine = Field(description="reference engine")
    melt_quench: ReferenceSampling = Field(description="seeds")
    learning: Learning = Field(description="learning loop")
    production: Production = Field(description="production runs")

    @field_validator("engine", mode="before")
    @classmethod
    def _engine(cls, value: object) -> Engine:
        return parse_engine(value)

    @field_serializer("engine")
    def _engine_out(self, value: Engine) -> dict[str, object]:
        return value.model_dump(mode="json")


class DatasetDocument(Model):
    """A data set as a job returns it."""

    schema_name: str = "dataset"
    key: str
    campaign_id: str
    dataset: Dataset


@dataclass
class CampaignMaker(LaocMaker):
    """Everything from a planned campaign to production, as one flow that grows while it runs.

    Parameters
    ----------
    spec : CampaignSpec
        Planned campaign.
    """

    spec: CampaignSpec
    name: str = "campaign"

    def make(self) -> Flow:
        """Flow of the campaign; iterations and production are added when they are due."""
        spec = self.spec
        maker = SeedMaker(spec.engine, spec.melt_quench, spec.learning.selection.limits)
        seeds: list[Flow] = []
        batches: list[Any] = []
        starts: dict[str, list[Any]] = {}
        for composition_id, n_al in spec.cells.items():
            for replica, rate, held_out in spec.melt_quench.trajectories():
                provenance = Provenance(
                    campaign_id=spec.campaign_id,
                    campaign_seed=spec.seed,
                    composition_id=composition_id,
                    stage="seed",
                    replica=replica,
                    quench_rate=rate,
                    held_out=held_out,
                )
                seed = maker.make(composition_id, n_al, provenance)
                stamp(seed, stage="seed", composition=composition_id, iteration=0)
                seeds.append(seed)
                batches += seed.output["batches"]
                if not provenance.held_out:
                    starts.setdefault(composition_id, []).append(seed.output["frame"])
        first = initial_dataset(spec, batches, starts)
        first.name = "initial data set"
        stamp(first, stage="train", step="dataset", composition="", iteration=0)
        flow = Flow([*seeds, first], name=spec.campaign_id)
        stamp(flow, campaign=spec.campaign_id)
        return flow


@laoc_job(output_schema=DatasetDocument)
def initial_dataset(
    spec: CampaignSpec, batches: list[LabelBatch], starts: dict[str, list[BlobRef]]
) -> Response[DatasetDocument]:
    """First data set out of the seeds; starts the learning loop.

    Parameters
    ----------
    spec : CampaignSpec
        Campaign.
    batches : list of LabelBatch
        Labels of the seeds.
    starts : dict
        Last frames of the seeds by composition id: where exploration begins.
    """
    dataset = Dataset(level_of_theory=spec.engine.level_of_theory, members=()).extended(_present(batches))
    _check_quorum(spec, _present(batches))
    loop = iteration_flow(spec, dataset, starts, 0, None, ())
    return Response(output=_document(spec, dataset), addition=loop)


def _present(batches: Sequence[LabelBatch | None]) -> list[LabelBatch]:
    return [batch for batch in batches if batch is not None]


def _document(spec: CampaignSpec, dataset: Dataset) -> DatasetDocument:
    return DatasetDocument(
        key=digest_json([spec.campaign_id, dataset.digest]), campaign_id=spec.campaign_id, dataset=dataset
    )


def _check_quorum(spec: CampaignSpec, batches: list[LabelBatch]) -> None:
    total = sum(len(batch.records) for batch in batches)
    good = sum(batch.n_converged for batch in batches)
    if good == 0 or good < spec.learning.quorum * total:
        counts: dict[str, int] = {}
        for batch in batches:
            for status, count in batch.counts.items():
                counts[status] = counts.get(status, 0) + count
        msg = f"only {good} of {total} labels succeeded ({counts}), fewer than the quorum {spec.learning.quorum:g}"
        raise LaocError(msg, remedy="see the reasons with 'laoc query labels --columns status,reason'")


def iteration_flow(
    spec: CampaignSpec,
    dataset: Dataset,
    starts: dict[str, list[BlobRef]],
    iteration: int,
    parent: str | None,
    previous: tuple[StratumReport, ...],
) -> Flow:
    """One iteration of the learning loop: train, explore, decide.

    Parameters
    ----------
    spec : CampaignSpec
        Campaign.
    dataset : Dataset
        Data to train on.
    starts : dict
        First frames of exploration by composition id.
    iteration : int
        Iteration, from 0.
    parent : str or None
        Key of the potential before.
    previous : tuple of StratumReport
        Strata of the iteration before.
    """
    committee = CommitteeMaker(spec.learning).make(dataset, spec.campaign_id, spec.seed, iteration, parent)
    explorations = []
    for composition_id, frames in starts.items():
        for replica in range(spec.learning.exploration.replicas):
            provenance = Provenance(
                campaign_id=spec.campaign_id,
                campaign_seed=spec.seed,
                composition_id=composition_id,
                stage="explore",
                iteration=iteration,
                replica=replica,
            )
            start = frames[(iteration + replica) % len(frames)]
            job = ExploreMaker(spec.learning).make(committee.output, start, provenance)
            job.name = f"explore {composition_id} i{iteration} r{replica}"
            stamp(job, stage="explore", step="explore", composition=composition_id, iteration=iteration)
            explorations.append(job)
    verdict = decide(
        spec, committee.output, [job.output for job in explorations], dataset, starts, iteration, previous
    )
    verdict.name = f"decide i{iteration}"
    stamp(verdict, stage="train", step="decide", composition="", iteration=iteration)
    flow = Flow([committee, *explorations, verdict], name=f"iteration {iteration}")
    stamp(flow, campaign=spec.campaign_id)
    return flow


@laoc_job(output_schema=IterationDocument)
def decide(
    spec: CampaignSpec,
    potential: PotentialDocument,
    explorations: list[ExplorationDocument],
    dataset: Dataset,
    starts: dict[str, list[BlobRef]],
    iteration: int,
    previous: tuple[StratumReport, ...],
) -> Response[IterationDocument]:
    """Verdict of an iteration; adds labels and the next iteration, or production.

    Parameters
    ----------
    spec : CampaignSpec
        Campaign.
    potential : PotentialDocument
        Potential of this iteration.
    explorations : list of ExplorationDocument
        What the committee found.
    dataset : Dataset
        Data it was trained on.
    starts : dict
        First frames of exploration.
    iteration : int
        Iteration, from 0.
    previous : tuple of StratumReport
        Strata of the iteration before.
    """
    strata = merge([report for exploration in explorations for report in exploration.strata])
    verdict, reasons, by_composition = judge(iteration, spec.learning, strata, previous, potential.held_out)
    document = IterationDocument(
        key=digest_json([potential.key, [exploration.key for exploration in explorations], "decide/r1"]),
        campaign_id=spec.campaign_id,
        iteration=iteration,
        potential_key=potential.key,
        verdict=verdict,
        reasons=reasons,
        strata=strata,
        worst_force_rmse=potential.worst_force_rmse,
        n_train=dataset.n_train,
        n_selected=sum(report.n_selected for report in strata),
        composition_verdicts=by_composition,
    )
    if verdict is Verdict.CONTINUE:
        addition = _label_flow(spec, potential, explorations, dataset, starts, iteration, strata)
    else:
        addition = _production_flow(spec, potential)
    return Response(output=document, addition=addition)


def _label_flow(
    spec: CampaignSpec,
    potential: PotentialDocument,
    explorations: list[ExplorationDocument],
    dataset: Dataset,
    starts: dict[str, list[BlobRef]],
    iteration: int,
    strata: tuple[StratumReport, ...],
) -> Flow:
    maker = spec.engine.static_maker(spec.learning.selection.limits)
    labels = []
    for exploration in explorations:
        if exploration.selected is None:
            continue
        composition_id = exploration.provenance.composition_id
        job = maker.make(exploration.selected)
        job.name = f"label {composition_id} i{iteration} r{exploration.provenance.replica}"
        stamp(job, stage="label", step="label", composition=composition_id, iteration=iteration)
        labels.append(job)
    extension = extend_dataset(
        spec, dataset, [job.output for job in labels], starts, iteration + 1, potential.key, strata
    )
    extension.name = f"data set i{iteration + 1}"
    stamp(extension, stage="train", step="dataset", composition="", iteration=iteration + 1)
    flow = Flow([*labels, extension], name=f"label i{iteration}")
    stamp(flow, campaign=spec.campaign_id)
    return flow


@laoc_job(output_schema=DatasetDocument)
def extend_dataset(
    spec: CampaignSpec,
    dataset: Dataset,
    batches: list[LabelBatch],
    starts: dict[str, list[BlobRef]],
    iteration: int,
    parent: str,
    previous: tuple[StratumReport, ...],
) -> Response[DatasetDocument]:
    """Data set with the new labels; adds the next iteration.

    Parameters
    ----------
    spec : CampaignSpec
        Campaign.
    dataset : Dataset
        Data so far.
    batches : list of LabelBatch
        New labels.
    starts : dict
        First frames of exploration.
    iteration : int
        Iteration that follows.
    parent : str
        Key of the potential so far.
    previous : tuple of StratumReport
        Strata of the iteration that selected the labels.
    """
    if batches:
        _check_quorum(spec, batches)
    extended = dataset.extended(batches)
    loop = iteration_flow(spec, extended, starts, iteration, parent, previous)
    return Response(output=_document(spec, extended), addition=loop)


def _production_flow(spec: CampaignSpec, potential: PotentialDocument) -> Flow:
    maker = ProductionMaker(spec.production)
    glasses = [
        maker.make(potential, composition_id, n_al, spec.campaign_id, spec.seed, glass, rate)
        for composition_id, n_al in spec.cells.items()
        for glass, rate in spec.production.glass_runs()
    ]
    flow = Flow(glasses, name="production")
    stamp(flow, campaign=spec.campaign_id)
    return flow
