"""When the learning loop is done, and what is missing when it is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from laoc_flows.schemas.config import Learning
from laoc_flows.schemas.iteration import StratumReport, Verdict
from laoc_flows.schemas.potential import HeldOutError

_NO_DEVIATION = 1e-6
"""Largest deviation of forces that only rounding explains [eV/A]."""


def judge(
    iteration: int,
    settings: Learning,
    strata: Sequence[StratumReport],
    previous: Sequence[StratumReport],
    held_out: Mapping[str, HeldOutError],
) -> tuple[Verdict, tuple[str, ...], dict[str, str]]:
    """Verdict of an iteration.

    Converged means: in every (composition, temperature) stratum fewer than the target share of explored
    frames are candidates, in this iteration and in the one before, and the held-out force RMSE of every
    composition is under its target. A committee whose models do not differ agrees on everything, and has not converged.

    Parameters
    ----------
    iteration : int
        Iteration, from 0.
    settings : Learning
        Targets and limits.
    strata, previous : sequence of StratumReport
        Strata of this and of the previous iteration (empty in the first).
    held_out : mapping
        Held-out errors by composition id.

    Returns
    -------
    verdict : Verdict
        Converged, not converged (the iteration limit is reached) or continue.
    reasons : tuple of str
        What is not converged.
    by_composition : dict
        The same by composition id: 'converged' or 'not converged: why'.
    """
    targets = settings.targets
    reasons: dict[str, list[str]] = {stratum.composition_id: [] for stratum in strata}
    before = {(s.composition_id, s.temperature): s.candidate_share for s in previous}
    for stratum in strata:
        share = stratum.candidate_share
        where = reasons[stratum.composition_id]
        if share is None:
            where.append(f"nothing was explored at {stratum.temperature:g} K")
        elif stratum.max_deviation is not None and stratum.max_deviation < _NO_DEVIATION:
            where.append(
                f"the models of the committee are the same at {stratum.temperature:g} K: that they agree says nothing"
            )
        elif share >= targets.candidate_share:
            where.append(f"{share:.0%} of the frames at {stratum.temperature:g} K are not agreed on")
        else:
            last = before.get((stratum.composition_id, stratum.temperature))
            if last is None or last >= targets.candidate_share:
                where.append(f"agreement at {stratum.temperature:g} K was seen once, not twice running")
    for composition_id, where in reasons.items():
        error = held_out.get(composition_id)
        if error is None:
            where.append("there is no held-out trajectory")
        elif error.force_rmse >= targets.force_rmse:
            where.append(f"held-out force RMSE {error.force_rmse:.3f} >= {targets.force_rmse:g} eV/A")
    flat = tuple(f"{composition_id}: {text}" for composition_id, texts in reasons.items() for text in texts)
    by_composition = {
        composition_id: "converged" if not texts else "not converged: " + "; ".join(texts)
        for composition_id, texts in reasons.items()
    }
    if not flat:
        return Verdict.CONVERGED, (), by_composition
    last_one = iteration + 1 >= settings.max_iterations
    return (Verdict.NOT_CONVERGED if last_one else Verdict.CONTINUE), flat, by_composition
