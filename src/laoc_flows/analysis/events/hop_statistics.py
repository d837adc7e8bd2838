"""What the hops of a run say: their classes, rates and dwell times."""

from __future__ import annotations

import warnings
from typing import Literal

import numpy as np
import scipy
from pydantic import Field

from laoc_flows.analysis.events.hop_results import HopEvents, HopResult
from laoc_flows.analysis.rates import CONFIDENCE, Rate, Share, poisson_rate, wilson_share
from laoc_flows.analysis.trajectories.frame import Column, FloatArray, IntArray, Result
from laoc_flows.errors import InputError

ORIGINS = ("isolated", "chain")
"""Rows of the hop matrix."""
DESTINATIONS = ("same center", "same chain", "other chain", "isolated")
"""Columns of the hop matrix; a periodic image of a center or a chain is another one."""
CLASSES = ("intra-chain", "inter-chain", "isolated-assisted")
"""The three classes by origin."""

_PER_NS = 1000.0


class HopCount(Result):
    """Events of one kind."""

    name: str = Field(description="What is counted.")
    share: Share = Field(description="Of all events.")
    rate: Rate = Field(description="Per ion and time [1/ns].")

    @property
    def count(self) -> int:
        """Number of events."""
        return self.share.count


class HopMatrix(Result):
    """Events by what the ion left and where it went."""

    tau: float = Field(description="Dwell time of the events [ps].")
    n_events: int = Field(description="Hops between hosts and moves at one host together.", ge=0)
    n_hops: int = Field(description="Hops between hosts, all columns but the first.", ge=0)
    origins: tuple[str, ...] = Field(description="Names of the rows.")
    destinations: tuple[str, ...] = Field(description="Names of the columns.")
    counts: Column = Field(description="Number of events, shape (n_origins, n_destinations).")
    entries: tuple[tuple[HopCount, ...], ...] = Field(
        description="Every entry with its share of all events and its rate."
    )


class HopClasses(Result):
    """Hops between hosts, by their origin."""

    tau: float = Field(description="Dwell time of the hops [ps].")
    n_hops: int = Field(description="Hops between hosts.", ge=0)
    classes: tuple[HopCount, ...] = Field(
        description="'intra-chain': chain to the same chain; 'inter-chain': chain to another chain or to an "
        "isolated center; 'isolated-assisted': isolated center to anything."
    )
    total: HopCount = Field(description="All hops between hosts.")
    back_jumps: HopCount = Field(description="Hops that undo the one before, as a share of all.")


class DwellCurve(Result):
    """How long ions stay with a host."""

    status: Literal["ok", "insufficient"] = Field(
        description="'insufficient' when no dwell ended within the run; there is no mean then."
    )
    kind: Literal["exchange", "persistence"] = Field(
        description="'exchange': from one hop to the next; 'persistence': from the start of the run to the first."
    )
    tau: float = Field(description="Shortest dwell that is seen [ps].")
    n_dwells: int = Field(description="Number of dwells, censored ones included.", ge=0)
    n_censored: int = Field(description="Dwells that the end of the run cut.", ge=0)
    lag: Column = Field(description="Times since the start of the dwell, from 0 on [ps].")
    survival: Column = Field(description="Share of dwells that last longer (Kaplan-Meier).")
    lower: Column = Field(description="Lower bound of the survival.")
    upper: Column = Field(description="Upper bound of the survival.")
    mean: float | None = Field(description="Time at risk per ended dwell [ps]; None when none ended.")
    mean_interval: tuple[float, float] | None = Field(
        description="Poisson interval of the mean [ps]; None when none ended."
    )


