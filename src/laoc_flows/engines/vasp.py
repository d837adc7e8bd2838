"""VASP: its settings and level of theory. A campaign with it plans; running it comes with the VASP Makers."""

from __future__ import annotations

from typing import Literal

from jobflow import Maker
from pydantic import Field

from laoc_flows.engines.base import Engine
from laoc_flows.errors import EngineUnavailableError
from laoc_flows.schemas.protocol import PairDistances, Stage


class VaspEngine(Engine):
    """PAW DFT with VASP, one set of INCAR settings for every label."""

    name: Literal["vasp"] = "vasp"
    functional: Literal["PBE"] = Field("PBE", description="exchange-correlation functional")
    dispersion: Literal["none", "d3bj"] = Field(
        "d3bj", description="D3(BJ) dispersion; 'none' reproduces the 2025 paper"
    )
    encut: float = Field(520.0, ge=200, le=1500, description="plane-wave cutoff of the labels [eV]")
    ediff: float = Field(1e-6, gt=0, le=1e-2, description="SCF convergence of the labels [eV]")
    md_encut: float = Field(400.0, ge=200, le=1500, description="plane-wave cutoff of AIMD [eV]")

    @property
    def level_of_theory(self) -> str:
        """Identity of the labels; the last part is the version of this recipe."""
        return f"vasp/{self.functional}/{self.dispersion}/encut={self.encut:g}eV/ediff={self.ediff:g}eV/r1"

    def static_maker(self, distance_floor: PairDistances) -> Maker:
        """Not in this version."""
        del distance_floor
        raise self._unavailable()

    def md_maker(
        self,
        stages: tuple[Stage, ...],
        *,
        time_step: float,
        label_every: int,
        relax_steps: int,
        distance_floor: PairDistances,
    ) -> Maker:
        """Not in this version."""
        del stages, time_step, label_every, relax_steps, distance_floor
        raise self._unavailable()

    def check_available(self) -> None:
        """Raise EngineUnavailableError: this version plans VASP campaigns and does not run them."""
        raise self._unavailable()

    @staticmethod
    def _unavailable() -> EngineUnavailableError:
        msg = "this version of laoc-flows plans VASP campaigns but cannot run them yet"
        return EngineUnavailableError(
            msg, where="engine.name = 'vasp'", remedy="use the engine xtb meanwhile"
        )
