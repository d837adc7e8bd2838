"""Exploration, selection and the verdict of each iteration."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from laoc_flows.blobs import FileRef
from laoc_flows.schemas.base import Document, Model, Provenance
from laoc_flows.schemas.label import FrameSet


class StratumReport(Model):
    """What exploration found at one composition and temperature."""

    composition_id: str = Field(description="canonical composition id")
    temperature: float = Field(description="temperature of the stratum [K]")
    n_frames: int = Field(description="frames explored")
    n_accurate: int = Field(description="frames below the lower trust level")
    n_candidates: int = Field(description="frames between the trust levels, above the distance floor")
    n_failed: int = Field(description="frames above the upper trust level")
    n_cut: int = Field(description="frames cut because the trajectory left physics (distance floor, runaway)")
    n_selected: int = Field(description="frames selected for a label")
    trust_low: float = Field(description="lower trust level [eV/A]")
    trust_high: float = Field(description="upper trust level [eV/A]")
    median_deviation: float | None = Field(description="median of the model deviation [eV/A]")
    max_deviation: float | None = Field(description="largest model deviation [eV/A]")

    @property
    def candidate_share(self) -> float | None:
        """Share of frames that are candidates or failed: everything the committee does not agree on."""
        if self.n_frames == 0:
            return None
        return (self.n_candidates + self.n_failed + self.n_cut) / self.n_frames


class ExplorationDocument(Document):
    """One exploration run of one composition, with the frames selected from it."""

    schema_name: str = "exploration"
    provenance: Provenance = Field(description="composition, iteration and replica")
    potential_key: str = Field(description="potential that drove it")
    status: str = Field(description="'completed', or 'cut: why' where the trajectory left physics")
    strata: tuple[StratumReport, ...] = Field(description="one per temperature")
    selected: FrameSet | None = Field(description="frames to label, None if there are none")
    trajectory: FileRef | None = Field(description="explored frames, H5MD")


class Verdict(StrEnum):
    """Outcome of the learning loop."""

    CONVERGED = "converged"
    NOT_CONVERGED = "not converged"
    CONTINUE = "continue"


class IterationDocument(Document):
    """One iteration of the learning loop and its verdict."""

    schema_name: str = "iteration"
    iteration: int = Field(description="iteration, from 0")
    potential_key: str = Field(description="potential of this iteration")
    verdict: Verdict = Field(description="converged, not converged (limit reached), or continue")
    reasons: tuple[str, ...] = Field(description="what is not converged, in words; empty if converged")
    strata: tuple[StratumReport, ...] = Field(description="all strata, replicas added up")
    worst_force_rmse: float | None = Field(description="largest held-out force RMSE [eV/A]")
    n_train: int = Field(description="labels trained on")
    n_selected: int = Field(description="frames selected for labels in this iteration")
    composition_verdicts: dict[str, str] = Field(
        default_factory=dict, description="verdict by composition id, with the reason"
    )
