"""The picture of a campaign's progress in a terminal, and in the lines of a log."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from laoc_flows.campaign.causes import cause_of
from laoc_flows.campaign.cost import Cost, planned
from laoc_flows.campaign.plan import CampaignPlan
from laoc_flows.campaign.progress import Progress, StageCount
from laoc_flows.campaign.queues.base import STAGES, QueuedJob, State
from laoc_flows.campaign.submissions import Submission

_MINUTE = 60.0
_HOUR = 3600.0
_MOST_NAMES = 6
_MOST_LOGS = 3
_LAST_LINES = 15
_TAIL = 20_000  # B
_LOGS = ("custodian.json", "queue.err", "queue.out", "*.error", "*.out", "*.log")


def duration(seconds: float) -> str:
    """A duration in words: '40 s', '12 min', '3.5 h'."""
    if seconds < _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    return f"{seconds / _HOUR:.1f} h"


def picture(progress: Progress, elapsed: float | None = None) -> RenderableType:
    """Table of compositions by stage, and what the learning loop has reached.

    Parameters
    ----------
    progress : Progress
        State of the campaign.
    elapsed : float, optional
        Time since the start of this run [s].
    """
    table = Table(title=progress.campaign_id, title_justify="left")
    table.add_column("composition")
    for stage in STAGES:
        table.add_column(stage, justify="right")
    for composition in sorted({name for name, _ in progress.cells}, key=lambda name: (name == "", name)):
        cells = [_cell(progress.cells.get((composition, stage))) for stage in STAGES]
        table.add_row(composition or "all together", *cells)
    lines = [Text(summary(progress, elapsed))]
    lines += _running(progress.running)
    lines += [
        Text(f"failed: {job.name} ({job.id}), {cause_of(job).value}: {job.reason}", style="red")
        for job in progress.failed
    ]
    return Group(table, *lines)


def _running(jobs: Sequence[QueuedJob]) -> list[Text]:
    """What runs where, a line for each place."""
    places: dict[str, list[str]] = {}
    for job in sorted(jobs, key=lambda job: -(job.seconds or 0.0)):
        place = f"{job.worker} on {job.host}" if job.host and job.host not in job.worker else job.worker
        since = f" {duration(job.seconds)}" if job.seconds is not None else f" {job.native.lower()}"
        places.setdefault(place, []).append(job.name + since)
    lines = []
    for place, names in sorted(places.items()):
        more = f", and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        lines.append(Text(f"{place}: {', '.join(names[:_MOST_NAMES])}{more}", style="cyan"))
    return lines


def details(job: QueuedJob) -> RenderableType:
    """All that is known of a job, with the last lines of what it has written."""
    rows = [
        ("job", f"{job.id}, {job.uuid}"),
        ("name", job.name),
        ("state", job.native),
        ("worker", f"{job.worker} {job.host}".strip()),
        ("number in the queue", job.queue_id),
        ("directory", job.directory),
        ("began", f"{job.started:%Y-%m-%d %H:%M:%S} UTC" if job.started else ""),
        ("took", duration(job.seconds) if job.seconds is not None else ""),
    ]
    if job.state is State.FAILED:
        rows.append(("cause", cause_of(job).value))
    lines = [Text(f"{name}: {value}") for name, value in rows if value]
    if job.trace:
        lines += [Text(""), Text(job.trace.rstrip(), style="red")]
    for path, tail in last_words(Path(job.directory) if job.directory else None):
        lines += [Text(""), Text(f"{path}:", style="bold"), Text(tail)]
    return Group(*lines)


def last_words(directory: Path | None) -> list[tuple[Path, str]]:
    """Last lines of the logs of a job, where they can be read here; the newest first."""
    if directory is None or not directory.is_dir():
        return []
    found = []
    logs = [path for pattern in _LOGS for path in directory.glob(pattern) if path.is_file()]
    for path in sorted(logs, key=lambda path: -path.stat().st_mtime)[:_MOST_LOGS]:
        with path.open("rb") as handle:
            handle.seek(max(0, path.stat().st_size - _TAIL))
            lines = handle.read().decode(errors="replace").splitlines()[-_LAST_LINES:]
        if any(line.strip() for line in lines):
            found.append((path, "\n".join(lines)))
    return found


def overview(rows: Sequence[tuple[Submission, Progress]]) -> RenderableType:
    """Table of the campaigns of a store."""
    table = Table(title="campaigns", title_justify="left")
    for name in ("campaign", "queue", "submitted"):
        table.add_column(name)
    for name in ("jobs", "running", "failed", "labels", "iteration"):
        table.add_column(name, justify="right")
    table.add_column("verdict")
    for submission, progress in rows:
        total = progress.total
        table.add_row(
            submission.campaign_id,
            submission.queue,
            f"{submission.at.astimezone():%Y-%m-%d %H:%M}",
            Text(f"{total.done}/{total.known}", style="green" if progress.finished else ""),
            str(total.running or ""),
            Text(str(total.failed or ""), style="red"),
            str(progress.labels),
            "" if progress.iteration is None else str(progress.iteration),
            progress.verdict,
        )
    return table


def bill(costs: Sequence[Cost], plan: CampaignPlan | None) -> RenderableType:
    """Table of what a campaign has cost."""
    table = Table(title="cost so far", title_justify="left")
    table.add_column("stage")
    table.add_column("composition")
    for name in ("runs", "planned", "core hours", "wall hours", "lost runs", "lost core hours"):
        table.add_column(name, justify="right")
    total = Cost("all")
    for stage in dict.fromkeys(cost.stage for cost in costs):
        mine = [cost for cost in costs if cost.stage == stage]
        for cost in mine:
            table.add_row(*_bill_row(cost, "" if len(mine) > 1 or plan is None else planned(plan, stage)))
        if len(mine) > 1:
            table.add_row(
                *_bill_row(_sum(mine, stage), planned(plan, stage) if plan else ""), end_section=True
            )
        total = _sum([total, *mine], "all")
    table.add_row(*_bill_row(total, ""), style="bold")
    return table


def _sum(costs: Sequence[Cost], stage: str) -> Cost:
    return Cost(
        stage,
        "all" if stage != "all" else "",
        sum(c.runs for c in costs),
        sum(c.core_hours for c in costs),
        sum(c.wall_hours for c in costs),
        sum(c.lost_runs for c in costs),
        sum(c.lost_core_hours for c in costs),
    )


def _bill_row(cost: Cost, expected: str) -> tuple[str, ...]:
    return (
        cost.stage,
        cost.composition or ("all together" if cost.stage != "all" else ""),
        str(cost.runs),
        expected,
        f"{cost.core_hours:.3f}",
        f"{cost.wall_hours:.3f}",
        str(cost.lost_runs or ""),
        f"{cost.lost_core_hours:.3f}" if cost.lost_runs else "",
    )


def _cell(count: StageCount | None) -> Text:
    if count is None:
        return Text("")
    text = Text(f"{count.done}/{count.known}", style="green" if count.done == count.known else "")
    if count.running:
        text.append(f" +{count.running}", style="cyan")
    if count.failed:
        text.append(f" !{count.failed}", style="red")
    return text


def summary(progress: Progress, elapsed: float | None = None) -> str:
    """The state in one line."""
    total = progress.total
    parts = [f"jobs {total.done}/{total.known}", f"labels {progress.labels}"]
    if progress.iteration is not None:
        parts.append(f"iteration {progress.iteration}: {progress.verdict}")
    if progress.force_rmse is not None:
        parts.append(f"held-out force RMSE <= {progress.force_rmse:.3f} eV/A")
    if progress.deviation is not None:
        parts.append(f"deviation <= {progress.deviation:.2f} eV/A")
    if elapsed is not None:
        parts.append(f"{duration(elapsed)} so far")
    if progress.time_left is not None and not progress.finished:
        untimed = f" without {', '.join(progress.untimed)}" if progress.untimed else ""
        parts.append(f"about {duration(progress.time_left)} left{untimed}")
    if progress.failed:
        parts.append(f"{len(progress.failed)} failed")
    return ", ".join(parts)
