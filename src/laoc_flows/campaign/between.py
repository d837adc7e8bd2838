"""Compositions between the points of a grid: what a potential of the grid should know as well."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np

from laoc_flows.composition import Cell, Composition
from laoc_flows.errors import CompositionError

_NEAREST = 8
"""Neighbors of a point of the grid that a composition may lie halfway to."""
_PAIR = 2


def between(
    compositions: Sequence[Composition],
    count: int,
    plan: Callable[[Composition], Cell],
    without: Sequence[Composition] = (),
) -> tuple[tuple[str, Cell], ...]:
    """Compositions halfway between two of a grid, those farthest from the grid and from each other first.

    Parameters
    ----------
    compositions : sequence of Composition
        Grid.
    count : int
        How many, at most.
    plan : callable
        Plans the cell of a composition, or raises CompositionError where it fits none.
    without : sequence of Composition
        What must not be explored.

    Returns
    -------
    tuple of (str, Cell)
        Composition ids and cells; fewer than `count` where no more fit a cell.
    """
    known = sorted((c.x, c.y) for c in compositions)
    excluded = {(c.x, c.y) for c in without}
    cells: dict[tuple[Fraction, Fraction], Cell] = {}
    if not count or len(known) < _PAIR:
        return ()
    for i, j in _neighbors(known):
        middle = ((known[i][0] + known[j][0]) / 2, (known[i][1] + known[j][1]) / 2)
        if middle in known or middle in cells or middle in excluded:
            continue
        try:
            cells[middle] = plan(Composition(*middle))
        except CompositionError:
            continue
    found: list[tuple[str, Cell]] = []
    while cells and len(found) < count:
        # Exact distances: the order is the same everywhere.
        best = max(sorted(cells), key=lambda point: min(_square(point, other) for other in known))
        cell = cells.pop(best)
        known.append(best)
        found.append((cell.composition.id, cell))
    return tuple(found)


def _neighbors(points: Sequence[tuple[Fraction, Fraction]]) -> list[tuple[int, int]]:
    """Pairs of points that are near each other, without looking at all pairs of a large grid."""
    from scipy.spatial import cKDTree

    places = np.array(points, dtype=float)
    _, near = cKDTree(places).query(places, k=min(len(places), _NEAREST + 1))
    return sorted({(min(i, int(j)), max(i, int(j))) for i, row in enumerate(near) for j in row if i != j})


def _square(a: tuple[Fraction, Fraction], b: tuple[Fraction, Fraction]) -> Fraction:
    return (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2
