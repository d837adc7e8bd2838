"""Whether ligands turn where and when carriers hop."""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import scipy
from pydantic import Field

from laoc_flows.analysis.compiled import compiled
from laoc_flows.analysis.events.rotations import RotationResult
from laoc_flows.analysis.rates import CONFIDENCE
from laoc_flows.analysis.structure.kernels import half_pairs
from laoc_flows.analysis.trajectories.frame import Column, FloatArray, IntArray, Result
from laoc_flows.errors import InputError

MIN_WINDOWS = 5
"""A run shorter than so many coincidence windows says nothing about coincidence."""

_CHUNK = 2000


class _HopEvents(Protocol):
    @property
    def ion(self) -> npt.NDArray[np.int64]: ...
    @property
    def time(self) -> npt.NDArray[np.float64]: ...
    @property
    def position(self) -> npt.NDArray[np.float64]: ...


class HopsLike(Protocol):
    """What is needed of the hops of carriers: `events` with an ion, a time [ps] and a position [A] each."""

    @property
    def events(self) -> _HopEvents:
        """Columns `ion`, `time` and `position`, one row per hop."""


class CouplingResult(Result):
    """Coincidence of hops with rotations, against hops at shifted times."""

    dt: float = Field(description="Largest difference in time [ps].", ge=0)
    radius: float = Field(description="Largest distance [A].", gt=0)
    n_hops: int = Field(description="Number of hops.", ge=0)
    n_rotations: int = Field(description="Number of rotation events.", ge=0)
    coincident: Column = Field(description="Whether each hop has a rotation nearby, shape (n_hops,).")
    n_coincident: int = Field(description="Number of hops that have.", ge=0)
    fraction: float | None = Field(description="Share of the hops that have; None without hops.")
    fraction_interval: tuple[float, float] | None = Field(
        description="95 % interval of `fraction`; hops of one ion are taken as dependent."
    )
    null_mean: float | None = Field(
        description="Mean share when the times of each ion are shifted at random."
    )
    null_deviation: float | None = Field(description="Standard deviation of the share over the shifts.")
    enrichment: float | None = Field(
        description="fraction / null_mean; None when the null has no coincidence."
    )
    enrichment_interval: tuple[float, float] | None = Field(
        description="95 % interval of `enrichment`, from that of `fraction`."
    )
    z_score: float | None = Field(
        description="(fraction - null_mean) / null_deviation; None when the null does not vary."
    )
    p_value: float | None = Field(
        description="Probability that independent motions coincide as often or more often (one-sided). Ions that hop "
        "together count as independent: with strings of three to five, 8 to 12 of 100 true nulls fall below 0.05."
    )
    n_shuffles: int = Field(description="Number of random shifts.", ge=0)
    seed: int = Field(description="Seed of the shifts.")
    status: Literal["ok", "empty", "insufficient"] = Field(
        description="'empty' without hops or rotations; 'insufficient' when the run is too short against `dt`."
    )
    reason: str = Field(description="Why the status is what it is.")


class _Neighbors(NamedTuple):
    """Events b that are near each event a in space: entries ``first[a] <= k < first[a + 1]`` of `event`."""

    first: IntArray
    event: IntArray


def coincidences(
    times_a: npt.ArrayLike,
    positions_a: npt.ArrayLike,
    times_b: npt.ArrayLike,
    positions_b: npt.ArrayLike,
    cell: npt.ArrayLike,
    dt: float = 1.0,
    radius: float = 4.0,
) -> npt.NDArray[np.bool_]:
    """Find the events that have another one nearby in space and time.

    Parameters
    ----------
    times_a, times_b : array_like, shapes (n_a,) and (n_b,)
        Times of the events [ps].
    positions_a, positions_b : array_like, shapes (n_a, 3) and (n_b, 3)
        Their positions, wrapped or not [A].
    cell : array_like, shape (3, 3)
        Rows are a, b and c [A]; may be triclinic, and smaller than the radius.
    dt : float, default 1.0
        Largest difference in time, inclusive [ps].
    radius : float, default 4.0
        Distances to the nearest image are below this [A].

    Returns
    -------
    ndarray of bool, shape (n_a,)
        Whether any event b is near each event a.

    Raises
    ------
    InputError
        When shapes disagree, or `dt` or `radius` is negative.

    Examples
    --------
    >>> import numpy as np
    >>> at_border = [[0.5, 5.0, 5.0], [5.0, 5.0, 5.0]]
    >>> coincidences([1.0, 1.0], at_border, [1.6], [[9.5, 5.0, 5.0]], 10 * np.eye(3)).tolist()
    [True, False]
    """
    a, b = np.asarray(times_a, dtype=np.float64), np.asarray(times_b, dtype=np.float64)
    near = _neighbors(*_checked(a, positions_a, b, positions_b, cell, dt, radius))
    return np.asarray(_near_in_time(a, b, near.first, near.event, _with_slack(dt)))


