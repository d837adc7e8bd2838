"""A second detector of hops, which knows no hosts: the variance of one half of a window about the other half."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import scipy
from pydantic import Field

from laoc_flows.analysis.compiled import compiled
from laoc_flows.analysis.events.hop_hosts import Samples, auto_stride
from laoc_flows.analysis.trajectories.frame import Column, FloatArray, Result
from laoc_flows.analysis.trajectories.paths import CARRIER, Drift
from laoc_flows.analysis.trajectories.trajectory import FrameSeries
from laoc_flows.errors import InputError, TrajectoryError

P_HOP_THRESHOLD = 2.25
"""Square of the 1.5 A by which the mean positions before and after a hop differ at least [A^2]."""


class PHopResult(Result):
    """Hops of one element by the p_hop criterion, in order of time; one entry of every column per hop."""

    status: Literal["ok", "empty", "insufficient"] = Field(
        description="'empty' without ions; 'insufficient' when the run is shorter than the window or its frames are "
        "too far apart; 'ok' otherwise, also when no ion hops."
    )
    reason: str = Field(description="Why the status is what it is.")
    carrier: str = Field(description="Element of the hopping ions.")
    drift: Drift = Field(description="What was held at rest.")
    window: float = Field(description="Length of the window, both halves together [ps].", gt=0)
    threshold: float = Field(description="Peaks above this are hops [A^2].", gt=0)
    smoothing: float = Field(description="Moving average over the positions [ps].", ge=0)
    interval: float = Field(description="Time between the samples that were looked at [ps].", gt=0)
    duration: float = Field(description="Time from the first to the last sample [ps].", ge=0)
    n_carriers: int = Field(description="Number of ions.", ge=0)
    ion: Column = Field(description="Atom index of the ion.")
    time: Column = Field(description="Time of the peak, on the time axis of the run [ps].")
    position: Column = Field(
        description="Midpoint of the mean positions of both halves, shape (n, 3), continuous [A]."
    )
    displacement: Column = Field(description="Mean position after minus before, shape (n, 3) [A].")
    value: Column = Field(description="Height of the peak [A^2].")

    @property
    def n_hops(self) -> int:
        """Number of hops."""
        return len(self.ion)


def p_hop(
    trajectory: FrameSeries,
    carrier: str = CARRIER,
    *,
    window: float = 2.0,
    threshold: float = P_HOP_THRESHOLD,
    smoothing: float = 0.3,
    drift: Drift = "framework",
    stride: int | None = None,
) -> PHopResult:
    """Find hops as peaks of the p_hop indicator.

    Parameters
    ----------
    trajectory : FrameSeries
        A run at constant cell.
    carrier : str, default "Li"
        Element of the hopping ions.
    window : float, default 2.0
        Length of the window [ps]: a half before and a half after, like dwells of 1 ps each. Peaks closer than this
        are one hop.
    threshold : float, default 2.25
        Peaks above this are hops [A^2]. For a sudden jump by d between two sites in which an ion vibrates with the
        variance s^2, p_hop is d^2 + s^2, hence the square of the least distance of `hops`.
    smoothing : float, default 0.3
        Centered moving average over the positions [ps], as in `hops`; 0 for none.
    drift : {"framework", "com", "none"}, default "framework"
        What is held at rest.
    stride : int, optional
        Frames between samples; by default the most that are within 0.1 ps.

    Returns
    -------
    PHopResult
        With empty columns where nothing hops.

    Raises
    ------
    InputError
        When a parameter is out of range.
    TrajectoryError
        When the cell varies or the positions cannot be unwrapped.

    Notes
    -----
    p_hop(t) = sqrt(<(r_B - <r_A>)^2>_B <(r_A - <r_B>)^2>_A) with A and B the halves of the window before and after t:
    Candelier et al., Phys. Rev. Lett. 105, 135702 (2010); Smessaert and Rottler, Phys. Rev. E 88, 022314 (2013).

    Examples
    --------
    >>> import numpy as np
    >>> from laoc_flows.analysis import p_hop
    >>> from laoc_flows.analysis import Trajectory
    >>> positions = np.array([[[2.0 if t < 50 else 5.0, 5, 5], [0, 0, 0]] for t in range(100)])
    >>> result = p_hop(Trajectory(("Li", "Cl"), positions, 12 * np.eye(3), time_step=0.1))
    >>> result.n_hops, result.time.round(2).tolist()
    (1, [4.95])
    """
    given = {"window": window, "threshold": threshold, "smoothing": smoothing}
    bad = {name: value for name, value in given.items() if not (math.isfinite(value) and value >= 0)}
    bad |= {name: given[name] for name in ("window", "threshold") if not given[name] > 0}
    if bad:
        message = f"{', '.join(f'{name} = {value}' for name, value in bad.items())} is out of range"
        raise InputError(message, remedy="give a window in ps and a threshold in A^2 above zero")
    if not trajectory.constant_cell:
        message = "the cell varies, and displacements in it are not hops"
        raise TrajectoryError(message, remedy="take the hops from an NVT run at the mean volume")
    stride = auto_stride(trajectory.time_step, stride)
    interval = stride * trajectory.time_step
    n_samples = -(-trajectory.n_frames // stride)
    ions = trajectory.indices(carrier)
    half = round(window / (2 * interval))
    found = np.empty((0, 9))
    status: Literal["ok", "empty", "insufficient"] = "ok"
    if ions.size == 0:
        status, reason = "empty", f"there is no {carrier}"
    elif half < 2:  # noqa: PLR2004 - one position has no variance
        status = "insufficient"
        reason = f"samples every {interval:g} ps do not resolve windows of {window:g} ps"
    elif n_samples < 2 * half:
        status = "insufficient"
        reason = f"{n_samples} samples every {interval:g} ps do not fill a window of {window:g} ps"
    else:
        samples = Samples(trajectory.paths(drift, carrier), smoothing, stride)
        rows = []
        for row, positions in samples.ion_batches(ions):
            peaks = _peaks(positions, half, threshold)
            rows.append(np.column_stack([np.full(len(peaks), ions[row]), peaks]))
        found = np.concatenate(rows)
        found = found[np.lexsort((found[:, 0], found[:, 1]))]
        reason = f"{len(found)} peaks of {ions.size} {carrier} above {threshold:g} A^2"
    return PHopResult(
        status=status,
        reason=reason,
        carrier=carrier,
        drift=drift,
        window=window,
        threshold=threshold,
        smoothing=smoothing,
        interval=interval,
        duration=(n_samples - 1) * interval,
        n_carriers=ions.size,
        ion=found[:, 0].astype(np.int64),
        # The peak k lies between the samples k - 1 and k.
        time=trajectory.start_time + interval * (found[:, 1] - 0.5),
        value=found[:, 2],
        position=(found[:, 3:6] + found[:, 6:9]) / 2,
        displacement=found[:, 6:9] - found[:, 3:6],
    )


def p_hop_curve(positions: FloatArray, half: int) -> FloatArray:
    """Return the indicator of one ion at every moment with a whole window.

    Parameters
    ----------
    positions : ndarray, shape (n, 3)
        Continuous positions [A].
    half : int
        Samples in a half of the window.

    Returns
    -------
    ndarray, shape (max(n - 2 half + 1, 0),)
        Entry k is the indicator between the samples ``half + k - 1`` and ``half + k`` [A^2].

    Examples
    --------
    >>> import numpy as np
    >>> from laoc_flows.analysis.events.p_hop import p_hop_curve
    >>> p_hop_curve(np.array([[0.0, 0, 0], [0, 0, 0], [3, 0, 0], [3, 0, 0]]), half=2).tolist()
    [9.0]
    """
    mean, variance = _running(np.ascontiguousarray(positions, dtype=np.float64), half)
    before, after = slice(None, -half), slice(half, None)
    apart = ((mean[after] - mean[before]) ** 2).sum(axis=1)
    return np.asarray(np.sqrt((variance[before] + apart) * (variance[after] + apart)))


@compiled
def _running(positions: FloatArray, half: int) -> tuple[FloatArray, FloatArray]:
    """Return mean position and variance, of all axes together, of every `half` samples in a row."""
    n = max(positions.shape[0] - half + 1, 0)
    mean, variance = np.zeros((n, 3)), np.zeros(n)
    for k in range(n):
        for c in range(3):
            for t in range(k, k + half):
                mean[k, c] += positions[t, c]
            mean[k, c] /= half
            for t in range(k, k + half):
                variance[k] += (positions[t, c] - mean[k, c]) ** 2
        variance[k] /= half
    return mean, variance


def _peaks(positions: FloatArray, half: int, threshold: float) -> FloatArray:
    """Return sample, height and the mean positions before and after every peak, shape (n, 8)."""
    curve = p_hop_curve(positions, half)
    # The ends of the curve are no peaks: where they are high, the ion hops within half a window of the end.
    at = scipy.signal.find_peaks(curve, height=threshold, distance=2 * half)[0]
    mean, _ = _running(positions, half)
    return np.column_stack([at + half, curve[at], mean[at], mean[at + half]])
