"""Pair distribution functions and the coordination numbers they integrate to."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field

from laoc_flows.analysis.frame import FloatArray, Frame, Result, StructureLike, as_frame
from laoc_flows.analysis.neighbors import pairs
from laoc_flows.analysis.trajectory import Trajectory
from laoc_flows.errors import InputError

_SMOOTHING = 5


class RdfResult(Result):
    """g(r) of one pair of elements, averaged over frames."""

    status: Literal["ok", "empty"] = Field(
        description="'empty' when there is no pair of two different atoms."
    )
    a: str = Field(description="Element of the central atoms.")
    b: str = Field(description="Element of the surrounding atoms.")
    n_a: int = Field(description="Number of central atoms.", ge=0)
    n_b: int = Field(description="Number of surrounding atoms.", ge=0)
    n_frames: int = Field(description="Number of frames.", ge=1)
    edges: tuple[float, ...] = Field(description="Bin edges [A]; bin k holds edges[k] <= r < edges[k + 1].")
    g: tuple[float, ...] = Field(
        description="g(r) per bin, dimensionless, normalized with N_b - delta_ab; empty when the status is 'empty'."
    )
    coordination: tuple[float, ...] = Field(
        description="Mean number of b atoms closer to an a atom than each of `edges`; empty without a atoms."
    )

    @property
    def r(self) -> tuple[float, ...]:
        """Bin centers [A]."""
        return tuple((low + high) / 2 for low, high in zip(self.edges, self.edges[1:], strict=False))


class Shell(NamedTuple):
    """First shell of a g(r).

    Parameters
    ----------
    peak : float or None
        Position of the first maximum [A].
    minimum : float or None
        Position of the minimum behind it [A]; the middle where g is flat.
    """

    peak: float | None
    minimum: float | None


def rdf(
    trajectory: Trajectory | StructureLike,
    a: str,
    b: str,
    r_max: float = 8.0,
    bin_width: float = 0.05,
) -> RdfResult:
    """Compute g_ab(r), normalized with N_b - delta_ab and the volume of each frame.

    Parameters
    ----------
    trajectory : Trajectory, Frame, ase.Atoms or pymatgen.core.Structure
        Frames to average over; their cell may vary.
    a, b : str
        Elements of the central and of the surrounding atoms.
    r_max : float, default 8.0
        Upper end [A], rounded up to a whole bin. It may exceed half the cell: images are counted, an atom's own
        images included, so that beyond the shortest lattice vector g shows the lattice of the cell.
    bin_width : float, default 0.05
        Width of a bin [A].

    Returns
    -------
    RdfResult
        With status ``"empty"`` when an element is absent, or when a = b and there is only one atom.

    Raises
    ------
    InputError
        When `r_max` or `bin_width` is not positive.
    """
    if not (0 < bin_width < math.inf and bin_width <= r_max < math.inf):
        message = f"r_max = {r_max} A and bin_width = {bin_width} A give no bins"
        raise InputError(message)
    n_bins = math.ceil(r_max / bin_width - 1e-9)
    # Rounded, so that a cutoff such as 4.2 A is a bin edge to the bit.
    edges = np.round(bin_width * np.arange(n_bins + 1), 9)
    if isinstance(trajectory, Trajectory):
        frames: Iterable[Frame] = (trajectory.frame(k) for k in range(trajectory.n_frames))
        n_frames, species = trajectory.n_frames, trajectory.species
    else:
        single = as_frame(trajectory)
        frames = [single]
        n_frames, species = 1, single.species
    n_a, n_b = species.count(a), species.count(b)
    n_others = n_b - (a == b)
    counts, weighted = np.zeros(n_bins), np.zeros(n_bins)
    if n_a and n_b:
        for frame in frames:
            found = pairs(frame, a, b, float(edges[-1])).distance
            bins = np.bincount(np.searchsorted(edges, found, side="right") - 1, minlength=n_bins)
            counts += bins
            weighted += bins * frame.volume
    shells = 4 / 3 * np.pi * np.diff(edges**3)
    defined = n_a > 0 and n_others > 0
    coordination = np.concatenate([[0.0], np.cumsum(counts)]) / (n_frames * max(n_a, 1))
    return RdfResult(
        status="ok" if defined else "empty",
        a=a,
        b=b,
        n_a=n_a,
        n_b=n_b,
        n_frames=n_frames,
        edges=tuple(edges.tolist()),
        g=tuple((weighted / (n_frames * n_a * n_others * shells)).tolist()) if defined else (),
        coordination=tuple(coordination.tolist()) if n_a else (),
    )


def coordination_number(result: RdfResult, r_c: float) -> float | None:
    """Return the integral of g(r) up to a cutoff: the mean number of b atoms around an a atom.

    Parameters
    ----------
    result : RdfResult
        From `rdf`.
    r_c : float
        Cutoff [A]. On a bin edge the number is exact, ``2 E / N`` for a = b and the E edges of the graph with
        that cutoff; inside a bin it is interpolated linearly.

    Returns
    -------
    float or None
        None when there are no a atoms.

    Raises
    ------
    InputError
        When `r_c` lies outside the range of the g(r).
    """
    if not 0 <= r_c <= result.edges[-1]:
        message = f"r_c = {r_c} A lies outside g(r), which ends at {result.edges[-1]} A"
        raise InputError(message, remedy="compute g(r) with a larger r_max")
    if not result.coordination:
        return None
    return float(np.interp(r_c, result.edges, result.coordination))


def first_shell(result: RdfResult) -> Shell:
    """Find the first maximum of g(r) and the minimum behind it.

    Parameters
    ----------
    result : RdfResult
        From `rdf`; it is smoothed over five bins first.

    Returns
    -------
    Shell
        The maximum of the first stretch with g > 1, and the lowest point between it and the next such stretch
        (or the end). Either is None when g(r) does not show it.
    """
    g = np.asarray(result.g, dtype=np.float64)
    if g.size < _SMOOTHING:
        return Shell(None, None)
    r = np.asarray(result.r, dtype=np.float64)
    smooth: FloatArray = np.convolve(g, np.full(_SMOOTHING, 1 / _SMOOTHING), mode="same")
    above = np.append(smooth > 1, values=False)
    if not above.any():
        return Shell(None, None)
    start = int(above.argmax())
    end = start + int((~above[start:]).argmax())
    peak = float(r[start + int(g[start:end].argmax())])
    if end == g.size:
        return Shell(peak, None)
    again = above[end:]
    stop = end + int(again.argmax()) if again.any() else g.size
    valley = smooth[end:stop]
    return Shell(peak, float(r[end:stop][valley <= valley.min() + 1e-12].mean()))
