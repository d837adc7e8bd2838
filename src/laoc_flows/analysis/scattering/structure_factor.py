"""S(Q) and G(r), partial and total, with the weights of neutrons and X-rays."""

from __future__ import annotations

import math
from itertools import combinations_with_replacement
from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field

from laoc_flows.analysis.scattering.reciprocal import reciprocal_vectors, waves
from laoc_flows.analysis.scattering.weights import Amplitudes, Weights, amplitudes
from laoc_flows.analysis.structure.rdf import RdfsResult, rdfs_of
from laoc_flows.analysis.trajectories.frame import Column, FloatArray, IntArray, Result, StructureLike
from laoc_flows.analysis.trajectories.sampling import as_series, evenly_spread, visit_frames
from laoc_flows.analysis.trajectories.series import FrameSeries
from laoc_flows.errors import InputError, TrajectoryError

_R_RANGE = (10.0, 20.0)
_NULL = 1e-6


class StructureFactorResult(Result):
    """Partial and total structure factors in the convention of Faber and Ziman, and the reduced G(r)."""

    method: Literal["direct", "transform"] = Field(
        description="'direct': waves summed over the atoms for reciprocal vectors of the cell; 'transform': of g(r)."
    )
    weights: Literal["neutron", "xray", "custom", "number"] = Field(description="Kind of the weights.")
    forward: dict[str, float] = Field(
        description="Element to its amplitude at Q = 0: scattering length [fm], electrons, as given, or 1."
    )
    counts: dict[str, int] = Field(description="Element to the number of its atoms.")
    density: float = Field(description="Atoms over the mean volume [A^-3].", gt=0)
    n_frames: int = Field(
        description="Number of frames that were averaged, evenly spread over the run.", ge=1
    )
    q_max: float = Field(description="Upper end of Q, which is also that of the transform to G(r) [A^-1].")
    q_width: float = Field(description="Width of a shell, or distance of the points of a transform [A^-1].")
    q: Column = Field(
        description="Q, ascending [A^-1]: mean length of the vectors of a shell, or the points of the transform."
    )
    total: Column = Field(description="S(Q) per `q`, dimensionless, 1 at large Q.")
    total_error: Column = Field(
        description="Its standard error: direct, from the scatter among the vectors of a shell; transform, from the "
        "errors of g(r), and empty for one frame."
    )
    partials: dict[str, Column] = Field(
        description="Pair, such as 'Al-Cl', to its Faber-Ziman S_ab(Q) per `q`, dimensionless, 1 at large Q."
    )
    mean_amplitude: Column = Field(description="<f> over the atoms per `q`, in the unit of `forward`.")
    mean_square: Column = Field(description="<f^2> over the atoms per `q`, in that unit squared.")
    n_vectors: Column = Field(
        description="Direct: vectors taken per `q`, one of each G, -G; empty for a transform."
    )
    n_available: Column = Field(
        description="Direct: vectors that the cell has per `q`; empty for a transform."
    )
    r: Column = Field(description="Distances [A] of the two G(r).")
    reduced_g: Column = Field(
        description="G(r) = 4 pi rho r (g(r) - 1) [A^-2] with g(r) weighted by the amplitudes at Q = 0."
    )
    reduced_g_window: Column = Field(
        description="G(r) [A^-2] as a measurement up to `q_max` shows it: the sine transform of Q (S(Q) - 1) with a "
        "Lorch window."
    )

    @property
    def intensity(self) -> FloatArray:
        """Coherent scattering per atom, <f^2> + <f>^2 (S(Q) - 1), in the unit of `forward` squared."""
        return np.asarray(self.mean_square + self.mean_amplitude**2 * (self.total - 1))


