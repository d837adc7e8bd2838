"""Pair distribution functions and the coordination numbers they integrate to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations_with_replacement
from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field

from laoc_flows.analysis.structure.kernels import add_distances, bin_edges
from laoc_flows.analysis.trajectories.frame import FloatArray, IntArray, Result, StructureLike
from laoc_flows.analysis.trajectories.sampling import as_series, visit_frames
from laoc_flows.analysis.trajectories.series import FrameSeries
from laoc_flows.errors import InputError

N_BLOCKS = 5
"""Blocks of consecutive frames that a standard error comes from."""

_SMOOTHING = 5


class RdfResult(Result):
    """g(r) of one pair of elements, averaged over frames."""

    status: Literal["ok", "empty"] = Field(
        description="'empty' when there is no pair of two different atoms."
    )
    a: str = Field(description="Element of the central atoms.")
    b: str = Field(description="Element of the surrounding atoms.")
    n_a: int = Field(description="Number of central atoms.", ge=0)
    n_b: int = Field(description="Number of surrounding atoms.", ge=0)
    n_frames: int = Field(description="Number of frames that were averaged.", ge=1)
    edges: tuple[float, ...] = Field(description="Bin edges [A]; bin k holds edges[k] <= r < edges[k + 1].")
    g: tuple[float, ...] = Field(
        description="g(r) per bin, dimensionless, normalized with N_b - delta_ab; empty when the status is 'empty'."
    )
    g_error: tuple[float, ...] = Field(
        default=(),
        description="Standard error of `g` from five blocks of frames; empty for one frame or without g.",
    )
    coordination: tuple[float, ...] = Field(
        description="Mean number of b atoms closer to an a atom than each of `edges`; empty without a atoms."
    )

    @property
    def r(self) -> tuple[float, ...]:
        """Bin centers [A]."""
        return tuple((low + high) / 2 for low, high in zip(self.edges, self.edges[1:], strict=False))


class RdfsResult(Result):
    """All partial g(r) of a run, from one pass over its frames."""

    counts: dict[str, int] = Field(description="Element to the number of its atoms, all elements of the run.")
    density: float = Field(description="Atoms over the mean volume of the frames that were averaged [A^-3].")
    n_frames: int = Field(description="Number of frames that were averaged.", ge=1)
    partials: dict[str, RdfResult] = Field(description="Pair, such as 'Al-Cl', to its g(r).")

    def of(self, a: str, b: str) -> RdfResult:
        """Return the g(r) of one pair, in either order of its elements.

        Parameters
        ----------
        a, b : str
            The two elements.

        Returns
        -------
        RdfResult
            As it was computed; g is the same from either end, `coordination` is not.

        Raises
        ------
        InputError
            When the pair was not computed.
        """
        for key in (f"{a}-{b}", f"{b}-{a}"):
            if key in self.partials:
                return self.partials[key]
        message = f"{a}-{b} is not among the pairs {', '.join(self.partials)}"
        raise InputError(message)


class Shell(NamedTuple):
    """First shell of a g(r).

    Parameters
    ----------
    peak : float or None
        Position of the first maximum [A].
    minimum : float or None
        Position of the minimum behind it [A]; the middle where g is flat.
    """

    peak: float | None
    minimum: float | None


def rdfs(
    trajectory: FrameSeries | StructureLike,
    pairs: Sequence[tuple[str, str]] | None = None,
    r_max: float = 8.0,
    bin_width: float = 0.05,
    stride: int = 1,
) -> RdfsResult:
    """Compute several partial g_ab(r) in one pass over the frames.

    Parameters
    ----------
    trajectory : FrameSeries, Frame, ase.Atoms or pymatgen.core.Structure
        Frames to average over; their cell may vary.
    pairs : sequence of (str, str), optional
        Central and surrounding element of every g(r); by default every unordered pair of elements.
    r_max : float, default 8.0
        Upper end [A], rounded up to a whole bin; it may exceed half the cell, because images are counted.
    bin_width : float, default 0.05
        Width of a bin [A].
    stride : int, default 1
        Every which frame is taken.

    Returns
    -------
    RdfsResult
        A partial is ``"empty"`` when an element is absent, or when a = b and there is only one atom.

    Raises
    ------
    InputError
        When `r_max`, `bin_width` or `stride` is not positive.

    Notes
    -----
    Each frame counts with its own volume V, ``g = V n(r) / (N_a (N_b - delta_ab) 4 pi r^2 dr)``: an ideal gas
    of any size has g = 1. The time per frame grows with ``n_atoms * density * r_max**3``.

    Beyond the shortest lattice vector, and for correlated atoms already beyond half of it, g(r) shows the
    lattice of the simulation cell besides the material: long-range order of a small cell is not order of the
    glass.

    Examples
    --------
    >>> from ase.build import bulk
    >>> result = rdfs(bulk("LiCl", "rocksalt", a=5.13, cubic=True), r_max=4.0)
    >>> list(result.partials)
    ['Cl-Cl', 'Cl-Li', 'Li-Li']
    >>> result.of("Li", "Cl").coordination[-1], result.of("Cl", "Cl").coordination[-1]
    (6.0, 12.0)
    """
    if not (0 < bin_width < math.inf and bin_width <= r_max < math.inf):
        message = f"r_max = {r_max} A and bin_width = {bin_width} A give no bins"
        raise InputError(message)
    if stride < 1:
        message = f"stride = {stride} is not a positive number of frames"
        raise InputError(message)
    series = as_series(trajectory)
    return rdfs_of(series, np.arange(0, series.n_frames, stride), pairs, r_max, bin_width)


def rdfs_of(
    series: FrameSeries,
    chosen: IntArray,
    pairs: Sequence[tuple[str, str]] | None,
    r_max: float,
    bin_width: float,
) -> RdfsResult:
    """Compute partial g_ab(r) of chosen frames.

    Parameters
    ----------
    series : FrameSeries
        The run.
    chosen : ndarray of int, shape (n,)
        Indices of frames, ascending.
    pairs, r_max, bin_width
        As for `rdfs`.

    Returns
    -------
    RdfsResult
        Averages over the chosen frames.

    Examples
    --------
    >>> from ase.build import bulk
    >>> run = as_series(bulk("Al", cubic=True))
    >>> rdfs_of(run, np.array([0]), None, r_max=3.0, bin_width=0.1).partials["Al-Al"].coordination[-1]
    12.0
    """
    elements = sorted(set(series.species))
    if pairs is None:
        pairs = list(combinations_with_replacement(elements, 2))
    edges = bin_edges(bin_width, math.ceil(r_max / bin_width - 1e-9))
    asked = [symbol for symbol in elements if any(symbol in pair for pair in pairs)]
    place = {symbol: k for k, symbol in enumerate(asked)}
    kinds = np.array([place.get(symbol, -1) for symbol in series.species], dtype=np.int64)
    n_blocks = min(N_BLOCKS, chosen.size)
    shape = (n_blocks, len(asked), len(asked), edges.size - 1)
    counts, weighted = np.zeros(shape), np.zeros(shape)
    borders = np.array([len(part) for part in np.array_split(chosen, n_blocks)])
    block_of = np.repeat(np.arange(n_blocks), borders)
    one = np.zeros(shape[1:])
    volumes = series.volumes[chosen]
    for number, positions, cell in visit_frames(series, chosen):
        one[:] = 0.0
        add_distances(one, positions, cell, kinds, bin_width)
        counts[block_of[number]] += one
        weighted[block_of[number]] += one * volumes[number]
    partials = {
        f"{a}-{b}": _partial(
            series, (a, b), edges, borders, _pick(counts, place, a, b), _pick(weighted, place, a, b)
        )
        for a, b in pairs
    }
    return RdfsResult(
        counts={symbol: series.species.count(symbol) for symbol in elements},
        density=float(series.n_atoms / volumes.mean()),
        n_frames=chosen.size,
        partials=partials,
    )


def _pick(histogram: FloatArray, place: Mapping[str, int], a: str, b: str) -> FloatArray:
    if a not in place or b not in place:
        return np.zeros((histogram.shape[0], histogram.shape[-1]))
    return np.asarray(histogram[:, place[a], place[b]])


def _partial(
    series: FrameSeries,
    pair: tuple[str, str],
    edges: FloatArray,
    frames: IntArray,
    counts: FloatArray,
    weighted: FloatArray,
) -> RdfResult:
    """Normalize the counts, shape (n_blocks, n_bins), of one pair."""
    a, b = pair
    n_a, n_b = series.species.count(a), series.species.count(b)
    n_others = n_b - (a == b)
    n_frames = int(frames.sum())
    defined = n_a > 0 and n_others > 0
    g, error = np.empty(0), np.empty(0)
    if defined:
        shells = 4 / 3 * np.pi * np.diff(edges**3)
        g = weighted.sum(axis=0) / (n_frames * n_a * n_others * shells)
        if len(frames) > 1:
            blocks = weighted / (frames[:, None] * n_a * n_others * shells)
            error = blocks.std(axis=0, ddof=1) / np.sqrt(len(frames))
    coordination = np.concatenate([[0.0], np.cumsum(counts.sum(axis=0))]) / (n_frames * max(n_a, 1))
    return RdfResult(
        status="ok" if defined else "empty",
        a=a,
        b=b,
        n_a=n_a,
        n_b=n_b,
        n_frames=n_frames,
        edges=tuple(edges.tolist()),
        g=tuple(g.tolist()),
        g_error=tuple(error.tolist()),
        coordination=tuple(coordination.tolist()) if n_a else (),
    )


def rdf(
    trajectory: FrameSeries | StructureLike,
    a: str,
    b: str,
    r_max: float = 8.0,
    bin_width: float = 0.05,
    stride: int = 1,
) -> RdfResult:
    """Compute g_ab(r), normalized with N_b - delta_ab and the volume of each frame.

    Parameters
    ----------
    trajectory : FrameSeries, Frame, ase.Atoms or pymatgen.core.Structure
        Frames to average over; their cell may vary.
    a, b : str
        Elements of the central and of the surrounding atoms.
    r_max : float, default 8.0
        Upper end [A]; it may exceed half the cell, see the notes of `rdfs`, which takes all pairs in one pass.
    bin_width : float, default 0.05
        Width of a bin [A].
    stride : int, default 1
        Every which frame is taken.

    Returns
    -------
    RdfResult
        With status ``"empty"`` when an element is absent, or when a = b and there is only one atom.

    Raises
    ------
    InputError
        When `r_max`, `bin_width` or `stride` is not positive.

    Examples
    --------
    >>> from ase.build import bulk
    >>> result = rdf(bulk("Al", "fcc", a=4.05, cubic=True), "Al", "Al", r_max=4.5)
    >>> [round(r, 3) for r, g in zip(result.r, result.g) if g > 0]
    [2.875, 4.075]
    """
    return rdfs(trajectory, [(a, b)], r_max, bin_width, stride).partials[f"{a}-{b}"]


def coordination_number(
    source: RdfResult | FrameSeries | StructureLike, r_c: float, a: str | None = None, b: str | None = None
) -> float | None:
    """Return the mean number of b atoms around an a atom, the integral of g(r) up to a cutoff.

    Parameters
    ----------
    source : RdfResult, FrameSeries, Frame, ase.Atoms or pymatgen.core.Structure
        From `rdf`, or frames to count in.
    r_c : float
        Cutoff [A]. In frames, and on a bin edge of a g(r), the number is exact, ``2 E / N`` for a = b and the
        E edges of the graph with that cutoff; inside a bin of a g(r) it is interpolated linearly.
    a, b : str, optional
        Elements of the central and of the surrounding atoms; needed for frames, and known of a g(r).

    Returns
    -------
    float or None
        None when there are no a atoms.

    Raises
    ------
    InputError
        When `r_c` lies outside the range of the g(r), or when the elements are missing or contradict it.

    Examples
    --------
    >>> from ase.build import bulk
    >>> salt = bulk("LiCl", "rocksalt", a=5.13, cubic=True)
    >>> coordination_number(salt, 3.0, "Li", "Cl")
    6.0
    >>> coordination_number(rdf(salt, "Li", "Cl"), 4.6)
    14.0
    """
    if not isinstance(source, RdfResult):
        if a is None or b is None:
            message = "frames do not say between which elements to count"
            raise InputError(message, remedy="give a and b")
        # One bin: its edge is the cutoff.
        counted = rdf(source, a, b, r_max=r_c, bin_width=r_c).coordination
        return counted[-1] if counted else None
    if (a or source.a, b or source.b) != (source.a, source.b):
        message = f"the g(r) is that of {source.a}-{source.b}, not of {a}-{b}"
        raise InputError(message)
    if not 0 <= r_c <= source.edges[-1]:
        message = f"r_c = {r_c} A lies outside g(r), which ends at {source.edges[-1]} A"
        raise InputError(message, remedy="compute g(r) with a larger r_max")
    if not source.coordination:
        return None
    return float(np.interp(r_c, source.edges, source.coordination))


def first_shell(result: RdfResult) -> Shell:
    """Find the first maximum of g(r) and the minimum behind it.

    Parameters
    ----------
    result : RdfResult
        From `rdf`; it is smoothed over five bins first.

    Returns
    -------
    Shell
        The maximum of the first stretch with g > 1, and the lowest point between it and the next such stretch
        (or the end). Either is None when g(r) does not show it.

    Examples
    --------
    >>> from ase.build import bulk
    >>> shell = first_shell(rdf(bulk("Al", "fcc", a=4.05, cubic=True), "Al", "Al"))
    >>> round(shell.peak, 2), round(shell.minimum, 2)
    (2.88, 3.48)
    """
    g = np.asarray(result.g, dtype=np.float64)
    if g.size < _SMOOTHING:
        return Shell(None, None)
    r = np.asarray(result.r, dtype=np.float64)
    smooth: FloatArray = np.convolve(g, np.full(_SMOOTHING, 1 / _SMOOTHING), mode="same")
    above = np.append(smooth > 1, values=False)
    if not above.any():
        return Shell(None, None)
    start = int(above.argmax())
    end = start + int((~above[start:]).argmax())
    peak = float(r[start + int(g[start:end].argmax())])
    if end == g.size:
        return Shell(peak, None)
    again = above[end:]
    stop = end + int(again.argmax()) if again.any() else g.size
    valley = smooth[end:stop]
    return Shell(peak, float(r[end:stop][valley <= valley.min() + 1e-12].mean()))
