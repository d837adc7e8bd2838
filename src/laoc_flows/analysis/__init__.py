"""Pure functions from structures and trajectories to typed results."""

from laoc_flows.analysis.disorder.amorphisation import AmorphisationResult, amorphisation
from laoc_flows.analysis.disorder.glass_transition import GlassTransitionResult, glass_transition
from laoc_flows.analysis.disorder.melting import MELT_THRESHOLD, MeltVerdict, melt_check
from laoc_flows.analysis.events.bond_history import HYSTERESIS, BondHistory, bond_history
from laoc_flows.analysis.events.bond_persistence import (
    BondPersistenceResult,
    Survival,
    bond_persistence,
    persistence_of,
)
from laoc_flows.analysis.events.coupling import CouplingResult, coincidences, rotation_hop_coupling
from laoc_flows.analysis.events.hop_enrichment import Enrichment, JumpDiffusion, enrichment, jump_diffusion
from laoc_flows.analysis.events.hop_results import HopEvents, HopResult, TauCounts
from laoc_flows.analysis.events.hop_statistics import (
    DwellCurve,
    HopClasses,
    HopMatrix,
    dwell_curve,
    hop_classes,
    hop_matrix,
)
from laoc_flows.analysis.events.hops import MIN_DISTANCE, hops
from laoc_flows.analysis.events.ligand_hosts import HostChanges
from laoc_flows.analysis.events.p_hop import P_HOP_THRESHOLD, PHopResult, p_hop
from laoc_flows.analysis.events.rotation_results import RotationEvents, RotationResult
from laoc_flows.analysis.events.rotations import rotations, rotations_of
from laoc_flows.analysis.events.tetrahedron_motion import TetrahedronMotion, tetrahedron_motion
from laoc_flows.analysis.rates import Rate, Share, poisson_rate, wilson_share
from laoc_flows.analysis.scattering.phase_mixture import PhaseMixture, phase_weighted
from laoc_flows.analysis.scattering.structure_factor import StructureFactorResult, structure_factor
from laoc_flows.analysis.statistics import Measured, block_average
from laoc_flows.analysis.structure.bonds import BOND_CUTOFFS, BondTable, Link, bonds
from laoc_flows.analysis.structure.chain_series import ChainSeries
from laoc_flows.analysis.structure.chains import (
    CHAIN_CUTOFF,
    ChainResult,
    Component,
    RuleDisagreement,
    chains,
    rule_disagreement,
)
from laoc_flows.analysis.structure.mixing import MixingResult, mixing
from laoc_flows.analysis.structure.neighbors import PairList, pairs
from laoc_flows.analysis.structure.network import NetworkResult, network
from laoc_flows.analysis.structure.rdf import (
    RdfResult,
    RdfsResult,
    Shell,
    coordination_number,
    first_shell,
    rdf,
    rdfs,
)
from laoc_flows.analysis.structure.rings import RingStatistics, rings
from laoc_flows.analysis.structure.sanity import (
    DISTANCE_FLOORS,
    REACTION_LIMITS,
    Contact,
    ContactVerdict,
    closest_contact,
    distance_check,
    min_distance_ratio,
    reaction_check,
)
from laoc_flows.analysis.structure.survey import SurveyResult, survey
from laoc_flows.analysis.structure.tetrahedra import TETRAHEDRA, Tetrahedra, tetrahedra
from laoc_flows.analysis.suite import PARTS, Part, analyze
from laoc_flows.analysis.suite_results import Analysis, System
from laoc_flows.analysis.trajectories.frame import Frame, Result, StructureLike, as_frame
from laoc_flows.analysis.trajectories.paths import Drift, Paths, moving_average
from laoc_flows.analysis.trajectories.readers import FileFormat
from laoc_flows.analysis.trajectories.series import FrameSeries
from laoc_flows.analysis.trajectories.stream import TrajectoryFile
from laoc_flows.analysis.trajectories.trajectory import Trajectory
from laoc_flows.analysis.transport.collective import charge_displacement
from laoc_flows.analysis.transport.conductivity import ConductivityResult, conductivity, nernst_einstein
from laoc_flows.analysis.transport.diffusion import DiffusionResult, self_diffusion
from laoc_flows.analysis.transport.ensemble import CombinedResult, combine, combine_diffusion
from laoc_flows.analysis.transport.finite_size import FiniteSizeResult, finite_size
from laoc_flows.analysis.transport.haven import HavenResult, haven_ratio
from laoc_flows.analysis.transport.msd import (
    JUMP_LENGTH,
    DiffusiveWindow,
    MSDPerParticle,
    MSDResult,
    diffusive_window,
    msd,
    msd_per_particle,
)

__all__ = [
    "BOND_CUTOFFS",
    "CHAIN_CUTOFF",
    "DISTANCE_FLOORS",
    "HYSTERESIS",
    "JUMP_LENGTH",
    "MELT_THRESHOLD",
    "MIN_DISTANCE",
    "PARTS",
    "P_HOP_THRESHOLD",
    "REACTION_LIMITS",
    "TETRAHEDRA",
    "AmorphisationResult",
    "Analysis",
    "BondHistory",
    "BondPersistenceResult",
    "BondTable",
    "ChainResult",
    "ChainSeries",
    "CombinedResult",
    "Component",
    "ConductivityResult",
    "Contact",
    "ContactVerdict",
    "CouplingResult",
    "DiffusionResult",
    "DiffusiveWindow",
    "Drift",
    "DwellCurve",
    "Enrichment",
    "FileFormat",
    "FiniteSizeResult",
    "Frame",
    "FrameSeries",
    "GlassTransitionResult",
    "HavenResult",
    "HopClasses",
    "HopEvents",
    "HopMatrix",
    "HopResult",
    "HostChanges",
    "JumpDiffusion",
    "Link",
    "MSDPerParticle",
    "MSDResult",
    "Measured",
    "MeltVerdict",
    "MixingResult",
    "NetworkResult",
    "PHopResult",
    "PairList",
    "Part",
    "Paths",
    "PhaseMixture",
    "Rate",
    "RdfResult",
    "RdfsResult",
    "Result",
    "RingStatistics",
    "RotationEvents",
    "RotationResult",
    "RuleDisagreement",
    "Share",
    "Shell",
    "StructureFactorResult",
    "StructureLike",
    "SurveyResult",
    "Survival",
    "System",
    "TauCounts",
    "Tetrahedra",
    "TetrahedronMotion",
    "Trajectory",
    "TrajectoryFile",
    "amorphisation",
    "analyze",
    "as_frame",
    "block_average",
    "bond_history",
    "bond_persistence",
    "bonds",
    "chains",
    "charge_displacement",
    "closest_contact",
    "coincidences",
    "combine",
    "combine_diffusion",
    "conductivity",
    "coordination_number",
    "diffusive_window",
    "distance_check",
    "dwell_curve",
    "enrichment",
    "finite_size",
    "first_shell",
    "glass_transition",
    "haven_ratio",
    "hop_classes",
    "hop_matrix",
    "hops",
    "jump_diffusion",
    "melt_check",
    "min_distance_ratio",
    "mixing",
    "moving_average",
    "msd",
    "msd_per_particle",
    "nernst_einstein",
    "network",
    "p_hop",
    "pairs",
    "persistence_of",
    "phase_weighted",
    "poisson_rate",
    "rdf",
    "rdfs",
    "reaction_check",
    "rings",
    "rotation_hop_coupling",
    "rotations",
    "rotations_of",
    "rule_disagreement",
    "self_diffusion",
    "structure_factor",
    "survey",
    "tetrahedra",
    "tetrahedron_motion",
    "wilson_share",
]