class _Sample(NamedTuple):
    counts: dict[str, int]
    pairs: list[tuple[str, str]]
    amplitudes: Amplitudes

    def fraction(self, symbol: str) -> float:
        return self.counts[symbol] / sum(self.counts.values())

    def means(self, q: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return <f> and <f^2>."""
        values = self.amplitudes.at(q)
        mean = sum(self.fraction(s) * values[s] for s in self.counts) + np.zeros(q.shape)
        square = sum(self.fraction(s) * values[s] ** 2 for s in self.counts) + np.zeros(q.shape)
        if (mean**2 <= _NULL * square).any():
            message = (
                "the amplitudes of the elements cancel, and a total divided by their mean is not defined"
            )
            raise InputError(message, remedy="use weights=None and the partials")
        return mean, square

    def shares(self, q: FloatArray) -> dict[str, FloatArray]:
        """Return the weight of every unordered pair in the total; they sum to one."""
        values = self.amplitudes.at(q)
        mean, _ = self.means(q)
        return {
            f"{a}-{b}": (1 + (a != b)) * self.fraction(a) * self.fraction(b) * values[a] * values[b] / mean**2
            for a, b in self.pairs
        }


class _Curves(NamedTuple):
    q: FloatArray
    total: FloatArray
    error: FloatArray
    partials: dict[str, FloatArray]
    n_vectors: IntArray
    n_available: IntArray


def lorch(x: FloatArray, end: float) -> FloatArray:
    """Return the window of Lorch, sin(pi x / end) / (pi x / end).

    Parameters
    ----------
    x : ndarray
        Distances or wave numbers.
    end : float
        Where the window falls to zero, in the same unit.

    Returns
    -------
    ndarray
        Weights; 1 at zero.

    Notes
    -----
    Lorch, J. Phys. C 2, 229 (1969).

    Examples
    --------
    >>> lorch(np.array([0.0, 5.0, 10.0]), 10.0).round(3).tolist()
    [1.0, 0.637, 0.0]
    """
    return np.asarray(np.sinc(x / end))


def reduced_g_of(q: FloatArray, total: FloatArray, r: FloatArray, q_max: float) -> FloatArray:
    """Transform S(Q) to G(r) with a Lorch window.

    Parameters
    ----------
    q : ndarray, shape (n,)
        Wave numbers, ascending [A^-1]; below the first one Q (S(Q) - 1) is a line through zero.
    total : ndarray, shape (n,)
        S(Q).
    r : ndarray, shape (m,)
        Distances [A].
    q_max : float
        Where the window falls to zero [A^-1].

    Returns
    -------
    ndarray, shape (m,)
        ``2 / pi int Q (S(Q) - 1) sin(Q r) M(Q) dQ`` [A^-2], by the trapezoidal rule.

    Examples
    --------
    >>> reduced_g_of(np.array([1.0, 2.0]), np.ones(2), np.array([1.0, 3.0]), 2.0).tolist()
    [0.0, 0.0]
    """
    wave = np.concatenate([[0.0], q])
    steps = np.diff(wave)
    widths = (np.append(steps, 0.0) + np.append(0.0, steps)) / 2
    values = np.concatenate([[0.0], q * (total - 1)]) * lorch(wave, q_max) * widths
    return np.asarray(2 / np.pi * (np.sin(np.outer(r, wave)) @ values))


def structure_factor(
    trajectory: FrameSeries | StructureLike,
    q_max: float = 15.0,
    method: Literal["auto", "direct", "transform"] = "auto",
    weights: Weights = "neutron",
    *,
    q_width: float = 0.05,
    r_max: float | None = None,
    bin_width: float = 0.02,
    max_frames: int | None = 50,
    max_vectors: int | None = 200,
    seed: int = 0,
) -> StructureFactorResult:
    """Compute partial and total S(Q) and G(r).

    Parameters
    ----------
    trajectory : FrameSeries, Frame, ase.Atoms or pymatgen.core.Structure
        Frames to average over, or one structure.
    q_max : float, default 15.0
        Upper end of Q [A^-1]; 15 at most with X-rays.
    method : {"auto", "direct", "transform"}, default "auto"
        ``"direct"`` sums waves over the atoms for the reciprocal vectors of the cell, which must be constant:
        exact for the periodic cell, from ``2 pi / L`` on. ``"transform"`` integrates g(r) up to `r_max`,
        which broadens S(Q) by about ``5.4 / r_max`` and serves varying cells. ``"auto"`` is direct where the
        cell is constant.
    weights : {"neutron", "xray"}, mapping of str to float, or None, default "neutron"
        Amplitudes of the elements: coherent scattering lengths at natural abundance, X-ray form factors, an
        amplitude for every element, or 1 each.
    q_width : float, default 0.05
        Width of a shell of vectors, or distance of the points of a transform [A^-1].
    r_max : float, optional
        Upper end of g(r) [A]; by default half the smallest height of the cell, within 10 and 20 A.
    bin_width : float, default 0.02
        Width of the bins of g(r) [A].
    max_frames : int or None, default 50
        How many frames to take at most, evenly spread.
    max_vectors : int or None, default 200
        How many vectors of a shell to take at most, at random; all for None.
    seed : int, default 0
        Seed of that choice.

    Returns
    -------
    StructureFactorResult
        For a direct sum without shells that hold no vector.

    Raises
    ------
    InputError
        When a range is not positive, no vector is shorter than `q_max`, an amplitude is unknown, or the mean
        amplitude vanishes.
    TrajectoryError
        When the cell varies and the method is ``"direct"``.

    Notes
    -----
    Partials are those of Faber and Ziman, Phil. Mag. 11, 153 (1965),

    ``S_ab(Q) = 1 + 4 pi rho int (g_ab(r) - 1) r^2 sin(Qr) / (Qr) dr``,

    in terms of waves ``<rho_a(Q) rho_b(-Q)> / N = c_a delta_ab + c_a c_b (S_ab - 1)``, and the total is

    ``S(Q) = 1 + sum_ab c_a c_b f_a f_b (S_ab(Q) - 1) / <f>^2``.

    In the nomenclature of Keen, J. Appl. Cryst. 34, 172 (2001), S(Q) - 1 is F(Q) / <b>^2 and G(r) is G^PDF(r).
    Finite numbers of atoms are accounted for, so that an ideal gas of any size has S = 1 both ways.

    A direct S(Q) of a crystal is the mean over the vectors of a shell, and the powder intensity of a line is
    that mean times twice `n_available`. To mix a crystal with a glass, take both by transform. The memory is
    that of one chunk of frames plus 16 bytes per vector and pair of elements.

    Examples
    --------
    >>> from ase.build import bulk
    >>> result = structure_factor(bulk("LiCl", "rocksalt", a=5.13, cubic=True), q_max=3.0)
    >>> [round(float(q), 3) for q, s in zip(result.q, result.total) if s > 1]  # (111) and (200)
    [2.121, 2.45]
    """
    if not (0 < q_width <= q_max < math.inf and 0 < bin_width < math.inf):
        message = f"{q_max = }, {q_width = } and {bin_width = } define no range"
        raise InputError(message)
    if method not in {"auto", "direct", "transform"}:
        message = f"method = {method!r} is neither 'auto', 'direct' nor 'transform'"
        raise InputError(message)
    if r_max is not None and not bin_width <= r_max < math.inf:
        message = f"r_max = {r_max} A is no range for bins of {bin_width} A"
        raise InputError(message)
    series = as_series(trajectory)
    direct = series.constant_cell if method == "auto" else method == "direct"
    if direct and not series.constant_cell:
        message = "the cell varies, and with it its reciprocal vectors"
        raise TrajectoryError(message, remedy="use method='transform'")
    counts = {symbol: series.species.count(symbol) for symbol in sorted(set(series.species))}
    sample = _Sample(counts, list(combinations_with_replacement(counts, 2)), amplitudes(counts, weights))
    chosen = evenly_spread(series.n_frames, max_frames)
    if r_max is None:
        heights = 1 / np.linalg.norm(np.linalg.inv(series.cells.mean(axis=0)), axis=0)
        r_max = float(np.clip(heights.min() / 2, *_R_RANGE))
    partial_g = rdfs_of(series, chosen, sample.pairs, r_max, bin_width)
    if direct:
        vectors = (q_max, q_width, max_vectors, seed)
        curves = _direct(series, chosen, sample, vectors)
    else:
        curves = _transform(partial_g, sample, q_max, q_width)
    mean, square = sample.means(curves.q)
    r, reduced = _reduced_g(partial_g, sample)
    return StructureFactorResult(
        method="direct" if direct else "transform",
        weights=sample.amplitudes.name,
        forward=sample.amplitudes.forward,
        counts=counts,
        density=partial_g.density,
        n_frames=chosen.size,
        q_max=q_max,
        q_width=q_width,
        q=curves.q,
        total=curves.total,
        total_error=curves.error,
        partials=curves.partials,
        mean_amplitude=mean,
        mean_square=square,
        n_vectors=curves.n_vectors,
        n_available=curves.n_available,
        r=r,
        reduced_g=reduced,
        reduced_g_window=reduced_g_of(curves.q, curves.total, r, q_max),
    )


def _direct(
    series: FrameSeries,
    chosen: IntArray,
    sample: _Sample,
    choice: tuple[float, float, int | None, int],
) -> _Curves:
    """Average the products of the waves of two elements over frames, then over the vectors of every shell."""
    symbols = list(sample.counts)
    place = {symbol: k for k, symbol in enumerate(symbols)}
    kinds = np.array([place[symbol] for symbol in series.species])
    order = np.argsort(kinds, kind="stable")
    start = np.concatenate([[0], np.cumsum([sample.counts[symbol] for symbol in symbols])])
    vectors = reciprocal_vectors(series.cells[0], *choice)
    if vectors.q.size == 0:
        message = f"the cell has no reciprocal vector shorter than q_max = {choice[0]} A^-1"
        raise InputError(message, remedy="use a larger q_max, or method='transform'")
    products = np.zeros((len(sample.pairs), vectors.q.size))
    for _, positions, cell in visit_frames(series, chosen):
        fractional = positions[order] @ np.linalg.inv(cell)
        real, imaginary = waves(np.ascontiguousarray(fractional), start, vectors.hkl)
        for row, (a, b) in enumerate(sample.pairs):
            i, j = place[a], place[b]
            products[row] += real[:, i] * real[:, j] + imaginary[:, i] * imaginary[:, j]
    products /= chosen.size * series.n_atoms
    shells, first, taken = np.unique(vectors.shell, return_index=True, return_counts=True)

    def per_shell(values: FloatArray) -> FloatArray:
        return np.asarray(np.add.reduceat(values, first) / taken)

    partials: dict[str, FloatArray] = {}
    values = sample.amplitudes.at(vectors.q)
    intensity = np.zeros(vectors.q.size)
    for pair, (a, b) in zip(products, sample.pairs, strict=True):
        c_a, c_b = sample.fraction(a), sample.fraction(b)
        partials[f"{a}-{b}"] = 1 + (per_shell(pair) - c_a * (a == b)) / (c_a * c_b)
        intensity += (1 + (a != b)) * values[a] * values[b] * pair
    mean, square = sample.means(vectors.q)
    scattered = intensity / mean**2
    average = per_shell(scattered)
    # The intensity of one vector is distributed exponentially: its standard deviation is its mean.
    spread = per_shell((scattered - np.repeat(average, taken)) ** 2) * taken / np.maximum(taken - 1, 1)
    error = np.sqrt(np.where(taken > 1, spread, average**2) / taken)
    total = 1 + per_shell(scattered - square / mean**2)
    return _Curves(per_shell(vectors.q), total, error, partials, taken, vectors.available[shells])


def _transform(partial_g: RdfsResult, sample: _Sample, q_max: float, q_width: float) -> _Curves:
    """Transform every g(r), which is constant within a bin, without further approximation."""
    any_pair = next(iter(partial_g.partials.values()))
    edges = np.array(any_pair.edges)
    lowest = math.ceil(2 * np.pi / edges[-1] / q_width - 1e-9)
    q = q_width * np.arange(lowest, int(q_max / q_width + 1e-9) + 1)
    if q.size == 0:
        message = f"q_max = {q_max} A^-1 is below the resolution of g(r), 2 pi / {edges[-1]:g} A"
        raise InputError(message, remedy="use a larger q_max or r_max")
    wave = np.outer(q, edges)
    kernel = np.diff(np.sin(wave) - wave * np.cos(wave), axis=1) / q[:, None] ** 3
    kernel *= 4 * np.pi * partial_g.density * lorch((edges[1:] + edges[:-1]) / 2, edges[-1])
    partials: dict[str, FloatArray] = {}
    total, variance = np.ones(q.size), np.zeros(q.size)
    shares = sample.shares(q)
    known = partial_g.n_frames > 1
    for name, result in partial_g.partials.items():
        part = np.zeros(q.size)
        if result.status == "ok":
            # Of like atoms one fewer surrounds each.
            others = (result.n_b - (result.a == result.b)) / result.n_b
            part = others * (kernel @ (np.array(result.g) - 1))
            if known:
                error = np.array(result.g_error)
                variance += (others * shares[name]) ** 2 * (kernel**2 @ error**2)
        partials[name] = 1 + part
        total += shares[name] * part
    none = np.empty(0, dtype=np.int64)
    return _Curves(q, total, np.sqrt(variance) if known else np.empty(0), partials, none, none)


def _reduced_g(partial_g: RdfsResult, sample: _Sample) -> tuple[FloatArray, FloatArray]:
    shares = sample.shares(np.zeros(1))
    results = partial_g.partials
    r = np.array(next(iter(results.values())).r)
    excess = np.zeros(r.size)
    for name, result in results.items():
        if result.status == "ok":
            excess += shares[name] * (np.array(result.g) - 1)
    return r, np.asarray(4 * np.pi * partial_g.density * r * excess)
