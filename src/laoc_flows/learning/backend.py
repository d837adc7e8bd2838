"""``python -m laoc_flows.learning.backend``: DeePMD-kit in a process of its own.

TensorFlow takes some five seconds to import and keeps its memory and threads until a process ends. So a worker
never imports it, and one process does all steps of a training: what ``dp train``, ``dp freeze`` and
``dp compress`` do, through the function behind the ``dp`` command, and then the predictions of the frozen and
the compressed model on the same frames.

    backend train INPUT FRAMES OUT    writes frozen.pb, compressed.pb and the predictions of both
    backend predict FRAMES OUT MODEL...
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms

from laoc_flows.frames import decode_frames
from laoc_flows.schemas.base import SPECIES

FROZEN, COMPRESSED = "frozen.pb", "compressed.pb"
# Coarser than dp's default of 0.01: a quarter of the size, and the force parity stays below 1e-3 eV/A.
_TABLE_STEP = "0.02"


def train(script: str) -> None:
    """Train, freeze and compress in the current directory.

    Parameters
    ----------
    script : str
        Input file of ``dp train``.
    """
    import tensorflow as tf
    from deepmd.main import main as dp

    steps = (
        ["train", script],
        ["freeze", "-o", FROZEN],
        ["compress", "-i", FROZEN, "-o", COMPRESSED, "-t", script, "-s", _TABLE_STEP],
    )
    for arguments in steps:
        tf.compat.v1.reset_default_graph()
        dp(["--tf", *arguments])


def predict(models: Sequence[str], frames: Sequence[Atoms], target: str) -> None:
    """Write energies [eV], forces [eV/A] and virials [eV] of frames by several models as npz.

    Parameters
    ----------
    models : sequence of str
        Frozen models.
    frames : sequence of ase.Atoms
        Frames of any size and composition.
    target : str
        File to write.
    """
    from deepmd.infer import DeepPot

    arrays: dict[str, np.ndarray] = {}
    for m, model in enumerate(models):
        potential = DeepPot(model)
        energies, virials = [], []
        for i, frame in enumerate(frames):
            types = [SPECIES.index(symbol) for symbol in frame.get_chemical_symbols()]
            energy, force, virial = potential.eval(
                frame.positions.reshape(1, -1), frame.cell.array.reshape(1, 9), types
            )[:3]
            energies.append(float(energy.ravel()[0]))
            virials.append(virial.reshape(3, 3))
            arrays[f"force-{m}-{i}"] = force.reshape(-1, 3)
        arrays[f"energy-{m}"] = np.array(energies)
        arrays[f"virial-{m}"] = np.array(virials).reshape(-1, 3, 3)
    np.savez(target, **arrays)  # type: ignore[arg-type]


def main(arguments: list[str]) -> None:
    """Run one of the two actions.

    Parameters
    ----------
    arguments : list of str
        See the module.
    """
    action, *rest = arguments
    if action == "train":
        script, frames, target = rest
        train(script)
        predict([FROZEN, COMPRESSED], decode_frames(Path(frames).read_bytes()), target)
    else:
        frames, target, *models = rest
        predict(models, decode_frames(Path(frames).read_bytes()), target)


if __name__ == "__main__":
    main(sys.argv[1:])
    # Everything is written: what TensorFlow does to take itself down would take seconds of every training.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
