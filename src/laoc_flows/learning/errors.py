"""Errors of a potential on frames it has never seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms, units

from laoc_flows.learning.evaluate import Prediction
from laoc_flows.schemas.potential import FitError, HeldOutError

_BLOCKS = 4


def fit_error(frames: Sequence[Atoms], prediction: Prediction) -> FitError:
    """Error of one model on labels of one composition that it was trained on.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        Labeled frames.
    prediction : Prediction
        The model's answers for them.
    """
    found = held_out_error(frames, prediction, 1)
    return FitError(n_frames=len(frames), force_rmse=found.force_rmse, energy_rmse=found.energy_rmse)


def held_out_error(frames: Sequence[Atoms], prediction: Prediction, n_trajectories: int) -> HeldOutError:
    """Error of one model on labeled frames of one composition.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        Labeled frames, in the order of their trajectories.
    prediction : Prediction
        The model's answers for them.
    n_trajectories : int
        Number of trajectories the frames come from.

    Returns
    -------
    HeldOutError
        RMS errors. The standard errors of the RMSEs come from blocks of consecutive frames; frames of
        one trajectory are correlated, so they are lower bounds for a single trajectory.
    """
    reference = [frame.get_forces() for frame in frames]
    squares = np.array(
        [np.mean((a - b) ** 2) for a, b in zip(prediction.forces, reference, strict=True)], dtype=float
    )
    sizes = np.array([len(frame) for frame in frames])
    energies = np.array([frame.get_potential_energy() for frame in frames])
    difference = (prediction.energies - energies) / sizes
    volumes = np.array([frame.get_volume() for frame in frames])[:, None, None]
    stress = np.array([frame.get_stress(voigt=False) for frame in frames])
    stress_difference = (-prediction.virials / volumes - stress) / units.GPa
    rmse = float(np.sqrt(squares.mean()))
    energy_rmse = float(np.sqrt(np.mean(difference**2)))
    return HeldOutError(
        n_frames=len(frames),
        n_trajectories=n_trajectories,
        force_rmse=rmse,
        force_rmse_error=_block_error(squares, rmse),
        zero_force_rmse=float(np.sqrt(np.mean([np.mean(force**2) for force in reference]))),
        energy_rmse=energy_rmse,
        energy_rmse_error=_block_error(difference**2, energy_rmse),
        energy_bias=float(difference.mean()),
        stress_rmse=float(np.sqrt(np.mean(stress_difference**2))),
    )


def _block_error(squares: np.ndarray, rmse: float) -> float | None:
    if len(squares) < 2 * _BLOCKS or rmse == 0:
        return None
    means = np.array([block.mean() for block in np.array_split(squares, _BLOCKS)])
    # d sqrt(m) = dm / (2 sqrt(m))
    return float(means.std(ddof=1) / np.sqrt(_BLOCKS) / (2.0 * rmse))
