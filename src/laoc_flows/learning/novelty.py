"""How unlike what is labeled a frame is, by the learned descriptors of its atoms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from laoc_flows.schemas.base import SPECIES

_MOST_KNOWN = 20_000
"""Labeled atoms of one species that frames are compared with: more are drawn from at random."""
_UNIT_SAMPLE = 2_000
_UNKNOWN_SPECIES = 10.0
"""Distance of an atom whose species no labeled frame has [1]."""
_BLOCK = 4_000


class Novelty:
    """Distance of frames from all labeled frames, in the space of learned descriptors.

    An atom's distance is that to the nearest labeled atom of its species; a frame's novelty is the mean over its
    atoms, relative to the median distance of labeled atoms to their nearest neighbor in another labeled frame.

    Parameters
    ----------
    known : sequence of numpy.ndarray, each of shape (n_atoms, n_dimensions)
        Descriptors of the labeled frames [1].
    known_frames : sequence of ase.Atoms
        Those frames.
    features : sequence of numpy.ndarray, each of shape (n_atoms, n_dimensions)
        Descriptors of the frames that are asked about [1].
    frames : sequence of ase.Atoms
        Those frames.
    seed : int
        Seed of the draw where very many atoms are labeled.

    Attributes
    ----------
    unit : float
        Median distance of labeled atoms to their nearest neighbor in another labeled frame [1].
    """

    def __init__(
        self,
        known: Sequence[np.ndarray],
        known_frames: Sequence[Atoms],
        features: Sequence[np.ndarray],
        frames: Sequence[Atoms],
        seed: int = 0,
    ) -> None:
        generator = np.random.default_rng(seed)
        labeled = _by_species(known, known_frames)
        units: list[np.ndarray] = []
        for index in labeled:
            if len(labeled[index][0]) > _MOST_KNOWN:
                pick = np.sort(generator.choice(len(labeled[index][0]), _MOST_KNOWN, replace=False))
                labeled[index] = (labeled[index][0][pick], labeled[index][1][pick])
            atoms, owner = labeled[index]
            pick = generator.permutation(len(atoms))[:_UNIT_SAMPLE]
            units.append(_nearest(atoms[pick], atoms, owner[pick], owner))
        between = np.concatenate(units) if units else np.zeros(0)
        between = between[np.isfinite(between) & (between > 0)]
        self.unit = float(np.median(between)) if len(between) else 1.0
        self._sizes = np.array([len(frame) for frame in frames])
        self._atoms = _by_species(features, frames)
        self._distance = {
            index: _nearest(atoms, labeled[index][0])
            if index in labeled
            else np.full(len(atoms), _UNKNOWN_SPECIES * self.unit)
            for index, (atoms, _) in self._atoms.items()
        }

    @property
    def scores(self) -> np.ndarray:
        """Novelty of each frame [1], shape (n_frames,); 0 for one that is labeled already."""
        total = np.zeros(len(self._sizes))
        for index, (_, owner) in self._atoms.items():
            total += np.bincount(owner, self._distance[index], minlength=len(total))
        return np.asarray(total / self._sizes / self.unit)

    def add(self, chosen: int) -> None:
        """Take one of the frames for labeled.

        Parameters
        ----------
        chosen : int
            Its index.
        """
        for index, (atoms, owner) in self._atoms.items():
            new = atoms[owner == chosen]
            if len(new):
                self._distance[index] = np.minimum(self._distance[index], _nearest(atoms, new))


def _by_species(
    features: Sequence[np.ndarray], frames: Sequence[Atoms]
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Descriptors of all atoms of a species, and the frame of each."""
    found = {}
    kinds = [_species(frame) for frame in frames]
    for index in range(len(SPECIES)):
        parts = [each[kind == index] for each, kind in zip(features, kinds, strict=True)]
        owner = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        if len(owner):
            found[index] = np.concatenate(parts).astype(np.float64), owner
    return found


def _species(frame: Atoms) -> np.ndarray:
    return np.array([SPECIES.index(symbol) for symbol in frame.get_chemical_symbols()])


def _nearest(
    atoms: np.ndarray,
    known: np.ndarray,
    owner: np.ndarray | None = None,
    known_owner: np.ndarray | None = None,
) -> np.ndarray:
    """Distance of each atom to the nearest known one, of another owner where owners are given."""
    squares = (known**2).sum(axis=1)
    found = np.empty(len(atoms))
    for start in range(0, len(atoms), _BLOCK):
        block = atoms[start : start + _BLOCK]
        distance = (block**2).sum(axis=1)[:, None] + squares[None, :] - 2.0 * block @ known.T
        if owner is not None and known_owner is not None:
            distance[owner[start : start + _BLOCK][:, None] == known_owner[None, :]] = np.inf
        found[start : start + _BLOCK] = distance.min(axis=1)
    return np.asarray(np.sqrt(np.maximum(found, 0.0)))
