"""Which centers the hops prefer, and the diffusion that they carry."""

from __future__ import annotations

from typing import Literal

import numpy as np
import scipy
from pydantic import Field

from laoc_flows.analysis.events.hop_results import HopResult
from laoc_flows.analysis.rates import CONFIDENCE
from laoc_flows.analysis.trajectories.frame import Column, Result
from laoc_flows.errors import InputError

_CM2_PER_S = 1e-4
_ENDS = {
    "origin": ("origin_type",),
    "destination": ("destination_type",),
    "both": ("origin_type", "destination_type"),
}


class Enrichment(Result):
    """Which kinds of centers hops prefer."""

    status: Literal["ok", "empty"] = Field(description="'empty' without hops.")
    end: Literal["origin", "destination", "both"] = Field(description="Which ends of the hops are counted.")
    tau: float = Field(description="Dwell time of the hops [ps].")
    n_hops: int = Field(description="Hops between hosts.", ge=0)
    labels: tuple[str, ...] = Field(description="Types of centers.")
    event_count: Column = Field(description="Ends of hops at each type.")
    event_share: tuple[float | None, ...] = Field(description="P(type | event); None without hops.")
    event_interval: tuple[tuple[float, float], ...] = Field(
        description="95 % Wilson interval of P(type | event)."
    )
    structure_share: tuple[float | None, ...] = Field(description="Share of centers; None without samples.")
    neighbor_share: tuple[float | None, ...] = Field(
        description="Share of the time that ions spend at hosts of each type; None without any."
    )
    enrichment: tuple[float | None, ...] = Field(
        description="P(type | event) / P(type | neighbor time); None where either is not known or the latter 0."
    )
    enrichment_interval: tuple[tuple[float, float] | None, ...] = Field(
        description="Its 95 % interval, from that of P(type | event)."
    )
    structure_enrichment: tuple[float | None, ...] = Field(
        description="P(type | event) / P(type | structure), likewise."
    )


class JumpDiffusion(Result):
    """The diffusion coefficient that uncorrelated hops would give."""

    status: Literal["ok", "insufficient"] = Field(description="'insufficient' without hops or exposure.")
    value: float | None = Field(
        description="sum |dr|^2 / (6 N t) [cm^2/s]; 0 without hops, None without exposure."
    )
    standard_error: float | None = Field(description="Of the value [cm^2/s]; None without hops.")
    n_hops: int = Field(description="Events in the sum.", ge=0)
    with_moves: bool = Field(description="Whether moves at one host are in the sum.")
    tau: float = Field(description="Dwell time of the hops [ps].")


def enrichment(result: HopResult, end: Literal["origin", "destination", "both"] = "both") -> Enrichment:
    """Compare the types of centers at hops with those in the structure, and with those the ions stay at anyway.

    Parameters
    ----------
    result : HopResult
        From `hops`.
    end : {"origin", "destination", "both"}, default "both"
        Which centers of a hop are counted; with both, each is half of it.

    Returns
    -------
    Enrichment
        Shares by type, over the labels of `result`.

    Raises
    ------
    InputError
        When the end is unknown.

    Notes
    -----
    J. Mater. Chem. A 13, 2309 (2025), Fig. 2c, compares with the structure; a type that ions sit next to for most
    of the time has most of the hops without any preference, which is what the second comparison takes out. The
    intervals are those of P(type | event), with one independent sample per hop; the other shares are averages over
    all samples of the run.

    Examples
    --------
    >>> import numpy as np
    >>> from laoc_flows.analysis import enrichment
    >>> from laoc_flows.analysis import hops
    >>> from laoc_flows.analysis import Trajectory
    >>> framework = [[2, 5, 5], [2, 7, 5], [6, 5, 5], [6, 7, 5]]
    >>> positions = np.array([[*framework, [2.0 if t < 50 else 6.0, 9, 5]] for t in range(100)])
    >>> run = Trajectory(("Al", "Cl", "Al", "Cl", "Li"), positions, 12 * np.eye(3), time_step=0.1)
    >>> result = enrichment(hops(run))
    >>> {label: n for label, n in zip(result.labels, result.event_count.tolist()) if n}
    {'CN1:O0Cl1': 2}
    """
    if end not in _ENDS:
        message = f"end = {end!r} is not one of {', '.join(_ENDS)}"
        raise InputError(message)
    n, n_types = result.n_hops, len(result.labels)
    kinds = np.concatenate([getattr(result.events, column) for column in _ENDS[end]]).astype(np.int64)
    count = np.bincount(kinds, minlength=n_types)
    per_hop = count / len(_ENDS[end])
    intervals = tuple(_wilson(float(k), n) for k in per_hop)
    event = _shares(per_hop)
    structure = _shares(result.structure_counts)
    neighbor = _shares(result.neighbor_counts.sum(axis=0))
    return Enrichment(
        status="ok" if n else "empty",
        end=end,
        tau=result.tau,
        n_hops=n,
        labels=result.labels,
        event_count=count,
        event_share=event,
        event_interval=intervals,
        structure_share=structure,
        neighbor_share=neighbor,
        enrichment=_ratios(event, neighbor),
        enrichment_interval=tuple(
            (low / share, high / share) if n and share else None
            for (low, high), share in zip(intervals, neighbor, strict=True)
        ),
        structure_enrichment=_ratios(event, structure),
    )


