"""A crystal on its way to a glass: what is run, and the documents of it."""

from __future__ import annotations

import math
from itertools import pairwise

from pydantic import Field, field_validator, model_validator

from laoc_flows.blobs import BlobRef, FileRef
from laoc_flows.schemas.base import Document, Measured, Model, NonNegative, Positive, Temperature
from laoc_flows.schemas.label import MeltRecord
from laoc_flows.schemas.protocol import Stage
from laoc_flows.schemas.transport import HopSummary, RotationSummary, SpeciesTransport


class AmorphisationSettings(Model):
    """Snapshots of a melting crystal, each run at one lower temperature."""

    supercell: tuple[int, int, int] = Field((2, 2, 1), description="supercell of the crystal [1]")
    melt_temperature: Temperature = Field(1000.0, description="temperature of the melting run [K]")
    melt_times: tuple[NonNegative, ...] = Field(
        (0.0, 1.0, 2.0, 4.0, 8.0, 16.0),
        min_length=2,
        description="times of the snapshots, rising from 0, the crystal; the last is the glass [ps]",
    )
    temperature: Temperature = Field(300.0, description="temperature of the runs that are analyzed [K]")
    quench_rate: Positive | None = Field(
        None, description="cooling rate of the snapshots, None for at once [K/ps]"
    )
    settle_time: Positive = Field(2.0, description="run before the analyzed one, strong thermostat [ps]")
    npt_time: NonNegative = Field(
        0.0, description="constant-pressure run that gives the volume, 0 for that of the crystal [ps]"
    )
    pressure: float = Field(0.0, ge=-10, le=100, description="pressure of the constant-pressure run [GPa]")
    time: Positive = Field(50.0, description="constant-volume run that is analyzed [ps]")
    time_step: float = Field(2.0, gt=0, le=5, description="MD time step [fs]")
    frame_every: int = Field(20, ge=1, description="every n-th MD step is kept as a frame [steps]")

    @field_validator("supercell")
    @classmethod
    def _positive(cls, value: tuple[int, int, int]) -> tuple[int, int, int]:
        if any(n < 1 for n in value):
            msg = "supercell must be three positive integers"
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _consistent(self) -> AmorphisationSettings:
        times = self.melt_times
        if times[0] != 0 or any(b <= a for a, b in pairwise(times)):
            msg = "melt_times must rise, and begin with 0"
            raise ValueError(msg)
        if self.temperature >= self.melt_temperature:
            msg = "temperature must be below melt_temperature"
            raise ValueError(msg)
        interval = self.frame_every * self.time_step / 1000.0
        if any(not math.isclose(time / interval, round(time / interval), abs_tol=1e-6) for time in times):
            msg = f"melt_times are no multiples of the time between frames, {interval:g} ps"
            raise ValueError(msg)
        return self

    def melt_stages(self) -> tuple[Stage, ...]:
        """The melting run, one stage up to each snapshot."""
        hot = {"start_temperature": self.melt_temperature, "end_temperature": self.melt_temperature}
        return tuple(
            Stage(name=f"melt {end:g} ps", time=end - start, **hot)
            for start, end in pairwise(self.melt_times)
        )

    def run_stages(self, *, melted: bool) -> tuple[Stage, ...]:
        """The run of a snapshot; its last stage is analyzed.

        Parameters
        ----------
        melted : bool
            Whether the snapshot comes out of the melting run, and is cooled first.
        """
        cold = {"start_temperature": self.temperature, "end_temperature": self.temperature}
        stages = []
        if melted and self.quench_rate is not None:
            span = self.melt_temperature - self.temperature
            ramp = {"start_temperature": self.melt_temperature, "end_temperature": self.temperature}
            stages.append(Stage(name="quench", time=span / self.quench_rate, **ramp))
        stages.append(Stage(name="settle", time=self.settle_time, **cold))
        if self.npt_time > 0:
            stages.append(
                Stage(name="npt", time=self.npt_time, ensemble="npt", pressure=self.pressure, **cold)
            )
        return (*stages, Stage(name="hold", time=self.time, thermostat="measure", **cold))


class Snapshots(Document):
    """Frames of a melting run, the starts of what follows."""

    schema_name: str = "amorphisation_snapshots"
    times: tuple[float, ...] = Field(description="time in the melt of each frame [ps]")
    frames: tuple[BlobRef, ...] = Field(description="the frames, extended XYZ, one each")
    melt: MeltRecord | None = Field(
        None, description="whether the run has melted the crystal by its end; None where it left no frame"
    )

    @property
    def melted(self) -> bool:
        """Whether the last of them is a melt."""
        return self.melt is not None and self.melt.passed


class AmorphisationPoint(Document):
    """What is known of one snapshot from its run at the lower temperature."""

    schema_name: str = "amorphisation_point"
    melt_time: float = Field(ge=0, description="time in the melt [ps]")
    status: str = Field(description="'completed', or 'stopped: why'")
    temperature: Measured | None = Field(None, description="kinetic temperature of the analyzed run")
    pressure: Measured | None = Field(None, description="total pressure of the analyzed run")
    duration: float = Field(ge=0, description="length of the analyzed run [ps]")
    order_status: str = Field(description="ok, or insufficient: no Theta_S")
    order_reason: str = Field(description="what the degrees of amorphisation rest on")
    theta_s: Measured | None = Field(
        None, description="1 - <|S(G)|> / <|S_crystal(G)|>: 0 crystal, 1 without Bragg order"
    )
    theta_s_corrected: float | None = Field(
        None, description="Theta_S without the part of |S(G)| that uncorrelated atoms have [1]"
    )
    theta_g: float | None = Field(
        None,
        description="integrated |g - g_crystal| over that of the longest melted; None unless it has melted [1]",
    )
    theta_g_noise: float | None = Field(None, description="what noise alone adds to theta_g [1]")
    crystal_site_fraction: Measured | None = Field(None, description="share of Li on crystal sites")
    displaced_fraction: Measured | None = Field(
        None, description="share of Al farther than 1 A from a crystal site"
    )
    species: dict[str, SpeciesTransport] = Field(
        default_factory=dict, description="mean squared displacement and D by species, with their status"
    )
    hops: HopSummary | None = Field(None, description="hops of Li")
    rotations: dict[str, RotationSummary] = Field(default_factory=dict, description="by ligand")
    missing: dict[str, str] = Field(default_factory=dict, description="what is not there, and why")
    analysis: BlobRef | None = Field(
        None, description="everything the analysis suite says, gzipped JSON of `laoc_flows.analysis.Analysis`"
    )
    trajectory: FileRef | None = Field(None, description="run of the snapshot, H5MD")


class AmorphisationSeries(Document):
    """Structure and motion against the degree of amorphisation."""

    schema_name: str = "amorphisation"
    crystal: str = Field(description="crystal that it starts from, and where its structure is from")
    formula: str = Field(description="formula of the cell")
    n_atoms: int = Field(ge=1, description="atoms in the cell")
    level_of_theory: str = Field(description="identity of the engine")
    settings: AmorphisationSettings = Field(description="what was run")
    melt_status: str = Field(
        description="'completed', 'stopped: why' or 'not melted: why', of the melting run"
    )
    melt: MeltRecord | None = Field(None, description="whether the last snapshot is a melt")
    points: tuple[AmorphisationPoint, ...] = Field(description="one for each snapshot, by time in the melt")
