"""Which explored frames are worth a label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from laoc_flows.learning.novelty import Novelty
from laoc_flows.schemas.iteration import StratumReport
from laoc_flows.schemas.learning import Selection, TrustLevels

_EPSILON = 1e-9
_MOST_OFFERED = 10
"""Candidates that a run offers of one temperature, over the quota of the stratum [1]."""


@dataclass(frozen=True)
class Explored:
    """Explored frames of one run at one temperature.

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


class Decision(StrEnum):
    """What became of a frame that could have been labeled."""

    SELECTED = "selected"
    AUDITED = "audited"
    TOO_SOON = "too soon"
    KNOWN = "known"
    OVER_QUOTA = "over quota"
    OVER_BUDGET = "over budget"
    NOT_DRAWN = "not drawn"


REASONS = {
    Decision.SELECTED: "the committee does not agree, and nothing like it is labeled",
    Decision.AUDITED: "the committee agrees; labeled all the same, to see what its agreement is worth",
    Decision.TOO_SOON: "within the spacing of a frame that was selected from the same run",
    Decision.KNOWN: "its like is labeled already, or was selected",
    Decision.OVER_QUOTA: "the quota of its stratum is used up",
    Decision.OVER_BUDGET: "the budget of labels is used up",
    Decision.NOT_DRAWN: "the committee agrees, and it was not drawn for the audit",
}
"""Why, in words."""


def offer(
    explored: Explored, trust: TrustLevels, settings: Selection, report: dict[str, object], seed: int
) -> tuple[list[int], list[int], StratumReport]:
    """Sort frames by what the committee says of them, and offer those that may be labeled.

    Parameters
    ----------
    explored : Explored
        Frames of one run at one temperature.
    trust : TrustLevels
        Trust levels of the stratum [eV/A].
    settings : Selection
        Quota and audit.
    report : dict
        Fields of the report that say where it was explored.
    seed : int
        Seed of the draw for the audit.

    Returns
    -------
    candidates : list of int
        Frames between the levels and above the distance floor, rising; thinned evenly where there are very many. Where
        there are fewer than the quota, those above the upper level whose deviation is least come with them: a potential
        that is far off everywhere would never be asked otherwise.
    agreed : list of int
        Frames below the lower level that are offered to the audit.
    report : StratumReport
        Counts of every class.
    """
    deviation = explored.deviations
    physical = explored.floor_ratios >= 1.0
    accurate = deviation < trust.low
    failed = ~accurate & ((deviation >= trust.high) | ~physical)
    candidates = np.flatnonzero(~accurate & ~failed)
    generator = np.random.default_rng(seed)
    agreed = np.flatnonzero(accurate & physical)
    drawn = np.sort(generator.permutation(agreed)[: settings.audit])
    counts = StratumReport.model_validate(
        {
            **report,
            "temperature": explored.temperature,
            "n_frames": len(deviation) + explored.n_cut,
            "n_accurate": int(accurate.sum()),
            "n_candidates": len(candidates),
            "n_failed": int(failed.sum()),
            "n_cut": explored.n_cut,
            "n_selected": 0,
            "trust_low": trust.low,
            "trust_high": trust.high,
            "median_deviation": float(np.median(deviation)) if len(deviation) else None,
            "max_deviation": float(deviation.max()) if len(deviation) else None,
        }
    )
    quota = settings.labels_per_stratum
    if len(candidates) > _MOST_OFFERED * quota:
        spread = np.linspace(0, len(candidates) - 1, _MOST_OFFERED * quota)
        candidates = candidates[spread.round().astype(int)]
    elif len(candidates) < quota:
        above = np.flatnonzero(failed & physical & np.isfinite(deviation))
        least = above[np.argsort(deviation[above], kind="stable")][: quota - len(candidates)]
        candidates = np.sort(np.concatenate([candidates, least]))
    return [int(i) for i in candidates], [int(i) for i in drawn], counts


@dataclass(frozen=True)
class Offered:
    """A frame that may be labeled.

    Attributes
    ----------
    run : int
        Which exploration run it comes from.
    stratum : object
        Key of its stratum.
    time : float
        Time in its run [ps].
    deviation : float
        Largest force deviation of the committee [eV/A].
    agreed : bool
        Whether the committee agrees on it: an offer to the audit.
    above : bool
        Whether it is above the upper level: chosen after all that is not, those with the least deviation first.
    """

    run: int
    stratum: object
    time: float
    deviation: float
    agreed: bool = False
    above: bool = False