def rotation_hop_coupling(
    rotations: RotationResult,
    hops: HopsLike,
    *,
    dt: float = 1.0,
    radius: float = 4.0,
    n_shuffles: int = 500,
    seed: int = 0,
) -> CouplingResult:
    """Compare how often a hop has a rotation nearby with how often it would by chance.

    Parameters
    ----------
    rotations : RotationResult
        From `rotations`.
    hops : HopResult
        From `hops` of the same run, or anything with such events.
    dt : float, default 1.0
        A rotation is nearby within so much time before or after the hop [ps].
    radius : float, default 4.0
        And within this distance, to the nearest image [A].
    n_shuffles : int, default 500
        Random shifts of the null model.
    seed : int, default 0
        Their seed.

    Returns
    -------
    CouplingResult
        Without numbers when there are no hops or no rotations.

    Raises
    ------
    InputError
        When `dt` or `radius` is negative, or there is no shuffle.

    Notes
    -----
    In the null model all hops of one ion are shifted in time by the same random amount, around the end of the time in
    which rotations can be seen, and each ion by another; nothing is moved in space. So it keeps where hops and rotations happen, how many there are, and
    how those of one ion follow each other, and takes away only that both happen at the same time. The p-value is
    (1 + number of shuffles with at least as many) / (1 + n_shuffles), Phipson and Smyth, Stat. Appl. Genet. Mol. Biol.
    9, 39 (2010). The interval of the fraction is Wilson's with the effective number of hops that follows from its
    variance between ions. Memory: the pairs of hops and rotations that are close in space, 16 bytes each.

    Examples
    --------
    >>> import numpy as np
    >>> from types import SimpleNamespace
    >>> from laoc_flows.analysis import Trajectory
    >>> from laoc_flows.analysis import rotations
    >>> positions = np.zeros((1000, 2, 3))
    >>> positions[:500, 1, 0] = positions[500:, 1, 1] = 2.15
    >>> turned = rotations(Trajectory(("Al", "Cl"), positions, 12 * np.eye(3), time_step=0.1))
    >>> hop = SimpleNamespace(ion=np.array([7]), time=np.array([50.3]), position=np.array([[2.0, 2.0, 0.0]]))
    >>> result = rotation_hop_coupling(turned, SimpleNamespace(events=hop))
    >>> result.fraction, 0.01 < result.null_mean < 0.04, result.p_value < 0.05
    (1.0, True, True)
    """
    if n_shuffles < 1:
        message = f"n_shuffles = {n_shuffles} is not at least 1"
        raise InputError(message)
    times, ions = np.asarray(hops.events.time, dtype=np.float64), np.asarray(hops.events.ion)
    turned = np.asarray(rotations.events.time, dtype=np.float64)
    checked = _checked(
        times, hops.events.position, turned, rotations.events.position, rotations.cell, dt, radius
    )
    # No rotation can be confirmed at the very ends of the run, so no hop is shifted there.
    start = rotations.start_time + rotations.average / 2
    duration = max(rotations.duration - rotations.average - rotations.hold, 0.0)
    status, reason = _status(len(times), len(turned), duration, dt)
    near = _neighbors(*checked)
    hit = np.asarray(_near_in_time(times, turned, near.first, near.event, _with_slack(dt)))
    fraction, interval = _fraction(hit, ions)
    numbers: dict[str, float | tuple[float, float] | None] = {}
    if status == "ok" and fraction is not None and interval is not None:
        null = _null(times, ions, turned, near, (start, duration), _with_slack(dt), n_shuffles, seed)
        mean, deviation = float(null.mean()), float(null.std())
        as_many = int((null >= fraction - 1e-12).sum())
        numbers = {
            "null_mean": mean,
            "null_deviation": deviation,
            "enrichment": fraction / mean if mean > 0 else None,
            "enrichment_interval": (interval[0] / mean, interval[1] / mean) if mean > 0 else None,
            "z_score": (fraction - mean) / deviation if deviation > 0 else None,
            "p_value": (1 + as_many) / (1 + n_shuffles),
        }
    empty = dict.fromkeys(
        ("null_mean", "null_deviation", "enrichment", "enrichment_interval", "z_score", "p_value")
    )
    return CouplingResult.model_validate(
        {
            "dt": dt,
            "radius": radius,
            "n_hops": len(times),
            "n_rotations": len(turned),
            "coincident": hit,
            "n_coincident": int(hit.sum()),
            "fraction": fraction,
            "fraction_interval": interval,
            "n_shuffles": n_shuffles,
            "seed": seed,
            "status": status,
            "reason": reason,
        }
        | empty
        | numbers
    )