def hop_matrix(result: HopResult) -> HopMatrix:
    """Sort hops and moves by what the ion left and where it went.

    Parameters
    ----------
    result : HopResult
        From `hops`.

    Returns
    -------
    HopMatrix
        Rows: isolated center, chain. Columns: same center (a move), same chain, other chain, isolated center.

    Examples
    --------
    >>> import numpy as np
    >>> from laoc_flows.analysis import hop_matrix
    >>> from laoc_flows.analysis import hops
    >>> from laoc_flows.analysis import Trajectory
    >>> framework = [[2, 5, 5], [2, 7, 5], [6, 5, 5], [6, 7, 5]]
    >>> positions = np.array([[*framework, [2.0 if t < 50 else 6.0, 9, 5]] for t in range(100)])
    >>> run = Trajectory(("Al", "Cl", "Al", "Cl", "Li"), positions, 12 * np.eye(3), time_step=0.1)
    >>> hop_matrix(hops(run)).counts.tolist()
    [[0, 0, 0, 0], [0, 1, 0, 0]]
    """
    counts = np.zeros((len(ORIGINS), len(DESTINATIONS)), dtype=np.int64)
    for column, rows in ((None, result.events), (0, result.moves)):
        row = 1 - rows.origin_isolated.astype(np.int64)
        np.add.at(counts, (row, _destination(rows) if column is None else np.zeros_like(row)), 1)
    total = int(counts.sum())
    return HopMatrix(
        tau=result.tau,
        n_events=total,
        n_hops=result.n_hops,
        origins=ORIGINS,
        destinations=DESTINATIONS,
        counts=counts,
        entries=tuple(
            tuple(
                _count(f"{origin} -> {destination}", int(n), total, result.exposure)
                for destination, n in zip(DESTINATIONS, line, strict=True)
            )
            for origin, line in zip(ORIGINS, counts, strict=True)
        ),
    )


def hop_classes(result: HopResult) -> HopClasses:
    """Sort the hops between hosts into the three classes by origin.

    Parameters
    ----------
    result : HopResult
        From `hops`.

    Returns
    -------
    HopClasses
        Counts, shares and rates. Moves at one host are left out.

    Notes
    -----
    The classes are those of J. Mater. Chem. A 13, 2309 (2025), Fig. 2b.

    Examples
    --------
    >>> import numpy as np
    >>> from laoc_flows.analysis import hop_classes
    >>> from laoc_flows.analysis import hops
    >>> from laoc_flows.analysis import Trajectory
    >>> framework = [[2, 5, 5], [2, 7, 5], [6, 5, 5], [6, 7, 5]]
    >>> positions = np.array([[*framework, [2.0 if t < 50 else 6.0, 9, 5]] for t in range(100)])
    >>> run = Trajectory(("Al", "Cl", "Al", "Cl", "Li"), positions, 12 * np.eye(3), time_step=0.1)
    >>> [(kind.name, kind.count) for kind in hop_classes(hops(run)).classes]
    [('intra-chain', 1), ('inter-chain', 0), ('isolated-assisted', 0)]
    """
    counts = hop_matrix(result).counts
    numbers = (counts[1, 1], counts[1, 2] + counts[1, 3], counts[0, 1:].sum())
    n, exposure = result.n_hops, result.exposure
    return HopClasses(
        tau=result.tau,
        n_hops=n,
        classes=tuple(_count(name, int(k), n, exposure) for name, k in zip(CLASSES, numbers, strict=True)),
        total=_count("all", n, n, exposure),
        back_jumps=_count("back-jumps", result.n_back_jumps, n, exposure),
    )


