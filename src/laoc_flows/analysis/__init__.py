"""Pure functions from structures and trajectories to typed results."""

from laoc_flows.analysis.bonds import BOND_CUTOFFS, BondTable, Link, bonds
from laoc_flows.analysis.chains import (
    CHAIN_CUTOFF,
    ChainResult,
    Component,
    RuleDisagreement,
    chains,
    rule_disagreement,
)
from laoc_flows.analysis.frame import Frame, Result, StructureLike, as_frame
from laoc_flows.analysis.msd import JUMP_LENGTH, DiffusiveWindow, MSDResult, diffusive_window, msd
from laoc_flows.analysis.neighbors import PairList, pairs
from laoc_flows.analysis.paths import Drift, Paths, moving_average
from laoc_flows.analysis.rdf import RdfResult, Shell, coordination_number, first_shell, rdf
from laoc_flows.analysis.sanity import (
    DISTANCE_FLOORS,
    MELT_THRESHOLD,
    REACTION_LIMITS,
    Contact,
    ContactVerdict,
    MeltVerdict,
    closest_contact,
    distance_check,
    melt_check,
    min_distance_ratio,
    reaction_check,
)
from laoc_flows.analysis.statistics import Measured, block_average
from laoc_flows.analysis.tetrahedra import TETRAHEDRA, Tetrahedra, tetrahedra
from laoc_flows.analysis.trajectory import FrameSeries, Trajectory

__all__ = [
    "BOND_CUTOFFS",
    "CHAIN_CUTOFF",
    "DISTANCE_FLOORS",
    "JUMP_LENGTH",
    "MELT_THRESHOLD",
    "REACTION_LIMITS",
    "TETRAHEDRA",
    "BondTable",
    "ChainResult",
    "Component",
    "Contact",
    "ContactVerdict",
    "DiffusiveWindow",
    "Drift",
    "Frame",
    "FrameSeries",
    "Link",
    "MSDResult",
    "Measured",
    "MeltVerdict",
    "PairList",
    "Paths",
    "RdfResult",
    "Result",
    "RuleDisagreement",
    "Shell",
    "StructureLike",
    "Tetrahedra",
    "Trajectory",
    "as_frame",
    "block_average",
    "bonds",
    "chains",
    "closest_contact",
    "coordination_number",
    "diffusive_window",
    "distance_check",
    "first_shell",
    "melt_check",
    "min_distance_ratio",
    "moving_average",
    "msd",
    "pairs",
    "rdf",
    "reaction_check",
    "rule_disagreement",
    "tetrahedra",
]
