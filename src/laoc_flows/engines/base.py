"""The contract of an engine: who computes energies, forces and stresses, and under which name."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ase import Atoms
from pydantic import Field

from laoc_flows.engines.dynamics import MDState, Segment, SegmentRun, SinglePoint
from laoc_flows.schemas.base import Model
from laoc_flows.schemas.protocol import LabelLimits, Stage

if TYPE_CHECKING:
    from laoc_flows.engines.makers import LabelMaker, MDMaker


class Engine(Model):
    """Settings of an engine as the campaign file spells them, and what it can do.

    A new engine is one subclass in one file and one line in :mod:`laoc_flows.engines.registry`: it computes
    single points and segments of dynamics in a directory; the Makers, the melt-quench controller and the typed
    outcomes around them are the same for all. Outputs are normalized: energies in eV, forces in eV/A, stress in
    eV/A^3 with the sign of ASE (positive under tension, ``stress = -virial / V``), pressures in GPa, positive
    under compression, with the ideal-gas term ``N k_B T / V`` included.
    """

    schedules: ClassVar[tuple[str, ...]] = ("labels_per_job", "steps_per_job")
    """Settings that say how the work is cut and where it runs, and change no result."""

    name: str = Field(description="name of the engine in the registry")
    labels_per_job: int | None = Field(
        None, ge=1, description="labels of one job, None for all of a batch [labels]"
    )
    steps_per_job: int = Field(
        5000, ge=1, description="MD steps of one job; longer runs are cut into jobs that carry on [steps]"
    )

    @property
    @abstractmethod
    def level_of_theory(self) -> str:
        """Identity of the labels: code, method, accuracy and version of the recipe."""

    @property
    def md_level_of_theory(self) -> str:
        """Identity of the dynamics; an engine may run them with cheaper settings than its labels."""
        return self.level_of_theory

    @property
    def dynamics_settings(self) -> dict[str, object]:
        """Everything that a run depends on besides the levels of theory: thermostats, barostats, time constants."""
        return self.model_dump(mode="json", exclude=set(self.schedules))

    @property
    def harvests(self) -> bool:
        """Whether the frames of a run are labels themselves, computed at the level of theory of the labels."""
        return self.md_level_of_theory == self.level_of_theory

    @abstractmethod
    def single_points(self, frames: Sequence[Atoms], directory: Path) -> Iterator[SinglePoint]:
        """Compute frames, one outcome for each, in order.

        Parameters
        ----------
        frames : sequence of ase.Atoms
            Periodic cells.
        directory : pathlib.Path
            Empty directory to work in.

        Yields
        ------
        SinglePoint
            A frame that fails is an outcome, not an exception.
        """

    @abstractmethod
    def run_segment(self, state: MDState, segment: Segment, directory: Path) -> SegmentRun:
        """Run a segment of dynamics, or a relaxation.

        Parameters
        ----------
        state : MDState
            Start, with momenta unless it is a relaxation.
        segment : Segment
            What to run.
        directory : pathlib.Path
            Empty directory to work in.
        """

    def check_available(self) -> None:
        """Raise EngineUnavailableError when the engine cannot run in this installation."""

    def static_maker(self, limits: LabelLimits | None = None) -> LabelMaker:
        """Maker of labels.

        Parameters
        ----------
        limits : LabelLimits, optional
            What is refused as a label.

        Returns
        -------
        LabelMaker
            Its ``make(frames: FrameSet)`` gives a ``LabelBatch``.
        """
        from laoc_flows.engines.makers import LabelMaker

        return LabelMaker(engine=self, limits=limits or LabelLimits())

    def md_maker(
        self,
        stages: tuple[Stage, ...],
        *,
        time_step: float,
        frame_every: int,
        label_every: int | None = None,
        relax_steps: int = 0,
        limits: LabelLimits | None = None,
        purpose: str = "reference md",
    ) -> MDMaker:
        """Maker of a run through stages, whatever engine computes it.

        Parameters
        ----------
        stages : tuple of Stage
            Protocol.
        time_step : float
            MD time step of the stages that do not set their own [fs].
        frame_every : int
            Steps of `time_step` between two frames that are kept.
        label_every : int, optional
            Steps of `time_step` between two labels, a multiple of `frame_every`; none by default.
        relax_steps : int
            Steps of relaxation before the dynamics.
        limits : LabelLimits, optional
            What is refused as a label.
        purpose : str
            What the run is for; part of its seed.

        Returns
        -------
        MDMaker
            Its ``make(start: BlobRef, provenance: Provenance)`` gives an ``MDResult``.
        """
        from laoc_flows.engines.makers import MDMaker

        return MDMaker(
            engine=self,
            stages=stages,
            time_step=time_step,
            frame_every=frame_every,
            label_every=label_every,
            relax_steps=relax_steps,
            limits=limits or LabelLimits(),
            purpose=purpose,
            name=purpose,
        )
