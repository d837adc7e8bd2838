"""Universal machine-learned potentials: CHGNet and SevenNet with fields of their own, any other by name.

The calculators come from atomate2 (``atomate2.forcefields.utils.ase_calculator``), which knows the packages'
classes and defaults. CHGNet's model is loaded here, because atomate2 leaves its version to the package.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from ase.calculators.calculator import Calculator
from pydantic import Field, JsonValue, field_validator

from laoc_flows.blobs import digest_json
from laoc_flows.engines.ase import AseEngine
from laoc_flows.engines.loading import potential_digest, quietly
from laoc_flows.errors import EngineUnavailableError

_EXTRA = "pip install 'laoc-flows[mlip]'"
_DIGEST = 16
_IMPORT_PATH = re.compile(r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
# What the models were trained on: Materials Project, PBE with +U for oxides and fluorides of some transition
# metals, so plain PBE here; no dispersion.
_MP_PBE = "PBE(+U)-MP"
# It reads the files of every installed package, and engines are asked for their identity over and over.
_distributions = cache(packages_distributions)


class UniversalEngine(AseEngine):
    """What the engines of pretrained potentials share."""

    schedules: ClassVar[tuple[str, ...]] = (*AseEngine.schedules, "device")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="where the network runs; auto: on a GPU if there is one"
    )

    @property
    @abstractmethod
    def package(self) -> str:
        """Distribution that the potential comes with."""

    @property
    @abstractmethod
    def remedy(self) -> str:
        """How to install it."""

    @abstractmethod
    def _load(self) -> Calculator:
        """A new calculator, the package being there."""

    @property
    def package_version(self) -> str:
        """Version of the package, part of the identity of the labels.

        Raises
        ------
        EngineUnavailableError
            If it is not installed.
        """
        try:
            return version(self.package)
        except PackageNotFoundError:
            msg = f"the engine {self.name} needs {self.package}"
            raise EngineUnavailableError(msg, remedy=self.remedy) from None

    def check_available(self) -> None:
        """Raise EngineUnavailableError when the package is missing, or there is no GPU where one is asked for."""
        _ = self.package_version
        if self.device == "cuda" and not _cuda():
            msg = f"the engine {self.name} is to run on a GPU and torch sees none"
            raise EngineUnavailableError(msg, where="device = cuda", remedy="set device to auto or cpu")

    def calculator(self) -> Calculator:
        """A new ASE calculator, made without a word on standard output."""
        self.check_available()
        try:
            with quietly():
                return self._load()
        except Exception as error:
            msg = f"the engine {self.name} cannot load its potential: {error}"
            raise EngineUnavailableError(msg, remedy=self.remedy) from error

    @property
    def _torch_device(self) -> str:
        if self.device != "auto":
            return self.device
        return "cuda" if _cuda() else "cpu"


class ChgnetEngine(UniversalEngine):
    """CHGNet (Deng et al., Nat. Mach. Intell. 2023, 5, 1031); its weights come with the package."""

    functionals: ClassVar[Mapping[str, str]] = MappingProxyType(
        {"0.3.0": _MP_PBE, "0.2.0": _MP_PBE, "r2scan": "r2SCAN-MP"}
    )

    name: Literal["chgnet"] = "chgnet"
    # Not the package's own default, 0.3.0: that makes crystalline LiAlCl4 40 % too large, r2scan 3 % too small.
    model: Literal["r2scan", "0.3.0", "0.2.0"] = Field("r2scan", description="version of the weights")

    @property
    def package(self) -> str:
        """Distribution that the potential comes with."""
        return "chgnet"

    @property
    def remedy(self) -> str:
        """How to install it."""
        return _EXTRA

    @property
    def level_of_theory(self) -> str:
        """Identity of the labels; the functional is that of the training data."""
        return f"chgnet/{self.model}/{self.functionals[self.model]}/pkg={self.package_version}/r1"

    def _load(self) -> Calculator:
        from atomate2.forcefields.utils import ase_calculator
        from chgnet.model.model import CHGNet

        device = self._torch_device
        model = CHGNet.load(model_name=self.model, use_device=device, verbose=False)
        return ase_calculator("CHGNet", model=model, use_device=device, on_isolated_atoms="ignore")


class SevenNetEngine(UniversalEngine):
    """SevenNet (Park et al., JCTC 2024, 20, 4857); the weights of these models come with the package."""

    name: Literal["sevennet"] = "sevennet"
    model: Literal["7net-0", "7net-0_22may2024", "7net-l3i5"] = Field(
        "7net-0", description="name of the weights"
    )

    @property
    def package(self) -> str:
        """Distribution that the potential comes with."""
        return "sevenn"

    @property
    def remedy(self) -> str:
        """How to install it."""
        return _EXTRA

    @property
    def level_of_theory(self) -> str:
        """Identity of the labels; the functional is that of the training data."""
        return f"sevennet/{self.model}/{_MP_PBE}/pkg={self.package_version}/r1"

    def _load(self) -> Calculator:
        from atomate2.forcefields.utils import ase_calculator

        return ase_calculator("SevenNet", model=self.model, device=self._torch_device)


class MlipEngine(UniversalEngine):
    """Any other potential with an ASE calculator, by its name in atomate2 or its import path.

    Names and default weights are atomate2's (``atomate2.forcefields.MLFF``): MACE-MP-0, MatterSim, FAIRChem, ...
    Most packages download their weights on first use; give ``weights`` where jobs have no network.
    """

    # The digest of the weights is in the level of theory, wherever they lie.
    schedules: ClassVar[tuple[str, ...]] = (*UniversalEngine.schedules, "weights")
    name: Literal["mlip"] = "mlip"
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="where the network runs; auto: what its calculator chooses"
    )
    model: str = Field(description="name in atomate2, or 'package.module:Callable'", min_length=1)
    kwargs: dict[str, JsonValue] = Field(
        default_factory=dict, description="arguments of the calculator, in its own units"
    )
    weights: str | None = Field(None, description="file of the weights [path]")
    weights_argument: str = Field("model", description="argument of the calculator that takes the weights")
    functional: str = Field(
        "unnamed", description="functional of the training data, part of the identity of the labels"
    )

    @field_validator("model")
    @classmethod
    def _known(cls, value: str) -> str:
        if _IMPORT_PATH.match(value):
            return value
        from atomate2.forcefields.utils import MLFF

        names = {member.value for member in MLFF if member is not MLFF.Forcefield}
        if value not in names:
            msg = f"is neither 'package.module:Callable' nor one of {', '.join(sorted(names))}"
            raise ValueError(msg)
        return value

    @field_validator("weights")
    @classmethod
    def _absolute(cls, value: str | None) -> str | None:
        # Jobs run in directories of their own.
        return None if value is None else str(Path(value).expanduser().resolve())

    @property
    def package(self) -> str:
        """Distribution that the potential comes with."""
        if ":" in self.model:
            module = self.model.partition(":")[0].partition(".")[0]
            return _distributions().get(module, [module])[0]
        from atomate2.forcefields.utils import MLFF, _get_pkg_name

        return str(_get_pkg_name(MLFF(self.model)) or self.model.lower())

    @property
    def remedy(self) -> str:
        """How to install it."""
        return f"pip install {self.package}"

    @property
    def level_of_theory(self) -> str:
        """Identity of the labels: name, functional, digests of weights and arguments, version of the package."""
        parts = ["mlip", self.model, self.functional]
        if self.weights is not None:
            parts.append(f"weights={potential_digest(Path(self.weights))}")
        if self.kwargs:
            parts.append(f"kwargs={digest_json(self.kwargs)[:_DIGEST]}")
        return "/".join([*parts, f"pkg={self.package_version}", "r1"])

    @property
    def package_version(self) -> str:
        """Version of the package; of a module that is no distribution, that it has none."""
        try:
            return super().package_version
        except EngineUnavailableError:
            if ":" in self.model and find_spec(self.package.partition(".")[0]) is not None:
                return "none"
            raise

    def check_available(self) -> None:
        """Raise EngineUnavailableError when the package or the file of the weights is missing."""
        super().check_available()
        if self.weights is not None:
            potential_digest(Path(self.weights))

    def _load(self) -> Calculator:
        from atomate2.forcefields.utils import (
            _DEFAULT_CALCULATOR_KWARGS,
            MLFF,
            ase_calculator,
            revert_default_dtype,
        )

        kwargs: dict[str, Any] = dict(self.kwargs)
        if ":" in self.model:
            name = self.model.replace(":", ".")
        else:
            name = self.model
            # Only atomate2's Makers add these themselves.
            kwargs = {**_DEFAULT_CALCULATOR_KWARGS.get(MLFF(name), {}), **kwargs}
        if self.weights is not None:
            kwargs[self.weights_argument] = self.weights
        if self.device != "auto":
            kwargs["device"] = self.device
        with revert_default_dtype():
            return ase_calculator(name, **kwargs)


def _cuda() -> bool:
    try:
        import torch
    except ImportError:
        return False
    return bool(torch.cuda.is_available())
