"""When the learning loop is done, and what is missing when it is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from laoc_flows.schemas.iteration import Calibration, PropertyCheck, Spent, StratumReport, Verdict
from laoc_flows.schemas.learning import Learning, Targets
from laoc_flows.schemas.potential import FitError, HeldOutError

_NO_DEVIATION = 1e-6
"""Largest deviation of forces that only rounding explains [eV/A]."""
_AUDIT = 4
"""Labels of an audit of one composition before their share of misses says anything."""
_MOST_MISSED = 0.5
"""Share of agreed frames whose error is above the target at which the committee's agreement is worth nothing [1]."""


@dataclass(frozen=True)
class Judgment:
    """Verdict of an iteration.

    Attributes
    ----------
    verdict : Verdict
        Converged, not converged (a limit is reached) or continue.
    reasons : tuple of str
        What is not converged.
    by_composition : dict
        The same by composition id: 'converged' or 'not converged: why'.
    limit : str
        Limit that ends the loop, in words.
    probes_are_due : bool
        Whether all has converged but the properties, which were not looked at.
    """

    verdict: Verdict
    reasons: tuple[str, ...]
    by_composition: dict[str, str]
    limit: str = ""
    probes_are_due: bool = False


def judge(
    iteration: int,
    settings: Learning,
    strata: Sequence[StratumReport],
    previous: Sequence[StratumReport],
    held_out: Mapping[str, HeldOutError],
    *,
    fitted: Mapping[str, FitError] | None = None,
    between: Sequence[str] = (),
    calibration: Sequence[Calibration] = (),
    spent: Spent | None = None,
    properties: Sequence[PropertyCheck] | None = None,
) -> Judgment:
    """Verdict of an iteration.

    Converged means: in every stratum (composition, temperature, volume or pressure) fewer than the target share of
    explored frames are candidates, in this iteration and in the one before; the held-out force and energy RMSE of every
    composition are under their targets, also of compositions that were never trained on; and the models of the
    committee do not differ in density, g(r) and diffusion by more than their errors; where the errors are too large to
    tell, the verdict of the composition says so. A committee whose models do not differ agrees on everything, and has
    not converged; nor has one whose agreement the audit found worthless.

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
    fitted : mapping, optional
        Errors on the labels that were trained on by composition id: where these are above a target, the verdict says that
        labels are not what is missing.
    between : sequence of str
        Compositions that have no held-out trajectory: those explored between the points of the grid.
    calibration : sequence of Calibration
        Trust levels, with what the audit of the labels found.
    spent : Spent, optional
        What the loop has used.
    properties : sequence of PropertyCheck, optional
        Checks between the models; None where they were not made.
    """
    targets = settings.targets
    reasons: dict[str, list[str]] = {stratum.composition_id: [] for stratum in strata}
    before = {report.stratum: report.candidate_share for report in previous}
    for report in strata:
        reasons[report.composition_id] += _of_stratum(report, before.get(report.stratum), targets)
    for composition_id in dict.fromkeys(each.stratum.composition_id for each in calibration):
        its = [each for each in calibration if each.stratum.composition_id == composition_id]
        audited, missed = sum(each.n_audited for each in its), sum(each.n_audit_missed for each in its)
        if audited >= _AUDIT and missed > _MOST_MISSED * audited:
            reasons.setdefault(composition_id, []).append(
                f"{missed} of {audited} frames that the committee agreed on have errors above the target"
            )
    for composition_id in dict.fromkeys([*reasons, *held_out]):
        where = reasons.setdefault(composition_id, [])
        where += _of_held_out(
            held_out.get(composition_id),
            (fitted or {}).get(composition_id),
            targets,
            needed=composition_id not in between,
        )
    due = settings.probe is not None and properties is None and not any(reasons.values())
    notes: dict[str, list[str]] = {}
    for check in properties or ():
        if check.status == "differ":
            reasons.setdefault(check.composition_id, []).append(
                f"{check.name} of the models differs: {check.reason}"
            )
        elif check.status != "agree":
            notes.setdefault(check.composition_id, []).append(f"{check.name}: cannot tell")
    flat = tuple(f"{composition_id}: {text}" for composition_id, texts in reasons.items() for text in texts)
    by_composition = {
        composition_id: _words(texts, notes.get(composition_id, ()))
        for composition_id, texts in reasons.items()
    }
    if not flat:
        return Judgment(Verdict.CONVERGED, (), by_composition, probes_are_due=due)
    limit = reached(iteration, settings, spent or Spent())
    verdict = Verdict.NOT_CONVERGED if limit else Verdict.CONTINUE
    return Judgment(verdict, flat, by_composition, limit)


def _words(reasons: Sequence[str], notes: Sequence[str]) -> str:
    if reasons:
        return "not converged: " + "; ".join(reasons)
    return f"converged ({'; '.join(notes)})" if notes else "converged"


def _of_stratum(report: StratumReport, before: float | None, targets: Targets) -> list[str]:
    share, where = report.candidate_share, report.stratum.words
    if share is None:
        return [f"nothing was explored at {where}"]
    if report.max_deviation is not None and report.max_deviation < _NO_DEVIATION:
        return [f"the models of the committee are the same at {where}: that they agree says nothing"]
    if share >= targets.candidate_share:
        if report.n_cut == report.n_frames:
            return [f"all runs at {where} were cut before their first frame"]
        cut = f", {report.n_cut / report.n_frames:.0%} for runs that were cut" if report.n_cut else ""
        return [f"{share:.0%} of the frames at {where} are not agreed on{cut}"]
    if before is None or before >= targets.candidate_share:
        return [f"agreement at {where} was seen once, not twice running"]
    return []


def _of_held_out(
    error: HeldOutError | None, fit: FitError | None, targets: Targets, *, needed: bool
) -> list[str]:
    if error is None:
        return ["there is no held-out trajectory"] if needed else []
    found = []
    # Not the other way round: an error that is no number is not under its target.
    if not error.force_rmse < targets.force_rmse:
        hint = _hint(f"{fit.force_rmse:.3f}") if fit and fit.force_rmse >= targets.force_rmse else ""
        found.append(f"held-out force RMSE {error.force_rmse:.3f} >= {targets.force_rmse:g} eV/A{hint}")
    if not error.energy_rmse < targets.energy_rmse:
        hint = _hint(f"{fit.energy_rmse:.4f}") if fit and fit.energy_rmse >= targets.energy_rmse else ""
        found.append(f"held-out energy RMSE {error.energy_rmse:.4f} >= {targets.energy_rmse:g} eV/atom{hint}")
    return found


def _hint(error: str) -> str:
    return f" ({error} on its training labels: more steps or a larger model are needed, not only labels)"


def reached(iteration: int, settings: Learning, spent: Spent) -> str:
    """Limit that the loop has reached, in words; empty if it may go on.

    Parameters
    ----------
    iteration : int
        Iteration, from 0.
    settings : Learning
        Limits.
    spent : Spent
        What the loop has used.
    """
    if iteration + 1 >= settings.max_iterations:
        return f"max_iterations = {settings.max_iterations} is reached"
    if settings.max_labels is not None and spent.labels >= settings.max_labels:
        return f"max_labels = {settings.max_labels} is reached: {spent.labels} labels were asked for"
    if settings.max_core_hours is not None and spent.core_hours >= settings.max_core_hours:
        return (
            f"max_core_hours = {settings.max_core_hours:g} h is reached: {spent.core_hours:.3g} h were used"
        )
    return ""
