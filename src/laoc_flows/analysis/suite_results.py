"""What the whole suite says about one trajectory."""

from __future__ import annotations

from pydantic import Field

from laoc_flows.analysis.disorder.amorphisation import AmorphisationResult
from laoc_flows.analysis.events.bond_persistence import BondPersistenceResult
from laoc_flows.analysis.events.coupling import CouplingResult
from laoc_flows.analysis.events.hop_enrichment import Enrichment, JumpDiffusion
from laoc_flows.analysis.events.hop_results import HopResult
from laoc_flows.analysis.events.hop_statistics import DwellCurve, HopClasses, HopMatrix
from laoc_flows.analysis.events.p_hop import PHopResult
from laoc_flows.analysis.events.rotation_results import RotationResult
from laoc_flows.analysis.scattering.structure_factor import StructureFactorResult
from laoc_flows.analysis.structure.mixing import MixingResult
from laoc_flows.analysis.structure.network import NetworkResult
from laoc_flows.analysis.structure.rdf import RdfsResult
from laoc_flows.analysis.structure.survey import SurveyResult
from laoc_flows.analysis.trajectories.frame import Result
from laoc_flows.analysis.trajectories.paths import Drift
from laoc_flows.analysis.transport.conductivity import ConductivityResult
from laoc_flows.analysis.transport.diffusion import DiffusionResult
from laoc_flows.analysis.transport.haven import HavenResult
from laoc_flows.analysis.transport.msd import DiffusiveWindow, MSDResult


class System(Result):
    """What was analyzed, and with which roles."""

    formula: dict[str, int] = Field(description="Element to its number of atoms in the cell.")
    n_frames: int = Field(description="Number of frames.", ge=1)
    time_step: float = Field(description="Time between frames [ps].", gt=0)
    start_time: float = Field(description="Time of the first frame [ps].")
    duration: float = Field(description="Time between the first and the last frame [ps].", ge=0)
    volume: float = Field(description="Mean volume of the cell [A^3].", gt=0)
    constant_cell: bool = Field(description="Whether the cell is constant; only then is motion analyzed.")
    temperature: float | None = Field(description="Temperature [K]; None when it was not given.")
    center: str = Field(description="Element of the centers.")
    ligands: tuple[str, ...] = Field(description="Elements of the ligands.")
    carrier: str = Field(description="Element of the carrier.")
    bond_cutoffs: dict[str, float] = Field(description="Ligand to its bond cutoff [A].")
    chain_cutoff: float = Field(description="Center-center cutoff of the distance rule [A].")
    drift: Drift = Field(description="What is held at rest.")
    copies: int = Field(description="Exact copies of one cell that the run started from.", ge=1)
    stride: int = Field(description="Structure is looked at in every so many frames.", ge=1)
    seed: int = Field(description="Seed of every random choice.", ge=0)


class Analysis(Result):
    """Everything the suite says about one trajectory; what it cannot say is in `missing`, with the reason."""

    schema_version: int = Field(default=1, description="Version of this layout.")
    system: System = Field(description="What was analyzed.")
    survey: SurveyResult | None = Field(
        default=None, description="Bonds, tetrahedra and chains against time."
    )
    network: NetworkResult | None = Field(default=None, description="The network of the last frame.")
    mixing: MixingResult | None = Field(default=None, description="Order of isolated and chain centers.")
    pairs: RdfsResult | None = Field(default=None, description="Every partial g(r).")
    neutron: StructureFactorResult | None = Field(default=None, description="S(Q) and G(r), neutrons.")
    xray: StructureFactorResult | None = Field(default=None, description="S(Q) and G(r), X-rays.")
    msd: dict[str, MSDResult] = Field(default_factory=dict, description="MSD by element.")
    windows: dict[str, DiffusiveWindow] = Field(
        default_factory=dict, description="Whether each MSD is diffusive."
    )
    diffusion: dict[str, DiffusionResult] = Field(default_factory=dict, description="D by element.")
    nernst_einstein: ConductivityResult | None = Field(default=None, description="Conductivity from D.")
    collective: ConductivityResult | None = Field(default=None, description="Conductivity from all charges.")
    haven: HavenResult | None = Field(default=None, description="Haven ratio.")
    hops: HopResult | None = Field(default=None, description="Hops of the carrier.")
    hop_matrix: HopMatrix | None = Field(default=None, description="Hops by origin and destination.")
    hop_classes: HopClasses | None = Field(default=None, description="Hops by the classes of the paper.")
    dwell: DwellCurve | None = Field(default=None, description="How long a carrier stays with a host.")
    enrichment: Enrichment | None = Field(default=None, description="Types of centers at hops.")
    jump_diffusion: JumpDiffusion | None = Field(default=None, description="D from the hops alone.")
    p_hop: PHopResult | None = Field(default=None, description="Hops by the second detector.")
    persistence: dict[str, BondPersistenceResult] = Field(
        default_factory=dict, description="Persistence of the bonds with each ligand."
    )
    rotations: dict[str, RotationResult] = Field(
        default_factory=dict, description="Rotations of each ligand."
    )
    coupling: dict[str, CouplingResult] = Field(
        default_factory=dict, description="Coincidence of hops with the rotations of each ligand."
    )
    amorphisation: AmorphisationResult | None = Field(
        default=None, description="Degree of amorphisation against a crystal."
    )
    missing: dict[str, str] = Field(
        default_factory=dict, description="Part of the suite to the reason why it is not there."
    )
