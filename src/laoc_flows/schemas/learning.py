"""The settings of a campaign's learning loop, as the campaign file spells them."""

from __future__ import annotations

from typing import NamedTuple

from pydantic import Field, model_validator

from laoc_flows.schemas.base import Model, NonNegative, Positive, Temperature
from laoc_flows.schemas.protocol import DISTANCE_FLOOR, LabelLimits, PairDistances, SoftCore, Stage
from laoc_flows.schemas.training import Training


class Condition(NamedTuple):
    """What an exploration run is held at besides its temperatures: a volume, or a pressure.

    Attributes
    ----------
    volume_scale : float or None
        Volume relative to that of the first frame, held constant [1]; None at constant pressure.
    pressure : float or None
        Target of the barostat [GPa]; None at constant volume.
    """

    volume_scale: float | None = 1.0
    pressure: float | None = None

    @property
    def words(self) -> str:
        """In words, for reports."""
        return f"{self.pressure:g} GPa" if self.volume_scale is None else f"volume x {self.volume_scale:g}"


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
        (1.0,),
        description="volumes relative to the seed cell, held constant; replicas take them, then the pressures, in turn [1]",
    )
    pressures: tuple[float, ...] = Field(
        (),
        description="pressures of runs at constant pressure, which come after those at constant volume [GPa]",
    )
    between: int = Field(
        0,
        ge=0,
        le=1000,
        description="compositions between neighbors of the grid that are explored as well, without seeds of their own [1]",
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
        for pressure in self.pressures:
            if not -10 <= pressure <= 100:  # noqa: PLR2004
                msg = f"pressure {pressure} is outside -10 to 100 GPa"
                raise ValueError(msg)
        if not self.conditions:
            msg = "volume_scales and pressures are both empty: nothing would be explored"
            raise ValueError(msg)
        if self.replicas < len(self.conditions):
            msg = f"replicas must be at least {len(self.conditions)}: one for each of volume_scales and pressures"
            raise ValueError(msg)
        return self

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Volumes and pressures; replica n takes condition n, and begins again after the last."""
        volumes = [Condition(volume_scale=scale) for scale in self.volume_scales]
        return (*volumes, *(Condition(volume_scale=None, pressure=each) for each in self.pressures))

    def condition(self, replica: int) -> Condition:
        """Condition of a replica, counted from 0."""
        return self.conditions[replica % len(self.conditions)]

    def stages(self, pressure: float | None = None) -> tuple[Stage, ...]:
        """The exploration as a list of MD stages; quenches end at the temperature that follows.

        Parameters
        ----------
        pressure : float, optional
            Target of a barostat [GPa]; by default the volume is constant.
        """
        hot = self.temperatures[0]
        held = {} if pressure is None else {"ensemble": "npt", "pressure": pressure}
        stages = [Stage(name="melt", start_temperature=hot, end_temperature=hot, time=self.melt_time, **held)]
        for cold in self.temperatures[1:]:
            ramp = (hot - cold) / self.quench_rate
            stages += [
                Stage(name="quench", start_temperature=hot, end_temperature=cold, time=ramp, **held),
                Stage(name="hold", start_temperature=cold, end_temperature=cold, time=self.hold_time, **held),
            ]
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
        TrustLevels(low=0.12, high=0.30), description="first trust levels below `boundary` [eV/A]"
    )
    hot: TrustLevels = Field(
        TrustLevels(low=0.20, high=0.45), description="first trust levels in the melt [eV/A]"
    )
    boundary: Temperature = Field(600.0, description="temperature between cold and hot [K]")
    calibrate: bool = Field(
        True,
        description="set the trust levels of each stratum from the errors of labels; the levels above hold where there are none",
    )
    worst_error: Positive = Field(
        1.0,
        description="calibrated upper level: where a frame's force RMSE is expected to reach this [eV/A]",
    )
    labels_per_stratum: int = Field(
        20,
        ge=1,
        description="most labels of one composition, temperature and volume or pressure in an iteration",
    )
    audit: int = Field(
        1,
        ge=0,
        description="frames of each stratum that the committee agrees on and that are labeled all the same, at random: they "
        "tell what its agreement is worth",
    )
    spacing: NonNegative = Field(
        0.5, description="least time between two selected frames of a trajectory [ps]"
    )
    novelty: NonNegative = Field(
        0.1,
        description="least distance of a frame from all that is labeled, in descriptor space, relative to the median "
        "distance between neighbors there [1]",
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
        """First trust levels at a temperature [K]."""
        return self.cold if temperature < self.boundary else self.hot


class Targets(Model):
    """When the learning loop has converged."""

    force_rmse: Positive = Field(0.10, description="held-out force RMSE of every composition [eV/A]")
    energy_rmse: Positive = Field(
        0.01, description="held-out energy RMSE of every composition, its mean error included [eV/atom]"
    )
    candidate_share: float = Field(
        0.01, gt=0, lt=1, description="share of candidates in every stratum, twice running [1]"
    )


class Probe(Model):
    """Runs of every model of the committee, whose properties must agree before the loop is converged."""

    temperature: Temperature = Field(1000.0, description="temperature of the runs [K]")
    supercell: tuple[int, int, int] = Field((1, 1, 1), description="probe cell in units of the cell [1]")
    npt_time: Positive = Field(10.0, description="constant-pressure run that gives the density [ps]")
    nvt_time: Positive = Field(20.0, description="constant-volume run that gives g(r) and D [ps]")
    time_step: float = Field(2.0, gt=0, le=5, description="MD time step [fs]")
    frame_interval: Positive = Field(0.05, description="time between stored frames [ps]")
    density: Positive = Field(0.03, description="largest relative difference of two models' densities [1]")
    rdf: Positive = Field(
        0.15, description="largest RMS difference of two models' partial g(r) below 5 A [1]"
    )
    diffusion: Positive = Field(0.3, description="largest relative difference of two models' D of Li [1]")

    @model_validator(mode="after")
    def _sane(self) -> Probe:
        if any(n < 1 for n in self.supercell):
            msg = "supercell must be three positive integers"
            raise ValueError(msg)
        if self.frame_interval > self.nvt_time:
            msg = "frame_interval leaves no frame of nvt_time"
            raise ValueError(msg)
        return self


class Learning(Model):
    """The active-learning loop."""

    data: tuple[str, ...] = Field(
        (),
        description="what it begins with besides the seeds: names of imported data, and names or ids of earlier campaigns, "
        "whose last potential and labels are taken over",
    )
    max_iterations: int = Field(
        8, ge=1, le=100, description="trainings of the committee, at most; convergence needs two or more"
    )
    max_labels: int | None = Field(
        None, ge=1, description="labels that the loop may ask for, besides the seeds; None for no limit"
    )
    max_core_hours: Positive | None = Field(
        None,
        description="work of training, exploration and labels after which it ends; None for no limit [h]",
    )
    committee: int = Field(4, ge=2, le=16, description="models that differ in their seed")
    bootstrap: bool = Field(
        False,
        description="whether each model is trained on a random sample of the frames, drawn with replacement",
    )
    quorum: float = Field(0.5, gt=0, le=1, description="share of an iteration's labels that must succeed [1]")
    training: Training = Field(default_factory=Training, description="model and schedule")
    soft_core: SoftCore = Field(default_factory=SoftCore, description="repulsion at short distances")
    exploration: Exploration = Field(default_factory=Exploration, description="what is explored")
    selection: Selection = Field(default_factory=Selection, description="what is labeled")
    targets: Targets = Field(default_factory=Targets, description="when it is enough")
    probe: Probe | None = Field(
        default_factory=Probe,
        description="properties that the models must agree on once all else has converged, None for none",
    )
