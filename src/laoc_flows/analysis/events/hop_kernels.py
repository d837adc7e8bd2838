"""Compiled loops of the hop analysis: hosts, dwells, and chains that know their periodic copies."""

from __future__ import annotations

import numpy as np

from laoc_flows.analysis.compiled import compiled
from laoc_flows.analysis.trajectories.frame import FloatArray, IntArray

OTHER, CENTER, CARRIER, LIGAND = 0, 1, 2, 3
"""Roles of atoms; the k-th ligand element has the role ``LIGAND + k``."""
NO_HOST = -1
MAX_IMAGE = 4095
"""Largest component of an image that a host code holds."""
RADIX = 1024
"""Ligands of one element around a center are fewer than this."""

_BASE = 8192
_TIE = 1e-9


@compiled
def host_code(center: int, a: int, b: int, c: int) -> int:
    """Pack a center and its lattice image into one number."""
    shift = MAX_IMAGE + 1
    return ((center * _BASE + a + shift) * _BASE + b + shift) * _BASE + c + shift


def decode(codes: IntArray) -> tuple[IntArray, IntArray]:
    """Unpack host codes.

    Parameters
    ----------
    codes : ndarray of int, shape (n,)
        From `host_code`.

    Returns
    -------
    center : ndarray of int, shape (n,)
        Atom indices.
    image : ndarray of int, shape (n, 3)
        Lattice images.
    """
    digits = np.stack([codes // _BASE**2, codes // _BASE, codes], axis=-1) % _BASE
    return codes // _BASE**3, digits - MAX_IMAGE - 1


@compiled
def bonded_centers(
    i: IntArray, j: IntArray, image: IntArray, roles: IntArray
) -> tuple[IntArray, IntArray, IntArray]:
    """List the centers of every ligand.

    Parameters
    ----------
    i, j, image : ndarray of int, shapes (n_pairs,), (n_pairs,) and (n_pairs, 3)
        Contacts; those between a center and a ligand are bonds.
    roles : ndarray of int, shape (n_atoms,)
        Role of every atom.

    Returns
    -------
    start : ndarray of int, shape (n_atoms + 1,)
        The bonds of atom k are the rows ``start[k] <= q < start[k + 1]``.
    center : ndarray of int, shape (n_bonds,)
        Atom index of the center.
    back : ndarray of int, shape (n_bonds, 3)
        Image of the center, seen from the ligand.
    """
    start = np.zeros(roles.shape[0] + 1, np.int64)
    for p in range(i.shape[0]):
        if roles[i[p]] == CENTER and roles[j[p]] >= LIGAND:
            start[j[p] + 1] += 1
        elif roles[j[p]] == CENTER and roles[i[p]] >= LIGAND:
            start[i[p] + 1] += 1
    for k in range(roles.shape[0]):
        start[k + 1] += start[k]
    filled = start[:-1].copy()
    center = np.empty(start[-1], np.int64)
    back = np.empty((start[-1], 3), np.int64)
    for p in range(i.shape[0]):
        if roles[i[p]] == CENTER and roles[j[p]] >= LIGAND:
            ligand, sign, other = j[p], -1, i[p]
        elif roles[j[p]] == CENTER and roles[i[p]] >= LIGAND:
            ligand, sign, other = i[p], 1, j[p]
        else:
            continue
        q = filled[ligand]
        filled[ligand] += 1
        center[q] = other
        for k in range(3):
            back[q, k] = sign * image[p, k]
    return start, center, back


@compiled
def ligand_keys(i: IntArray, j: IntArray, roles: IntArray, slot: IntArray, n_centers: int) -> IntArray:
    """Return the numbers of ligands of each element around every center, as digits of one number."""
    keys = np.zeros(n_centers, np.int64)
    for p in range(i.shape[0]):
        if roles[i[p]] == CENTER and roles[j[p]] >= LIGAND:
            keys[slot[i[p]]] += RADIX ** (roles[j[p]] - LIGAND)
        elif roles[j[p]] == CENTER and roles[i[p]] >= LIGAND:
            keys[slot[j[p]]] += RADIX ** (roles[i[p]] - LIGAND)
    return keys


@compiled
def _code(center: IntArray, back: IntArray, q: int, image: IntArray, p: int, sign: int) -> int:
    """Return the host at the end of bond q of the ligand at the end of contact p."""
    return host_code(
        center[q],
        sign * image[p, 0] + back[q, 0],
        sign * image[p, 1] + back[q, 1],
        sign * image[p, 2] + back[q, 2],
    )


@compiled
def _square(positions: FloatArray, cell: FloatArray, carrier: int, code: int) -> float:
    """Return the squared distance from a carrier to a host [A^2]."""
    shift = MAX_IMAGE + 1
    a, b, c = code // _BASE**2 % _BASE - shift, code // _BASE % _BASE - shift, code % _BASE - shift
    center = code // _BASE**3
    total = 0.0
    for k in range(3):
        step = positions[center, k] + a * cell[0, k] + b * cell[1, k] + c * cell[2, k] - positions[carrier, k]
        total += step * step
    return total


@compiled
def _carrier_contacts(i: IntArray, j: IntArray, roles: IntArray) -> IntArray:
    """Return contact, carrier, ligand and the sign that turns the image to the ligand's, one row per contact."""
    found = np.empty((i.shape[0], 4), np.int64)
    count = 0
    for p in range(i.shape[0]):
        if roles[i[p]] == CARRIER and roles[j[p]] >= LIGAND:
            found[count] = p, i[p], j[p], 1
            count += 1
        elif roles[j[p]] == CARRIER and roles[i[p]] >= LIGAND:
            found[count] = p, j[p], i[p], -1
            count += 1
    return found[:count]


@compiled
def assign_hosts(
    i: IntArray,
    j: IntArray,
    image: IntArray,
    distance: FloatArray,
    roles: IntArray,
    slot: IntArray,
    bonds: tuple[IntArray, IntArray, IntArray],
    positions: FloatArray,
    cell: FloatArray,
    gap: float,
    previous: IntArray,
) -> tuple[IntArray, FloatArray]:
    """Give every carrier the center whose bonded ligand is closest.

    Parameters
    ----------
    i, j, image, distance : ndarray
        Contacts, from `half_pairs`; those between a carrier and a ligand count here.
    roles, slot : ndarray of int, shape (n_atoms,)
        Role of every atom, and row of every carrier.
    bonds : tuple of ndarray
        From `bonded_centers`.
    positions : ndarray, shape (n_atoms, 3)
        Continuous positions [A].
    cell : ndarray, shape (3, 3)
        Rows are a, b and c [A].
    gap : float
        The previous host stays unless another is closer by at least this [A].
    previous : ndarray of int, shape (n_carriers,)
        Host codes of the sample before.

    Returns
    -------
    host : ndarray of int, shape (n_carriers,)
        Host codes; -1 where no bonded ligand is among the contacts.
    nearest : ndarray, shape (n_carriers,)
        Distance to the closest bonded ligand [A]; infinite without one.
    """
    start, center, back = bonds
    n = previous.shape[0]
    nearest, kept, square = np.full(n, np.inf), np.full(n, np.inf), np.full(n, np.inf)
    contacts = _carrier_contacts(i, j, roles)
    for p, carrier, ligand, sign in contacts:
        s = slot[carrier]
        for q in range(start[ligand], start[ligand + 1]):
            nearest[s] = min(nearest[s], distance[p])
            if _code(center, back, q, image, p, sign) == previous[s]:
                kept[s] = min(kept[s], distance[p])
    host = np.full(n, NO_HOST, np.int64)
    for s in range(n):
        if nearest[s] < np.inf and kept[s] - nearest[s] < gap:
            host[s], square[s] = previous[s], 0.0
    # A bridging ligand has several centers at one distance.
    for p, carrier, ligand, sign in contacts:
        s = slot[carrier]
        if distance[p] > nearest[s] + _TIE:
            continue
        for q in range(start[ligand], start[ligand + 1]):
            code = _code(center, back, q, image, p, sign)
            from_center = _square(positions, cell, carrier, code)
            if from_center < square[s]:
                square[s], host[s] = from_center, code
    return host, nearest


@compiled
def _host_dwells(first: IntArray, code: IntArray, n_samples: int, n_dwell: int) -> tuple[IntArray, int]:
    """Return first and last run of every dwell, uninterrupted or with rattles in it, and the number of rattles."""
    found = np.empty((first.shape[0], 2), np.int64)
    count, n_rattles = 0, 0
    for r in range(first.shape[0]):
        end = first[r + 1] if r + 1 < first.shape[0] else n_samples
        if end - first[r] < n_dwell or code[r] == NO_HOST:
            continue
        if count > 0 and code[found[count - 1, 0]] == code[r]:
            last = found[count - 1, 1]
            for k in range(last + 1, r):
                if code[k] != code[r] and (k == last + 1 or code[k - 1] == code[r]):
                    n_rattles += 1
            found[count - 1, 1] = r
            continue
        found[count, 0] = found[count, 1] = r
        count += 1
    return found[:count], n_rattles


@compiled
def _stretch_square(sums: FloatArray, a: int, b: int, c: int) -> float:
    """Return the squared distance between the mean positions of the samples [a, b) and [b, c)."""
    total = 0.0
    for k in range(3):
        step = (sums[c, k] - sums[b, k]) / (c - b) - (sums[b, k] - sums[a, k]) / (b - a)
        total += step * step
    return total


@compiled
def site_borders(sums: FloatArray, n_dwell: int, min_distance: float) -> IntArray:
    """Split the samples of one host into stretches at different places.

    Parameters
    ----------
    sums : ndarray, shape (n + 1, 3)
        Sums of the first 0, 1, ... n positions [A].
    n_dwell : int
        Fewest samples of a stretch.
    min_distance : float
        The mean positions of neighboring stretches differ by more than this [A].

    Returns
    -------
    ndarray of int
        Borders of the stretches, 0 and n included.

    Notes
    -----
    Candidates are the local maxima, `n_dwell` apart, of the distance between the means of the `n_dwell` samples
    before and after; then the closest neighbors are joined until all are further apart than `min_distance`, and
    a stretch with fewer than `n_dwell` samples nearer to its own mean than to those of its neighbors is joined to the
    nearer of them: a short visit to a far place moves a mean as much as a long one to a near place. All of it is the
    same forward and backward in time.
    """
    n = sums.shape[0] - 1
    squares = np.zeros(max(n + 1, 1))
    for k in range(n_dwell, n - n_dwell + 1):
        squares[k] = _stretch_square(sums, k - n_dwell, k, k + n_dwell)
    # Samples on the way between two places dilute the means next to the border, hence half the distance.
    chosen = np.zeros(n + 1, np.bool_)
    chosen[0] = chosen[n] = True
    blocked = squares <= (min_distance / 2) ** 2
    if not blocked.all():
        for k in np.argsort(-squares, kind="mergesort"):
            if blocked[k]:
                continue
            chosen[k] = True
            for other in range(max(k - n_dwell + 1, 0), min(k + n_dwell, n + 1)):
                blocked[other] = True
    borders = _joined_close(np.flatnonzero(chosen), sums, min_distance)
    while borders.shape[0] > 2:  # noqa: PLR2004 - the two ends
        own = _own_samples(borders, sums)
        least = own.argmin()
        if own[least] >= n_dwell:
            break
        where = _nearer_border(borders, sums, least)
        borders = _joined_close(np.delete(borders, where), sums, min_distance)
    return borders


@compiled
def _joined_close(borders: IntArray, sums: FloatArray, min_distance: float) -> IntArray:
    """Join the closest neighboring stretches until all are further apart than a distance."""
    while borders.shape[0] > 2:  # noqa: PLR2004 - the two ends
        smallest, where = np.inf, 0
        for b in range(1, borders.shape[0] - 1):
            square = _stretch_square(sums, borders[b - 1], borders[b], borders[b + 1])
            if square < smallest:
                smallest, where = square, b
        if smallest > min_distance**2:
            break
        borders = np.delete(borders, where)
    return borders


@compiled
def _own_samples(borders: IntArray, sums: FloatArray) -> IntArray:
    """Return how many samples of every stretch are nearer to its mean position than to those of its neighbors."""
    n = borders.shape[0] - 1
    mean = np.empty((n, 3))
    for b in range(n):
        mean[b] = (sums[borders[b + 1]] - sums[borders[b]]) / (borders[b + 1] - borders[b])
    own = np.zeros(n, np.int64)
    for b in range(n):
        for t in range(borders[b], borders[b + 1]):
            here, before, after = 0.0, np.inf if b == 0 else 0.0, np.inf if b == n - 1 else 0.0
            for k in range(3):
                at = sums[t + 1, k] - sums[t, k]
                here += (at - mean[b, k]) ** 2
                if b > 0:
                    before += (at - mean[b - 1, k]) ** 2
                if b < n - 1:
                    after += (at - mean[b + 1, k]) ** 2
            own[b] += here <= before and here <= after
    return own


@compiled
def _nearer_border(borders: IntArray, sums: FloatArray, stretch: int) -> int:
    """Return the border, not one of the two ends, on whose other side the nearer neighbor of a stretch is."""
    if stretch == 0:
        return 1
    if stretch == borders.shape[0] - 2:
        return stretch
    before = _stretch_square(sums, borders[stretch - 1], borders[stretch], borders[stretch + 1])
    after = _stretch_square(sums, borders[stretch], borders[stretch + 1], borders[stretch + 2])
    return stretch if before <= after else stretch + 1


@compiled
def ion_segments(
    first: IntArray, code: IntArray, positions: FloatArray, n_dwell: int, min_distance: float
) -> tuple[IntArray, FloatArray, int]:
    """Find where one carrier dwells.

    Parameters
    ----------
    first, code : ndarray of int, shape (n_runs,)
        First sample and host code of every run of equal hosts.
    positions : ndarray, shape (n_samples, 3)
        Coarse-grained continuous positions [A].
    n_dwell : int
        Fewest samples in an uninterrupted dwell.
    min_distance : float
        Places of one host differ by more than this [A].

    Returns
    -------
    segments : ndarray of int, shape (n_segments, 3)
        First sample, last sample and host code, in order of time.
    means : ndarray, shape (n_segments, 3)
        Mean position, over the samples with that host [A].
    n_rattles : int
        Short visits elsewhere between two dwells with one host.
    """
    n_samples = positions.shape[0]
    dwells, n_rattles = _host_dwells(first, code, n_samples, n_dwell)
    capacity = n_samples // n_dwell + 1
    segments, means = np.empty((capacity, 3), np.int64), np.empty((capacity, 3))
    samples = np.empty(n_samples, np.int64)
    count = 0
    for d in range(dwells.shape[0]):
        n = 0
        for r in range(dwells[d, 0], dwells[d, 1] + 1):
            if code[r] == code[dwells[d, 0]]:
                for t in range(first[r], first[r + 1] if r + 1 < first.shape[0] else n_samples):
                    samples[n] = t
                    n += 1
        # Relative to the first sample, which keeps the digits of long sums.
        origin = positions[samples[0]]
        sums = np.zeros((n + 1, 3))
        for t in range(n):
            for k in range(3):
                sums[t + 1, k] = sums[t, k] + positions[samples[t], k] - origin[k]
        borders = site_borders(sums, n_dwell, min_distance)
        for b in range(borders.shape[0] - 1):
            low, high = borders[b], borders[b + 1]
            segments[count, 0], segments[count, 1] = samples[low], samples[high - 1]
            segments[count, 2] = code[dwells[d, 0]]
            for k in range(3):
                means[count, k] = (sums[high, k] - sums[low, k]) / (high - low) + origin[k]
            count += 1
    return segments[:count], means[:count], n_rattles
