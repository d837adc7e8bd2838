"""Compiled loops over pairs of atoms, for every cell shape and every radius.

A frame of some thousand atoms is visited in a millisecond, which is what makes it possible to look at every frame
of a long run. The cells of the paper are smaller than twice the radii asked for, so images are counted one by one;
no minimum-image convention is used anywhere.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from laoc_flows.analysis.compiled import compiled
from laoc_flows.analysis.trajectories.frame import FloatArray, IntArray

_NO_HISTOGRAM, _NO_EDGES = np.zeros((1, 1, 1)), np.zeros(2)
_NO_PAIRS, _NO_DISTANCES = np.empty((0, 5), np.int64), np.empty(0)


@compiled
def _fractional(positions: FloatArray, inverse: FloatArray) -> FloatArray:
    """Return fractional coordinates; of an atom they have the same bits whatever other atoms come with it."""
    fractional = np.empty(positions.shape)
    for i in range(positions.shape[0]):
        for k in range(3):
            fractional[i, k] = (
                positions[i, 0] * inverse[0, k]
                + positions[i, 1] * inverse[1, k]
                + positions[i, 2] * inverse[2, k]
            )
    return fractional


@compiled
def _sort_into_bins(
    fractional: FloatArray, cell: FloatArray, size: IntArray
) -> tuple[IntArray, IntArray, FloatArray, IntArray]:
    """Return the first entry of every bin, and per entry the atom, its wrapped position and the cells taken off it."""
    n = fractional.shape[0]
    bins = np.empty(n, np.int64)
    whole = np.empty((n, 3), np.int64)
    start = np.zeros(size[0] * size[1] * size[2] + 1, np.int64)
    for i in range(n):
        number = 0
        for k in range(3):
            whole[i, k] = int(np.floor(fractional[i, k]))
            place = int((fractional[i, k] - whole[i, k]) * size[k])
            number = number * size[k] + min(place, size[k] - 1)
        bins[i] = number
        start[number + 1] += 1
    for k in range(start.shape[0] - 1):
        start[k + 1] += start[k]
    filled = start[:-1].copy()
    order = np.empty(n, np.int64)
    wrapped = np.empty((n, 3))
    shift = np.empty((n, 3), np.int64)
    for i in range(n):
        entry = filled[bins[i]]
        filled[bins[i]] += 1
        order[entry] = i
        for k in range(3):
            shift[entry, k] = whole[i, k]
            wrapped[entry, k] = (
                (fractional[i, 0] - whole[i, 0]) * cell[0, k]
                + (fractional[i, 1] - whole[i, 1]) * cell[1, k]
                + (fractional[i, 2] - whole[i, 2]) * cell[2, k]
            )
    return start, order, wrapped, shift


@compiled
def _visit(
    fractional: FloatArray,
    cell: FloatArray,
    size: IntArray,
    span: IntArray,
    kinds: IntArray,
    squares: FloatArray,
    histogram: FloatArray,
    bin_width: float,
    edges: FloatArray,
    found: IntArray,
    distances: FloatArray,
) -> int:
    """Visit every pair (i, j, image) once; collect as many as there is room for, or fill a histogram without room."""
    start, order, wrapped, shift = _sort_into_bins(fractional, cell, size)
    kind = kinds[order]
    n_bins = histogram.shape[2]
    largest = squares.max()
    capacity = distances.shape[0]
    count = 0
    for here in range(start.shape[0] - 1):
        first, last = start[here], start[here + 1]
        if first == last:
            continue
        at_c = here % size[2]
        at_b = (here // size[2]) % size[1]
        at_a = here // (size[2] * size[1])
        # Half of the offsets see every pair of bins once; the offset of zero sees every pair within a bin once.
        for da in range(span[0] + 1):
            na = (at_a + da) // size[0]
            for db in range(-span[1] if da > 0 else 0, span[1] + 1):
                nb = (at_b + db) // size[1]
                for dc in range(-span[2] if (da > 0 or db > 0) else 0, span[2] + 1):
                    nc = (at_c + dc) // size[2]
                    within = da == 0 and db == 0 and dc == 0
                    there = ((at_a + da - na * size[0]) * size[1] + at_b + db - nb * size[1]) * size[2]
                    there += at_c + dc - nc * size[2]
                    x = na * cell[0, 0] + nb * cell[1, 0] + nc * cell[2, 0]
                    y = na * cell[0, 1] + nb * cell[1, 1] + nc * cell[2, 1]
                    z = na * cell[0, 2] + nb * cell[1, 2] + nc * cell[2, 2]
                    for p in range(first, last):
                        px, py, pz = wrapped[p, 0], wrapped[p, 1], wrapped[p, 2]
                        for q in range(p + 1 if within else start[there], start[there + 1]):
                            # In this order a contact has the same length, to the bit, from either end.
                            dx = (wrapped[q, 0] - px) + x
                            dy = (wrapped[q, 1] - py) + y
                            dz = (wrapped[q, 2] - pz) + z
                            square = dx * dx + dy * dy + dz * dz
                            if square >= largest or square >= squares[kind[p], kind[q]]:
                                continue
                            if capacity == 0:
                                slot = min(int(np.sqrt(square) / bin_width), n_bins - 1)
                                # Rounding puts a distance on an edge to either side; the squares decide, as they
                                # do for a contact with a cutoff.
                                while square < edges[slot]:
                                    slot -= 1
                                while square >= edges[slot + 1]:
                                    slot += 1
                                histogram[kind[p], kind[q], slot] += 1
                                histogram[kind[q], kind[p], slot] += 1
                                continue
                            if count < capacity:
                                i, j = order[p], order[q]
                                ia = na + shift[p, 0] - shift[q, 0]
                                ib = nb + shift[p, 1] - shift[q, 1]
                                ic = nc + shift[p, 2] - shift[q, 2]
                                back = i > j or (
                                    i == j and (ia < 0 or (ia == 0 and (ib < 0 or (ib == 0 and ic < 0))))
                                )
                                found[count, 0] = j if back else i
                                found[count, 1] = i if back else j
                                found[count, 2] = -ia if back else ia
                                found[count, 3] = -ib if back else ib
                                found[count, 4] = -ic if back else ic
                                distances[count] = np.sqrt(square)
                            count += 1
    return count


def _grid(cell: FloatArray, reach: float, n_atoms: int, bins_per_radius: int) -> tuple[IntArray, IntArray]:
    """Return the number of bins along each axis, and over how many of them the radius reaches."""
    heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    # More bins than atoms only cost time.
    most = max(1, int(np.ceil(2 * n_atoms ** (1 / 3))))
    size = np.clip((bins_per_radius * heights / reach).astype(np.int64), 1, most)
    return size, np.ceil(reach * size / heights + 1e-9).astype(np.int64)


def half_pairs(
    positions: FloatArray, cell: FloatArray, kinds: IntArray, cutoffs: FloatArray
) -> tuple[IntArray, IntArray, IntArray, FloatArray]:
    """Find every contact once.

    Parameters
    ----------
    positions : ndarray, shape (n_atoms, 3)
        Cartesian positions, wrapped or not [A].
    cell : ndarray, shape (3, 3)
        Rows are a, b and c [A].
    kinds : ndarray of int, shape (n_atoms,)
        Class of every atom, a row of `cutoffs`.
    cutoffs : ndarray, shape (n_kinds, n_kinds)
        Symmetric; contacts of two classes have a distance strictly below it [A]; 0 for none at all.

    Returns
    -------
    i, j : ndarray of int, shape (n_pairs,)
        Ends, i <= j; for i = j the image's first nonzero component is positive.
    image : ndarray of int, shape (n_pairs, 3)
        The contact runs from ``r[i]`` to ``r[j] + image @ cell``.
    distance : ndarray, shape (n_pairs,)
        Its length [A].
    """
    reach = float(cutoffs.max(initial=0.0))
    wanted = np.flatnonzero(cutoffs.max(axis=1)[kinds] > 0) if reach > 0 else np.empty(0, np.int64)
    if wanted.size == 0:
        return wanted, wanted, np.empty((0, 3), np.int64), np.empty(0)
    cell = np.ascontiguousarray(cell, dtype=np.float64)
    fractional = _fractional(positions[wanted], np.linalg.inv(cell))
    size, span = _grid(cell, reach, wanted.size, 1)
    capacity = 8 * wanted.size + 64
    while True:
        found, distances = np.empty((capacity, 5), np.int64), np.empty(capacity)
        count = _visit(
            fractional,
            cell,
            size,
            span,
            kinds[wanted],
            cutoffs**2,
            _NO_HISTOGRAM,
            1.0,
            _NO_EDGES,
            found,
            distances,
        )
        if count <= capacity:
            break
        capacity = count
    found = found[:count]
    return wanted[found[:, 0]], wanted[found[:, 1]], found[:, 2:], distances[:count]


def bin_edges(bin_width: float, n_bins: int) -> FloatArray:
    """Return the edges of equal bins from zero on.

    Parameters
    ----------
    bin_width : float
        Width of a bin [A].
    n_bins : int
        Number of bins.

    Returns
    -------
    ndarray, shape (n_bins + 1,)
        Edges [A], rounded to 1e-9 A, so that a cutoff such as 4.2 A is an edge to the bit.
    """
    return np.asarray(np.round(bin_width * np.arange(n_bins + 1), 9))


def add_distances(
    histogram: npt.NDArray[np.float64],
    positions: FloatArray,
    cell: FloatArray,
    kinds: IntArray,
    bin_width: float,
) -> None:
    """Count the distances of one frame, both directions of every contact, into a histogram.

    Parameters
    ----------
    histogram : ndarray, shape (n_kinds, n_kinds, n_bins)
        Counts by class of either end and bin; changed in place. Its last edge is the radius.
    positions : ndarray, shape (n_atoms, 3)
        Cartesian positions, wrapped or not [A].
    cell : ndarray, shape (3, 3)
        Rows are a, b and c [A].
    kinds : ndarray of int, shape (n_atoms,)
        Class of every atom; negative ones are left out.
    bin_width : float
        Width of a bin [A]; bin k holds ``edges[k] <= r < edges[k + 1]`` of `bin_edges`.
    """
    inside = np.flatnonzero(kinds >= 0)
    if inside.size == 0:
        return
    cell = np.ascontiguousarray(cell, dtype=np.float64)
    squares = bin_edges(bin_width, histogram.shape[2]) ** 2
    size, span = _grid(cell, float(np.sqrt(squares[-1])), inside.size, 2)
    _visit(
        _fractional(positions[inside], np.linalg.inv(cell)),
        cell,
        size,
        span,
        kinds[inside],
        np.full(histogram.shape[:2], squares[-1]),
        histogram,
        bin_width,
        squares,
        _NO_PAIRS,
        _NO_DISTANCES,
    )
