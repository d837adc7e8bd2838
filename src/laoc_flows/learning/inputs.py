"""The input file of DeePMD-kit, rendered from the typed training settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from laoc_flows.schemas.base import SPECIES
from laoc_flows.schemas.config import Training

_MIN_DECAY_STEPS = 10
_DECAYS = 100
_REPORTS = 20


def render_input(
    training: Training, sel: Sequence[int], systems: Sequence[Path], seed: int
) -> dict[str, Any]:
    """Input of ``dp train`` (TensorFlow backend, descriptor se_e2_a).

    Parameters
    ----------
    training : Training
        Settings.
    sel : sequence of int
        Neighbors per species to keep.
    systems : sequence of pathlib.Path
        Training systems.
    seed : int
        Seed of weights and batches.

    Returns
    -------
    dict
        JSON content of the input.
    """
    return {
        "model": {
            "type_map": list(SPECIES),
            "descriptor": {
                "type": "se_e2_a",
                "rcut": training.rcut,
                "rcut_smth": training.rcut_smth,
                "sel": list(sel),
                "neuron": list(training.neuron),
                "axis_neuron": training.axis_neuron,
                "type_one_side": True,
                "precision": training.precision,
                "seed": seed,
            },
            "fitting_net": {
                "neuron": list(training.fitting),
                "resnet_dt": True,
                "precision": training.precision,
                "seed": seed + 1,
            },
        },
        "learning_rate": {
            "type": "exp",
            "start_lr": training.start_lr,
            "stop_lr": training.stop_lr,
            "decay_steps": max(_MIN_DECAY_STEPS, training.steps // _DECAYS),
        },
        "loss": {
            "type": "ener",
            "start_pref_e": training.energy_prefactor[0],
            "limit_pref_e": training.energy_prefactor[1],
            "start_pref_f": training.force_prefactor[0],
            "limit_pref_f": training.force_prefactor[1],
            "start_pref_v": training.virial_prefactor[0],
            "limit_pref_v": training.virial_prefactor[1],
        },
        "training": {
            "training_data": {"systems": [str(path) for path in systems], "batch_size": training.batch_size},
            "numb_steps": training.steps,
            "seed": seed + 2,
            "disp_file": "lcurve.out",
            "disp_freq": max(1, training.steps // _REPORTS),
            # A multiple of save_freq at the end is not saved unless it is also a report: one step more always is.
            "save_freq": training.steps + 1,
            "save_ckpt": "model.ckpt",
        },
    }
