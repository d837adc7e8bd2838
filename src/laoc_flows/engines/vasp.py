"""VASP under custodian: labels with one set of INCAR settings, and ab initio molecular dynamics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Literal

from ase import Atoms
from pydantic import Field, field_validator

from laoc_flows.engines.base import Engine
from laoc_flows.engines.clock import DAY, JobClock
from laoc_flows.engines.dynamics import MDState, Segment, SegmentRun, SinglePoint
from laoc_flows.schemas.base import SPECIES, Positive
from laoc_flows.settings import Settings

_SHORTEST = 1.0
_DISPERSION: dict[str, Literal["none", "d3bj"]] = {"paper": "none", "d3": "d3bj"}
_POTCAR = {"Li": "Li_sv", "Al": "Al", "O": "O", "Cl": "Cl"}

PotcarFunctional = Literal["PBE", "PBE_52", "PBE_52_W_HASH", "PBE_54", "PBE_54_W_HASH", "PBE_64"]


class VaspEngine(Engine):
    """PAW DFT with VASP, run by atomate2's Makers under custodian.

    Every label has the same INCAR, the Gamma point only, and the energy that its forces are the derivative of.
    The dynamics take cheaper settings, so that their frames are labeled anew. A correction of custodian may change
    how the electrons are converged, never what is computed: a label with other settings is refused.

    Notes
    -----
    ``nvt`` runs with a Nose thermostat, whose state goes from segment to segment in the predictor-corrector block
    of CONTCAR, or a Langevin thermostat. ``npt`` is VASP's Langevin dynamics of Parrinello and Rahman: **the shape
    of the cell fluctuates with its volume**, which a melt does not resist; for the density of a melt, stages that
    are equilibrated at constant volume are the better choice. Its target, PSTRESS, is the total pressure: the
    equations of motion of the cell contain the kinetic term of the atoms.
    """

    schedules: ClassVar[tuple[str, ...]] = (*Engine.schedules, "ncore", "kpar")
    name: Literal["vasp"] = "vasp"
    labels_per_job: int | None = Field(
        4, ge=1, description="labels of one job, None for all of a batch [labels]"
    )
    steps_per_job: int = Field(
        500, ge=1, description="MD steps of one job; longer runs are cut into jobs that carry on [steps]"
    )
    preset: Literal["paper", "d3"] = Field(
        "d3", description="'d3': PBE-D3(BJ), for new data; 'paper': PBE alone, as in the 2025 paper"
    )
    functional: Literal["PBE"] = Field("PBE", description="exchange-correlation functional")
    dispersion: Literal["none", "d3bj"] | None = Field(
        None, description="D3(BJ) dispersion or none; left out: that of the preset"
    )
    encut: float = Field(520.0, ge=200, le=1500, description="plane-wave cutoff of the labels [eV]")
    ediff: float = Field(1e-6, gt=0, le=1e-2, description="SCF convergence of the labels [eV]")
    md_encut: float = Field(400.0, ge=200, le=1500, description="plane-wave cutoff of AIMD [eV]")
    md_ediff: float = Field(1e-5, gt=0, le=1e-2, description="SCF convergence of AIMD [eV]")
    thermostat: Literal["nose", "langevin"] = Field(
        "nose",
        description="thermostat of nvt stages that equilibrate; stages that measure always take Nose, npt Langevin",
    )
    langevin_gamma: Positive = Field(10.0, description="friction of the Langevin thermostat [1/ps]")
    barostat_gamma: Positive = Field(1.0, description="friction of the cell in npt [1/ps]")
    barostat_mass: Positive = Field(10.0, description="mass of the cell in npt [amu]")
    potcar: dict[str, str] = Field(
        default_factory=lambda: dict(_POTCAR),
        description="POTCAR by element; an element left out takes Li_sv, Al, O or Cl [names]",
    )
    potcar_functional: PotcarFunctional = Field(
        "PBE_64", description="release of the POTCAR library, as pymatgen names it [name]"
    )
    ncore: int | None = Field(
        None, ge=1, description="cores that share an orbital, None for VASP's own [cores]"
    )
    kpar: int | None = Field(None, ge=1, description="groups of cores that share the k points [groups]")

    @field_validator("potcar")
    @classmethod
    def _complete(cls, value: dict[str, str]) -> dict[str, str]:
        for element, potcar in value.items():
            if element not in SPECIES or potcar.partition("_")[0] != element:
                msg = f"{potcar!r} is no POTCAR of {element}; write for example Li: Li_sv"
                raise ValueError(msg)
        return {**_POTCAR, **value}

    @property
    def d3(self) -> bool:
        """Whether D3(BJ) is part of the method; an explicit `dispersion` goes before the preset."""
        return (self.dispersion or _DISPERSION[self.preset]) == "d3bj"

    @property
    def _method(self) -> str:
        names = ",".join(self.potcar[element] for element in SPECIES)
        dispersion = "d3bj" if self.d3 else "none"
        return f"vasp/{self.functional}/{dispersion}/{self.potcar_functional}:{names}"

    @property
    def level_of_theory(self) -> str:
        """Identity of the labels; the last part is the version of this recipe."""
        return f"{self._method}/encut={self.encut:g}eV/ediff={self.ediff:g}eV/r2"

    @property
    def md_level_of_theory(self) -> str:
        """Identity of the dynamics, never that of the labels: precision and projectors are cheaper, too."""
        return f"{self._method}/md/encut={self.md_encut:g}eV/ediff={self.md_ediff:g}eV/r2"

    def single_points(self, frames: Sequence[Atoms], directory: Path) -> Iterator[SinglePoint]:
        """Compute frames, each in a directory of its own.

        Parameters
        ----------
        frames : sequence of ase.Atoms
            Periodic cells.
        directory : pathlib.Path
            Empty directory to work in.

        Yields
        ------
        SinglePoint
            Outcome; none for frames that the time of the job does not reach.

        Raises
        ------
        EngineUnavailableError
            If there is no VASP, or no POTCAR.
        """
        from laoc_flows.engines.vasp_inputs import Ordered, static_maker
        from laoc_flows.engines.vasp_outcomes import label_of
        from laoc_flows.engines.vasp_potcar import check_library
        from laoc_flows.engines.vasp_runs import run_maker

        settings = Settings.load()
        check_library(self.potcar, self.potcar_functional, settings)
        clock = JobClock(settings)
        for index, atoms in enumerate(frames):
            left = clock.left(DAY)
            if index and left <= 0:
                return
            ordered = Ordered.of(atoms)
            maker = static_maker(self)
            where = directory / f"label-{index:04d}"
            problem = run_maker(maker, ordered.structure(), where, settings, max(left, _SHORTEST))
            yield label_of(ordered, maker.input_set_generator, where, problem)

    def run_segment(self, state: MDState, segment: Segment, directory: Path) -> SegmentRun:
        """Run a segment of dynamics, or a relaxation at constant cell.

        A run that is stopped at the walltime has fewer steps and no failure. Corrections of custodian begin the
        segment anew: continued from its middle, the ramp of the temperature would start again there.

        Parameters
        ----------
        state : MDState
            Start, with momenta unless it is a relaxation.
        segment : Segment
            What to run.
        directory : pathlib.Path
            Empty directory to work in.

        Returns
        -------
        SegmentRun
            Step k of it is the k-th configuration whose forces VASP computed, the first one the start itself; the
            state is the configuration after them, from CONTCAR.

        Raises
        ------
        EngineUnavailableError
            If there is no VASP, or no POTCAR.
        """
        from laoc_flows.engines.vasp_inputs import Ordered, dynamics_maker, relax_maker
        from laoc_flows.engines.vasp_outcomes import relaxation_of, segment_of
        from laoc_flows.engines.vasp_potcar import check_library
        from laoc_flows.engines.vasp_runs import run_maker

        settings = Settings.load()
        check_library(self.potcar, self.potcar_functional, settings)
        ordered = Ordered.of(state.atoms)
        relax = segment.ensemble == "relax"
        if relax:
            maker = relax_maker(self, segment)
        else:
            maker = dynamics_maker(self, segment, ordered, state.restart, directory / "restart.POSCAR")
        problem = run_maker(
            maker,
            ordered.structure(velocities=not relax),
            directory / segment.ensemble,
            settings,
            segment.time_limit or max(JobClock(settings).left(DAY), _SHORTEST),
        )
        where = directory / segment.ensemble
        if relax:
            return relaxation_of(ordered, segment, where, problem)
        return segment_of(ordered, segment, maker.input_set_generator, where, problem)

    def check_available(self) -> None:
        """Raise EngineUnavailableError when VASP, the POTCAR library or one of the POTCARs is missing."""
        settings = Settings.load()
        settings.command("vasp_std")
        if settings.vasp_gamma_command:
            settings.command("vasp_gam")
        from laoc_flows.engines.vasp_potcar import check_library

        check_library(self.potcar, self.potcar_functional, settings)