def choose(
    offered: Sequence[Offered],
    novelty: Novelty,
    settings: Selection,
    *,
    budget: int | None = None,
    seed: int = 0,
) -> list[Decision]:
    """Choose frames farthest first: each time the one that is least like all that is labeled or chosen.

    Parameters
    ----------
    offered : sequence of Offered
        Frames of all runs.
    novelty : Novelty
        Distances of these frames to what is labeled; changed in place.
    settings : Selection
        Quota, spacing, novelty and audit.
    budget : int, optional
        Labels that are left; by default as many as the quotas allow.
    seed : int
        Seed of the draw for the audit.

    Returns
    -------
    list of Decision
        For each frame.
    """
    decisions: list[Decision | None] = [None] * len(offered)
    left = len(offered) if budget is None else budget
    quota: Counter[object] = Counter()
    taken: dict[int, list[float]] = {}
    left -= _audit(offered, decisions, settings, left, seed, taken)
    open_ = {i for i, frame in enumerate(offered) if decisions[i] is None}
    score = novelty.scores
    while open_:
        for i in sorted(open_):
            frame = offered[i]
            if any(abs(frame.time - t) < settings.spacing - _EPSILON for t in taken.get(frame.run, ())):
                decisions[i] = Decision.TOO_SOON
            elif quota[frame.stratum] >= settings.labels_per_stratum:
                decisions[i] = Decision.OVER_QUOTA
            elif score[i] < settings.novelty:
                decisions[i] = Decision.KNOWN
            elif left <= 0:
                decisions[i] = Decision.OVER_BUDGET
            else:
                continue
            open_.discard(i)
        if not open_:
            break
        # Of equals the first, so that a choice can be repeated.
        best = max(
            sorted(open_),
            key=lambda i: (0, -offered[i].deviation) if offered[i].above else (1, float(score[i])),
        )
        decisions[best] = Decision.SELECTED
        open_.discard(best)
        quota[offered[best].stratum] += 1
        taken.setdefault(offered[best].run, []).append(offered[best].time)
        left -= 1
        novelty.add(best)
        score = novelty.scores
    return [decision or Decision.OVER_BUDGET for decision in decisions]


def _audit(
    offered: Sequence[Offered],
    decisions: list[Decision | None],
    settings: Selection,
    left: int,
    seed: int,
    taken: dict[int, list[float]],
) -> int:
    """Draw the audit of every stratum; how many were drawn."""
    strata: dict[object, list[int]] = {}
    for i, frame in enumerate(offered):
        if frame.agreed:
            decisions[i] = Decision.NOT_DRAWN
            strata.setdefault(frame.stratum, []).append(i)
    generator = np.random.default_rng(seed)
    drawn = 0
    for members in strata.values():
        for i in generator.permutation(members)[: settings.audit]:
            if drawn >= left:
                return drawn
            decisions[i] = Decision.AUDITED
            taken.setdefault(offered[i].run, []).append(offered[i].time)
            drawn += 1
    return drawn


_COUNTED = {
    Decision.TOO_SOON: "n_too_soon",
    Decision.KNOWN: "n_known",
    Decision.OVER_QUOTA: "n_over_quota",
    Decision.OVER_BUDGET: "n_over_budget",
    Decision.AUDITED: "n_audited",
}


def counted(
    reports: Sequence[StratumReport], strata: Sequence[object], decisions: Sequence[Decision]
) -> tuple[StratumReport, ...]:
    """Reports with the numbers of decisions of each stratum.

    Parameters
    ----------
    reports : sequence of StratumReport
        One for each stratum.
    strata : sequence
        Stratum of each frame that was decided on.
    decisions : sequence of Decision
        The decisions.
    """
    table: dict[object, Counter[Decision]] = {}
    for stratum, decision in zip(strata, decisions, strict=True):
        table.setdefault(stratum, Counter())[decision] += 1
    found = []
    for report in reports:
        counts = table.get(report.stratum, Counter())
        update = {name: counts[decision] for decision, name in _COUNTED.items()}
        update["n_selected"] = counts[Decision.SELECTED] + counts[Decision.AUDITED]
        found.append(report.model_copy(update=update))
    return tuple(found)


def merge(reports: Sequence[StratumReport]) -> tuple[StratumReport, ...]:
    """Add up the reports of equal strata (replicas), in the order of composition and falling temperature."""
    groups: dict[tuple[str, float, float, float], list[StratumReport]] = {}
    for report in reports:
        key = (report.composition_id, -report.temperature, report.volume_scale or 0.0, report.pressure or 0.0)
        groups.setdefault(key, []).append(report)
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
