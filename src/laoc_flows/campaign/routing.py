"""Which worker a job goes to, and with what: also for the jobs that the flow makes while it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jobflow import Flow

from laoc_flows.campaign.named import OneOf
from laoc_flows.engines.makers import LabelMaker, MDMaker
from laoc_flows.engines.registry import ENGINES
from laoc_flows.flows.committee import TrainMaker
from laoc_flows.flows.explore import ExploreMaker
from laoc_flows.flows.potential import assemble_potential
from laoc_flows.flows.probe import ProbeMaker
from laoc_flows.flows.production import GlassMaker
from laoc_flows.settings import Settings
from laoc_flows.workers import Resources, Role, Route, Surroundings, Worker

FUNCTIONS: dict[Role, tuple[Callable[..., Any], ...]] = {
    Role.DFT: (LabelMaker.make, MDMaker.make),
    Role.TRAIN: (TrainMaker.make, assemble_potential),
    Role.MD: (ExploreMaker.make, ProbeMaker.make, GlassMaker.make),
}
"""What the jobs of a role run; all other jobs are light."""


@dataclass(frozen=True)
class Lane:
    """Where the jobs of one role run in the campaigns of one reference engine.

    Attributes
    ----------
    name : str
        Name: a category of FireWorks, an exec config of jf.
    role : Role
        Role.
    worker : str
        Worker.
    resources : Resources
        What a job asks its queue for.
    setup : Surroundings
        What is set up before it.
    priority : int
        Jobs of a higher one are taken first [1].
    """

    name: str
    role: Role
    worker: str
    resources: Resources
    setup: Surroundings
    priority: int


def lane_of(settings: Settings, role: Role, engine: str) -> Lane:
    """Lane of a role with a reference engine.

    Parameters
    ----------
    settings : Settings
        Holds workers and roles.
    role : Role
        Role.
    engine : str
        Name of the reference engine.
    """
    route = settings.roles.get(role, Route())
    worker_name = route.worker or next(iter(settings.workers))
    worker: Worker = settings.workers[worker_name]
    needs = route.needs(engine)
    special = engine in route.engines
    return Lane(
        name=f"{role.value}-{engine}" if special else role.value,
        role=role,
        worker=worker_name,
        resources=needs.resources.over(worker.resources),
        setup=needs.setup,
        priority=route.priority,
    )


def lanes(settings: Settings) -> dict[str, Lane]:
    """All lanes of a workspace by their names: of every role, and of those engines that it treats on their own."""
    found: dict[str, Lane] = {}
    for role in Role:
        special = settings.roles[role].engines if role in settings.roles else {}
        # An engine that nobody has named gives the lane of the role itself.
        for engine in ("", *special):
            lane = lane_of(settings, role, engine)
            found[lane.name] = lane
    return found


def route(
    flow: Flow, settings: Settings, engine: str, config_of: Callable[[Lane], Mapping[str, Any]]
) -> None:
    """Send the jobs of a flow, and all that they will make, to the workers of their roles.

    Parameters
    ----------
    flow : jobflow.Flow
        Flow, which is changed.
    settings : Settings
        Holds workers and roles.
    engine : str
        Name of the reference engine.
    config_of : callable
        What a queue wants to know of a lane, as the manager config of a job.
    """
    assert engine in ENGINES  # noqa: S101 -- a campaign has one of these
    config = {role: {"manager_config": dict(config_of(lane_of(settings, role, engine)))} for role in Role}
    flow.update_config(config[Role.LIGHT], dynamic=True)
    for role, functions in FUNCTIONS.items():
        flow.update_config(config[role], function_filter=OneOf.of(*functions), dynamic=True)
