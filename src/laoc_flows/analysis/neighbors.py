"""Neighbor search that knows images: a pair is always (i, j, image)."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from pymatgen.optimization.neighbors import find_points_in_spheres

from laoc_flows.analysis.frame import FloatArray, IntArray, StructureLike, as_frame
from laoc_flows.errors import InputError

_MARGIN = 1e-6


class PairList(NamedTuple):
    """Contacts of a frame, sorted by i, j and image.

    Parameters
    ----------
    i, j : ndarray of int, shape (n_pairs,)
        Indices of the two atoms in the frame.
    image : ndarray of int, shape (n_pairs, 3)
        The contact runs from ``r[i]`` to ``r[j] + image @ cell``, positions as given (not wrapped).
    distance : ndarray of float, shape (n_pairs,)
        Its length [A].
    """

    i: IntArray
    j: IntArray
    image: IntArray
    distance: FloatArray


def pairs(frame: StructureLike, a: str | None, b: str | None, cutoff: float) -> PairList:
    """Find all contacts from atoms of element a to atoms of element b that are shorter than a cutoff.

    For ``a != b`` every contact appears once, i of element a and j of element b. For ``a == b`` every contact
    appears in both directions, as (i, j, n) and (j, i, -n). An atom and its own periodic images are contacts,
    an atom and itself are not. The cutoff may exceed half the cell; all images within it are returned.

    Parameters
    ----------
    frame : Frame, ase.Atoms or pymatgen.core.Structure
        The structure, triclinic or not.
    a, b : str or None
        Element symbols of the two ends; None stands for every atom.
    cutoff : float
        Contacts have a distance strictly below it [A].

    Returns
    -------
    PairList
        Empty when one of the elements is absent.

    Raises
    ------
    InputError
        When the cutoff is not a positive number.
    """
    if not (math.isfinite(cutoff) and cutoff > 0):
        message = f"the cutoff is {cutoff} A, not a positive number"
        raise InputError(message)
    frame = as_frame(frame)
    everything = np.arange(frame.n_atoms)
    first, second = (everything if end is None else frame.indices(end) for end in (a, b))
    if first.size == 0 or second.size == 0:
        none = np.empty(0, dtype=np.int64)
        return PairList(none, none, np.empty((0, 3), dtype=np.int64), np.empty(0))
    fractional = frame.positions @ np.linalg.inv(frame.cell)
    shift = np.floor(fractional).astype(np.int64)
    wrapped = frame.positions - shift @ frame.cell
    center, other, offset, _ = find_points_in_spheres(
        all_coords=np.ascontiguousarray(wrapped[second]),
        center_coords=np.ascontiguousarray(wrapped[first]),
        r=cutoff + _MARGIN,
        pbc=np.ones(3, dtype=np.int64),
        lattice=np.array(frame.cell),
        tol=1e-8,
    )
    i, j = first[center], second[other]
    image = np.rint(offset).astype(np.int64) + shift[i] - shift[j]
    # Recomputed, so that a distance does not depend on the search radius and both directions agree to the bit.
    distance = np.linalg.norm(frame.positions[j] - frame.positions[i] + image @ frame.cell, axis=1)
    keep = (distance < cutoff) & ((i != j) | image.any(axis=1))
    i, j, image, distance = i[keep], j[keep], image[keep], distance[keep]
    order = np.lexsort((image[:, 2], image[:, 1], image[:, 0], j, i))
    return PairList(i[order], j[order], image[order], distance[order])


def canonical(i: int, j: int, image: tuple[int, int, int]) -> tuple[int, int, tuple[int, int, int]]:
    """Return the one of the two directions of a contact that stands for both.

    Parameters
    ----------
    i, j : int
        The two atoms.
    image : tuple of int, shape (3,)
        Image of j.

    Returns
    -------
    tuple
        (i, j, image) with i < j, or with i == j and the first nonzero component of the image positive.
    """
    back = (-image[0], -image[1], -image[2])
    return min((i, j, image), (j, i, back)) if i != j else (i, i, max(image, back))
