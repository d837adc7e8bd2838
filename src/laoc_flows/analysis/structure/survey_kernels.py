"""Compiled loops over the bonds and the graphs of one frame, for looking at every frame of a long run.

Everything is counted in local indices: center 0 is the first center of the frame, ligand atom 0 the first ligand atom.
Edges and links are rows (i, j, image of j), each once, with i < j, or i = j and the first nonzero component of the
image positive; tables of them are sorted.
"""

from __future__ import annotations

import numpy as np

from laoc_flows.analysis.compiled import compiled
from laoc_flows.analysis.trajectories.frame import IntArray

_END, _BRANCH, _MAX_DIMENSION = 1, 3, 3


@compiled
def orient(
    i: IntArray, j: IntArray, image: IntArray, local: IntArray, is_center: IntArray
) -> tuple[IntArray, IntArray, IntArray]:
    """Return center, ligand atom and image of the ligand atom of every bond, whichever end came first."""
    n = i.shape[0]
    center, anion = np.empty(n, np.int64), np.empty(n, np.int64)
    there = np.empty((n, 3), np.int64)
    for k in range(n):
        forth = is_center[i[k]] == 1
        center[k] = local[i[k]] if forth else local[j[k]]
        anion[k] = local[j[k]] if forth else local[i[k]]
        for axis in range(3):
            there[k, axis] = image[k, axis] if forth else -image[k, axis]
    return center, anion, there


@compiled
def count_bonds(
    center: IntArray, anion: IntArray, ligand: IntArray, n_centers: int, n_ligands: int
) -> tuple[IntArray, IntArray, IntArray]:
    """Return bonds per center and ligand element, bonds per ligand atom, and bridging bonds per center."""
    by_ligand = np.zeros((n_centers, n_ligands), np.int64)
    per_anion = np.zeros(ligand.shape[0], np.int64)
    bridging = np.zeros(n_centers, np.int64)
    for k in range(center.shape[0]):
        by_ligand[center[k], ligand[anion[k]]] += 1
        per_anion[anion[k]] += 1
    for k in range(center.shape[0]):
        if per_anion[anion[k]] > 1:
            bridging[center[k]] += 1
    return by_ligand, per_anion, bridging


@compiled
def _compare(a: IntArray, b: IntArray) -> int:
    """Order two rows by their first five columns: -1, 0 or 1."""
    for k in range(5):
        if a[k] != b[k]:
            return -1 if a[k] < b[k] else 1
    return 0


@compiled
def sorted_rows(rows: IntArray, n_vertices: int) -> IntArray:
    """Sort rows (i, j, image): by buckets of i, and within these few by insertion."""
    start = np.zeros(n_vertices + 1, np.int64)
    for k in range(rows.shape[0]):
        start[rows[k, 0] + 1] += 1
    for i in range(n_vertices):
        start[i + 1] += start[i]
    filled = np.zeros(n_vertices, np.int64)
    out = np.empty_like(rows)
    for k in range(rows.shape[0]):
        i = rows[k, 0]
        at = start[i] + filled[i]
        while at > start[i] and _compare(rows[k], out[at - 1]) < 0:
            out[at] = out[at - 1]
            at -= 1
        out[at] = rows[k]
        filled[i] += 1
    return out


@compiled
def find_links(
    center: IntArray, anion: IntArray, image: IntArray, per_anion: IntArray, n_centers: int
) -> IntArray:
    """Return the linked pairs of centers, sorted rows (i, j, image of j, number of shared ligand atoms)."""
    n_anions = per_anion.shape[0]
    start = np.zeros(n_anions + 1, np.int64)
    total = 0
    for a in range(n_anions):
        start[a + 1] = start[a] + per_anion[a]
        total += per_anion[a] * (per_anion[a] - 1) // 2
    filled = start[:-1].copy()
    order = np.empty(center.shape[0], np.int64)
    for k in range(center.shape[0]):
        order[filled[anion[k]]] = k
        filled[anion[k]] += 1
    rows = np.empty((total, 6), np.int64)
    count = 0
    for a in range(n_anions):
        for p in range(start[a], start[a + 1]):
            for q in range(p + 1, start[a + 1]):
                _write_link(rows[count], center, image, order[p], order[q])
                count += 1
    rows = sorted_rows(rows, n_centers)
    kept = 0
    for k in range(total):
        if kept > 0 and _compare(rows[k], rows[kept - 1]) == 0:
            rows[kept - 1, 5] += 1
        else:
            rows[kept] = rows[k]
            kept += 1
    return rows[:kept].copy()


@compiled
def _write_link(row: IntArray, center: IntArray, image: IntArray, p: int, q: int) -> None:
    """Write the canonical direction of the link between the centers of two bonds of one ligand atom."""
    i, j = center[p], center[q]
    # Seen from center i at home the ligand atom sits in image p, and so center j in image p - q.
    x, y, z = image[p, 0] - image[q, 0], image[p, 1] - image[q, 1], image[p, 2] - image[q, 2]
    back = i > j or (i == j and (x < 0 or (x == 0 and (y < 0 or (y == 0 and z < 0)))))
    row[0], row[1] = (j, i) if back else (i, j)
    row[2], row[3], row[4] = (-x, -y, -z) if back else (x, y, z)
    row[5] = 1


