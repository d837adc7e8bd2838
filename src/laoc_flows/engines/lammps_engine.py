"""LAMMPS with a trained potential as an engine: what the melt-quench controller drives in production."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from ase import Atoms
from ase.calculators.lammps import Prism, convert
from pydantic import Field

from laoc_flows.analysis.trajectories.format_lammps import lammps
from laoc_flows.engines.base import Engine
from laoc_flows.engines.clock import DAY, JobClock
from laoc_flows.engines.custody import failure_log
from laoc_flows.engines.dynamics import ROW_COLUMNS, MDState, Segment, SegmentRun, SinglePoint
from laoc_flows.engines.lammps import (
    BAR_IN_GPA,
    failure_of,
    header,
    interaction,
    lammps_environment,
    lammps_program,
    read_rows,
)
from laoc_flows.errors import EngineUnavailableError, TrajectoryError
from laoc_flows.process import Finished, run_program
from laoc_flows.schemas.base import SPECIES
from laoc_flows.schemas.label import LabelStatus
from laoc_flows.schemas.protocol import SoftCore
from laoc_flows.settings import Settings

_ROW_EVERY = 10
# Fast enough to follow a quench, or slow enough to leave the dynamics alone [ps].
_DAMPING = {"sample": 0.1, "measure": 0.5}
_LARGEST_SEED = 900_000_000
_BAROSTAT_DAMPING = 1.0
# Forces of a network in single precision do not sum to zero exactly; over nanoseconds a cell starts to drift.
_STILL_EVERY = 100
_MAX_STEP, _MAX_FORCE = 0.1, 0.05
_RUNAWAY = 5.0
_SCRIPT, _LOG, _START, _RESTART = "md.in", "lammps.log", "start.data", "start.restart"
_DUMP, _ROWS, _FINAL, _NEXT = "frames.dump", "rows.txt", "final.dump", "final.restart"
_POINT_COLUMNS = ("energy", "xx", "yy", "zz", "yz", "xz", "xy")


class LammpsEngine(Engine):
    """A frozen DeePMD model with its soft core, run by LAMMPS; made by a job for the potential it was given.

    From segment to segment go positions, image flags, velocities, and the state of thermostat and barostat, as a
    LAMMPS restart file: N steps and N steps are 2 N steps, but for the mass of the barostat, which LAMMPS takes from
    the first temperature of a segment, and for the random numbers of the weak thermostat, which come from the seed of
    the segment. The chain of the strong one starts anew where ensemble or thermostat change, and everything but
    positions and velocities where the controller changes the cell. Frames carry no energy and no forces. The time
    limit of the settings ends a segment early, without a failure.
    """

    name: Literal["lammps"] = "lammps"
    model: Path = Field(description="frozen DeePMD model [path]")
    soft_core: SoftCore = Field(description="repulsion that belongs to the potential")
    identity: str = Field(description="identity of the potential")
    steps_per_job: int = Field(10**12, ge=1, description="MD steps of one job: all of them [steps]")

    @property
    def level_of_theory(self) -> str:
        """Identity of the potential."""
        return self.identity

    def check_available(self) -> None:
        """Raise EngineUnavailableError without LAMMPS or without the model."""
        lammps_program(self.model)
        if not self.model.is_file():
            msg = "the model is not there"
            raise EngineUnavailableError(msg, where=str(self.model))

    def single_points(self, frames: Sequence[Atoms], directory: Path) -> Iterator[SinglePoint]:
        """Compute frames in one process, and in a new one after a frame that ended it.

        Parameters
        ----------
        frames : sequence of ase.Atoms
            Periodic cells.
        directory : pathlib.Path
            Empty directory to work in.

        Yields
        ------
        SinglePoint
            Crashed if LAMMPS fails on it, or gives numbers that are not finite.
        """
        from ase.io.lammpsdata import write_lammps_data

        done = 0
        while done < len(frames):
            first = done
            script: list[str] = []
            for index, atoms in enumerate(frames[first:], start=first):
                write_lammps_data(
                    directory / f"{index}.data",
                    atoms,
                    specorder=list(SPECIES),
                    units="metal",
                    atom_style="atomic",
                )
                script += ["clear", *header(), f"read_data {index}.data"]
                script += [*interaction([self.model], self.soft_core), "run 0"]
                script += [
                    f'print "$(pe) $(pxx) $(pyy) $(pzz) $(pyz) $(pxz) $(pxy)" file {index}.txt screen no',
                    f"write_dump all custom {index}.dump id fx fy fz modify sort id format float %.17g",
                ]
            ended = self._run(script, directory)
            for index, atoms in enumerate(frames[first:], start=first):
                point = _point(atoms, directory, index)
                done = index + 1
                if point is None:
                    yield _crashed(ended, directory)
                    break
                yield point

    def run_segment(self, state: MDState, segment: Segment, directory: Path) -> SegmentRun:
        """Run a segment of dynamics or a relaxation, with a row for every tenth step.

        A state without any momentum gets those of the segment's first temperature, from its seed.

        Parameters
        ----------
        state : MDState
            Start; its restart is the LAMMPS restart file of the segment before.
        segment : Segment
            What to run.
        directory : pathlib.Path
            Empty directory to work in.
        """
        # LAMMPS wants the cell as a triangular matrix: other cells are turned, and what comes back is turned back.
        prism = Prism(state.atoms.cell.array)
        ended = self._run(self._script(state, segment, prism, directory), directory)
        failure = failure_of(ended)
        rows = _rows(directory / _ROWS)
        frames = _frames(directory / _DUMP, state, prism)
        if failure or not (directory / _NEXT).exists():
            steps = [*rows[:, 0].astype(int).tolist(), *frames]
            made, last = max(steps, default=0), (MDState(list(frames.values())[-1]) if frames else state)
            failure = failure or "LAMMPS left no final state"
        else:
            made, last = _final(directory, state, prism)
        if not failure and (hot := _runaway(rows, segment, state)) is not None:
            failure = f"the temperature ran away to {hot:.0f} K"
        kept = {step: frame for step, frame in frames.items() if step > 0 and step % segment.frame_every == 0}
        return SegmentRun(
            n_steps=made,
            frames=list(kept.values()),
            frame_steps=list(kept),
            rows=rows[rows[:, 0] > 0],
            state=last,
            failure=failure,
            log=failure_log(directory, [_SCRIPT, _LOG]) if failure else b"",
        )

    def _script(self, state: MDState, segment: Segment, prism: Prism, directory: Path) -> list[str]:
        from ase.io.lammpsdata import write_lammps_data

        lines = header()
        if state.restart:
            (directory / _RESTART).write_bytes(state.restart)
            lines += [f"read_restart {_RESTART}", "reset_timestep 0"]
        else:
            write_lammps_data(
                directory / _START,
                state.atoms,
                specorder=list(SPECIES),
                prismobj=prism,
                velocities=True,
                units="metal",
                atom_style="atomic",
            )
            lines += [f"read_data {_START}"]
        every = max(1, min(_ROW_EVERY, segment.n_steps // _ROW_EVERY))
        lines += [
            *interaction([self.model], self.soft_core),
            f"timestep {segment.time_step / 1000.0}",
            f"thermo {max(1, segment.n_steps // 100)}",
            f"dump frames all custom {segment.frame_every} {_DUMP} id type xu yu zu",
            "dump_modify frames sort id format float %.10f",
            *_timer(segment),
        ]
        if segment.ensemble == "relax":
            steps = segment.n_steps
            lines += [
                "min_style fire",
                f"min_modify dmax {_MAX_STEP} norm max",
                f"minimize 0.0 {_MAX_FORCE} {steps} {10 * steps}",
            ]
        else:
            if not state.atoms.get_momenta().any():
                lines.append(
                    f"velocity all create {segment.start_temperature} {segment.seed} mom yes rot no dist gaussian"
                )
            columns = '"$(step) $(temp) $(press) $(pe) $(vol)"'
            lines += [
                f"fix rows all print {every} {columns} file {_ROWS} screen no title ''",
                f"fix still all momentum {_STILL_EVERY} linear 1 1 1",
                *_integrator(segment),
                f"run {segment.n_steps}",
            ]
        return [
            *lines,
            f"write_restart {_NEXT}",
            f"write_dump all custom {_FINAL} id type xu yu zu vx vy vz modify sort id format float %.17g",
        ]

    def _run(self, script: Sequence[str], directory: Path) -> Finished:
        (directory / _SCRIPT).write_text("\n".join(script) + "\n")
        return run_program(
            [*lammps_program(self.model), "-in", _SCRIPT, "-log", "none"],
            directory=directory,
            log=_LOG,
            environment=lammps_environment(plugin=True, model=self.model),
        )


def _timer(segment: Segment) -> list[str]:
    limit = segment.time_limit or JobClock(Settings.load()).left(DAY)
    minutes, seconds = divmod(max(1, int(limit)), 60)
    return [f"timer timeout {minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d} every 10"]


def _integrator(segment: Segment) -> list[str]:
    damping = _DAMPING[segment.thermostat]
    ends = f"{segment.start_temperature} {segment.end_temperature} {damping}"
    # LAMMPS hands the state of a fix on to the one with its name: another thermostat is another fix.
    name = f"{segment.ensemble}_{segment.thermostat}"
    if segment.ensemble == "npt":
        press = segment.pressure / BAR_IN_GPA
        return [f"fix {name} all npt temp {ends} iso {press} {press} {_BAROSTAT_DAMPING}"]
    if segment.thermostat == "sample":
        return [f"fix {name} all nvt temp {ends}"]
    # A weak chain swings about its target for picoseconds; stochastic rescaling (Bussi) relaxes to it.
    seed = segment.seed % _LARGEST_SEED + 1
    return [f"fix {name} all nve", f"fix {name}_heat all temp/csvr {ends} {seed}"]


def _rows(path: Path) -> np.ndarray:
    rows = read_rows(path, len(ROW_COLUMNS))
    rows[:, ROW_COLUMNS.index("pressure")] *= BAR_IN_GPA
    return rows


def _frames(path: Path, state: MDState, prism: Prism) -> dict[int, Atoms]:
    """Frames by step, up to the first that is torn or not finite; a run that blew up ends with such a one."""
    found: dict[int, Atoms] = {}
    if not path.exists():
        return found
    try:
        for snapshot in lammps(path, SPECIES):
            if not (np.isfinite(snapshot.positions).all() and np.isfinite(snapshot.cell).all()):
                break
            found[snapshot.step or 0] = _atoms(state, prism, snapshot.positions, snapshot.cell)
    except TrajectoryError:
        pass
    return found


def _atoms(state: MDState, prism: Prism, positions: np.ndarray, cell: np.ndarray) -> Atoms:
    turn = prism.rot_mat.T
    return Atoms(state.atoms.get_chemical_symbols(), positions=positions @ turn, cell=cell @ turn, pbc=True)


def _final(directory: Path, state: MDState, prism: Prism) -> tuple[int, MDState]:
    """Steps made, and the state after them."""
    snapshot = next(iter(lammps(directory / _FINAL, SPECIES)))
    atoms = _atoms(state, prism, snapshot.positions, snapshot.cell)
    velocities = np.loadtxt(directory / _FINAL, skiprows=9, usecols=(5, 6, 7), ndmin=2)
    atoms.set_velocities(convert(velocities, "velocity", "metal", "ASE") @ prism.rot_mat.T)
    return snapshot.step or 0, MDState(atoms, (directory / _NEXT).read_bytes())


def _runaway(rows: np.ndarray, segment: Segment, state: MDState) -> float | None:
    """Temperature that no thermostat explains [K], None without one."""
    # A cell that is handed hot to a cold thermostat has not run away.
    target = max(segment.start_temperature, segment.end_temperature, state.atoms.get_temperature())
    hot = rows[:, ROW_COLUMNS.index("temperature")]
    wrong = ~(hot <= _RUNAWAY * target)
    return float(hot[wrong][0]) if wrong.any() else None


def _point(atoms: Atoms, directory: Path, index: int) -> SinglePoint | None:
    """Outcome of one frame, None if LAMMPS did not come to its end."""
    path = directory / f"{index}.dump"
    values = read_rows(directory / f"{index}.txt", len(_POINT_COLUMNS))
    if not (len(values) and path.exists()):
        return None
    prism = Prism(atoms.cell.array)
    forces = prism.vector_to_ase(np.loadtxt(path, skiprows=9, usecols=(1, 2, 3), ndmin=2))
    energy, xx, yy, zz, yz, xz, xy = values[0]
    pressure = prism.tensor2_to_ase(np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]))
    stress = -convert(pressure, "pressure", "metal", "ASE")[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
    if not (np.isfinite(energy) and np.isfinite(forces).all() and np.isfinite(stress).all()):
        return SinglePoint(LabelStatus.CRASHED, "the results are not finite numbers")
    return SinglePoint(LabelStatus.CONVERGED, energy=float(energy), forces=forces, stress=stress)


def _crashed(ended: Finished, directory: Path) -> SinglePoint:
    reason = failure_of(ended) or "LAMMPS left no result"
    return SinglePoint(LabelStatus.CRASHED, reason, log=failure_log(directory, [_SCRIPT, _LOG]))
