"""Glass transition temperature from the volumes of a quench."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field

from laoc_flows.analysis.statistics import Measured
from laoc_flows.analysis.trajectories.frame import Column, FloatArray, IntArray, Result
from laoc_flows.errors import InputError

_N_CENTERS = 200
_WIDTHS = (0.0, 0.02, 0.05, 0.1, 0.15)
_LINE, _PARABOLA, _KINK = 2, 3, 5
_ROUNDING = 1e-9


class GlassTransitionResult(Result):
    """Kink of V(T) between a glass and its liquid."""

    status: Literal["ok", "insufficient"] = Field(
        description="'insufficient' when the data show no kink, or one that too few points surround."
    )
    reason: str = Field(description="Why the status is what it is.")
    t_g: Measured | None = Field(
        description="T_g [K], where the asymptotes of glass and liquid cross; standard error by bootstrap."
    )
    interval: tuple[float, float] | None = Field(description="Bootstrap interval of T_g [K].")
    confidence: float = Field(description="Its level.", gt=0, lt=1)
    expansion_glass: Measured | None = Field(
        description="Volume expansion coefficient of the glass, dV/dT / V(T_g) of its asymptote [1/K]."
    )
    expansion_liquid: Measured | None = Field(
        description="Volume expansion coefficient of the liquid, dV/dT / V(T_g) of its asymptote [1/K]."
    )
    volume: float | None = Field(description="Volume at T_g, where the asymptotes cross [unit of the input].")
    width: float | None = Field(
        description="Half width of the rounding between the asymptotes [K]; 0 for two straight lines."
    )
    delta_bic: float | None = Field(
        description="Bayesian information criterion of a line minus that of the kink; None for too few points."
    )
    n_points: int = Field(description="Number of points of the fit.", ge=0)
    temperatures: Column = Field(description="Their temperatures, ascending [K].")
    volumes: Column = Field(description="Their volumes [unit of the input].")
    fit: Column = Field(
        description="The fitted volumes [unit of the input]; empty when the status is not 'ok'."
    )


class _Points(NamedTuple):
    t: FloatArray
    v: FloatArray
    weight: FloatArray


class _Grid(NamedTuple):
    """All kinks that are tried, shape (n_kinks, ...)."""

    center: FloatArray
    width: FloatArray
    bases: FloatArray


class _Kink(NamedTuple):
    center: float
    width: float
    slopes: tuple[float, float]
    volume: float
    fit: FloatArray
    rest: float


def glass_transition(
    temperatures: npt.ArrayLike,
    volumes: npt.ArrayLike,
    errors: npt.ArrayLike | None = None,
    *,
    n_bootstrap: int = 500,
    confidence: float = 0.95,
    min_points: int = 4,
    min_delta_bic: float = 10.0,
    max_points: int = 200,
    seed: int = 0,
) -> GlassTransitionResult:
    """Find the glass transition temperature in V(T) of a quench.

    Parameters
    ----------
    temperatures : array_like, shape (n,)
        Temperatures [K] in any order; they may repeat.
    volumes : array_like, shape (n,)
        Volumes, specific or per cell, in any unit.
    errors : array_like, shape (n,), optional
        Standard errors of the volumes, in their unit; all equal by default. Only their ratios count.
    n_bootstrap : int, default 500
        Number of resampled data sets.
    confidence : float, default 0.95
        Level of the interval.
    min_points : int, default 4
        Smallest number of different temperatures on either side of T_g.
    min_delta_bic : float, default 10.0
        By how much the kink must beat a straight line; it must also beat a parabola.
    max_points : int, default 200
        More points are averaged in groups of neighboring temperatures, which also removes correlations in
        time.
    seed : int, default 0
        Seed of the bootstrap.

    Returns
    -------
    GlassTransitionResult
        Without T_g when the status is ``"insufficient"``.

    Raises
    ------
    InputError
        When the arrays do not match, a number is not finite, a temperature is negative, a volume or an error
        is not positive, or a parameter is out of range.

    Notes
    -----
    ``V = V_g + m (T - T_g) + k sqrt((T - T_g)^2 + w^2)``, a hyperbola whose asymptotes have the
    slopes m - k (glass) and m + k (liquid) and cross at T_g: Patrone, Dienstfrey, Browning, Tucker and
    Christensen, Polymer 87, 246 (2016). With w = 0 it is two straight lines. T_g and w are searched on a
    grid, w up to 0.15 of the range of temperatures, everything else is linear; no start values are needed and
    the best fit is not missed.

    Residuals, rescaled for the degrees of freedom, are resampled for the bootstrap. T_g depends on the rate
    of the quench, and points that are correlated in time make the error too small: average over each
    temperature first.

    Examples
    --------
    >>> t = np.arange(300.0, 1001.0, 50.0)
    >>> v = 2600 + 0.1 * (t - 600) + 0.2 * np.maximum(t - 600, 0)
    >>> result = glass_transition(t, v + np.random.default_rng(0).normal(0, 0.5, t.size))
    >>> result.status, abs(result.t_g.value - 600) < 10
    ('ok', True)
    >>> glass_transition(t, 2600 + 0.1 * t).status
    'insufficient'
    """
    if n_bootstrap < 2 or not 0 < confidence < 1 or min_points < 2 or max_points < 4 * min_points:  # noqa: PLR2004
        message = f"{n_bootstrap = }, {confidence = }, {min_points = } and {max_points = } are out of range"
        raise InputError(message)
    points = _points(temperatures, volumes, errors, max_points)
    different = np.unique(points.t)
    if different.size < 2 * min_points:
        return _refused(
            points,
            confidence,
            f"{different.size} different temperatures are fewer than {min_points} on either side of a kink",
        )
    weighted = points.v * points.weight
    grid = _grid(points, different, min_points)
    rests = np.array([_rest(points, weighted, degree) for degree in (1, 2)])
    best = _best(grid, points, weighted[:, None])
    kink = _kink(points, weighted, float(best[0][0]), float(best[1][0]))
    # Rounding errors are no evidence.
    floor = (_ROUNDING * np.linalg.norm(weighted)) ** 2
    n = points.t.size
    parameters = np.array([_LINE, _PARABOLA, _KINK])
    line, parabola, own = n * np.log((np.array([*rests, kink.rest]) + floor) / n) + parameters * np.log(n)
    evidence = float(line - own)
    reason = None
    if evidence < min_delta_bic:
        reason = f"a kink is no better than a straight line (difference of BIC {evidence:.1f}, not {min_delta_bic:g})"
    elif parabola <= own:
        reason = "a parabola describes the volumes as well as a kink"
    elif kink.slopes[1] <= kink.slopes[0]:
        reason = "the volume grows less above the kink than below it"
    elif not different[min_points - 1] < kink.center < different[-min_points]:
        reason = f"fewer than {min_points} temperatures lie on one side of the kink"
    if reason is not None:
        return _refused(points, confidence, reason, evidence)
    centers, glass, liquid = _bootstrap(grid, points, kink, n_bootstrap, seed)
    tail = (1 - confidence) / 2
    low, high = np.quantile(centers, [tail, 1 - tail])
    return GlassTransitionResult(
        status="ok",
        reason=f"a kink is better than a straight line (difference of BIC {evidence:.1f})",
        t_g=_measured(kink.center, centers, "K", n),
        interval=(float(low), float(high)),
        confidence=confidence,
        expansion_glass=_measured(kink.slopes[0] / kink.volume, glass, "1/K", n),
        expansion_liquid=_measured(kink.slopes[1] / kink.volume, liquid, "1/K", n),
        volume=kink.volume,
        width=kink.width,
        delta_bic=evidence,
        n_points=n,
        temperatures=points.t,
        volumes=points.v,
        fit=kink.fit,
    )


def _measured(value: float, samples: FloatArray, unit: str, n: int) -> Measured:
    return Measured(
        value=float(value), standard_error=float(np.std(samples, ddof=1)), unit=unit, n_independent=n
    )


def _refused(
    points: _Points, confidence: float, reason: str, evidence: float | None = None
) -> GlassTransitionResult:
    return GlassTransitionResult(
        status="insufficient",
        reason=reason,
        t_g=None,
        interval=None,
        confidence=confidence,
        expansion_glass=None,
        expansion_liquid=None,
        volume=None,
        width=None,
        delta_bic=evidence,
        n_points=points.t.size,
        temperatures=points.t,
        volumes=points.v,
        fit=np.empty(0),
    )


def _points(
    temperatures: npt.ArrayLike, volumes: npt.ArrayLike, errors: npt.ArrayLike | None, max_points: int
) -> _Points:
    """Check the input, sort it, and average groups of neighbors when it is long."""
    t, v = np.asarray(temperatures, dtype=np.float64), np.asarray(volumes, dtype=np.float64)
    sigma = np.ones(v.shape) if errors is None else np.asarray(errors, dtype=np.float64)
    if t.ndim != 1 or t.shape != v.shape or sigma.shape != v.shape:
        message = f"temperatures, volumes and errors have the shapes {t.shape}, {v.shape} and {sigma.shape}"
        raise InputError(message, remedy="give flat arrays of one length")
    if not (np.isfinite(t).all() and np.isfinite(v).all() and np.isfinite(sigma).all()):
        message = "a temperature, a volume or an error is not a finite number"
        raise InputError(message)
    if t.size and (t.min() < 0 or v.min() <= 0 or sigma.min() <= 0):
        message = "a temperature is negative, or a volume or an error is not positive"
        raise InputError(message)
    order: IntArray = np.lexsort((sigma, v, t))
    t, v, sigma = t[order], v[order], sigma[order]
    if t.size > max_points:
        groups = np.array_split(np.arange(t.size), max_points)
        shares = [1 / sigma[group] ** 2 for group in groups]
        t = np.array([np.average(t[group], weights=w) for group, w in zip(groups, shares, strict=True)])
        v = np.array([np.average(v[group], weights=w) for group, w in zip(groups, shares, strict=True)])
        sigma = np.array([w.sum() ** -0.5 for w in shares])
    # Scaled, so that the weights are near one whatever the unit.
    return _Points(t, v, sigma.mean() / sigma if sigma.size else sigma)


def _bases(points: _Points, centers: FloatArray, widths: FloatArray) -> FloatArray:
    """Return the three weighted columns of every kink, shape (n_kinks, n_points, 3)."""
    x = points.t - centers[:, None]
    columns = np.stack([np.ones(x.shape), x, np.sqrt(x**2 + widths[:, None] ** 2)], axis=-1)
    return np.asarray(columns * points.weight[:, None])


def _grid(points: _Points, different: FloatArray, min_points: int) -> _Grid:
    """Prepare every kink: orthonormal bases make a fit of any data a product of matrices."""
    reach = np.ptp(different)
    # One temperature further out than is accepted, so that a kink at the end of the data shows as such.
    low, high = different[min_points - 2], different[-min_points + 1]
    center = np.repeat(np.linspace(low, high, _N_CENTERS), len(_WIDTHS))
    width = np.tile(reach * np.array(_WIDTHS), _N_CENTERS)
    return _Grid(center, width, np.linalg.qr(_bases(points, center, width))[0])


def _best(grid: _Grid, points: _Points, data: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return center and width of the best kink for every column of weighted volumes."""
    # The mean is in every basis; without it small differences keep their digits.
    constant = points.weight / np.linalg.norm(points.weight)
    centered = data - np.outer(constant, constant @ data)
    explained = np.zeros((len(grid.center), data.shape[1]))
    for column in range(grid.bases.shape[2]):
        explained += (grid.bases[:, :, column] @ centered) ** 2
    best = explained.argmax(axis=0)
    return _refined(grid, explained, best), grid.width[best]


