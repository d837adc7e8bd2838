"""Exploration, selection and the verdict of each iteration."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from laoc_flows.blobs import BlobRef, FileRef
from laoc_flows.schemas.base import Document, Measured, Model, Provenance
from laoc_flows.schemas.label import FrameSet
from laoc_flows.schemas.learning import TrustLevels
from laoc_flows.schemas.potential import Suspect


class Stratum(Model):
    """One composition at one temperature, and volume or pressure."""

    composition_id: str = Field(description="canonical composition id")
    temperature: float = Field(description="temperature [K]")
    volume_scale: float | None = Field(
        1.0, description="volume relative to the seed cell [1]; None at constant pressure"
    )
    pressure: float | None = Field(None, description="target of the barostat [GPa]; None at constant volume")

    @property
    def condition(self) -> str:
        """Volume or pressure in words, empty at the volume of the seed cell."""
        if self.pressure is not None:
            return f"{self.pressure:g} GPa"
        return "" if self.volume_scale in (None, 1.0) else f"volume x {self.volume_scale:g}"

    @property
    def words(self) -> str:
        """Temperature, and the volume or pressure, in words."""
        return f"{self.temperature:g} K" + (f", {self.condition}" if self.condition else "")


class StratumReport(Model):
    """What exploration found at one composition, temperature, and volume or pressure."""

    composition_id: str = Field(description="canonical composition id")
    temperature: float = Field(description="temperature of the stratum [K]")
    volume_scale: float | None = Field(
        1.0, description="volume relative to the seed cell [1]; None at constant pressure"
    )
    pressure: float | None = Field(None, description="target of the barostat [GPa]; None at constant volume")
    n_frames: int = Field(description="frames explored")
    n_accurate: int = Field(description="frames below the lower trust level")
    n_candidates: int = Field(description="frames between the trust levels, above the distance floor")
    n_failed: int = Field(description="frames above the upper trust level")
    n_cut: int = Field(description="frames cut because the trajectory left physics (distance floor, runaway)")
    n_selected: int = Field(description="frames selected for a label, audited ones included")
    n_too_soon: int = Field(0, description="candidates within `spacing` of another in time")
    n_known: int = Field(0, description="candidates whose like is labeled already")
    n_over_quota: int = Field(0, description="candidates beyond the quota of the stratum")
    n_over_budget: int = Field(0, description="candidates beyond the budget of the campaign")
    n_audited: int = Field(0, description="frames labeled though the committee agrees on them")
    trust_low: float = Field(description="lower trust level [eV/A]")
    trust_high: float = Field(description="upper trust level [eV/A]")
    median_deviation: float | None = Field(description="median of the model deviation [eV/A]")
    max_deviation: float | None = Field(description="largest model deviation [eV/A]")

    @property
    def stratum(self) -> Stratum:
        """Where it was explored."""
        return Stratum(
            composition_id=self.composition_id,
            temperature=self.temperature,
            volume_scale=self.volume_scale,
            pressure=self.pressure,
        )

    @property
    def candidate_share(self) -> float | None:
        """Share of frames that are candidates or failed: everything the committee does not agree on."""
        if self.n_frames == 0:
            return None
        return (self.n_candidates + self.n_failed + self.n_cut) / self.n_frames


class ExplorationDocument(Document):
    """One exploration run of one composition, with the frames that may be selected from it."""

    schema_name: str = "exploration"
    schema_version: int = 2
    provenance: Provenance = Field(description="composition, iteration and replica")
    potential_key: str = Field(description="potential that drove it")
    status: str = Field(description="'completed', or 'cut: why' where the trajectory left physics")
    strata: tuple[StratumReport, ...] = Field(description="one per temperature")
    candidates: FrameSet | None = Field(description="frames that may be labeled, None if there are none")
    audited: tuple[bool, ...] = Field(
        (), description="whether the committee agrees on each of them: an offer for the audit, no candidate"
    )
    times: tuple[float, ...] = Field((), description="time of each of them in its run [ps]")
    trajectory: FileRef | None = Field(description="explored frames, H5MD")
    core_hours: float = Field(0.0, ge=0, description="work: wall time times threads [h]")


class Verdict(StrEnum):
    """Outcome of the learning loop."""

    CONVERGED = "converged"
    NOT_CONVERGED = "not converged"
    CONTINUE = "continue"


class Calibration(Model):
    """Trust levels of a stratum, and the errors of labels that they are set from.

    A frame's force RMSE is expected to be `ratio` times its deviation; the lower level is where that reaches the target,
    the upper one where it reaches the worst error that is still worth a label.
    """

    stratum: Stratum = Field(description="composition, temperature, and volume or pressure")
    levels: TrustLevels = Field(description="trust levels")
    n_labels: int = Field(
        ge=0, description="labels behind them; 0 where the levels are those of the campaign file"
    )
    pooled: str = Field(
        "",
        description="what the labels were taken from where the stratum has too few: its composition, all of them, ...",
    )
    ratio: float | None = Field(None, description="median of force RMSE over deviation [1]")
    ratio_error: float | None = Field(None, description="standard error of its logarithm [1]")
    spread: float | None = Field(
        None,
        description="standard deviation of the logarithm of force RMSE over deviation, from the median [1]",
    )
    correlation: float | None = Field(None, description="rank correlation of force RMSE and deviation [1]")
    n_audited: int = Field(0, description="labels of frames that the committee agreed on")
    n_audit_missed: int = Field(0, description="of these, those whose force RMSE is above the target")


class CalibrationDocument(Document):
    """Trust levels of one iteration."""

    schema_name: str = "calibration"
    calibration: tuple[Calibration, ...] = Field(description="one for each stratum")
    points: BlobRef | None = Field(description="JSON of the errors of labels that they were set from")


class PropertyCheck(Model):
    """Whether the models of the committee agree on a property of one composition."""

    composition_id: str = Field(description="canonical composition id")
    name: str = Field(description="density, g(r) or diffusion")
    status: str = Field(
        description="'agree', 'differ', or 'cannot tell' where the errors are larger than the tolerance"
    )
    difference: float | None = Field(
        description="largest difference between two models, as the tolerance counts it [1]"
    )
    difference_error: float | None = Field(description="its standard error [1]")
    tolerance: float = Field(description="largest difference that is accepted [1]")
    values: tuple[Measured | None, ...] = Field((), description="value of each model, where it is one number")
    reason: str = Field("", description="the numbers in words")


class Spent(Model):
    """What the learning loop has used."""

    labels: int = Field(0, ge=0, description="labels that the loop asked for, besides the seeds")
    core_hours: float = Field(
        0.0, ge=0, description="work of training, exploration and labels: wall time times threads [h]"
    )

    def plus(self, labels: int = 0, core_hours: float = 0.0) -> Spent:
        """With something added."""
        return Spent(labels=self.labels + labels, core_hours=self.core_hours + core_hours)


class IterationDocument(Document):
    """One iteration of the learning loop and its verdict."""

    schema_name: str = "iteration"
    schema_version: int = 2
    iteration: int = Field(description="iteration, from 0")
    potential_key: str = Field(description="potential of this iteration")
    verdict: Verdict = Field(description="converged, not converged (limit reached), or continue")
    reasons: tuple[str, ...] = Field(description="what is not converged, in words; empty if converged")
    limit: str = Field("", description="limit that ended the loop before it converged, in words")
    strata: tuple[StratumReport, ...] = Field(description="all strata, replicas added up")
    worst_force_rmse: float | None = Field(description="largest held-out force RMSE [eV/A]")
    n_train: int = Field(description="labels trained on")
    n_selected: int = Field(description="frames selected for labels in this iteration")
    spent: Spent = Field(default_factory=Spent, description="what the loop has used until now")
    cut: tuple[str, ...] = Field((), description="explorations that were cut, each with the reason")
    composition_verdicts: dict[str, str] = Field(
        default_factory=dict, description="verdict by composition id, with the reason"
    )
    calibration: tuple[Calibration, ...] = Field(
        (), description="trust levels of each stratum and what is behind them"
    )
    calibration_points: BlobRef | None = Field(
        None,
        description="JSON of the labels that the trust levels were set from: deviation and errors [eV/A]",
    )
    decisions: BlobRef | None = Field(
        None,
        description="JSON of every frame that could be labeled: run, time, deviation, decision and reason",
    )
    quarantined: tuple[Suspect, ...] = Field(
        (), description="labels that do not fit the others, left out from now on"
    )
    properties: tuple[PropertyCheck, ...] = Field(
        (), description="checks between the models of the committee"
    )
