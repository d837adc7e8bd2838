from .disorder.amorphisation import AmorphisationResult, amorphisation
from .disorder.glass_transition import GlassTransitionResult, glass_transition
from .disorder.melting import MELT_THRESHOLD, MeltVerdict, melt_check
from .events.bond_history import HYSTERESIS, BondHistory, bond_history
from .events.bond_persistence import (
    BondPersistenceResult,
    Survival,
    bond_persistence,
    persistence_of,
)
from .events.coupling import CouplingResult, coincidences, rotation_hop_coupling
from .events.hop_enrichment import Enrichment, JumpDiffusion, enrichment, jump_diffusion
from .events.hop_results import HopEvents, HopResult, TauCounts
from .events.hop_statistics import (
    DwellCurve,
    HopClasses,
    HopMatrix,
    dwell_curve,
    hop_classes,
    hop_matrix,
)
from .events.hops import MIN_DISTANCE, hops
from .events.ligand_hosts import HostChanges
from .events.p_hop import P_HOP_THRESHOLD, PHopResult, p_hop
from .events.rotation_results import RotationEvents, RotationResult
from .events.rotations import rotations, rotations_of
from .events.tetrahedron_motion import TetrahedronMotion, tetrahedron_motion
from .rates import Rate, Share, poisson_rate, wilson_share
from .scattering.phase_mixture import PhaseMixture, phase_weighted
from .scattering.structure_factor import StructureFactorResult, structure_factor
from .statistics import Measured, block_average
from .structure.bonds import BOND_CUTOFFS, BondTable, Link, bonds
from .structure.chain_series import ChainSeries
from .structure.chains import (
    CHAIN_CUTOFF,
    ChainResult,
    Component,
    RuleDisagreement,
    chains,
    rule_disagreement,
)
from .structure.mixing import MixingResult, mixing
from .structure.neighbors import PairList, pairs
from .structure.network import NetworkResult, network
from .structure.rdf import (
    RdfResult,
    RdfsResult,
    Shell,
    coordination_number,
    first_shell,
    rdf,
    rdfs,
)
from .structure.rings import RingStatistics, rings
from .structure.sanity import (
    DISTANCE_FLOORS,
    REACTION_LIMITS,
    Contact,
    ContactVerdict,
    closest_contact,
    distance_check,
    min_distance_ratio,
    reaction_check,
)
from .structure.survey import SurveyResult, survey
from .structure.tetrahedra import TETRAHEDRA, Tetrahedra, tetrahedra
from .suite import PARTS, Part, analyze
from .suite_results import Analysis, System
from .trajectories.frame import Frame, Result, StructureLike, as_frame
from .trajectories.paths import Drift, Paths, moving_average
from .trajectories.readers import FileFormat
from .trajectories.series import FrameSeries
from .trajectories.stream import TrajectoryFile
from .trajectories.trajectory import Trajectory
from .transport.collective import charge_displacement
from .transport.conductivity import ConductivityResult, conductivity, nernst_einstein
from .transport.diffusion import DiffusionResult, self_diffusion
from .transport.ensemble import CombinedResult, combine, combine_diffusion
from .transport.finite_size import FiniteSizeResult, finite_size
from .transport.haven import HavenResult, haven_ratio
from .transport.msd import (
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
