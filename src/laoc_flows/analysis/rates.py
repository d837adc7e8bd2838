"""Counts of events as rates and shares, with intervals that hold for few events and for none."""

from __future__ import annotations

import scipy
from pydantic import Field

from laoc_flows.analysis.trajectories.frame import Result
from laoc_flows.errors import InputError

CONFIDENCE = 0.95
"""Probability that the intervals of counts are built for."""


class Rate(Result):
    """Number of events per particle and time."""

    count: int = Field(description="Number of events.", ge=0)
    exposure: float = Field(description="Time that all particles together were watched for [ns].", ge=0)
    value: float | None = Field(
        description="Events per particle and time [1/ns]; None when nothing was watched."
    )
    interval: tuple[float, float] | None = Field(description="Exact 95 % Poisson interval of `value` [1/ns].")


class Share(Result):
    """Part of a whole number."""

    count: int = Field(description="Size of the part.", ge=0)
    total: int = Field(description="Size of the whole.", ge=0)
    value: float | None = Field(description="count / total; None when the whole is empty.")
    interval: tuple[float, float] | None = Field(description="95 % Wilson interval of `value`.")


def poisson_rate(count: int, exposure: float) -> Rate:
    """Turn a number of independent events into a rate.

    Parameters
    ----------
    count : int
        Number of events.
    exposure : float
        Time that all particles together were watched for [ns].

    Returns
    -------
    Rate
        Without events the interval is one of an upper bound.

    Raises
    ------
    InputError
        When a number is negative.

    Notes
    -----
    Garwood, Biometrika 28, 437 (1936).

    Examples
    --------
    >>> rate = poisson_rate(4, exposure=2.0)
    >>> rate.value, [round(bound, 2) for bound in rate.interval]
    (2.0, [0.54, 5.12])
    """
    if count < 0 or exposure < 0:
        message = f"{count} events in {exposure} ns are no rate"
        raise InputError(message)
    if exposure == 0:
        return Rate(count=count, exposure=0.0, value=None, interval=None)
    tail = (1 - CONFIDENCE) / 2
    low = float(scipy.stats.chi2.ppf(tail, 2 * count)) / 2 if count else 0.0
    high = float(scipy.stats.chi2.ppf(1 - tail, 2 * count + 2)) / 2
    return Rate(
        count=count, exposure=exposure, value=count / exposure, interval=(low / exposure, high / exposure)
    )


def wilson_share(count: int, total: int) -> Share:
    """Turn a number of independent successes into a share.

    Parameters
    ----------
    count, total : int
        Size of the part and of the whole.

    Returns
    -------
    Share
        With its Wilson interval.

    Raises
    ------
    InputError
        Unless ``0 <= count <= total``.

    Notes
    -----
    Wilson, J. Am. Stat. Assoc. 22, 209 (1927).

    Examples
    --------
    >>> share = wilson_share(0, 20)
    >>> share.value, [round(bound, 3) for bound in share.interval]
    (0.0, [0.0, 0.161])
    """
    if not 0 <= count <= total:
        message = f"{count} of {total} is no share"
        raise InputError(message)
    if total == 0:
        return Share(count=0, total=0, value=None, interval=None)
    bounds = scipy.stats.binomtest(count, total).proportion_ci(CONFIDENCE, method="wilson")
    return Share(
        count=count, total=total, value=count / total, interval=(float(bounds.low), float(bounds.high))
    )