def dwell_curve(result: HopResult, kind: Literal["exchange", "persistence"] = "exchange") -> DwellCurve:
    """Estimate how long ions stay with a host.

    Parameters
    ----------
    result : HopResult
        From `hops`.
    kind : {"exchange", "persistence"}, default "exchange"
        Time from one hop to the next, or from the first moment at which a hop could be seen to the first hop. For a
        Poisson process both are the same; where hops come in bursts, persistence is longer.

    Returns
    -------
    DwellCurve
        A step function: the survival from each lag on.

    Raises
    ------
    InputError
        When the kind is unknown.

    Notes
    -----
    Kaplan and Meier, J. Am. Stat. Assoc. 53, 457 (1958); dwells that the end of the run cuts are censored. Exchange
    and persistence: Jung, Garrahan and Chandler, J. Chem. Phys. 123, 084509 (2005).

    Examples
    --------
    >>> import numpy as np
    >>> from laoc_flows.analysis import dwell_curve
    >>> from laoc_flows.analysis import hops
    >>> from laoc_flows.analysis import Trajectory
    >>> framework = [[2, 5, 5], [2, 7, 5], [6, 5, 5], [6, 7, 5]]
    >>> positions = np.array([[*framework, [2.0 if t < 50 else 6.0, 9, 5]] for t in range(100)])
    >>> run = Trajectory(("Al", "Cl", "Al", "Cl", "Li"), positions, 12 * np.eye(3), time_step=0.1)
    >>> dwell_curve(hops(run), "persistence").lag.round(2).tolist()
    [0.0, 3.95]
    """
    if kind not in {"exchange", "persistence"}:
        message = f"kind = {kind!r} is neither 'exchange' nor 'persistence'"
        raise InputError(message)
    ended, cut = _dwells(result, kind)
    lag, survival, lower, upper = _kaplan_meier(ended, cut)
    mean = interval = None
    if ended.size:
        at_risk = float(ended.sum() + cut.sum())
        low, high = poisson_rate(ended.size, at_risk).interval or (0.0, 0.0)
        mean, interval = at_risk / ended.size, (1 / high, 1 / low)
    return DwellCurve(
        status="ok" if ended.size else "insufficient",
        kind=kind,
        tau=result.tau,
        n_dwells=ended.size + cut.size,
        n_censored=cut.size,
        lag=lag,
        survival=survival,
        lower=lower,
        upper=upper,
        mean=mean,
        mean_interval=interval,
    )


def _destination(rows: HopEvents) -> IntArray:
    """Return the column of every hop."""
    column = np.where(rows.same_chain, 1, 2)
    return np.asarray(np.where(rows.destination_isolated, 3, column), dtype=np.int64)


def _count(name: str, count: int, n: int, exposure: float) -> HopCount:
    return HopCount(name=name, share=wilson_share(count, n), rate=poisson_rate(count, exposure / _PER_NS))


def _dwells(result: HopResult, kind: str) -> tuple[FloatArray, FloatArray]:
    """Return the dwells that end with a hop, and those that are cut [ps]."""
    begin = result.start_time + result.tau
    end = result.start_time + result.duration - result.tau
    if not result.exposure > 0:
        return np.empty(0), np.empty(0)
    order = np.lexsort((result.events.time, result.events.ion))
    ion, time = result.events.ion[order], result.events.time[order]
    another = ion[1:] != ion[:-1]
    if kind == "exchange":
        return np.diff(time)[~another], end - time[np.append(another, True)[: ion.size]]
    hopped = np.unique(ion).size
    return time[np.append(True, another)[: ion.size]] - begin, np.full(
        result.n_carriers - hopped, end - begin
    )


def _kaplan_meier(
    ended: FloatArray, cut: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return lags, survival and its bounds."""
    if not ended.size:
        return np.zeros(1), np.ones(1), np.ones(1), np.ones(1)
    survival = scipy.stats.ecdf(scipy.stats.CensoredData(uncensored=ended, right=cut)).sf
    with warnings.catch_warnings():
        # The variance is not defined where the survival is 0 or 1; nothing is known there.
        warnings.simplefilter("ignore", RuntimeWarning)
        interval = survival.confidence_interval(CONFIDENCE, method="log-log")
    lower = np.nan_to_num(interval.low.probabilities, nan=0.0)
    upper = np.nan_to_num(interval.high.probabilities, nan=1.0)
    lags, shares = np.append(0.0, survival.quantiles), np.append(1.0, survival.probabilities)
    return lags, shares, np.append(1.0, lower), np.append(1.0, upper)
