"""Labels: energies, forces and stresses of frames at one level of theory."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum

from pydantic import Field

from laoc_flows.blobs import BlobRef, FileRef
from laoc_flows.schemas.base import Document, Model, Provenance


class LabelStatus(StrEnum):
    """Typed outcome of a label; only converged ones are ever trained on."""

    CONVERGED = "converged"
    UNCONVERGED = "unconverged"
    CRASHED = "crashed"
    REJECTED_DISTANCE = "rejected: distance"
    REJECTED_FORCE = "rejected: force"


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

    @property
    def counts(self) -> dict[str, int]:
        """Number of labels by outcome."""
        return dict(Counter(record.status.value for record in self.records))

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


class MDResult(Document):
    """A molecular dynamics run of any engine."""

    schema_name: str = "md"
    level_of_theory: str = Field(description="identity of the engine")
    provenance: Provenance = Field(description="composition, stage and replica")
    status: str = Field(description="'completed', or 'stopped: why'; what was made until then is kept")
    n_steps: int = Field(ge=0, description="MD steps made")
    time_step: float = Field(description="MD time step [fs]")
    final_frame: BlobRef = Field(description="last frame, extended XYZ")
    trajectory: FileRef | None = Field(description="stored frames, H5MD")
    labels: LabelBatch | None = Field(None, description="labels harvested from the trajectory")
    mean_temperature: dict[str, float] = Field(
        default_factory=dict, description="mean temperature by stage [K]"
    )
    mean_pressure: dict[str, float] = Field(
        default_factory=dict, description="mean total pressure by stage, ideal-gas term included [GPa]"
    )
