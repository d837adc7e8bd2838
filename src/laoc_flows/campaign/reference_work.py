"""The work of the reference engine: steps, labels and jobs of its runs, counted before any of them is started."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, Self, TypeAlias

from laoc_flows.campaign.expect import Refusal
from laoc_flows.engines.base import Engine
from laoc_flows.engines.controller import Controller
from laoc_flows.engines.melting import between_falls
from laoc_flows.errors import InputError
from laoc_flows.schemas.config import Production, ReferenceSampling
from laoc_flows.schemas.protocol import Stage

if TYPE_CHECKING:
    from laoc_flows.campaign.file import CampaignFile

Bounds: TypeAlias = tuple[int, int]
"""At least and at most."""

MAX_STEPS: Final = 10**11
_PACK_AND_ASSESS: Final = 2
_PREPARE_AND_ANALYZE: Final = 2
_LEAST_FRAMES: Final = 2
# The job itself, the one that puts its parts together, and the one that stores them under the job's identity.
_AROUND_PARTS: Final = 3


class Work(NamedTuple):
    """What a run, or all of a trajectory, takes.

    Parameters
    ----------
    steps, labels, jobs : tuple of int
        MD steps, labels and jobs, at least and at most. Jobs that fail, and that the time limit of a job cuts
        short, are not counted in.
    """

    steps: Bounds = (0, 0)
    labels: Bounds = (0, 0)
    jobs: Bounds = (0, 0)

    def plus(self, steps: Bounds = (0, 0), labels: Bounds = (0, 0), jobs: Bounds = (0, 0)) -> Self:
        """Add work."""
        return type(self)(add(self.steps, steps), add(self.labels, labels), add(self.jobs, jobs))

    def total(self, others: Iterable[Work]) -> Self:
        """Add the work of others."""
        whole = self
        for other in others:
            whole = whole.plus(*other)
        return whole


def add(one: Bounds, other: Bounds) -> Bounds:
    """Sum of two bounds."""
    return one[0] + other[0], one[1] + other[1]


def span(bounds: Bounds) -> str:
    """Bounds in words: '4', or '4 to 6'."""
    low, high = bounds
    return str(low) if low == high else f"{low} to {high}"


def stage_steps(stage: Stage, controller: Controller) -> Bounds:
    """MD steps of a stage, at least and at most; those of one that waits depend on what it waits for."""
    total = stage.steps(controller.time_step)
    if stage.until_melted:
        # Looked at wherever a job ends, at the earliest after one frame.
        return min(total, controller.frame_every(stage)), total
    return total, total * (stage.equilibrate.attempts if stage.equilibrate is not None else 1)


def glass_steps(production: Production, rate: float | None) -> Bounds:
    """MD steps of one production run, at least and at most; a cell that never melts makes those of the melt.

    Parameters
    ----------
    production : Production
        Its protocol.
    rate : float or None
        Quench rate [K/ps]; None for that of the protocol.
    """
    steps: Bounds = (0, 0)
    never: list[int] = []
    for stage in production.stages(rate):
        whole = stage.steps(production.md_time_step)
        if stage.until_melted:
            never.append(steps[0] + whole)
        frame = max(
            1, round(production.frame_interval * 1000.0 / (stage.time_step or production.md_time_step))
        )
        least = min(whole, frame) if stage.until_melted else whole
        most = whole * (stage.equilibrate.attempts if stage.equilibrate is not None else 1)
        steps = add(steps, (least, most))
    return min([steps[0], *never]), steps[1]


def run_work(controller: Controller, stride: int | None) -> Work:
    """Work of one run through stages.

    Parameters
    ----------
    controller : Controller
        Runs it; nothing is run here.
    stride : int or None
        Frames between two labels; None for no labels.
    """
    reached, stopped = Work(), []
    for stage in controller.stages:
        steps = stage_steps(stage, controller)
        every = controller.frame_every(stage)
        labels = (0, 0) if stride is None else (steps[0] // every // stride, steps[1] // every // stride)
        if stage.until_melted:
            # A cell that never melts has run all of the stage, and nothing more.
            whole = (steps[1], steps[1]), (labels[1], labels[1])
            stopped.append(reached.plus(*whole))
        reached = reached.plus(steps, labels)
    ends = [reached, *stopped]
    least, most = min(end.steps[0] for end in ends), reached.steps[1]
    jobs = (_jobs(controller),) * 2
    if least < most:
        # A job makes its steps, or nearly: it does not begin what it could not bring to a frame.
        budget = controller.engine.steps_per_job
        every = max(controller.frame_every(stage) for stage in controller.stages)
        jobs = -(-least // max(budget, every)), 1 + -(-most // max(1, budget - every + 1))
    return Work(
        steps=(least, most), labels=(min(end.labels[0] for end in ends), reached.labels[1]), jobs=jobs
    )


def _jobs(controller: Controller) -> int:
    """Jobs of a run whose length is known, as they are cut: at whole frames, and where no further one fits."""
    budget = controller.engine.steps_per_job
    # The relaxation is in the first job, whatever fits in besides.
    jobs, room = 1, budget
    for stage in controller.stages:
        every, steps = controller.frame_every(stage), stage.steps(controller.time_step)
        if room < every:
            jobs, room = jobs + 1, budget
        if steps > room:
            steps -= min(steps, max(every, room // every * every))
            room = 0
        if steps and not room:
            whole = max(every, budget // every * every)
            full = max(0, -(-(steps - budget) // whole))
            # The steps of the last job may be no whole frames.
            steps -= min(steps, full * whole)
            jobs += full + (steps > 0)
            room = budget if steps else 0
        room -= steps
    return jobs


def label_jobs(n_labels: Bounds, engine: Engine) -> Bounds:
    """Jobs of one batch of labels: one, or its parts and what puts them together."""
    most = engine.labels_per_job

    def jobs(n: int) -> int:
        return 1 if most is None or n <= most else -(-n // most) + _AROUND_PARTS

    return jobs(n_labels[0]), jobs(n_labels[1])


def _controller(engine: Engine, stages: Sequence[Stage], time_step: float, frame_every: int) -> Controller:
    return Controller(
        engine=engine,
        stages=tuple(stages),
        time_step=time_step,
        frame_interval=frame_every * time_step / 1000.0,
        relax_steps=0,
        seed=0,
    )


def _melt_quench(engine: Engine, sampling: ReferenceSampling, rate: float | None) -> Controller:
    protocol = sampling.protocol
    return _controller(engine, protocol.stages(rate), protocol.time_step, sampling.stored_every)


def _production(engine: Engine, sampling: ReferenceSampling) -> Controller | None:
    settings = sampling.production
    if settings is None:
        return None
    return _controller(engine, settings.stages(), sampling.protocol.time_step, settings.frame_every)


def melt_quench_work(engine: Engine, sampling: ReferenceSampling, rate: float | None) -> Work:
    """Work of one melt-quench run at a rate, its frames as labels."""
    stride = sampling.label_every // sampling.stored_every
    return run_work(_melt_quench(engine, sampling, rate), stride)


def production_work(engine: Engine, sampling: ReferenceSampling) -> Work:
    """Work of the run that follows a melt-quench with the reference engine; none where there is none."""
    settings, controller = sampling.production, _production(engine, sampling)
    if settings is None or controller is None:
        return Work()
    every = settings.label_every
    work = run_work(controller, None if every is None else every // settings.frame_every)
    # A quench that stopped or was none is not run on: one job says so.
    return Work((0, work.steps[1]), (0, work.labels[1]), (1, work.jobs[1]))


def trajectory_work(engine: Engine, sampling: ReferenceSampling, rate: float | None) -> Work:
    """Work of one seed trajectory: packing, melt-quench, what follows it, and all of its labels.

    Parameters
    ----------
    engine : Engine
        Reference engine.
    sampling : ReferenceSampling
        Protocol and what is labeled.
    rate : float or None
        Quench rate; None for the protocol's own [K/ps].
    """
    quench, following = melt_quench_work(engine, sampling, rate), production_work(engine, sampling)
    work = quench.plus(jobs=(_PACK_AND_ASSESS, _PACK_AND_ASSESS))
    settings = sampling.production
    if settings is not None:
        work = work.plus(*following).plus(jobs=(_PREPARE_AND_ANALYZE, _PREPARE_AND_ANALYZE))
    if not engine.harvests:
        work = work.plus(jobs=label_jobs(quench.labels, engine))
        if settings is not None and settings.label_every is not None:
            work = work.plus(jobs=label_jobs(following.labels, engine))
    if sampling.strains:
        strained = (len(sampling.strains), len(sampling.strains))
        work = work.plus(labels=strained, jobs=add((1, 1), label_jobs(strained, engine)))
    return work


def impossible_runs(file: CampaignFile) -> list[Refusal]:
    """List the runs of the reference engine that never end, cannot be cut into frames, or leave nothing.

    Parameters
    ----------
    file : CampaignFile
        Campaign.

    Returns
    -------
    list of tuple
        Message, remedy and dotted key of each problem.
    """
    sampling = file.melt_quench
    every = "melt_quench.frame_every" if sampling.frame_every is not None else "melt_quench.label_every"
    for rate in dict.fromkeys(sampling.protocol.rates()):
        try:
            controller = _melt_quench(file.engine, sampling, rate)
            steps = sum(stage_steps(stage, controller)[1] for stage in controller.stages)
        except InputError as error:
            return [(error.message, "choose it so that they are", every)]
        except (ValueError, OverflowError):
            steps = MAX_STEPS + 1
        if problem := too_long(steps, "melt_quench.protocol"):
            return [problem]
        work = melt_quench_work(file.engine, sampling, rate)
        if not work.labels[1]:
            message = f"a trajectory of {work.steps[1]} MD steps gives no label"
            return [(message, f"choose at most {work.steps[1]}", "melt_quench.label_every")]
        if problem := _never_melts(controller, every):
            return [problem]
    return _empty_production(file.engine, sampling)


def impossible_production(file: CampaignFile) -> list[Refusal]:
    """List what the protocol of production cannot be cut into: its frames, or a melt that can be seen.

    Parameters
    ----------
    file : CampaignFile
        Campaign.
    """
    production, key = file.production, "production.frame_interval"
    for rate in production.rates:
        stages, step = production.stages(rate), production.md_time_step
        try:
            # The engine that runs it is made with its potential: what is checked does not depend on it.
            controller = _controller(file.engine, stages, step, production.frame_every)
        except InputError as error:
            return [(error.message, "choose it so that they are", key)]
        if problem := _never_melts(controller, key):
            return [problem]
    return []


def too_long(steps: int, key: str) -> Refusal | None:
    """Refuse a run that never ends."""
    if steps <= MAX_STEPS:
        return None
    remedy = "choose shorter times, a higher quench_rate or a longer time_step"
    return f"takes more than {MAX_STEPS:.0e} MD steps", remedy, key


def _never_melts(controller: Controller, key: str) -> Refusal | None:
    """Refuse a melt of which too few frames are kept to see that it is one."""
    for index, stage in enumerate(controller.stages):
        judged = [controller.stages[i] for i in between_falls(controller.stages, index) if i <= index]
        frames = sum(each.steps(controller.time_step) // controller.frame_every(each) for each in judged)
        if stage.until_melted and frames < _LEAST_FRAMES:
            message = f"keeps {frames} frames until the end of stage {stage.name!r}: too few to see it melt"
            return message, "choose it smaller, or a longer melt", key
    return None


def _empty_production(engine: Engine, sampling: ReferenceSampling) -> list[Refusal]:
    settings, controller = sampling.production, _production(engine, sampling)
    if settings is None or controller is None:
        return []
    at = "melt_quench.production"
    (stage,) = controller.stages
    steps = stage.steps(controller.time_step)
    if problem := too_long(steps, f"{at}.time"):
        return [problem]
    problems: list[Refusal] = []
    if settings.label_every is not None and settings.label_every > steps:
        message = f"a run of {steps} MD steps gives no label"
        problems.append((message, f"choose at most {steps}, or null for no labels", f"{at}.label_every"))
    # The first frame is one interval after the start.
    first = max(0, round(settings.analyze_from / controller.frame_interval) - 1)
    if first >= steps // settings.frame_every:
        remedy = "choose it smaller, or a longer time"
        problems.append(("leaves no frame to analyze", remedy, f"{at}.frame_every"))
    return problems
