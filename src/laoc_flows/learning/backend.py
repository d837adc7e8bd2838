"""DeePMD-kit in a process of its own, also of another environment: nothing but numpy and DeePMD-kit is imported here.

TensorFlow takes some five seconds to import and keeps its memory and threads until a process ends. So a worker
never imports it, and one process does all steps of a training: what ``dp train``, ``dp freeze`` and
``dp compress`` do, through the function behind the ``dp`` command, and then the predictions of the frozen and
the compressed model on the same frames.

    backend.py train TASK             writes the frozen and the compressed model, the predictions of both, and versions
    backend.py predict FRAMES OUT MODEL...
    backend.py describe FRAMES OUT MODEL

TASK is a JSON file, see `train`; FRAMES and OUT are npz files, see `read_frames` and `predict`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SUFFIXES = {"tensorflow": ".pb", "pytorch": ".pth"}
# Coarser than dp's default of 0.01: a quarter of the size, and the force parity stays below 1e-3 eV/A.
_TABLE_STEP = "0.02"
_FLAGS = {"tensorflow": "--tf", "pytorch": "--pt"}
_PACKAGES = {"tensorflow": ("tensorflow-cpu", "tensorflow"), "pytorch": ("torch",)}
_DIMENSIONS = 64


class Frame(NamedTuple):
    """One frame: positions [A], cell [A] and types (indices into the type map)."""

    positions: np.ndarray
    cell: np.ndarray
    types: np.ndarray


def read_frames(path: str) -> list[Frame]:
    """Frames of an npz file: ``positions``, ``cells`` and ``types`` one after the other, and their ``sizes``."""
    with np.load(path) as data:
        ends = np.cumsum(data["sizes"])[:-1]
        return [
            Frame(*parts)
            for parts in zip(
                np.split(data["positions"], ends), data["cells"], np.split(data["types"], ends), strict=True
            )
        ]


def train(task: dict[str, Any]) -> None:
    """Train, freeze and compress in the current directory.

    Parameters
    ----------
    task : dict
        ``backend``, ``script`` (input of ``dp train``), ``arguments`` (further ones of ``dp train``), ``frozen`` and
        ``compressed`` (files to write; the latter empty where the descriptor cannot be compressed).
    """
    from deepmd.main import main as dp

    flag = _FLAGS[task["backend"]]
    steps = [
        ["train", task["script"], *task["arguments"]],
        ["freeze", "-o", task["frozen"]],
    ]
    if task["compressed"]:
        compress = ["compress", "-i", task["frozen"], "-o", task["compressed"], "-s", _TABLE_STEP]
        # Both backends look up the smallest distance of the data there.
        steps.append([*compress, "-t", task["script"]])
    for arguments in steps:
        if task["backend"] == "tensorflow":
            import tensorflow as tf

            tf.compat.v1.reset_default_graph()
        dp([flag, *arguments])


def predict(models: Sequence[str], frames: Sequence[Frame], target: str) -> None:
    """Write energies [eV], forces [eV/A] and virials [eV] of frames by several models as npz.

    Parameters
    ----------
    models : sequence of str
        Frozen models.
    frames : sequence of Frame
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
            energy, force, virial = potential.eval(
                frame.positions.reshape(1, -1), frame.cell.reshape(1, 9), frame.types.tolist()
            )[:3]
            energies.append(float(energy.ravel()[0]))
            virials.append(virial.reshape(3, 3))
            arrays[f"force-{m}-{i}"] = force.reshape(-1, 3)
        arrays[f"energy-{m}"] = np.array(energies)
        arrays[f"virial-{m}"] = np.array(virials).reshape(-1, 3, 3)
    np.savez(target, **arrays)  # type: ignore[arg-type]


def describe(model: str, frames: Sequence[Frame], target: str) -> None:
    """Write the descriptor of every atom as npz, projected onto a few directions, the same in every call.

    A random projection keeps distances (Johnson and Lindenstrauss 1984), and a tenth of the numbers is stored.

    Parameters
    ----------
    model : str
        Frozen model.
    frames : sequence of Frame
        Frames of any size and composition.
    target : str
        File to write: ``features-0``, ..., each of shape (n_atoms, n_dimensions) [1].
    """
    from deepmd.infer import DeepPot

    potential = DeepPot(model)
    projection: np.ndarray | None = None
    arrays: dict[str, np.ndarray] = {}
    for i, frame in enumerate(frames):
        found = potential.eval_descriptor(
            frame.positions.reshape(1, -1), frame.cell.reshape(1, 9), frame.types.tolist()
        ).reshape(len(frame.types), -1)
        if projection is None:
            generator = np.random.default_rng(0)
            projection = generator.normal(size=(found.shape[1], _DIMENSIONS)) / np.sqrt(_DIMENSIONS)
        arrays[f"features-{i}"] = (found @ projection).astype(np.float32)
    np.savez(target, **arrays)  # type: ignore[arg-type]


def versions(name: str) -> dict[str, str]:
    """Versions of DeePMD-kit and of the library that it trains with, in this environment.

    Parameters
    ----------
    name : {"tensorflow", "pytorch"}
        Backend.
    """
    found = {"deepmd-kit": version("deepmd-kit"), name: "unknown"}
    for package in _PACKAGES[name]:
        try:
            found[name] = version(package)
        except PackageNotFoundError:
            continue
        break
    return found


def main(arguments: list[str]) -> None:
    """Run one of the actions.

    Parameters
    ----------
    arguments : list of str
        See the module.
    """
    # TensorFlow loads Keras where it is there, and DeePMD-kit never uses it: a third of the time that a start takes.
    sys.modules["keras"] = None  # type: ignore[assignment]
    action, *rest = arguments
    if action == "train":
        task = json.loads(Path(rest[0]).read_text())
        train(task)
        models = [task["frozen"], *([task["compressed"]] if task["compressed"] else [])]
        predict(models, read_frames(task["frames"]), task["predictions"])
        Path(task["versions"]).write_text(json.dumps(versions(task["backend"])))
    elif action == "predict":
        frames, target, *models = rest
        predict(models, read_frames(frames), target)
    else:
        frames, target, model = rest
        describe(model, read_frames(frames), target)


if __name__ == "__main__":
    main(sys.argv[1:])
    # Everything is written: what TensorFlow does to take itself down would take seconds of every training.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
