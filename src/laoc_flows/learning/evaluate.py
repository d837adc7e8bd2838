"""What a model says of frames: energies, forces, virials and descriptors, in a process of its own."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms

from laoc_flows.errors import TrainingError
from laoc_flows.learning import backend
from laoc_flows.learning.core import core_results
from laoc_flows.process import Finished, run_program
from laoc_flows.schemas.base import SPECIES
from laoc_flows.schemas.protocol import SoftCore
from laoc_flows.settings import Settings

_FRAMES, _ANSWERS = "frames.npz", "answers.npz"
# Without oneDNN's reordering the same seed gives the same model, so a repeated training changes nothing.
_DETERMINISTIC = {"TF_ENABLE_ONEDNN_OPTS": "0", "TF_DETERMINISTIC_OPS": "1"}


def run_backend(arguments: Sequence[str], directory: Path, log: str, name: str) -> Finished:
    """Run DeePMD-kit in a process of its own.

    Parameters
    ----------
    arguments : sequence of str
        See `laoc_flows.learning.backend`.
    directory : pathlib.Path
        Where it runs.
    log : str
        Name of its log there.
    name : {"tensorflow", "pytorch"}
        Backend; PyTorch runs in the environment that the setting `deepmd_python` names, where there is one.
    """
    python = sys.executable
    if name == "pytorch":
        python = str(Settings.load().deepmd_python or python)
    command = [python, str(Path(backend.__file__).resolve()), *arguments]
    return run_program(command, directory=directory, log=log, environment=_DETERMINISTIC)


def cause_of(done: Finished) -> str:
    """Last line of a traceback, past the noise that a backend prints on exit."""
    lines = done.log.read_text(errors="replace").splitlines()
    errors = [line.strip() for line in lines if re.match(r"^\w[\w.]*(Error|Exception)\b", line.strip())]
    return errors[-1] if errors else done.tail(1) or f"exit status {done.returncode}"


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


def write_frames(frames: Sequence[Atoms], path: Path) -> None:
    """Write frames as the backend reads them."""
    types = [[SPECIES.index(symbol) for symbol in frame.get_chemical_symbols()] for frame in frames]
    np.savez(
        path,
        positions=np.concatenate([frame.positions for frame in frames]),
        cells=np.array([frame.cell.array for frame in frames]),
        types=np.concatenate(types),
        sizes=np.array([len(frame) for frame in frames]),
    )


def predict(
    models: Sequence[Path], frames: Sequence[Atoms], directory: Path, name: str = "tensorflow"
) -> list[Prediction]:
    """Predictions of several models on the same frames, in one process of its own.

    Parameters
    ----------
    models : sequence of pathlib.Path
        Frozen models.
    frames : sequence of ase.Atoms
        Frames of any size and composition, at least one.
    directory : pathlib.Path
        Where the process runs.
    name : {"tensorflow", "pytorch"}
        Backend.

    Raises
    ------
    TrainingError
        If the evaluation fails.
    """
    _evaluated("predict", models, frames, directory, name)
    return read_predictions(directory / _ANSWERS, len(models), len(frames))


def describe(
    model: Path, frames: Sequence[Atoms], directory: Path, name: str = "tensorflow"
) -> list[np.ndarray]:
    """Learned descriptors of every atom of some frames, projected onto a few directions.

    Parameters
    ----------
    model : pathlib.Path
        Frozen model.
    frames : sequence of ase.Atoms
        Frames of any size and composition, at least one.
    directory : pathlib.Path
        Where the process runs.
    name : {"tensorflow", "pytorch"}
        Backend.

    Returns
    -------
    list of numpy.ndarray, each of shape (n_atoms, n_dimensions)
        Of each frame [1].

    Raises
    ------
    TrainingError
        If the evaluation fails.
    """
    _evaluated("describe", [model], frames, directory, name)
    with np.load(directory / _ANSWERS) as data:
        return [data[f"features-{i}"] for i in range(len(frames))]


def _evaluated(
    action: str, models: Sequence[Path], frames: Sequence[Atoms], directory: Path, name: str
) -> None:
    write_frames(frames, directory / _FRAMES)
    arguments = [action, _FRAMES, _ANSWERS, *(str(model.resolve()) for model in models)]
    done = run_backend(arguments, directory, f"{action}.log", name)
    if done.returncode != 0:
        msg = f"DeePMD-kit failed to {action}: {cause_of(done)}"
        raise TrainingError(msg, where=str(done.log))


def read_predictions(path: Path, n_models: int, n_frames: int) -> list[Prediction]:
    """Predictions that the backend has written, one for each model."""
    with np.load(path) as data:
        return [
            Prediction(
                energies=data[f"energy-{m}"],
                forces=[data[f"force-{m}-{i}"] for i in range(n_frames)],
                virials=data[f"virial-{m}"],
            )
            for m in range(n_models)
        ]
