"""One number from several glasses: how far they differ among each other, within a run, and between potentials."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import scipy
from pydantic import Field

from laoc_flows.analysis.trajectories.frame import FloatArray, Result
from laoc_flows.analysis.transport.diffusion import DiffusionResult
from laoc_flows.errors import InputError

MIN_GLASSES = 5
"""Independent glasses that a number needs to be published."""

_RIDGE = 1e-12


class CombinedResult(Result):
    """Mean over independent glasses, with the components of its uncertainty."""

    status: Literal["ok", "few", "insufficient", "empty"] = Field(
        description="'few' when there are fewer glasses than asked for; 'insufficient' when a run has no value or there "
        "is one glass; 'empty' without runs."
    )
    reason: str = Field(description="Why the status is what it is.")
    unit: str = Field(description="Unit of all numbers.")
    value: float | None = Field(description="Mean over glasses and potentials, in `unit`.")
    standard_error: float | None = Field(description="Standard error of the value, in `unit`.")
    interval: tuple[float, float] | None = Field(description="95 % interval of the value, in `unit`.")
    between_glasses: float | None = Field(
        description="Standard deviation between glasses, in `unit`; with one run per glass and potential it is between runs."
    )
    between_members: float | None = Field(
        description="Standard deviation between the members of a committee of potentials, in `unit`; None when it "
        "cannot be told from that between glasses."
    )
    within_runs: float | None = Field(description="Root mean square error of a single run, in `unit`.")
    n_runs: int = Field(description="Number of runs.", ge=0)
    n_glasses: int = Field(description="Number of different glasses.", ge=0)
    n_members: int = Field(description="Number of different members.", ge=0)


def combine(
    values: npt.ArrayLike,
    errors: npt.ArrayLike,
    *,
    glasses: Sequence[Hashable] | None = None,
    members: Sequence[Hashable] | None = None,
    unit: str = "1",
    min_glasses: int = MIN_GLASSES,
) -> CombinedResult:
    """Combine runs of several glasses, maybe with several potentials, by a random-effects model.

    Parameters
    ----------
    values, errors : array_like, shape (n_runs,)
        Value of every run and its standard error, in `unit`.
    glasses : sequence of hashable, length n_runs, optional
        Which independent glass a run is of; by default every run is of a glass of its own.
    members : sequence of hashable, length n_runs, optional
        Which member of a committee of potentials made it; by default all are of the same.
    unit : str, default "1"
        Unit of the numbers.
    min_glasses : int, default 5
        With fewer glasses the status is ``"few"``.

    Returns
    -------
    CombinedResult
        Mean and components.

    Raises
    ------
    InputError
        When lengths disagree, a number is not finite, or an error is negative.

    Notes
    -----
    value = mean + glass effect + member effect + error of the run; the variances of both effects are those of the
    largest restricted likelihood, which for runs of equal error is the method of moments of DerSimonian and Laird,
    Control. Clin. Trials 7, 177 (1986). The interval is Student's t with one degree of freedom less than there are
    glasses, or members where those are told apart and fewer, with the scale of Knapp and Hartung, Stat. Med. 22, 2693
    (2003), kept from narrowing it.

    Examples
    --------
    >>> result = combine([1.0, 1.4, 0.8, 1.2, 1.1], [0.1] * 5, unit="mS/cm")
    >>> round(result.value, 2), round(result.between_glasses, 2), round(result.within_runs, 2)
    (1.1, 0.2, 0.1)
    """
    y, s = np.asarray(values, dtype=np.float64), np.asarray(errors, dtype=np.float64)
    n = y.size
    glass_of = list(range(n)) if glasses is None else list(glasses)
    member_of: list[Hashable] = [0] * n if members is None else list(members)
    if y.shape != (n,) or not s.shape == y.shape == (len(glass_of),) == (len(member_of),):
        message = "values, errors, glasses and members do not have the same length"
        raise InputError(message)
    if not (np.isfinite(y).all() and np.isfinite(s).all()) or (s < 0).any():
        message = "a value or an error is not finite, or an error is negative"
        raise InputError(message)
    counts = (n, len(set(glass_of)), len(set(member_of)))
    if n == 0:
        return _without("empty", "there are no runs", unit, counts)
    if counts[1] == 1:
        return _without("insufficient", "runs of one glass say nothing about another", unit, counts)
    same_glass, same_member = _indicator(glass_of), _indicator(member_of)
    effects = [same_glass]
    # A member that has glasses of its own cannot be told from them.
    told_apart = counts[2] > 1 and _identifiable(same_glass, same_member)
    if told_apart:
        effects.append(same_member)
    variances = _restricted_likelihood(y, s, effects)
    covariance = np.diag(s**2) + sum(v * e for v, e in zip(variances, effects, strict=True))
    inverse = _inverse(covariance)
    weights = inverse.sum(axis=0) / inverse.sum()
    value = float(weights @ y)
    variance = float(weights @ covariance @ weights)
    degrees = min(counts[1:]) - 1 if told_apart else counts[1] - 1
    residual = y - value
    scale = max(1.0, float(residual @ inverse @ residual) / (n - 1))
    error = float(np.sqrt(variance * scale))
    reach = float(scipy.stats.t.ppf(0.975, degrees)) * error
    few = counts[1] < min_glasses
    return CombinedResult(
        status="few" if few else "ok",
        reason=f"{counts[1]} glasses" + (f", {min_glasses} are asked for" if few else ""),
        unit=unit,
        value=value,
        standard_error=error,
        interval=(value - reach, value + reach),
        between_glasses=float(np.sqrt(variances[0])),
        between_members=float(np.sqrt(variances[1])) if told_apart else None,
        within_runs=float(np.sqrt((s**2).mean())),
        n_runs=n,
        n_glasses=counts[1],
        n_members=counts[2],
    )


def combine_diffusion(
    results: Sequence[DiffusionResult],
    *,
    glasses: Sequence[Hashable] | None = None,
    members: Sequence[Hashable] | None = None,
    min_glasses: int = MIN_GLASSES,
) -> CombinedResult:
    """Combine the self-diffusion coefficients of several glasses.

    Parameters
    ----------
    results : sequence of DiffusionResult
        One per run.
    glasses, members : sequence of hashable, length n_runs, optional
        As in `combine`.
    min_glasses : int, default 5
        With fewer glasses the status is ``"few"``.

    Returns
    -------
    CombinedResult
        In cm^2/s. ``"insufficient"`` as soon as one run is not diffusive: leaving the slow ones out would make the
        mean too large.

    Raises
    ------
    InputError
        When lengths disagree, or the runs are of different elements.

    Examples
    --------
    >>> combine_diffusion([]).status
    'empty'
    """
    if len({result.species for result in results}) > 1:
        message = "the runs are of different elements"
        raise InputError(message)
    known = [
        (result.value, result.standard_error)
        for result in results
        if result.value is not None and result.standard_error is not None
    ]
    glass_of = list(range(len(results))) if glasses is None else list(glasses)
    member_of: list[Hashable] = [0] * len(results) if members is None else list(members)
    if not len(results) == len(glass_of) == len(member_of):
        message = "results, glasses and members do not have the same length"
        raise InputError(message)
    if len(known) < len(results):
        counts = (len(results), len(set(glass_of)), len(set(member_of)))
        reason = f"{len(results) - len(known)} of {len(results)} runs have no diffusion coefficient"
        return _without("insufficient", reason, "cm^2/s", counts)
    return combine(
        [value for value, _ in known],
        [error for _, error in known],
        glasses=glass_of,
        members=member_of,
        unit="cm^2/s",
        min_glasses=min_glasses,
    )


def _without(
    status: Literal["insufficient", "empty"], reason: str, unit: str, counts: tuple[int, int, int]
) -> CombinedResult:
    return CombinedResult(
        status=status,
        reason=reason,
        unit=unit,
        value=None,
        standard_error=None,
        interval=None,
        between_glasses=None,
        between_members=None,
        within_runs=None,
        n_runs=counts[0],
        n_glasses=counts[1],
        n_members=counts[2],
    )


def _indicator(labels: Sequence[Hashable]) -> FloatArray:
    """Return 1 where two runs share a label."""
    return np.array([[float(a == b) for b in labels] for a in labels])


def _identifiable(glass: FloatArray, member: FloatArray) -> bool:
    """Say whether the two effects leave different patterns, beyond the mean, and not that of single runs alone."""
    n = len(glass)
    center = np.eye(n) - np.full((n, n), 1 / n)
    patterns = np.array([(center @ matrix @ center).ravel() for matrix in (glass, member)])
    return bool(np.linalg.matrix_rank(patterns, tol=1e-9) == len(patterns))


def _inverse(covariance: FloatArray) -> FloatArray:
    """Invert, also where runs have no error at all: those that have none count most, and all alike."""
    scale = float(np.diag(covariance).mean()) or 1.0
    return np.asarray(np.linalg.inv(covariance / scale + _RIDGE * np.eye(len(covariance))) / scale)


def _restricted_likelihood(y: FloatArray, s: FloatArray, effects: list[FloatArray]) -> FloatArray:
    """Return the variance of every effect that makes the residuals most likely."""
    n = len(y)
    scale = float(y.var(ddof=1))
    if scale <= 0:
        return np.zeros(len(effects))
    # Contrasts without the mean: an orthonormal basis of everything that is not constant.
    basis = np.linalg.svd(np.eye(n) - 1 / n)[0][:, : n - 1]
    z = basis.T @ y / np.sqrt(scale)
    fixed = basis.T @ np.diag(s**2 / scale) @ basis
    parts = [basis.T @ effect @ basis for effect in effects]
    # Runs without any error would otherwise have no likelihood where the effects are zero.
    floor = _RIDGE * np.eye(n - 1)

    def minus_log(variances: FloatArray) -> float:
        covariance = fixed + floor + sum(v * part for v, part in zip(variances, parts, strict=True))
        _, log_determinant = np.linalg.slogdet(covariance)
        return float(log_determinant + z @ np.linalg.solve(covariance, z))

    # The likelihood may have a maximum on each border.
    starts = [*(np.full(len(effects), v) for v in (1.0, 0.1, 0.01)), *np.eye(len(effects))]
    bounds = [(0.0, 1e4)] * len(effects)
    fits = [
        scipy.optimize.minimize(minus_log, x, bounds=bounds, method="L-BFGS-B", tol=1e-12) for x in starts
    ]
    return np.asarray(min(fits, key=lambda fit: fit.fun).x * scale)
