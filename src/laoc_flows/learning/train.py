"""One training: write data, run DeePMD-kit, and check that what comes out is the same model."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from ase import Atoms

from laoc_flows.errors import TrainingError
from laoc_flows.learning import backend
from laoc_flows.learning.core import without_core
from laoc_flows.learning.data import drawn, measure_sel, most_neighbors, split_by_force, write_systems
from laoc_flows.learning.evaluate import cause_of, read_predictions, run_backend, write_frames
from laoc_flows.learning.inputs import TABLE_FILE, compressible, render_input, short_range_table
from laoc_flows.process import Finished
from laoc_flows.schemas.potential import TrainingAttempt, TrainingStatus
from laoc_flows.schemas.protocol import SoftCore
from laoc_flows.schemas.training import Training

LOWER_RATE = 0.2
"""Factor on the learning rate of the second try [1]."""
_TRIES = 2
_PARITY_FRAMES = 4
_FRAMES, _PREDICTIONS, _TASK, _VERSIONS = "frames.npz", "predictions.npz", "task.json", "versions.json"
_CHECKPOINT = "model.ckpt"
_NAN = "NaN detected"
_KILLED = {-signal.SIGKILL, -signal.SIGTERM}
_READER_LOST = re.compile(r"DataLoader worker .*(killed by signal|exited unexpectedly)")
"""What PyTorch says when a process that reads data for it was killed; it ends with a status of its own."""
_MAX_PARITY_FORCE = 1e-2  # eV/A; a table or a conversion gone wrong is off by orders of magnitude more
_DIVERGED_FORCE = 3.0
"""Training force RMSE over that of zero forces at which a training has diverged [1]."""
_DIVERGED_ENERGY = 100.0
"""Training energy RMSE at which it has [eV/atom]."""


@dataclass(frozen=True)
class Parent:
    """A model that a training begins with.

    Attributes
    ----------
    frozen : pathlib.Path
        Frozen model, not compressed.
    sel : tuple of int
        Neighbors per species that it keeps.
    """

    frozen: Path
    sel: tuple[int, ...]


@dataclass(frozen=True)
class TrainedFiles:
    """A finished training.

    Attributes
    ----------
    model, frozen : pathlib.Path
        Model that is used (compressed where it can be), and the frozen model.
    sel : tuple of int
        Neighbors per species.
    n_train, n_left_out : int
        Frames trained on, and left out because of their forces.
    n_distinct : int or None
        Distinct frames of a random sample.
    steps : int
        Training steps.
    warm : bool
        Whether it began with its parent.
    final_force_loss : float
        Training force RMSE at the last report [eV/A].
    curve : dict
        Columns of the learning curve by name.
    parity_force : float
        Largest force difference between compressed and frozen model [eV/A].
    parity_energy : float
        Largest energy difference [eV/atom].
    versions : dict
        Versions of the programs.
    """

    model: Path
    frozen: Path
    sel: tuple[int, ...]
    n_train: int
    n_left_out: int
    n_distinct: int | None
    steps: int
    warm: bool
    final_force_loss: float
    curve: dict[str, list[float]]
    parity_force: float
    parity_energy: float
    versions: dict[str, str] = field(default_factory=dict)


class _TryError(Exception):
    """One try has failed, for a reason that has a type."""

    def __init__(self, status: TrainingStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def train_model(
    frames: Sequence[Atoms],
    training: Training,
    core: SoftCore,
    seed: int,
    directory: Path,
    *,
    bootstrap: bool = False,
    parent: Parent | None = None,
) -> tuple[TrainedFiles | None, tuple[TrainingAttempt, ...]]:
    """Train, freeze and compress one model; a training that fails is tried once more at a lower rate.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        Labeled frames.
    training : Training
        Settings.
    core : SoftCore
        Repulsion that is subtracted from the labels.
    seed : int
        Seed of weights, batches and of the sample of the frames.
    directory : pathlib.Path
        Where the programs run; a training that was killed there goes on from its last checkpoint.
    bootstrap : bool
        Whether to train on a random sample of the frames, drawn with replacement within each composition.
    parent : Parent, optional
        Model to begin with, if the settings want it (`warm_steps`) and it keeps enough neighbors.

    Returns
    -------
    files : TrainedFiles or None
        None where both tries have failed.
    attempts : tuple of TrainingAttempt
        What was tried; failures are typed, and nothing is raised for them.

    Raises
    ------
    TrainingError
        If the training was killed from outside, and was again when it went on.
    """
    kept, left_out = split_by_force(frames, training.max_force)
    if not kept:
        reason = f"no label is within max_force = {training.max_force:g} eV/A ({left_out} are above)"
        return None, (
            TrainingAttempt(status=TrainingStatus.NO_DATA, reason=reason, start_lr=training.start_lr),
        )
    bad = [i for i, frame in enumerate(kept) if not _finite(frame)]
    if bad:
        reason = f"{len(bad)} of {len(kept)} labels are not finite numbers, the first is number {bad[0]}"
        return None, (
            TrainingAttempt(status=TrainingStatus.NO_DATA, reason=reason, start_lr=training.start_lr),
        )
    if training.warm_steps is None or (
        parent is not None and not _covers(parent.sel, most_neighbors(kept, training.cutoff))
    ):
        parent = None
    sel = parent.sel if parent is not None else measure_sel(kept, training.cutoff)
    sample = drawn(kept, seed) if bootstrap else kept
    n_distinct = len({id(frame) for frame in sample}) if bootstrap else None
    attempts: list[TrainingAttempt] = []
    for number in range(_TRIES):
        rate = training.rates[0 if parent is None else 1]
        start_lr = rate if number == 0 else max(LOWER_RATE * rate, 1.01 * training.last_rate)
        place = directory / f"try-{number}"
        one = _Try(place, training, sel, seed, start_lr, parent)
        try:
            curve, parity_force, parity_energy, content = one.run(without_core(sample, core), kept)
        except _TryError as failed:
            attempts.append(
                TrainingAttempt(
                    status=failed.status, reason=str(failed)[:500], start_lr=start_lr, resumed=one.resumed
                )
            )
            # Whatever was wrong, the parent may be it: of another architecture, for one.
            parent = None
            continue
        attempts.append(
            TrainingAttempt(status=TrainingStatus.COMPLETED, start_lr=start_lr, resumed=one.resumed)
        )
        files = TrainedFiles(
            model=one.compressed if compressible(content) else one.frozen,
            frozen=one.frozen,
            sel=sel,
            n_train=len(sample),
            n_left_out=left_out,
            n_distinct=n_distinct,
            steps=one.steps,
            warm=parent is not None,
            final_force_loss=curve["rmse_f_trn"][-1],
            curve=curve,
            parity_force=parity_force,
            parity_energy=parity_energy,
            versions=json.loads((place / _VERSIONS).read_text()),
        )
        return files, tuple(attempts)
    return None, tuple(attempts)


def _finite(frame: Atoms) -> bool:
    values = (frame.get_potential_energy(), frame.get_forces(), frame.get_stress(), frame.positions)
    return all(np.isfinite(value).all() for value in values)


def _killed(done: Finished) -> bool:
    return done.returncode in _KILLED or (
        done.returncode != 0 and _READER_LOST.search(cause_of(done)) is not None
    )


def _covers(sel: Sequence[int], needed: Sequence[int]) -> bool:
    return all(have >= need for have, need in zip(sel, needed, strict=True))


class _Try:
    """One try to train a model, in a directory of its own."""

    def __init__(
        self,
        place: Path,
        training: Training,
        sel: tuple[int, ...],
        seed: int,
        start_lr: float,
        parent: Parent | None,
    ) -> None:
        suffix = backend.SUFFIXES[training.backend]
        self.place, self.training, self.sel, self.seed = place, training, sel, seed
        self.start_lr, self.parent = start_lr, parent
        self.frozen, self.compressed = place / f"frozen{suffix}", place / f"compressed{suffix}"
        warm = training.warm_steps if parent is not None else None
        self.steps = warm or training.steps
        self.resumed = False

    def run(
        self, data: Sequence[Atoms], kept: Sequence[Atoms]
    ) -> tuple[dict[str, list[float]], float, float, dict[str, object]]:
        """Train; the learning curve, the parity of forces [eV/A] and energies [eV/atom], and the input."""
        place, training = self.place, self.training
        place.mkdir(parents=True, exist_ok=True)
        systems = write_systems(data, place / "data")
        if training.short_range is not None:
            np.savetxt(place / TABLE_FILE, short_range_table(training.cutoff))
        content = render_input(
            training,
            self.sel,
            [path.relative_to(place) for path in systems],
            self.seed,
            start_lr=self.start_lr,
            steps=self.steps,
        )
        sample = kept[:: max(1, len(kept) // _PARITY_FRAMES)][:_PARITY_FRAMES]
        write_frames(sample, place / _FRAMES)
        (place / "input.json").write_text(json.dumps(content, indent=1))
        done = self._resume(compress=compressible(content))
        if _killed(done):
            # Once more from its last checkpoint: whoever has killed it, it was not the training itself.
            done = self._resume(compress=compressible(content))
        if _killed(done):
            how = cause_of(done) if done.returncode > 0 else f"signal {-done.returncode}"
            msg = f"the training was killed twice ({how})"
            remedy = (
                "look at the memory of the machine, then run it again: it goes on from its last checkpoint"
            )
            raise TrainingError(msg, where=str(done.log), remedy=remedy)
        if done.returncode != 0:
            # DeePMD-kit looks at every report whether its loss is a number.
            cause = cause_of(done)
            status = TrainingStatus.DIVERGED if _NAN in cause else TrainingStatus.CRASHED
            raise _TryError(status, f"DeePMD-kit failed: {cause}")
        curve = read_curve(place / "lcurve.out")
        self._check(curve, data)
        forces, energies = self._parity(len(sample), np.array([len(frame) for frame in sample]))
        return curve, forces, energies, content

    @staticmethod
    def _check(curve: dict[str, list[float]], data: Sequence[Atoms]) -> None:
        """Raise where a training has ended far worse than a model that says nothing."""
        zero = float(np.sqrt(np.mean(np.concatenate([f.get_forces().ravel() for f in data]) ** 2)))
        force, energy = curve["rmse_f_trn"][-1], curve["rmse_e_trn"][-1]
        finite = all(np.isfinite(column[-1]) for column in curve.values())
        if not finite or force > _DIVERGED_FORCE * zero or energy > _DIVERGED_ENERGY:
            reason = (
                f"the errors on the training data are {force:.3g} eV/A (of zero forces: {zero:.3g}) and "
                f"{energy:.3g} eV/atom"
            )
            raise _TryError(TrainingStatus.DIVERGED, reason)

    def _resume(self, *, compress: bool) -> Finished:
        """Train, from the checkpoint if there is one, and from the beginning where that one cannot be read."""
        checkpoint = self.place / "checkpoint"
        self.resumed = checkpoint.exists()
        done = self._train(compress=compress)
        if self.resumed and done.returncode and not _killed(done) and _NAN not in cause_of(done):
            # A kill in the middle of writing leaves half a checkpoint: that is no reason for a lower rate.
            checkpoint.unlink()
            self.resumed = False
            done = self._train(compress=compress)
        return done

    def _train(self, *, compress: bool) -> Finished:
        task = {
            "backend": self.training.backend,
            "script": "input.json",
            "arguments": self._arguments(),
            "frozen": self.frozen.name,
            "compressed": self.compressed.name if compress else "",
            "frames": _FRAMES,
            "predictions": _PREDICTIONS,
            "versions": _VERSIONS,
        }
        (self.place / _TASK).write_text(json.dumps(task))
        return run_backend(["train", _TASK], self.place, "train.log", self.training.backend)

    def _arguments(self) -> list[str]:
        skip = ["--skip-neighbor-stat"]
        if (self.place / "checkpoint").exists():
            return [*skip, "--restart", _CHECKPOINT]
        for leftover in ("lcurve.out", *_stale(self.place)):
            (self.place / leftover).unlink(missing_ok=True)
        return skip if self.parent is None else [*skip, "--init-frz-model", str(self.parent.frozen.resolve())]

    def _parity(self, n_frames: int, sizes: np.ndarray) -> tuple[float, float]:
        path = self.place / _PREDICTIONS
        if not self.compressed.exists():
            (frozen,) = read_predictions(path, 1, n_frames)
            if not all(np.isfinite(force).all() for force in frozen.forces):
                raise _TryError(TrainingStatus.PARITY, "the frozen model's forces are not finite numbers")
            return 0.0, 0.0
        frozen, compressed = read_predictions(path, 2, n_frames)
        forces = [np.abs(a - b).max() for a, b in zip(frozen.forces, compressed.forces, strict=True)]
        energies = np.abs(frozen.energies - compressed.energies) / sizes
        if not max(forces) <= _MAX_PARITY_FORCE:
            reason = f"the compressed model's forces differ by {max(forces):.3g} eV/A from the frozen model's"
            raise _TryError(TrainingStatus.PARITY, reason)
        return float(max(forces)), float(energies.max())


def _stale(place: Path) -> list[str]:
    return [path.name for path in place.glob(f"{_CHECKPOINT}*")]


def read_curve(path: Path) -> dict[str, list[float]]:
    """Learning curve that DeePMD-kit writes, columns by name.

    A training that went on after a kill reports some steps twice: the last counts.
    """
    lines = path.read_text().splitlines()
    header = next(line for line in lines if line.startswith("#")).lstrip("# ").split()
    rows: dict[float, list[float]] = {}
    for line in lines:
        words = line.split()
        if line.startswith("#") or len(words) != len(header):
            continue
        values = [float(word) for word in words]
        rows[values[0]] = values
    table = [rows[step] for step in sorted(rows)]
    return {name: [row[i] for row in table] for i, name in enumerate(header)}
