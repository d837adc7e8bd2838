"""Figures and tables of a learning loop: what is drawn and printed is what its documents say, and nothing else."""

import io
import itertools
import json

import numpy as np
import pytest
from jobflow import JobStore
from maggma.stores import MemoryStore
from matplotlib.colors import same_color, to_hex
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from rich.console import Console
from typer.testing import CliRunner

from laoc_flows.blobs import BlobRef, put_blob
from laoc_flows.cli.learning import print_learning
from laoc_flows.cli.main import app
from laoc_flows.errors import InputError, QueryError, ServiceError
from laoc_flows.learning.calibration import ENOUGH, LabelError, calibrate
from laoc_flows.report.figure_calibration import MAX_PANELS, calibration, strata
from laoc_flows.report.figure_learning import MAX_NAMED, dodge, learning_progress, palette
from laoc_flows.report.figure_training import MAX_PARITY, parity, training_curves
from laoc_flows.report.figures import LEARNING_FIGURES, write_learning_figures
from laoc_flows.report.style import DARK, FONT, LIGHT
from laoc_flows.schemas.base import Measured
from laoc_flows.schemas.iteration import (
    IterationDocument,
    PropertyCheck,
    Spent,
    Stratum,
    StratumReport,
    Verdict,
)
from laoc_flows.schemas.learning import Learning, Targets
from laoc_flows.schemas.potential import (
    FitError,
    HeldOutError,
    PotentialDocument,
    Suspect,
    TrainedModel,
    TrainingAttempt,
    TrainingStatus,
)
from laoc_flows.schemas.protocol import SoftCore
from laoc_flows.store.laoc_store import LaocStore
from laoc_flows.store.learning import LearningRun, find_campaign, learning_run, with_blobs
from laoc_flows.store.workspace import Workspace

A, B = "x1.000-y0.000", "x1.000-y0.500"
TEMPERATURES = (1500.0, 900.0, 400.0)
CAMPAIGN = "mine-0123456789ab"
BLOB = BlobRef(sha256="0" * 64, size=1, media_type="x/y")
SETTINGS = Learning()
GOOD = TrainingAttempt(status=TrainingStatus.COMPLETED, start_lr=1e-3)


def report(name, temperature, share, **more):
    """Stratum of 200 frames."""
    counts = {"n_candidates": round(200 * share), "n_failed": 0, "n_cut": 0, "n_selected": 7} | more
    return StratumReport(
        composition_id=name,
        temperature=temperature,
        n_frames=200,
        n_accurate=200 - counts["n_candidates"] - counts["n_failed"] - counts["n_cut"],
        trust_low=0.05,
        trust_high=0.5,
        median_deviation=0.03,
        max_deviation=0.2,
        **counts,
    )


def model(key, **more):
    return TrainedModel(
        key=key,
        campaign_id=CAMPAIGN,
        dataset_digest="d",
        seed=1,
        iteration=0,
        model=BLOB,
        n_train=10,
        n_left_out=0,
        steps=1000,
        sel=(1, 1, 1, 1),
        final_force_loss=0.1,
        parity_force=0.0,
        parity_energy=0.0,
        versions={},
        **{"attempts": (GOOD,), **more},
    )


def potential(n, errors, models=(), **more):
    held = {
        name: HeldOutError(
            n_frames=10,
            n_trajectories=1,
            force_rmse=force,
            force_rmse_error=0.1 * force,
            zero_force_rmse=0.8,
            energy_rmse=force / 20,
            energy_rmse_error=None,
            energy_bias=0.0,
            stress_rmse=0.1,
        )
        for name, force in errors.items()
    }
    return PotentialDocument(
        key=f"potential-{n}",
        campaign_id=CAMPAIGN,
        iteration=n,
        level_of_theory="xtb",
        models=tuple(models),
        soft_core=SoftCore(),
        dataset_digest="d",
        n_train=20 * (n + 1),
        n_test=10,
        held_out=held,
        fitted={
            name: FitError(n_frames=20, force_rmse=force / 2, energy_rmse=force / 40)
            for name, force in errors.items()
        },
        parent=None,
        **more,
    )


def iteration(n, reports=(), **more):
    fields = {
        "verdict": Verdict.CONTINUE,
        "reasons": (),
        "worst_force_rmse": None,
        "n_train": 20 * (n + 1),
        "n_selected": 15,
        "potential_key": f"potential-{n}",
    } | more
    return IterationDocument(
        key=f"iteration-{n}", campaign_id=CAMPAIGN, iteration=n, strata=tuple(reports), **fields
    )


def label(name, deviation, rmse, *, temperature=900.0, agreed=False, source="selected"):
    return LabelError(
        composition_id=name,
        temperature=temperature,
        volume_scale=1.0,
        pressure=None,
        deviation=deviation,
        force_rmse=rmse,
        max_error=rmse,
        source=source,
        agreed=agreed,
    )


