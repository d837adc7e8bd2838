"""Everything at once: one trajectory in, one typed result out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypeVar, get_args

import numpy as np

from laoc_flows.analysis.disorder.amorphisation import amorphisation
from laoc_flows.analysis.events.bond_history import HYSTERESIS, BondHistory, bond_history
from laoc_flows.analysis.events.bond_persistence import persistence_of
from laoc_flows.analysis.events.coupling import rotation_hop_coupling
from laoc_flows.analysis.events.hop_enrichment import enrichment, jump_diffusion
from laoc_flows.analysis.events.hop_statistics import (
    dwell_curve,
    hop_classes,
    hop_matrix,
)
from laoc_flows.analysis.events.hops import hops
from laoc_flows.analysis.events.p_hop import p_hop
from laoc_flows.analysis.events.rotations import RotationResult, rotations_of
from laoc_flows.analysis.scattering.structure_factor import structure_factor
from laoc_flows.analysis.structure.bonds import BOND_CUTOFFS, CENTER, LIGANDS
from laoc_flows.analysis.structure.chains import CHAIN_CUTOFF
from laoc_flows.analysis.structure.mixing import mixing
from laoc_flows.analysis.structure.network import network
from laoc_flows.analysis.structure.rdf import rdfs
from laoc_flows.analysis.structure.survey import survey
from laoc_flows.analysis.suite_results import Analysis, System
from laoc_flows.analysis.trajectories.frame import StructureLike
from laoc_flows.analysis.trajectories.paths import CARRIER, Drift
from laoc_flows.analysis.trajectories.trajectory import FrameSeries
from laoc_flows.analysis.transport.conductivity import conductivity
from laoc_flows.analysis.transport.diffusion import self_diffusion
from laoc_flows.analysis.transport.haven import haven_ratio
from laoc_flows.analysis.transport.msd import diffusive_window, msd
from laoc_flows.composition import FORMAL_CHARGES
from laoc_flows.errors import InputError, LaocError

Part: TypeAlias = Literal[
    "survey",
    "network",
    "mixing",
    "pairs",
    "scattering",
    "msd",
    "diffusion",
    "conductivity",
    "hops",
    "persistence",
    "rotations",
    "coupling",
    "amorphisation",
]
PARTS: tuple[Part, ...] = get_args(Part)
"""The parts of the suite, in the order in which they are computed."""

_R = TypeVar("_R")
_Progress: TypeAlias = Callable[[str, int, int], None]


def analyze(
    trajectory: FrameSeries,
    temperature: float | None = None,
    *,
    center: str = CENTER,
    ligands: Sequence[str] = LIGANDS,
    carrier: str = CARRIER,
    bond_cutoffs: Mapping[str, float] | None = None,
    chain_cutoff: float | None = None,
    hysteresis: Mapping[str, tuple[float, float]] | None = None,
    charges: Mapping[str, float] = FORMAL_CHARGES,
    crystal: FrameSeries | StructureLike | None = None,
    liquid: FrameSeries | StructureLike | None = None,
    drift: Drift = "framework",
    copies: int = 1,
    stride: int = 1,
    parts: Collection[Part] = PARTS,
    seed: int = 0,
    progress: _Progress | None = None,
) -> Analysis:
    """Compute the whole suite.

    Parameters
    ----------
    trajectory : FrameSeries
        A run in memory or in a file.
    temperature : float, optional
        Temperature of the run [K]; without it there is no conductivity.
    center, ligands, carrier : str, sequence of str, str
        Who forms the tetrahedra, and who moves among them; ``"Al"``, ``("O", "Cl")`` and ``"Li"`` by default.
    bond_cutoffs : mapping of str to float, optional
        Ligand to its bond cutoff [A]; {"O": 2.4, "Cl": 2.8} around Al, else to be given.
    chain_cutoff : float, optional
        Two centers closer than this are of one chain [A]; 4.2 for Al, else to be given.
    hysteresis : mapping of str to (float, float), optional
        Ligand to the distances below which a bond forms and above which it breaks [A]; by default those of Al, and
        0.2 A on either side of the bond cutoff for all others.
    charges : mapping of str to float
        Element to its charge [e].
    crystal : FrameSeries or structure, optional
        The crystal that the degree of amorphisation refers to.
    liquid : FrameSeries or structure, optional
        The liquid that Theta_g refers to; without it there is no Theta_g.
    drift : {"framework", "com", "none"}, default "framework"
        What is held at rest.
    copies : int, default 1
        Number of exact copies of one cell that the run started from (27 for a 3x3x3 supercell that was not melted
        again): atoms of different copies are not independent samples.
    stride : int, default 1
        Structure is looked at in every so many frames; motion always in all.
    parts : collection of str, default all
        The parts wanted, of `PARTS`.
    seed : int, default 0
        Seed of posteriors, bootstraps and shuffles.
    progress : callable, optional
        Called as ``progress(part, done, total)`` before every part and once at the end.

    Returns
    -------
    Analysis
        A part that the trajectory does not allow (motion in a varying cell, hops without carriers) is None or empty,
        with the reason in `missing`.

    Raises
    ------
    InputError
        When a part is unknown or a cutoff is missing.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from laoc_flows.analysis import Trajectory
    >>> salt = bulk("LiCl", "rocksalt", a=5.13, cubic=True)
    >>> run = Trajectory.from_ase([salt] * 3, time_step=0.1)
    >>> found = analyze(run, 300.0, parts=("pairs", "conductivity"))
    >>> found.system.formula
    {'Li': 4, 'Cl': 4}
    >>> found.nernst_einstein.status
    'insufficient'
    """
    unknown = sorted(set(parts) - set(PARTS))
    if unknown:
        message = f"there is no part {', '.join(unknown)}"
        raise InputError(message, remedy=f"parts: {', '.join(PARTS)}")
    ligands = tuple(ligands)
    cutoffs = (
        dict(bond_cutoffs) if bond_cutoffs is not None else dict(BOND_CUTOFFS) if center == CENTER else {}
    )
    lacking = [ligand for ligand in ligands if ligand not in cutoffs]
    if lacking or (chain_cutoff is None and center != CENTER):
        what = ", ".join([*(f"{center}-{s}" for s in lacking), *([] if lacking else [f"{center}-{center}"])])
        message = f"there is no default cutoff of {what}"
        raise InputError(message, remedy="give bond cutoffs of all ligands and the chain cutoff [A]")
    reach = CHAIN_CUTOFF if chain_cutoff is None else chain_cutoff
    limits = dict(HYSTERESIS) if center == CENTER else {}
    limits |= {s: (cutoffs[s] - 0.2, cutoffs[s] + 0.2) for s in ligands if s not in limits}
    limits |= dict(hysteresis or {})
    system = System(
        formula={s: trajectory.species.count(s) for s in dict.fromkeys(trajectory.species)},
        n_frames=trajectory.n_frames,
        time_step=trajectory.time_step,
        start_time=trajectory.start_time,
        duration=trajectory.duration,
        volume=float(np.mean(trajectory.volumes)),
        constant_cell=trajectory.constant_cell,
        temperature=temperature,
        center=center,
        ligands=ligands,
        carrier=carrier,
        bond_cutoffs={s: float(cutoffs[s]) for s in ligands},
        chain_cutoff=reach,
        drift=drift,
        copies=copies,
        stride=stride,
        seed=seed,
    )
    return _Suite(trajectory, system, limits, charges, (crystal, liquid), progress).run(parts)


class _Suite:
    """The parts, one method each; what one raises becomes a reason."""

    def __init__(
        self,
        trajectory: FrameSeries,
        system: System,
        limits: Mapping[str, tuple[float, float]],
        charges: Mapping[str, float],
        references: tuple[FrameSeries | StructureLike | None, FrameSeries | StructureLike | None],
        progress: _Progress | None,
    ) -> None:
        self.trajectory = trajectory
        self.system = system
        self.limits = limits
        self.charges = charges
        self.crystal, self.liquid = references
        self.progress = progress
        self.found: dict[str, Any] = {}
        self.missing: dict[str, str] = {}
        self.history: BondHistory | None = None

    def run(self, parts: Collection[Part]) -> Analysis:
        chosen = [part for part in PARTS if part in parts]
        for done, part in enumerate(chosen):
            if self.progress is not None:
                self.progress(part, done, len(chosen))
            getattr(self, f"_{part}")()
        if self.progress is not None:
            self.progress("done", len(chosen), len(chosen))
        return Analysis(system=self.system, missing=self.missing, **self.found)

    def _try(self, name: str, compute: Callable[[], _R]) -> _R | None:
        try:
            return compute()
        except LaocError as error:
            self.missing[name] = error.line
            return None

    def _keep(self, name: str, compute: Callable[[], object]) -> None:
        found = self._try(name, compute)
        if found is not None:
            self.found[name] = found

    def _each(self, name: str, keys: Sequence[str], compute: Callable[[str], object]) -> None:
        found = {key: self._try(f"{name}.{key}", lambda key=key: compute(key)) for key in keys}  # type: ignore[misc]
        self.found[name] = {key: value for key, value in found.items() if value is not None}

    def _present(self, symbols: Sequence[str]) -> list[str]:
        return [s for s in symbols if s in self.system.formula]

    def _survey(self) -> None:
        s = self.system
        self._keep(
            "survey",
            lambda: survey(
                self.trajectory, s.center, s.ligands, s.bond_cutoffs, s.chain_cutoff, stride=s.stride
            ),
        )

    def _network(self) -> None:
        s = self.system
        last = self.trajectory.frame(-1)
        self._keep("network", lambda: network(last, s.center, s.ligands, s.bond_cutoffs))

    def _mixing(self) -> None:
        s = self.system
        self._keep(
            "mixing",
            lambda: mixing(
                self.trajectory,
                center=s.center,
                ligands=s.ligands,
                bond_cutoffs=s.bond_cutoffs,
                cutoff=s.chain_cutoff,
                seed=s.seed,
            ),
        )

    def _pairs(self) -> None:
        self._keep("pairs", lambda: rdfs(self.trajectory, stride=self.system.stride))

    def _scattering(self) -> None:
        seed = self.system.seed
        for weights in ("neutron", "xray"):
            self._keep(
                weights,
                lambda weights=weights: structure_factor(self.trajectory, weights=weights, seed=seed),  # type: ignore[misc]
            )

    def _msd(self) -> None:
        s = self.system
        self._each("msd", list(s.formula), lambda symbol: msd(self.trajectory, symbol, s.drift, s.carrier))
        self.found["windows"] = {
            k: diffusive_window(v, copies=s.copies) for k, v in self.found["msd"].items()
        }

    def _diffusion(self) -> None:
        s = self.system
        self._each(
            "diffusion",
            list(s.formula),
            lambda symbol: self_diffusion(
                self.trajectory, symbol, s.drift, s.carrier, copies=s.copies, seed=s.seed
            ),
        )

    def _conductivity(self) -> None:
        s = self.system
        roles: dict[str, Any] = {
            "charges": self.charges,
            "carrier": s.carrier,
            "drift": s.drift,
            "copies": s.copies,
            "seed": s.seed,
        }
        self._keep("haven", lambda: haven_ratio(self.trajectory, **roles))
        if s.temperature is None:
            self.missing["conductivity"] = "no temperature was given"
            return
        temperature = s.temperature
        self._keep("nernst_einstein", lambda: conductivity(self.trajectory, temperature, **roles))
        self._keep("collective", lambda: conductivity(self.trajectory, temperature, "collective", **roles))

    def _hops(self) -> None:
        s = self.system
        self._keep(
            "hops",
            lambda: hops(
                self.trajectory,
                s.center,
                s.ligands,
                s.carrier,
                cutoffs=s.bond_cutoffs,
                chain_cutoff=s.chain_cutoff,
                drift=s.drift,
            ),
        )
        self._keep("p_hop", lambda: p_hop(self.trajectory, s.carrier, drift=s.drift))
        if (found := self.found.get("hops")) is not None:
            self._keep("hop_matrix", lambda: hop_matrix(found))
            self._keep("hop_classes", lambda: hop_classes(found))
            self._keep("dwell", lambda: dwell_curve(found))
            self._keep("enrichment", lambda: enrichment(found))
            self._keep("jump_diffusion", lambda: jump_diffusion(found))

    def _bonds(self) -> BondHistory | None:
        """Bonds with hysteresis, followed once for persistence and rotations."""
        if self.history is None:
            s = self.system
            self.history = self._try(
                "bonds",
                lambda: bond_history(
                    self.trajectory,
                    s.center,
                    s.ligands,
                    {ligand: self.limits[ligand] for ligand in s.ligands},
                    s.drift,
                    s.carrier,
                ),
            )
        return self.history

    def _persistence(self) -> None:
        if (history := self._bonds()) is not None:
            ligands = self._present(self.system.ligands)
            self._each("persistence", ligands, lambda ligand: persistence_of(history, ligand))

    def _rotations(self) -> None:
        s = self.system
        if (history := self._bonds()) is not None:
            self._each(
                "rotations",
                self._present(s.ligands),
                lambda ligand: rotations_of(self.trajectory, history, ligand, s.carrier, drift=s.drift),
            )

    def _coupling(self) -> None:
        found = self.found.get("hops")
        turned: dict[str, RotationResult] = self.found.get("rotations", {})
        if found is None or not turned:
            self.missing["coupling"] = "it needs hops and rotations"
            return
        self._each(
            "coupling",
            list(turned),
            lambda ligand: rotation_hop_coupling(turned[ligand], found, seed=self.system.seed),
        )

    def _amorphisation(self) -> None:
        crystal = self.crystal
        if crystal is None:
            self.missing["amorphisation"] = "no crystal was given"
            return
        s = self.system
        self._keep(
            "amorphisation",
            lambda: amorphisation(self.trajectory, crystal, self.liquid, center=s.center, carrier=s.carrier),
        )
