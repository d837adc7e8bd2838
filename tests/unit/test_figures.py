"""Figures and the headline: what is drawn equals the results, nothing overlaps, nothing empty is drawn."""

import itertools
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
from ase.build import bulk
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from matplotlib.image import imread
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from uncertainties import ufloat_fromstr

from laoc_flows.analysis import Trajectory
from laoc_flows.analysis.structure.rdf import first_shell
from laoc_flows.analysis.suite import analyze
from laoc_flows.errors import InputError
from laoc_flows.report import figures
from laoc_flows.report.figure_chains import MAX_SINGLE, length_bins
from laoc_flows.report.figure_labels import (
    OTHER,
    common_types,
    element_color,
    number,
    type_color,
    type_text,
)
from laoc_flows.report.figure_msd import MAX_LAGS, shown_lags
from laoc_flows.report.figures import FIGURES, write_figures
from laoc_flows.report.headline import WIDTH, headline
from laoc_flows.report.style import DOUBLE, FONT, MAX_POINTS, SINGLE, averaged

DASH, SIGMA = "\N{EN DASH}", "\N{GREEK SMALL LETTER SIGMA}"
TETRAHEDRON = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)


def turn(angle):
    """Rotation about z."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def dimer(middle):
    """Al2OCl6 along x."""
    yield "O", middle
    for side in (1, -1):
        al = middle + np.array([1.7 * side, 0, 0])
        yield "Al", al
        for a in 2 * np.pi / 3 * np.arange(3):
            yield "Cl", al + 2.15 * np.array([0.33 * side, 0.94 * np.cos(a), 0.94 * np.sin(a)])


def tetrahedron(middle):
    """AlCl4."""
    yield "Al", middle
    for direction in TETRAHEDRON:
        yield "Cl", middle + 2.15 * direction


def folded(vectors):
    return vectors - 13.0 * np.rint(vectors / 13.0)


def walk(places, n_frames, rng):
    """Stay 2 to 5 ps at a place, then go to one nearby."""
    here = places[rng.integers(len(places))]
    steps = []
    while len(steps) < n_frames:
        steps += [here] * int(rng.integers(20, 50))
        gaps = folded(places - here)
        length = np.linalg.norm(gaps, axis=1)
        jump = gaps[rng.choice(np.flatnonzero((length > 2) & (length < 6)))]
        steps += [here + jump * f for f in (0.25, 0.5, 0.75)]
        here = here + jump
    return steps[:n_frames]


def glass(n_frames=160, *, dimers=True):
    """Make AlCl4, half of them replaced by Al2OCl6, in a box of 13 A; Li hop from one to the next, one AlCl4 turns."""
    rng = np.random.default_rng(7)
    corners = 13.0 * np.array([[0.5, 0.5, 0.5], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]])
    others = 13.0 * np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    units = [*(tetrahedron(c) for c in corners), *((dimer if dimers else tetrahedron)(c) for c in others)]
    species, base = zip(*itertools.chain(*units), strict=True)
    base = np.array(base)
    path = np.repeat(base[None], n_frames, axis=0)
    for t in range(n_frames):
        angle = np.pi / 2 * np.clip((t - n_frames // 2) / 8, 0, 1)
        path[t, 1:5] = base[0] + (base[1:5] - base[0]) @ turn(angle).T
    places = []
    for chlorine in base[[s == "Cl" for s in species]]:
        gaps = folded(base[[s == "Al" for s in species]] - chlorine)
        nearest = min(gaps, key=np.linalg.norm)
        places.append(chlorine - 2.4 * nearest / np.linalg.norm(nearest))
    n_li = species.count("Cl") + 2 * species.count("O") - 3 * species.count("Al")
    walks = np.array([walk(np.array(places), n_frames, rng) for _ in range(n_li)])
    positions = np.concatenate([path, walks.transpose(1, 0, 2)], axis=1)
    positions += 0.05 * rng.normal(size=positions.shape)
    return Trajectory((*species, *("Li",) * n_li), positions, 13.0 * np.eye(3), time_step=0.1)


CRYSTAL = bulk("LiCl", "rocksalt", a=5.13, cubic=True).repeat(3)


def rattled():
    """A rock salt of small vibrations, for the parts that need a crystal."""
    rng = np.random.default_rng(3)
    frames = []
    for _ in range(4):
        frame = CRYSTAL.copy()
        frame.positions += 0.3 * rng.normal(size=frame.positions.shape)
        frames.append(frame)
    return Trajectory.from_ase(frames, time_step=0.5)


@pytest.fixture(scope="module")
def full():
    return analyze(glass(), 300.0)


@pytest.fixture(scope="module")
def plain():
    return analyze(glass(120, dimers=False), 300.0)


@pytest.fixture(scope="module")
def salt():
    return analyze(rattled(), parts=("amorphisation",), crystal=CRYSTAL)


@pytest.fixture(scope="module")
def drawn(full, plain, salt):
    """Every figure of one analysis and of a crystal, and those of two that differ most, laid out."""
    found = {}
    side_by_side = {"chain_lengths", "msd", "msd_comparison", "hop_classes", "rotations", "pair_correlations"}
    for case, analyses in (("one", full), ("two", {"y = 0.3": full, "y = 0": plain}), ("salt", salt)):
        for name, draw in FIGURES.items():
            if case == "two" and name not in side_by_side:
                continue
            if (figure := draw(analyses)) is not None:
                figure.canvas.draw()
                found[case, name] = figure
    return found


def texts(figure):
    """Every visible text with its box on the canvas."""
    renderer = figure.canvas.get_renderer()
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text().strip():
            box = text.get_window_extent(renderer)
            if box.width and box.height:
                yield text, box


def shown_texts(figure):
    """The same without tick labels outside the limits, which are never drawn."""
    off = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            ticks = {id(tick) for tick in axis._update_ticks()} if axis.get_visible() else set()
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if id(tick) not in ticks:
                    off |= {id(tick.label1), id(tick.label2)}
    return [(text, box) for text, box in texts(figure) if id(text) not in off]


def bars(axes):
    return [p for p in axes.patches if isinstance(p, Rectangle)]


def labels(axes):
    return axes.get_xlabel(), axes.get_ylabel()


# --- what is drawn ----------------------------------------------------------------------------------------------


def test_every_figure_is_drawn_by_one_of_the_analyses(drawn):
    singles = {name for case, name in drawn if case != "two"}
    assert singles == set(FIGURES) - {"msd_comparison", "amorphisation_series"}
    assert ("two", "msd_comparison") in drawn


def test_axes_are_labelled_with_units(drawn):
    expected = {
        "chain_lengths": [
            ("Al in the chain", "share of chains (%)\nnumber-weighted"),
            ("Al in the chain", "share of Al (%)\nAl-weighted"),
        ],
        "chain_length_time": [
            ("time (ps)", "number-average length (Al)"),
            ("time (ps)", "weight-average length (Al)"),
            ("time (ps)", "isolated Al (%)"),
        ],
        "scattering": [("Q (Å⁻¹)", "S(Q)"), ("r (Å)", "G(r) (Å⁻²)")],
        "msd": [("lag time (ps)", "MSD (Å²)")] * 2,
        "angles": [
            ("angle at Al (°)", "angles per 4° (last frame)"),
            ("angle at the anion (°)", "angles per 10° (last frame)"),
        ],
    }
    for name, pairs in expected.items():
        assert [labels(axes) for axes in drawn["one", name].axes] == pairs


def test_every_axis_has_a_label_or_names_at_its_ticks(drawn):
    for (_, name), figure in drawn.items():
        for axes in figure.axes:
            for axis in (axes.xaxis, axes.yaxis):
                named = any(not _is_number(t.get_text()) for t in axis.get_ticklabels() if t.get_text())
                # In grids only the outer panels are labelled; a panel without names continues its neighbor's.
                inner = name == "pair_correlations" or not any(t.get_text() for t in axis.get_ticklabels())
                assert axis.get_label_text() or named or inner, (name, axis)


def _is_number(text):
    try:
        float(text.replace("\N{MINUS SIGN}", "-"))
    except ValueError:
        return False
    return True


def test_no_axes_are_empty(drawn):
    for (_, name), figure in drawn.items():
        assert all(axes.has_data() for axes in figure.axes), name


def test_widths_are_those_of_a_journal(drawn):
    for figure in drawn.values():
        panels = {axes.get_subplotspec().colspan.start for axes in figure.axes}
        assert figure.get_figwidth() == pytest.approx(SINGLE if len(panels) == 1 else DOUBLE)


def test_everything_lies_on_the_canvas(drawn):
    for (case, name), figure in drawn.items():
        box = figure.get_tightbbox(figure.canvas.get_renderer())
        width, height = figure.get_size_inches()
        assert box.x0 >= -0.01, (case, name)
        assert box.y0 >= -0.01, (case, name)
        assert box.x1 <= width + 0.01, (case, name)
        assert box.y1 <= height + 0.01, (case, name)


def test_no_text_overlaps_another_and_all_is_large_enough(drawn):
    for (case, name), figure in drawn.items():
        found = shown_texts(figure)
        assert min(text.get_fontsize() for text, _ in found) >= FONT, name
        for (a, box), (b, other) in itertools.combinations(found, 2):
            common = Bbox.intersection(box, other)
            # Boxes include room for descenders, which digits do not have.
            overlap = common is not None and min(common.width, common.height) > 1.5 * figure.dpi / 72
            assert not overlap, (case, name, a.get_text(), b.get_text())


# --- plotted numbers are those of the results -------------------------------------------------------------------


def test_chain_lengths_are_the_histograms(full, drawn):
    axes = drawn["one", "chain_lengths"].axes
    for panel, convention in zip(axes, ("number_histogram", "center_histogram"), strict=True):
        for container, chain in zip(_bar_containers(panel), full.survey.chains.values(), strict=True):
            histogram = getattr(chain, convention)
            heights = {round(bar.get_x() + 0.2 + 1): bar.get_height() / 100 for bar in container}
            for n, height in heights.items():
                assert height == pytest.approx(histogram[n].value if n in histogram else 0.0)
            errors = [s[1, 1] - s[0, 1] for s in container.errorbar.lines[2][0].get_segments()]
            wanted = [2 * (histogram[n].standard_error if n in histogram else 0.0) for n in sorted(heights)]
            assert np.array(errors) / 100 == pytest.approx(np.array(wanted))


def _bar_containers(axes):
    return [c for c in axes.containers if hasattr(c, "patches")]


def test_lengths_of_the_dimers_are_one_and_two(full, drawn):
    chains = full.survey.chains["bridge"]
    assert set(chains.center_histogram) == {1, 2}
    text = drawn["one", "chain_lengths"].axes[1].get_legend().get_texts()[1].get_text()
    assert text == "shared anion\nno percolation"


def test_percolating_chains_are_marked_and_long_ones_share_bars():
    crystal = Trajectory.from_ase([bulk("Al", "fcc", a=4.05, cubic=True).repeat(2)] * 3, time_step=1.0)
    found = analyze(crystal, parts=("survey",), chain_cutoff=3.0)
    axes = figures.chain_lengths(found).axes[1]
    distance = _bar_containers(axes)[0]
    ticks = [t.get_text() for t in axes.get_xticklabels()]
    assert ticks[-1] == f"25{DASH}48"
    assert distance[ticks.index(f"25{DASH}48")].get_height() == pytest.approx(100)
    text = axes.get_legend().get_texts()[0].get_text()
    assert "percolating: 100 % of Al" in text
    assert "3 dimensions" in text


@given(st.lists(st.integers(1, 5000), min_size=1, unique=True).map(sorted))
def test_bins_of_lengths_hold_every_length_once(sizes):
    bins = length_bins(tuple(sizes))
    assert bins[0][0] == 1
    assert all(low == high + 1 for (_, high), (low, _) in itertools.pairwise(bins))
    assert bins[-1][0] <= sizes[-1] <= bins[-1][1]
    assert len(bins) <= MAX_SINGLE


def test_chain_length_time_draws_raw_and_debounced(full, drawn):
    axes = drawn["one", "chain_length_time"].axes
    survey = full.survey
    wanted = [s.number_average_size for r in survey.chains for s in (survey.chains[r], survey.debounced[r])]
    for line, series in zip(axes[0].lines, wanted, strict=True):
        assert line.get_ydata() == pytest.approx(averaged(survey.time, series)[1])
    assert [t.get_text() for t in axes[2].get_legend().get_texts()][1] == "distance rule,\n0.5 ps debounced"


def test_tetrahedra_bars_are_the_averages(full, drawn):
    _, axes = drawn["one", "tetrahedra_time"].axes
    named = [label for label in full.survey.type_labels if full.survey.averages[label].value >= 0.01]
    assert [t.get_text() for t in axes.get_yticklabels()][: len(named)] == [type_text(s) for s in named]
    for bar, label in zip(bars(axes), named, strict=False):
        assert bar.get_width() == pytest.approx(100 * full.survey.averages[label].value)
    assert sum(bar.get_width() for bar in bars(axes)) == pytest.approx(100)


def test_hop_classes_are_the_shares_with_their_counts(full, drawn):
    bar_axes, heat = drawn["one", "hop_classes"].axes
    classes = full.hop_classes
    assert classes.n_hops > 5
    assert [bar.get_height() for bar in bars(bar_axes)] == pytest.approx(
        [100 * k.share.value for k in classes.classes]
    )
    assert [t.get_text() for t in bar_axes.texts] == [str(k.count) for k in classes.classes]
    for container, kind in zip(_bar_containers(bar_axes), classes.classes, strict=True):
        (segment,) = container.errorbar.lines[2][0].get_segments()
        assert segment[:, 1] / 100 == pytest.approx(np.array(kind.share.interval), abs=1e-9)
    assert bar_axes.get_xlabel().startswith(f"{classes.n_hops} hops with τ = 1 ps")
    for counts in full.hops.by_tau:
        assert f"{counts.n_hops}" in bar_axes.get_xlabel()
    assert np.array_equal(heat.images[0].get_array(), full.hop_matrix.counts)
    written = [int(t.get_text().splitlines()[0]) for t in heat.texts]
    assert written == full.hop_matrix.counts.ravel().tolist()


def test_enrichment_is_that_of_the_result(full, drawn):
    shares, ratios = drawn["one", "enrichment"].axes
    found = full.enrichment
    columns = [found.structure_share, found.neighbor_share, found.event_share]
    common, _ = common_types(found.labels, columns)
    containers = _bar_containers(shares)
    for container, column in zip(containers, columns, strict=True):
        widths = [bar.get_width() / 100 for bar in container]
        assert widths[: len(common)] == pytest.approx([column[k] for k in common])
        assert sum(widths) == pytest.approx(1)
    points = [c for c in ratios.containers if c.lines[0] is not None]
    positive = [k for k in common if found.enrichment[k]]
    assert [c.lines[0].get_xdata()[0] for c in points] == pytest.approx(
        [found.enrichment[k] for k in positive]
    )
    for container, k in zip(points, positive, strict=True):
        (segment,) = container.lines[2][0].get_segments()
        assert segment[:, 0] == pytest.approx(np.array(found.enrichment_interval[k]))


def test_rotations_are_those_of_the_result(full, drawn):
    figure = drawn["one", "rotations"]
    found = full.rotations["Cl"]
    assert found.n_events >= 4
    who, rate, kinds = figure.axes[-3:]
    names = [t.get_text() for t in who.get_yticklabels()]
    k = names.index("AlCl₄")
    of_type = next(t for t in found.by_type if t.label == "AlCl4")
    ligands, hosts = _bar_containers(who)
    assert (ligands[k].get_width(), hosts[k].get_width()) == (
        of_type.n_rotating_ligands,
        of_type.n_rotating_hosts,
    )
    point = rate.containers[k]
    assert point.lines[0].get_xdata()[0] == pytest.approx(of_type.rate.value)
    assert point.lines[2][0].get_segments()[0][:, 0] == pytest.approx(np.array(of_type.rate.interval))
    events, motions = _bar_containers(kinds)
    assert [b.get_width() for b in events] == list(found.events_by_kind.values())
    assert [b.get_width() for b in motions] == [found.motions_by_kind[kind] for kind in found.events_by_kind]


def test_a_ligand_that_never_turns_has_its_upper_bound_only(full, drawn):
    assert full.rotations["O"].n_events == 0
    figure = drawn["one", "rotations"]
    first = figure.axes[0]
    assert first.get_xlabel() == "per O (ns⁻¹), 95 % intervals"
    high = full.rotations["O"].by_type
    bound = next(t.rate.interval[1] for t in high if t.label == "AlOCl3")
    assert first.containers[0].lines[2][0].get_segments()[0][1, 0] == pytest.approx(bound)


def test_msd_curves_are_the_result(full, drawn):
    log, linear = drawn["one", "msd"].axes
    for k, (symbol, found) in enumerate(full.msd.items()):
        line = next(line for line in linear.lines if line.get_label().startswith(f"{symbol}:"))
        chosen = shown_lags(len(found.value))
        assert line.get_xdata() == pytest.approx(np.array(found.lag_time)[chosen])
        assert line.get_ydata() == pytest.approx(np.array(found.value)[chosen])
        assert line.get_color() == element_color(symbol)
        assert k < len(log.lines)
    assert (log.get_xscale(), log.get_yscale(), linear.get_xscale()) == ("log", "log", "linear")


def test_what_is_not_diffusive_says_so_in_the_figure(full, drawn):
    legend = [t.get_text() for t in drawn["one", "msd"].axes[1].get_legend().get_texts()]
    refused = {s: d for s, d in full.diffusion.items() if d.value is None}
    assert refused
    for symbol, found in refused.items():
        (entry,) = [t for t in legend if t.startswith(f"{symbol}:")]
        assert found.status in entry
        assert "=" not in entry


def test_the_line_of_a_quoted_d_has_its_slope():
    steps = np.random.default_rng(0).normal(size=(400, 60, 3))
    walk = Trajectory(("Li",) * 60, np.cumsum(steps, axis=0), 60 * np.eye(3), time_step=1.0)
    found = analyze(walk, parts=("msd", "diffusion"), drift="none")
    d = found.diffusion["Li"]
    assert d.status == "diffusive"
    linear = figures.msd(found).axes[1]
    dashed = next(line for line in linear.lines if line.get_linestyle() == "--" and len(line.get_xdata()))
    slope = np.diff(dashed.get_ydata()) / np.diff(dashed.get_xdata())
    assert slope / 6 * 1e-4 == pytest.approx([d.value])
    assert tuple(dashed.get_xdata()) == d.window
    entry = linear.get_legend().get_texts()[0].get_text()
    assert entry.startswith("Li: diffusive\nD = ")
    assert "10⁻" in entry


@given(st.integers(1, 200_000))
def test_lags_that_are_drawn(n):
    chosen = shown_lags(n)
    assert (chosen[0], chosen[-1]) == (0, n - 1)
    assert (np.diff(chosen) > 0).all()
    assert len(chosen) <= MAX_LAGS
    assert len(chosen) == n or len(chosen) > MAX_LAGS // 2


def test_comparison_has_one_panel_per_shared_element(full, plain):
    figure = figures.msd_comparison({"a": full, "b": plain})
    assert [axes.get_ylabel() for axes in figure.axes] == [
        f"MSD of {s} (Å²)" for s in full.msd if s in plain.msd
    ]
    assert figures.msd_comparison({"a": full}) is None


def test_pair_correlations_are_g_and_coordination(full, drawn):
    figure = drawn["one", "pair_correlations"]
    panels = [axes for axes in figure.axes if axes.texts]
    assert {axes.texts[0].get_text().replace(DASH, "-") for axes in panels} == set(full.pairs.partials)
    twins = {axes.get_subplotspec(): axes for axes in figure.axes if not axes.texts}
    for axes in panels:
        found = full.pairs.partials[axes.texts[0].get_text().replace(DASH, "-")]
        assert axes.lines[0].get_ydata() == pytest.approx(np.array(found.g))
        running = twins[axes.get_subplotspec()].lines[0]
        assert running.get_ydata() == pytest.approx(np.array(found.coordination))
        marks = sorted(line.get_xdata()[0] for line in axes.lines if list(line.get_ydata()) == [0, 1])
        wanted = [
            first_shell(found).minimum,
            {"Al-Al": 4.2, "Al-Cl": 2.8, "Al-O": 2.4}.get(f"{found.a}-{found.b}"),
        ]
        assert marks == pytest.approx(sorted(m for m in wanted if m is not None))


def test_scattering_is_s_of_q_and_g_of_r(full, drawn):
    s_axes, g_axes = drawn["one", "scattering"].axes
    for k, found in enumerate((full.neutron, full.xray)):
        assert s_axes.lines[k].get_ydata() == pytest.approx(found.total)
        assert g_axes.lines[2 * k].get_ydata() == pytest.approx(found.reduced_g)
        assert g_axes.lines[2 * k + 1].get_ydata() == pytest.approx(found.reduced_g_window)


def test_survival_is_kaplan_meier(full, drawn):
    dwell, bond, residual = drawn["one", "survival"].axes
    assert dwell.lines[0].get_ydata() == pytest.approx(full.dwell.survival)
    for k, found in enumerate(full.persistence.values()):
        assert bond.lines[2 * k].get_ydata() == pytest.approx(found.intermittent[1:])
        assert bond.lines[2 * k + 1].get_ydata() == pytest.approx(found.continuous[1:])
        assert residual.lines[k].get_ydata()[1:] == pytest.approx(found.residual.probability)


def test_network_figures_count_every_angle_and_ring(full, drawn):
    q = drawn["one", "network"].axes[0]
    assert [b.get_height() / 100 for b in bars(q)] == pytest.approx(
        [full.survey.averages[f"Q{n}"].value for n in range(full.survey.q_fractions.shape[1])]
    )
    for axes, kinds in zip(
        drawn["one", "angles"].axes, (full.network.center_angles, full.network.bridge_angles), strict=True
    ):
        counts = [patch.get_data().values.sum() for patch in axes.patches]
        assert counts == [len(a.value) for a in kinds.values() if len(a.value)]


def test_rings_are_drawn_where_there_are_any():
    square = Trajectory(
        ("Al", "Al", "Cl", "Cl"),
        [[[1.6, 0, 0], [-1.6, 0, 0], [0, 1.5, 0], [0, -1.5, 0]]],
        20 * np.eye(3),
        time_step=1.0,
    )
    found = analyze(square, parts=("network",))
    q, rings = figures.network(found).axes
    assert [b.get_height() for b in bars(q)] == [0, 0, 100]
    assert [b.get_height() for b in bars(rings)] == list(found.network.rings.counts.values())


def test_amorphisation_has_its_measures(salt):
    measures, bragg = figures.amorphisation(salt).axes
    found = salt.amorphisation
    wanted = [found.theta_s.value, found.theta_s_corrected, found.theta_g, found.crystal_site_fraction.value]
    widths = [b.get_width() / 100 for b in bars(measures)]
    assert widths == pytest.approx([w for w in wanted if w is not None])
    assert bragg.lines[1].get_ydata() == pytest.approx(found.amplitude)


# --- what must not be drawn -------------------------------------------------------------------------------------


def one_frame():
    return Trajectory.from_ase([CRYSTAL], time_step=1.0)


def varying_cell():
    frames = [CRYSTAL.copy() for _ in range(5)]
    for k, frame in enumerate(frames):
        frame.set_cell(frame.cell * (1 + 0.01 * k), scale_atoms=True)
    return Trajectory.from_ase(frames, time_step=1.0)


def without_carrier():
    run = glass(20)
    keep = [k for k, s in enumerate(run.species) if s != "Li"]
    return Trajectory(tuple(run.species[k] for k in keep), run.positions[:, keep], run.cells, time_step=0.1)


def lone_atom():
    return Trajectory(("Al",), np.zeros((3, 1, 3)), 10 * np.eye(3), time_step=1.0)


@pytest.mark.parametrize("make", [one_frame, varying_cell, without_carrier, lone_atom])
def test_odd_runs_give_figures_without_empty_axes_or_none(make):
    found = analyze(make(), 300.0)
    for name, draw in FIGURES.items():
        figure = draw(found)
        if figure is not None:
            assert figure.axes, name
            assert all(axes.has_data() for axes in figure.axes), name
    assert all(len(value) <= WIDTH for _, value in headline(found))


def test_nothing_is_drawn_of_nothing(full, tmp_path):
    empty = full.model_copy(
        update=dict.fromkeys(
            (
                "survey",
                "network",
                "pairs",
                "neutron",
                "xray",
                "hop_classes",
                "hop_matrix",
                "enrichment",
                "dwell",
            )
        )
        | {name: {} for name in ("msd", "windows", "diffusion", "persistence", "rotations")}
    )
    assert all(draw(empty) is None for draw in FIGURES.values())
    assert all(draw({}) is None for draw in FIGURES.values())
    assert write_figures(empty, tmp_path / "out") == []
    assert list((tmp_path / "out").iterdir()) == []


def test_no_hops_give_no_figure_of_hops():
    still = Trajectory(
        ("Al", "Cl", "Li"),
        np.repeat([[[2.0, 5, 5], [2, 7, 5], [2, 9, 5]]], 60, axis=0),
        12 * np.eye(3),
        time_step=0.1,
    )
    found = analyze(still, parts=("hops", "msd"), drift="none")
    assert found.hop_classes.n_hops == 0
    assert figures.hop_classes(found) is None
    assert figures.enrichment(found) is None
    assert figures.msd(found) is None


def test_other_roles_have_figures():
    directions = np.concatenate([[[0, 0, 0]], 2.05 * TETRAHEDRON, [[0, 0, 5.0]]])
    rng = np.random.default_rng(1)
    positions = 5 + directions + 0.05 * rng.normal(size=(30, 6, 3))
    run = Trajectory(("P", "S", "S", "S", "S", "Na"), positions, 11 * np.eye(3), time_step=0.1)
    found = analyze(
        run,
        parts=("survey", "pairs", "network"),
        center="P",
        ligands=("S",),
        carrier="Na",
        bond_cutoffs={"S": 2.6},
        chain_cutoff=4.0,
    )
    axes = figures.tetrahedra_time(found).axes[1]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["PS₄"]
    assert axes.get_xlabel() == "mean share of P (%)"
    assert ("CN(P)", "4.000(0): S 4.000(0)") in headline(found) or ("CN(P)", "4: S 4") in headline(found)


# --- files ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def some(full):
    """The analysis without what is slow to draw."""
    return full.model_copy(
        update={"survey": None, "neutron": None, "xray": None, "pairs": None, "dwell": None}
        | {"msd": {}, "rotations": {}, "persistence": {}}
    )


@pytest.fixture(scope="module")
def files(some, tmp_path_factory):
    return write_figures(some, tmp_path_factory.mktemp("figures"))


def test_files_have_the_same_bytes_whatever_the_session(some, files, tmp_path):
    with mpl.rc_context({"font.size": 20, "savefig.dpi": 10, "pdf.fonttype": 3, "savefig.bbox": "tight"}):
        again = write_figures(some, tmp_path / "made" / "again")
    assert [p.name for p in files] == [p.name for p in again]
    assert {p.stem for p in files} == {"angles", "network", "hop_classes", "enrichment"}
    for a, b in zip(files, again, strict=True):
        assert a.read_bytes() == b.read_bytes(), a.name


def test_pdf_fonts_are_embedded_as_truetype_and_png_has_200_dots_per_inch(files):
    for path in files:
        data = path.read_bytes()
        if path.suffix == ".pdf":
            assert b"/Type3" not in data
            assert b"/FontFile2" in data
            assert b"CreationDate" not in data
        else:
            assert imread(path).shape[1] in {int(200 * SINGLE), int(200 * DOUBLE)}


def test_an_unknown_format_is_refused(full, tmp_path):
    with pytest.raises(InputError, match="no figure format 'bmp'"):
        write_figures(full, tmp_path, formats=["bmp"])


def test_the_settings_of_the_session_are_left_alone(full):
    before = dict(mpl.rcParams)
    figures.hop_classes(full)
    assert dict(mpl.rcParams) == before


def test_pyplot_is_never_imported():
    code = "import sys; from laoc_flows.report import figures; print('matplotlib.pyplot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# --- labels -----------------------------------------------------------------------------------------------------


def test_colors_of_our_elements_and_types_differ():
    colors = [element_color(s) for s in ("Li", "Al", "O", "Cl")]
    assert len(set(colors)) == 4
    regular = ("AlCl4", "AlOCl3", "AlO2Cl2", "AlO3Cl", "AlO4")
    other = ("CN3:O0Cl3", "CN3:O1Cl2", "CN3:O2Cl1", "CN5:O0Cl5", "CN5:O1Cl4", OTHER)
    assert len({type_color(label, regular) for label in regular + other}) == len(regular + other)
    assert all(to_hex(type_color(label, regular)) == type_color(label, regular) for label in regular + other)


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=20)
    .filter(lambda s: sum(s) > 0)
    .map(lambda s: [v / sum(s) for v in s])
)
def test_every_type_is_common_rare_or_absent(shares):
    common, rare = common_types([str(k) for k in range(len(shares))], shares)
    assert not set(common) & set(rare)
    assert sum(shares[k] for k in common + rare) == pytest.approx(1)
    assert all(shares[k] < 0.01 for k in rare)


@given(st.integers(1, 3000))
def test_averages_keep_the_mean(n):
    values = np.random.default_rng(n).normal(size=(n, 2))
    time, mean, width = averaged(np.arange(n), values)
    assert len(time) == len(mean) <= MAX_POINTS
    sizes = np.array([len(values[k : k + width]) for k in range(0, n, width)])
    assert (mean * sizes[:, None]).sum(axis=0) == pytest.approx(values.sum(axis=0))
    assert width == 1 or n > MAX_POINTS


@given(
    st.floats(1e-12, 1e9).flatmap(lambda v: st.tuples(st.just(v), st.floats(1e-4, 0.9).map(lambda r: r * v))),
    st.sampled_from([1, -1]),
)
def test_numbers_can_be_read_back(pair, sign):
    value, error = sign * pair[0], pair[1]
    back = ufloat_fromstr(number(value, error))
    assert back.nominal_value == pytest.approx(value, abs=0.51 * error)
    assert back.std_dev == pytest.approx(error, rel=0.5)
    assert float(number(value)) == pytest.approx(value, rel=6e-3)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((3.236e-5, 2.3e-6), "3.24(23)e-5"),
        ((0.0, 0.0), "0"),
        ((12.0, None), "12"),
        ((1881.3, None), "1881"),
        ((2.5e-8, None), "2.50e-8"),
    ],
)
def test_numbers_are_written(arguments, text):
    assert number(*arguments) == text


def test_pretty_numbers_have_superscripts():
    assert number(3.236e-5, 2.3e-6, pretty=True) == "3.24(23)\N{MULTIPLICATION SIGN}10⁻⁵"


# --- the headline -----------------------------------------------------------------------------------------------


def test_headline_fits_and_names_everything(full):
    lines = headline(full)
    names = [name.strip() for name, _ in lines]
    assert all(len(name) <= 26 for name in names)
    assert all(len(value) <= WIDTH for _, value in lines)
    for name in ("cell", "CN(Al)", "tetrahedra", "links per Al", "isolated Al", "chain dimension", "D(Li)"):
        assert name in names
    for name in (
        f"first Al{DASH}Al peak",
        f"{SIGMA} Nernst-Einstein",
        f"{SIGMA} collective",
        "Haven ratio",
        "Cl rotations",
    ):
        assert name in names


def test_headline_has_the_numbers_of_the_results(full):
    lines = {name.strip(): value for name, value in headline(full)}
    assert lines["cell"] == "Al12Cl40Li6O4, 62 atoms, 2197 Å³, constant" or lines["cell"].endswith(
        "2197 Å³, constant"
    )
    assert lines["run"] == "160 frames, 15.9 ps, every 0.1 ps, 300 K"
    assert lines["links per Al"] == "0.333(0); λ = 0.333 if every Al had 4 bonds" or lines[
        "links per Al"
    ].startswith("0.333")
    assert lines[f"first Al{DASH}Al peak"].startswith(f"{first_shell(full.pairs.of('Al', 'Al')).peak:.2f} Å")
    assert lines["Li hops (τ = 1 ps)"].startswith(f"{full.hops.n_hops}, ")
    assert lines["intra-chain"].startswith(f"{full.hop_classes.classes[0].count}, ")
    assert lines["Cl rotations"].startswith(f"{full.rotations['Cl'].n_events} by ")


def test_headline_gives_status_and_reason_instead_of_a_number(full):
    lines = {name.strip(): value for name, value in headline(full)}
    for name, found in (("D(Al)", full.diffusion["Al"]), ("Haven ratio", full.haven)):
        assert found.value is None
        assert lines[name].startswith(found.status)


def test_headline_of_a_crystal_has_theta(salt):
    lines = dict(headline(salt))
    assert lines["amorphisation"].startswith("Θ_S = ")


def test_headline_of_an_empty_structure_says_so():
    found = analyze(one_frame(), parts=("survey", "hops", "rotations"))
    lines = dict(headline(found))
    assert lines["structure"] == "empty: there is no Al"