def labels(names, seed):
    """Force RMSE of 2 times the deviation, on which there is noise."""
    rng = np.random.default_rng(seed)
    found = []
    for name, temperature in itertools.product(names, TEMPERATURES):
        for deviation in np.geomspace(0.02, 0.4, ENOUGH + 2):
            rmse = float(2 * deviation * np.exp(0.3 * rng.normal()))
            agreed = deviation < 0.03
            found.append(label(name, float(deviation), rmse, temperature=temperature, agreed=agreed))
    return found


def curve(n_points=50, start=1.0):
    step = np.linspace(0, 1000, n_points)
    return {
        "step": step.tolist(),
        "rmse_f_trn": (start / (1 + step / 100)).tolist(),
        "rmse_e_trn": (0.1 * start / (1 + step / 100)).tolist(),
    }


def table(seed, n=30):
    rng = np.random.default_rng(seed)
    force, energy = rng.normal(size=3 * n), -4.0 + 0.02 * rng.normal(size=n)
    return {
        "energy": energy.tolist(),
        "predicted_energy": (energy + 0.003).tolist(),
        "force": force.tolist(),
        "predicted_force": (force + 0.1 * rng.normal(size=3 * n)).tolist(),
        "deviation": [0.1] * n,
        "force_rmse": [0.1] * n,
    }


def looped(names, n_iterations, conditions=(1.0,)):
    """A loop in which errors and shares fall by half every time."""
    iterations, potentials, points, equal, curves = [], {}, {}, {}, {}
    for n in range(n_iterations):
        reports = [
            report(
                name,
                temperature,
                0.4 * 0.5**n * (k + 1) / len(names),
                volume_scale=scale,
                n_cut=5 if (n, k, temperature) == (n_iterations - 1, 0, 1500.0) else 0,
            )
            for k, name in enumerate(names)
            for scale in conditions
            for temperature in TEMPERATURES
        ]
        points[n] = labels(names, n)
        levels = calibrate([each.stratum for each in reports], points[n], SETTINGS)
        iterations.append(
            iteration(n, reports, calibration=levels, spent=Spent(labels=15 * n, core_hours=3.5 * (n + 1)))
        )
        models = [model(f"model-{n}-{k}") for k in range(2)]
        curves |= {each.key: curve(start=1.0 + k + n) for k, each in enumerate(models)}
        errors = {name: 0.5 * 0.6**n * (1 + 0.1 * k) for k, name in enumerate(names)}
        potentials[f"potential-{n}"] = potential(n, errors, models)
        equal[f"potential-{n}"] = {name: table(k) for k, name in enumerate(names)}
    return LearningRun(CAMPAIGN, tuple(iterations), potentials, points, {}, equal, curves)


@pytest.fixture(scope="module")
def run():
    return looped([A, B], 3)


MANY = [f"x1.000-y0.{k:03d}" for k in range(14)]


@pytest.fixture(scope="module")
def large():
    """More compositions, iterations and conditions than can each have a color, a panel or a line of their own."""
    return looped(MANY, 6, (0.95, 1.0))


@pytest.fixture(scope="module")
def drawn(run, large):
    failed = run.potentials["potential-1"].model_copy(
        update={
            "failed": (
                TrainingAttempt(status=TrainingStatus.DIVERGED, reason="loss 1e9 " * 30, start_lr=1e-3),
            )
        }
    )
    flawed = LearningRun(
        CAMPAIGN,
        run.iterations,
        {**run.potentials, failed.key: failed},
        run.points,
        curves=run.curves,
        parity=run.parity,
    )
    cases = {"small": run, "large": large, "one": looped([A], 1), "flawed": flawed}
    return {
        (case, name): draw(each) for case, each in cases.items() for name, draw in LEARNING_FIGURES.items()
    }


def lines(axes, **style):
    """Lines with points, of some style."""
    return [
        line
        for line in axes.lines
        if len(line.get_xdata()) and all(getattr(line, f"get_{name}")() == v for name, v in style.items())
    ]


def by_label(axes):
    found = {line.get_label(): line for line in axes.lines}
    return found | {each.get_label(): each.lines[0] for each in axes.containers if hasattr(each, "lines")}


def legend_texts(figure):
    return [
        text.get_text() for axes in figure.axes if axes.get_legend() for text in axes.get_legend().get_texts()
    ]


def panel(figure, ylabel):
    (found,) = [axes for axes in figure.axes if axes.get_ylabel().startswith(ylabel)]
    return found


# --- all figures ------------------------------------------------------------------------------------------------


def test_every_figure_of_a_whole_loop_is_drawn(drawn):
    assert all(figure is not None for figure in drawn.values())


def shown_texts(figure):
    """Visible texts with their boxes, without labels of ticks outside the limits."""
    renderer, off = figure.canvas.get_renderer(), set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            ticks = {id(tick) for tick in axis._update_ticks()} if axes.axison else set()
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if id(tick) not in ticks:
                    off |= {id(tick.label1), id(tick.label2)}
            if not axes.axison:
                off.add(id(axis.label))
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text().strip() and id(text) not in off:
            yield text, text.get_window_extent(renderer)