@compiled
def count_links(links: IntArray) -> tuple[int, int, int]:
    """Return the number of links through one, two, and three or more shared ligand atoms."""
    corner, edge, face = 0, 0, 0
    for k in range(links.shape[0]):
        if links[k, 5] == 1:
            corner += 1
        elif links[k, 5] == 2:  # noqa: PLR2004 - an edge
            edge += 1
        else:
            face += 1
    return corner, edge, face


@compiled
def count_common(a: IntArray, b: IntArray) -> int:
    """Return the number of rows that two sorted tables of distinct edges share."""
    p, q, common = 0, 0, 0
    while p < a.shape[0] and q < b.shape[0]:
        order = _compare(a[p], b[q])
        if order == 0:
            common += 1
        if order <= 0:
            p += 1
        if order >= 0:
            q += 1
    return common


@compiled
def _adjacency(n_vertices: int, edges: IntArray) -> tuple[IntArray, IntArray]:
    """Return the first entry of every vertex, and the entries (neighbor, image), both directions of every edge."""
    start = np.zeros(n_vertices + 1, np.int64)
    for k in range(edges.shape[0]):
        start[edges[k, 0] + 1] += 1
        start[edges[k, 1] + 1] += 1
    for i in range(n_vertices):
        start[i + 1] += start[i]
    filled = start[:-1].copy()
    entries = np.empty((2 * edges.shape[0], 4), np.int64)
    for k in range(edges.shape[0]):
        for end in range(2):
            at = filled[edges[k, end]]
            filled[edges[k, end]] += 1
            entries[at, 0] = edges[k, 1 - end]
            for axis in range(3):
                entries[at, 1 + axis] = edges[k, 2 + axis] if end == 0 else -edges[k, 2 + axis]
    return start, entries


@compiled
def _extend(basis: IntArray, rank: int, v: IntArray) -> int:
    """Add a lattice vector to a basis unless it depends on it; return the new rank. Integers keep it exact."""
    a, b = basis[0], basis[1] if rank > 1 else v
    x, y, z = a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]
    if rank == 0:
        new = v[0] != 0 or v[1] != 0 or v[2] != 0
    elif rank == 1:
        new = x != 0 or y != 0 or z != 0
    else:
        new = x * v[0] + y * v[1] + z * v[2] != 0
    if new:
        basis[rank] = v
        return rank + 1
    return rank


@compiled
def find_components(n_vertices: int, edges: IntArray) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    """Split a periodic graph into components.

    Returns
    -------
    label : ndarray of int, shape (n_vertices,)
        Component of every vertex; the largest is 0, equal ones follow their lowest vertex.
    size, dimension : ndarray of int, shape (n_components,)
        Vertices per cell, and number of independent lattice vectors that the component closes on.
    degree : ndarray of int, shape (n_vertices,)
        Edges of every vertex; an edge to its own image counts twice.
    """
    start, entries = _adjacency(n_vertices, edges)
    found = np.full(n_vertices, -1)
    place = np.zeros((n_vertices, 3), np.int64)
    queue = np.empty(n_vertices, np.int64)
    size, dimension = np.zeros(n_vertices, np.int64), np.zeros(n_vertices, np.int64)
    basis, v = np.zeros((3, 3), np.int64), np.zeros(3, np.int64)
    n_parts = 0
    for root in range(n_vertices):
        if found[root] >= 0:
            continue
        found[root] = n_parts
        queue[0] = root
        done, n, rank = 0, 1, 0
        while done < n:
            i = queue[done]
            done += 1
            for k in range(start[i], start[i + 1]):
                j = entries[k, 0]
                new = found[j] < 0
                for axis in range(3):
                    v[axis] = place[i, axis] + entries[k, 1 + axis] - place[j, axis]
                if new:
                    found[j] = n_parts
                    place[j] = v
                    queue[n] = j
                    n += 1
                elif rank < _MAX_DIMENSION:
                    rank = _extend(basis, rank, v)
        size[n_parts], dimension[n_parts] = n, rank
        n_parts += 1
    return _largest_first(found, size[:n_parts], dimension[:n_parts], start)


@compiled
def _largest_first(
    found: IntArray, size: IntArray, dimension: IntArray, start: IntArray
) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    n_parts = size.shape[0]
    begin = np.zeros(found.shape[0] + 2, np.int64)
    for part in range(n_parts):
        begin[found.shape[0] - size[part] + 1] += 1
    for k in range(begin.shape[0] - 1):
        begin[k + 1] += begin[k]
    rank = np.empty(n_parts, np.int64)
    sizes, dimensions = np.empty(n_parts, np.int64), np.empty(n_parts, np.int64)
    for part in range(n_parts):
        at = begin[found.shape[0] - size[part]]
        begin[found.shape[0] - size[part]] += 1
        rank[part] = at
        sizes[at], dimensions[at] = size[part], dimension[part]
    label, degree = np.empty(found.shape[0], np.int64), np.empty(found.shape[0], np.int64)
    for i in range(found.shape[0]):
        label[i] = rank[found[i]]
        degree[i] = start[i + 1] - start[i]
    return label, sizes, dimensions, degree


