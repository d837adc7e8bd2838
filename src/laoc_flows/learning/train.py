"""One training: write data, run ``dp``, freeze, compress, and check that the result is the same model."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from ase import Atoms

from laoc_flows.errors import TrainingError
from laoc_flows.frames import encode_frames
from laoc_flows.learning.backend import COMPRESSED
from laoc_flows.learning.core import core_results, without_core
from laoc_flows.learning.data import measure_sel, split_by_force, write_systems
from laoc_flows.learning.inputs import render_input
from laoc_flows.process import Finished, run_program
from laoc_flows.schemas.config import Training
from laoc_flows.schemas.protocol import SoftCore

_PARITY_FRAMES = 4
_FRAMES, _PREDICTIONS = "frames.extxyz.gz", "predictions.npz"
_MAX_PARITY_FORCE = 1e-2  # eV/A; a table or a conversion gone wrong is off by orders of magnitude more
# Without oneDNN's reordering the same seed gives the same model, so a repeated training changes nothing.
_DETERMINISTIC = {"TF_ENABLE_ONEDNN_OPTS": "0", "TF_DETERMINISTIC_OPS": "1"}


@dataclass(frozen=True)
class TrainedFiles:
    """A finished training.

    Attributes
    ----------
    model : pathlib.Path
        Compressed frozen model.
    sel : tuple of int
        Neighbors per species.
    n_train, n_left_out : int
        Frames trained on, and left out because of their forces.
    final_force_loss : float
        Training force RMSE at the last report [eV/A].
    parity_force : float
        Largest force difference between compressed and frozen model [eV/A].
    parity_energy : float
        Largest energy difference [eV/atom].
    versions : dict
        Versions of the programs.
    """

    model: Path
    sel: tuple[int, ...]
    n_train: int
    n_left_out: int
    final_force_loss: float
    parity_force: float
    parity_energy: float
    versions: dict[str, str]


def train_model(
    frames: Sequence[Atoms], training: Training, core: SoftCore, seed: int, directory: Path
) -> TrainedFiles:
    """Train, freeze and compress one model.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        Labeled frames.
    training : Training
        Settings.
    core : SoftCore
        Repulsion that is subtracted from the labels.
    seed : int
        Seed of weights and batches.
    directory : pathlib.Path
        Where the programs run.

    Raises
    ------
    TrainingError
        If there are no data, the training fails or diverges, or the compressed model differs from the
        frozen one.
    """
    kept, left_out = split_by_force(frames, training.max_force)
    if not kept:
        msg = f"no label is within max_force = {training.max_force:g} eV/A ({left_out} are above)"
        raise TrainingError(msg, remedy="raise learning.training.max_force, or melt at a lower temperature")
    systems = write_systems(without_core(kept, core), directory / "data")
    sel = measure_sel(kept, training.rcut)
    content = render_input(training, sel, [path.relative_to(directory) for path in systems], seed)
    (directory / "input.json").write_text(json.dumps(content, indent=1))
    step = max(1, len(kept) // _PARITY_FRAMES)
    sample = kept[::step][:_PARITY_FRAMES]
    (directory / _FRAMES).write_bytes(encode_frames(sample))
    _run_backend(["train", "input.json", _FRAMES, _PREDICTIONS], directory, "train.log")
    loss = _final_force_loss(directory / "lcurve.out")
    frozen, compressed = _read_predictions(directory / _PREDICTIONS, 2, len(sample))
    parity_force = float(
        max(np.abs(a - b).max() for a, b in zip(frozen.forces, compressed.forces, strict=True))
    )
    sizes = np.array([len(frame) for frame in sample])
    parity_energy = float((np.abs(frozen.energies - compressed.energies) / sizes).max())
    if not parity_force <= _MAX_PARITY_FORCE:
        msg = f"the compressed model's forces differ by {parity_force:.3g} eV/A from the frozen model's"
        raise TrainingError(msg, where=str(directory))
    versions = {"deepmd-kit": version("deepmd-kit"), "tensorflow": _tensorflow_version()}
    return TrainedFiles(
        directory / COMPRESSED, sel, len(kept), left_out, loss, parity_force, parity_energy, versions
    )


def _tensorflow_version() -> str:
    for name in ("tensorflow-cpu", "tensorflow"):
        try:
            return version(name)
        except ImportError:
            continue
    return "unknown"


def _run_backend(arguments: list[str], directory: Path, log: str) -> None:
    command = [sys.executable, "-m", "laoc_flows.learning.backend", *arguments]
    done = run_program(command, directory=directory, log=log, environment=_DETERMINISTIC)
    if done.returncode != 0:
        msg = f"DeePMD-kit failed to {arguments[0]}: {_cause(done)}"
        raise TrainingError(msg, where=str(done.log))


def _cause(done: Finished) -> str:
    """Last line of a traceback, past the noise that TensorFlow prints on exit."""
    lines = done.log.read_text(errors="replace").splitlines()
    errors = [line.strip() for line in lines if re.match(r"^\w[\w.]*(Error|Exception)\b", line.strip())]
    return errors[-1] if errors else done.tail(1)


def _final_force_loss(path: Path) -> float:
    lines = path.read_text().splitlines()
    header = next(line for line in lines if line.startswith("#")).lstrip("# ").split()
    last = [float(word) for word in lines[-1].split()]
    loss = last[header.index("rmse_f_trn")]
    if not np.isfinite(last).all():
        msg = "the training diverged: its loss is not a finite number"
        raise TrainingError(msg, where=str(path), remedy="lower learning.training.start_lr")
    return loss


@dataclass(frozen=True)
class Prediction:
    """Energies [eV], forces [eV/A] and virials [eV] of frames by one model."""

    energies: np.ndarray
    forces: list[np.ndarray]
    virials: np.ndarray

    def part(self, start: int, stop: int) -> Prediction:
        """Predictions of the frames `start` to `stop`."""
        return Prediction(self.energies[start:stop], self.forces[start:stop], self.virials[start:stop])

    def with_core(self, frames: Sequence[Atoms], core: SoftCore) -> Prediction:
        """Predictions of network and core together."""
        added = [core_results(frame, core) for frame in frames]
        return Prediction(
            self.energies + np.array([energy for energy, _, _ in added]),
            [a + b for a, (_, b, _) in zip(self.forces, added, strict=True)],
            self.virials + np.array([virial for _, _, virial in added]).reshape(-1, 3, 3),
        )


def predict(models: Sequence[Path], frames: Sequence[Atoms], directory: Path) -> list[Prediction]:
    """Predictions of several models on the same frames, in one process of its own.

    Parameters
    ----------
    models : sequence of pathlib.Path
        Frozen models.
    frames : sequence of ase.Atoms
        Frames of any size and composition.
    directory : pathlib.Path
        Where the process runs.

    Raises
    ------
    TrainingError
        If the evaluation fails.
    """
    (directory / _FRAMES).write_bytes(encode_frames(frames))
    _run_backend(["predict", _FRAMES, _PREDICTIONS, *map(str, models)], directory, "predict.log")
    return _read_predictions(directory / _PREDICTIONS, len(models), len(frames))


def _read_predictions(path: Path, n_models: int, n_frames: int) -> list[Prediction]:
    with np.load(path) as data:
        return [
            Prediction(
                energies=data[f"energy-{m}"],
                forces=[data[f"force-{m}-{i}"] for i in range(n_frames)],
                virials=data[f"virial-{m}"],
            )
            for m in range(n_models)
        ]
