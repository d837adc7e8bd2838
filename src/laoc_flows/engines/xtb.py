"""GFN1-xTB through tblite: the embedded reference, without a torch or a license."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

from ase.calculators.calculator import Calculator
from pydantic import Field

from laoc_flows.engines.ase import AseEngine
from laoc_flows.errors import EngineUnavailableError


class XtbEngine(AseEngine):
    """GFN1-xTB (Grimme, Bannwarth, Shushkov, JCTC 2017, 13, 1989) in tblite; GFN2 does not converge here."""

    name: Literal["xtb"] = "xtb"
    method: Literal["GFN1-xTB"] = Field("GFN1-xTB", description="Hamiltonian")
    accuracy: float = Field(
        1.0,
        gt=0,
        le=1000,
        description="tblite's accuracy; 100 is twice as fast and moves forces by some meV/A",
    )
    electronic_temperature: float = Field(300.0, gt=0, le=10000, description="Fermi smearing [K]")
    max_iterations: int = Field(
        300, ge=1, le=10000, description="SCF iterations before it counts as unconverged"
    )

    @property
    def level_of_theory(self) -> str:
        """Identity of the labels; the last part is the version of this recipe."""
        return f"tblite/{self.method}/accuracy={self.accuracy:g}/Te={self.electronic_temperature:g}K/r1"

    def calculator(self) -> Calculator:
        """A new ASE calculator."""
        self.check_available()
        from tblite.ase import TBLite

        return TBLite(
            method=self.method,
            accuracy=self.accuracy,
            electronic_temperature=self.electronic_temperature,
            max_iterations=self.max_iterations,
            verbosity=0,
        )

    def check_available(self) -> None:
        """Raise EngineUnavailableError without tblite."""
        if find_spec("tblite") is None:
            msg = "the engine xtb needs tblite"
            raise EngineUnavailableError(msg, remedy="pip install tblite")
