"""The contract of an engine: who computes energies, forces and stresses, and under which name."""

from __future__ import annotations

from abc import abstractmethod

from jobflow import Maker
from pydantic import Field

from laoc_flows.schemas.base import Model
from laoc_flows.schemas.protocol import PairDistances, Stage


class Engine(Model):
    """Settings of an engine as the campaign file spells them, and the Makers they give.

    A new engine is one subclass in one file and one line in :mod:`laoc_flows.engines.registry`. Outputs are
    normalized: energies in eV, forces in eV/A, stress in eV/A^3 with the sign of ASE (positive under tension,
    ``stress = -virial / V``), pressures in GPa, positive under compression, with the ideal-gas term
    ``N k_B T / V`` included.
    """

    name: str = Field(description="name of the engine in the registry")

    @property
    @abstractmethod
    def level_of_theory(self) -> str:
        """Identity of the labels: code, method, accuracy and version of the recipe."""

    @abstractmethod
    def static_maker(self, distance_floor: PairDistances) -> Maker:
        """Maker with ``make(frames: FrameSet)``; its output is a ``LabelBatch``."""

    @abstractmethod
    def md_maker(
        self,
        stages: tuple[Stage, ...],
        *,
        time_step: float,
        label_every: int,
        relax_steps: int,
        distance_floor: PairDistances,
    ) -> Maker:
        """Maker with ``make(start: BlobRef, provenance: Provenance)``; its output is an ``MDResult``."""

    def check_available(self) -> None:
        """Raise EngineUnavailableError when the engine cannot run in this installation."""