def _with_slack(dt: float) -> float:
    """Return the difference in time up to rounding, so that a difference of exactly `dt` is within."""
    return dt + 1e-9 * max(1.0, dt)


def _status(
    n_hops: int, n_rotations: int, duration: float, dt: float
) -> tuple[Literal["ok", "empty", "insufficient"], str]:
    if not n_hops:
        return "empty", "there are no hops"
    if not n_rotations:
        return "empty", "there are no rotations"
    if duration <= MIN_WINDOWS * 2 * dt:
        return (
            "insufficient",
            f"rotations can be seen for {duration:g} ps, which is too short against {dt:g} ps",
        )
    return "ok", f"{n_hops} hops and {n_rotations} rotations in {duration:g} ps"


def _checked(
    a: FloatArray,
    positions_a: npt.ArrayLike,
    b: FloatArray,
    positions_b: npt.ArrayLike,
    cell: npt.ArrayLike,
    dt: float,
    radius: float,
) -> tuple[FloatArray, FloatArray, FloatArray, float]:
    at_a, at_b = (np.asarray(p, dtype=np.float64).reshape(-1, 3) for p in (positions_a, positions_b))
    box = np.asarray(cell, dtype=np.float64)
    if a.shape != (len(at_a),) or b.shape != (len(at_b),) or box.shape != (3, 3):
        message = f"times {a.shape} and {b.shape}, positions {at_a.shape} and {at_b.shape}, cell {box.shape} do not fit"
        raise InputError(message)
    if dt < 0 or radius <= 0:
        message = f"{dt = } ps and {radius = } A are no neighborhood"
        raise InputError(message, remedy="give dt >= 0 and radius > 0")
    return at_a, at_b, box, radius


def _neighbors(at_a: FloatArray, at_b: FloatArray, cell: FloatArray, radius: float) -> _Neighbors:
    n_a, n_b = len(at_a), len(at_b)
    parts = [np.empty((0, 2), dtype=np.int64)]
    cutoffs = np.array([[0.0, radius], [radius, 0.0]])
    for start in range(0, n_a if n_b else 0, _CHUNK):
        some = at_a[start : start + _CHUNK]
        kinds = np.repeat([0, 1], [len(some), n_b])
        i, j, _, _ = half_pairs(np.concatenate([some, at_b]), cell, kinds, cutoffs)
        # In a small cell several images of one event may be near.
        parts.append(np.unique(np.column_stack([i + start, j - len(some)]), axis=0))
    table = np.concatenate(parts)
    counts = np.bincount(table[:, 0], minlength=n_a)
    return _Neighbors(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), table[:, 1].copy())


def _fraction(hit: npt.NDArray[np.bool_], ions: IntArray) -> tuple[float | None, tuple[float, float] | None]:
    """Return the share of hits with its Wilson interval, for as many hops as their variance between ions allows."""
    n = len(hit)
    if not n:
        return None, None
    fraction = float(hit.mean())
    _, group = np.unique(ions, return_inverse=True)
    n_ions = int(group.max()) + 1
    effective = float(n)
    if n_ions > 1 and 0 < fraction < 1:
        excess = np.bincount(group, hit - fraction)
        variance = float((excess**2).sum()) / n**2 * n_ions / (n_ions - 1)
        if variance > 0:
            effective = min(effective, fraction * (1 - fraction) / variance)
    return fraction, _wilson(fraction, max(effective, 1.0))


def _wilson(fraction: float, n: float) -> tuple[float, float]:
    z = float(scipy.stats.norm.ppf((1 + CONFIDENCE) / 2))
    center = (fraction + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * float(np.sqrt(fraction * (1 - fraction) / n + z**2 / (4 * n**2)))
    return max(center - half, 0.0), min(center + half, 1.0)


def _null(
    times: FloatArray,
    ions: IntArray,
    turned: FloatArray,
    near: _Neighbors,
    window: tuple[float, float],
    dt: float,
    n_shuffles: int,
    seed: int,
) -> FloatArray:
    start, duration = window
    generator = np.random.default_rng(seed)
    _, group = np.unique(ions, return_inverse=True)
    fractions = np.empty(n_shuffles)
    for k in range(n_shuffles):
        shift = generator.uniform(0, duration, int(group.max()) + 1)[group]
        shifted = start + np.mod(times - start + shift, duration)
        fractions[k] = _near_in_time(shifted, turned, near.first, near.event, dt).mean()
    return fractions


@compiled
def _near_in_time(
    a: FloatArray, b: FloatArray, first: IntArray, event: IntArray, dt: float
) -> npt.NDArray[np.bool_]:
    near = np.zeros(a.shape[0], np.bool_)
    for i in range(a.shape[0]):
        for k in range(first[i], first[i + 1]):
            if abs(a[i] - b[event[k]]) <= dt:
                near[i] = True
                break
    return near
