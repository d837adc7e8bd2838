"""A trained DeePMD potential as an engine, with the soft core that belongs to it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.mixing import SumCalculator
from ase.neighborlist import neighbor_list
from ase.stress import full_3x3_to_voigt_6_stress
from pydantic import Field, field_validator

from laoc_flows.blobs import digest_json
from laoc_flows.engines.ase import AseEngine
from laoc_flows.engines.loading import potential_digest, quietly
from laoc_flows.errors import EngineUnavailableError
from laoc_flows.schemas.protocol import SoftCore

_DIGEST = 16


class DeepmdEngine(AseEngine):
    """A frozen DeePMD model through DeePMD-kit's ASE calculator; any backend that is installed.

    Potentials of a campaign were trained on labels without their soft core: give the core that the campaign
    has, or the potential lacks its repulsion.
    """

    # The digest of the model is in the level of theory, wherever it lies.
    schedules: ClassVar[tuple[str, ...]] = (*AseEngine.schedules, "model")
    name: Literal["deepmd"] = "deepmd"
    model: str = Field(min_length=1, description="frozen model: .pb, or another backend's file [path]")
    soft_core: SoftCore | None = Field(
        None, description="repulsion that belongs to the potential, None for none"
    )

    @field_validator("model")
    @classmethod
    def _absolute(cls, value: str) -> str:
        # Jobs run in directories of their own.
        return str(Path(value).expanduser().resolve())

    @property
    def level_of_theory(self) -> str:
        """Identity of the labels: digest of the model, and of its core where it has one."""
        parts = ["deepmd", potential_digest(Path(self.model))]
        if self.soft_core is not None:
            parts.append(f"core={digest_json(self.soft_core.model_dump())[:_DIGEST]}")
        return "/".join([*parts, "r1"])

    def calculator(self) -> Calculator:
        """A new ASE calculator of network and core."""
        self.check_available()
        try:
            with quietly():
                from deepmd.calculator import DP

                network = DP(self.model)
        except Exception as error:
            msg = f"DeePMD-kit cannot load it: {error}"
            raise EngineUnavailableError(
                msg, where=self.model, remedy="install the backend that the model was trained with"
            ) from error
        core = [] if self.soft_core is None else [SoftCoreCalculator(self.soft_core)]
        return _Potential([network, *core], network.type_dict)

    def known_species(self, calculator: Calculator) -> Collection[str] | None:
        """Type map of the model."""
        return calculator.species if isinstance(calculator, _Potential) else None

    def check_available(self) -> None:
        """Raise EngineUnavailableError without DeePMD-kit, or without the model's file."""
        if find_spec("deepmd") is None:
            msg = "the engine deepmd needs DeePMD-kit"
            raise EngineUnavailableError(msg, remedy="pip install 'deepmd-kit[cpu]'")
        potential_digest(Path(self.model))


class _Potential(SumCalculator):
    """Network and core, and the species that the network knows."""

    def __init__(self, calculators: Sequence[Calculator], species: Collection[str]) -> None:
        super().__init__(list(calculators))
        self.species = tuple(species)


class SoftCoreCalculator(Calculator):
    """``E = A (1 + cos(pi r / r_c))`` for every pair closer than its r_c; LAMMPS' ``pair_style soft``.

    Parameters
    ----------
    core : SoftCore
        A [eV] and r_c [A] by pair; pairs that are left out do not interact.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces", "stress"]

    def __init__(self, core: SoftCore) -> None:
        super().__init__()
        self._prefactor = core.prefactor
        self._radii = {tuple(pair.split("-")): radius for pair, radius in core.radii.distances.items()}

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] | None = None,
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Compute energy [eV], forces [eV/A] and stress [eV/A^3]."""
        super().calculate(atoms, properties, system_changes)
        n = len(self.atoms)
        energy, forces, virial = 0.0, np.zeros((n, 3)), np.zeros((3, 3))
        for (a, b), radius in self._radii.items():
            # Every pair is in the list in both directions.
            i, distance, vector = neighbor_list("idD", self.atoms, {(a, b): radius})
            phase = np.pi * distance / radius
            energy += 0.5 * self._prefactor * float((1.0 + np.cos(phase)).sum())
            push = (self._prefactor * np.pi / radius * np.sin(phase) / distance)[:, None] * vector
            np.add.at(forces, i, -push)
            virial += 0.5 * np.einsum("na,nb->ab", push, vector)
        stress = full_3x3_to_voigt_6_stress(-virial / self.atoms.get_volume())
        self.results = {"energy": energy, "free_energy": energy, "forces": forces, "stress": stress}
