"""The settings of a campaign's seeds and production runs, as the campaign file spells them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from pydantic import Field, model_validator

from laoc_flows.schemas.base import Model, NonNegative, Positive, Temperature
from laoc_flows.schemas.melt_quench import AnyProtocol, OneOrMoreRates
from laoc_flows.schemas.protocol import DensityEquilibration, Stage


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

    packings: int = Field(
        1,
        ge=0,
        le=1000,
        description="trajectories per composition that are trained on; 0 only where learning.data gives labels to begin with",
    )
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
