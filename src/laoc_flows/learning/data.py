"""Training data: labeled frames as DeePMD systems, and the number of neighbors they have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms

from laoc_flows.schemas.base import SPECIES

_SEL_MARGIN = 1.3
_SEL_EXTRA = 2


def split_by_force(frames: Sequence[Atoms], max_force: float) -> tuple[list[Atoms], int]:
    """Frames whose largest force component [eV/A] is within a limit, and the number left out."""
    kept = [frame for frame in frames if np.abs(frame.get_forces()).max() <= max_force]
    return kept, len(frames) - len(kept)


def write_systems(frames: Sequence[Atoms], directory: Path) -> list[Path]:
    """Write labeled frames as DeePMD npy systems, one for each list of species.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        Frames with energy, forces and stress.
    directory : pathlib.Path
        Target, created.

    Returns
    -------
    list of pathlib.Path
        Systems, in a fixed order.
    """
    import dpdata

    groups: dict[tuple[str, ...], list[Atoms]] = {}
    for frame in frames:
        groups.setdefault(tuple(frame.get_chemical_symbols()), []).append(frame)
    paths = []
    for number, (_, members) in enumerate(sorted(groups.items())):
        path = directory / f"system-{number:03d}"
        systems = dpdata.LabeledSystem(data=as_dpdata(members))
        systems.to("deepmd/npy", str(path), set_size=10**9, prec=np.float64)
        paths.append(path)
    return paths


def as_dpdata(frames: Sequence[Atoms]) -> dict[str, object]:
    """Labeled frames of one list of species as the data of a ``dpdata.LabeledSystem``, virials included [eV].

    Parameters
    ----------
    frames : sequence of ase.Atoms
        Frames with energy, forces and stress.
    """
    first = frames[0]
    types = [SPECIES.index(symbol) for symbol in first.get_chemical_symbols()]
    volumes = np.array([frame.get_volume() for frame in frames])
    stress = np.array([frame.get_stress(voigt=False) for frame in frames])
    return {
        "atom_names": list(SPECIES),
        "atom_numbs": [types.count(index) for index in range(len(SPECIES))],
        "atom_types": np.array(types),
        "cells": np.array([frame.cell.array for frame in frames]),
        "coords": np.array([frame.positions for frame in frames]),
        "energies": np.array([frame.get_potential_energy() for frame in frames]),
        "forces": np.array([frame.get_forces() for frame in frames]),
        # The sign of DeePMD's virial: -stress V with ASE's stress (checked against finite differences).
        "virials": -stress * volumes[:, None, None],
        "orig": np.zeros(3),
    }


def most_neighbors(frames: Sequence[Atoms], rcut: float) -> tuple[int, ...]:
    """Largest number of neighbors of each species that an atom has.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        Frames, the densest included.
    rcut : float
        Cutoff radius [A].

    Returns
    -------
    tuple of int
        One number for each of Li, Al, O, Cl.
    """
    from ase.neighborlist import neighbor_list

    most = np.zeros(len(SPECIES), dtype=int)
    for frame in frames:
        i, j = neighbor_list("ij", frame, rcut)
        types = np.array([SPECIES.index(symbol) for symbol in frame.get_chemical_symbols()])
        for index in range(len(SPECIES)):
            counts = np.bincount(i[types[j] == index], minlength=len(frame))
            most[index] = max(most[index], counts.max(initial=0))
    return tuple(int(n) for n in most)


def measure_sel(frames: Sequence[Atoms], rcut: float) -> tuple[int, ...]:
    """Neighbors per species that a descriptor must keep, with a margin.

    A `sel` below the number of neighbors drops some of them silently and makes a run heat up; the margin of
    30 % covers cells denser than those that were labeled.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        Frames, the densest included.
    rcut : float
        Cutoff radius [A].

    Returns
    -------
    tuple of int
        One number for each of Li, Al, O, Cl.
    """
    return tuple(math.ceil(_SEL_MARGIN * n) + _SEL_EXTRA for n in most_neighbors(frames, rcut))


def drawn(frames: Sequence[Atoms], seed: int) -> list[Atoms]:
    """Bootstrap sample: as many frames as there are, drawn with replacement within each list of species.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        Frames.
    seed : int
        Seed of the draw.

    Returns
    -------
    list of ase.Atoms
        The same objects; some of them several times, some not at all, no list of species without any.
    """
    groups: dict[tuple[str, ...], list[Atoms]] = {}
    for frame in frames:
        groups.setdefault(tuple(frame.get_chemical_symbols()), []).append(frame)
    generator = np.random.default_rng([seed, len(frames)])
    return [
        members[pick]
        for _, members in sorted(groups.items())
        for pick in np.sort(generator.integers(len(members), size=len(members)))
    ]