def _refined(grid: _Grid, explained: FloatArray, best: IntArray) -> FloatArray:
    """Move every best center to the top of the parabola through it and its two neighbors."""
    step = len(_WIDTHS)
    inside = (best >= step) & (best < len(grid.center) - step)
    middle = np.where(inside, best, step)
    columns = np.arange(best.size)
    before, at, after = (explained[middle + k * step, columns] for k in (-1, 0, 1))
    curvature = before - 2 * at + after
    ratio = np.divide(before - after, 2 * curvature, out=np.zeros(best.size), where=curvature < 0)
    spacing = grid.center[step] - grid.center[0]
    return np.asarray(grid.center[best] + np.where(inside, np.clip(ratio, -0.5, 0.5), 0.0) * spacing)


def _kink(points: _Points, weighted: FloatArray, center: float, width: float) -> _Kink:
    basis = _bases(points, np.array([center]), np.array([width]))[0]
    constant, mean, half = np.linalg.lstsq(basis, weighted, rcond=None)[0]
    fit = basis @ np.array([constant, mean, half])
    rest = float(((weighted - fit) ** 2).sum())
    return _Kink(
        center, width, (float(mean - half), float(mean + half)), float(constant), fit / points.weight, rest
    )


def _rest(points: _Points, weighted: FloatArray, degree: int) -> float:
    """Return the sum of the squared weighted residuals of a polynomial."""
    x = (points.t - points.t.mean()) / np.ptp(points.t)
    basis = np.vander(x, degree + 1) * points.weight[:, None]
    fit = basis @ np.linalg.lstsq(basis, weighted, rcond=None)[0]
    return float(((weighted - fit) ** 2).sum())


def _bootstrap(
    grid: _Grid, points: _Points, kink: _Kink, n_bootstrap: int, seed: int
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return T_g and both expansion coefficients of resampled data."""
    n = points.t.size
    fit = kink.fit * points.weight
    residuals = points.v * points.weight - fit
    residuals = (residuals - residuals.mean()) * np.sqrt(n / max(n - _KINK, 1))
    drawn = np.random.default_rng(seed).choice(residuals, (n, n_bootstrap))
    data = fit[:, None] + drawn
    centers, widths = _best(grid, points, data)
    q, r = np.linalg.qr(_bases(points, centers, widths))
    constant, mean, half = np.linalg.solve(r, np.einsum("knp,nk->kp", q, data)[..., None])[..., 0].T
    glass, liquid = (mean - half) / constant, (mean + half) / constant
    return centers, glass, liquid
