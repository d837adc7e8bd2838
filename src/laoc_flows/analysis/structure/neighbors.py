"""Neighbor search that knows images: a pair is always (i, j, image)."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from laoc_flows.analysis.structure.kernels import half_pairs
from laoc_flows.analysis.trajectories.frame import FloatArray, IntArray, StructureLike, as_frame
from laoc_flows.errors import InputError


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

    Examples
    --------
    One Li per cell of 3 A has six neighbors, all of them its own images.

    >>> from laoc_flows.analysis import Frame
    >>> near = pairs(Frame(("Li",), [[0.0, 0, 0]], [[3.0, 0, 0], [0, 3.0, 0], [0, 0, 3.0]]), "Li", "Li", 3.5)
    >>> near.image.tolist()
    [[-1, 0, 0], [0, -1, 0], [0, 0, -1], [0, 0, 1], [0, 1, 0], [1, 0, 0]]
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
    inside = np.zeros((2, frame.n_atoms), dtype=bool)
    inside[0, first], inside[1, second] = True, True
    # Classes 0 to 3: neither end, first end only, second end only, both.
    kinds = inside[0] + 2 * inside[1].astype(np.int64)
    ends = (np.arange(4) & 1) > 0, (np.arange(4) & 2) > 0
    wanted = np.outer(*ends) | np.outer(*ends).T
    i, j, image, distance = half_pairs(frame.positions, frame.cell, kinds, np.where(wanted, cutoff, 0.0))
    there, back = inside[0, i] & inside[1, j], inside[0, j] & inside[1, i]
    i, j = np.concatenate([i[there], j[back]]), np.concatenate([j[there], i[back]])
    image = np.concatenate([image[there], -image[back]])
    distance = np.concatenate([distance[there], distance[back]])
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
