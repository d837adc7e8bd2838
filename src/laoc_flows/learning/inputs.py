"""The input file of DeePMD-kit, rendered from the typed training settings."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers
from ase.units import Bohr, Hartree

from laoc_flows.schemas.base import SPECIES
from laoc_flows.schemas.training import Training

TABLE_FILE = "short_range.tab"
_EMBEDS_TYPES = {"dpa1", "se_atten", "se_atten_v2"}
_MIN_DECAY_STEPS = 10
_DECAYS = 100
_REPORTS = 50
_STEPS_PER_CHECKPOINT = 1000
"""A training that was killed goes on from its last checkpoint, with other batches; a shorter one begins anew, and is the same."""
_TABLE_SPACING = 0.005
"""Of the table of short-range repulsion [A]."""

# Ziegler, Biersack and Littmark, The Stopping and Range of Ions in Matter (1985).
_ZBL = ((0.18175, 3.19980), (0.50986, 0.94229), (0.28022, 0.40290), (0.02817, 0.20162))
_ZBL_LENGTH, _ZBL_POWER = 0.88534, 0.23


def render_input(
    training: Training,
    sel: Sequence[int],
    systems: Sequence[Path],
    seed: int,
    *,
    start_lr: float | None = None,
    steps: int | None = None,
) -> dict[str, Any]:
    """Input of ``dp train``.

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
    start_lr : float, optional
        Learning rate at the start [1], by default that of the settings.
    steps : int, optional
        Training steps, by default those of the settings.

    Returns
    -------
    dict
        JSON content of the input.
    """
    steps = steps or training.steps
    model: dict[str, Any] = {
        "type_map": list(SPECIES),
        "descriptor": _descriptor(training, sel),
        "fitting_net": {
            "neuron": list(training.fitting),
            "resnet_dt": True,
            "precision": training.precision,
        },
    }
    if training.short_range is not None:
        model |= {
            "use_srtab": TABLE_FILE,
            "smin_alpha": training.short_range.smin_alpha,
            "sw_rmin": training.short_range.inner,
            "sw_rmax": training.short_range.outer,
        }
    report = max(1, steps // _REPORTS)
    content: dict[str, Any] = {
        "model": model,
        "learning_rate": {
            "type": "exp",
            "start_lr": training.start_lr,
            "stop_lr": training.stop_lr,
            "decay_steps": max(_MIN_DECAY_STEPS, steps // _DECAYS),
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
        "training": {"disp_freq": report},
    }
    _override(content, training.input or {}, sel)
    if start_lr is not None:
        content["learning_rate"]["start_lr"] = start_lr
    content["model"]["descriptor"]["seed"] = seed
    content["model"]["fitting_net"]["seed"] = seed + 1
    if training.backend == "tensorflow" and content["model"]["descriptor"]["type"] in _EMBEDS_TYPES:
        # TensorFlow's deterministic operations refuse to draw without a seed.
        content["model"]["type_embedding"] = {
            **content["model"].get("type_embedding", {}),
            "seed": seed + 3,
        }
    report = content["training"]["disp_freq"]
    data = content["training"].pop("training_data", {"batch_size": training.batch_size})
    content["training"] |= {
        "training_data": {**data, "systems": [str(path) for path in systems]},
        "numb_steps": steps,
        "seed": seed + 2,
        "disp_file": "lcurve.out",
        # Only a report is saved, so a checkpoint is a multiple of it.
        "save_freq": -(-_STEPS_PER_CHECKPOINT // report) * report,
        "save_ckpt": "model.ckpt",
    }
    return content


def _descriptor(training: Training, sel: Sequence[int]) -> dict[str, Any]:
    common = {
        "rcut": training.rcut,
        "rcut_smth": training.rcut_smth,
        "neuron": list(training.neuron),
        "axis_neuron": training.axis_neuron,
        "precision": training.precision,
    }
    if training.descriptor == "se_e2_a":
        return {"type": "se_e2_a", "sel": list(sel), "type_one_side": True, **common}
    # One list of neighbors of all species.
    return {"type": "dpa1", "sel": int(sum(sel)), "attn_layer": training.attention_layers, **common}


def _override(content: dict[str, Any], given: dict[str, Any], sel: Sequence[int]) -> None:
    for name, section in given.items():
        if name != "model":
            content[name] = (
                {**content.get(name, {}), **section} if name == "training" else copy.deepcopy(section)
            )
            continue
        for key, value in section.items():
            content["model"][key] = copy.deepcopy(value)
        descriptor = content["model"]["descriptor"]
        if descriptor.get("sel", "auto") == "auto":
            descriptor["sel"] = list(sel) if descriptor.get("type", "se_e2_a") == "se_e2_a" else int(sum(sel))


def compressible(content: dict[str, Any]) -> bool:
    """Whether ``dp compress`` knows the descriptor of an input.

    Parameters
    ----------
    content : dict
        Input of ``dp train``.
    """
    descriptor = content["model"]["descriptor"]
    if "use_srtab" in content["model"]:
        return False
    if descriptor.get("type") in {"se_e2_a", "se_a"}:
        return True
    return descriptor.get("type") in {"dpa1", "se_atten"} and descriptor.get("attn_layer", 2) == 0


def repulsion(a: str, b: str, distance: np.ndarray) -> np.ndarray:
    """Screened Coulomb repulsion of two nuclei [eV].

    Parameters
    ----------
    a, b : str
        Elements.
    distance : numpy.ndarray
        Above 0 [A].

    Notes
    -----
    ``Z_a Z_b e^2 / r phi(r / a)`` with the universal screening function of Ziegler, Biersack and Littmark (1985).
    """
    za, zb = atomic_numbers[a], atomic_numbers[b]
    length = _ZBL_LENGTH * Bohr / (za**_ZBL_POWER + zb**_ZBL_POWER)
    screening = sum(c * np.exp(-d * distance / length) for c, d in _ZBL)
    return np.asarray(za * zb * Hartree * Bohr / distance * screening)


def short_range_table(cutoff: float) -> np.ndarray:
    """Table of short-range repulsion as DeePMD-kit reads it.

    Parameters
    ----------
    cutoff : float
        Last distance [A].

    Returns
    -------
    numpy.ndarray, shape (n_distances, 11)
        Distance [A], and the energy of each pair of species in the order of the type map [eV].
    """
    distance = np.arange(_TABLE_SPACING, cutoff + _TABLE_SPACING / 2, _TABLE_SPACING)
    pairs = [(a, b) for i, a in enumerate(SPECIES) for b in SPECIES[i:]]
    return np.column_stack([distance, *(repulsion(a, b, distance) for a, b in pairs)])
