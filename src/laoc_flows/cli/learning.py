"""``laoc learning``: what the learning loop of a campaign did, as tables and as figures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from laoc_flows.cli.console import console as standard_console
from laoc_flows.cli.console import fails_clearly, say
from laoc_flows.cli.options import WorkspaceOption, open_workspace
from laoc_flows.errors import InputError
from laoc_flows.schemas.iteration import Calibration, IterationDocument, StratumReport
from laoc_flows.store.columns import concise

if TYPE_CHECKING:
    from laoc_flows.schemas.base import Measured
    from laoc_flows.schemas.potential import HeldOutError
    from laoc_flows.store.learning import LearningRun

_SHORT = 12
_ENDLESS = 100_000


class FigureFormat(StrEnum):
    """Formats of figures."""

    PNG = "png"
    PDF = "pdf"
    SVG = "svg"


@fails_clearly
def learning(
    campaign: Annotated[
        str,
        typer.Argument(
            metavar="CAMPAIGN",
            help="Id of the campaign, its beginning, or its name: the newest of that name.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FOLDER", help="Draw figures, into this folder.", show_default=False
        ),
    ] = None,
    formats: Annotated[
        list[FigureFormat] | None,
        typer.Option(
            "--format", "-f", help="Format of the figures; give it again for more.", show_default="png"
        ),
    ] = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Show what the learning loop of a campaign did: errors, agreement, labels, and why it ended."""
    from laoc_flows.store.laoc_store import LaocStore
    from laoc_flows.store.learning import learning_run, with_blobs

    if formats and out is None:
        msg = "is of figures, and none are asked for"
        raise InputError(msg, where="--format", remedy="give --out FOLDER, too")
    with LaocStore.open(open_workspace(workspace, create=False)) as store:
        store.build()
        run = learning_run(store, campaign)
        if out is not None:
            run = with_blobs(store.job_store, run)
    print_learning(run, standard_console())
    if out is not None:
        kinds = list(dict.fromkeys(each.value for each in formats or [FigureFormat.PNG]))
        written = draw(run, out, kinds)
        say(f"drew {len(written) // len(kinds)} figures into {out}, {len(written)} files")


def draw(run: LearningRun, folder: Path, formats: Sequence[str]) -> list[Path]:
    """Draw the figures of a learning loop.

    Parameters
    ----------
    run : LearningRun
        The run, with all that its documents point at.
    folder : pathlib.Path
        Where to; made if it is not there.
    formats : sequence of {"png", "pdf", "svg"}
        Formats of the files.

    Returns
    -------
    list of pathlib.Path
        Files.

    Raises
    ------
    InputError
        If the folder cannot be written to.
    """
    from laoc_flows.report.figures import write_learning_figures

    try:
        return write_learning_figures(run, folder, formats)
    except OSError as error:
        msg = f"cannot be written to ({error.strerror})"
        raise InputError(msg, where=str(folder), remedy="give a folder that you may write to") from None


def print_learning(run: LearningRun, out: Console) -> None:
    """Print what a learning loop did.

    Parameters
    ----------
    run : LearningRun
        The run.
    out : rich.console.Console
        Where to print. A table is as wide as it needs to be unless this is a terminal.
    """
    last = run.last
    limit = f": {last.limit}" if last.limit else ""
    out.print(Text(f"{run.campaign_id}: {last.verdict.value}{limit}"), soft_wrap=True)
    for name, verdict in last.composition_verdicts.items():
        out.print(Text(f"{name}: {verdict}"), soft_wrap=True)
    if not last.composition_verdicts:
        for reason in last.reasons:
            out.print(Text(reason), soft_wrap=True)
    _section(out, "iterations; until now: labels asked for besides the seeds, and work", _iterations(run))
    if last.strata:
        title = f"strata of iteration {last.iteration}; deviations and trust levels in eV/A"
        _section(out, title, _strata(last))
    if last.cut:
        out.print(Text(f"\nruns of iteration {last.iteration} that were cut"), soft_wrap=True)
        for line in last.cut:
            out.print(Text(line), soft_wrap=True)
    if any(each.properties for each in run.iterations):
        _section(out, "properties of the models of the committee", _properties(run))
    doubted = list(_quarantined(run))
    if doubted:
        out.print(Text("\nlabels in quarantine, left out from then on"), soft_wrap=True)
        for line in doubted:
            out.print(Text(line), soft_wrap=True)


def _section(out: Console, title: str, table: Table) -> None:
    out.print(Text(f"\n{title}"), soft_wrap=True)
    before = out.width
    if not out.is_terminal:
        # Files and pipes have no width: nothing is folded or cut for them.
        wide = Measurement.get(out, out.options.update(width=_ENDLESS), table).maximum
        out.width = max(before, wide)
    try:
        out.print(table)
    finally:
        out.width = before


