"""CP2K: labels and dynamics with Gaussians and plane waves, Gamma point only.

Cells are large enough for the Gamma point, and k points are not offered: with a list of k points that symmetry has
shortened, CP2K gives wrong stresses without a word.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ase import Atoms
from pydantic import Field

from laoc_flows.engines.base import Engine
from laoc_flows.engines.clock import DAY, JobClock
from laoc_flows.engines.cp2k_recipe import (
    BASIS_FILES,
    DISPERSION_FILE,
    LADDER,
    Basis,
    Dynamics,
    Physics,
    Scf,
)
from laoc_flows.engines.dynamics import MDState, Segment, SegmentRun, SinglePoint
from laoc_flows.errors import EngineUnavailableError
from laoc_flows.settings import Settings

if TYPE_CHECKING:
    from laoc_flows.engines.cp2k_motion import Mover
    from laoc_flows.engines.cp2k_runs import Program

_PROGRAM = "cp2k.psmp"
_DEFAULT_DATA_DIR = Path("/usr/share/cp2k")
_SHORTEST = 1.0
_INSTALL = "apt-get install cp2k (with cp2k-data), or set {key} in settings.yaml"


class Cp2kEngine(Engine):
    """PBE with GTH pseudopotentials and MOLOPT basis sets (Quickstep), one set of settings for every label."""

    name: Literal["cp2k"] = "cp2k"
    labels_per_job: int | None = Field(
        4, ge=1, description="labels of one job, None for all of a batch [labels]"
    )
    steps_per_job: int = Field(
        500, ge=1, description="MD steps of one job; longer runs are cut into jobs that carry on [steps]"
    )
    functional: Literal["PBE"] = Field("PBE", description="exchange-correlation functional")
    dispersion: Literal["none", "d3bj"] = Field("d3bj", description="D3(BJ) dispersion")
    basis: Basis = Field(
        "DZVP-MOLOPT-SR-GTH", description="basis sets, without the number of valence electrons"
    )
    cutoff: float = Field(500.0, ge=100, le=2000, description="density cutoff of the finest grid [Ry]")
    rel_cutoff: float = Field(
        50.0, ge=20, le=200, description="cutoff of the Gaussians on the finest grid [Ry]"
    )
    eps_scf: float = Field(1e-6, gt=0, le=1e-3, description="SCF convergence, OT gradient [CP2K's own unit]")
    eps_default: float = Field(1e-12, gt=0, le=1e-8, description="precision of integrals and overlap [1]")
    md_basis: Basis | None = Field(None, description="basis sets of AIMD, None for those of the labels")
    md_cutoff: float | None = Field(
        None, ge=100, le=2000, description="density cutoff of AIMD, None for that of the labels [Ry]"
    )
    md_eps_scf: float | None = Field(
        None,
        gt=0,
        le=1e-3,
        description="SCF convergence of AIMD, None for that of the labels [CP2K's own unit]",
    )
    minimizer: Literal["DIIS", "CG"] = Field(
        "DIIS", description="OT minimizer to begin with; CG is slower and converges hard melts at once"
    )
    max_scf: int = Field(25, ge=1, le=500, description="inner SCF steps before a new preconditioner [steps]")
    outer_scf: int = Field(
        8, ge=1, le=100, description="outer SCF loops before the next method is tried [loops]"
    )
    thermostat: Literal["CSVR", "NOSE"] = Field("CSVR", description="thermostat of AIMD")
    thermostat_time: float = Field(50.0, gt=0, description="time constant where a run equilibrates [fs]")
    measure_time: float = Field(1000.0, gt=0, description="time constant where a run is analyzed [fs]")
    barostat_time: float = Field(500.0, gt=0, description="time constant of the barostat [fs]")
    max_temperature_step: float = Field(
        50.0, gt=0, description="CP2K has no ramp: largest stair of the staircase that stands for one [K]"
    )

    @property
    def level_of_theory(self) -> str:
        """Identity of the labels; the last part is the version of this recipe."""
        return f"cp2k/{self._physics.name}/r1"

    @property
    def md_level_of_theory(self) -> str:
        """Identity of the dynamics."""
        return f"cp2k/{self._md_physics.name}/r1"

    @property
    def _physics(self) -> Physics:
        return Physics(
            functional=self.functional,
            dispersion=self.dispersion,
            basis=self.basis,
            cutoff=self.cutoff,
            rel_cutoff=self.rel_cutoff,
            eps_scf=self.eps_scf,
            eps_default=self.eps_default,
        )

    @property
    def _md_physics(self) -> Physics:
        return Physics(
            functional=self.functional,
            dispersion=self.dispersion,
            basis=self.md_basis or self.basis,
            cutoff=self.md_cutoff or self.cutoff,
            rel_cutoff=self.rel_cutoff,
            eps_scf=self.md_eps_scf or self.eps_scf,
            eps_default=self.eps_default,
        )

    @property
    def _scf(self) -> Scf:
        minimizers = [rung.words["MINIMIZER"] for rung in LADDER]
        return Scf(self.max_scf, self.outer_scf, minimizers.index(self.minimizer))

    def single_points(self, frames: Sequence[Atoms], directory: Path) -> Iterator[SinglePoint]:
        """Compute frames, each in a subdirectory of its own.

        A frame begins with the SCF method that the frame before ended on: the frames of a batch are alike.

        Parameters
        ----------
        frames : sequence of ase.Atoms
            Periodic cells.
        directory : pathlib.Path
            Empty directory to work in.

        Yields
        ------
        SinglePoint
            A frame that fails is an outcome, not an exception; none for frames that the time of the job does not
            reach.

        Raises
        ------
        EngineUnavailableError
            If there is no CP2K.
        """
        from laoc_flows.engines.cp2k_labels import compute_label

        settings = Settings.load()
        program, scf = self._program(settings), self._scf
        clock = JobClock(settings)
        for number, atoms in enumerate(frames):
            left = clock.left(DAY)
            if number and left <= 0:
                return
            here = directory / f"label-{number:04d}"
            here.mkdir()
            outcome, rung = compute_label(
                atoms,
                here,
                program=program,
                physics=self._physics,
                scf=scf,
                data_dir=data_directory(settings),
                walltime=max(left, _SHORTEST),
            )
            scf = Scf(self.max_scf, self.outer_scf, rung)
            yield outcome

    def run_segment(self, state: MDState, segment: Segment, directory: Path) -> SegmentRun:
        """Run a segment of dynamics, or a relaxation.

        Parameters
        ----------
        state : MDState
            Start, with momenta unless it is a relaxation.
        segment : Segment
            What to run; a ramp of the temperature becomes a staircase.
        directory : pathlib.Path
            Empty directory to work in.
        """
        return self._mover(Settings.load(), segment.time_limit).run(state, segment, directory)

    def _mover(self, settings: Settings, time_limit: float | None) -> Mover:
        from laoc_flows.engines.cp2k_motion import Mover

        return Mover(
            program=self._program(settings),
            data_dir=data_directory(settings),
            physics=self._md_physics,
            scf=self._scf,
            dynamics=Dynamics(self.thermostat, self.thermostat_time, self.measure_time, self.barostat_time),
            max_temperature_step=self.max_temperature_step,
            walltime=time_limit or max(JobClock(settings).left(DAY), _SHORTEST),
        )

    def _program(self, settings: Settings) -> Program:
        from laoc_flows.engines.cp2k_runs import Program

        try:
            command = settings.command(_PROGRAM)
        except EngineUnavailableError as error:
            raise EngineUnavailableError(
                error.message, where=error.where, remedy=_INSTALL.format(key="cp2k_command")
            ) from None
        environment = {**settings.thread_environment(), "CP2K_DATA_DIR": str(data_directory(settings))}
        return Program(command, environment)

    def check_available(self) -> None:
        """Raise EngineUnavailableError without CP2K or without its basis sets and potentials."""
        settings = Settings.load()
        self._program(settings)
        directory = data_directory(settings)
        needed = {*BASIS_FILES[self.basis], *BASIS_FILES[self.md_basis or self.basis]}
        if self.dispersion != "none":
            needed.add(DISPERSION_FILE)
        if missing := sorted(name for name in needed if not (directory / name).is_file()):
            msg = f"CP2K's data are incomplete: {', '.join(missing)} not found in {directory}"
            raise EngineUnavailableError(
                msg, where="cp2k_data_dir", remedy=_INSTALL.format(key="cp2k_data_dir")
            )


def data_directory(settings: Settings) -> Path:
    """Directory of CP2K's basis sets and potentials: the setting, CP2K_DATA_DIR, or that of the Debian package."""
    return settings.cp2k_data_dir or Path(os.environ.get("CP2K_DATA_DIR") or _DEFAULT_DATA_DIR)
