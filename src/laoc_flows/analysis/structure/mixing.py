"""Whether isolated and chain centers mix: a short-range order parameter against permuted labels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy
from pydantic import Field

from laoc_flows.analysis.structure.bonds import CENTER, LIGANDS, assign_roles
from laoc_flows.analysis.structure.chains import Rule, chain_cutoff
from laoc_flows.analysis.structure.kernels import half_pairs
from laoc_flows.analysis.structure.survey_states import center_states
from laoc_flows.analysis.trajectories.frame import (
    FloatArray,
    Frame,
    IntArray,
    Result,
    StructureLike,
    as_frame,
)
from laoc_flows.analysis.trajectories.trajectory import FrameSeries
from laoc_flows.errors import InputError

RADIUS = 8.0
"""Centers closer than this [A] are neighbors."""


class MixingResult(Result):
    """Short-range order of isolated and chain centers."""

    status: Literal["ok", "empty", "insufficient"] = Field(
        description="'empty' without centers; 'insufficient' when all centers are of one kind or no chain center has a "
        "neighbor: then there is no order parameter."
    )
    reason: str = Field(description="Why the status is what it is.")
    center: str = Field(description="Element of the centers.")
    rule: Rule = Field(description="Rule that tells chains from isolated centers.")
    radius: float = Field(description="Distance below which two centers are neighbors [A].")
    within_chains: bool = Field(description="Whether two centers of one chain count as neighbors.")
    n_frames: int = Field(description="Number of frames that were looked at.", ge=1)
    n_isolated: float = Field(description="Mean number of isolated centers.", ge=0)
    n_chain: float = Field(description="Mean number of chain centers.", ge=0)
    n_neighbors: float = Field(
        description="Mean number of neighbors of a chain center, images counted.", ge=0
    )
    alpha: float | None = Field(
        description="1 - P(isolated neighbor | chain center) / c_isolated: 1 segregated, 0 random, negative "
        "alternating."
    )
    standard_error: float | None = Field(
        description="Standard error of alpha from blocks of frames (jackknife); None for a single frame."
    )
    null_mean: float | None = Field(description="Mean of alpha over permuted labels.")
    null_standard_deviation: float | None = Field(
        description="Standard deviation of alpha over permuted labels."
    )
    z_score: float | None = Field(
        description="(alpha - null_mean) / null_standard_deviation; None when no permutation changes alpha."
    )
    p_value: float | None = Field(
        description="Two-sided: share of permutations at least as far from the null mean, (1 + k) / (1 + n)."
    )
    n_permutations: int = Field(description="Number of permutations.", ge=1)
    seed: int = Field(description="Seed of the permutations.")


class _Counts(NamedTuple):
    """Neighbors of chain centers in one frame, and among them isolated ones; first as it is, then permuted."""

    isolated: FloatArray
    total: FloatArray
    share: float
    n_chain: int


def mixing(
    structure: FrameSeries | StructureLike,
    center: str = CENTER,
    ligands: Sequence[str] = LIGANDS,
    bond_cutoffs: Mapping[str, float] | None = None,
    *,
    rule: Rule = "distance",
    cutoff: float | None = None,
    radius: float = RADIUS,
    within_chains: bool = True,
    n_permutations: int = 1000,
    n_frames: int = 50,
    n_blocks: int = 5,
    seed: int = 0,
) -> MixingResult:
    """Measure whether isolated centers keep to themselves or sit between the chains.

    Parameters
    ----------
    structure : FrameSeries, Frame, ase.Atoms or pymatgen.core.Structure
        A run or one structure.
    center : str, default "Al"
        Element of the centers.
    ligands : sequence of str, default ("O", "Cl")
        Elements of the anions of the bridge rule.
    bond_cutoffs : mapping of str to float, optional
        Bond cutoffs of the bridge rule [A]; {"O": 2.4, "Cl": 2.8} for Al, for other elements they must be given.
    rule : {"distance", "bridge"}, default "distance"
        When two centers belong to one chain, see `chains.chains`.
    cutoff : float, optional
        Center-center cutoff of the distance rule [A]; 4.2 for Al, for other centers it must be given.
    radius : float, default 8.0
        Centers closer than this are neighbors [A]; images are counted.
    within_chains : bool, default True
        Whether two centers of one chain count as neighbors. With them alpha contains the chains themselves, which are
        neighbors by construction; without them it tells whether *other* chains or isolated centers are near.
    n_permutations : int, default 1000
        Random assignments of the labels for the null distribution.
    n_frames : int, default 50
        Frames of a run to look at, at most, evenly spread.
    n_blocks : int, default 5
        Blocks of frames behind the standard error.
    seed : int, default 0
        Seed of the permutations.

    Returns
    -------
    MixingResult
        Without an order parameter when all centers are of one kind.

    Raises
    ------
    InputError
        When the rule is unknown, a cutoff is missing, or a number is not positive.

    Notes
    -----
    The order parameter of Cowley, Phys. Rev. 77, 669 (1950), for one shell from 0 to `radius`, with neighbors and
    labels pooled over frames: P is the share of isolated centers among the neighbors of chain centers, and c_isolated
    their share among all centers. A permutation gives the labels of each center, in all frames, to another center, so
    that correlations in time stay in the null distribution. Among N centers without images the null mean is
    -1 / (N - 1), because a chain center is not its own neighbor.

    The null distribution is that of labels without any order. Centers of one chain have their label in common and sit
    together, so that a large z-score with `within_chains` is no discovery; without it, z still counts the members of a
    chain as independent and is an upper bound.

    Examples
    --------
    Isolated centers on one side, pairs on the other.

    >>> from ase import Atoms
    >>> x = [0, 5, 10, 15, 40, 43, 48, 51]
    >>> row = Atoms("Al8", [[k, 0, 0] for k in x], cell=[100, 30, 30], pbc=True)
    >>> result = mixing(row)
    >>> result.alpha, result.n_isolated, result.p_value < 0.1
    (1.0, 4.0, True)
    """
    if not (math.isfinite(radius) and radius > 0) or min(n_permutations, n_frames) < 1 or n_blocks < 2:  # noqa: PLR2004
        message = (
            f"{radius = }, {n_permutations = }, {n_frames = } and {n_blocks = } do not define a comparison"
        )
        raise InputError(message)
    if rule not in {"distance", "bridge"}:
        message = f"rule = {rule!r} is neither 'distance' nor 'bridge'"
        raise InputError(message)
    frames = list(_frames(structure, n_frames))
    roles = assign_roles(frames[0].species, center, ligands if rule == "bridge" else (), bond_cutoffs)
    reach = chain_cutoff(center, cutoff) if rule == "distance" else None
    n_centers = roles.centers.size
    # The first column leaves the labels where they are.
    rng = np.random.default_rng(seed)
    order = np.column_stack(
        [np.arange(n_centers), *(rng.permutation(n_centers) for _ in range(n_permutations))]
    )
    counts = []
    for frame in frames if n_centers else ():
        states = center_states(frame.positions, frame.cell, roles, rule, reach)
        near = _neighbors(frame, roles.centers, radius, None if within_chains else states.chain_id)
        counts.append(_count(near, states.isolated, order))
    facts = {
        "center": center,
        "rule": rule,
        "radius": float(radius),
        "within_chains": within_chains,
        "n_frames": len(frames),
        "n_permutations": n_permutations,
        "seed": seed,
    }
    return MixingResult(**facts, **_summary(counts, center, n_centers, n_blocks))


def _frames(structure: FrameSeries | StructureLike, n_frames: int) -> Iterator[Frame]:
    if not isinstance(structure, FrameSeries):
        yield as_frame(structure)
        return
    total = structure.n_frames
    for k in np.unique(np.linspace(0, total - 1, min(n_frames, total)).round().astype(int)):
        yield structure.frame(int(k))


def _neighbors(
    frame: Frame, centers: IntArray, radius: float, chain: IntArray | None
) -> scipy.sparse.csr_array:
    """Return the number of contacts between every two centers, images counted."""
    kinds = np.zeros(centers.size, dtype=np.int64)
    i, j, _, _ = half_pairs(frame.positions[centers], frame.cell, kinds, np.array([[radius]]))
    if chain is not None:
        apart = chain[i] != chain[j]
        i, j = i[apart], j[apart]
    ones = np.ones(2 * i.size)
    shape = (centers.size, centers.size)
    return scipy.sparse.csr_array((ones, (np.concatenate([i, j]), np.concatenate([j, i]))), shape=shape)


def _count(near: scipy.sparse.csr_array, isolated: npt.NDArray[np.bool_], order: IntArray) -> _Counts:
    labels = isolated[order].astype(np.float64)
    chain = 1 - labels
    return _Counts(
        isolated=np.asarray((chain * (near @ labels)).sum(axis=0)),
        total=np.asarray((chain * near.sum(axis=1)[:, None]).sum(axis=0)),
        share=float(isolated.mean()),
        n_chain=int((~isolated).sum()),
    )


def _alphas(counts: Sequence[_Counts]) -> FloatArray | None:
    """Return alpha for every column, or None where it is not defined."""
    isolated, total = (np.sum([getattr(c, name) for c in counts], axis=0) for name in ("isolated", "total"))
    share = float(np.mean([c.share for c in counts]))
    if share == 0 or total[0] == 0:
        return None
    # A permutation may leave chain centers without neighbors; it then says nothing.
    defined = total > 0
    return np.asarray(1 - isolated[defined] / total[defined] / share)


def _summary(counts: list[_Counts], center: str, n_centers: int, n_blocks: int) -> dict[str, object]:
    alphas = _alphas(counts) if counts else None
    n_chain = float(np.mean([c.n_chain for c in counts])) if counts else 0.0
    pooled = sum(c.n_chain for c in counts)
    found: dict[str, object] = {
        "n_isolated": n_centers - n_chain,
        "n_chain": n_chain,
        "n_neighbors": float(sum(c.total[0] for c in counts)) / pooled if pooled else 0.0,
    }
    names = ("alpha", "standard_error", "null_mean", "null_standard_deviation", "z_score", "p_value")
    if alphas is None or alphas.size == 1:
        found["status"] = "insufficient" if n_centers else "empty"
        found["reason"] = (
            "all centers are of one kind, or no chain center has a neighbor"
            if n_centers
            else f"there is no {center}"
        )
        return found | dict.fromkeys(names)
    alpha, null = float(alphas[0]), alphas[1:]
    mean, deviation = float(null.mean()), float(null.std())
    distance = abs(alpha - mean)
    # Rounding must not make a permutation that gives the same neighbors seem closer.
    further = int((np.abs(null - mean) >= distance - 1e-9).sum())
    values = (
        alpha,
        _jackknife(counts, n_blocks),
        mean,
        deviation,
        (alpha - mean) / deviation if deviation > 1e-9 else None,  # noqa: PLR2004 - beyond rounding
        (1 + further) / (1 + null.size),
    )
    reason = f"{n_chain:g} chain and {n_centers - n_chain:g} isolated {center} on average"
    return found | {"status": "ok", "reason": reason} | dict(zip(names, values, strict=True))


def _jackknife(counts: list[_Counts], n_blocks: int) -> float | None:
    """Return the standard error of alpha from leaving out one block of frames at a time."""
    blocks = [b for b in np.array_split(np.arange(len(counts)), min(n_blocks, len(counts))) if b.size]
    without = [
        _alphas(
            [
                c._replace(isolated=c.isolated[:1], total=c.total[:1])
                for k, c in enumerate(counts)
                if k not in block
            ]
        )
        for block in blocks
        if len(blocks) > 1
    ]
    values = np.array([float(part[0]) for part in without if part is not None])
    n = len(values)
    return float(np.sqrt((n - 1) / n * ((values - values.mean()) ** 2).sum())) if n > 1 else None
