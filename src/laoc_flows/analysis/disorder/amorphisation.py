"""How far a run is from its crystal and how near to a glass."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field

from laoc_flows.analysis.disorder.registration import Overlay, matched_crystal, mean_sites, rigid_shift
from laoc_flows.analysis.scattering.reciprocal import reciprocal_vectors, waves
from laoc_flows.analysis.statistics import Measured, block_average
from laoc_flows.analysis.structure.kernels import half_pairs
from laoc_flows.analysis.structure.rdf import RdfsResult, rdfs_of
from laoc_flows.analysis.trajectories.frame import (
    Column,
    FloatArray,
    IntArray,
    Result,
    StructureLike,
    species_indices,
)
from laoc_flows.analysis.trajectories.paths import CARRIER
from laoc_flows.analysis.trajectories.sampling import as_series, evenly_spread, visit_frames
from laoc_flows.analysis.trajectories.series import FrameSeries
from laoc_flows.analysis.trajectories.trajectory import Trajectory
from laoc_flows.errors import InputError

_SELECTION_FRAMES = 10


class AmorphisationResult(Result):
    """Degree of amorphisation of a run; 0 is the crystal, 1 the glass."""

    status: Literal["ok", "insufficient"] = Field(
        description="'insufficient' when the Bragg vectors of the reference do not stand out from disorder."
    )
    reason: str = Field(description="What the numbers rest on, or why there are none.")
    n_frames: int = Field(
        description="Number of frames of the run that were taken, evenly spread over it.", ge=1
    )
    n_crystal_frames: int = Field(description="Number of frames of the crystal that were taken.", ge=1)
    theta_s: Measured | None = Field(
        description="Theta_S = 1 - <|S(G)|> / <|S_crystal(G)|> [1], with the error from blocks of frames; 1 - `floor` "
        "for random positions."
    )
    theta_s_corrected: float | None = Field(
        description="Theta_S [1] without the part of |S(G)| that uncorrelated atoms have: 1 for random positions."
    )
    floor: float | None = Field(
        description="<|S(G)|> of uncorrelated atoms, sqrt(pi / 4 N), over that of the crystal [1]."
    )
    vectors: Column = Field(description="Bragg vectors, integers of the supercell of the run, shape (n, 3).")
    q: Column = Field(description="Their lengths in the crystal [A^-1].")
    amplitude: Column = Field(description="<|S(G)|> per atom in the run, for every vector [1].")
    crystal_amplitude: Column = Field(description="<|S(G)|> per atom in the crystal, for every vector [1].")
    theta_g: float | None = Field(
        description="Theta_g = int |g - g_crystal| dr / int |g_liquid - g_crystal| dr [1], over all pairs; None "
        "without a liquid or without frames of the vibrating crystal."
    )
    theta_g_noise: float | None = Field(
        description="What noise alone adds to `theta_g` [1], from the errors of the g(r) of run and crystal."
    )
    carrier: str = Field(description="The mobile element.")
    crystal_site_fraction: Measured | None = Field(
        description="Share of the carrier atoms within the tolerance of a crystal site [1]; None without any."
    )
    site_tolerance: float = Field(description="That tolerance [A].", gt=0)
    center: str = Field(description="The central element.")
    displaced_fraction: Measured | None = Field(
        description="Share of the centers further than the threshold from their crystal site [1]; None without any."
    )
    displacement: float = Field(description="That threshold [A].", gt=0)


class _Order(NamedTuple):
    hkl: IntArray
    q: FloatArray
    crystal: FloatArray
    run: FloatArray


def amorphisation(
    trajectory: FrameSeries | StructureLike,
    crystal: FrameSeries | StructureLike,
    liquid: FrameSeries | StructureLike | None = None,
    *,
    center: str = "Al",
    carrier: str = CARRIER,
    species: tuple[str, ...] | None = None,
    n_vectors: int = 10,
    q_max: float = 3.0,
    r_max: float = 8.0,
    bin_width: float = 0.05,
    site_tolerance: float = 1.0,
    displacement: float = 1.0,
    mapping: Literal["nearest", "order"] = "nearest",
    max_frames: int = 100,
    max_floor: float = 0.25,
    max_strain: float = 0.15,
) -> AmorphisationResult:
    """Measure how far a run has left its crystal.

    Parameters
    ----------
    trajectory : FrameSeries, Frame, ase.Atoms or pymatgen.core.Structure
        The run at the temperature of interest, or one structure, in a supercell of the crystal.
    crystal : FrameSeries, Frame, ase.Atoms or pymatgen.core.Structure
        The crystal, best a run at the same temperature; a supercell or a unit cell along the same axes. One
        structure without thermal motion overrates Theta_S, by its Debye-Waller factor, and has no Theta_g.
    liquid : FrameSeries, Frame, ase.Atoms or pymatgen.core.Structure, optional
        The liquid of the same composition, in any cell.
    center, carrier : str, default "Al" and "Li"
        The central and the mobile element.
    species : tuple of str, optional
        Elements whose Bragg order counts; all by default.
    n_vectors : int, default 10
        Number of Bragg vectors: those with the largest amplitude in the crystal; fewer if fewer stand out.
    q_max : float, default 3.0
        Length up to which they are looked for [A^-1].
    r_max, bin_width : float, default 8.0 and 0.05
        Range and bins of g(r) [A].
    site_tolerance : float, default 1.0
        A carrier this close to a crystal site is on it [A].
    displacement : float, default 1.0
        A center further from its site is displaced [A].
    mapping : {"nearest", "order"}, default "nearest"
        Whether the site of an atom is the nearest of its element, or the one with its index. Only the latter
        sees that two equal atoms have changed places; it needs the same order of atoms in both.
    max_frames : int, default 100
        How many frames of a run to take at most, evenly spread.
    max_floor : float, default 0.25
        Largest share of the crystal's ``|S(G)|**2`` that uncorrelated atoms may have, for any vector taken.
    max_strain : float, default 0.15
        Largest strain between the supercell of the crystal and that of the run.

    Returns
    -------
    AmorphisationResult
        With the status ``"insufficient"`` and without Theta_S when the reference has no Bragg order or too
        few atoms.

    Raises
    ------
    InputError
        When a parameter is out of range, the cells or the atoms do not match, or the liquid has another
        composition.

    Notes
    -----
    ``S(G) = sum_j exp(i G . r_j) / N`` with fractional coordinates, so that G follows the strain
    of the cell. The average is that of ``|S|``, and not the modulus of the average: it does not depend on the
    translation of a frame, so that no drift can pass for disorder, nor on the length of the run, as an
    average of the phases of a liquid does. A vibrating crystal has the same by either, up to 1 / sqrt(N).

    Its price is a floor: N uncorrelated atoms have ``<|S|^2> = 1 / N``. `theta_s_corrected` is
    ``1 - sqrt((R - f) / (1 - f))`` with R the ratio of the sums of ``<|S|^2>`` of the run and of the crystal, and f
    that of 1 / N. A crystal of which a fraction p of the atoms is randomly displaced has p. The atoms of a real
    glass are correlated, and their floor is S(Q) / N.

    The crystal is laid over every frame by the framework, the atoms that are not the carrier, before sites
    are looked up. In a glass there is nothing to lay it over, and the shares tend to what random positions
    have, 4 pi / 3 times the density of sites times the cubed tolerance, or somewhat more.

    Examples
    --------
    >>> from ase.build import bulk
    >>> salt = bulk("LiCl", "rocksalt", a=5.13, cubic=True)
    >>> cell = salt * (3, 3, 3)
    >>> amorphisation(cell, salt, center="Cl").theta_s.value
    0.0
    >>> half = cell.copy()
    >>> some = np.random.default_rng(0).permutation(len(half))[::2]
    >>> half.positions[some] += np.random.default_rng(1).random((len(some), 3)) * 15
    >>> abs(amorphisation(half, salt, center="Cl").theta_s_corrected - 0.5) < 0.05
    True
    """
    _check(n_vectors, max_frames, min(q_max, site_tolerance, displacement, max_floor), mapping)
    series, source = as_series(trajectory), as_series(crystal)
    chosen = evenly_spread(series.n_frames, max_frames)
    reference = matched_crystal(source, evenly_spread(source.n_frames, max_frames), series, max_strain)
    if mapping == "order" and reference.species != series.species:
        message = "the crystal does not have the order of atoms of the run"
        raise InputError(message, remedy="use mapping='nearest'")
    wanted = tuple(sorted(set(series.species))) if species is None else species
    order = _bragg(series, chosen, reference, wanted, (n_vectors, q_max, max_floor))
    n_ordered = sum(series.species.count(symbol) for symbol in wanted)
    noise = 1 / n_ordered
    strength = float((order.crystal**2).mean()) if order.q.size else 0.0
    enough = 0 < noise <= max_floor * strength
    sites = _sites(series, chosen, reference, (center, carrier), (displacement, site_tolerance), mapping)
    ratio = float((order.run**2).mean() / strength) if enough else 0.0
    share = noise / strength if enough else 0.0
    theta_g, theta_g_noise = _theta_g(series, chosen, reference, liquid, (r_max, bin_width, max_frames))
    return AmorphisationResult(
        status="ok" if enough else "insufficient",
        reason=_reason(enough, order, reference.n_frames, theta_g is not None, liquid is not None),
        n_frames=chosen.size,
        n_crystal_frames=reference.n_frames,
        theta_s=block_average(1 - order.run.mean(axis=1) / order.crystal.mean(), "1") if enough else None,
        theta_s_corrected=float(1 - np.sqrt(max(0.0, (ratio - share) / (1 - share)))) if enough else None,
        floor=float(np.sqrt(np.pi / 4 * noise) / order.crystal.mean()) if enough else None,
        vectors=order.hkl,
        q=order.q,
        amplitude=order.run.mean(axis=0),
        crystal_amplitude=order.crystal.mean(axis=0),
        theta_g=theta_g,
        theta_g_noise=theta_g_noise,
        carrier=carrier,
        crystal_site_fraction=block_average(sites[1], "1") if carrier in series.species else None,
        site_tolerance=site_tolerance,
        center=center,
        displaced_fraction=block_average(1 - sites[0], "1") if center in series.species else None,
        displacement=displacement,
    )


def _check(n_vectors: int, max_frames: int, smallest: float, mapping: str) -> None:
    if n_vectors < 1 or max_frames < 1 or not smallest > 0:
        message = f"{n_vectors = }, {max_frames = } and the ranges must be positive"
        raise InputError(message)
    if mapping not in {"nearest", "order"}:
        message = f"mapping = {mapping!r} is neither 'nearest' nor 'order'"
        raise InputError(message)


def _reason(enough: bool, order: _Order, n_crystal: int, with_g: bool, liquid: bool) -> str:
    if not enough:
        return "the reference has no Bragg vectors that stand out from what as many uncorrelated atoms have"
    parts = [f"{order.q.size} Bragg vectors from {order.q.min():.2f} to {order.q.max():.2f} A^-1"]
    if n_crystal == 1:
        parts.append("the crystal has no thermal motion, which overrates Theta_S")
    if not liquid:
        parts.append("no Theta_g without a liquid")
    elif not with_g:
        parts.append("no Theta_g without thermal motion of the crystal")
    return "; ".join(parts)


def _moduli(series: FrameSeries, chosen: IntArray, atoms: IntArray, hkl: IntArray) -> FloatArray:
    """Return |S(G)| per atom, shape (n_frames, n_vectors)."""
    found = np.empty((chosen.size, len(hkl)))
    start = np.array([0, atoms.size])
    for number, positions, cell in visit_frames(series, chosen):
        real, imaginary = waves(positions[atoms] @ np.linalg.inv(cell), start, hkl)
        found[number] = np.hypot(real[:, 0], imaginary[:, 0]) / atoms.size
    return found


def _bragg(
    series: FrameSeries,
    chosen: IntArray,
    reference: Trajectory,
    species: tuple[str, ...],
    limits: tuple[int, float, float],
) -> _Order:
    """Find the strongest Bragg vectors of the reference, and |S(G)| of both in every frame."""
    n_vectors, q_max, max_floor = limits
    atoms, sites = (
        np.flatnonzero(np.isin(np.array(symbols), species)) for symbols in (series.species, reference.species)
    )
    if atoms.size == 0:
        message = f"none of {', '.join(map(repr, species))} is in the run"
        raise InputError(message)
    vectors = reciprocal_vectors(reference.cells.mean(axis=0), q_max)
    nothing = _Order(
        np.empty((0, 3), dtype=np.int64),
        np.empty(0),
        np.empty((reference.n_frames, 0)),
        np.empty((chosen.size, 0)),
    )
    if vectors.q.size == 0:
        return nothing
    some = evenly_spread(reference.n_frames, _SELECTION_FRAMES)
    strength = _moduli(reference, some, sites, vectors.hkl).mean(axis=0)
    # Rounded, so that of equally strong ones the shortest come first, whatever the last digit says.
    best = np.lexsort((np.arange(strength.size), -np.round(strength, 9)))[:n_vectors]
    # A weak one would only add the noise of disorder to the mean.
    best = best[strength[best] ** 2 * max_floor >= 1 / sites.size]
    if best.size == 0:
        return nothing
    hkl = vectors.hkl[np.sort(best)]
    every = np.arange(reference.n_frames)
    return _Order(
        hkl,
        vectors.q[np.sort(best)],
        _moduli(reference, every, sites, hkl),
        _moduli(series, chosen, atoms, hkl),
    )


def _sites(
    series: FrameSeries,
    chosen: IntArray,
    reference: Trajectory,
    symbols: tuple[str, str],
    reach: tuple[float, float],
    mapping: str,
) -> FloatArray:
    """Return the shares of centers and of carriers on a site of their own, shape (2, n_frames)."""
    carrier = symbols[1]
    framework = [symbol for symbol in sorted(set(series.species)) if symbol != carrier] or [carrier]
    sites = mean_sites(reference, np.flatnonzero(np.isin(np.array(reference.species), framework)))
    rigid = np.flatnonzero(np.isin(np.array(series.species), framework))
    overlay = None
    if mapping == "nearest":
        overlay = Overlay(sites, reference.species, series.species, framework, series.cells[0])
    atoms = [species_indices(series.species, symbol) for symbol in symbols]
    places = [species_indices(reference.species, symbol) for symbol in symbols]
    found = np.zeros((2, chosen.size))
    for number, positions, cell in visit_frames(series, chosen):
        fractional = positions @ np.linalg.inv(cell)
        if overlay is None:
            shift = rigid_shift(fractional[rigid] - sites[rigid])
        else:
            shift = overlay.shift(fractional, cell)
        for k in range(2):
            n = atoms[k].size
            if n == 0:
                continue
            points = np.concatenate([fractional[atoms[k]], sites[places[k]] + shift]) @ cell
            cutoffs = np.array([[0.0, reach[k]], [reach[k], 0.0]])
            i, j, _, _ = half_pairs(points, cell, np.repeat([0, 1], n), cutoffs)
            on_site = i if overlay is not None else i[j == i + n]
            found[k, number] = np.unique(on_site).size / n
    return found


def _theta_g(
    series: FrameSeries,
    chosen: IntArray,
    reference: Trajectory,
    liquid: FrameSeries | StructureLike | None,
    ranges: tuple[float, float, int],
) -> tuple[float | None, float | None]:
    """Compare the g(r) of the run with those of the crystal and the liquid."""
    if liquid is None:
        return None, None
    r_max, bin_width, max_frames = ranges
    melt = as_series(liquid)
    shares = [
        {symbol: run.species.count(symbol) / run.n_atoms for symbol in set(run.species)}
        for run in (series, melt)
    ]
    if any(
        abs(shares[0].get(s, 0) - shares[1].get(s, 0)) > 1 / series.n_atoms for s in shares[0] | shares[1]
    ):
        message = "the liquid has another composition than the run"
        raise InputError(message)
    if reference.n_frames == 1:
        return None, None
    runs = (
        (series, chosen),
        (reference, np.arange(reference.n_frames)),
        (melt, evenly_spread(melt.n_frames, max_frames)),
    )
    own, solid, molten = (rdfs_of(run, frames, None, r_max, bin_width) for run, frames in runs)
    changed, _ = _distance(own, solid)
    whole, _ = _distance(molten, solid)
    if whole <= 0:
        return None, None
    noise = _distance(own, solid)[1]
    return changed / whole, noise / whole if noise is not None else None


def _distance(one: RdfsResult, other: RdfsResult) -> tuple[float, float | None]:
    """Return the integral of |g - g'| [A] over pairs with the shares of their elements, and that of its noise."""
    total, noise = 0.0, 0.0
    known = one.n_frames > 1 and other.n_frames > 1
    n_atoms = sum(one.counts.values())
    for name, result in one.partials.items():
        partner = other.partials.get(name)
        if partner is None or "empty" in {result.status, partner.status}:
            continue
        share = (1 + (result.a != result.b)) * result.n_a * result.n_b / n_atoms**2
        widths = np.diff(result.edges)
        total += share * float(np.abs(np.subtract(result.g, partner.g)) @ widths)
        if known:
            # The mean modulus of a normal deviate is sqrt(2 / pi) standard deviations.
            spread = np.hypot(result.g_error, partner.g_error)
            noise += share * float(np.sqrt(2 / np.pi) * spread @ widths)
    return total, noise if known else None
