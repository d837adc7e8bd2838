"""Figures of the network (angles, Q^n and rings) and of the degree of amorphisation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, MultipleLocator

from laoc_flows.analysis.disorder.amorphisation import AmorphisationResult
from laoc_flows.analysis.structure.network import Angles, NetworkResult
from laoc_flows.analysis.suite_results import Analysis
from laoc_flows.report.figure_labels import element_color, series_color
from laoc_flows.report.style import DARK, LIGHT, Analyses, Panel, Row, compose, legend, named

FEWEST = 3.0
"""Angles per bin of a histogram below which bins are merged."""

_DASH = "\N{EN DASH}"


def angles(analyses: Analyses) -> Figure | None:
    """Draw the angles at centers and at bridging anions, in the last frame.

    Parameters
    ----------
    analyses : Analysis or mapping of str to Analysis
        One analysis, or several by label, which become rows.

    Returns
    -------
    matplotlib.figure.Figure or None
        Histograms; bins are merged where angles are few. None without angles.

    Examples
    --------
    >>> from ase import Atoms
    >>> from laoc_flows.analysis import analyze
    >>> from laoc_flows.analysis import Trajectory
    >>> pair = Atoms("Al2Cl", [[2, 0, 0], [-2, 0, 0], [0, 1, 0]], cell=[20, 20, 20], pbc=True)
    >>> figure = angles(analyze(Trajectory.from_ase([pair], 1.0), parts=("network",)))
    >>> [axes.get_xlabel() for axes in figure.axes]
    ['angle at the anion (\u00b0)']
    """
    return compose([Row(label, _angle_panels(analysis)) for label, analysis in named(analyses).items()])


def network(analyses: Analyses) -> Figure | None:
    """Draw the shares of Q^n and the numbers of rings.

    Parameters
    ----------
    analyses : Analysis or mapping of str to Analysis
        One analysis, or several by label, which become rows.

    Returns
    -------
    matplotlib.figure.Figure or None
        Q^n averaged over the run where it was followed, else of the last frame; rings of the last frame, where it
        has any. None without centers.

    Examples
    --------
    >>> from ase import Atoms
    >>> from laoc_flows.analysis import analyze
    >>> from laoc_flows.analysis import Trajectory
    >>> pair = Atoms("Al2Cl", [[2, 0, 0], [-2, 0, 0], [0, 1, 0]], cell=[20, 20, 20], pbc=True)
    >>> figure = network(analyze(Trajectory.from_ase([pair], 1.0), parts=("network",)))
    >>> [float(bar.get_height()) for bar in figure.axes[0].patches]
    [0.0, 100.0]
    """
    return compose([Row(label, _network_panels(analysis)) for label, analysis in named(analyses).items()])


def amorphisation(analyses: Analyses) -> Figure | None:
    """Draw how far a run is from its crystal.

    Parameters
    ----------
    analyses : Analysis or mapping of str to Analysis
        One analysis, or several by label, which become rows.

    Returns
    -------
    matplotlib.figure.Figure or None
        The measures between crystal and glass, and |S(G)| of every Bragg vector. None where no crystal was given.

    Notes
    -----
    Compare J. Mater. Chem. A 13, 2309 (2025), Fig. S8.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from laoc_flows.analysis import analyze
    >>> from laoc_flows.analysis import Trajectory
    >>> salt = bulk("LiCl", "rocksalt", a=5.13, cubic=True).repeat(3)
    >>> run = Trajectory.from_ase([salt] * 2, time_step=1.0)
    >>> figure = amorphisation(analyze(run, parts=("amorphisation",), crystal=salt))
    >>> [axes.get_xlabel() for axes in figure.axes]
    ['share (%); 2 frames', '|G| (\u00c5\u207b\u00b9)']
    """
    rows = [Row(label, _amorphisation(analysis)) for label, analysis in named(analyses).items()]
    return compose(rows, widths=(1.0, 1.0))


def _angle_panels(analysis: Analysis) -> list[Panel]:
    found = analysis.network
    if found is None:
        return []
    panels: list[Panel] = []
    for kinds, where in ((found.center_angles, found.center), (found.bridge_angles, "the anion")):
        shown = {name: a for name, a in kinds.items() if len(a.value)}
        if shown:
            panels.append(_histogram(found, shown, where))
    return panels


def _histogram(found: NetworkResult, kinds: Mapping[str, Angles], where: str) -> Panel:
    def draw(axes: Axes) -> None:
        merged = _merging(found, kinds)
        edges = np.append(found.angle_edges[:-1:merged], found.angle_edges[-1])
        width = edges[1] - edges[0]
        for n, (name, angle) in enumerate(kinds.items()):
            counts = np.add.reduceat(angle.histogram, np.arange(0, len(angle.histogram), merged))
            symbols = set(name.split("-")) - {found.center}
            color = element_color(symbols.pop()) if len(symbols) == 1 else series_color(-1 - n)
            mean = f"{angle.mean:.0f}\u00b0" if angle.mean is not None else ""
            label = f"{name.replace('-', _DASH)}: {len(angle.value)},\nmean {mean}"
            axes.stairs(counts, edges, color=color, label=label, linewidth=1.0)
        axes.set_xlabel(f"angle at {where} (\u00b0)")
        axes.set_ylabel(f"angles per {width:g}\u00b0 (last frame)")
        low = min(float(a.value[0]) for a in kinds.values())
        axes.set_xlim(np.clip(low - 10, 0, 60), 180)
        axes.xaxis.set_major_locator(MultipleLocator(30))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        axes.set_ylim(bottom=0)
        legend(axes)

    return draw


def _merging(found: NetworkResult, kinds: Mapping[str, Angles]) -> int:
    """Return how many bins to merge for a histogram that is not all noise; 10 degrees at most."""
    width = float(found.angle_edges[1] - found.angle_edges[0])
    most = max(len(a.value) for a in kinds.values())
    for merged in (1, 2):
        # Angles spread over about a third of the half turn.
        if most / (60 / (merged * width)) >= FEWEST:
            return merged
    return max(int(10 / width), 1)


def _network_panels(analysis: Analysis) -> list[Panel]:
    found, survey = analysis.network, analysis.survey
    panels: list[Panel] = []
    if survey is not None and survey.status == "ok":
        measured = [survey.averages[f"Q{n}"] for n in range(survey.q_fractions.shape[1])]
        means = [m.value for m in measured]
        errors = [m.standard_error or 0.0 for m in measured]
        panels.append(lambda axes: _q(axes, survey.center, means, errors))
    elif found is not None and found.status == "ok":
        panels.append(lambda axes: _q(axes, found.center, list(found.q_fractions.values()), None))
    if found is not None and any(found.rings.counts.values()):
        panels.append(lambda axes: _rings(axes, found))
    return panels


def _q(axes: Axes, center: str, means: Sequence[float], errors: Sequence[float] | None) -> None:
    axes.bar(
        range(len(means)),
        [100 * mean for mean in means],
        0.7,
        yerr=None if errors is None else [100 * error for error in errors],
        color=element_color(center),
        error_kw={"elinewidth": 0.6, "capthick": 0.6},
    )
    axes.set_xticks(range(len(means)))
    axes.tick_params(axis="x", length=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel(f"n of Q\u207f, bonds of {center} to bridging anions")
    axes.set_ylabel(f"share of {center} (%)")


def _rings(axes: Axes, found: NetworkResult) -> None:
    counts = found.rings.counts
    axes.bar(list(counts), list(counts.values()), 0.7, color=DARK)
    axes.set_xticks(list(counts))
    axes.tick_params(axis="x", length=0)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axes.set_xlabel(f"{found.center} in the ring (2: shared edge)")
    axes.set_ylabel("rings per cell (last frame)")


def _amorphisation(analysis: Analysis) -> list[Panel]:
    found = analysis.amorphisation
    if found is None:
        return []
    bars = _measures(found)
    panels: list[Panel] = []
    if bars:

        def draw(axes: Axes) -> None:
            for y, (_, value, error) in enumerate(bars):
                axes.barh(
                    y, 100 * value, 0.6, xerr=100 * error, color=series_color(y), error_kw={"elinewidth": 0.6}
                )
            axes.set_yticks(range(len(bars)), [name for name, _, _ in bars])
            axes.set_ylim(len(bars) - 0.4, -0.6)
            axes.tick_params(axis="y", length=0)
            axes.axvline(0, color=DARK, linewidth=0.6)
            axes.set_xlim(right=105)
            status = "" if found.status == "ok" else f" ({found.status})"
            axes.set_xlabel(f"share (%); {found.n_frames} frames{status}")

        panels.append(draw)
    if len(found.q):
        panels.append(lambda axes: _bragg(axes, found))
    return panels


def _measures(found: AmorphisationResult) -> list[tuple[str, float, float]]:
    """Return name, value and standard error of what was measured."""
    theta, away = "\N{GREEK CAPITAL LETTER THETA}", found.displaced_fraction
    bars: list[tuple[str, float, float]] = []
    if found.theta_s is not None:
        bars.append((f"{theta}$_S$", found.theta_s.value, found.theta_s.standard_error or 0.0))
    if found.theta_s_corrected is not None:
        bars.append((f"{theta}$_S$, corrected", found.theta_s_corrected, 0.0))
    if found.theta_g is not None:
        bars.append((f"{theta}$_g$", found.theta_g, 0.0))
    if (site := found.crystal_site_fraction) is not None:
        bars.append((f"{found.carrier} in crystal sites", site.value, site.standard_error or 0.0))
    if away is not None:
        name = f"{found.center} > {found.displacement:g} \u00c5 away"
        bars.append((name, away.value, away.standard_error or 0.0))
    return bars


def _bragg(axes: Axes, found: AmorphisationResult) -> None:
    for name, column, color, marker in (
        ("crystal", found.crystal_amplitude, LIGHT, "s"),
        ("run", found.amplitude, series_color(0), "o"),
    ):
        if len(column):
            axes.plot(found.q, column, marker, color=color, label=name)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("|G| (\u00c5\u207b\u00b9)")
    axes.set_ylabel("|S(G)| per atom")
    legend(axes)
