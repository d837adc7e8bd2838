"""The settings of a campaign's learning loop and production runs, as the campaign file spells them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from laoc_flows.schemas.base import Model, NonNegative, Positive, Temperature
from laoc_flows.schemas.melt_quench import AnyProtocol, OneOrMoreRates
from laoc_flows.schemas.protocol import (
    DISTANCE_FLOOR,
    DensityEquilibration,
    LabelLimits,
    PairDistances,
    SoftCore,
    Stage,
)

Width = Annotated[int, Field(ge=1, le=10_000)]


class ReferenceProduction(Model):
    """A run at constant volume after the quench, with the reference engine, that is analyzed itself."""

    temperature: Temperature = Field(300.0, description="temperature of the run [K]")
    time: Positive = Field(50.0, description="length of the run [ps]")
    analyze_from: NonNegative = Field(11.0, description="time at which the analysis begins [ps]")
    frame_every: int = Field(20, ge=1, description="every n-th MD step is kept as a frame [steps]")
    label_every: int | None = Field(
        500, ge=1, description="every n-th MD step is a label, None for no labels [steps]"
    )

    @model_validator(mode="after")
    def _consistent(self) -> ReferenceProduction:
        if self.analyze_from >= self.time:
            msg = "analyze_from must be below time"
            raise ValueError(msg)
        if self.label_every is not None and self.label_every % self.frame_every:
            msg = f"label_every is no multiple of frame_every, {self.frame_every}"
            raise ValueError(msg)
        return self

    def stages(self) -> tuple[Stage, ...]:
        """The run as a list of MD stages."""
        return (
            Stage(
                name="hold",
                start_temperature=self.temperature,
                end_temperature=self.temperature,
                time=self.time,
                thermostat="measure",
            ),
        )


class ReferenceSampling(Model):
    """Seed trajectories made with the reference engine, and what is labeled of them."""

    packings: int = Field(1, ge=1, le=1000, description="trajectories per composition that are trained on")
    held_out: int = Field(
        1, ge=1, le=100, description="further trajectories per composition, only for testing"
    )
    protocol: AnyProtocol = Field(
        description="melt-quench with the reference engine: parameters, a preset, or a list of stages"
    )
    label_every: int = Field(
        4, ge=1, description="every n-th MD step of a seed trajectory is a label [steps]"
    )
    frame_every: int | None = Field(
        None, ge=1, description="every n-th MD step is kept as a frame, None for label_every [steps]"
    )
    relax_steps: int = Field(12, ge=0, le=10000, description="FIRE steps with the engine before the dynamics")
    strains: tuple[float, ...] = Field(
        (0.96, 1.04), description="linear scalings of a seed trajectory's frames that are labeled as well [1]"
    )
    production: ReferenceProduction | None = Field(
        None, description="run of each quenched cell with the reference engine that is analyzed itself"
    )

    @model_validator(mode="after")
    def _strains_sane(self) -> ReferenceSampling:
        for strain in self.strains:
            if not 0.8 <= strain <= 1.25:  # noqa: PLR2004
                msg = f"strain {strain} is outside 0.8 to 1.25"
                raise ValueError(msg)
        if self.label_every % self.stored_every:
            msg = f"label_every is no multiple of frame_every, {self.stored_every}"
            raise ValueError(msg)
        return self

    def trajectories(self) -> tuple[tuple[int, float | None, bool], ...]:
        """Trajectories of one composition: replica, quench rate [K/ps], and whether it is only tested on.

        Every packing that is trained on is quenched at every rate, from a packing of its own; the held-out ones
        are quenched at the first.
        """
        rates = self.protocol.rates()
        trained = [rate for _ in range(self.packings) for rate in rates]
        tested = [rates[0]] * self.held_out
        return tuple(
            (replica, rate, replica >= len(trained)) for replica, rate in enumerate([*trained, *tested])
        )

    @property
    def stored_every(self) -> int:
        """MD steps between two frames that are kept [steps]."""
        return self.frame_every or self.label_every


class Training(Model):
    """Architecture and schedule of one DeePMD model (descriptor se_e2_a)."""

    steps: int = Field(400_000, ge=10, description="training steps")
    batch_size: int | Literal["auto"] = Field("auto", description="frames per step, or 'auto' (>= 32 atoms)")
    rcut: float = Field(6.0, ge=3, le=12, description="cutoff radius of the descriptor [A]")
    rcut_smth: float = Field(0.5, ge=0, description="where the smooth cutoff begins [A]")
    neuron: tuple[Width, ...] = Field((25, 50, 100), min_length=1, description="widths of the embedding net")
    axis_neuron: int = Field(16, ge=1, description="width of the axis sub-matrix of the embedding")
    fitting: tuple[Width, ...] = Field((240, 240, 240), min_length=1, description="widths of the fitting net")
    precision: Literal["float32", "float64"] = Field("float64", description="floating point precision")
    start_lr: Positive = Field(1e-3, description="learning rate at the start [1]")
    stop_lr: Positive = Field(1e-8, description="learning rate at the end [1]")
    energy_prefactor: tuple[NonNegative, NonNegative] = Field(
        (0.02, 1.0), description="loss weight, start/end"
    )
    force_prefactor: tuple[NonNegative, NonNegative] = Field(
        (1000.0, 1.0), description="loss weight, start/end"
    )
    virial_prefactor: tuple[NonNegative, NonNegative] = Field(
        (0.02, 1.0), description="loss weight, start/end"
    )
    max_force: Positive = Field(
        10.0, description="labels with a larger force component are not trained on [eV/A]"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Training:
        if self.stop_lr >= self.start_lr:
            msg = "stop_lr must be below start_lr"
            raise ValueError(msg)
        if self.rcut_smth >= self.rcut:
            msg = "rcut_smth must be below rcut"
            raise ValueError(msg)
        if self.axis_neuron > self.neuron[-1]:
            msg = "axis_neuron must not exceed the last width of neuron"
            raise ValueError(msg)
        return self


class Exploration(Model):
    """LAMMPS runs driven by the committee: melt, then quench to and hold at each lower temperature."""

    temperatures: tuple[Temperature, ...] = Field(
        (1500.0, 900.0, 400.0), min_length=1, description="melt temperature, then the holds, falling [K]"
    )
    melt_time: Positive = Field(5.0, description="time at the first temperature [ps]")
    quench_rate: Positive = Field(200.0, description="cooling rate between two temperatures [K/ps]")
    hold_time: Positive = Field(5.0, description="time at each further temperature [ps]")
    time_step: float = Field(2.0, gt=0, le=5, description="MD time step [fs]")
    replicas: int = Field(
        1, ge=1, le=1000, description="runs per composition and iteration, each its own seed"
    )
    frame_interval: Positive = Field(0.1, description="time between two frames that can be selected [ps]")
    volume_scales: tuple[float, ...] = Field(
        (1.0,), min_length=1, description="volumes relative to the seed cell; replicas take them in turn [1]"
    )

    @model_validator(mode="after")
    def _falling(self) -> Exploration:
        if any(b >= a for a, b in zip(self.temperatures, self.temperatures[1:], strict=False)):
            msg = "temperatures must fall: the melt first, then the holds"
            raise ValueError(msg)
        for scale in self.volume_scales:
            if not 0.5 <= scale <= 2:  # noqa: PLR2004
                msg = f"volume scale {scale} is outside 0.5 to 2"
                raise ValueError(msg)
        return self

    def stages(self) -> tuple[Stage, ...]:
        """The exploration as a list of MD stages; quenches end at the temperature that follows."""
        hot = self.temperatures[0]
        stages = [Stage(name="melt", start_temperature=hot, end_temperature=hot, time=self.melt_time)]
        for cold in self.temperatures[1:]:
            ramp = (hot - cold) / self.quench_rate
            stages.append(Stage(name="quench", start_temperature=hot, end_temperature=cold, time=ramp))
            stages.append(
                Stage(name="hold", start_temperature=cold, end_temperature=cold, time=self.hold_time)
            )
            hot = cold
        return tuple(stages)


class TrustLevels(Model):
    """Bounds of the model deviation between which a frame is worth a label."""

    low: Positive = Field(description="below: the committee agrees, the frame is accurate [eV/A]")
    high: Positive = Field(description="above: the frame is not trusted to be physical [eV/A]")

    @model_validator(mode="after")
    def _ordered(self) -> TrustLevels:
        if self.low >= self.high:
            msg = "low must be below high"
            raise ValueError(msg)
        return self


class Selection(Model):
    """Which explored frames are labeled."""

    cold: TrustLevels = Field(
        TrustLevels(low=0.12, high=0.30), description="trust levels below `boundary` [eV/A]"
    )
    hot: TrustLevels = Field(TrustLevels(low=0.20, high=0.45), description="trust levels in the melt [eV/A]")
    boundary: Temperature = Field(600.0, description="temperature between cold and hot [K]")
    labels_per_stratum: int = Field(
        20, ge=1, description="most labels of one exploration run at one temperature"
    )
    spacing: NonNegative = Field(
        0.5, description="least time between two selected frames of a trajectory [ps]"
    )
    distance_floor: PairDistances = Field(
        DISTANCE_FLOOR, description="frames with a closer pair are never labeled"
    )
    max_force: Positive = Field(50.0, description="labels with a larger force component are rejected [eV/A]")
    energy_spread: Positive = Field(
        2.0, description="labels farther from the median energy of their batch are rejected [eV/atom]"
    )

    @property
    def limits(self) -> LabelLimits:
        """What is refused as a label."""
        return LabelLimits(
            distance_floor=self.distance_floor, max_force=self.max_force, energy_spread=self.energy_spread
        )

    def trust(self, temperature: float) -> TrustLevels:
        """Trust levels at a temperature [K]."""
        return self.cold if temperature < self.boundary else self.hot


class Targets(Model):
    """When the learning loop has converged."""

    force_rmse: Positive = Field(0.10, description="held-out force RMSE of every composition [eV/A]")
    candidate_share: float = Field(
        0.01, gt=0, lt=1, description="share of candidates in every stratum, twice running [1]"
    )


class Learning(Model):
    """The active-learning loop."""

    max_iterations: int = Field(
        8, ge=1, le=100, description="trainings of the committee, at most; convergence needs two or more"
    )
    committee: int = Field(4, ge=2, le=16, description="models that differ in their seed")
    quorum: float = Field(0.5, gt=0, le=1, description="share of an iteration's labels that must succeed [1]")
    training: Training = Field(default_factory=Training, description="model and schedule")
    soft_core: SoftCore = Field(default_factory=SoftCore, description="repulsion at short distances")
    exploration: Exploration = Field(default_factory=Exploration, description="what is explored")
    selection: Selection = Field(default_factory=Selection, description="what is labeled")
    targets: Targets = Field(default_factory=Targets, description="when it is enough")


class Production(Model):
    """Melt, quench and run of a larger cell with the final potential."""

    supercell: tuple[int, int, int] = Field((3, 3, 3), description="production cell in units of the cell [1]")
    glasses: int = Field(
        1, ge=1, le=1000, description="independent glasses per composition, at each quench rate"
    )
    protocol: AnyProtocol | None = Field(
        None,
        description="melt-quench by a preset or by stages, in place of the temperatures, times and rates below; its last "
        "stage is the run that is analyzed",
    )
    temperature: Temperature = Field(300.0, description="temperature of the final run [K]")
    melt_temperature: Temperature = Field(1500.0, description="temperature of the melt [K]")
    melt_time: Positive = Field(
        100.0, description="longest time in the melt; it ends when melted, looked at eight times at most [ps]"
    )
    melt_ensemble: Literal["nvt", "npt"] = Field("nvt", description="ensemble of the melt")
    equilibrate: DensityEquilibration | None = Field(
        None, description="equilibrate the density of the melt, in runs of `equilibrate_time`"
    )
    equilibrate_time: Positive = Field(10.0, description="length of one run of `equilibrate` [ps]")
    quench_rate: OneOrMoreRates = Field(
        (1.0,),
        min_length=1,
        description="cooling rate, constant pressure, or a list of them: an ensemble for each [K/ps]",
    )
    npt_time: Positive = Field(100.0, description="constant-pressure run that gives the density [ps]")
    nvt_time: Positive = Field(1000.0, description="constant-volume run that is analyzed [ps]")
    frame_interval: Positive = Field(0.1, description="time between stored frames [ps]")
    time_step: float = Field(2.0, gt=0, le=5, description="MD time step [fs]")
    pressure: float = Field(
        0.0, ge=-10, le=100, description="pressure of the density, the quench and the NPT run [GPa]"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Production:
        if any(n < 1 for n in self.supercell):
            msg = "supercell must be three positive integers"
            raise ValueError(msg)
        if self.temperature >= self.melt_temperature:
            msg = "temperature must be below melt_temperature"
            raise ValueError(msg)
        if self.protocol is not None:
            # By their values, not by what was set: a dump that comes back has all of them.
            fields = type(self).model_fields
            changed = [name for name in sorted(_IN_PROTOCOL) if getattr(self, name) != fields[name].default]
            _check_protocol(self.protocol, changed)
        return self

    @property
    def md_time_step(self) -> float:
        """MD time step of the stages that do not set their own [fs]."""
        return self.time_step if self.protocol is None else self.protocol.time_step

    @property
    def rates(self) -> tuple[float | None, ...]:
        """Quench rates [K/ps], an ensemble of glasses for each; None for the one that a protocol has."""
        return self.quench_rate if self.protocol is None else self.protocol.rates()

    @property
    def repeats(self) -> int:
        """Number of cells in the production cell."""
        return math.prod(self.supercell)

    @property
    def frame_every(self) -> int:
        """MD steps between two stored frames [steps]."""
        return max(1, round(self.frame_interval * 1000.0 / self.md_time_step))

    def glass_runs(self) -> tuple[tuple[int, float | None], ...]:
        """Glasses of one composition: replica and quench rate [K/ps].

        A rate that is added at the end leaves the replicas of the others as they are.
        """
        return tuple(enumerate(rate for rate in self.rates for _ in range(self.glasses)))

    def stages(self, rate: float | None = None) -> tuple[Stage, ...]:
        """The production run as a list of MD stages.

        Parameters
        ----------
        rate : float, optional
            Quench rate [K/ps]; the first by default.
        """
        if self.protocol is not None:
            return self.protocol.stages(rate)
        hot, cold = self.melt_temperature, self.temperature
        melt = {"start_temperature": hot, "end_temperature": hot, "pressure": self.pressure}
        glass = {"start_temperature": cold, "end_temperature": cold, "pressure": self.pressure}
        stages = [
            Stage(name="melt", time=self.melt_time, until_melted=True, ensemble=self.melt_ensemble, **melt)
        ]
        if self.equilibrate is not None:
            stages.append(
                Stage(name="density", time=self.equilibrate_time, equilibrate=self.equilibrate, **melt)
            )
        return (
            *stages,
            Stage(
                name="quench",
                start_temperature=hot,
                end_temperature=cold,
                time=(hot - cold) / (rate or self.quench_rate[0]),
                ensemble="npt",
                pressure=self.pressure,
            ),
            Stage(name="npt", time=self.npt_time, ensemble="npt", **glass),
            Stage(name="nvt", time=self.nvt_time, thermostat="measure", **glass),
        )


# What a protocol says itself.
_IN_PROTOCOL = {
    *("temperature", "melt_temperature", "melt_time", "melt_ensemble", "equilibrate", "equilibrate_time"),
    *("quench_rate", "npt_time", "nvt_time", "time_step", "pressure"),
}


def _check_protocol(protocol: AnyProtocol, given: Sequence[str]) -> None:
    if given:
        msg = f"protocol says it all: leave out {', '.join(given)}"
        raise ValueError(msg)
    last = protocol.stages()[-1]
    steady = last.start_temperature == last.end_temperature
    if last.ensemble != "nvt" or last.thermostat != "measure" or not steady:
        msg = "the last stage of protocol must be a run that is analyzed: nvt, one temperature, thermostat: measure"
        raise ValueError(msg)