def test_no_text_overlaps_another_and_all_lies_on_the_canvas_and_is_large_enough(drawn):
    for place, figure in drawn.items():
        figure.canvas.draw()
        found = list(shown_texts(figure))
        width, height = figure.get_size_inches() * figure.dpi
        assert min(text.get_fontsize() for text, _ in found) >= FONT, place
        for text, box in found:
            assert box.x0 >= -1, (place, text)
            assert box.y0 >= -1, (place, text)
            assert box.x1 <= width + 1, (place, text)
            assert box.y1 <= height + 1, (place, text)
        for (a, box), (b, other) in itertools.combinations(found, 2):
            common = Bbox.intersection(box, other)
            overlap = common is not None and min(common.width, common.height) > 1.5 * figure.dpi / 72
            assert not overlap, (place, a.get_text(), b.get_text())


def test_axes_are_labelled_with_units(drawn):
    force, energy, share, marked, work, _ = drawn["small", "learning_progress"].axes
    assert force.get_ylabel() == "held-out force RMSE (eV/Å)"
    assert energy.get_ylabel() == "held-out energy RMSE (eV/atom)"
    assert share.get_ylabel() == "frames not agreed on (%)"
    assert marked.get_ylabel() == "labels"
    assert work.get_ylabel() == "core hours until then (h)"
    assert {axes.get_xlabel() for axes in (force, energy, share, marked, work)} == {"iteration"}


def test_files_have_the_same_bytes_again(run, tmp_path):
    first = write_learning_figures(run, tmp_path / "a", ["png", "pdf"])
    again = write_learning_figures(run, tmp_path / "b" / "c", ["png", "pdf"])
    assert {path.name for path in first} == {
        f"{name}-{CAMPAIGN}.{kind}" for name in LEARNING_FIGURES for kind in ("png", "pdf")
    }
    for a, b in zip(first, again, strict=True):
        assert a.read_bytes() == b.read_bytes(), a.name


def test_an_unknown_format_is_refused(run, tmp_path):
    with pytest.raises(InputError, match="no figure format 'bmp'"):
        write_learning_figures(run, tmp_path, ["bmp"])


def test_nothing_is_drawn_of_nothing():
    bare = LearningRun(CAMPAIGN, (iteration(0),))
    assert calibration(bare) is None
    assert strata(bare) is None
    assert parity(bare) is None
    assert training_curves(bare) is None
    assert learning_progress(LearningRun(CAMPAIGN, ())) is None
    # That labels were trained on is known even then.
    assert [axes.get_ylabel() for axes in learning_progress(bare).axes] == ["labels", ""]


def test_strata_without_frames_and_frames_without_deviation_are_no_problem():
    empty = report(A, 900.0, 0.0).model_copy(update={"n_frames": 0, "n_accurate": 0})
    alone = report(B, 900.0, 0.0).model_copy(update={"median_deviation": None, "max_deviation": None})
    found = LearningRun(CAMPAIGN, (iteration(0, [empty, alone]), iteration(1, [empty, alone])))
    table_axes, history = strata(found).axes
    assert sorted(text.get_text() for text in table_axes.texts) == ["0 %\n7 / 200", "none\n7 / 0"]
    assert [list(line.get_ydata()) for line in lines(history)] == [[0.0, 0.0]]
    assert list(by_label(panel(learning_progress(found), "frames"))[B].get_ydata()) == [0.0, 0.0]


def test_errors_of_zero_and_trainings_without_numbers_are_no_problem():
    perfect = potential(0, {A: 0.0, B: 0.3}, [model("m"), model("n"), model("o")])
    odd = {"step": [0, 1, 2, 3], "rmse_f_trn": [1.0, float("nan"), 0.0, 0.5], "rmse_e_trn": [1.0]}
    found = LearningRun(CAMPAIGN, (iteration(0),), {perfect.key: perfect}, curves={"m": odd, "n": {}})
    (force,) = training_curves(found).axes
    (line,) = lines(force)
    assert list(line.get_xdata()) == [3]
    assert force.get_legend()
    assert list(by_label(panel(learning_progress(found), "held-out force"))[A].get_ydata()) == []


# --- progress ---------------------------------------------------------------------------------------------------


def test_errors_over_the_iterations_are_those_of_the_potentials(run, drawn):
    figure = drawn["small", "learning_progress"]
    for k, name in enumerate((A, B)):
        held = [run.potentials[f"potential-{n}"].held_out[name] for n in range(3)]
        force = by_label(panel(figure, "held-out force"))[name]
        energy = by_label(panel(figure, "held-out energy"))[name]
        assert list(force.get_ydata()) == [each.force_rmse for each in held]
        assert list(energy.get_ydata()) == [each.energy_rmse for each in held]
        assert force.get_xdata() == pytest.approx(np.arange(3) + dodge(k, 2))
    (bars, _) = panel(figure, "held-out force").containers
    segments = bars.lines[2][0].get_segments()
    held = [run.potentials[f"potential-{n}"].held_out[A] for n in range(3)]
    assert [s[1, 1] - s[0, 1] for s in segments] == pytest.approx([2 * e.force_rmse_error for e in held])
    zeros = lines(panel(figure, "held-out force"), linestyle=":")
    assert [list(line.get_ydata()) for line in zeros] == [[0.8, 0.8]] * 2


