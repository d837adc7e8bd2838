"""Which explored frames are worth a label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from laoc_flows.schemas.config import Selection
from laoc_flows.schemas.iteration import StratumReport


@dataclass(frozen=True)
class Explored:
    """Explored frames of one composition and temperature.

    Attributes
    ----------
    temperature : float
        Temperature of the stratum [K].
    times : numpy.ndarray, shape (n,)
        Time of each frame in its trajectory [ps].
    deviations : numpy.ndarray, shape (n,)
        Largest force deviation of the committee [eV/A].
    floor_ratios : numpy.ndarray, shape (n,)
        Closest pair over its distance floor [1].
    n_cut : int
        Frames after the point where the trajectory left physics.
    """

    temperature: float
    times: np.ndarray
    deviations: np.ndarray
    floor_ratios: np.ndarray
    n_cut: int


def select(
    explored: Explored, settings: Selection, composition_id: str, seed: int, taken: list[float] | None = None
) -> tuple[list[int], StratumReport]:
    """Choose frames between the trust levels, above the distance floor, apart in time, within the quota.

    Parameters
    ----------
    explored : Explored
        Frames of one stratum.
    settings : Selection
        Trust levels, quota, spacing.
    composition_id : str
        Composition of the stratum.
    seed : int
        Seed of the choice among the candidates.
    taken : list of float, optional
        Times [ps] already selected in the same trajectory; extended in place.

    Returns
    -------
    chosen : list of int
        Indices into `explored`, rising.
    report : StratumReport
        Counts of every class.
    """
    taken = taken if taken is not None else []
    trust = settings.trust(explored.temperature)
    deviation = explored.deviations
    accurate = deviation < trust.low
    failed = deviation >= trust.high
    candidate = ~accurate & ~failed & (explored.floor_ratios >= 1.0)
    order = np.random.default_rng(seed).permutation(np.flatnonzero(candidate))
    chosen: list[int] = []
    for index in order:
        if len(chosen) == settings.labels_per_stratum:
            break
        time = float(explored.times[index])
        if all(abs(time - other) >= settings.spacing - 1e-9 for other in taken):
            taken.append(time)
            chosen.append(int(index))
    return sorted(chosen), StratumReport(
        composition_id=composition_id,
        temperature=explored.temperature,
        n_frames=len(deviation) + explored.n_cut,
        n_accurate=int(accurate.sum()),
        n_candidates=int(candidate.sum()),
        n_failed=int((failed & ~candidate).sum()),
        n_cut=explored.n_cut,
        n_selected=len(chosen),
        trust_low=trust.low,
        trust_high=trust.high,
        median_deviation=float(np.median(deviation)) if len(deviation) else None,
        max_deviation=float(deviation.max()) if len(deviation) else None,
    )


def merge(reports: list[StratumReport]) -> tuple[StratumReport, ...]:
    """Add up the reports of equal strata (replicas), in the order of composition and falling temperature."""
    groups: dict[tuple[str, float], list[StratumReport]] = {}
    for report in reports:
        groups.setdefault((report.composition_id, -report.temperature), []).append(report)
    return tuple(_add(group) for _, group in sorted(groups.items()))


def _add(group: list[StratumReport]) -> StratumReport:
    first = group[0]
    weights = [r.n_accurate + r.n_candidates + r.n_failed for r in group]
    medians = [
        (r.median_deviation, w) for r, w in zip(group, weights, strict=True) if r.median_deviation is not None
    ]
    total = sum(weight for _, weight in medians)
    return first.model_copy(
        update={
            **{
                name: sum(getattr(report, name) for report in group)
                for name in ("n_frames", "n_accurate", "n_candidates", "n_failed", "n_cut", "n_selected")
            },
            # The replicas' medians, weighted by their frames: the frames themselves are not kept here.
            "median_deviation": sum(value * weight for value, weight in medians) / total if total else None,
            "max_deviation": max(
                (r.max_deviation for r in group if r.max_deviation is not None), default=None
            ),
        }
    )
