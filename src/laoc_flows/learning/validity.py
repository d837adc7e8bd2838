"""Where a potential has seen labels, and what lies outside."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from laoc_flows.schemas.base import SPECIES
from laoc_flows.schemas.potential import Validity

_LOOK = 4.0
"""Distance up to which the closest pairs are looked for [A]."""
_TEMPERATURE_MARGIN, _DENSITY_MARGIN, _DISTANCE_MARGIN = 0.05, 0.05, 0.05


def min_distances(frames: Sequence[Atoms]) -> dict[str, float]:
    """Shortest distance by pair of species, those within 4 A.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        Periodic cells.

    Returns
    -------
    dict
        Distance by pair, 'Al-O' [A].
    """
    from ase.neighborlist import neighbor_list

    found: dict[str, float] = {}
    for frame in frames:
        i, j, distance = neighbor_list("ijd", frame, _LOOK)
        types = np.array([SPECIES.index(symbol) for symbol in frame.get_chemical_symbols()])
        low, high = np.minimum(types[i], types[j]), np.maximum(types[i], types[j])
        for code in np.unique(low * len(SPECIES) + high):
            a, b = divmod(int(code), len(SPECIES))
            name = f"{SPECIES[a]}-{SPECIES[b]}"
            shortest = float(distance[(low == a) & (high == b)].min())
            found[name] = min(found.get(name, np.inf), shortest)
    return dict(sorted(found.items()))


def validity_of(
    frames: Sequence[Atoms],
    compositions: Sequence[str],
    temperatures: Sequence[tuple[float, float] | None],
) -> Validity:
    """Range of labels that a potential was trained on.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        Labeled frames.
    compositions : sequence of str
        Composition id of each frame.
    temperatures : sequence of tuple or None
        Lowest and highest temperature of groups of the frames [K].
    """
    known = [pair for pair in temperatures if pair is not None]
    density: dict[str, tuple[float, float]] = {}
    for frame, composition_id in zip(frames, compositions, strict=True):
        value = len(frame) / frame.get_volume()
        low, high = density.get(composition_id, (value, value))
        density[composition_id] = (min(low, value), max(high, value))
    return Validity(
        compositions=tuple(sorted(density)),
        temperatures=(min(low for low, _ in known), max(high for _, high in known)) if known else None,
        number_density=dict(sorted(density.items())),
        min_distances=min_distances(frames),
        max_force=max((float(np.abs(frame.get_forces()).max()) for frame in frames), default=None),
    )


def outside(
    validity: Validity | None,
    composition_id: str,
    frames: Sequence[Atoms],
    temperatures: tuple[float, float] | None = None,
) -> tuple[str, ...]:
    """In what respect a run lies outside the range that a potential was trained on, in words.

    Parameters
    ----------
    validity : Validity or None
        Range of the potential; None, of an earlier version, gives no flag.
    composition_id : str
        Composition of the run.
    frames : sequence of ase.Atoms
        Frames of the run.
    temperatures : tuple of float, optional
        Lowest and highest temperature of the run [K].

    Returns
    -------
    tuple of str
        Empty inside the range, which is widened by 5 %.
    """
    if validity is None:
        return ()
    found = []
    if composition_id not in validity.compositions:
        found.append("the potential was not trained on this composition")
    if temperatures is not None and validity.temperatures is not None:
        low, high = validity.temperatures
        if temperatures[1] > high * (1 + _TEMPERATURE_MARGIN) or temperatures[0] < low * (
            1 - _TEMPERATURE_MARGIN
        ):
            found.append(
                f"{temperatures[0]:.0f} to {temperatures[1]:.0f} K, the potential was trained at {low:.0f} to {high:.0f} K"
            )
    seen = validity.number_density.get(composition_id)
    densities = [len(frame) / frame.get_volume() for frame in frames]
    if seen is not None and densities:
        low, high = seen
        if min(densities) < low * (1 - _DENSITY_MARGIN) or max(densities) > high * (1 + _DENSITY_MARGIN):
            found.append(
                f"{min(densities):.4f} to {max(densities):.4f} atoms/A^3, the potential was trained at {low:.4f} to {high:.4f}"
            )
    closer = [
        f"{pair} {distance:.2f} A (trained: {validity.min_distances[pair]:.2f})"
        for pair, distance in min_distances(frames).items()
        if pair in validity.min_distances and distance < validity.min_distances[pair] * (1 - _DISTANCE_MARGIN)
    ]
    if closer:
        found.append(f"closer pairs than it was trained on: {', '.join(closer)}")
    return tuple(found)
