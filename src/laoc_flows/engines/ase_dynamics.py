"""ASE's dynamics of a segment: which integrator, with which constants, behind one ``step(target)``.

Constant volume: Langevin to sample, stochastic velocity rescaling (Bussi) to measure. Constant pressure:
``LangevinBAOAB`` with a hydrostatic cell, a Langevin piston (Quigley and Probert, J. Chem. Phys. 2004, 120,
11432). Of ASE's other barostats, ``IsotropicMTKNPT`` gives every cell 3 N degrees of freedom where the momentum
is zero (5 % too hot at 20 atoms), takes no ramp and rings for picoseconds after a strong deviation of the
pressure; ``NPTBerendsen`` is robust but has no ensemble. A Langevin piston that is overdamped is both.
"""

from __future__ import annotations

import warnings
from typing import Protocol

import numpy as np
from ase import Atoms, units
from ase.md.bussi import Bussi
from ase.md.langevin import Langevin
from ase.md.langevinbaoab import LangevinBAOAB

from laoc_flows.engines.dynamics import Segment

# Strong: a thermostat that samples replaces the velocities within some 50 fs and measures no dynamics.
_FRICTION = 20.0 / (1000.0 * units.fs)
_RESCALING_TIME = 500.0 * units.fs
# The piston's own period at the bulk modulus of an ionic melt, and its damping: a little above critical at this
# modulus, so that a cell far from its density comes to it without ringing.
_PISTON_PERIOD = 1000.0 * units.fs
_PISTON_MODULUS = 10.0 * units.GPa
_PISTON_DAMPING_TIME = 50.0 * units.fs
_RESTART = np.dtype("<f8")


class Dynamics(Protocol):
    """Dynamics of the atoms that it was made for."""

    def step(self, target: float) -> None:
        """Make one step, with this target of the thermostat [K]."""

    @property
    def restart(self) -> bytes:
        """What the next segment needs besides the atoms."""


def dynamics_of(atoms: Atoms, segment: Segment, rng: np.random.Generator, restart: bytes) -> Dynamics:
    """Dynamics of a segment.

    Parameters
    ----------
    atoms : ase.Atoms
        Cell with momenta and calculator; its constraint on the center of mass gives the degrees of freedom.
    segment : Segment
        Ensemble, thermostat, time step and targets.
    rng : numpy.random.Generator
        Source of everything random.
    restart : bytes
        Restart of the segment before, or nothing.
    """
    if segment.ensemble == "npt":
        return _ConstantPressure(atoms, segment, rng, restart)
    return (
        _Rescaled(atoms, segment, rng) if segment.thermostat == "measure" else _Sampled(atoms, segment, rng)
    )


class _Sampled:
    """Langevin dynamics at constant volume."""

    restart = b""

    def __init__(self, atoms: Atoms, segment: Segment, rng: np.random.Generator) -> None:
        self._dynamics = Langevin(
            atoms,
            segment.time_step * units.fs,
            temperature_K=segment.start_temperature,
            friction=_FRICTION,
            rng=rng,
            # Its own way to keep the center of mass does not sample the ensemble; the constraint does.
            fixcm=False,
        )

    def step(self, target: float) -> None:
        self._dynamics.set_temperature(temperature_K=target)
        self._dynamics.run(1)


class _Rescaled:
    """Velocity Verlet with stochastic rescaling of all velocities alike: diffusion is that of NVE."""

    restart = b""

    def __init__(self, atoms: Atoms, segment: Segment, rng: np.random.Generator) -> None:
        self._dynamics = _bussi(atoms, segment, rng)

    def step(self, target: float) -> None:
        _set_target(self._dynamics, target)
        self._dynamics.run(1)


class _ConstantPressure:
    """Langevin piston; its momentum, its mass and the force on it are the restart."""

    def __init__(self, atoms: Atoms, segment: Segment, rng: np.random.Generator, restart: bytes) -> None:
        self._mass = 9.0 * atoms.get_volume() * _PISTON_MODULUS * (_PISTON_PERIOD / (2.0 * np.pi)) ** 2
        momentum, force = 0.0, None
        if restart:
            momentum, self._mass, force = (float(value) for value in np.frombuffer(restart, _RESTART))
        with warnings.catch_warnings():
            # It has not been tested with constraints, it says; our tests do that.
            warnings.simplefilter("ignore")
            self._dynamics = LangevinBAOAB(
                atoms,
                segment.time_step * units.fs,
                temperature_K=segment.start_temperature,
                externalstress=-segment.pressure * units.GPa,
                hydrostatic=True,
                T_tau=1.0 / _FRICTION,
                P_tau=_PISTON_DAMPING_TIME,
                P_mass=self._mass,
                rng=rng,
            )
        self._dynamics.p_eps = momentum
        if force is not None:
            # Between two steps it holds the force of the half step, which the state alone does not give.
            self._dynamics.force_eps = force
        # Weak: the piston keeps its own thermostat, the ions get the one of the runs at constant volume.
        self._bussi = _bussi(atoms, segment, rng) if segment.thermostat == "measure" else None

    @property
    def restart(self) -> bytes:
        return np.array([self._dynamics.p_eps, self._mass, self._dynamics.force_eps], _RESTART).tobytes()

    def step(self, target: float) -> None:
        self._dynamics.set_temperature(target)
        if self._bussi is not None:
            self._dynamics.gamma = 0.0
            _set_target(self._bussi, target)
            self._bussi.scale_velocities()
        self._dynamics.run(1)


def _bussi(atoms: Atoms, segment: Segment, rng: np.random.Generator) -> Bussi:
    return Bussi(
        atoms,
        segment.time_step * units.fs,
        temperature_K=segment.start_temperature,
        taut=_RESCALING_TIME,
        rng=rng,
    )


def _set_target(dynamics: Bussi, target: float) -> None:
    dynamics.temp = target * units.kB
    dynamics.target_kinetic_energy = 0.5 * dynamics.temp * dynamics.ndof
