"""Melt-quench protocols as data: parameters, a preset, or a list of stages; all become stages."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
    model_validator,
)

from laoc_flows.schemas.base import Model, NonNegative, Positive, Temperature
from laoc_flows.schemas.protocol import HOT, DensityEquilibration, Stage


def _one_or_many(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _each_once(value: tuple[float, ...]) -> tuple[float, ...]:
    if len(set(value)) != len(value):
        msg = "a quench rate is given twice"
        raise ValueError(msg)
    return value


Rates = Annotated[tuple[Positive, ...], AfterValidator(_each_once)]
"""Quench rates, an ensemble for each [K/ps]."""

OneOrMoreRates = Annotated[
    Rates,
    BeforeValidator(_one_or_many),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0},
                {"type": "array", "items": {"type": "number", "exclusiveMinimum": 0}, "minItems": 1},
            ]
        }
    ),
]
"""Quench rates [K/ps]; a single one may be written as a number."""


class Protocol(Model):
    """What every form of a protocol shares: time steps, and its stages at each quench rate."""

    time_step: float = Field(2.0, gt=0, le=5, description="MD time step [fs]")
    hot_time_step: float | None = Field(
        None, gt=0, le=5, description=f"MD time step of stages above {HOT:g} K, None for time_step [fs]"
    )

    def rates(self) -> tuple[float | None, ...]:
        """Quench rates [K/ps], one ensemble of glasses for each; None for the one that the stages have."""
        return (None,)

    def stages(self, rate: float | None = None) -> tuple[Stage, ...]:
        """List the stages.

        Parameters
        ----------
        rate : float, optional
            Quench rate, one of :meth:`rates` [K/ps]; the first by default.
        """
        return tuple(self._stepped(stage) for stage in self._stages(rate))

    @abstractmethod
    def _stages(self, rate: float | None) -> tuple[Stage, ...]:
        """Stages of this form, without the time step of the hot ones."""

    def _stepped(self, stage: Stage) -> Stage:
        hot = max(stage.start_temperature, stage.end_temperature) > HOT
        if stage.time_step is not None or not hot or self.hot_time_step is None:
            return stage
        return stage.model_copy(update={"time_step": self.hot_time_step})


class MeltQuench(Protocol):
    """Melt, quench and hold of one cell, by its temperatures, times and rates."""

    melt_temperature: Temperature = Field(1500.0, description="temperature of the melt [K]")
    melt_time: Positive = Field(description="time at the melt temperature [ps]")
    until_melted: bool = Field(
        default=False, description="end the melt when it is one, and refuse a cell that never is"
    )
    equilibrate: DensityEquilibration | None = Field(
        None, description="equilibrate the density of the melt, in runs of `equilibrate_time`"
    )
    equilibrate_time: Positive = Field(2.0, description="length of one run of `equilibrate` [ps]")
    pressure: float = Field(0.0, ge=-100, le=1000, description="pressure of the melt and of npt stages [GPa]")
    quench_rate: OneOrMoreRates = Field(
        min_length=1, description="cooling rate, or a list of them: an ensemble for each [K/ps]"
    )
    quench_ensemble: Literal["nvt", "npt"] = Field("nvt", description="ensemble of the quench")
    final_temperature: Temperature = Field(300.0, description="temperature at the end of the quench [K]")
    npt_time: NonNegative = Field(0.0, description="constant-pressure run after the quench [ps]")
    hold_time: NonNegative = Field(0.0, description="constant-volume run at the final temperature [ps]")

    @model_validator(mode="after")
    def _cools(self) -> MeltQuench:
        if self.final_temperature >= self.melt_temperature:
            msg = "final_temperature must be below melt_temperature"
            raise ValueError(msg)
        return self

    def rates(self) -> tuple[float | None, ...]:
        """Quench rates [K/ps]."""
        return self.quench_rate

    def _stages(self, rate: float | None) -> tuple[Stage, ...]:
        hot, cold = self.melt_temperature, self.final_temperature
        melt = {"start_temperature": hot, "end_temperature": hot, "pressure": self.pressure}
        hold = {"start_temperature": cold, "end_temperature": cold, "pressure": self.pressure}
        stages = [
            Stage(
                name="melt",
                time=self.melt_time,
                until_melted=self.until_melted,
                # A strong thermostat slows the very diffusion that is waited for.
                thermostat="measure" if self.until_melted else "sample",
                **melt,
            )
        ]
        if self.equilibrate is not None:
            stages.append(
                Stage(name="density", time=self.equilibrate_time, equilibrate=self.equilibrate, **melt)
            )
        stages.append(
            Stage(
                name="quench",
                start_temperature=hot,
                end_temperature=cold,
                time=(hot - cold) / (rate or self.quench_rate[0]),
                ensemble=self.quench_ensemble,
                pressure=self.pressure,
            )
        )
        if self.npt_time > 0:
            stages.append(Stage(name="npt", time=self.npt_time, ensemble="npt", **hold))
        if self.hold_time > 0:
            stages.append(Stage(name="hold", time=self.hold_time, thermostat="measure", **hold))
        return tuple(stages)


class StageList(Protocol):
    """A protocol spelled out, stage by stage."""

    stages_: tuple[Stage, ...] = Field(min_length=1, alias="stages", description="the stages, in order")
    quench_rates: Rates = Field(
        (), description="quench rates, an ensemble for each: falling ramps get the time it takes [K/ps]"
    )

    model_config = ConfigDict(serialize_by_alias=True)

    @model_validator(mode="after")
    def _consistent(self) -> StageList:
        names = [stage.name for stage in self.stages_]
        if len(set(names)) != len(names):
            msg = "two stages have the same name"
            raise ValueError(msg)
        if self.quench_rates and not any(stage.cools for stage in self.stages_):
            msg = "quench_rates needs a stage whose temperature falls"
            raise ValueError(msg)
        return self

    def rates(self) -> tuple[float | None, ...]:
        """Quench rates [K/ps]; None for the one that the stages have."""
        return self.quench_rates or (None,)

    def _stages(self, rate: float | None) -> tuple[Stage, ...]:
        return tuple(
            stage.model_copy(update={"time": (stage.start_temperature - stage.end_temperature) / rate})
            if rate is not None and stage.cools
            else stage
            for stage in self.stages_
        )


def _melt(name: str, temperature: float, time: float, **more: Any) -> Stage:
    return Stage(name=name, start_temperature=temperature, end_temperature=temperature, time=time, **more)


def _ramp(name: str, start: float, end: float, time: float, **more: Any) -> Stage:
    return Stage(name=name, start_temperature=start, end_temperature=end, time=time, **more)


PRESETS: Mapping[str, tuple[Stage, ...]] = {
    # Dai et al., Nat. Energy 2023, 8, 1221: 600 K for 30 ps, then 160 ps at 300 K, constant volume.
    "dai2023": (
        _melt("melt", 600.0, 30.0, time_step=1.0),
        _melt("hold", 300.0, 160.0, thermostat="measure"),
    ),
    # J. Mater. Chem. A 2025, 13, 2309: melt at 1000 to 1500 K for 10 to 20 ps, quench to 300 K in about 10 ps,
    # 50 ps at 300 K. The melt is at its upper temperature, must have melted, and gets the density of no pressure.
    "paper": (
        _ramp("heat", 300.0, 1500.0, 1.0),
        _melt("melt", 1500.0, 20.0, until_melted=True, thermostat="measure"),
        _melt("density", 1500.0, 2.0, equilibrate=DensityEquilibration()),
        _ramp("quench", 1500.0, 300.0, 10.0),
        _melt("npt", 300.0, 5.0, ensemble="npt"),
        _melt("hold", 300.0, 50.0, thermostat="measure"),
    ),
    # With a universal or trained potential: long at constant pressure, 0.1 K/ps.
    "mlip": (
        _melt("melt", 1000.0, 1000.0, ensemble="npt", until_melted=True, thermostat="measure"),
        _ramp("quench", 1000.0, 300.0, 7000.0, ensemble="npt"),
        _melt("npt", 300.0, 1000.0, ensemble="npt"),
        _melt("hold", 300.0, 10000.0, thermostat="measure"),
    ),
}
"""Published and recommended protocols as stages."""


class Preset(Protocol):
    """A published protocol by its name; its times can be scaled as a whole."""

    preset: Literal["dai2023", "paper", "mlip"] = Field(description="name of the protocol")
    length: float = Field(1.0, gt=0, le=100, description="times relative to the published ones [1]")
    quench_rates: Rates = Field(
        (), description="quench rates, an ensemble for each; the preset's own by default [K/ps]"
    )
    hot_time_step: float | None = Field(
        1.0, gt=0, le=5, description=f"MD time step of stages above {HOT:g} K, None for time_step [fs]"
    )

    @model_validator(mode="after")
    def _cools(self) -> Preset:
        if self.quench_rates and not any(stage.cools for stage in PRESETS[self.preset]):
            msg = f"the preset {self.preset} has no quench that quench_rates could change"
            raise ValueError(msg)
        return self

    def rates(self) -> tuple[float | None, ...]:
        """Quench rates [K/ps]; None for the preset's own."""
        return self.quench_rates or (None,)

    def _stages(self, rate: float | None) -> tuple[Stage, ...]:
        stages = []
        for stage in PRESETS[self.preset]:
            time = stage.time * self.length
            if rate is not None and stage.cools:
                time = (stage.start_temperature - stage.end_temperature) / rate
            stages.append(stage.model_copy(update={"time": time}))
        return tuple(stages)


def _form(value: Any) -> str:
    if isinstance(value, Preset) or (isinstance(value, Mapping) and "preset" in value):
        return "preset form"
    if isinstance(value, StageList) or (isinstance(value, Mapping) and "stages" in value):
        return "stages form"
    return "parameters form"


AnyProtocol = Annotated[
    Annotated[MeltQuench, Tag("parameters form")]
    | Annotated[StageList, Tag("stages form")]
    | Annotated[Preset, Tag("preset form")],
    Discriminator(_form),
]
"""A protocol in one of its three forms: parameters, a list of stages, or the name of a preset."""
