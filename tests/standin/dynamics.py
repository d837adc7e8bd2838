"""How the stand-in moves its ions: VASP's thermostats and its relaxation, with what each of them carries over.

As in VASP a step computes the forces at the present positions and then moves; CONTCAR therefore holds positions that no
force was computed for yet, and the first step of the next run is the one after the last of this.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tests.standin.inputs import BadInputError, Incar, Poscar

MASS = 103.642697  # u in eV fs^2 / A^2
BOLTZMANN = 8.617333e-5  # eV / K
KBAR = 1602.1766  # eV / A^3 in kB


@dataclass
class Ions:
    """Where the ions are and how they move: Cartesian positions [A], velocities [A/fs], masses [eV fs^2/A^2]."""

    symbols: list[str]
    masses: np.ndarray
    cell: np.ndarray
    positions: np.ndarray
    velocities: np.ndarray
    # Flow of the cell (strain rate) [1/fs] and the thermostat's variables: ln s and its derivative [1/fs].
    flow: np.ndarray
    nose: np.ndarray
    # What the last half kick added to velocities and flow: CONTCAR predicts the next half with it.
    kick: np.ndarray | None = None
    flow_kick: np.ndarray | None = None
    is_continued: bool = False
    # Langevin's friction and noise move the center of mass, everything else leaves it where it is.
    has_drift: bool = False

    @property
    def volume(self) -> float:
        return float(abs(np.linalg.det(self.cell)))

    @property
    def kinetic(self) -> float:
        return float(0.5 * (self.masses[:, None] * self.velocities**2).sum())

    @property
    def degrees(self) -> int:
        return 3 * len(self.positions) if self.has_drift else max(1, 3 * len(self.positions) - 3)

    @property
    def temperature(self) -> float:
        return 2.0 * self.kinetic / (self.degrees * BOLTZMANN)

    @property
    def fractional(self) -> np.ndarray:
        inside = self.positions @ np.linalg.inv(self.cell)
        return inside - np.floor(inside)


def ions_of(
    poscar: Poscar, symbols: list[str], masses: np.ndarray, incar: Incar, rng: np.random.Generator
) -> Ions:
    """Ions of a POSCAR; velocities are drawn at TEBEG where it has none and the run is dynamics."""
    velocities = poscar.velocities
    if velocities is None or not np.any(velocities):
        velocities = np.zeros_like(poscar.fractional)
        if incar.tag("IBRION") == 0:
            velocities = rng.normal(size=velocities.shape) / np.sqrt(masses)[:, None]
            velocities -= (masses[:, None] * velocities).sum(axis=0) / masses.sum()
    flow = np.zeros((3, 3))
    if poscar.lattice_velocities is not None:
        flow = np.linalg.inv(poscar.cell) @ poscar.lattice_velocities
    ions = Ions(
        symbols, masses, poscar.cell.copy(), poscar.fractional @ poscar.cell, velocities, flow, np.zeros(2)
    )
    ions.has_drift = incar.tag("MDALGO") == 3
    if poscar.velocities is None and ions.kinetic > 0:
        ions.velocities = velocities * np.sqrt(incar.number("TEBEG") / ions.temperature)
    if poscar.predictor is not None and incar.tag("MDALGO") == 0 and incar.tag("IBRION") == 0:
        ions.nose = poscar.nose[:2].copy()
        ions.velocities = ions.velocities - poscar.predictor[1] / incar.number("POTIM")
        ions.is_continued = True
    return ions


class Dynamics:
    """Molecular dynamics of VASP: MDALGO 0 to 3."""

    def __init__(self, incar: Incar, kinds: list[str], rng: np.random.Generator) -> None:
        self._rng = rng
        self._dt = incar.number("POTIM")
        self._steps = max(1, incar.integer("NSW"))
        self._from, self._to = incar.number("TEBEG"), incar.number("TEEND")
        self._algorithm, self._smass = incar.integer("MDALGO"), incar.number("SMASS")
        self._cell_moves = self._algorithm == 3 and incar.integer("ISIF") == 3
        self._pressure = incar.number("PSTRESS") / KBAR
        self._barostat_mass = incar.number("PMASS") * MASS
        self._barostat_friction = incar.number("LANGEVIN_GAMMA_L") * 1e-3
        friction = incar.get("LANGEVIN_GAMMA", [0.0] * len(kinds))
        if self._algorithm == 3 and len(friction) != len(kinds):
            msg = f" Error reading item 'LANGEVIN_GAMMA' from file INCAR.\n Expected N= {len(kinds)} data."
            raise BadInputError(msg)
        self._friction = {kind: value * 1e-3 for kind, value in zip(kinds, friction, strict=True)}
        self._nose = (self._algorithm == 0 and self._smass >= 0) or self._algorithm == 2
        self.is_predictor_corrector = self._algorithm == 0

    def target(self, step: int) -> float:
        """Target of the thermostat at a step, from 1 [K]."""
        return self._from + (self._to - self._from) * step / self._steps

    def _thermostat_mass(self, ions: Ions) -> float:
        if self._smass > 0:
            return self._smass * MASS
        # SMASS = 0: VASP chooses the mass so that the temperature swings within 40 steps.
        kt = BOLTZMANN * max(1.0, self._from)
        return 2.0 * ions.degrees * kt * (40.0 * self._dt / (2.0 * np.pi)) ** 2

    def extended_energy(self, ions: Ions, step: int) -> tuple[float, float]:
        """Potential and kinetic energy of the thermostat [eV]."""
        if not self._nose:
            return 0.0, 0.0
        kt = BOLTZMANN * self.target(step)
        return ions.degrees * kt * float(ions.nose[0]), 0.5 * self._thermostat_mass(ions) * float(
            ions.nose[1]
        ) ** 2

    def lattice_kinetic(self, ions: Ions) -> float:
        """Kinetic energy of the cell [eV]."""
        return 0.5 * self._flow_mass(ions) * float((ions.flow**2).sum()) if self._cell_moves else 0.0

    def _flow_mass(self, ions: Ions) -> float:
        return self._barostat_mass * ions.volume ** (2.0 / 3.0)

    def before(self, ions: Ions, forces: np.ndarray, virial: np.ndarray, step: int) -> None:
        """Second half of the step that led here; the velocities are then those of these positions."""
        if step > 1 or ions.is_continued:
            self._kick(ions, forces, virial)
            if self._nose:
                self._thermostat(ions, step)

    def after(self, ions: Ions, forces: np.ndarray, virial: np.ndarray, step: int) -> None:
        """First half of the next step, positions included."""
        if self._algorithm == 0 and self._smass == -1.0 and ions.kinetic > 0:
            ions.velocities *= np.sqrt(self.target(step) / ions.temperature)
        if self._nose:
            self._thermostat(ions, step)
        velocities, flow = ions.velocities, ions.flow
        self._kick(ions, forces, virial)
        ions.kick, ions.flow_kick = ions.velocities - velocities, ions.flow - flow
        half = 0.5 * self._dt
        self._drift(ions, half)
        if self._algorithm == 3:
            self._friction_and_noise(ions, step)
        self._drift(ions, half)

    def _kick(self, ions: Ions, forces: np.ndarray, virial: np.ndarray) -> None:
        half = 0.5 * self._dt
        if self._cell_moves:
            kinetic = (ions.masses[:, None] * ions.velocities).T @ ions.velocities
            excess = virial + kinetic - self._pressure * ions.volume * np.eye(3)
            ions.flow = ions.flow + half * 0.5 * (excess + excess.T) / self._flow_mass(ions)
            ions.velocities = ions.velocities @ (np.eye(3) - half * ions.flow)
        ions.velocities = ions.velocities + half * forces / ions.masses[:, None]

    def _drift(self, ions: Ions, time: float) -> None:
        ions.positions = ions.positions + time * ions.velocities
        if self._cell_moves:
            stretch = np.eye(3) + time * ions.flow + 0.5 * time**2 * ions.flow @ ions.flow
            ions.positions = ions.positions @ stretch
            ions.cell = ions.cell @ stretch

    def _thermostat(self, ions: Ions, step: int) -> None:
        half, mass = 0.5 * self._dt, self._thermostat_mass(ions)
        kt = BOLTZMANN * self.target(step)
        value, rate = ions.nose
        rate += 0.5 * half * (2.0 * ions.kinetic - ions.degrees * kt) / mass
        ions.velocities = ions.velocities * np.exp(-rate * half)
        value += rate * half
        rate += 0.5 * half * (2.0 * ions.kinetic - ions.degrees * kt) / mass
        ions.nose = np.array([value, rate])

    def _friction_and_noise(self, ions: Ions, step: int) -> None:
        kt = BOLTZMANN * self.target(step)
        keep = np.exp(-np.array([self._friction[s] for s in ions.symbols]) * self._dt)[:, None]
        noise = self._rng.normal(size=ions.velocities.shape) * np.sqrt(kt / ions.masses)[:, None]
        ions.velocities = keep * ions.velocities + np.sqrt(1.0 - keep**2) * noise
        if self._cell_moves:
            keep_cell = np.exp(-self._barostat_friction * self._dt)
            raw = self._rng.normal(size=(3, 3)) * np.sqrt(kt / self._flow_mass(ions))
            ions.flow = keep_cell * ions.flow + np.sqrt(1.0 - keep_cell**2) * 0.5 * (raw + raw.T)


class Relaxation:
    """Steepest descent with a step that grows on the way down, at constant cell; IBRION 1, 2 and 3 alike."""

    def __init__(self) -> None:
        self._step = 0.05
        self._last: tuple[float, np.ndarray, np.ndarray] | None = None

    def move(self, ions: Ions, energy: float, forces: np.ndarray) -> None:
        """Next positions."""
        if self._last is not None and energy > self._last[0]:
            # Too far: back to the best positions with a shorter step.
            self._step *= 0.4
            _, start, downhill = self._last
        else:
            if self._last is not None:
                self._step *= 1.3
            start, downhill = ions.positions.copy(), forces.copy()
            self._last = (energy, start, downhill)
        move = self._step * downhill
        longest = np.linalg.norm(move, axis=1).max()
        ions.positions = start + move * min(1.0, 0.2 / max(longest, 1e-12))
