"""The stages that a molecular dynamics run is made of, and the limits of what it may do."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from laoc_flows.schemas.base import SPECIES, Model, Positive, Temperature

HOT = 1000.0
"""Temperature above which the dynamics take the shorter time step [K]."""


class DensityEquilibration(Model):
    """When the density of a melt counts as equilibrated: its total pressure agrees with the target.

    The cell is run at constant volume for the stage's time; the block-averaged total pressure of what is left
    after `discard` decides: within `tolerance`, with a standard error within `tolerance` too, it is
    equilibrated; otherwise the volume is changed along the measured compressibility, or the run at this volume
    goes on where only the standard error is too large.
    """

    tolerance: Positive = Field(0.5, description="of the mean total pressure and of its standard error [GPa]")
    attempts: int = Field(8, ge=1, le=100, description="runs of the stage's time, at most")
    discard: float = Field(0.3, ge=0, lt=1, description="share of each run that is left out of the mean [1]")
    max_strain: float = Field(
        0.04, gt=0, le=0.2, description="largest change of the cell's edge between two runs, relative [1]"
    )
    bulk_modulus: Positive = Field(
        8.0, description="first guess of the melt's bulk modulus, until two volumes are known [GPa]"
    )


class Stage(Model):
    """One stretch of molecular dynamics at a temperature, or along a linear ramp between two."""

    name: str = Field(min_length=1, max_length=40, description="name of the stage: melt, quench, hold, ...")
    start_temperature: Temperature = Field(description="thermostat target at the start [K]")
    end_temperature: Temperature = Field(description="thermostat target at the end, really reached [K]")
    time: Positive = Field(description="length; of one run where the density is equilibrated [ps]")
    ensemble: Literal["nvt", "npt"] = Field(
        "nvt", description="nvt, or npt at `pressure`: isotropic, but for VASP"
    )
    pressure: float = Field(
        0.0, ge=-100, le=1000, description="target of the barostat or of `equilibrate` [GPa]"
    )
    until_melted: bool = Field(
        default=False,
        description="end as soon as the cell has melted; a cell that has not by the end of the stage is refused",
    )
    equilibrate: DensityEquilibration | None = Field(
        None, description="change the volume until the total pressure agrees with `pressure`"
    )
    thermostat: Literal["sample", "measure"] = Field(
        "sample", description="strong, for equilibration, or weak, for runs whose dynamics are analyzed"
    )
    time_step: float | None = Field(
        None, gt=0, le=5, description="MD time step, None for the protocol's [fs]"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Stage:
        if self.equilibrate is not None and self.ensemble == "npt":
            msg = "a stage equilibrates its density at constant volume, or has a barostat, not both"
            raise ValueError(msg)
        if self.equilibrate is not None and self.until_melted:
            msg = "a stage ends when it is melted or when its density is equilibrated, not both"
            raise ValueError(msg)
        if (self.equilibrate is not None or self.until_melted) and (
            self.start_temperature != self.end_temperature
        ):
            msg = "only a stage at one temperature can wait for something"
            raise ValueError(msg)
        return self

    @property
    def cools(self) -> bool:
        """Whether the stage is a quench."""
        return self.end_temperature < self.start_temperature

    def steps(self, time_step: float) -> int:
        """Number of MD steps, at least one.

        Parameters
        ----------
        time_step : float
            MD time step of the protocol; the stage's own goes before [fs].
        """
        return max(1, round(self.time * 1000.0 / (self.time_step or time_step)))


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


class LabelLimits(Model):
    """What is refused as a label, before and after it is computed."""

    distance_floor: PairDistances = Field(
        DISTANCE_FLOOR, description="frames with a closer pair are not computed [A]"
    )
    max_force: Positive = Field(50.0, description="largest force component of a label [eV/A]")
    energy_spread: Positive = Field(
        2.0, description="largest distance of a label's energy from the median of its batch [eV/atom]"
    )