def jump_diffusion(result: HopResult, *, with_moves: bool = False) -> JumpDiffusion:
    """Compute the diffusion coefficient that the hops would give if they were uncorrelated.

    Parameters
    ----------
    result : HopResult
        From `hops`.
    with_moves : bool, default False
        Whether moves at one host count, too.

    Returns
    -------
    JumpDiffusion
        To be compared with D from the mean squared displacement: their ratio is the correlation factor of the hops,
        below one when ions jump back and forth.

    Notes
    -----
    ``D = sum |dr|^2 / (6 N t)``, over the time in which hops can be seen. The error is the scatter between ions, or for
    a single ion that of a compound Poisson process.

    Examples
    --------
    >>> import numpy as np
    >>> from laoc_flows.analysis import jump_diffusion
    >>> from laoc_flows.analysis import hops
    >>> from laoc_flows.analysis import Trajectory
    >>> framework = [[2, 5, 5], [2, 7, 5], [6, 5, 5], [6, 7, 5]]
    >>> positions = np.array([[*framework, [2.0 if t < 50 else 6.0, 9, 5]] for t in range(100)])
    >>> run = Trajectory(("Al", "Cl", "Al", "Cl", "Li"), positions, 12 * np.eye(3), time_step=0.1)
    >>> f"{jump_diffusion(hops(run, window=0)).value:.2e} cm^2/s"
    '3.38e-05 cm^2/s'
    """
    tables = (result.events, result.moves) if with_moves else (result.events,)
    ion = np.concatenate([table.ion for table in tables])
    squares = np.concatenate([(table.displacement**2).sum(axis=1) for table in tables])
    value = error = None
    if result.exposure > 0:
        scale = _CM2_PER_S / (6 * result.exposure)
        per_ion = np.bincount(np.searchsorted(result.carriers, ion), squares, minlength=result.n_carriers)
        value = float(squares.sum() * scale)
        if squares.size:
            n = result.n_carriers
            scatter = float(np.sqrt(n) * per_ion.std(ddof=1)) if n > 1 else float(np.sqrt((squares**2).sum()))
            error = scatter * scale
    return JumpDiffusion(
        status="ok" if squares.size and value is not None else "insufficient",
        value=value,
        standard_error=error,
        n_hops=squares.size,
        with_moves=with_moves,
        tau=result.tau,
    )


def _shares(counts: Column) -> tuple[float | None, ...]:
    total = counts.sum()
    return tuple(float(n / total) if total else None for n in counts)


def _ratios(top: tuple[float | None, ...], bottom: tuple[float | None, ...]) -> tuple[float | None, ...]:
    return tuple(a / b if a is not None and b else None for a, b in zip(top, bottom, strict=True))


def _wilson(count: float, n: int) -> tuple[float, float]:
    """Return the Wilson interval of a share to which an event may count by half."""
    if n == 0:
        return 0.0, 1.0
    z = float(scipy.stats.norm.isf((1 - CONFIDENCE) / 2))
    p = count / n
    middle, half = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return max((middle - half) / (1 + z**2 / n), 0.0), min((middle + half) / (1 + z**2 / n), 1.0)
