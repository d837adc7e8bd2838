"""Runs for the benchmark of the analysis: a model glass of 96 atoms, and copies of it side by side."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.spacegroup import crystal
from model_glass import model_glass

from laoc_flows.analysis import Trajectory
from laoc_flows.analysis.trajectories.frame import FloatArray
from laoc_flows.analysis.trajectories.h5md import Header, write

TEMPERATURE = 500.0
"""Temperature of the model glass [K]."""
INTERVAL = 0.1
"""Time between its frames [ps]."""
VIBRATION = 0.05
"""Standard deviation of the displacement that every atom of a copy has for itself [A, per axis and frame]."""
WALK = 0.02
"""Standard deviation of the step that every Li of a copy takes for itself [A, per axis and frame]."""

_BLOCK = 100


def source_run(folder: Path, n_frames: int) -> Trajectory:
    """Return a run of the model glass Li16Al16Cl64, made once and kept in a folder.

    Parameters
    ----------
    folder : Path
        Where it is kept.
    n_frames : int
        Its length.
    """
    path = folder / f"model-glass-96-{n_frames}.h5md"
    if not path.exists():
        run = model_glass("1", "0", 16, TEMPERATURE, (n_frames - 1) * INTERVAL, INTERVAL)
        run.block(0, n_frames).write(path)
    return Trajectory.read(path)


def _copied(
    source: Trajectory, repeats: tuple[int, int, int], n_frames: int, seed: int
) -> Iterator[FloatArray]:
    """Yield the positions of copies in blocks of frames; the source is played forth and back."""
    rng = np.random.default_rng(seed)
    paths = source.unwrapped("none")
    cell = source.cells[0]
    offsets = np.stack(np.unravel_index(np.arange(np.prod(repeats)), repeats), axis=1) @ cell
    total = cell * np.array(repeats)[:, None]
    inverse = np.linalg.inv(total)
    mobile = np.flatnonzero(np.array(source.species) == "Li")
    walked = np.zeros((len(offsets), mobile.size, 3), dtype=np.float32)
    last = source.n_frames - 1
    for start in range(0, n_frames, _BLOCK):
        frames = np.arange(start, min(start + _BLOCK, n_frames))
        there = last - np.abs(frames % (2 * last) - last)
        shape = (frames.size, len(offsets), source.n_atoms, 3)
        positions = VIBRATION * rng.standard_normal(shape, dtype=np.float32)
        steps = WALK * rng.standard_normal((frames.size, *walked.shape), dtype=np.float32)
        np.cumsum(steps, axis=0, out=steps)
        positions[:, :, mobile] += walked + steps
        walked = walked + steps[-1]
        everywhere = (positions + paths[there, None] + offsets[:, None]).reshape(frames.size, -1, 3)
        fractional = everywhere @ inverse
        yield (fractional - np.floor(fractional)) @ total


def copies(source: Trajectory, repeats: tuple[int, int, int], n_frames: int, seed: int = 0) -> Trajectory:
    """Put copies of a run side by side, in memory.

    Parameters
    ----------
    source : Trajectory
        The run.
    repeats : (int, int, int)
        Copies along a, b and c.
    n_frames : int
        Length of the result.
    seed : int, default 0
        Seed of the displacements that tell the copies apart.
    """
    positions = np.concatenate(list(_copied(source, repeats, n_frames, seed)))
    return Trajectory(_species(source, repeats), positions, _cell(source, repeats), source.time_step)


def copies_file(
    folder: Path, source: Trajectory, repeats: tuple[int, int, int], n_frames: int, seed: int = 0
) -> Path:
    """Put copies of a run side by side, in an H5MD file of single precision that is made once and kept.

    Parameters
    ----------
    folder : Path
        Where it is kept.
    source, repeats, n_frames, seed
        As for `copies`.
    """
    n_atoms = source.n_atoms * int(np.prod(repeats))
    path = folder / f"copies-{n_atoms}-{n_frames}.h5md"
    if not path.exists():
        cells = np.broadcast_to(_cell(source, repeats), (n_frames, 3, 3))
        header = Header(_species(source, repeats), cells, source.time_step, 0.0, continuous=False)
        write(path, header, _copied(source, repeats, n_frames, seed), "float32")
    return path


def crystal_supercell() -> Atoms:
    """Return LiAlCl4 (P2_1/c, COD 1004036), 6 x 6 x 3 cells or 2592 atoms, almost as long as wide and high."""
    cell = crystal(
        ["Li", "Al", "Cl", "Cl", "Cl", "Cl"],
        [
            (0.15688, 0.98308, 0.36658),
            (0.70588, 0.32198, 0.89924),
            (0.69400, 0.18329, 0.04695),
            (0.80902, 0.62835, 0.92849),
            (0.92580, 0.18160, 0.81372),
            (0.43947, 0.31364, 0.81280),
        ],
        spacegroup=14,
        cellpar=[7.007, 6.504, 12.995, 90.0, 93.32, 90.0],
    )
    return cell.repeat((6, 6, 3))


def _species(source: Trajectory, repeats: tuple[int, int, int]) -> tuple[str, ...]:
    return source.species * int(np.prod(repeats))


def _cell(source: Trajectory, repeats: tuple[int, int, int]) -> FloatArray:
    return np.asarray(source.cells[0] * np.array(repeats)[:, None])
