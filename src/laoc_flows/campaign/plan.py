"""What a campaign will make and whether it can be made, before anything of it is started."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, Self

from pydantic import Field, model_validator

from laoc_flows.campaign.expect import Refusal, refuse
from laoc_flows.campaign.reference_work import (
    MAX_STEPS,
    Bounds,
    Work,
    glass_steps,
    impossible_production,
    impossible_runs,
    label_jobs,
    melt_quench_work,
    production_work,
    span,
    too_long,
    trajectory_work,
)
from laoc_flows.composition import MAX_ATOMS, Cell, Composition, plan_cell, plan_cell_fixed
from laoc_flows.errors import CompositionError
from laoc_flows.schemas.base import Model
from laoc_flows.schemas.config import Exploration, Production, Selection

if TYPE_CHECKING:
    from laoc_flows.campaign.file import CampaignFile

STAGES: Final = ("seed", "train", "explore", "label", "production")
_JOBS_PER_GLASS: Final = 2  # pack, production
_EPSILON: Final = 1e-9
_MAX_REFUSALS: Final = 10
_MAX_SIZE: Final = 10_000  # of a cell that the reference engine is to compute
_DEFAULT_TOLERANCE: Final = 0.1


class CellSize(Model):
    """Size of the cells: the same number of Al everywhere, or nearly the same number of atoms."""

    n_al: int | None = Field(
        None, ge=1, le=_MAX_SIZE, description="Al atoms of every cell; the numbers of atoms then differ [1]"
    )
    n_atoms: int | None = Field(
        None, ge=1, le=_MAX_SIZE, description="wanted atoms of every cell; the numbers of Al then differ [1]"
    )
    tolerance: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="largest deviation from n_atoms as a fraction of it, 0.1 if left out [1]",
    )

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.n_al is None) == (self.n_atoms is None):
            which = (
                "neither n_al nor n_atoms is given"
                if self.n_al is None
                else "n_al and n_atoms are both given"
            )
            refuse(which, "give exactly one of n_al and n_atoms")
        if self.n_al is not None and self.tolerance is not None:
            refuse("means nothing with n_al", "remove it, or give n_atoms instead of n_al", "tolerance")
        return self

    def plan(self, composition: Composition) -> Cell:
        """Plan the cell of a composition.

        Raises
        ------
        CompositionError
            If the composition fits no such cell; the message names its neighbors that do.
        """
        if self.n_al is not None:
            return plan_cell_fixed(composition, self.n_al)
        tolerance = _DEFAULT_TOLERANCE if self.tolerance is None else self.tolerance
        return plan_cell(composition, n_atoms=self.n_atoms or 0, tolerance=tolerance)


class PlanRow(Model):
    """One composition of a campaign."""

    composition_id: str = Field(description="canonical composition id")
    formula: str = Field(description="formula of the cell")
    x: float = Field(description="Li per Al [1]")
    y: float = Field(description="O per Al [1]")
    n_al: int = Field(description="Al atoms of the cell [1]")
    n_atoms: int = Field(description="atoms of the cell [1]")
    production_atoms: int = Field(description="atoms of the production cell [1]")
    links_per_al: float = Field(description="lambda = 1 - x + y, links per Al of the ideal network [1]")
    box: float = Field(description="edge of the cubic start cell [A]")
    density: float = Field(description="density at the start [g/cm^3]")


class CampaignPlan(Model):
    """The compositions of a campaign and the work to be expected.

    Where a number depends on what the campaign finds, it is a pair, at least and at most; jobs that fail are
    not counted in.
    """

    campaign_id: str = Field(description="campaign id")
    level_of_theory: str = Field(description="identity of the reference engine's labels")
    rows: tuple[PlanRow, ...] = Field(description="one per composition, sorted by (x, y)")
    seeds: int = Field(description="seed trajectories [1]")
    quench_rates: tuple[float, ...] = Field(
        description="quench rates asked for, an ensemble of seeds for each; empty for the protocol's own [K/ps]"
    )
    seed_steps: Bounds = Field(
        description="MD steps of one seed trajectory with the reference engine, till its quench has ended [steps]"
    )
    seed_labels: Bounds = Field(description="labels of one seed trajectory, strained ones included [1]")
    reference_runs: int = Field(description="runs of quenched cells with the reference engine [1]")
    reference_steps: int = Field(description="MD steps of one of them [steps]")
    iterations: Bounds = Field(description="iterations of the learning loop [1]")
    trainings: Bounds = Field(description="trainings of single models [1]")
    explorations: Bounds = Field(description="exploration runs [1]")
    labels: Bounds = Field(description="labels of the reference engine [1]")
    productions: int = Field(description="production runs [1]")
    production_steps: Bounds = Field(description="MD steps of one production run with the potential [steps]")
    exploration_steps: int = Field(description="MD steps of one exploration run with the committee [steps]")
    stages: dict[str, Bounds] = Field(
        description="jobs by stage: seed, train, explore, label, production [1]"
    )

    @property
    def jobs(self) -> Bounds:
        """Jobs of the whole campaign, at least and at most [1]."""
        return sum(low for low, _ in self.stages.values()), sum(high for _, high in self.stages.values())

    @property
    def words(self) -> tuple[str, ...]:
        """The expectation in words, one line each."""
        learning = (
            f"learning: {span(self.iterations)} iterations, {span(self.trainings)} trainings, "
            f"{span(self.explorations)} explorations of {self.exploration_steps} MD steps"
        )
        seeds = (
            f"seeds: {self.seeds} trajectories of {span(self.seed_steps)} MD steps, "
            f"{span(self.seed_labels)} labels each"
        )
        if len(self.quench_rates) > 1:
            seeds += f", quenched at {', '.join(f'{rate:g}' for rate in self.quench_rates)} K/ps"
        if self.reference_runs:
            seeds += f"; each is run on for {self.reference_steps} MD steps"
        glasses = f"{self.productions} glass{'es' if self.productions > 1 else ''}"
        production = f"production: {glasses} of {span(self.production_steps)} MD steps"
        stages = ", ".join(f"{name} {span(bounds)}" for name, bounds in self.stages.items())
        return (
            f"{len(self.rows)} composition{'s' if len(self.rows) > 1 else ''}, labeled by {self.level_of_theory}",
            seeds,
            learning,
            f"labels: {span(self.labels)}",
            production,
            f"jobs: {span(self.jobs)} ({stages})",
        )


def unplannable(compositions: Iterable[Composition], size: CellSize, production: Production) -> list[Refusal]:
    """List the compositions that fit no cell, or no production cell.

    Parameters
    ----------
    compositions : iterable of Composition
        Grid.
    size : CellSize
        Size of the cells.
    production : Production
        Holds the supercell.

    Returns
    -------
    list of tuple
        Message, remedy and dotted key of each problem; after ten the rest is not checked, since naming the
        neighbors takes time.
    """
    key = "cell.n_al" if size.n_al is not None else "cell.n_atoms"
    problems: list[Refusal] = []
    for composition in compositions:
        try:
            atoms = size.plan(composition).n_atoms * production.repeats
        except CompositionError as error:
            problems.append((error.message, error.remedy or "choose another size", key))
        else:
            if atoms > MAX_ATOMS:
                message = f"{composition.id} would have {atoms} atoms, more than {MAX_ATOMS}"
                problems.append((message, "choose a smaller supercell", "production.supercell"))
        if len(problems) == _MAX_REFUSALS:
            return [*problems, ("the other compositions were not checked", "settle these first", key)]
    return problems


def undoable(file: CampaignFile) -> list[Refusal]:
    """List the protocols that never end, or that leave no label and no frame.

    Parameters
    ----------
    file : CampaignFile
        Campaign.

    Returns
    -------
    list of tuple
        Message, remedy and dotted key of each problem.
    """
    problems = impossible_runs(file)
    for key, run, every in (
        ("learning.exploration", file.learning.exploration, (None,)),
        ("production", file.production, file.production.rates),
    ):
        try:
            stages = [run.stages() if rate is None else file.production.stages(rate) for rate in every]
            step = run.md_time_step if isinstance(run, Production) else run.time_step
            steps = max(sum(stage.steps(step) for stage in each) for each in stages)
        except (ValueError, OverflowError):
            steps = MAX_STEPS + 1
        if problem := too_long(steps, key):
            problems.append(problem)
    if problems:
        return problems
    if not min(explored_frames(file.learning.exploration).values()):
        message = "leaves no frame at one of the temperatures"
        problems.append(
            (message, "choose it shorter, or longer times", "learning.exploration.frame_interval")
        )
    last = file.production.stages()[-1]
    if file.production.frame_interval > last.time:
        remedy = f"choose at most {'nvt_time' if file.production.protocol is None else 'its time'}, {last.time:g} ps"
        problems.append(("leaves no frame of the final run", remedy, "production.frame_interval"))
    return problems or impossible_production(file)


def plan(file: CampaignFile) -> CampaignPlan:
    """Plan a campaign.

    Parameters
    ----------
    file : CampaignFile
        Campaign.

    Returns
    -------
    CampaignPlan
        What its flow makes: at least when it converges as early as it can, at most when it never does.
    """
    learning, sampling, production = file.learning, file.melt_quench, file.production
    cells = file.cells()
    # Convergence is agreement twice running.
    iterations = (min(2, learning.max_iterations), learning.max_iterations)
    rates = [rate for _, rate, _ in sampling.trajectories()]
    seeds = len(cells) * len(rates)
    quenches = {rate: melt_quench_work(file.engine, sampling, rate) for rate in rates}
    trajectories = {rate: trajectory_work(file.engine, sampling, rate) for rate in rates}
    one = Work().total(trajectories[rate] for rate in rates)
    labels = _times(one.labels, len(cells))
    per_iteration = len(cells) * learning.exploration.replicas
    glasses = len(cells) * len(production.glass_runs())
    # The last iteration labels nothing.
    more = per_iteration * (iterations[1] - 1)
    most = most_selected(learning.exploration, learning.selection)
    selected = more * most
    stages = {
        "seed": _times(one.jobs, len(cells)),
        "train": _times(iterations, _train_jobs(learning.committee)),
        "explore": _times(iterations, per_iteration),
        "label": (0, more * label_jobs((0, most), file.engine)[1] if selected else 0),
        "production": (_JOBS_PER_GLASS * glasses, _JOBS_PER_GLASS * glasses),
    }
    return CampaignPlan(
        campaign_id=file.campaign_id,
        level_of_theory=file.engine.level_of_theory,
        rows=tuple(_row(cell, production.repeats) for cell in cells.values()),
        seeds=seeds,
        quench_rates=tuple(rate for rate in sampling.protocol.rates() if rate is not None),
        seed_steps=_range(work.steps for work in quenches.values()),
        seed_labels=_range(work.labels for work in trajectories.values()),
        reference_runs=0 if sampling.production is None else seeds,
        reference_steps=production_work(file.engine, sampling).steps[1],
        iterations=iterations,
        trainings=_times(iterations, learning.committee),
        explorations=_times(iterations, per_iteration),
        labels=(labels[0], labels[1] + selected),
        productions=glasses,
        production_steps=_range(glass_steps(production, rate) for rate in production.rates),
        exploration_steps=sum(
            stage.steps(learning.exploration.time_step) for stage in learning.exploration.stages()
        ),
        stages=stages,
    )


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
    by_temperature = sum(min(selection.labels_per_stratum, -(-count // apart)) for count in frames)
    return min(by_temperature, -(-sum(frames) // apart))


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


def _train_jobs(committee: int) -> int:
    """Jobs of stage train in one iteration: its data set, its committee, the potential and the verdict."""
    return 1 + committee + 2


def _times(bounds: Bounds, factor: int) -> Bounds:
    return bounds[0] * factor, bounds[1] * factor


def _range(bounds: Iterable[Bounds]) -> Bounds:
    """Bounds that hold for each of several."""
    lows, highs = zip(*bounds, strict=True)
    return min(lows), max(highs)


def _row(cell: Cell, repeats: int) -> PlanRow:
    composition = cell.composition
    return PlanRow(
        composition_id=composition.id,
        formula=cell.formula,
        x=float(composition.x),
        y=float(composition.y),
        n_al=cell.n_al,
        n_atoms=cell.n_atoms,
        production_atoms=cell.n_atoms * repeats,
        links_per_al=float(composition.links_per_al),
        box=cell.start_length,
        density=cell.start_density,
    )
