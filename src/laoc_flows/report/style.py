"""How figures look: sizes, fonts, colors, and what every figure does alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import matplotlib.style
import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from laoc_flows.analysis.suite_results import Analysis
from laoc_flows.analysis.trajectories.frame import FloatArray

Analyses: TypeAlias = Analysis | Mapping[str, Analysis]
Panel: TypeAlias = Callable[[Axes], None]

SINGLE = 8.5 / 2.54
"""Width of one column of a journal [inch]."""
DOUBLE = 17.5 / 2.54
"""Width of both columns [inch]."""
FONT = 7.0
"""Smallest size of letters [pt]."""
LIGHT = "#bbbbbb"
DARK = "#333333"
DPI = 200
FORMATS: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None},
    "svg": {"Date": None},
}
"""Formats of files, each to the metadata that leave out what changes from one day to the next."""
MAX_POINTS = 250
"""Most points of one curve."""

_WIDE = 30.0
_KEY = 0.8

_RC = {
    "font.size": FONT,
    "axes.labelsize": FONT,
    "axes.titlesize": FONT,
    "xtick.labelsize": FONT,
    "ytick.labelsize": FONT,
    "legend.fontsize": FONT,
    "legend.title_fontsize": FONT,
    "legend.frameon": False,
    "legend.handlelength": 1.5,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.0,
    "lines.markersize": 3.5,
    "errorbar.capsize": 1.5,
    "hatch.linewidth": 0.5,
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.hashsalt": "laoc-flows",
}
_TICKS: dict[str, Any] = {"direction": "in", "width": 0.6, "labelsize": FONT}


class Row(NamedTuple):
    """Panels side by side.

    Parameters
    ----------
    label : str
        Written above the first panel; empty for none.
    panels : sequence of callables
        Each draws into the axes it is given; from left to right; a row without any is left out.
    """

    label: str
    panels: Sequence[Panel]


def named(analyses: Analyses) -> dict[str, Analysis]:
    """Return analyses by their labels.

    Parameters
    ----------
    analyses : Analysis or mapping of str to Analysis
        One analysis, or several by label.

    Returns
    -------
    dict of str to Analysis
        A single analysis has an empty label, which is not written.

    Examples
    --------
    >>> from laoc_flows.analysis import analyze
    >>> from laoc_flows.analysis import Trajectory
    >>> argon = Trajectory(("Ar",), [[[0, 0, 0]]], [[5, 0, 0], [0, 5, 0], [0, 0, 5]], time_step=1.0)
    >>> list(named(analyze(argon, parts=()))), list(named({"gas": analyze(argon, parts=())}))
    ([''], ['gas'])
    """
    return {"": analyses} if isinstance(analyses, Analysis) else dict(analyses)


def compose(
    rows: Sequence[Row],
    *,
    widths: Sequence[float] = (),
    height: float = 5.0,
    above: Sequence[Artist] = (),
) -> Figure | None:
    """Draw rows of panels as one figure, whatever the style of the session.

    Parameters
    ----------
    rows : sequence of Row
        From top to bottom.
    widths : sequence of float, optional
        Relative widths of the columns; equal by default.
    height : float, default 5.0
        Height of a row [cm].
    above : sequence of artists, optional
        Handles of a legend above all panels.

    Returns
    -------
    matplotlib.figure.Figure or None
        A single panel is as wide as one column of a journal, all else as wide as two; None without panels.

    Examples
    --------
    >>> figure = compose([Row("", [lambda axes: axes.set_xlabel("time (ps)")])])
    >>> round(float(figure.get_figwidth() * 2.54), 1), compose([]) is None
    (8.5, True)
    """
    rows = [row for row in rows if row.panels]
    if not rows:
        return None
    n_columns = max(len(row.panels) for row in rows)
    with matplotlib.style.context(["default", _RC]):
        total = len(rows) * height + (_KEY if above else 0.0)
        size = (SINGLE if n_columns == 1 else DOUBLE, total / 2.54)
        layout = ConstrainedLayoutEngine(w_pad=0.04, h_pad=0.04, wspace=0.03, hspace=0.03)
        figure = Figure(figsize=size, layout=layout)
        FigureCanvasAgg(figure)
        ratios = list(widths[:n_columns]) or [1.0] * n_columns
        grid = figure.add_gridspec(len(rows), n_columns, width_ratios=ratios)
        for r, row in enumerate(rows):
            for c, panel in enumerate(row.panels):
                axes = figure.add_subplot(grid[r, c])
                frame_axes(axes)
                panel(axes)
                if row.label and c == 0:
                    axes.set_title(row.label, loc="left", fontweight="bold")
        if above:
            figure.legend(handles=list(above), loc="outside upper center", ncols=min(len(above), 4))
        # The size is that of a journal for good: laid out once, not again for every format.
        layout.execute(figure)
        figure.set_layout_engine("none")
    return figure


def frame_axes(axes: Axes) -> None:
    """Give axes our ticks.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        The axes.
    """
    # Numbers of ticks that depend on the size of the axes make the layout oscillate.
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
    # Explicit, because matplotlib makes ticks only when it draws, in the style of that moment.
    axes.tick_params(which="major", length=3, **_TICKS)
    axes.tick_params(which="minor", length=1.5, **_TICKS)


def legend(axes: Axes, title: str | None = None, handles: Sequence[Artist] | None = None) -> None:
    """Put a legend to the right of the axes, where no data are.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        The axes.
    title : str, optional
        Lines above the entries.
    handles : sequence of artists, optional
        What to list; all that have a label by default.
    """
    options: dict[str, Any] = {} if handles is None else {"handles": list(handles)}
    made = axes.legend(
        loc="upper left", bbox_to_anchor=(1.02, 1.0), borderaxespad=0.0, title=title, **options
    )
    made.set_alignment("left")


def log_axis(axes: Axes, which: str) -> None:
    """Make one axis logarithmic once its data are drawn, with plain numbers at its ticks.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        The axes.
    which : {"x", "y"}
        The axis.
    """
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(numticks=8, subs=(1.0, 2.0, 5.0) if high < _WIDE * low else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def averaged(time: npt.ArrayLike, values: npt.ArrayLike) -> tuple[FloatArray, FloatArray, int]:
    """Average a long series over blocks, so that a figure of it stays readable and small.

    Parameters
    ----------
    time : array_like, shape (n,)
        Times.
    values : array_like, shape (n,) or (n, m)
        The series.

    Returns
    -------
    time, values : ndarray
        Means over blocks, at most `MAX_POINTS`; the last block may be shorter.
    width : int
        Samples in a block; 1 when the series is short and nothing was averaged.

    Examples
    --------
    >>> time, values, width = averaged(range(1000), range(1000))
    >>> len(time), width, float(values[0])
    (250, 4, 1.5)
    """
    t, v = np.asarray(time, dtype=np.float64), np.asarray(values, dtype=np.float64)
    width = max(-(-t.size // MAX_POINTS), 1)
    starts = np.arange(0, t.size, width)
    sizes = np.diff(np.append(starts, t.size))
    mean = np.add.reduceat(v, starts, axis=0) / sizes.reshape(-1, *[1] * (v.ndim - 1))
    return np.add.reduceat(t, starts) / sizes, mean, width


def time_label(time: FloatArray, width: int) -> str:
    """Name the axis of the time, and over what a series was averaged.

    Parameters
    ----------
    time : ndarray
        Times of the samples [ps].
    width : int
        Samples in a block, from `averaged`.

    Returns
    -------
    str
        The label.

    Examples
    --------
    >>> time_label(np.array([0.0, 0.5]), 4)
    'time (ps), means over 2 ps'
    """
    return "time (ps)" if width == 1 else f"time (ps), means over {width * (time[1] - time[0]):.3g} ps"


def write(figure: Figure, path: Path, kind: str) -> None:
    """Write a figure with the same bytes every time.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        The figure.
    path : Path
        The file.
    kind : {"png", "pdf", "svg"}
        Its format.
    """
    with matplotlib.style.context(["default", _RC]):
        figure.savefig(path, format=kind, dpi=DPI, metadata=FORMATS[kind])