def test_shares_are_over_all_frames_of_a_composition_and_of_the_worst_stratum():
    reports = [
        report(A, 1500.0, 0.1, n_failed=10, n_cut=4),
        report(A, 400.0, 0.0),
        report(B, 400.0, 0.02),
    ]
    axes = panel(learning_progress(LearningRun(CAMPAIGN, (iteration(0, reports),))), "frames")
    found = by_label(axes)
    # 20 candidates, 10 above and 4 cut, of 400.
    assert list(found[A].get_ydata()) == [8.5]
    assert list(found[B].get_ydata()) == [2.0]
    (worst,) = lines(axes, marker="s")
    assert list(worst.get_ydata()) == [17.0]
    low, high = axes.get_ylim()
    assert low < 0
    assert high > 100


def test_labels_and_work_are_those_of_the_iterations(drawn):
    figure = drawn["small", "learning_progress"]
    (line,) = lines(panel(figure, "labels"))
    assert list(line.get_ydata()) == [20, 40, 60]
    assert [bar.get_height() for bar in panel(figure, "labels").patches] == [15] * 3
    (line,) = lines(panel(figure, "core hours"))
    assert list(line.get_ydata()) == [3.5, 7.0, 10.5]


def test_targets_are_drawn_where_they_are_given(run, drawn):
    targets = Targets(force_rmse=0.07, energy_rmse=0.003, candidate_share=0.02)
    figure = learning_progress(run, targets)
    for name, value in (("held-out force", 0.07), ("held-out energy", 0.003), ("frames", 2.0)):
        (line,) = lines(panel(figure, name), linestyle="--")
        assert list(line.get_ydata()) == [value] * 2
        assert not lines(panel(drawn["small", "learning_progress"], name), linestyle="--")
    assert "target" in legend_texts(figure)


def test_without_potentials_the_worst_error_is_drawn_and_no_work_that_is_not_known():
    found = LearningRun(CAMPAIGN, tuple(iteration(n, worst_force_rmse=0.5 / (n + 1)) for n in range(2)))
    figure = learning_progress(found)
    (line,) = lines(panel(figure, "held-out force"))
    assert list(line.get_ydata()) == [0.5, 0.25]
    assert [axes.get_ylabel() for axes in figure.axes][1:] == ["labels", ""]


def test_of_many_compositions_the_worst_have_colors(large, drawn):
    colors = palette(large)
    # Errors rise with the number of the composition.
    assert colors.named == tuple(MANY[-MAX_NAMED:])
    assert len({colors.colors[name] for name in colors.named}) == MAX_NAMED
    assert {colors.colors[name] for name in MANY[:-MAX_NAMED]} == {LIGHT}
    assert f"{len(MANY) - MAX_NAMED} others" in legend_texts(drawn["large", "learning_progress"])
    assert (
        len(by_label(panel(drawn["large", "learning_progress"], "held-out force")).keys() & set(MANY)) == 14
    )


# --- calibration ------------------------------------------------------------------------------------------------


def test_every_label_is_a_point_of_its_kind():
    kinds = {
        "selected": [label(A, 0.1, 0.2), label(A, 0.2, 0.3), label(B, 0.2, 0.5)],
        "committee agreed": [label(A, 0.01, 0.03, agreed=True)],
        "held out": [label(B, 0.05, 0.2, source="held out", temperature=None)],
        "rounding": [label(B, 1e-17, 0.2), label(B, 0.1, 0.0)],
    }
    points = [each for members in kinds.values() for each in members]
    figure = calibration(LearningRun(CAMPAIGN, (iteration(4),), points={4: points}))
    axes = figure.axes[0]
    found = {
        name: sorted(zip(line.get_xdata(), line.get_ydata(), strict=True))
        for name, line in by_label(axes).items()
        if line.get_linestyle() == "None"
    }
    assert found == {
        f"{A} selected": [(0.1, 0.2), (0.2, 0.3)],
        f"{B} selected": [(0.2, 0.5)],
        f"{A} committee agreed": [(0.01, 0.03)],
        f"{B} held out": [(0.05, 0.2)],
    }
    assert axes.get_title("left") == "iteration 4: 5 labels"
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert {"selected", "committee agreed", "held out"} <= set(legend_texts(figure))
    assert "lower trust level" not in legend_texts(figure)