def _made(left: Sequence[str], right: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for header in left:
        table.add_column(Text(header))
    for header in right:
        table.add_column(Text(header), justify="right")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _iterations(run: LearningRun) -> Table:
    headers = (
        "iteration",
        "trained on",
        "selected",
        "force RMSE [eV/A]",
        "on training labels",
        "energy RMSE [eV/atom]",
        "not agreed on",
        "labels",
        "core hours",
    )
    rows = []
    for iteration in run.iterations:
        potential = run.potential(iteration)
        errors = list(potential.held_out.values()) if potential is not None else []
        force = max(errors, key=lambda each: each.force_rmse, default=None)
        fitted = (
            max((each.force_rmse for each in potential.fitted.values()), default=None) if potential else None
        )
        energy = max(errors, key=lambda each: each.energy_rmse, default=None)
        shares = [each.candidate_share for each in iteration.strata if each.candidate_share is not None]
        rows.append(
            [
                str(iteration.iteration),
                str(iteration.n_train),
                str(iteration.n_selected),
                _force(force, iteration),
                "-" if fitted is None else f"{fitted:.3g}",
                concise(energy.energy_rmse, energy.energy_rmse_error) if energy is not None else "-",
                _share(max(shares, default=None)),
                str(iteration.spent.labels),
                f"{iteration.spent.core_hours:.3g}",
            ]
        )
    return _made((), headers, rows)


def _force(error: HeldOutError | None, iteration: IterationDocument) -> str:
    if error is not None:
        return concise(error.force_rmse, error.force_rmse_error)
    return f"{iteration.worst_force_rmse:.3g}" if iteration.worst_force_rmse is not None else "-"


def _share(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.3g} %"


def _strata(iteration: IterationDocument) -> Table:
    left = ("composition", "stratum")
    right = (
        *("frames", "accurate", "candidates", "above", "cut", "selected", "too soon", "known", "over quota"),
        *("over budget", "audited", "median", "levels", "ratio", "from labels", "agreed, yet wrong"),
    )
    found = {each.stratum: each for each in iteration.calibration}
    rows = [_stratum(report, found.get(report.stratum)) for report in iteration.strata]
    return _made(left, right, rows)


def _stratum(report: StratumReport, calibration: Calibration | None) -> list[str]:
    counts = (
        report.n_frames,
        report.n_accurate,
        report.n_candidates,
        report.n_failed,
        report.n_cut,
        report.n_selected,
        report.n_too_soon,
        report.n_known,
        report.n_over_quota,
        report.n_over_budget,
        report.n_audited,
    )
    return [
        report.composition_id,
        report.stratum.words,
        *map(str, counts),
        f"{report.median_deviation:.3g}" if report.median_deviation is not None else "-",
        f"{report.trust_low:.3g} - {report.trust_high:.3g}",
        *_ratio(calibration),
    ]


def _ratio(calibration: Calibration | None) -> tuple[str, str, str]:
    """Ratio with its error, the labels that it is from, and what the audit found."""
    if calibration is None:
        return "-", "-", "-"
    missed = f"{calibration.n_audit_missed} of {calibration.n_audited}" if calibration.n_audited else "-"
    if calibration.ratio is None:
        return "-", "none: the campaign file's levels", missed
    # The error is that of the logarithm: relative.
    error = None if calibration.ratio_error is None else calibration.ratio * calibration.ratio_error
    of = f" of {calibration.pooled}" if calibration.pooled else ""
    return concise(calibration.ratio, error), f"{calibration.n_labels}{of}", missed


def _properties(run: LearningRun) -> Table:
    headers = ("iteration", "composition", "property", "status", "difference", "tolerance", "models", "why")
    rows = [
        [
            str(iteration.iteration),
            check.composition_id,
            check.name,
            check.status,
            concise(check.difference, check.difference_error) if check.difference is not None else "-",
            f"{check.tolerance:g}",
            _values(check.values),
            check.reason,
        ]
        for iteration in run.iterations
        for check in iteration.properties
    ]
    return _made(headers, (), rows)


def _values(values: Sequence[Measured | None]) -> str:
    units = {each.unit for each in values if each is not None} - {"1"}
    words = [concise(each.value, each.standard_error) if each is not None else "-" for each in values]
    return ", ".join(words) + (f" {units.pop()}" if len(units) == 1 else "")


def _quarantined(run: LearningRun) -> Iterator[str]:
    for iteration in run.iterations:
        for each in iteration.quarantined:
            where = f"{each.composition_id} {each.trajectory_id} label {each.index} of {each.shard[:_SHORT]}"
            yield f"iteration {iteration.iteration}: {where}: {each.reason}"
