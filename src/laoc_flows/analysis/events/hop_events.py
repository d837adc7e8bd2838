"""From the hosts of a run to hops: dwells, transitions between them, and what the centers were at the time."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from laoc_flows.analysis.events.hop_hosts import HopRoles, HostSeries, Samples, TypeTable
from laoc_flows.analysis.events.hop_kernels import decode, ion_segments
from laoc_flows.analysis.events.hop_results import HopEvents, TauCounts
from laoc_flows.analysis.events.hop_surroundings import surroundings
from laoc_flows.analysis.structure.chains import Rule
from laoc_flows.analysis.trajectories.frame import FloatArray, IntArray

_ROUNDING = 1e-6


class HopSettings(NamedTuple):
    """What defines a hop.

    Parameters
    ----------
    tau : float
        Least dwell before and after [ps].
    min_distance : float
        Least distance of the mean positions [A].
    back_jump_time : float
        A return within this time is a back-jump [ps].
    start_time : float
        Time of the first sample [ps].
    rule : {"distance", "bridge"}
        When two centers belong to one chain.
    chain_cutoff : float or None
        Distance of the distance rule [A]; None for the bridge rule.
    """

    tau: float
    min_distance: float
    back_jump_time: float
    start_time: float
    rule: Rule
    chain_cutoff: float | None


class _Segments(NamedTuple):
    ion: IntArray
    first: IntArray
    last: IntArray
    code: IntArray
    mean: FloatArray

    def times(self, interval: float, start_time: float) -> FloatArray:
        """Return the time of the transition after each segment but the last [ps]."""
        return np.asarray(start_time + interval * (self.last[:-1] + self.first[1:]) / 2)


class _Transitions(NamedTuple):
    hops: IntArray
    moves: IntArray
    n_relabels: int


def no_events() -> HopEvents:
    """Return a table without rows."""
    flat, vectors = np.empty(0), np.empty((0, 3))
    wide = {"position", "displacement", "origin_image", "destination_image"}
    return HopEvents(**{name: vectors if name in wide else flat for name in HopEvents.model_fields})


def dwell_samples(tau: float, interval: float) -> int:
    """Return the samples in a dwell whose first and last are `tau` apart [ps]."""
    return math.ceil(tau / interval - _ROUNDING) + 1


def resolved(tau: float, interval: float, n_samples: int) -> bool:
    """Return whether samples are close enough [ps], and enough of them, for a dwell before and one after."""
    return interval <= tau / 2 * (1 + _ROUNDING) and n_samples >= 2 * dwell_samples(tau, interval)


def evaluate(
    samples: Samples, series: HostSeries, roles: HopRoles, types: TypeTable, settings: HopSettings
) -> tuple[HopEvents, HopEvents, tuple[TauCounts, ...]]:
    """Turn hosts into events.

    Parameters
    ----------
    samples : Samples
        Coarse-grained positions.
    series : HostSeries
        Hosts of all carriers.
    roles : HopRoles
        Which atoms play which part.
    types : TypeTable
        Types of centers.
    settings : HopSettings
        What defines a hop.

    Returns
    -------
    events, moves : HopEvents
        Hops between hosts, and moves at one host.
    counts : tuple of TauCounts
        For half, once and twice the dwell time, where the samples allow.
    """
    duration = (samples.n_samples - 1) * samples.interval
    taus = [
        tau
        for tau in (settings.tau / 2, settings.tau, 2 * settings.tau)
        if resolved(tau, samples.interval, samples.n_samples)
    ]
    borders = np.searchsorted(series.ion, np.arange(roles.carriers.size + 1))
    parts: dict[float, list[tuple[IntArray, FloatArray]]] = {tau: [] for tau in taus}
    n_rattles = dict.fromkeys(taus, 0)
    for row, positions in samples.ion_batches(roles.carriers):
        runs = slice(borders[row], borders[row + 1])
        for tau in taus:
            n_dwell = dwell_samples(tau, samples.interval)
            found, means, rattles = ion_segments(
                series.first[runs], series.code[runs], positions, n_dwell, settings.min_distance
            )
            parts[tau].append((found, means))
            n_rattles[tau] += rattles
    counts = []
    events = moves = no_events()
    for tau in taus:
        segments = _joined(parts[tau])
        transitions = _transitions(segments, settings.min_distance)
        counts.append(
            TauCounts(
                tau=tau,
                n_hops=transitions.hops.size,
                n_moves=transitions.moves.size,
                n_rattles=n_rattles[tau],
                n_relabels=transitions.n_relabels,
                exposure=roles.carriers.size * max(duration - 2 * tau, 0.0),
            )
        )
        if tau == settings.tau:
            context = samples, roles, types, settings, segments
            events = _describe(*context, transitions.hops, between_hosts=True)
            moves = _describe(*context, transitions.moves, between_hosts=False)
    return events, moves, tuple(counts)


def _joined(parts: list[tuple[IntArray, FloatArray]]) -> _Segments:
    lengths = [len(found) for found, _ in parts]
    rows = np.concatenate([found for found, _ in parts])
    means = np.concatenate([mean for _, mean in parts])
    return _Segments(np.repeat(np.arange(len(parts)), lengths), rows[:, 0], rows[:, 1], rows[:, 2], means)


def _transitions(segments: _Segments, min_distance: float) -> _Transitions:
    """Return the segments after which something happens."""
    same_ion = segments.ion[1:] == segments.ion[:-1]
    same_host = segments.code[1:] == segments.code[:-1]
    far = np.linalg.norm(np.diff(segments.mean, axis=0), axis=1) > min_distance
    return _Transitions(
        hops=np.flatnonzero(same_ion & ~same_host & far),
        moves=np.flatnonzero(same_ion & same_host & far),
        n_relabels=int((same_ion & ~same_host & ~far).sum()),
    )


def _returns(
    segments: _Segments, chosen: IntArray, times: FloatArray, settings: HopSettings, *, between_hosts: bool
) -> npt.NDArray[np.bool_]:
    """Return which of the transitions undo the ion's one before."""
    before, now = chosen[:-1], chosen[1:]
    back = segments.ion[before] == segments.ion[now]
    back &= times[now] - times[before] <= settings.back_jump_time * (1 + _ROUNDING)
    if between_hosts:
        back &= segments.code[before] == segments.code[now + 1]
        back &= segments.code[before + 1] == segments.code[now]
    else:
        apart = np.linalg.norm(segments.mean[now + 1] - segments.mean[before], axis=1)
        back &= (now == before + 1) & (apart <= settings.min_distance)
    return np.concatenate([np.zeros(min(1, chosen.size), dtype=bool), back])


