"""Labels that do not fit the others: found by the potential that was trained on all of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from laoc_flows.learning.evaluate import Prediction

ENOUGH = 8
"""Labels of a composition before one of them can be told from the others."""
_SIGMAS = 12.0
_LEAST_ENERGY = 0.1
"""Smallest distance of an energy that is absurd [eV/atom]."""
_LEAST_FORCE = 1e-3
"""Force RMSE below which a frame is not better known than others [eV/A]."""
_MAD = 1.4826


def doubtful(
    frames: Sequence[Atoms],
    prediction: Prediction,
    groups: Sequence[str],
    trained: Sequence[bool] | None = None,
) -> dict[int, str]:
    """Find labels whose energy or forces are absurdly far from what a potential says, compared with the others.

    A potential of many labels does not follow a single wrong one. Its error on each label is compared with the errors on
    the other labels of the composition. Hard frames have larger errors of both energy and forces, so an energy is
    doubtful when its distance from the median error is 0.1 eV/atom at least, and 12 robust standard deviations of that
    distance over the RMS error of the frame's own forces; forces are when the logarithm of their RMS error is 12 of its
    own.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        Labeled frames.
    prediction : Prediction
        What the potential, its core included, says of them.
    groups : sequence of str
        Composition of each frame.
    trained : sequence of bool, optional
        Whether the potential was trained on the frame; all by default. Frames that are only tested are compared with each
        other, and never doubted for their forces: that a potential is bad there is what the test is for.

    Returns
    -------
    dict
        Reason by index of the frame.
    """
    sizes = np.array([len(frame) for frame in frames])
    energies = np.array([frame.get_potential_energy() for frame in frames])
    residual = (energies - prediction.energies) / sizes
    rmse = np.array(
        [
            np.sqrt(np.mean((frame.get_forces() - forces) ** 2))
            for frame, forces in zip(frames, prediction.forces, strict=True)
        ]
    )
    found: dict[int, str] = {}
    kinds = list(zip(groups, trained if trained is not None else [True] * len(groups), strict=True))
    for kind in sorted(set(kinds)):
        members = np.array([i for i, name in enumerate(kinds) if name == kind])
        if len(members) < ENOUGH:
            continue
        away, usual = _robust(residual[members])
        relative = away / np.maximum(rmse[members], _LEAST_FORCE)
        _, sigma = _robust(relative)
        for i, distance, ratio in zip(members, away, relative, strict=True):
            if abs(ratio) > _SIGMAS * sigma and abs(distance) > _LEAST_ENERGY:
                found[int(i)] = (
                    f"its energy is {distance:+.3f} eV/atom from those of its composition, by the potential; their "
                    f"spread is {usual:.3f}"
                )
        if not kind[1]:
            continue
        away, sigma = _robust(np.log(np.maximum(rmse[members], 1e-6)))
        for i, distance in zip(members, away, strict=True):
            if distance > max(_SIGMAS * sigma, np.log(_SIGMAS)) and int(i) not in found:
                found[int(i)] = (
                    f"the error of its forces, {rmse[i]:.2f} eV/A, is {np.exp(distance):.0f} times that of its composition"
                )
    return dict(sorted(found.items()))


def _robust(values: np.ndarray) -> tuple[np.ndarray, float]:
    away = values - np.median(values)
    return away, float(_MAD * np.median(np.abs(away)))
