"""S(Q) and G(r) of a sample of several phases, such as a glass with crystals in it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
from ase.data import atomic_masses, atomic_numbers
from pydantic import Field

from laoc_flows.analysis.scattering.structure_factor import StructureFactorResult, reduced_g_of
from laoc_flows.analysis.trajectories.frame import Column, FloatArray, Result
from laoc_flows.errors import InputError


class PhaseMixture(Result):
    """Total structure factor and G(r) of a mixture of phases."""

    by: Literal["atoms", "weight", "formula"] = Field(description="What the given fractions count.")
    atom_fractions: tuple[float, ...] = Field(description="Share of the atoms that each phase holds.")
    q: Column = Field(description="Q [A^-1], that of the phases.")
    total: Column = Field(description="S(Q) per `q`, dimensionless, 1 at large Q.")
    total_error: Column = Field(
        description="Its standard error from those of the phases; empty when the error of a phase is not known."
    )
    r: Column = Field(description="Distances [A] of the two G(r).")
    reduced_g: Column = Field(description="G(r) [A^-2] with the amplitudes at Q = 0.")
    reduced_g_window: Column = Field(description="G(r) [A^-2] from `total` with a Lorch window, as measured.")


def phase_weighted(
    phases: Iterable[tuple[StructureFactorResult, float]],
    by: Literal["atoms", "weight", "formula"] = "atoms",
) -> PhaseMixture:
    """Mix the scattering of several phases.

    Parameters
    ----------
    phases : iterable of (StructureFactorResult, float)
        Every phase with its share; the shares need not sum to one. All phases have the same weights and the
        same Q and r: take them by transform, with the same `q_max`, `q_width`, `r_max` and `bin_width`.
    by : {"atoms", "weight", "formula"}, default "atoms"
        What the shares count: atoms, mass, or formula units with the smallest integers (a mole fraction).

    Returns
    -------
    PhaseMixture
        Its shares are normalized.

    Raises
    ------
    InputError
        When there is no phase, a share is negative or all are zero, or the phases do not fit together.

    Notes
    -----
    Grains of different phases do not interfere, so that intensities per atom add with the shares x_p of the
    atoms, ``I = sum_p x_p (<f^2>_p + <f>_p^2 (S_p - 1))``. With the mean of the sample, ``<f> = sum_p x_p <f>_p``,

    ``S - 1 = sum_p x_p <f>_p^2 (S_p - 1) / <f>^2``,

    and G(r) likewise with the amplitudes at Q = 0. The weight of a phase is thus not its share: of two phases
    that hold as many atoms each, the one with the larger mean amplitude dominates. Below the first distance
    G(r) falls with the mean of the densities within the phases, ``-4 pi r sum_p x_p <f>_p^2 rho_p / <f>^2``.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from laoc_flows.analysis import structure_factor
    >>> salt = structure_factor(bulk("LiCl", "rocksalt", a=5.13, cubic=True), method="transform", q_max=5.0)
    >>> metal = structure_factor(bulk("Al", cubic=True), method="transform", q_max=5.0)
    >>> mixture = phase_weighted([(metal, 0.89), (salt, 0.11)], by="weight")
    >>> [round(fraction, 3) for fraction in mixture.atom_fractions]
    [0.864, 0.136]
    """
    results, shares = _checked(phases)
    atoms = np.array(shares) * np.array([_atoms_per_unit(result, by) for result in results])
    fractions = atoms / atoms.sum()
    first = results[0]
    mean = _mean(fractions, [result.mean_amplitude for result in results])
    forward = _mean(fractions, [_forward(result) for result in results])
    total, reduced, variance = np.ones(first.q.size), np.zeros(first.r.size), np.zeros(first.q.size)
    for fraction, result in zip(fractions, results, strict=True):
        weight = fraction * result.mean_amplitude**2 / mean**2
        total += weight * (result.total - 1)
        reduced += fraction * _forward(result) ** 2 / forward**2 * result.reduced_g
        if result.total_error.size:
            variance += (weight * result.total_error) ** 2
    known = all(result.total_error.size for result in results)
    return PhaseMixture(
        by=by,
        atom_fractions=tuple(fractions.tolist()),
        q=first.q,
        total=total,
        total_error=np.sqrt(variance) if known else np.empty(0),
        r=first.r,
        reduced_g=reduced,
        reduced_g_window=reduced_g_of(first.q, total, first.r, first.q_max),
    )


def _checked(
    phases: Iterable[tuple[StructureFactorResult, float]],
) -> tuple[list[StructureFactorResult], list[float]]:
    given = list(phases)
    shares = [float(share) for _, share in given]
    if not given or min(shares) < 0 or not 0 < sum(shares) < math.inf:
        message = f"the shares {shares} make no mixture"
        raise InputError(
            message, remedy="give every phase a share that is not negative, and one that is positive"
        )
    results = [result for result, _ in given]
    first = results[0]
    for k, result in enumerate(results[1:], start=1):
        if not (np.array_equal(result.q, first.q) and np.array_equal(result.r, first.r)):
            message = f"phase {k} has other Q or r than phase 0"
            remedy = (
                "take all phases with method='transform' and the same q_max, q_width, r_max and bin_width"
            )
            raise InputError(message, remedy=remedy)
        common = first.forward.keys() & result.forward.keys()
        if result.weights != first.weights or any(result.forward[s] != first.forward[s] for s in common):
            message = f"phase {k} has other weights than phase 0"
            raise InputError(message, remedy="take all phases with the same weights")
    return results, shares


def _atoms_per_unit(result: StructureFactorResult, by: str) -> float:
    n_atoms = sum(result.counts.values())
    if by == "atoms":
        return 1.0
    if by == "weight":
        mass = sum(n * float(atomic_masses[atomic_numbers[s]]) for s, n in result.counts.items())
        return n_atoms / mass
    if by == "formula":
        return n_atoms / math.gcd(*result.counts.values())
    message = f"by = {by!r} is neither 'atoms', 'weight' nor 'formula'"
    raise InputError(message)


def _forward(result: StructureFactorResult) -> FloatArray:
    weighted = sum(n * result.forward[s] for s, n in result.counts.items())
    return np.array([weighted / sum(result.counts.values())])


def _mean(fractions: FloatArray, columns: Sequence[FloatArray]) -> FloatArray:
    values = np.asarray(fractions @ np.array(columns))
    if (values == 0).any():
        message = "the mean amplitudes of the phases cancel"
        raise InputError(message, remedy="use other weights")
    return values
