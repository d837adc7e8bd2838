"""Compiled loops over the directions from centers to their ligands."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from laoc_flows.analysis.compiled import compiled
from laoc_flows.analysis.trajectories.frame import FloatArray, IntArray


class Turns(NamedTuple):
    """Turns of ligands about their hosts, one row each.

    Parameters
    ----------
    ligand, host : ndarray of int, shape (n,)
        Atom indices.
    image : ndarray of int, shape (n, 3)
        Lattice image of the ligand that is bonded, on continuous coordinates.
    frame : ndarray of int, shape (n,)
        First frame of the new direction.
    reference : ndarray of int, shape (n,)
        Frame in which the old direction was confirmed.
    confirmed : ndarray of int, shape (n,)
        Frame in which the new one was.
    angle : ndarray, shape (n,)
        Angle between both [deg].
    """

    ligand: IntArray
    host: IntArray
    image: IntArray
    frame: IntArray
    reference: IntArray
    confirmed: IntArray
    angle: FloatArray


@compiled
def _add_vector(
    total: FloatArray,
    sign: float,
    ends: FloatArray,
    origins: FloatArray,
    cells: FloatArray,
    image: IntArray,
    t: int,
) -> None:
    for k in range(3):
        shift = image[0] * cells[t, 0, k] + image[1] * cells[t, 1, k] + image[2] * cells[t, 2, k]
        total[k] += sign * (ends[t, k] - origins[t, k] + shift)


@compiled
def _step(
    direction: FloatArray, reference: FloatArray, memory: IntArray, frame: int, cosine: float, n_hold: int
) -> float:
    """Enter one direction; return the angle of a turn that it confirms, or -1."""
    x = direction[0] * reference[0] + direction[1] * reference[1] + direction[2] * reference[2]
    angle = -1.0
    confirmed = memory[0] < 0
    if not confirmed:
        if x >= cosine:
            memory[1] = -1
            return angle
        if memory[1] < 0:
            memory[1] = frame
        if frame - memory[1] >= n_hold:
            angle = math.acos(max(-1.0, min(1.0, x)))
            confirmed = True
    if confirmed:
        reference[:] = direction
        memory[0] = frame
    return angle


@compiled
def find_turns(
    positions: FloatArray,
    cells: FloatArray,
    offset: int,
    block: tuple[int, int],
    members: IntArray,
    images: IntArray,
    spans: IntArray,
    half: int,
    cosine: float,
    n_hold: int,
    reference: FloatArray,
    memory: IntArray,
    found: IntArray,
    angles: FloatArray,
) -> int:
    """Follow the averaged directions through one block of frames.

    Parameters
    ----------
    positions : ndarray, shape (n_atoms, n_block_frames, 3)
        Continuous positions [A], atom by atom.
    cells : ndarray, shape (n_block_frames, 3, 3)
        Rows are a, b and c [A].
    offset : int
        Frame of the run that the block begins with, its overlap included.
    block : tuple of int
        Half-open range of the frames of the run that are to be entered.
    members : ndarray of int, shape (n, 2)
        Row in `positions` of the ligand and of the host of every stretch.
    images : ndarray of int, shape (n, 3)
        Lattice image of the ligand that is bonded.
    spans : ndarray of int, shape (n, 2)
        Half-open range of frames of the stretch; the averages do not reach beyond it.
    half : int
        Frames on either side of the center of an average.
    cosine : float
        Cosine of the angle of a turn.
    n_hold : int
        Frames after the first of a turn for which it must last.
    reference : ndarray, shape (n, 3)
        Last confirmed direction; changed in place.
    memory : ndarray of int, shape (n, 2)
        Frame in which it was confirmed, and first frame of the turn under way; -1 for none; changed in place.
    found : ndarray of int, shape (capacity, 4)
        Filled with the stretch, the frame of the turn, the frame of the last confirmation and that of this one.
    angles : ndarray, shape (capacity,)
        Filled with the angles between the two confirmed directions [rad].

    Returns
    -------
    int
        Number of turns.
    """
    count = 0
    total, direction = np.zeros(3), np.zeros(3)
    for k in range(members.shape[0]):
        first = max(block[0], spans[k, 0] + half)
        stop = min(block[1], spans[k, 1] - half)
        if first >= stop:
            continue
        ends, origins = positions[members[k, 0]], positions[members[k, 1]]
        total[:] = 0.0
        for frame in range(first - half, first + half):
            _add_vector(total, 1.0, ends, origins, cells, images[k], frame - offset)
        for frame in range(first, stop):
            _add_vector(total, 1.0, ends, origins, cells, images[k], frame + half - offset)
            length = math.sqrt(total[0] ** 2 + total[1] ** 2 + total[2] ** 2)
            if length > 0:
                direction[:] = total / length
                start, since = memory[k, 0], memory[k, 1]
                angle = _step(direction, reference[k], memory[k], frame, cosine, n_hold)
                if angle >= 0:
                    found[count, 0] = k
                    found[count, 1] = since if since >= 0 else frame
                    found[count, 2] = start
                    found[count, 3] = frame
                    angles[count] = angle
                    memory[k, 1] = -1
                    count += 1
            _add_vector(total, -1.0, ends, origins, cells, images[k], frame - half - offset)
    return count