@compiled
def graph_numbers(n_vertices: int, edges: IntArray) -> tuple[IntArray, IntArray]:
    """Return the sizes that components have with their numbers, shape (n_sizes, 2), and eight totals of a graph.

    The totals are edges, components, isolated vertices, sum of squared sizes, largest dimension, ends, branch points,
    and vertices in percolating components.
    """
    _, size, dimension, degree = find_components(n_vertices, edges)
    counts, totals = np.zeros((size.shape[0], 2), np.int64), np.zeros(8, np.int64)
    totals[0], totals[1] = edges.shape[0], size.shape[0]
    n_sizes = 0
    for part in range(size.shape[0]):
        # The largest come first, so that equal ones follow each other.
        if n_sizes == 0 or counts[n_sizes - 1, 0] != size[part]:
            counts[n_sizes, 0] = size[part]
            n_sizes += 1
        counts[n_sizes - 1, 1] += 1
        totals[2] += size[part] == 1 and dimension[part] == 0
        totals[3] += size[part] ** 2
        totals[4] = max(totals[4], dimension[part])
        totals[7] += size[part] if dimension[part] > 0 else 0
    for i in range(n_vertices):
        totals[5] += degree[i] == _END
        totals[6] += degree[i] >= _BRANCH
    return counts[:n_sizes].copy(), totals


@compiled
def debounce(table: IntArray, edges: IntArray, frame: int, hold: int) -> IntArray:
    """Update a table of edges with those of the next frame.

    Parameters
    ----------
    table : ndarray of int, shape (n, 7)
        Sorted rows (i, j, image of j, confirmed, first frame in which it differs from that or -1).
    edges : ndarray of int, shape (m, 5 or more)
        Sorted edges of the frame.
    frame : int
        Number of the frame.
    hold : int
        Frames in a row that make a change.

    Returns
    -------
    ndarray of int, shape (k, 7)
        The new table; edges that are neither confirmed nor present have left it.
    """
    out = np.empty((table.shape[0] + edges.shape[0], 7), np.int64)
    p, q, n = 0, 0, 0
    while p < table.shape[0] or q < edges.shape[0]:
        if p == table.shape[0]:
            order = 1
        elif q == edges.shape[0]:
            order = -1
        else:
            order = _compare(table[p], edges[q])
        out[n, :5] = table[p, :5] if order <= 0 else edges[q, :5]
        confirmed, since = (table[p, 5], table[p, 6]) if order <= 0 else (0, -1)
        present = int(order >= 0)
        if present == confirmed:
            since = -1
        elif since < 0:
            since = frame
        if since >= 0 and frame - since + 1 >= hold:
            confirmed, since = present, -1
        out[n, 5], out[n, 6] = confirmed, since
        n += confirmed or present
        p += order <= 0
        q += order >= 0
    return out[:n].copy()


@compiled
def confirmed_edges(table: IntArray) -> IntArray:
    """Return the confirmed edges of a table of `debounce`."""
    out = np.empty((table.shape[0], 5), np.int64)
    n = 0
    for k in range(table.shape[0]):
        if table[k, 5]:
            out[n] = table[k, :5]
            n += 1
    return out[:n].copy()


@compiled
def bond_numbers(by_ligand: IntArray, per_anion: IntArray, ligand: IntArray) -> IntArray:
    """Return what a frame has of bonds and anions, in total and by ligand.

    Returns
    -------
    ndarray of int, shape (n_ligands + 1, 4)
        By ligand its bonds, free atoms, bridging atoms and tri-clusters; in the last row both sides of the sum rule,
        and two zeros.
    """
    n_ligands = by_ligand.shape[1]
    out = np.zeros((n_ligands + 1, 4), np.int64)
    bonded = 0
    for a in range(per_anion.shape[0]):
        n = per_anion[a]
        out[ligand[a], 1] += n == 0
        out[ligand[a], 2] += n > 1
        out[ligand[a], 3] += n == 3  # noqa: PLR2004 - a tri-cluster
        out[n_ligands, 0] += max(n - 1, 0)
        bonded += n > 0
    for k in range(n_ligands):
        for i in range(by_ligand.shape[0]):
            out[k, 0] += by_ligand[i, k]
        out[n_ligands, 1] += out[k, 0]
    out[n_ligands, 1] -= bonded
    return out


@compiled
def shift_images(edges: IntArray, turns: IntArray) -> IntArray:
    """Return edges between continuous positions, from those between stored positions and their whole cells ahead."""
    out = edges[:, :5].copy()
    for k in range(out.shape[0]):
        for axis in range(3):
            out[k, 2 + axis] += turns[out[k, 1], axis] - turns[out[k, 0], axis]
    return out
