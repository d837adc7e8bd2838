"""Whether a run has melted its cell: how far its atoms have moved, and what is left of its Bragg order."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from pydantic import Field

from laoc_flows.analysis.scattering.reciprocal import reciprocal_vectors, waves
from laoc_flows.analysis.statistics import block_average
from laoc_flows.analysis.trajectories.frame import FloatArray, IntArray, Result, species_indices
from laoc_flows.analysis.trajectories.paths import CARRIER, Drift
from laoc_flows.analysis.trajectories.sampling import evenly_spread
from laoc_flows.analysis.trajectories.trajectory import Trajectory

MELT_SPECIES = ("Al", "Cl")
MELT_THRESHOLD = 10.0
"""A melt has moved its Al and its Cl by more than this mean squared displacement [A^2]."""
BRAGG_THRESHOLD = 0.5
"""A melt has kept less than this of the amplitude of its Bragg peaks [1]."""

_Q_MAX = 3.0
_N_VECTORS = 10
_MAX_FLOOR = 0.25
_MAX_FRAMES = 200
_ERRORS = 3.0


class MeltVerdict(Result):
    """Whether a run has melted its cell."""

    passed: bool = Field(
        description="True when every element present has moved further than the threshold and the Bragg order of "
        "the start is gone, or was never there."
    )
    threshold: float = Field(description="Mean squared displacement that is needed [A^2].")
    displacement: dict[str, float] = Field(
        description="Al and Cl, where present, to their mean squared displacement, first to last frame [A^2]."
    )
    elapsed: float = Field(description="Time between the two frames [ps].", ge=0)
    bragg: float | None = Field(
        None,
        description="Bragg order left in the last third, relative to the first frame: 1 as at the start, 0 none [1]; "
        "None where the first frame has no more of it than so few disordered atoms have by chance.",
    )
    bragg_error: float | None = Field(
        None,
        description="Standard error of the intensity behind `bragg`, relative to that of the first frame [1].",
    )
    reason: str = Field(description="The verdict in words.")


class _Bragg(NamedTuple):
    order: float
    error: float
    ordered: bool


def melt_check(
    trajectory: Trajectory,
    threshold: float = MELT_THRESHOLD,
    drift: Drift = "framework",
    *,
    bragg_threshold: float = BRAGG_THRESHOLD,
) -> MeltVerdict:
    """Decide whether a run has melted its cell.

    Parameters
    ----------
    trajectory : Trajectory
        The melt, first to last frame. In a varying cell displacements are taken in the mean cell.
    threshold : float, default 10.0
        Mean squared displacement that both Al and Cl must exceed [A^2].
    drift : {"framework", "com", "none"}, default "framework"
        What is held at rest.
    bragg_threshold : float, default 0.5
        Share of the amplitude of the Bragg peaks that may be left [1].

    Returns
    -------
    MeltVerdict
        Not passed when there is one frame only, or neither Al nor Cl.

    Raises
    ------
    TrajectoryError
        When the positions cannot be unwrapped.

    Notes
    -----
    Atoms of a superionic crystal wander from site to site: they move far, and the sites stay. So the intensity
    ``|S(G)|^2``, with ``S(G) = sum_j exp(i G . r_j) / N`` over all atoms but Li, of the strongest vectors up to
    3 A^-1 in the first frame is averaged over the last third of the run: R is its ratio to that of the first frame.
    No drift and no translation changes it. N uncorrelated atoms have 1 / N, a share f of that of the first
    frame; `bragg` is ``sqrt((R - f) / (1 - f))``. With f of a quarter or more, as in a random packing of twenty atoms, whose
    strongest vectors are chance, there is nothing to lose and it is None: the displacement decides.

    The verdict leaves room for noise. Order counts as left only if R less three standard errors is above what
    `bragg_threshold` allows; the error holds the scatter of block means and the speckle of disordered atoms. Cells
    of 24 to 96 atoms of an ionic model of LiAlCl4 have a `bragg` of 0.1 to 0.4 once they have melted; crystals near
    melting have 0.6 to 0.95.

    Examples
    --------
    >>> from laoc_flows.analysis import Trajectory
    >>> positions = np.zeros((9, 3, 3))
    >>> positions[:, 2, 0] = np.arange(9)  # one Cl leaves
    >>> run = Trajectory(("Al", "Cl", "Cl"), positions, 9.0 * np.eye(3), time_step=0.1)
    >>> verdict = melt_check(run, drift="none")
    >>> verdict.passed, verdict.displacement
    (False, {'Al': 0.0, 'Cl': 32.0})

    Atoms that change places with their neighbors, again and again, move, but melt nothing:

    >>> sites = 3.0 * np.indices((4, 4, 4)).reshape(3, -1).T
    >>> along = np.arange(30.0)[:, None, None] * np.array([3.0, 0, 0])
    >>> rows = np.where(sites[:, 1] % 2 == 0, 1, -1)[:, None]  # every other row moves the other way
    >>> hopping = Trajectory(("Al", "Cl") * 32, sites + along * rows, 12.0 * np.eye(3), time_step=0.1)
    >>> verdict = melt_check(hopping)
    >>> verdict.passed, min(verdict.displacement.values()) > 1000, round(verdict.bragg, 6)
    (False, True, 1.0)
    """
    present = [symbol for symbol in MELT_SPECIES if symbol in trajectory.species]
    elapsed = (trajectory.n_frames - 1) * trajectory.time_step
    displacement: dict[str, float] = {}
    bragg = None
    if trajectory.n_frames > 1 and present:
        positions = trajectory.unwrapped(drift)
        fractional = [positions[k] @ np.linalg.inv(trajectory.cells[k]) for k in (-1, 0)]
        moved = (fractional[0] - fractional[1]) @ trajectory.cells.mean(axis=0)
        squared = (moved**2).sum(axis=1)
        displacement = {s: float(squared[species_indices(trajectory.species, s)].mean()) for s in present}
        bragg = _bragg(trajectory, bragg_threshold)
    solid = [symbol for symbol, value in displacement.items() if value <= threshold]
    numbers = ", ".join(f"{symbol} {value:.3g} A^2" for symbol, value in displacement.items())
    left = "" if bragg is None else f", {100 * bragg.order:.0f} % of the Bragg order left"
    if not displacement:
        reason = "nothing to judge: one frame, or neither Al nor Cl"
    elif solid:
        reason = (
            f"not melted: {' and '.join(solid)} moved by no more than {threshold:g} A^2 in {elapsed:g} ps "
            f"({numbers}{left})"
        )
    elif bragg is not None and bragg.ordered:
        reason = (
            f"not melted: the atoms moved in {elapsed:g} ps ({numbers}), but {100 * bragg.order:.0f} % of the Bragg "
            f"order of the start is left, more than {100 * bragg_threshold:.0f} %"
        )
    else:
        reason = f"melted: more than {threshold:g} A^2 in {elapsed:g} ps ({numbers}{left})"
    return MeltVerdict(
        passed=bool(displacement) and not solid and not (bragg is not None and bragg.ordered),
        threshold=threshold,
        displacement=displacement,
        elapsed=elapsed,
        bragg=None if bragg is None else bragg.order,
        bragg_error=None if bragg is None else bragg.error,
        reason=reason,
    )


def _bragg(trajectory: Trajectory, threshold: float) -> _Bragg | None:
    """Bragg order left in the last third; None where the first frame has none to lose."""
    atoms = np.flatnonzero(np.array(trajectory.species) != CARRIER)
    vectors = reciprocal_vectors(trajectory.cells[0], _Q_MAX)
    if not vectors.q.size:
        return None
    start = _intensity(trajectory, 0, atoms, vectors.hkl)
    # Rounded, so that of equally strong ones the shortest come first, whatever the last digit says.
    best = np.lexsort((np.arange(start.size), -np.round(start, 9)))[:_N_VECTORS]
    # Weak ones would only add the noise of disorder.
    best = best[start[best] >= start[best[0]] / 2]
    strength = float(start[best].mean())
    floor = 1.0 / (atoms.size * strength)
    if not floor < _MAX_FLOOR:
        return None
    n_last = max(1, trajectory.n_frames // 3)
    last = trajectory.n_frames - n_last + evenly_spread(n_last, _MAX_FRAMES)
    ratios = [_intensity(trajectory, int(k), atoms, vectors.hkl[best]).mean() / strength for k in last]
    ratio = block_average(ratios, "1")
    # Disordered atoms scatter speckle: of one vector in one independent frame it is as large as its mean.
    speckle = floor / np.sqrt(best.size * ratio.n_independent)
    error = float(np.hypot(ratio.standard_error or 0.0, speckle))
    limit = floor + (1 - floor) * threshold**2
    order = np.sqrt(max(0.0, (ratio.value - floor) / (1 - floor)))
    return _Bragg(float(order), error, bool(ratio.value - _ERRORS * error > limit))


def _intensity(trajectory: Trajectory, frame: int, atoms: IntArray, hkl: IntArray) -> FloatArray:
    """Return |S(G)|^2 per squared number of atoms, for every vector."""
    fractional = trajectory.positions[frame][atoms] @ np.linalg.inv(trajectory.cells[frame])
    real, imaginary = waves(fractional, np.array([0, atoms.size]), hkl)
    return np.asarray((real[:, 0] ** 2 + imaginary[:, 0] ** 2) / atoms.size**2)