def _describe(
    samples: Samples,
    roles: HopRoles,
    types: TypeTable,
    settings: HopSettings,
    segments: _Segments,
    chosen: IntArray,
    *,
    between_hosts: bool,
) -> HopEvents:
    """Add to each transition what its two centers were at the event time."""
    times = segments.times(samples.interval, settings.start_time)
    back = _returns(segments, chosen, times, settings, between_hosts=between_hosts)
    order = np.lexsort((segments.ion[chosen], times[chosen]))
    chosen, back = chosen[order], back[order]
    n = chosen.size
    ends = tuple(decode(segments.code[which]) for which in (chosen, chosen + 1))
    sample = (segments.last[chosen] + segments.first[chosen + 1]) // 2
    columns: dict[str, npt.NDArray[np.generic]] = {
        "ion": roles.carriers[segments.ion[chosen]],
        "time": times[chosen],
        "back_jump": back,
        "same_chain": np.zeros(n, dtype=bool),
    }
    for name, (center, image) in zip(("origin", "destination"), ends, strict=True):
        columns |= {f"{name}_center": center, f"{name}_image": image}
        columns |= {f"{name}_{key}": np.zeros(n, dtype=np.int64) for key in ("type", "chain", "chain_size")}
        columns[f"{name}_isolated"] = np.zeros(n, dtype=bool)
    cell = samples.paths.cells[0]
    for at in np.unique(sample):
        rows = np.flatnonzero(sample == at)
        around = surroundings(samples.at(int(at)), cell, roles, types, settings.rule, settings.chain_cutoff)
        for name, (center, _) in zip(("origin", "destination"), ends, strict=True):
            columns[f"{name}_type"][rows] = around.kind[center[rows]]
            columns[f"{name}_chain"][rows] = around.chain[center[rows]]
            columns[f"{name}_chain_size"][rows] = around.size[center[rows]]
            columns[f"{name}_isolated"][rows] = around.isolated[center[rows]]
        for row in rows:
            (a, image_a), (b, image_b) = ((center[row], image[row]) for center, image in ends)
            columns["same_chain"][row] = around.same_chain(int(a), image_a, int(b), image_b)
    before, after = segments.mean[chosen], segments.mean[chosen + 1]
    return HopEvents(**columns, position=(before + after) / 2, displacement=after - before)
