"""How many frames an iteration of the learning loop explores and selects, at most."""

from __future__ import annotations

import math
from typing import Final

from laoc_flows.schemas.learning import Exploration, Learning, Selection

_EPSILON: Final = 1e-9


def most_of_strata(learning: Learning) -> int:
    """Labels of one composition in an iteration, by the quotas of its strata."""
    exploration, selection = learning.exploration, learning.selection
    strata = len(exploration.temperatures) * min(exploration.replicas, len(exploration.conditions))
    return strata * (selection.labels_per_stratum + selection.audit)


def most_selected(exploration: Exploration, selection: Selection) -> int:
    """Count the frames that can be selected from one exploration run, at most.

    Parameters
    ----------
    exploration : Exploration
        Protocol of the run.
    selection : Selection
        Quota of each temperature, and the least time between two selected frames.

    Returns
    -------
    int
        Bounded by the quota, and by the length of each temperature's stages over the spacing.
    """
    interval = _frame_steps(exploration) * exploration.time_step / 1000.0
    apart = max(1, math.ceil((selection.spacing - _EPSILON) / interval))
    frames = explored_frames(exploration).values()
    quota = selection.labels_per_stratum
    by_temperature = sum(min(quota, -(-count // apart)) for count in frames)
    # The audit takes frames wherever they are in time.
    return min(by_temperature, -(-sum(frames) // apart)) + len(frames) * selection.audit


def explored_frames(exploration: Exploration) -> dict[float, int]:
    """Count the frames of one exploration run by temperature [K]."""
    every = _frame_steps(exploration)
    frames: dict[float, int] = {}
    step = 0
    for stage in exploration.stages():
        # Frames are written at whole multiples of the interval since the start of the run.
        end = step + stage.steps(exploration.time_step)
        frames[stage.end_temperature] = frames.get(stage.end_temperature, 0) + end // every - step // every
        step = end
    return frames


def _frame_steps(exploration: Exploration) -> int:
    return max(1, round(exploration.frame_interval * 1000.0 / exploration.time_step))
