"""What the flow of a campaign knows: its plan, the data it begins with, and how far its loop is."""

from __future__ import annotations

from pydantic import Field, field_serializer, field_validator

from laoc_flows.blobs import BlobRef
from laoc_flows.engines.base import Engine
from laoc_flows.engines.registry import parse_engine
from laoc_flows.errors import InputError
from laoc_flows.schemas.base import Model
from laoc_flows.schemas.config import Production, ReferenceSampling
from laoc_flows.schemas.dataset import Dataset
from laoc_flows.schemas.iteration import Spent, StratumReport
from laoc_flows.schemas.learning import Learning
from laoc_flows.schemas.potential import PotentialDocument

MOST_AT_ONCE = 1500
"""Jobs that one job adds at most: FireWorks keeps them in one document of MongoDB, which takes 16 MB."""


class BaseData(Model):
    """What a campaign takes over from imported data and from earlier campaigns."""

    names: tuple[str, ...] = Field(description="where it comes from: names of imports, ids of campaigns")
    dataset: Dataset = Field(description="their labels")
    potential: PotentialDocument | None = Field(None, description="last potential of the last of them")
    trained: str = Field("", description="content address of what that potential was trained on")

    @property
    def compositions(self) -> frozenset[str]:
        """Compositions with labels to train on."""
        return frozenset(member.composition_id for member in self.dataset.members if not member.held_out)


class CampaignSpec(Model):
    """A planned campaign: what the flow needs to know, and nothing that does not change its results."""

    campaign_id: str = Field(description="content address with the campaign's name in front")
    seed: int = Field(description="seed of the campaign")
    cells: dict[str, int] = Field(description="Al atoms of the cell by composition id")
    tested_only: tuple[str, ...] = Field((), description="compositions that are only tested on")
    between: dict[str, int] = Field(
        default_factory=dict,
        description="further compositions to explore, Al atoms of the cell by composition id",
    )
    engine: Engine = Field(description="reference engine")
    melt_quench: ReferenceSampling = Field(description="seeds")
    learning: Learning = Field(description="learning loop")
    production: Production = Field(description="production runs")
    base: BaseData | None = Field(None, description="what it takes over from imports and earlier campaigns")

    @field_validator("engine", mode="before")
    @classmethod
    def _engine(cls, value: object) -> Engine:
        return parse_engine(value)

    @field_serializer("engine")
    def _engine_out(self, value: Engine) -> dict[str, object]:
        return value.model_dump(mode="json")

    @property
    def explored(self) -> dict[str, int]:
        """Al atoms of the cell by composition id, for all that is explored."""
        cells = {name: n_al for name, n_al in self.cells.items() if name not in self.tested_only}
        return cells | self.between

    @property
    def most_at_once(self) -> int:
        """Largest number of jobs that one job of the campaign adds."""
        explored = len(self.explored)
        probes = 0 if self.learning.probe is None else explored * self.learning.committee
        # A cell is packed by one job and run by another.
        glasses = 2 * len(self.cells) * len(self.production.glass_runs())
        return max(explored * self.learning.exploration.replicas, probes, glasses)

    def check_size(self) -> None:
        """Refuse a campaign that no queue would take.

        Raises
        ------
        InputError
            If one of its jobs would add too many at once.
        """
        if self.most_at_once > MOST_AT_ONCE:
            msg = f"a step of it would add {self.most_at_once} jobs at once, and a queue takes {MOST_AT_ONCE}"
            remedy = "make several campaigns of the grid: a later one takes over the labels of an earlier one (learning.data)"
            raise InputError(msg, where=self.campaign_id, remedy=remedy)


class LoopState(Model):
    """What one iteration of the learning loop hands to the next."""

    dataset: Dataset = Field(description="labels so far")
    starts: dict[str, list[BlobRef]] = Field(
        description="where exploration begins: the last frame of each, by composition id"
    )
    iteration: int = Field(0, description="iteration, from 0")
    parent: PotentialDocument | None = Field(None, description="potential of the iteration before")
    reuse: bool = Field(
        False, description="whether the parent is the potential of this iteration: nothing new to train on"
    )
    taken_over: bool = Field(
        False, description="whether the potential of the iteration before was made by another campaign"
    )
    previous: tuple[StratumReport, ...] = Field((), description="strata of the iteration before")
    errors: BlobRef | None = Field(
        None, description="JSON of the errors of the potential before on the labels that it asked for"
    )
    spent: Spent = Field(default_factory=Spent, description="what the loop has used")