def test_lines_bands_and_levels_are_those_of_the_calibration():
    stratum = Stratum(composition_id=A, temperature=900.0)
    points = [label(A, deviation, 3.0 * deviation) for deviation in np.geomspace(0.02, 0.2, ENOUGH)]
    (entry,) = calibrate([stratum], points, SETTINGS)
    assert entry.ratio == pytest.approx(3.0)
    wide = entry.model_copy(update={"spread": float(np.log(2.0))})
    found = LearningRun(CAMPAIGN, (iteration(0, calibration=(wide,)),), points={0: points})
    axes = calibration(found).axes[0]
    color = palette(found).colors[A]
    (line,) = [each for each in lines(axes, linestyle="-") if each.get_color() == color]
    x, y = line.get_xdata(), line.get_ydata()
    assert y / x == pytest.approx([3.0, 3.0])
    (band,) = axes.collections
    corners = band.get_paths()[0].vertices
    assert {float(f"{b / a:.6g}") for a, b in corners} == {1.5, 6.0}
    (low,), (high,) = lines(axes, linestyle="--"), lines(axes, linestyle=":")
    assert low.get_xdata() == pytest.approx([SETTINGS.targets.force_rmse / 3] * 2)
    assert high.get_xdata() == pytest.approx([SETTINGS.selection.worst_error / 3] * 2)
    # The levels cross the line where the error is the target, or the worst that is worth a label.
    errors = [each.get_ydata()[0] for each in lines(axes, linestyle="-.")]
    assert errors == pytest.approx([SETTINGS.targets.force_rmse, SETTINGS.selection.worst_error])


