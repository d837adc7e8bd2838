"""Probe runs: what one model of a committee makes of a hot melt."""

from __future__ import annotations

from pydantic import Field

from laoc_flows.blobs import BlobRef
from laoc_flows.schemas.base import Document, Measured, Provenance


class ProbeDocument(Document):
    """Density, g(r) and diffusion of Li of one composition, from one model of the committee alone."""

    schema_name: str = "probe"
    provenance: Provenance = Field(description="composition, iteration and replica")
    potential_key: str = Field(description="potential whose model it is")
    index: int = Field(ge=0, description="index of the model in the committee")
    status: str = Field(description="'completed', or 'failed: why' where the run stopped or left physics")
    density: Measured | None = Field(
        description="block average over the second half of the constant-pressure run [g/cm^3]"
    )
    rdf: BlobRef | None = Field(
        description="JSON of the partial g(r) of the constant-volume run: bin edges [A], mean, standard error and blocks"
    )
    diffusion: Measured | None = Field(
        description="self-diffusion coefficient of Li [cm^2/s]; None unless diffusive"
    )
    diffusion_status: str = Field(
        description="diffusive, subdiffusive, insufficient, or empty where there is no Li; '' where the run failed"
    )
    n_frames: int = Field(ge=0, description="frames of the constant-volume run that were analyzed")
    core_hours: float = Field(0.0, ge=0, description="work: wall time times threads [h]")

    @property
    def failure(self) -> str:
        """Why the run failed, empty if it did not."""
        return "" if self.status == "completed" else self.status.removeprefix("failed: ")
