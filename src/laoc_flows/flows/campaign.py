"""The whole campaign as one flow: seeds, the learning loop, production."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jobflow import Flow, Response

from laoc_flows.blobs import BlobRef
from laoc_flows.flows.datasets import DatasetDocument, check_quorum, dataset_document
from laoc_flows.flows.loop import iteration_flow
from laoc_flows.flows.seeds import PackMaker, SeedMaker
from laoc_flows.flows.spec import BaseData, CampaignSpec, LoopState
from laoc_flows.jobs import LaocMaker, laoc_job, stamp
from laoc_flows.schemas.base import Provenance
from laoc_flows.schemas.dataset import Dataset
from laoc_flows.schemas.label import LabelBatch

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
        maker = SeedMaker(spec.engine, spec.melt_quench, spec.learning.selection.limits)
        jobs: list[Any] = []
        batches: list[Any] = []
        starts: dict[str, list[Any]] = {name: list(blobs) for name, blobs in _starts(spec.base).items()}
        covered = spec.base.compositions if spec.base is not None else frozenset()
        tested = _tested(spec.base)
        for composition_id, n_al in spec.cells.items():
            for replica, rate, held_out in spec.melt_quench.trajectories():
                if composition_id in (tested if held_out else covered):
                    continue
                if not held_out and composition_id in spec.tested_only:
                    continue
                provenance = self._provenance(composition_id, "seed", replica).model_copy(
                    update={"quench_rate": rate, "held_out": held_out}
                )
                seed = maker.make(composition_id, n_al, provenance)
                stamp(seed, stage="seed", composition=composition_id, iteration=0)
                jobs.append(seed)
                batches += seed.output["batches"]
                if not held_out:
                    starts.setdefault(composition_id, []).append(seed.output["frame"])
        for composition_id, n_al in spec.explored.items():
            if composition_id not in starts:
                packing = PackMaker(composition_id, n_al).make(self._provenance(composition_id, "start", 0))
                packing.name = f"pack {composition_id} start"
                stamp(packing, stage="seed", step="pack", composition=composition_id, iteration=0)
                jobs.append(packing)
                starts[composition_id] = [packing.output.frame]
        first = initial_dataset(spec, batches, starts)
        first.name = "initial data set"
        stamp(first, stage="train", step="dataset", composition="", iteration=0)
        flow = Flow([*jobs, first], name=spec.campaign_id)
        stamp(flow, campaign=spec.campaign_id)
        return flow

    def _provenance(self, composition_id: str, stage: str, replica: int) -> Provenance:
        return Provenance(
            campaign_id=self.spec.campaign_id,
            campaign_seed=self.spec.seed,
            composition_id=composition_id,
            stage=stage,
            replica=replica,
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
    spec: CampaignSpec, batches: list[LabelBatch], starts: dict[str, list[BlobRef]]
) -> Response[DatasetDocument]:
    """First data set, out of the seeds and of the data it begins with; starts the learning loop.

    Parameters
    ----------
    spec : CampaignSpec
        Campaign.
    batches : list of LabelBatch
        Labels of the seeds.
    starts : dict
        Where exploration begins by composition id.
    """
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
    return Response(output=dataset_document(spec, dataset), addition=iteration_flow(spec, state))


def _present(batches: Sequence[LabelBatch | None]) -> list[LabelBatch]:
    return [batch for batch in batches if batch is not None]
