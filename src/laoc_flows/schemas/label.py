"""Labels: energies, forces and stresses of frames at one level of theory."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum

from pydantic import Field

from laoc_flows.blobs import BlobRef, FileRef
from laoc_flows.schemas.base import Document, Measured, Model, NonNegative, Positive, Provenance


class LabelStatus(StrEnum):
    """Typed outcome of a label; only converged ones are ever trained on."""

    CONVERGED = "converged"
    UNCONVERGED = "unconverged"
    CRASHED = "crashed"
    REJECTED_DISTANCE = "rejected: distance"
    REJECTED_FORCE = "rejected: force"
    REJECTED_ENERGY = "rejected: energy"
    REJECTED_SETTINGS = "rejected: settings"


class Correction(Model):
    """One intervention of custodian."""

    handler: str = Field(description="class of the handler or validator that fired")
    errors: tuple[str, ...] = Field((), description="what it found")
    actions: tuple[str, ...] = Field((), description="what it changed; empty if it only gave up")


class LabelRecord(Model):
    """What is known of one label without its arrays."""

    key: str = Field(description="content address: geometry and level of theory")
    status: LabelStatus = Field(description="typed outcome")
    reason: str = Field("", description="why it is not converged, empty otherwise")
    n_atoms: int = Field(ge=1, description="number of atoms")
    energy: float | None = Field(None, description="potential energy of the cell [eV]")
    max_force: float | None = Field(None, description="largest force component [eV/A]")
    pressure: float | None = Field(
        None, description="total pressure, ideal-gas term included when the frame has a temperature [GPa]"
    )
    temperature: float | None = Field(
        None, description="temperature of the ideal-gas term: kinetic, or the thermostat's target [K]"
    )
    deviation: float | None = Field(None, description="model deviation that selected the frame [eV/A]")
    index: int | None = Field(None, description="index of the frame in the batch's shard")
    corrections: tuple[Correction, ...] = Field((), description="what custodian did on the way")
    log: BlobRef | None = Field(
        None, description="log of a failure: custodian's and the end of the program's output, gzipped tar"
    )


PART = "label_batch_part"
"""Schema name of a part of a batch: its labels count once the parts are together."""


class LabelBatch(Document):
    """Labels that one job made, with their arrays in one shard of extended XYZ."""

    schema_name: str = "label_batch"
    level_of_theory: str = Field(
        description="identity of the reference: code, method, settings, recipe version"
    )
    provenance: Provenance = Field(description="trajectory that the frames come from")
    records: tuple[LabelRecord, ...] = Field(description="one per frame, failed ones included")
    shard: BlobRef | None = Field(
        description="labeled frames (converged ones), extended XYZ; None if there are none"
    )
    core_hours: float = Field(0.0, ge=0, description="work of its jobs: wall time times threads [h]")

    @property
    def counts(self) -> dict[str, int]:
        """Number of labels by outcome."""
        return dict(Counter(record.status.value for record in self.records))

    @property
    def settled(self) -> bool:
        """Whether computing it again would change nothing: no label has failed for want of a program, time or luck."""
        return all(
            record.status not in {LabelStatus.CRASHED, LabelStatus.UNCONVERGED} for record in self.records
        )

    @property
    def n_converged(self) -> int:
        """Number of converged labels."""
        return sum(record.status is LabelStatus.CONVERGED for record in self.records)


class FrameSet(Model):
    """Frames to be labeled."""

    frames: BlobRef = Field(description="frames, extended XYZ")
    n_frames: int = Field(ge=0, description="number of frames")
    temperatures: tuple[float, ...] = Field((), description="thermostat target of each frame [K]")
    deviations: tuple[float, ...] = Field((), description="model deviation of each frame [eV/A]")
    provenance: Provenance = Field(description="trajectory that the frames come from")
    is_part: bool = Field(False, description="whether the frames are a part of a larger batch")


class Attempt(Model):
    """One volume that a density equilibration tried."""

    volume: Positive = Field(description="volume of the cell [A^3]")
    pressure: Measured = Field(description="total pressure after the discarded part, block averaged")
    time: NonNegative = Field(description="time at this volume, discarded part included [ps]")


class StageRecord(Model):
    """What one stage of a protocol has really done."""

    name: str = Field(description="name of the stage")
    ensemble: str = Field(description="nvt or npt")
    status: str = Field(
        description="'completed', 'melted', 'not melted', 'equilibrated', 'not equilibrated' or 'stopped'"
    )
    reason: str = Field("", description="the numbers behind a status that is not 'completed'")
    n_steps: int = Field(ge=0, description="MD steps made")
    time_step: Positive = Field(description="MD time step [fs]")
    time: NonNegative = Field(description="time simulated [ps]")
    start_target: float = Field(description="target of the thermostat at the start [K]")
    end_target: float = Field(description="target of the thermostat at the end [K]")
    temperature: Measured | None = Field(None, description="mean temperature")
    final_temperature: Measured | None = Field(
        None,
        description="temperature that was really reached: mean of the last tenth, at least ten rows; on a ramp the mean "
        "distance from the target there, added to the last target",
    )
    rate: Measured | None = Field(
        None, description="cooling rate really achieved, slope of temperature over time; ramps only"
    )
    pressure: Measured | None = Field(None, description="mean total pressure, ideal-gas term included")
    density: Measured | None = Field(None, description="mean mass density")
    volume: Positive | None = Field(None, description="volume at the end [A^3]")
    attempts: tuple[Attempt, ...] = Field((), description="volumes of a density equilibration, in order")
    target_pressure: float | None = Field(
        None, description="target of a barostat or of a density equilibration, None for neither [GPa]"
    )
    pressure_tolerance: Positive | None = Field(
        None, description="of a density equilibration: of the mean and of its standard error [GPa]"
    )
    first_frame: int = Field(ge=0, description="index of the stage's first frame in the trajectory")
    n_frames: int = Field(ge=0, description="frames of the stage in the trajectory")


class MeltRecord(Model):
    """Whether the cell was a melt before it was quenched."""

    passed: bool = Field(description="whether Al and Cl have moved far enough and no Bragg order is left")
    displacement: dict[str, float] = Field(
        description="mean squared displacement of Al and Cl before the quench [A^2]"
    )
    bragg: float | None = Field(
        None,
        description="Bragg order that is left, relative to the start: 1 for all of it, 0 for none; None where a "
        "small cell cannot tell [1]",
    )
    reason: str = Field(description="the numbers in words")


class MDResult(Document):
    """A molecular dynamics run of any engine, stage by stage."""

    schema_name: str = "md"
    level_of_theory: str = Field(description="identity of the engine")
    provenance: Provenance = Field(description="composition, stage and replica")
    status: str = Field(description="'completed', or 'stopped: why'; what was made until then is kept")
    failed: bool = Field(
        False, description="whether it was the engine that stopped it, and not a cell that never melted"
    )
    n_steps: int = Field(ge=0, description="MD steps made")
    time_step: float = Field(description="MD time step [fs]")
    final_frame: BlobRef = Field(description="last frame, extended XYZ")
    trajectory: FileRef | None = Field(description="stored frames of all stages, H5MD")
    frame_interval: Positive = Field(description="time between two stored frames [ps]")
    labels: LabelBatch | None = Field(
        None, description="labels harvested from the trajectory; None where the labels are computed anew"
    )
    to_label: FrameSet | None = Field(
        None, description="frames to be labeled, where the dynamics run at another level of theory"
    )
    stages: tuple[StageRecord, ...] = Field((), description="what each stage has really done")
    melt: MeltRecord | None = Field(None, description="state before the quench; None without a hot stage")
    profile: BlobRef | None = Field(
        None,
        description="JSON of the run over time: time [ps], temperature [K], pressure [GPa], volume [A^3]",
    )
    corrections: tuple[Correction, ...] = Field((), description="what custodian did on the way")
    log: BlobRef | None = Field(None, description="log of a run that stopped, gzipped tar")
    mean_temperature: dict[str, float] = Field(
        default_factory=dict, description="mean temperature by stage [K]"
    )
    mean_pressure: dict[str, float] = Field(
        default_factory=dict, description="mean total pressure by stage, ideal-gas term included [GPa]"
    )
