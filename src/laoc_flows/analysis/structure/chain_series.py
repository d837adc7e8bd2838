"""Chains frame by frame, with and without the flicker of edges at the cutoff."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from pydantic import Field

from laoc_flows.analysis.statistics import Measured, block_average
from laoc_flows.analysis.structure.chains import Rule
from laoc_flows.analysis.structure.survey_kernels import confirmed_edges, debounce, graph_numbers
from laoc_flows.analysis.trajectories.frame import Column, FloatArray, IntArray, Result


class ChainSeries(Result):
    """The chains of a run under one rule, frame by frame; no rows without centers."""

    rule: Rule = Field(
        description="'distance': two centers closer than the cutoff; 'bridge': a shared anion."
    )
    debounced: bool = Field(description="Whether short-lived changes of edges were left out.")
    sizes: tuple[int, ...] = Field(description="Sizes N that occur in the run, ascending.")
    counts: Column = Field(description="Components of each size n_N, shape (n_frames, n_sizes).")
    n_edges: Column = Field(description="Edges (pairs with image) per cell, shape (n_frames,).")
    n_components: Column = Field(description="Components, sum n_N, shape (n_frames,).")
    number_average_size: Column = Field(description="sum N n_N / sum n_N, shape (n_frames,).")
    weight_average_size: Column = Field(description="sum N^2 n_N / N_Al, shape (n_frames,).")
    isolated_fraction: Column = Field(
        description="Share of the centers in finite components of one (Al_iso), shape (n_frames,)."
    )
    percolating_fraction: Column = Field(
        description="Share of the centers in components of dimension above 0, shape (n_frames,)."
    )
    dimension: Column = Field(description="Largest dimension of a component, 0 to 3, shape (n_frames,).")
    n_ends: Column = Field(description="Centers with one edge, shape (n_frames,).")
    n_branch_points: Column = Field(description="Centers with three or more edges, shape (n_frames,).")
    number_histogram: dict[int, Measured] = Field(
        description="Number-weighted, all frames pooled: N to n_N / sum n_N, with the standard error of the ratio "
        "from blocks."
    )
    center_histogram: dict[int, Measured] = Field(
        description="Al-weighted, all frames pooled: N to N n_N / N_Al, with a standard error from blocks."
    )
    averages: dict[str, Measured] = Field(
        description="Time averages of the series of the same name, with a standard error from blocks."
    )


class Tally:
    """Counts of things that are not known beforehand, frame by frame.

    Parameters
    ----------
    n_frames : int
        Number of frames.
    """

    def __init__(self, n_frames: int) -> None:
        self.n_frames = n_frames
        self.columns: dict[int, IntArray] = {}

    def add(self, frame: int, counts: Iterable[tuple[int, int]]) -> None:
        """Set the counts of a frame, pairs of what and how many."""
        for what, n in counts:
            if what not in self.columns:
                self.columns[what] = np.zeros(self.n_frames, dtype=np.int64)
            self.columns[what][frame] = n

    def table(self, what: Iterable[int]) -> IntArray:
        """Return the counts of some things, shape (n_frames, n_things); 0 where one never came."""
        none = np.zeros(self.n_frames, dtype=np.int64)
        columns = [self.columns.get(k, none) for k in what]
        return np.stack(columns, axis=1) if columns else np.zeros((self.n_frames, 0), dtype=np.int64)


class GraphSeries:
    """Collects the components of one graph, frame by frame.

    Parameters
    ----------
    n_centers, n_frames : int
        Number of centers and of frames.
    """

    def __init__(self, n_centers: int, n_frames: int) -> None:
        self.n_centers = n_centers
        self.n_done = 0
        self.counts = Tally(n_frames)
        self.totals = np.zeros((n_frames, 8), dtype=np.int64)

    def add(self, edges: IntArray, times: int = 1) -> None:
        """Count the components of the next frame, or of several that are alike; `edges` are sorted."""
        counts, totals = graph_numbers(self.n_centers, edges)
        pairs = [(int(size), int(n)) for size, n in counts.tolist()]
        for frame in range(self.n_done, self.n_done + times):
            self.counts.add(frame, pairs)
            self.totals[frame] = totals
        self.n_done += times

    def series(self, rule: Rule, *, debounced: bool) -> ChainSeries:
        """Return what was collected."""
        sizes = sorted(self.counts.columns)
        counts = self.counts.table(sizes)
        totals, n_centers = self.totals, max(self.n_centers, 1)
        columns = {
            "n_edges": totals[:, 0],
            "n_components": totals[:, 1],
            "number_average_size": n_centers / totals[:, 1],
            "weight_average_size": totals[:, 3] / n_centers,
            "isolated_fraction": totals[:, 2] / n_centers,
            "percolating_fraction": totals[:, 7] / n_centers,
            "dimension": totals[:, 4],
            "n_ends": totals[:, 5],
            "n_branch_points": totals[:, 6],
        }
        by_size = list(zip(sizes, counts.T, strict=True))
        return ChainSeries(
            rule=rule,
            debounced=debounced,
            sizes=tuple(sizes),
            counts=counts,
            number_histogram={size: _pooled_share(n, totals[:, 1]) for size, n in by_size},
            center_histogram={size: block_average(size * n / n_centers, "1") for size, n in by_size},
            averages={name: block_average(c, "1") for name, c in columns.items()} if len(totals) else {},
            **columns,
        )


class Debouncer:
    """Leaves out changes of edges that do not last; those that do take effect from their first frame.

    Parameters
    ----------
    hold : int
        Frames in a row that make a change.
    n_centers, n_frames : int
        Number of centers and of frames.
    """

    def __init__(self, hold: int, n_centers: int, n_frames: int) -> None:
        self.hold = hold
        self.graphs = GraphSeries(n_centers, n_frames)
        self.table = np.empty((0, 7), dtype=np.int64)
        self.n_done = 0

    def add(self, edges: IntArray) -> None:
        """Take the next frame; `edges` are sorted rows (i, j, image of j) between continuous positions."""
        # The run begins with the edges of its first frame; after that a change takes `hold` frames.
        self.table = debounce(self.table, edges, self.n_done, self.hold if self.n_done else 1)
        self.n_done += 1
        if self.n_done >= self.hold:
            self.graphs.add(confirmed_edges(self.table))

    def finish(self) -> GraphSeries:
        """Return the components of all frames; changes that the end of the run cuts short have not happened."""
        self.graphs.add(confirmed_edges(self.table), self.n_done - self.graphs.n_done)
        return self.graphs


class Turns:
    """Follows atoms through the boundaries of the cell.

    Parameters
    ----------
    continuous : bool
        Whether positions are continuous as they are.
    """

    def __init__(self, *, continuous: bool) -> None:
        self.continuous = continuous
        self.last: FloatArray | None = None
        self.total: IntArray | None = None
        self.largest = 0.0

    def add(self, positions: FloatArray, cells: FloatArray) -> IntArray:
        """Return how many whole cells every atom is ahead of its continuous path, shape (n_frames, n_atoms, 3)."""
        if self.continuous:
            return np.zeros(positions.shape, dtype=np.int64)
        fractional = np.matmul(positions, np.linalg.inv(cells))
        last = fractional[0] if self.last is None else self.last
        steps = np.diff(fractional, axis=0, prepend=last[None])
        jumps = np.rint(steps)
        self.largest = max(self.largest, float(np.abs(steps - jumps).max()))
        self.last = fractional[-1]
        turns = np.cumsum(jumps.astype(np.int64), axis=0)
        if self.total is not None:
            turns += self.total
        self.total = turns[-1].copy()
        return np.asarray(turns)


def _pooled_share(part: IntArray, whole: IntArray) -> Measured:
    """Return the ratio of two sums over frames, with its standard error to first order in the fluctuations."""
    ratio = float(part.sum() / whole.sum())
    scatter = block_average((part - ratio * whole) / whole.mean(), "1")
    return scatter.model_copy(update={"value": ratio})
