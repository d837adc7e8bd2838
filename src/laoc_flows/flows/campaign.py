"""The whole campaign as one flow: seeds, the learning loop, production."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from jobflow import Flow, Job, Response

from laoc_flows.blobs import BlobRef
from laoc_flows.flows.datasets import DatasetDocument, check_quorum, dataset_document
from laoc_flows.flows.loop import iteration_flow
from laoc_flows.flows.seeds import PackMaker, SeedMaker
from laoc_flows.flows.spec import BaseData, CampaignSpec, LoopState
from laoc_flows.jobs import LaocMaker, laoc_job, stamp
from laoc_flows.schemas.base import Model, Provenance
from laoc_flows.schemas.dataset import Dataset
from laoc_flows.schemas.label import LabelBatch

TOGETHER = 50
"""Compositions whose seeds are in a flow from its beginning; those of more are added by jobs."""
_MOST_STARTS = 4
"""Shards of a composition in the data it begins with whose last frames exploration begins from."""


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
        """Flow of the campaign; iterations and production are added when they are due.

        Seeds are made of every composition that the data it begins with do not cover; of one that is only tested on,
        only those that are held out. What has no seed to be explored from gets a packing.
        """
        spec = self.spec
        seeds, packings, starts = self._asked()
        maker = SeedMaker(spec.engine, spec.melt_quench, spec.learning.selection.limits)
        if len({each.composition_id for each in (*seeds, *packings)}) <= TOGETHER:
            jobs, made = seed_jobs(maker, seeds, packings)
            parts: list[Any] = [made]
        else:
            # A flow of a large grid would take minutes to make and to submit: jobs add the seeds, some compositions each.
            jobs = [_adding(maker, *each) for each in _shared_out(seeds, packings)]
            parts = [job.output for job in jobs]
        first = initial_dataset(spec, parts, starts)
        first.name = "initial data set"
        stamp(first, stage="train", step="dataset", composition="", iteration=0)
        flow = Flow([*jobs, first], name=spec.campaign_id)
        stamp(flow, campaign=spec.campaign_id)
        return flow

    def _asked(self) -> tuple[list[SeedRequest], list[SeedRequest], dict[str, list[BlobRef]]]:
        """Seeds to make, cells to pack only, and where exploration of what is known begins."""
        spec = self.spec
        starts = _starts(spec.base)
        covered = spec.base.compositions if spec.base is not None else frozenset()
        tested = _tested(spec.base)
        seeds: list[SeedRequest] = []
        begun = set(starts)
        for composition_id, n_al in spec.cells.items():
            for replica, rate, held_out in spec.melt_quench.trajectories():
                if composition_id in (tested if held_out else covered):
                    continue
                if not held_out and composition_id in spec.tested_only:
                    continue
                provenance = self._provenance(composition_id, "seed", replica).model_copy(
                    update={"quench_rate": rate, "held_out": held_out}
                )
                seeds.append(SeedRequest(composition_id=composition_id, n_al=n_al, provenance=provenance))
                if not held_out:
                    begun.add(composition_id)
        packings = [
            SeedRequest(composition_id=name, n_al=n_al, provenance=self._provenance(name, "start", 0))
            for name, n_al in spec.explored.items()
            if name not in begun
        ]
        return seeds, packings, starts

    def _provenance(self, composition_id: str, stage: str, replica: int) -> Provenance:
        return Provenance(
            campaign_id=self.spec.campaign_id,
            campaign_seed=self.spec.seed,
            composition_id=composition_id,
            stage=stage,
            replica=replica,
        )


class SeedRequest(Model):
    """A cell that is to be packed, and melted and quenched if it becomes a seed."""

    composition_id: str
    n_al: int
    provenance: Provenance


def seed_jobs(
    maker: SeedMaker, seeds: Sequence[SeedRequest], packings: Sequence[SeedRequest]
) -> tuple[list[Flow | Job], dict[str, Any]]:
    """Jobs of seeds and packings, and where their results will be.

    Parameters
    ----------
    maker : SeedMaker
        Makes a seed.
    seeds, packings : sequence of SeedRequest
        What is to be made.

    Returns
    -------
    jobs : list of jobflow.Flow or jobflow.Job
        The jobs.
    made : dict
        References: label batches (``batches``), and last frames by composition id (``starts``).
    """
    jobs: list[Flow | Job] = []
    batches: list[Any] = []
    starts: dict[str, list[Any]] = {}
    for each in seeds:
        seed = maker.make(each.composition_id, each.n_al, each.provenance)
        stamp(seed, stage="seed", composition=each.composition_id, iteration=0)
        jobs.append(seed)
        batches += seed.output["batches"]
        if not each.provenance.held_out:
            starts.setdefault(each.composition_id, []).append(seed.output["frame"])
    for each in packings:
        packing = PackMaker(each.composition_id, each.n_al).make(each.provenance)
        packing.name = f"pack {each.composition_id} start"
        stamp(packing, stage="seed", step="pack", composition=each.composition_id, iteration=0)
        jobs.append(packing)
        starts.setdefault(each.composition_id, []).append(packing.output.frame)
    return jobs, {"batches": batches, "starts": starts}


@laoc_job()
def add_seeds(maker: SeedMaker, seeds: list[SeedRequest], packings: list[SeedRequest]) -> Response[Any]:
    """Add the jobs of seeds and packings; its output is that of `seed_jobs` when they have ended.

    Parameters
    ----------
    maker : SeedMaker
        Makes a seed.
    seeds, packings : list of SeedRequest
        What is to be made.
    """
    jobs, made = seed_jobs(maker, seeds, packings)
    # What jobflow puts the output of a flow together with would not wait for a job that fails, and runs again later.
    together = gathered(made)
    together.name = "seeds together"
    stamp(together, stage="seed", step="seeds", composition="", iteration=0)
    flow = Flow([*jobs, together], output=together.output)
    stamp(flow, campaign=(*seeds, *packings)[0].provenance.campaign_id)
    return Response(replace=flow)


@laoc_job(resolve_references=False)
def gathered(made: dict[str, Any]) -> dict[str, Any]:
    """References to what jobs have made, when all of them have.

    Parameters
    ----------
    made : dict
        Of `seed_jobs`.
    """
    return made


def _adding(maker: SeedMaker, seeds: list[SeedRequest], packings: list[SeedRequest]) -> Job:
    adding = add_seeds(maker, seeds, packings)
    names = list(dict.fromkeys(each.composition_id for each in (*seeds, *packings)))
    adding.name = f"seeds {names[0]} to {names[-1]}"
    stamp(adding, stage="seed", step="seeds", composition="", iteration=0)
    return adding


def _shared_out(
    seeds: Sequence[SeedRequest], packings: Sequence[SeedRequest]
) -> Iterator[tuple[list[SeedRequest], list[SeedRequest]]]:
    names = list(dict.fromkeys(each.composition_id for each in (*seeds, *packings)))
    share = {name: number // TOGETHER for number, name in enumerate(names)}
    for number in range(share[names[-1]] + 1):
        yield (
            [each for each in seeds if share[each.composition_id] == number],
            [each for each in packings if share[each.composition_id] == number],
        )


def _starts(base: BaseData | None) -> dict[str, list[BlobRef]]:
    """Shards that exploration begins from, those with most labels first: trajectories, not single strained cells."""
    found: dict[str, list[BlobRef]] = {}
    members = base.dataset.members if base is not None else ()
    for member in sorted(members, key=lambda m: -m.n_labels):
        # Of seeds alone: an import may have cells of any size, an exploration had a volume of its own.
        if member.held_out or "/seed/" not in member.trajectory_id:
            continue
        shards = found.setdefault(member.composition_id, [])
        if len(shards) < _MOST_STARTS:
            shards.append(member.shard)
    return found


def _tested(base: BaseData | None) -> frozenset[str]:
    members = base.dataset.members if base is not None else ()
    return frozenset(member.composition_id for member in members if member.held_out)


@laoc_job(output_schema=DatasetDocument)
def initial_dataset(
    spec: CampaignSpec, parts: list[dict[str, Any]], starts: dict[str, list[BlobRef]]
) -> Response[DatasetDocument]:
    """First data set, out of the seeds and of the data it begins with; starts the learning loop.

    Parameters
    ----------
    spec : CampaignSpec
        Campaign.
    parts : list of dict
        Results of `seed_jobs`.
    starts : dict
        Where exploration of what is known already begins, by composition id.
    """
    starts = {name: list(blobs) for name, blobs in starts.items()}
    for part in parts:
        for name, blobs in part["starts"].items():
            starts.setdefault(name, []).extend(blobs)
    batches = [batch for part in parts for batch in part["batches"]]
    present = _present(batches)
    check_quorum(spec, present)
    base = spec.base
    known = (
        base.dataset if base is not None else Dataset(level_of_theory=spec.engine.level_of_theory, members=())
    )
    dataset = known.extended(present)
    potential = base.potential if base is not None else None
    state = LoopState(
        dataset=dataset,
        starts=starts,
        parent=potential,
        # Trained on just this, and with this core: the potential that is there is that of the first iteration.
        reuse=potential is not None
        and base is not None
        and dataset.training_digest == base.trained
        and potential.soft_core == spec.learning.soft_core,
    )
    # What it begins with is in the state now: no other job needs it.
    following = spec.model_copy(update={"base": None})
    return Response(output=dataset_document(spec, dataset), addition=iteration_flow(following, state))


def _present(batches: Sequence[LabelBatch | None]) -> list[LabelBatch]:
    return [batch for batch in batches if batch is not None]
