"""What every model and document shares."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

SPECIES = ("Li", "Al", "O", "Cl")
"""The type map of every potential, fixed for ever: reordering it would change what old models mean."""

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Temperature = Annotated[float, Field(gt=0, le=6000, allow_inf_nan=False)]


class Model(BaseModel):
    """A frozen model that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Measured(Model):
    """A number with its uncertainty and its unit."""

    model_config = ConfigDict(allow_inf_nan=False)

    value: float = Field(description="the estimate, in the stated unit")
    standard_error: float | None = Field(
        description="standard error of the estimate, in the same unit; None where one sample gives none", ge=0
    )
    unit: str = Field(description="unit of both numbers; '1' for a pure number")
    n_independent: int = Field(description="independent samples (blocks) behind the standard error", ge=1)


class Document(Model):
    """A document of the store: small (under 1 MB), versioned, and traceable to its campaign.

    Arrays that grow with steps or atoms are never in a document; they are blobs or files it points at.
    """

    schema_name: str = Field(description="kind of the document")
    schema_version: int = Field(1, description="version of the document's layout")
    key: str = Field(description="content address of what the document describes, hexadecimal")
    campaign_id: str = Field(description="campaign that made the document")


class Provenance(Model):
    """Where in a campaign something comes from."""

    campaign_id: str = Field(description="campaign id")
    campaign_seed: int = Field(description="seed of the campaign, the root of every other seed")
    composition_id: str = Field(description="canonical composition id, for example 'x1.000-y0.750'")
    stage: str = Field(description="stage of the campaign: seed, explore, production, ...")
    iteration: int = Field(0, description="iteration of the learning loop, 0 for the seeds")
    replica: int = Field(0, description="index among equal jobs that differ in their seed")
    quench_rate: float | None = Field(
        None, description="quench rate asked for; None for the protocol's own [K/ps]"
    )
    held_out: bool = Field(False, description="whether the trajectory is kept for testing, never trained on")

    @property
    def trajectory_id(self) -> str:
        """Name of the trajectory, the unit in which data are split into training and test."""
        return f"{self.stage}/{self.composition_id}/i{self.iteration}/r{self.replica}"
