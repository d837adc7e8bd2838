"""What a comparison with a peer is, and a run in the forms that peers work on.

Every side gets the run in its own form (arrays, a universe, a list of structures), made beforehand and not timed. What
a note does not mention is the same on both sides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import MDAnalysis
import numpy as np
from pymatgen.core import Lattice, Structure

from laoc_flows.analysis import Trajectory
from laoc_flows.analysis.trajectories.frame import FloatArray

PACKAGES = (
    "laoc-flows",
    "numpy",
    "scipy",
    "numba",
    "tidynamics",
    "MDAnalysis",
    "pymatgen",
    "pymatgen-analysis-diffusion",
    "kinisi",
    "GEMDAT",
    "freud-analysis",
    "networkx",
)
"""Whose versions are reported."""
SINGLE = 2e-4
"""Relative tolerance in single precision."""
DOUBLE = 1e-8
"""Relative tolerance in double precision."""


@dataclass(frozen=True)
class Case:
    """One quantity, by us and by one peer."""

    quantity: str
    peer: str
    n_frames: int
    ours: Callable[[], Any]
    theirs: Callable[[], Any]
    difference: Callable[[Any, Any], float]
    tolerance: float
    note: str


@dataclass(frozen=True)
class Sizes:
    """How many frames each kind of case takes; peers that make an object per atom or pair take few."""

    msd: int
    structures: int
    rdf: int
    loop: int


def structures_of(run: Trajectory) -> list[Structure]:
    """Return the frames as pymatgen structures."""
    lattice = Lattice(run.cells[0])
    return [Structure(lattice, run.species, x, coords_are_cartesian=True) for x in run.positions]


def universe_of(run: Trajectory, positions: FloatArray) -> Any:
    """Return an MDAnalysis universe in memory, in single precision as it has it."""
    universe = MDAnalysis.Universe.empty(run.n_atoms, trajectory=True)
    universe.add_TopologyAttr("name", run.species)
    box = [*np.diag(run.cells[0]), 90, 90, 90]
    universe.load_new(positions.astype(np.float32), order="fac", dimensions=box)
    return universe
