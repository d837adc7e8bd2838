"""What a controller asks of an engine, and what the engine gives back: states, segments and runs."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from ase import Atoms

from laoc_flows.schemas.label import Correction, LabelStatus

ROW_COLUMNS = ("step", "temperature", "pressure", "potential_energy", "volume")


@dataclass(frozen=True)
class SinglePoint:
    """Outcome of one single point.

    Attributes
    ----------
    status : LabelStatus
        Converged, unconverged, crashed, or rejected for its settings.
    reason : str
        Why it is not converged, in one line; empty otherwise.
    energy : float or None
        Potential energy of the cell [eV].
    forces : numpy.ndarray or None, shape (n_atoms, 3)
        Forces [eV/A], in the order of the atoms that were asked for.
    stress : numpy.ndarray or None, shape (6,)
        Stress, ASE sign and Voigt order [eV/A^3].
    corrections : tuple of Correction
        What custodian did on the way.
    log : bytes
        Log of a failure (custodian's and the end of the program's output), gzipped tar; empty if none was kept.
    """

    status: LabelStatus
    reason: str = ""
    energy: float | None = None
    forces: np.ndarray | None = None
    stress: np.ndarray | None = None
    corrections: tuple[Correction, ...] = ()
    log: bytes = b""


@dataclass(frozen=True)
class MDState:
    """Where a run stands between two segments.

    Attributes
    ----------
    atoms : ase.Atoms
        Periodic cell, positions [A] unwrapped, with momenta [ASE units].
    restart : bytes
        The engine's own restart file of the same state (thermostat, barostat); empty after the controller has
        changed the state itself.
    """

    atoms: Atoms
    restart: bytes = b""

    def pack(self) -> bytes:
        """Bytes of the state, exact to the last bit."""
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            symbols=np.array(self.atoms.get_chemical_symbols()),
            positions=self.atoms.positions,
            cell=self.atoms.cell.array,
            momenta=self.atoms.get_momenta(),
            restart=np.frombuffer(self.restart, dtype=np.uint8),
        )
        return buffer.getvalue()

    @classmethod
    def unpack(cls, data: bytes) -> MDState:
        """State from its bytes."""
        with np.load(io.BytesIO(data)) as arrays:
            atoms = Atoms(
                arrays["symbols"].tolist(),
                positions=arrays["positions"],
                cell=arrays["cell"],
                momenta=arrays["momenta"],
                pbc=True,
            )
            return cls(atoms, arrays["restart"].tobytes())


@dataclass(frozen=True)
class Segment:
    """A stretch of a run that an engine does in one go.

    Attributes
    ----------
    ensemble : {"relax", "nvt", "npt"}
        Relaxation of the positions at constant cell, or dynamics; npt scales the cell isotropically, where the engine can.
    n_steps : int
        Steps to make.
    time_step : float
        MD time step [fs].
    start_temperature, end_temperature : float
        Targets of the thermostat at the first and after the last step, linear between [K].
    pressure : float
        Target of the barostat, total pressure [GPa].
    frame_every : int
        Steps between two frames that are kept: the frames of steps ``frame_every``, ``2 frame_every``, ...
    seed : int
        Seed of whatever is random in the segment.
    thermostat : {"sample", "measure"}
        A strong thermostat that equilibrates, or a weak one that leaves the dynamics alone.
    time_limit : float or None
        Wall time after which the segment is to end early [s]; None for the settings' ``job_walltime``.
    """

    ensemble: Literal["relax", "nvt", "npt"]
    n_steps: int
    time_step: float
    start_temperature: float
    end_temperature: float
    pressure: float
    frame_every: int
    seed: int
    thermostat: Literal["sample", "measure"] = "sample"
    time_limit: float | None = None

    def temperature_after(self, step: int) -> float:
        """Target of the thermostat after a step [K]."""
        return self.start_temperature + (self.end_temperature - self.start_temperature) * step / max(
            1, self.n_steps
        )


@dataclass(frozen=True)
class SegmentRun:
    """What a segment left behind; never an exception, a run that stopped keeps what it made.

    Attributes
    ----------
    n_steps : int
        Steps really made.
    frames : list of ase.Atoms
        Kept frames, positions unwrapped and continuous with the segment's start, in the species order of the
        start; each with energy, forces and stress (a single-point calculator) where the engine gives them.
    frame_steps : list of int
        Step of the segment (from 1) of each frame.
    rows : numpy.ndarray, shape (n_rows, 5)
        Columns :data:`ROW_COLUMNS`: step of the segment, temperature [K], total pressure [GPa] with the
        ideal-gas term, potential energy [eV], volume [A^3]. One for each step, or for every few.
    state : MDState
        State after the last step.
    failure : str
        Why it stopped early, in one line; empty if it did not.
    corrections : tuple of Correction
        What custodian did on the way.
    log : bytes
        Log of a failure, gzipped tar; empty if none was kept.
    """

    n_steps: int
    frames: list[Atoms]
    frame_steps: list[int]
    rows: np.ndarray
    state: MDState
    failure: str = ""
    corrections: tuple[Correction, ...] = ()
    log: bytes = field(default=b"", repr=False)


def in_cell(state: MDState, shape: np.ndarray, volume: float) -> MDState:
    """State in another cell; the engine's restart file no longer holds for it.

    Parameters
    ----------
    state : MDState
        State.
    shape : numpy.ndarray, shape (3, 3)
        Cell, of any volume [A].
    volume : float
        Volume that it gets [A^3].
    """
    atoms = state.atoms.copy()
    atoms.set_cell(shape * (volume / abs(np.linalg.det(shape))) ** (1.0 / 3.0), scale_atoms=True)
    return MDState(atoms)


def scaled(state: MDState, scale: float) -> MDState:
    """State in a cell whose edges are scaled; the engine's restart file no longer holds for it.

    Parameters
    ----------
    state : MDState
        State.
    scale : float
        Linear scale [1].
    """
    atoms = state.atoms.copy()
    atoms.set_cell(atoms.cell.array * scale, scale_atoms=True)
    return MDState(atoms)
