"""Documents of motion: diffusion, conductivity, hops and rotations in one glass."""

from __future__ import annotations

from pydantic import Field

from laoc_flows.blobs import BlobRef, FileRef
from laoc_flows.schemas.base import Document, Measured, Model, Provenance


class Estimate(Model):
    """A number that exists only if its status allows it."""

    status: str = Field(description="diffusive (the number stands), or why there is none")
    reason: str = Field(description="numbers behind the status")
    value: float | None = Field(description="the estimate, in `unit`; None where the status forbids one")
    standard_error: float | None = Field(description="its standard error, in `unit`")
    interval: tuple[float, float] | None = Field(description="95 % interval, in `unit`")
    upper_bound: float | None = Field(None, description="upper bound where there is no estimate, in `unit`")
    unit: str = Field(description="unit of all of them; '1' for a pure number")


class Counted(Model):
    """A number of events with what it was counted out of."""

    count: int = Field(ge=0, description="events")
    share: float | None = Field(description="share of the events of its kind [1]")
    share_interval: tuple[float, float] | None = Field(description="95 % interval of the share [1]")
    rate: float | None = Field(description="events per particle and time [1/ns]")
    rate_interval: tuple[float, float] | None = Field(description="95 % interval of the rate [1/ns]")


class SpeciesTransport(Model):
    """Mean squared displacement of one species and what may be concluded from it."""

    status: str = Field(description="diffusive, subdiffusive or insufficient")
    reason: str = Field(description="numbers behind the status")
    exponent: float | None = Field(description="local exponent d ln MSD / d ln t of the last lags [1]")
    n_eff: float | None = Field(description="total squared displacement / (3 A)^2, independent jumps [1]")
    last_lag: float | None = Field(description="longest lag time [ps]")
    last_msd: float | None = Field(description="MSD at the longest lag [A^2]")
    n_windows: int | None = Field(description="independent windows of the longest lag")
    diffusion: Estimate | None = Field(None, description="self-diffusion coefficient [cm^2/s]")


class HopSummary(Model):
    """Hops of Li between hosts (an Al with its anions)."""

    status: str = Field(description="ok, insufficient or empty")
    reason: str = Field(description="what stands behind the status")
    tau: float = Field(description="shortest dwell on either side of a hop [ps]")
    all: Counted = Field(description="all hops; the share is of all hops")
    by_tau: dict[str, int] = Field(description="hops by shortest dwell [ps]; counts depend strongly on it")
    classes: dict[str, Counted] = Field(
        description="by origin: 'intra-chain', 'inter-chain', 'isolated-assisted'"
    )
    back_jumps: Counted = Field(description="hops whose ion returns soon")
    enrichment: dict[str, float] = Field(
        description="type of Al to P(type | hop) / P(type | Li neighbor time) [1]"
    )
    jump_diffusion: float | None = Field(description="sum |dr|^2 / (6 N t) over the hops [cm^2/s]")


class RotationSummary(Model):
    """Rotations of one ligand about its host, and how its bonds last."""

    status: str = Field(description="ok, coarse, insufficient or empty")
    reason: str = Field(description="what stands behind the status")
    rotating: Counted = Field(description="ligands that turned at least once; the rate counts turns")
    kinds: dict[str, int] = Field(description="turns by kind: single, tumbling, permutation, mixed")
    by_type: dict[str, int] = Field(description="turns by type of the host")
    exchanges: Counted = Field(description="ligands that changed their host; the rate counts changes")
    coupling: float | None = Field(
        description="hops with a turn nearby, over the same with shuffled times [1]; None without events"
    )
    coupling_p_value: float | None = Field(description="probability of as many by chance [1]")


class TransportDocument(Document):
    """Transport in one glass at one temperature."""

    schema_name: str = "transport"
    provenance: Provenance = Field(description="composition, stage and replica")
    structure_key: str = Field(description="glass it was measured in")
    potential_key: str | None = Field(description="potential that drove it, None for the reference engine")
    level_of_theory: str = Field("", description="identity of the engine or potential that drove it")
    x: float = Field(description="Li per Al")
    y: float = Field(description="O per Al")
    temperature: float = Field(description="thermostat target [K]")
    mean_temperature: Measured = Field(description="kinetic temperature of the run")
    duration: float = Field(description="length of the constant-volume run [ps]")
    drift: str = Field(description="drift removal: framework, com or none")
    species: dict[str, SpeciesTransport] = Field(description="by species")
    nernst_einstein: Estimate | None = Field(None, description="conductivity from D of Li [mS/cm]")
    collective: Estimate | None = Field(
        None, description="conductivity from the motion of all charges [mS/cm]"
    )
    haven_ratio: Estimate | None = Field(None, description="D of Li over D of the charge [1]")
    hops: HopSummary | None = Field(None, description="hops of Li")
    rotations: dict[str, RotationSummary] = Field(default_factory=dict, description="by ligand")
    missing: dict[str, str] = Field(default_factory=dict, description="what is not there, and why")
    warnings: tuple[str, ...] = Field(
        (),
        description="those of its glass: what the potential was not trained on, a pressure that was not reached, ...",
    )
    curves: BlobRef | None = Field(description="MSD curves, JSON: lag [ps], MSD [A^2] by species")
    analysis: BlobRef | None = Field(
        None, description="everything the analysis suite says, gzipped JSON of `laoc_flows.analysis.Analysis`"
    )
    trajectory: FileRef | None = Field(description="constant-volume run, H5MD")
