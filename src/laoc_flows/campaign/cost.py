"""What a campaign has cost so far, by stage and composition, against its plan."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from laoc_flows.campaign.plan import CampaignPlan
from laoc_flows.campaign.queues.base import STAGES, Run
from laoc_flows.campaign.reference_work import span
from laoc_flows.errors import as_written

_HOUR = 3600.0


@dataclass
class Cost:
    """Work of one stage, or of one stage for one composition.

    Attributes
    ----------
    stage, composition : str
        What it is of; the composition of what serves the whole grid is empty.
    runs : int
        Runs of jobs that have ended well.
    core_hours : float
        Cores times wall time of these [h].
    wall_hours : float
        Wall time of these, added up [h].
    lost_runs : int
        Runs that failed or were lost.
    lost_core_hours : float
        Cores times wall time of these [h].
    """

    stage: str
    composition: str = ""
    runs: int = 0
    core_hours: float = 0.0
    wall_hours: float = 0.0
    lost_runs: int = 0
    lost_core_hours: float = 0.0

    def add(self, run: Run) -> None:
        """Add a run."""
        hours = run.seconds / _HOUR
        if run.useful:
            self.runs += 1
            self.wall_hours += hours
            self.core_hours += hours * run.cores
        else:
            self.lost_runs += 1
            self.lost_core_hours += hours * run.cores


def costs(runs: Iterable[Run]) -> list[Cost]:
    """Work by stage and composition, in the order of the stages.

    Parameters
    ----------
    runs : iterable of Run
        Runs of a campaign.
    """
    found: dict[tuple[str, str], Cost] = {}
    with as_written("a run in the queue"):
        for run in runs:
            found.setdefault((run.stage, run.composition), Cost(run.stage, run.composition)).add(run)
    order = {stage: index for index, stage in enumerate(STAGES)}
    return sorted(
        found.values(), key=lambda c: (order.get(c.stage, len(order)), c.composition == "", c.composition)
    )


def planned(plan: CampaignPlan, stage: str) -> str:
    """Jobs of a stage that the plan expects, in words."""
    return span(plan.stages[stage]) if stage in plan.stages else ""
