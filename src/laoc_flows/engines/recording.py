"""What a run has produced so far: frames and rows, stage by stage, and their way from job to job."""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from laoc_flows.analysis import Trajectory
from laoc_flows.engines.dynamics import SegmentRun, SinglePoint
from laoc_flows.schemas.label import LabelStatus

_RESULTS = 1 + 6
# Of every frame whose engine gave none: a long run without forces takes no memory for them.
_NO_FORCES = np.full((1, 3), np.nan)


class Recording:
    """Frames and rows of a run.

    Parameters
    ----------
    symbols : sequence of str
        Chemical symbols.
    kept_stages : collection of int, optional
        Stages whose frames are kept; all by default. Rows are kept of every stage.

    Attributes
    ----------
    frame_stage : list of int
        Stage of each frame.
    frame_step : list of int
        Step of the stage, from 1, of each frame.
    rows : list of numpy.ndarray
        One block for each segment, columns: stage, step of the stage, temperature [K], total pressure [GPa],
        potential energy [eV], volume [A^3].
    """

    def __init__(self, symbols: Sequence[str], kept_stages: Collection[int] | None = None) -> None:
        self.symbols = tuple(symbols)
        self._kept_stages = kept_stages
        self.frame_stage: list[int] = []
        self.frame_step: list[int] = []
        self.rows: list[np.ndarray] = []
        self._positions: list[np.ndarray] = []
        self._cells: list[np.ndarray] = []
        # Energy and stress of each frame, not a number where the engine gave none, and its forces.
        self._results: list[np.ndarray] = []
        self._forces: list[np.ndarray] = []

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return len(self._positions)

    def add(self, run: SegmentRun, stage: int, first_step: int) -> None:
        """Add a segment.

        Parameters
        ----------
        run : SegmentRun
            What it left behind.
        stage : int
            Its stage.
        first_step : int
            Steps of the stage that were made before it.
        """
        kept = self._kept_stages is None or stage in self._kept_stages
        for atoms, step in zip(run.frames, run.frame_steps, strict=True) if kept else ():
            self.frame_stage.append(stage)
            self.frame_step.append(first_step + step)
            self._positions.append(atoms.positions.copy())
            self._cells.append(atoms.cell.array.copy())
            results = np.full(_RESULTS, np.nan)
            forces = _NO_FORCES
            if atoms.calc is not None:
                found = atoms.calc.results
                results[0] = found["energy"]
                results[1:] = found["stress"]
                forces = found["forces"]
            self._results.append(results)
            self._forces.append(forces)
        if len(run.rows):
            rows = np.array(run.rows, dtype=np.float64)
            rows[:, 0] += first_step
            self.rows.append(np.column_stack([np.full(len(rows), float(stage)), rows]))

    def of_stage(self, stage: int) -> np.ndarray:
        """Rows of a stage, shape (n_rows, 6)."""
        rows = np.concatenate(self.rows) if self.rows else np.empty((0, 6))
        return rows[rows[:, 0] == stage]

    def frames_of(self, stages: Sequence[int]) -> np.ndarray:
        """Indices of the frames of some stages."""
        return np.flatnonzero(np.isin(self.frame_stage, list(stages)))

    def frame(self, index: int) -> Atoms:
        """One frame, with its results where the engine gave them."""
        atoms = Atoms(self.symbols, positions=self._positions[index], cell=self._cells[index], pbc=True)
        results = self._results[index]
        if np.isfinite(results).all():
            atoms.calc = SinglePointCalculator(
                atoms, energy=float(results[0]), stress=results[1:].copy(), forces=self._forces[index]
            )
        return atoms

    def cell(self, index: int) -> np.ndarray:
        """Cell of a frame, shape (3, 3) [A]."""
        return self._cells[index]

    def single_point(self, index: int) -> SinglePoint:
        """Outcome of a frame that the run has computed."""
        results = self._results[index]
        if not np.isfinite(results).all():
            return SinglePoint(LabelStatus.UNCONVERGED, "the SCF of this step did not converge")
        return SinglePoint(
            LabelStatus.CONVERGED,
            energy=float(results[0]),
            forces=self._forces[index],
            stress=results[1:].copy(),
        )

    def trajectory(self, frames: Sequence[int], interval: float) -> Trajectory:
        """Some of the frames as a trajectory.

        Parameters
        ----------
        frames : sequence of int
            Indices, in order; at least one.
        interval : float
            Time between two frames [ps].
        """
        positions = np.array([self._positions[i] for i in frames])
        cells = np.array([self._cells[i] for i in frames])
        # Engines give continuous positions: however far apart the frames are, nothing is to be unwrapped.
        return Trajectory(self.symbols, positions, cells, time_step=interval, continuous=True)

    def mark(self) -> tuple[int, int]:
        """How much there is now, for :meth:`since`."""
        return self.n_frames, len(self.rows)

    def since(self, mark: tuple[int, int]) -> Recording:
        """What was added after a mark."""
        frames, blocks = mark
        later = Recording(self.symbols)
        for name in ("frame_stage", "frame_step", "_positions", "_cells", "_results", "_forces"):
            setattr(later, name, getattr(self, name)[frames:])
        later.rows = self.rows[blocks:]
        return later

    def pack(self) -> bytes:
        """Bytes of everything, exact to the last bit."""
        n = len(self.symbols)
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            symbols=np.array(self.symbols),
            frame_stage=np.array(self.frame_stage, dtype=int),
            frame_step=np.array(self.frame_step, dtype=int),
            positions=np.array(self._positions).reshape(-1, n, 3),
            cells=np.array(self._cells).reshape(-1, 3, 3),
            results=np.array(self._results).reshape(-1, _RESULTS),
            forces=np.array([forces for forces in self._forces if forces is not _NO_FORCES]).reshape(
                -1, n, 3
            ),
            with_forces=np.array([forces is not _NO_FORCES for forces in self._forces], dtype=bool),
            rows=np.concatenate(self.rows) if self.rows else np.empty((0, 6)),
        )
        return buffer.getvalue()

    @classmethod
    def unpack(cls, parts: Sequence[bytes], kept_stages: Collection[int] | None = None) -> Recording:
        """Recording from the bytes of its parts, in order; at least one."""
        recording: Recording | None = None
        for data in parts:
            with np.load(io.BytesIO(data)) as arrays:
                if recording is None:
                    recording = cls(arrays["symbols"].tolist(), kept_stages)
                recording.frame_stage += arrays["frame_stage"].tolist()
                recording.frame_step += arrays["frame_step"].tolist()
                recording._positions += list(arrays["positions"])
                recording._cells += list(arrays["cells"])
                recording._results += list(arrays["results"])
                known = iter(arrays["forces"])
                recording._forces += [next(known) if there else _NO_FORCES for there in arrays["with_forces"]]
                if len(arrays["rows"]):
                    recording.rows.append(arrays["rows"])
        if recording is None:
            msg = "a recording needs at least one part"
            raise ValueError(msg)
        return recording
