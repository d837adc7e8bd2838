"""Figures of pair correlations in real and reciprocal space."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from laoc_flows.analysis.scattering.structure_factor import StructureFactorResult
from laoc_flows.analysis.structure.rdf import RdfResult, first_shell
from laoc_flows.analysis.suite_results import Analysis, System
from laoc_flows.report.figure_labels import series_color
from laoc_flows.report.style import DARK, LIGHT, Analyses, Panel, Row, compose, frame_axes, legend, named

N_COLUMNS = 3
WEIGHT_COLORS = {"neutron": "#0072b2", "xray": "#d55e00"}
_WEIGHT_NAMES = {"neutron": "neutrons", "xray": "X-rays"}
_DASH = "\N{EN DASH}"
_R = "r (\u00c5)"


def pair_correlations(analyses: Analyses) -> Figure | None:
    """Draw every partial g(r) with its running coordination number.

    Parameters
    ----------
    analyses : Analysis or mapping of str to Analysis
        One analysis, or several by label, which share the panels.

    Returns
    -------
    matplotlib.figure.Figure or None
        One panel per pair of elements, with bands of one standard error. The first minimum and the cutoffs of the
        analysis are marked where a single analysis is drawn. None without pairs.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from laoc_flows.analysis import analyze
    >>> from laoc_flows.analysis import Trajectory
    >>> run = Trajectory.from_ase([bulk("LiCl", "rocksalt", a=5.13, cubic=True)], time_step=1.0)
    >>> figure = pair_correlations(analyze(run, parts=("pairs",)))
    >>> [axes.texts[0].get_text().encode("ascii", "replace").decode() for axes in figure.axes[::2]]
    ['Cl?Cl', 'Cl?Li', 'Li?Li']
    """
    every = {label: a for label, a in named(analyses).items() if a.pairs is not None}
    pairs: dict[str, list[tuple[int, RdfResult]]] = {}
    for n, analysis in enumerate(every.values()):
        for name, found in analysis.pairs.partials.items() if analysis.pairs is not None else ():
            if found.status == "ok":
                pairs.setdefault(name, []).append((n, found))
    system = next(iter(every.values())).system if len(every) == 1 else None
    panels = [_pair(name, found, system, k, len(pairs)) for k, (name, found) in enumerate(pairs.items())]
    rows = [Row("", panels[k : k + N_COLUMNS]) for k in range(0, len(panels), N_COLUMNS)]
    return compose(rows, height=3.7, above=_key(list(every), marked=system is not None))


def scattering(analyses: Analyses) -> Figure | None:
    """Draw the total S(Q) and G(r) for neutrons and X-rays.

    Parameters
    ----------
    analyses : Analysis or mapping of str to Analysis
        One analysis, or several by label, which become rows.

    Returns
    -------
    matplotlib.figure.Figure or None
        S(Q) with bands of one standard error; G(r) as a measurement up to the largest Q shows it, and thin as it is.
        None without either.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from laoc_flows.analysis import analyze
    >>> from laoc_flows.analysis import Trajectory
    >>> run = Trajectory.from_ase([bulk("LiCl", "rocksalt", a=5.13, cubic=True)], time_step=1.0)
    >>> figure = scattering(analyze(run, parts=("scattering",)))
    >>> [axes.get_ylabel().split()[0] for axes in figure.axes]
    ['S(Q)', 'G(r)']
    """
    return compose([Row(label, _scattering(analysis)) for label, analysis in named(analyses).items()])


def _key(labels: list[str], *, marked: bool) -> list[Line2D | Patch]:
    if marked:
        return [
            Line2D([], [], color=series_color(0), label="g(r)"),
            Line2D([], [], color=series_color(0), linestyle="--", linewidth=0.8, label="coordination number"),
            Line2D([], [], color=DARK, linestyle=":", linewidth=0.8, label="first minimum"),
            Line2D([], [], color="#d55e00", linewidth=0.8, label="cutoff"),
        ]
    runs = [Line2D([], [], color=series_color(n), label=label) for n, label in enumerate(labels)]
    return [*runs, Line2D([], [], color=DARK, linestyle="--", linewidth=0.8, label="coordination number")]


def _cutoff(a: str, b: str, system: System) -> float | None:
    """Return the cutoff that the analysis uses for a pair [A]."""
    if a == b == system.center:
        return system.chain_cutoff
    if system.center in {a, b}:
        return system.bond_cutoffs.get(b if a == system.center else a)
    return None


def _pair(
    name: str, curves: list[tuple[int, RdfResult]], system: System | None, place: int, n_panels: int
) -> Panel:
    def draw(axes: Axes) -> None:
        twin = axes.twinx()
        frame_axes(twin)
        top = []
        for n, found in curves:
            color, g = series_color(n), np.array(found.g)
            if found.g_error:
                error = np.array(found.g_error)
                axes.fill_between(found.r, g - error, g + error, color=color, alpha=0.3, linewidth=0)
            axes.plot(found.r, g, color=color)
            twin.plot(found.edges, found.coordination, color=color, linestyle="--", linewidth=0.8)
            shell = first_shell(found)
            at = shell.minimum if shell.minimum is not None else found.edges[-1]
            top.append(2.5 * float(np.interp(at, found.edges, found.coordination)))
            if system is not None:
                if shell.minimum is not None:
                    axes.axvline(shell.minimum, color=DARK, linestyle=":", linewidth=0.8)
                if (cutoff := _cutoff(found.a, found.b, system)) is not None:
                    axes.axvline(cutoff, color="#d55e00", linewidth=0.8)
        axes.axhline(1, color=LIGHT, linewidth=0.6, zorder=0)
        axes.set_ylim(bottom=0)
        twin.set_ylim(0, max(*top, 1.0))
        axes.set_xlim(0, curves[0][1].edges[-1])
        # Atoms are never that close: the corner is free.
        axes.text(0.03, 0.95, name.replace("-", _DASH), transform=axes.transAxes, va="top")
        axes.set_xlabel(_R if place + N_COLUMNS >= n_panels else "")
        axes.set_ylabel("g(r)" if place % N_COLUMNS == 0 else "")
        last = place % N_COLUMNS == N_COLUMNS - 1 or place == n_panels - 1
        twin.set_ylabel("coordination number" if last else "")

    return draw


def _scattering(analysis: Analysis) -> list[Panel]:
    found = {kind: f for kind in WEIGHT_COLORS if (f := getattr(analysis, kind)) is not None}
    if not found:
        return []
    return [lambda axes: _s_of_q(axes, found), lambda axes: _g_of_r(axes, found)]


def _s_of_q(axes: Axes, found: dict[str, StructureFactorResult]) -> None:
    for kind, f in found.items():
        color = WEIGHT_COLORS[kind]
        if len(f.total_error):
            low, high = f.total - f.total_error, f.total + f.total_error
            axes.fill_between(f.q, low, high, color=color, alpha=0.25, linewidth=0)
        axes.plot(f.q, f.total, color=color)
    axes.axhline(1, color=LIGHT, linewidth=0.6, zorder=0)
    axes.set_xlim(0, max(f.q_max for f in found.values()))
    axes.set_xlabel("Q (\u00c5\u207b\u00b9)")
    axes.set_ylabel("S(Q)")


def _g_of_r(axes: Axes, found: dict[str, StructureFactorResult]) -> None:
    for kind, f in found.items():
        color = WEIGHT_COLORS[kind]
        name = _WEIGHT_NAMES[kind]
        axes.plot(f.r, f.reduced_g, color=color, linewidth=0.5, alpha=0.6, label=f"{name},\nfrom g(r)")
        axes.plot(f.r, f.reduced_g_window, color=color, label=f"{name},\nQ < {f.q_max:g} \u00c5\u207b\u00b9")
    axes.axhline(0, color=LIGHT, linewidth=0.6, zorder=0)
    axes.set_xlim(0, max(float(f.r[-1]) for f in found.values()))
    axes.set_xlabel(_R)
    axes.set_ylabel("G(r) (\u00c5\u207b\u00b2)")
    legend(axes)
