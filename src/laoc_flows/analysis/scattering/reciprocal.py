"""Reciprocal vectors of a periodic cell, and the waves that its atoms scatter into them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from laoc_flows.analysis.compiled import compiled
from laoc_flows.analysis.trajectories.frame import FloatArray, IntArray

_MARGIN = 4.0
_ATOMS = 128


class Vectors(NamedTuple):
    """Reciprocal vectors in shells of equal width, one of each pair G, -G.

    Parameters
    ----------
    hkl : ndarray of int, shape (n, 3)
        Integer components.
    q : ndarray, shape (n,)
        Lengths, with the factor 2 pi [A^-1].
    shell : ndarray of int, shape (n,)
        Shell k holds ``k q_width <= q < (k + 1) q_width``; ascending.
    available : ndarray of int, shape (n_shells,)
        How many vectors the cell has in every shell, of which no more than a limit were taken.
    """

    hkl: IntArray
    q: FloatArray
    shell: IntArray
    available: IntArray


def reciprocal_vectors(
    cell: FloatArray, q_max: float, q_width: float = 0.05, max_vectors: int | None = None, seed: int = 0
) -> Vectors:
    """Find the reciprocal vectors of a cell up to a length.

    Parameters
    ----------
    cell : ndarray, shape (3, 3)
        Rows are a, b and c [A].
    q_max : float
        Largest length [A^-1], itself included.
    q_width : float, default 0.05
        Width of a shell [A^-1].
    max_vectors : int or None
        How many vectors to take from a shell at most, at random; all for None.
    seed : int, default 0
        Seed of the choice.

    Returns
    -------
    Vectors
        Sorted by shell, then by h, k and l. Memory is bounded by the number of vectors that are taken.

    Examples
    --------
    >>> vectors = reciprocal_vectors(2 * np.pi * np.eye(3), 1.5)
    >>> vectors.hkl.tolist()
    [[0, 0, 1], [0, 1, 0], [1, 0, 0], [0, 1, -1], [0, 1, 1], [1, -1, 0], [1, 0, -1], [1, 0, 1], [1, 1, 0]]
    """
    limit = q_max * (1 + 1e-9)
    inverse = 2 * np.pi * np.linalg.inv(cell)
    # |h| = |G . a| / 2 pi cannot exceed |G| |a| / 2 pi.
    most = np.floor(limit * np.linalg.norm(cell, axis=1) / (2 * np.pi)).astype(np.int64)
    n_shells = int(limit / q_width + 1e-9) + 1
    available = np.zeros(n_shells, dtype=np.int64)
    centers = q_width * (np.arange(n_shells) + 0.5)
    expected = abs(np.linalg.det(cell)) * centers**2 * q_width / (4 * np.pi**2)
    # Shells far too full are thinned as they come, so that a large cell does not need memory for all its vectors.
    keep = np.ones(n_shells) if max_vectors is None else np.minimum(1, _MARGIN * max_vectors / expected)
    rng = np.random.default_rng(seed)
    parts: list[tuple[IntArray, FloatArray, IntArray, FloatArray]] = []
    plane = np.stack(
        np.meshgrid(np.arange(-most[1], most[1] + 1), np.arange(-most[2], most[2] + 1), indexing="ij"),
        axis=-1,
    ).reshape(-1, 2)
    for h in range(most[0] + 1):
        hkl = np.column_stack([np.full(len(plane), h), plane])
        if h == 0:
            hkl = hkl[(plane[:, 0] > 0) | ((plane[:, 0] == 0) & (plane[:, 1] > 0))]
        q = np.linalg.norm(hkl @ inverse.T, axis=1)
        hkl, q = hkl[q <= limit], q[q <= limit]
        shell = (q / q_width + 1e-9).astype(np.int64)
        available += np.bincount(shell, minlength=n_shells)
        draw = rng.random(q.size)
        chosen = draw <= keep[shell]
        parts.append((hkl[chosen], q[chosen], shell[chosen], draw[chosen]))
    hkl, q, shell, draw = (np.concatenate([part[k] for part in parts]) for k in range(4))
    if max_vectors is not None:
        order = np.lexsort((draw, shell))
        first = np.searchsorted(shell[order], np.arange(n_shells))
        rank = np.arange(q.size) - first[shell[order]]
        taken = order[rank < max_vectors]
        hkl, q, shell = hkl[taken], q[taken], shell[taken]
    order = np.lexsort((hkl[:, 2], hkl[:, 1], hkl[:, 0], shell))
    return Vectors(hkl[order], q[order], shell[order], available)


@compiled(fastmath=True)
def _powers(fractional: FloatArray, most: int) -> tuple[FloatArray, FloatArray]:
    """Return cos and sin of 2 pi h s for h = 0 .. most."""
    n = fractional.shape[0]
    cosine, sine = np.empty((most + 1, n)), np.empty((most + 1, n))
    for i in range(n):
        cosine[0, i], sine[0, i] = 1.0, 0.0
    if most > 0:
        for i in range(n):
            angle = 2 * np.pi * (fractional[i] - np.floor(fractional[i]))
            cosine[1, i], sine[1, i] = np.cos(angle), np.sin(angle)
    for h in range(2, most + 1):
        for i in range(n):
            cosine[h, i] = cosine[h - 1, i] * cosine[1, i] - sine[h - 1, i] * sine[1, i]
            sine[h, i] = sine[h - 1, i] * cosine[1, i] + cosine[h - 1, i] * sine[1, i]
    return cosine, sine


@compiled(fastmath=True)
def waves(fractional: FloatArray, start: IntArray, hkl: IntArray) -> tuple[FloatArray, FloatArray]:
    """Sum the waves of every class of atoms.

    Parameters
    ----------
    fractional : ndarray, shape (n_atoms, 3)
        Fractional coordinates, sorted by class.
    start : ndarray of int, shape (n_kinds + 1,)
        First atom of every class, and the end of the last.
    hkl : ndarray of int, shape (n, 3)
        Reciprocal vectors.

    Returns
    -------
    real, imaginary : ndarray, shape (n, n_kinds)
        Parts of ``sum_j exp(2 pi i hkl . s_j)`` over the atoms of a class.

    Examples
    --------
    >>> real, imaginary = waves(np.array([[0.0, 0, 0], [0.25, 0, 0]]), np.array([0, 1, 2]), np.array([[1, 0, 0]]))
    >>> real.round(9).tolist(), imaginary.round(9).tolist()
    ([[1.0, 0.0]], [[0.0, 1.0]])
    """
    n_kinds = start.shape[0] - 1
    real, imaginary = np.zeros((hkl.shape[0], n_kinds)), np.zeros((hkl.shape[0], n_kinds))
    most = [np.abs(hkl[:, axis]).max() for axis in range(3)]
    for kind in range(n_kinds):
        # The tables of a few atoms stay in the cache while all vectors pass by.
        for first in range(start[kind], start[kind + 1], _ATOMS):
            last = min(first + _ATOMS, start[kind + 1])
            cx, sx = _powers(fractional[first:last, 0].copy(), most[0])
            cy, sy = _powers(fractional[first:last, 1].copy(), most[1])
            cz, sz = _powers(fractional[first:last, 2].copy(), most[2])
            for v in range(hkl.shape[0]):
                h, k, m = hkl[v, 0], hkl[v, 1], hkl[v, 2]
                c1, s1, sign_1 = cx[abs(h)], sx[abs(h)], 1.0 if h >= 0 else -1.0
                c2, s2, sign_2 = cy[abs(k)], sy[abs(k)], 1.0 if k >= 0 else -1.0
                c3, s3, sign_3 = cz[abs(m)], sz[abs(m)], 1.0 if m >= 0 else -1.0
                re, im = 0.0, 0.0
                for i in range(last - first):
                    y1, y2, y3 = sign_1 * s1[i], sign_2 * s2[i], sign_3 * s3[i]
                    x = c1[i] * c2[i] - y1 * y2
                    y = c1[i] * y2 + y1 * c2[i]
                    re += x * c3[i] - y * y3
                    im += x * y3 + y * c3[i]
                real[v, kind] += re
                imaginary[v, kind] += im
    return real, imaginary
