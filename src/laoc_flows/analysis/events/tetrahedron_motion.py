"""What the ligands of one center did together: one jumped, all tumbled, or equal ones changed places."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import scipy

from laoc_flows.analysis.trajectories.frame import FloatArray
from laoc_flows.errors import InputError

MotionKind: TypeAlias = Literal["single", "tumbling", "permutation", "mixed"]

MOTION_KINDS: tuple[MotionKind, ...] = ("single", "tumbling", "permutation", "mixed")
MAGIC_ANGLE = 54.7
"""A ligand has turned when its direction changed by more than this [deg]: half of a tetrahedral angle."""
TOLERANCE = 25.0
"""Directions that differ by less than this [deg] are the same, up to vibrations."""


class TetrahedronMotion(NamedTuple):
    """How a set of directions went over into another.

    Parameters
    ----------
    kind : {"single", "tumbling", "permutation", "mixed"}
        The motion.
    n_moved : int
        Directions that changed by `tolerance` or more.
    rotation_angle : float
        Angle of the best proper rotation of all directions [deg].
    residual : float
        Largest angle [deg] that the best proper rotation leaves.
    permuted_residual : float
        Largest angle [deg] that is left when equal ligands are exchanged in the best way, without any rotation.
    """

    kind: MotionKind
    n_moved: int
    rotation_angle: float
    residual: float
    permuted_residual: float


def tetrahedron_motion(
    before: npt.ArrayLike,
    after: npt.ArrayLike,
    species: Sequence[str],
    angle: float = MAGIC_ANGLE,
    tolerance: float = TOLERANCE,
) -> TetrahedronMotion:
    """Tell a single jump, a rigid tumbling and a permutation of the ligands of a center apart.

    Parameters
    ----------
    before, after : array_like, shape (n, 3)
        Vectors from the center to each of its ligands, in the same order; their lengths do not matter.
    species : sequence of str, shape (n,)
        Elements of the ligands; only equal ones are exchanged.
    angle : float, default 54.7
        Smallest rotation [deg] that is a tumbling.
    tolerance : float, default 25
        Directions that differ by less are the same, up to vibrations [deg].

    Returns
    -------
    TetrahedronMotion
        ``"single"``: one direction changed at most; ``"permutation"``: the directions are those of before, but equal
        ligands changed places; ``"tumbling"``: one proper rotation of all explains every direction; ``"mixed"``:
        none of these.

    Raises
    ------
    InputError
        When shapes disagree, there is no ligand, or a vector has no length.

    Notes
    -----
    The rotation is the one of Kabsch, Acta Cryst. A 32, 922 (1976). Only the two ends of the motion are compared. A
    tumbling by a symmetry operation of the tetrahedron that maps equal ligands on each other (120 degrees about a bond
    of AlCl4, say) ends where a permutation ends, and is called one; about a bond of AlOCl3 other than Al-O it
    is no such operation, and a tumbling. Any two directions can be turned into two others with the same angle between
    them, so that with two ligands everything that moves both, and keeps their angle, is a tumbling.

    Examples
    --------
    >>> import numpy as np
    >>> legs = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    >>> quarter = legs @ np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]])
    >>> tetrahedron_motion(legs, quarter, ["Cl"] * 4).kind
    'tumbling'
    >>> tetrahedron_motion(legs, legs[[1, 0, 2, 3]], ["Cl"] * 4).kind
    'permutation'
    """
    b, a = _directions(before), _directions(after)
    if a.shape != b.shape or len(species) != len(b) or not len(b):
        message = f"{b.shape} directions before, {a.shape} after and {len(species)} elements do not fit"
        raise InputError(message)
    moved = _angles(b, a)
    n_moved = int((moved >= tolerance).sum())
    rotation, residual = _rotation(b, a)
    permuted = _permuted_residual(b, a, species) if n_moved > 1 else float(moved.max())
    kind: MotionKind = "mixed"
    if n_moved <= 1:
        kind = "single"
    elif permuted < tolerance:
        kind = "permutation"
    elif residual < tolerance and rotation > angle:
        kind = "tumbling"
    return TetrahedronMotion(kind, n_moved, rotation, residual, permuted)


def _directions(vectors: npt.ArrayLike) -> FloatArray:
    array = np.asarray(vectors, dtype=np.float64).reshape(-1, 3)
    length = np.linalg.norm(array, axis=1, keepdims=True)
    if not (np.isfinite(array).all() and (length > 0).all()):
        message = "a vector from the center to a ligand has no direction"
        raise InputError(message)
    return np.asarray(array / length)


def _angles(one: FloatArray, other: FloatArray) -> FloatArray:
    """Return the angles between paired unit vectors [deg]."""
    return np.asarray(np.degrees(np.arccos(np.clip((one * other).sum(axis=-1), -1, 1))))


def _rotation(before: FloatArray, after: FloatArray) -> tuple[float, float]:
    """Return the angle of the best proper rotation and the largest angle that it leaves [deg]."""
    if len(before) == 1:
        return float(_angles(before, after)[0]), 0.0
    # Two directions on one line leave the rotation about it free; any will do, and SciPy says so.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        best, _ = scipy.spatial.transform.Rotation.align_vectors(after, before)
    return float(np.degrees(best.magnitude())), float(_angles(best.apply(before), after).max())


def _permuted_residual(before: FloatArray, after: FloatArray, species: Sequence[str]) -> float:
    """Return the largest angle left by the best exchange of equal ligands [deg]."""
    groups = [[k for k, s in enumerate(species) if s == symbol] for symbol in sorted(set(species))]
    largest = 0.0
    for group in groups:
        left = np.degrees(np.arccos(np.clip(before[group] @ after[group].T, -1, 1)))
        largest = max(largest, float(left[scipy.optimize.linear_sum_assignment(left**2)].max()))
    return largest
