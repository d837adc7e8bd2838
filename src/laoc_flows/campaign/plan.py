"""What a campaign will make and whether it can be made, before anything of it is started."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, Self

from pydantic import Field, model_validator

from laoc_flows.campaign.expect import Refusal, refuse
from laoc_flows.campaign.exploration_work import explored_frames, most_of_strata, most_selected
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
from laoc_flows.schemas.config import Production

if TYPE_CHECKING:
    from laoc_flows.campaign.file import CampaignFile

STAGES: Final = ("seed", "train", "explore", "label", "production")
_JOBS_PER_GLASS: Final = 2  # pack, production
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
    problems = [*_without_data(file), *impossible_runs(file)]
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


def _without_data(file: CampaignFile) -> list[Refusal]:
    problems: list[Refusal] = []
    if not file.melt_quench.packings and not file.learning.data:
        message = "leaves no label to begin with"
        problems.append((message, "choose at least 1, or name data in learning.data", "melt_quench.packings"))
    if len(file.grid.tested_only) == len(file.grid.compositions):
        message = "leaves no composition to train on"
        problems.append((message, "leave some compositions of the grid out of it", "grid.held_out"))
    if file.learning.selection.worst_error <= file.learning.targets.force_rmse:
        message = f"is not above learning.targets.force_rmse = {file.learning.targets.force_rmse:g}"
        remedy = "choose the error at which a frame is not worth a label any more"
        problems.append((message, remedy, "learning.selection.worst_error"))
    return problems


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
    runs = _seed_rates(file)
    rates = list(dict.fromkeys(runs)) or [rate for _, rate, _ in sampling.trajectories()][:1]
    quenches = {rate: melt_quench_work(file.engine, sampling, rate) for rate in rates}
    trajectories = {rate: trajectory_work(file.engine, sampling, rate) for rate in rates}
    one = Work().total(trajectories[rate] for rate in runs)
    # What an earlier campaign or an import covers has no seeds here, and is not known before it is looked up.
    seeds = (0, one.jobs[1]) if learning.data else one.jobs
    labels = (0, one.labels[1]) if learning.data else one.labels
    packed = _packed(file)
    explored = len(cells) - len(file.grid.tested_only) + len(file.between)
    per_iteration = explored * learning.exploration.replicas
    glasses = len(cells) * len(production.glass_runs())
    # The last iteration labels nothing.
    more = iterations[1] - 1
    most = most_selected(learning.exploration, learning.selection)
    selected = more * min(per_iteration * most, explored * most_of_strata(learning))
    if learning.max_labels is not None:
        selected = min(selected, learning.max_labels)
    labeling = more * per_iteration * label_jobs((0, most), file.engine)[1] if selected else 0
    probes = (explored * learning.committee, 1) if learning.probe is not None else (0, 0)
    looks = max(0, iterations[1] - 1)
    train = _times(iterations, _train_jobs(learning.committee))
    # The potential that it begins with may be trained already.
    trained = learning.committee if learning.data else 0
    explore = _times(iterations, per_iteration)
    stages = {
        "seed": (seeds[0] + packed[0], seeds[1] + packed[1]),
        "train": (train[0] - trained, train[1] + looks * probes[1]),
        "explore": (explore[0], explore[1] + looks * probes[0]),
        "label": (0, labeling),
        "production": (_JOBS_PER_GLASS * glasses, _JOBS_PER_GLASS * glasses),
    }
    trainings = _times(iterations, learning.committee)
    return CampaignPlan(
        campaign_id=file.campaign_id,
        level_of_theory=file.engine.level_of_theory,
        rows=tuple(_row(cell, production.repeats) for cell in cells.values()),
        seeds=len(runs),
        quench_rates=tuple(rate for rate in sampling.protocol.rates() if rate is not None),
        seed_steps=_range(work.steps for work in quenches.values()),
        seed_labels=_range(work.labels for work in trajectories.values()),
        reference_runs=0 if sampling.production is None else len(runs),
        reference_steps=production_work(file.engine, sampling).steps[1],
        iterations=iterations,
        trainings=(trainings[0] - trained, trainings[1]),
        explorations=_times(iterations, per_iteration),
        labels=(labels[0], labels[1] + selected),
        productions=glasses,
        production_steps=_range(glass_steps(production, rate) for rate in production.rates),
        exploration_steps=sum(
            stage.steps(learning.exploration.time_step) for stage in learning.exploration.stages()
        ),
        stages=stages,
    )


def _seed_rates(file: CampaignFile) -> list[float | None]:
    """Quench rate of every seed trajectory of the campaign [K/ps]; what is only tested on has its held-out ones."""
    tested = {composition.id for composition in file.grid.tested_only}
    return [
        rate
        for composition_id in file.cells()
        for _, rate, held_out in file.melt_quench.trajectories()
        if held_out or composition_id not in tested
    ]


def _packed(file: CampaignFile) -> Bounds:
    """Packings that exploration begins from where there is no seed."""
    between = len(file.between)
    unseeded = 0 if file.melt_quench.packings else len(file.cells()) - len(file.grid.tested_only)
    return between, between + unseeded


def _train_jobs(committee: int) -> int:
    """Jobs of stage train in one iteration: its data set, its committee, the potential, trust levels and the verdict."""
    return 1 + committee + 3


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
