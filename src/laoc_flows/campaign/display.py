"""The picture of a campaign's progress in a terminal, and in the lines of a log."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from laoc_flows.campaign.progress import STAGES, Progress, StageCount

_MINUTE = 60.0
_HOUR = 3600.0


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
    if progress.running:
        lines.append(Text("running: " + ", ".join(progress.running), style="cyan"))
    lines += [Text(f"failed: {name}: {reason}", style="red") for name, reason in progress.failed]
    return Group(table, *lines)


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
