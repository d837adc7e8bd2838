"""Molecular dynamics protocols as data: a list of stages."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from laoc_flows.schemas.base import SPECIES, Model, NonNegative, Positive, Temperature


class Stage(Model):
    """One stretch of molecular dynamics at a temperature, or along a linear ramp between two."""

    name: str = Field(description="name of the stage: melt, quench, hold, ...")
    start_temperature: Temperature = Field(description="thermostat target at the start [K]")
    end_temperature: Temperature = Field(description="thermostat target at the end, really reached [K]")
    time: Positive = Field(description="length [ps]")
    ensemble: Literal["nvt", "npt"] = Field("nvt", description="nvt, or npt at `pressure`, isotropic")
    pressure: float = Field(0.0, description="barostat target [GPa]")
    until_melted: bool = Field(
        default=False, description="end as soon as Al and Cl have moved the melt criterion's distance"
    )

    def steps(self, time_step: float) -> int:
        """Number of MD steps, at least one.

        Parameters
        ----------
        time_step : float
            MD time step [fs].
        """
        return max(1, round(self.time * 1000.0 / time_step))


class MeltQuench(Model):
    """Melt, quench and hold of one cell at constant volume with the reference engine."""

    time_step: float = Field(2.0, gt=0, le=5, description="MD time step [fs]")
    melt_temperature: Temperature = Field(1500.0, description="temperature of the melt [K]")
    melt_time: Positive = Field(description="time at the melt temperature [ps]")
    quench_rate: Positive = Field(description="cooling rate [K/ps]")
    final_temperature: Temperature = Field(300.0, description="temperature at the end of the quench [K]")
    hold_time: NonNegative = Field(0.0, description="time at the final temperature [ps]")

    @model_validator(mode="after")
    def _cools(self) -> MeltQuench:
        if self.final_temperature >= self.melt_temperature:
            msg = "final_temperature must be below melt_temperature"
            raise ValueError(msg)
        return self

    def stages(self) -> tuple[Stage, ...]:
        """The protocol as a list of stages."""
        hot, cold = self.melt_temperature, self.final_temperature
        stages = [
            Stage(name="melt", start_temperature=hot, end_temperature=hot, time=self.melt_time),
            Stage(
                name="quench",
                start_temperature=hot,
                end_temperature=cold,
                time=(hot - cold) / self.quench_rate,
            ),
        ]
        if self.hold_time > 0:
            stages.append(
                Stage(name="hold", start_temperature=cold, end_temperature=cold, time=self.hold_time)
            )
        return tuple(stages)


class PairDistances(Model):
    """Distances by pair of species [A]; a pair that is left out has no limit."""

    distances: dict[str, Positive] = Field(description="pair such as 'Al-O' -> distance [A]")

    @field_validator("distances")
    @classmethod
    def _canonical(cls, value: dict[str, float]) -> dict[str, float]:
        found: dict[str, float] = {}
        for pair, distance in value.items():
            parts = pair.split("-")
            if len(parts) != 2 or any(part not in SPECIES for part in parts):  # noqa: PLR2004
                msg = f"{pair!r} is not a pair of {', '.join(SPECIES)}, for example 'Al-O'"
                raise ValueError(msg)
            name = "-".join(sorted(parts, key=SPECIES.index))
            if name in found:
                msg = f"the pair {name} is given twice"
                raise ValueError(msg)
            found[name] = distance
        return dict(sorted(found.items()))


# Below these no frame is labeled and the soft core acts: well under the closest approaches of a 1500 K melt
# and of the crystals (Al-O 1.7, Al-Cl 2.1, Li-O 1.9, Li-Cl 2.4 A), above the distances of chemical collapse.
DISTANCE_FLOOR = PairDistances(
    distances={
        "Li-Li": 1.7,
        "Li-Al": 1.9,
        "Li-O": 1.4,
        "Li-Cl": 1.75,
        "Al-Al": 2.2,
        "Al-O": 1.4,
        "Al-Cl": 1.75,
        "O-O": 2.0,
        "O-Cl": 2.1,
        "Cl-Cl": 2.5,
    }
)


class SoftCore(Model):
    """Repulsion that is subtracted from the labels before training and added wherever the potential is used.

    ``E = A (1 + cos(pi r / r_c))`` for r < r_c (LAMMPS ``pair_style soft``). Network and core together are the
    potential; the core alone remains where there are no data.
    """

    prefactor: float = Field(20.0, ge=0, le=1000, description="A [eV]; 0 for none")
    radii: PairDistances = Field(
        PairDistances(
            distances={
                # Just inside the closest approaches of a 1500 K melt: a core that reaches the bonds themselves
                # (Al-O 1.6, Al-Cl 2.0, Cl-Cl 3.0) doubled the held-out force error of a small data set.
                "Li-Li": 2.0,
                "Li-Al": 2.2,
                "Li-O": 1.5,
                "Li-Cl": 1.9,
                "Al-Al": 2.7,
                "Al-O": 1.45,
                "Al-Cl": 1.8,
                "O-O": 2.3,
                "O-Cl": 2.4,
                "Cl-Cl": 2.7,
            }
        ),
        description="r_c by pair [A]",
    )
