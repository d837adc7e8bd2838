"""Trust levels out of the errors of labels: what a deviation of the committee is worth."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import scipy

from laoc_flows.schemas.base import Model
from laoc_flows.schemas.iteration import Calibration, Stratum
from laoc_flows.schemas.learning import Learning, TrustLevels

ENOUGH = 8
"""Labels that a stratum needs before its own say anything."""
_FOR_CORRELATION = 4
_MEDIAN = 1.2533
"""Standard error of a median over that of a mean, normal distribution: sqrt(pi / 2)."""
LEAST_ERROR = 1e-4
"""Deviation and error below this are rounding, and their ratio means nothing [eV/A]."""


class LabelError(Model):
    """Error of the potential on one label that it had not been trained on, and what the committee said of it before."""

    composition_id: str
    temperature: float | None
    volume_scale: float | None
    pressure: float | None
    deviation: float
    force_rmse: float
    max_error: float
    source: str
    agreed: bool = False


def deviations_of(forces: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Model deviation of frames: the largest over the atoms of the deviation of the force among the models.

    Parameters
    ----------
    forces : sequence of sequence of numpy.ndarray, each of shape (n_atoms, 3)
        Forces of every model, of every frame [eV/A].

    Returns
    -------
    numpy.ndarray, shape (n_frames,)
        ``max_i sqrt(<|F_i - <F_i>|^2>)`` over the models [eV/A], as LAMMPS' pair style deepmd writes it (Zhang et al.,
        Phys. Rev. Mater. 2019, 3, 023804).
    """
    found = []
    for frame in zip(*forces, strict=True):
        stack = np.array(frame)
        found.append(np.sqrt(((stack - stack.mean(axis=0)) ** 2).sum(axis=2).mean(axis=0)).max())
    return np.array(found)


def calibrate(
    strata: Iterable[Stratum], errors: Sequence[LabelError], learning: Learning
) -> tuple[Calibration, ...]:
    """Trust levels of every stratum.

    A frame's force RMSE is taken to be proportional to its deviation, with the median ratio of the labels of the
    stratum: the lower level is where it reaches the target of the held-out error, the upper level where it reaches
    `worst_error`. Where a stratum has fewer than `ENOUGH` labels, those of its composition at a similar temperature
    count, then those of all compositions there, then those of its composition, then all.

    Parameters
    ----------
    strata : iterable of Stratum
        What will be explored.
    errors : sequence of LabelError
        Errors of labels that the potential had not been trained on.
    learning : Learning
        First levels, target, and whether to calibrate at all.

    Returns
    -------
    tuple of Calibration
        In the order of `strata`.
    """
    usable = [e for e in errors if e.deviation > LEAST_ERROR and e.force_rmse > LEAST_ERROR]
    return tuple(_one(stratum, usable, learning) for stratum in strata)


def _one(stratum: Stratum, errors: Sequence[LabelError], learning: Learning) -> Calibration:
    first = learning.selection.trust(stratum.temperature)
    audited = [e for e in errors if e.agreed and _same(e, stratum)]
    target = learning.targets.force_rmse
    audit = {
        "n_audited": len(audited),
        "n_audit_missed": sum(e.force_rmse > target for e in audited),
    }
    if not learning.selection.calibrate:
        return Calibration(stratum=stratum, levels=first, n_labels=0, **audit)
    for pooled, members in _pools(stratum, errors, learning):
        if len(members) < ENOUGH:
            continue
        deviation = np.array([e.deviation for e in members])
        rmse = np.array([e.force_rmse for e in members])
        logs = np.log(rmse / deviation)
        center = float(np.median(logs))
        spread = float(np.sqrt(np.mean((logs - center) ** 2)))
        ratio = float(np.exp(center))
        correlation = None
        if len(members) >= _FOR_CORRELATION and len(set(deviation)) > 1 and len(set(rmse)) > 1:
            correlation = float(scipy.stats.spearmanr(deviation, rmse).statistic)
        return Calibration(
            stratum=stratum,
            levels=TrustLevels(low=target / ratio, high=learning.selection.worst_error / ratio),
            n_labels=len(members),
            pooled=pooled,
            ratio=ratio,
            ratio_error=_MEDIAN * spread / float(np.sqrt(len(members))),
            spread=spread,
            correlation=correlation,
            **audit,
        )
    return Calibration(stratum=stratum, levels=first, n_labels=0, **audit)


def _same(error: LabelError, stratum: Stratum) -> bool:
    return (error.composition_id, error.temperature, error.volume_scale, error.pressure) == (
        stratum.composition_id,
        stratum.temperature,
        stratum.volume_scale,
        stratum.pressure,
    )


def _pools(
    stratum: Stratum, errors: Sequence[LabelError], learning: Learning
) -> Iterable[tuple[str, list[LabelError]]]:
    boundary = learning.selection.boundary
    cold = stratum.temperature < boundary

    def alike(error: LabelError) -> bool:
        return error.temperature is not None and (error.temperature < boundary) == cold

    def here(error: LabelError) -> bool:
        return error.composition_id == stratum.composition_id

    side = f"{'below' if cold else 'above'} {boundary:g} K"
    pools: list[tuple[str, Callable[[LabelError], bool]]] = [
        ("", lambda e: _same(e, stratum)),
        (f"its composition {side}", lambda e: here(e) and alike(e)),
        (f"all compositions {side}", alike),
        ("its composition", here),
        ("all compositions", lambda _: True),
    ]
    for name, belongs in pools:
        yield name, [error for error in errors if belongs(error)]


def levels_of(calibration: Sequence[Calibration], stratum: Stratum, learning: Learning) -> TrustLevels:
    """Trust levels of a stratum, those of the campaign file where it was not calibrated."""
    for each in calibration:
        if each.stratum == stratum:
            return each.levels
    return learning.selection.trust(stratum.temperature)
