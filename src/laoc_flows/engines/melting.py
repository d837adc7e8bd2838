"""Which stages of a protocol are to melt the cell, and whether they have."""

from __future__ import annotations

from collections.abc import Sequence

from laoc_flows.analysis import Trajectory, melt_check
from laoc_flows.schemas.label import MeltRecord
from laoc_flows.schemas.protocol import Stage


def melting_stages(stages: Sequence[Stage]) -> range:
    """Stages that are to melt the cell: those around the last one that waits for it, or before the first fall.

    Parameters
    ----------
    stages : sequence of Stage
        Protocol.

    Returns
    -------
    range
        Their indices; empty where the temperature never falls and nothing waits.
    """
    waits = [index for index, stage in enumerate(stages) if stage.until_melted]
    if waits:
        return between_falls(stages, waits[-1])
    falls = any(_falls(stages, index) for index in range(len(stages)))
    return between_falls(stages, 0) if falls else range(0)


def judged_stages(stages: Sequence[Stage]) -> set[int]:
    """Stages whose frames some verdict on a melt looks at.

    Parameters
    ----------
    stages : sequence of Stage
        Protocol.
    """
    waits = [index for index, stage in enumerate(stages) if stage.until_melted]
    return {*melting_stages(stages), *(each for index in waits for each in between_falls(stages, index))}


def between_falls(stages: Sequence[Stage], index: int) -> range:
    """Stages around one that no fall of the temperature parts from it.

    What moved before a fall says nothing of the melt after it.

    Parameters
    ----------
    stages : sequence of Stage
        Protocol.
    index : int
        The stage.

    Returns
    -------
    range
        Their indices; empty for a stage that cools.
    """
    if stages[index].cools:
        return range(index, index)
    first, last = index, index
    while first > 0 and not _falls(stages, first) and not stages[first - 1].cools:
        first -= 1
    while last + 1 < len(stages) and not _falls(stages, last + 1):
        last += 1
    # Without a fall to end it, the melt ends with the stage that waits for it.
    return range(first, (last if last + 1 < len(stages) else index) + 1)


def _falls(stages: Sequence[Stage], index: int) -> bool:
    """Whether the temperature falls in a stage, or at its begin."""
    stage = stages[index]
    return stage.cools or (index > 0 and stage.start_temperature < stages[index - 1].end_temperature)


def melt_record(trajectory: Trajectory) -> MeltRecord:
    """Whether a run has melted its cell, as it is stored.

    Parameters
    ----------
    trajectory : Trajectory
        The melt, first to last frame.
    """
    verdict = melt_check(trajectory)
    return MeltRecord(
        passed=verdict.passed,
        displacement=verdict.displacement,
        bragg=verdict.bragg,
        reason=verdict.reason,
    )