def test_strata_that_share_their_labels_share_a_line(run):
    shared = [label(name, d, 2 * d) for name in (A, B) for d in np.geomspace(0.02, 0.2, ENOUGH // 2)]
    where = [Stratum(composition_id=name, temperature=t) for name in (A, B) for t in (900.0, 1500.0)]
    entries = calibrate(where, shared, SETTINGS)
    assert {each.pooled for each in entries} == {"all compositions above 600 K"}
    found = LearningRun(CAMPAIGN, (iteration(0, calibration=entries),), points={0: shared})
    (line,) = [
        each for each in lines(calibration(found).axes[0], linestyle="-") if len(each.get_xdata()) == 2
    ]
    assert line.get_color() == DARK
    # Of strata with labels of their own, each has its own.
    ratios = {each.ratio for each in run.last.calibration}
    solid = [each for each in lines(calibration(run).axes[-1], linestyle="-") if len(each.get_xdata()) == 2]
    assert len(solid) == len(ratios) == 6


def test_first_levels_of_the_campaign_file_are_lines_alone():
    stratum = Stratum(composition_id=A, temperature=900.0)
    points = [label(A, 0.1, 0.2)]
    entries = calibrate([stratum], points, SETTINGS)
    found = LearningRun(CAMPAIGN, (iteration(0, calibration=entries),), points={0: points})
    axes = calibration(found).axes[0]
    assert not axes.collections
    assert lines(axes, linestyle="--")[0].get_xdata() == [SETTINGS.selection.hot.low] * 2


def test_the_last_iterations_are_shown_or_those_that_are_asked_for(large):
    def titles(figure):
        return [axes.get_title("left").partition(":")[0] for axes in figure.axes if axes.get_title("left")]

    assert titles(calibration(large)) == [f"iteration {n}" for n in range(6 - MAX_PANELS, 6)]
    assert titles(calibration(large, [1, 3])) == ["iteration 1", "iteration 3"]
    assert calibration(large, [99]) is None


# --- strata -----------------------------------------------------------------------------------------------------


def test_cells_are_the_strata_of_the_last_iteration():
    last = [
        report(A, 400.0, 0.005, n_selected=1),
        report(A, 1500.0, 0.25, n_cut=10, n_selected=20),
        report(A, 1500.0, 0.1, volume_scale=1.1),
        report(B, 400.0, 0.995, volume_scale=None, pressure=2.0),
    ]
    figure = strata(LearningRun(CAMPAIGN, (iteration(0, [report(A, 400.0, 0.7)]), iteration(1, last))))
    axes, history = figure.axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["400", "1500"]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == [A, f"{A}\nvolume x 1.1", f"{B}\n2 GPa"]
    found = {tuple(map(int, text.get_position())): text.get_text() for text in axes.texts}
    assert found == {
        (0, 0): "0.5 %\n1 / 200",
        (1, 0): "30 %\n20 / 200",
        (1, 1): "10 %\n7 / 200",
        (0, 2): "99.5 %\n7 / 200",
    }
    shares = axes.images[0].get_array()
    assert np.ma.filled(shares, -1) == pytest.approx(np.array([[0.005, 0.3], [-1, 0.1], [0.995, -1]]))
    (frame,) = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    assert np.array(frame.get_xy()) + 0.5 * np.array(
        [frame.get_width(), frame.get_height()]
    ) == pytest.approx([1, 0])
    assert "framed: a run was cut" in axes.get_title("left")
    assert axes.get_title("left").startswith("iteration 1")
    series = [list(line.get_ydata()) for line in lines(history)]
    assert sorted(series) == [[10.0], [30.0], [70.0, 0.5], [99.5]]


def test_text_in_a_cell_can_be_read_on_its_color(drawn):
    axes = drawn["large", "strata"].axes[0]
    image = axes.images[0]
    for text in axes.texts:
        column, row = map(int, text.get_position())
        red, green, blue, _ = image.cmap(image.norm(image.get_array()[row, column]))
        dark = 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.5
        assert same_color(text.get_color(), "white" if dark else DARK)


def test_one_iteration_has_no_history(drawn):
    assert len(drawn["one", "strata"].axes) == 1
    assert len(drawn["small", "strata"].axes) == 2


# --- parity and training ----------------------------------------------------------------------------------------


def test_parity_is_of_the_last_potential_with_the_errors_of_its_document(run, drawn):
    figure = drawn["small", "parity"]
    force, energy = figure.axes[2:]
    wanted = run.parity["potential-2"][B]
    (points,) = lines(force, linestyle="None")
    assert list(points.get_xdata()) == wanted["force"]
    assert list(points.get_ydata()) == wanted["predicted_force"]
    (points,) = lines(energy, linestyle="None")
    assert np.mean(points.get_xdata()) == pytest.approx(0.0, abs=1e-9)
    assert points.get_ydata() - points.get_xdata() == pytest.approx(np.full(30, 3.0))
    held = run.potentials["potential-2"].held_out[B]
    assert force.texts[0].get_text() == "RMSE 0.198(20)"
    assert energy.texts[0].get_text() == f"RMSE {1000 * held.energy_rmse:.3g}"
    for axes in figure.axes:
        assert axes.get_xlim() == axes.get_ylim()
        (diagonal,) = lines(axes, linestyle="-")
        assert list(diagonal.get_xdata()) == list(diagonal.get_ydata())
    assert figure.axes[0].get_title("left") == f"{A}, iteration 2"
    assert force.get_title("left") == B


def test_without_an_error_in_the_document_it_is_that_of_the_points():
    bare = potential(0, {})
    found = LearningRun(CAMPAIGN, (iteration(0),), {bare.key: bare}, parity={bare.key: {A: table(0)}})
    force, energy = parity(found).axes
    difference = np.subtract(table(0)["force"], table(0)["predicted_force"])
    assert force.texts[0].get_text() == f"RMSE {np.sqrt(np.mean(difference**2)):.3g}"
    assert energy.texts[0].get_text() == "RMSE 3"


def test_parity_shows_the_worst_of_many_compositions(drawn):
    titles = [axes.get_title("left") for axes in drawn["large", "parity"].axes if axes.get_title("left")]
    assert titles == [f"{MANY[-MAX_PARITY]}, iteration 5", *MANY[1 - MAX_PARITY :]]


def test_every_model_of_every_iteration_is_a_curve(run, drawn):
    force, energy = drawn["small", "training_curves"].axes
    for axes, column in ((force, "rmse_f_trn"), (energy, "rmse_e_trn")):
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
        assert len(axes.lines) == 6
        for line, found in zip(axes.lines, run.curves.values(), strict=True):
            # Step 0 has no place on a logarithmic axis.
            assert list(line.get_xdata()) == found["step"][1:]
            assert list(line.get_ydata()) == found[column][1:]
    colors = [to_hex(line.get_color()) for line in force.lines]
    assert colors[0] == colors[1] != colors[2]
    assert len(set(colors)) == 3
    assert legend_texts(drawn["small", "training_curves"]) == [f"{n}: 2 models" for n in range(3)]
    assert not force.get_title("left")


def test_trainings_that_failed_are_named(run, drawn):
    words = drawn["flawed", "training_curves"].axes[0].get_title("left")
    assert words.startswith("iteration 1: a model could not be trained, diverged: loss 1e9")
    again = model(
        "model-0-0",
        attempts=(TrainingAttempt(status=TrainingStatus.CRASHED, reason="killed", start_lr=1e-3), GOOD),
    )
    first = run.potentials["potential-0"].model_copy(update={"models": (again,)})
    found = LearningRun(CAMPAIGN, run.iterations[:1], {first.key: first}, curves=run.curves)
    title = training_curves(found).axes[0].get_title("left")
    assert title == "iteration 0: model 0 was trained at try 2, crashed: killed"


# --- the store and the command ----------------------------------------------------------------------------------


def job_store():
    found = JobStore(MemoryStore(), additional_stores={"data": MemoryStore(key="blob_uuid")})
    found.connect()
    return found


def put_json(store, value):
    return put_blob(store, json.dumps(value).encode(), "application/json")


def stored(store, run, campaign_id=CAMPAIGN, day=1):
    """Documents of a loop as jobs leave them, with their blobs."""
    documents = []
    for each in run.iterations:
        points = [point.model_dump() for point in run.points[each.iteration]]
        update = {
            "campaign_id": campaign_id,
            "calibration_points": put_json(store, points),
            "decisions": put_json(store, {"run": ["a"], "decision": ["known"]}),
        }
        documents.append(each.model_copy(update=update))
    for each in run.potentials.values():
        models = tuple(
            one.model_copy(update={"learning_curve": put_json(store, run.curves[one.key])})
            for one in each.models
        )
        update = {"models": models, "parity": put_json(store, run.parity[each.key])}
        documents.append(each.model_copy(update=update))
    store.docs_store.update(
        [
            {
                "uuid": f"{campaign_id}-{day}-{n}",
                "index": 1,
                "name": "job",
                "output": each.model_dump(mode="json"),
                "completed_at": f"2030-01-{day:02d}T00:00:{n:02d}",
                "metadata": {"laoc": {"campaign": campaign_id}},
            }
            for n, each in enumerate(documents)
        ],
        key=["uuid", "index"],
    )


@pytest.fixture
def store(run):
    jobs = job_store()
    stored(jobs, run)
    found = LaocStore(jobs)
    found.build()
    return found


def test_what_is_read_from_the_store_is_what_was_put_there(run, store):
    plain = learning_run(store, CAMPAIGN)
    assert [each.iteration for each in plain.iterations] == [0, 1, 2]
    assert not plain.points
    assert not plain.curves
    whole = with_blobs(store.job_store, plain)
    assert whole.iterations == plain.iterations
    assert {n: list(points) for n, points in whole.points.items()} == run.points
    assert whole.parity == run.parity
    assert whole.curves == run.curves
    assert whole.decisions[2] == {"run": ["a"], "decision": ["known"]}
    assert set(whole.potentials) == {f"potential-{n}" for n in range(3)}
    assert whole.potential(whole.last).held_out == run.potentials["potential-2"].held_out


def test_documents_of_earlier_versions_are_read(store):
    jobs = store.job_store
    new = {"spent", "limit", "composition_verdicts", "calibration", "calibration_points"}
    new |= {"decisions", "quarantined", "properties"}
    old = iteration(0, [report(A, 900.0, 0.1)]).model_dump(mode="json", exclude=new)
    for each in old["strata"]:
        for name in ("n_too_soon", "n_known", "n_over_quota", "n_over_budget", "n_audited"):
            del each[name]
    old["campaign_id"] = "old-0123456789ab"
    job = {"uuid": "o", "index": 1, "output": old, "completed_at": None, "metadata": {"laoc": {}}}
    jobs.docs_store.update([job], key=["uuid", "index"])
    store.build()
    found = with_blobs(jobs, learning_run(store, "old"))
    assert found.last.spent == Spent()
    assert not found.points
    assert strata(found) is not None
    assert calibration(found) is None
    assert "not agreed on" in printed(found)


def test_runs_that_were_cut_are_told_with_their_reason(run):
    assert "that were cut" not in printed(run)
    why = f"explore/{A}/i2/r0: Cl-Cl 2.40 A is inside its floor at 1.80 ps"
    last = run.last.model_copy(update={"cut": (why,)})
    assert f"runs of iteration 2 that were cut\n{why}\n" in printed(LearningRun(CAMPAIGN, (last,)))


def test_an_iteration_that_was_made_again_counts_once(run, store):
    last = run.last.model_copy(update={"key": "other", "n_selected": 99, "calibration": ()})
    again = LearningRun(CAMPAIGN, (last,), points=run.points)
    stored(store.job_store, again, day=2)
    store.build()
    found = learning_run(store, CAMPAIGN)
    assert [(each.iteration, each.n_selected) for each in found.iterations] == [(0, 15), (1, 15), (2, 99)]


def test_campaigns_are_found_by_id_name_and_beginning(run, store):
    once = LearningRun(CAMPAIGN, run.iterations[:1], points=run.points)
    for day, name in ((3, "mine-aaaaaaaaaaaa"), (2, "mine-bbbbbbbbbbbb"), (1, "mine-too-cccccccccccc")):
        stored(store.job_store, once, name, day)
    store.build()
    assert find_campaign(store, CAMPAIGN) == CAMPAIGN
    assert find_campaign(store, "mine") == "mine-aaaaaaaaaaaa"
    assert find_campaign(store, "mine-b") == "mine-bbbbbbbbbbbb"
    assert find_campaign(store, "mine-too") == "mine-too-cccccccccccc"
    with pytest.raises(QueryError, match="4 campaigns begin with 'min': mine-0123456789ab, mine-a"):
        find_campaign(store, "min")
    for text in ("", "nothing", "aaaaaaaaaaaa"):
        with pytest.raises(QueryError, match="no campaign with a finished iteration"):
            find_campaign(store, text)


def test_a_blob_that_is_missing_is_said(store):
    found = learning_run(store, CAMPAIGN)
    store.job_store.additional_stores["data"].remove_docs({})
    with pytest.raises(ServiceError, match="is not in the additional store"):
        with_blobs(store.job_store, found)


def printed(run):
    text = io.StringIO()
    print_learning(run, Console(file=text, width=80, highlight=False))
    return text.getvalue()


def rows(text, section):
    """Lines of a table, the header first."""
    block = next(part for part in text.split("\n\n") if part.startswith(section))
    return [line.split() for line in block.splitlines()[1:]]


def test_tables_hold_the_numbers_of_the_documents(run):
    text = printed(run)
    assert text.startswith(f"{CAMPAIGN}: continue\n")
    found = rows(text, "iterations")
    assert found[1] == ["0", "20", "15", "0.550(55)", "0.275", "0.0275", "40", "%", "0", "3.5"]
    assert found[3] == ["2", "60", "15", "0.198(20)", "0.099", "0.0099", "10", "%", "30", "10.5"]
    table_rows = rows(text, "strata of iteration 2")
    assert len(table_rows) == 7
    first = run.last.strata[0]
    entry = run.last.calibration[0]
    row = table_rows[1]
    assert row[:8] == [A, "1500", "K", "200", "185", "10", "0", "5"]
    assert row[8:14] == ["7", "0", "0", "0", "0", "0"]
    assert row[14:18] == ["0.03", f"{first.trust_low:.3g}", "-", f"{first.trust_high:.3g}"]
    assert float(row[18].partition("(")[0]) == pytest.approx(
        entry.ratio, abs=0.5 * entry.ratio * entry.ratio_error
    )
    assert row[19] == str(entry.n_labels)
    assert row[20:] == [str(entry.n_audit_missed), "of", str(entry.n_audited)]


def test_verdicts_properties_and_quarantine_are_printed():
    checks = (
        PropertyCheck(
            composition_id=A,
            name="density",
            status="differ",
            difference=0.08,
            difference_error=0.01,
            tolerance=0.03,
            values=(Measured(value=1.7, standard_error=0.02, unit="g/cm^3", n_independent=4), None),
            reason="1.70(2) against nothing [g/cm^3]",
        ),
    )
    suspect = Suspect(
        shard="ab" * 32, index=3, composition_id=B, trajectory_id="seed/b/i0/r0", reason="9 sigma [eV]"
    )
    last = iteration(
        1,
        verdict=Verdict.NOT_CONVERGED,
        limit="max_iterations = 2 is reached",
        composition_verdicts={A: "not converged: density of the models differs", B: "converged"},
        properties=checks,
        quarantined=(suspect,),
    )
    text = printed(LearningRun(CAMPAIGN, (last,)))
    first, of_a, of_b = text.splitlines()[:3]
    assert first == f"{CAMPAIGN}: not converged: max_iterations = 2 is reached"
    assert of_a == f"{A}: not converged: density of the models differs"
    assert of_b == f"{B}: converged"
    (_, row) = rows(text, "properties")
    assert row[:6] == ["1", A, "density", "differ", "0.080(10)", "0.03"]
    # Square brackets are units, not markup.
    assert "1.700(20), - g/cm^3 1.70(2) against nothing [g/cm^3]" in text
    assert f"iteration 1: {B} seed/b/i0/r0 label 3 of abababababab: 9 sigma [eV]" in text
    assert "strata" not in text


def test_reasons_are_printed_where_there_is_no_verdict_by_composition():
    assert "a: too large" in printed(LearningRun(CAMPAIGN, (iteration(0, reasons=("a: too large",)),)))


@pytest.fixture
def command(run, tmp_path, monkeypatch):
    """The command on a workspace whose JobStore is in memory."""
    place = tmp_path / "work"
    Workspace.create(place)

    def filled(_):
        jobs = job_store()
        stored(jobs, run)
        return jobs

    monkeypatch.setattr(Workspace, "job_store", filled)

    def call(*arguments):
        return CliRunner().invoke(app, ["learning", *map(str, arguments), "--workspace", str(place)])

    return call


def test_the_command_prints_and_draws(command, tmp_path):
    plain = command("mine")
    assert plain.exit_code == 0, plain.output
    assert plain.stdout.startswith(f"{CAMPAIGN}: continue")
    assert not plain.stderr
    folder = tmp_path / "deep" / "figures"
    done = command("mine-0", "--out", folder, "--format", "png", "--format", "svg", "--format", "png")
    assert done.exit_code == 0, done.output
    assert done.stdout == plain.stdout
    assert done.stderr == f"laoc: drew 5 figures into {folder}, 10 files\n"
    assert {path.suffix for path in folder.iterdir()} == {".png", ".svg"}
    assert len(list(folder.iterdir())) == 10


def test_what_cannot_be_done_is_one_line_and_exit_2(command, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    for arguments, text in (
        (["nobody"], "no campaign with a finished iteration is called 'nobody'"),
        (["mine", "--format", "pdf"], "--out"),
        (["mine", "--out", file], "cannot be written to"),
    ):
        done = command(*arguments)
        assert done.exit_code == 2
        (line,) = done.stderr.splitlines()
        assert line.startswith("laoc: ")
        assert text in line
