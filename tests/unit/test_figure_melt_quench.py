"""The figure of a melt-quench run, drawn from runs that the controller really made."""

import json
import re

import numpy as np
import pytest
from ase import Atoms
from matplotlib.patches import Polygon, Rectangle

from laoc_flows.blobs import BlobRef
from laoc_flows.engines.base import Engine
from laoc_flows.engines.controller import Controller, Progress
from laoc_flows.engines.dynamics import MDState, SegmentRun
from laoc_flows.engines.recording import Recording
from laoc_flows.engines.stage_records import profile_of, quench_rate, warnings_of
from laoc_flows.errors import InputError
from laoc_flows.report.figure_melt_quench import melt_quench
from laoc_flows.report.figures import RUN_FIGURES, write_run_figures
from laoc_flows.report.style import FONT
from laoc_flows.schemas.base import Provenance
from laoc_flows.schemas.glass import GlassStatus, StructureDocument
from laoc_flows.schemas.protocol import DensityEquilibration, Stage

FORMULA = "Li8Al8Cl32"
EQUILIBRIUM = 1100.0  # A^3, volume of no pressure
BLOB = BlobRef(sha256="0" * 64, size=1, media_type="x/y")
PLACE = Provenance(
    campaign_id="c", campaign_seed=1, composition_id="x1.000-y0.000", stage="seed", quench_rate=150
)


class Walkers(Engine):
    """Random walkers with noisy temperatures and the pressure of a known equation of state."""

    name: str = "walkers"
    stride: float = 0.05
    noise: float = 1.0
    modulus: float = 8.0
    offset: float = 0.0
    volatile: float = 0.002

    @property
    def level_of_theory(self):
        return "walkers/r1"

    def single_points(self, frames, directory):
        raise AssertionError((frames, directory))

    def run_segment(self, state, segment, directory):
        assert directory.is_dir()
        rng = np.random.default_rng(segment.seed)
        atoms = state.atoms.copy()
        frames, steps, rows = [], [], []
        for step in range(1, segment.n_steps + 1):
            hot = segment.temperature_after(step)
            atoms.positions += self.stride * np.sqrt(hot / 1500) * rng.normal(size=(len(atoms), 3))
            if segment.ensemble == "npt":
                here = atoms.get_volume()
                wanted = EQUILIBRIUM * (1 + self.volatile * rng.normal())
                atoms.set_cell(
                    atoms.cell.array * (1 + 0.02 * (wanted / here - 1)) ** (1 / 3), scale_atoms=True
                )
            if step % segment.frame_every == 0:
                frames.append(Atoms(atoms.get_chemical_symbols(), atoms.positions, cell=atoms.cell, pbc=True))
                steps.append(step)
            pressure = self.modulus * np.log(EQUILIBRIUM / atoms.get_volume()) + self.offset
            rows.append(
                [
                    step,
                    hot * (1 + 0.08 * rng.normal()),
                    pressure + self.noise * rng.normal(),
                    -1.0,
                    atoms.get_volume(),
                ]
            )
        return SegmentRun(segment.n_steps, frames, steps, np.array(rows), MDState(atoms))


def stage(name, start, end=None, time=1.0, **more):
    return Stage(name=name, start_temperature=start, end_temperature=end or start, time=time, **more)


PROTOCOL = (
    stage("heat", 300, 1500, 0.4),
    stage("melt", 1500, time=4.0, until_melted=True),
    stage("density", 1500, time=1.0, equilibrate=DensityEquilibration(attempts=6)),
    stage("quench", 1500, 300, 8.0),
    stage("npt", 300, time=3.0, ensemble="npt"),
    stage("hold", 300, time=4.0, thermostat="measure"),
)


def made(tmp_path, engine, stages=PROTOCOL, **fields):
    """Document and profile of a run that starts too dense."""
    rng = np.random.default_rng(0)
    edge = (0.8 * EQUILIBRIUM) ** (1 / 3)
    symbols = Atoms(FORMULA).get_chemical_symbols()
    atoms = Atoms(symbols, rng.random((len(symbols), 3)) * edge, cell=[edge] * 3, pbc=True)
    controller = Controller(engine, stages, 2.0, 0.02, 0, 1)
    progress, state, recording = Progress(), controller.start(atoms), Recording(symbols)
    while not controller.done(progress):
        step = controller.advance(progress, state, recording, 10**6, tmp_path)
        progress, state = step.progress, step.state
    passed = progress.melt is not None and progress.melt.passed
    document = StructureDocument(
        key="0",
        campaign_id="c",
        provenance=PLACE,
        level_of_theory=engine.level_of_theory,
        potential_key=None,
        formula=FORMULA,
        n_atoms=len(symbols),
        x=1.0,
        y=0.0,
        links_expected=0.0,
        structure=BLOB,
        melt_displacement={},
        melt=progress.melt,
        quench_rate=quench_rate(progress.records),
        stages=progress.records,
        warnings=warnings_of(progress.records),
        **{"status": GlassStatus.GLASS if passed else GlassStatus.NOT_MELTED, "reason": progress.failure}
        | fields,
    )
    return document, json.loads(profile_of(recording, stages, 2.0))


@pytest.fixture(scope="module")
def fine(tmp_path_factory):
    return made(tmp_path_factory.mktemp("fine"), Walkers())


@pytest.fixture(scope="module")
def pressed(tmp_path_factory):
    stages = list(PROTOCOL)
    stages[2] = stage("density", 1500, time=1.0, equilibrate=DensityEquilibration(attempts=3))
    return made(tmp_path_factory.mktemp("pressed"), Walkers(offset=20.0), tuple(stages))


@pytest.fixture(scope="module")
def frozen(tmp_path_factory):
    return made(tmp_path_factory.mktemp("frozen"), Walkers(stride=0.001))


def words(figure):
    return "\n".join(text.get_text() for text in figure.findobj(match=lambda each: hasattr(each, "get_text")))


def title(figure):
    return figure.axes[0].get_title("left")


def test_the_axes_are_named_and_share_their_time(fine):
    figure = melt_quench(*fine)
    panels = figure.axes[0::2][:3]
    assert [axes.get_ylabel() for axes in panels] == [
        "temperature (K)",
        "total pressure (GPa)",
        "density (g/cm³)",
    ]
    total = sum(record.time for record in fine[0].stages)
    for axes in panels:
        assert axes.get_xlim() == pytest.approx((0, total), abs=0.01)


def test_a_good_run_says_that_it_melted_and_how_fast_it_was_quenched(fine):
    document, _ = fine
    text = title(melt_quench(*fine)).replace("\n", " ")
    assert document.melt.passed
    assert "melted: more than 10 A^2" in text
    assert re.search(r"quenched at \S+ K/ps \(asked: 150\)", text)
    assert document.quench_rate.value == pytest.approx(150, rel=0.02)
    assert not any(word in text for word in ("warning", "refused", "not "))


def test_stages_are_shaded_where_they_are_and_named(fine):
    document, _ = fine
    figure = melt_quench(*fine)
    ends = np.cumsum([record.time for record in document.stages])
    for axes in (figure.axes[0], figure.axes[2]):
        spans = sorted(
            (patch.get_x(), patch.get_x() + patch.get_width())
            for patch in axes.patches
            if isinstance(patch, Rectangle | Polygon)
        )
        assert [stop for _, stop in spans] == pytest.approx(ends, abs=0.01)
        assert [start for start, _ in spans] == pytest.approx([0, *ends[:-1]], abs=0.01)
    names = [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
    assert [name.partition(",")[0] for name in names[:6]] == [
        "heat",
        "melt",
        "density",
        "quench",
        "npt",
        "hold",
    ]
    assert names[1].endswith("ps, melted")
    assert names[2].endswith("ps, equilibrated")


def test_block_means_are_those_of_the_run(fine):
    document, profile = fine
    figure = melt_quench(*fine)
    dark = [line for line in figure.axes[0].lines if line.get_linewidth() == 0.9]
    values = np.concatenate([line.get_ydata() for line in dark])
    assert values.mean() == pytest.approx(np.mean(profile["temperature_K"]), rel=0.02)
    # Every volume that was tried has its own curve.
    curves = [
        line for line in figure.axes[2].lines if line.get_linewidth() == 0.9 and len(line.get_xdata()) > 3
    ]
    assert len(curves) == len(document.stages) - 1 + len(document.stages[2].attempts)
    density = figure.axes[4].lines[0].get_ydata()
    mass = Atoms(FORMULA).get_masses().sum()
    assert density == pytest.approx(mass / 0.602214076 / np.array(profile["volume_angstrom3"]), rel=1e-6)


def test_attempts_of_the_density_have_their_means_and_the_tolerance_its_band(fine):
    document, _ = fine
    record = document.stages[2]
    axes = melt_quench(*fine).axes[2]
    drawn = [(each.lines[0].get_xdata()[0], each.lines[0].get_ydata()[0]) for each in axes.containers]
    assert [mean for _, mean in drawn] == pytest.approx(
        [attempt.pressure.value for attempt in record.attempts]
    )
    start = sum(each.time for each in document.stages[:2])
    assert all(start < time < start + record.time for time, _ in drawn)
    colors = [each.lines[0].get_color() for each in axes.containers]
    assert colors[-1] == "#009e73"
    assert colors[0] == "#d55e00"
    (band,) = [each for each in axes.collections if each.get_alpha() == 0.25]
    low, high = band.get_paths()[0].vertices[:, 1].min(), band.get_paths()[0].vertices[:, 1].max()
    assert (low, high) == (-0.5, 0.5)


def test_a_pressure_that_was_not_reached_is_said_in_words(pressed):
    document, _ = pressed
    figure = melt_quench(*pressed)
    assert document.status is GlassStatus.GLASS
    text = title(figure).replace("\n", " ")
    assert "warning: density: not equilibrated, " in text
    assert "GPa against 0 GPa" in text
    assert figure.axes[0].title.get_color() != "#d55e00"
    assert figure.axes[0]._left_title.get_color() == "#d55e00"
    assert "density not equilibrated after" in words(figure).replace("\n", " ")
    (bad,) = [
        text
        for text in figure.axes[3].get_legend().get_texts()
        if "not equilibrated" in text.get_text().replace("\n", " ")
    ]
    assert bad.get_color() == "#d55e00"


def test_a_refused_cell_is_said_in_words(frozen):
    document, _ = frozen
    figure = melt_quench(*frozen)
    text = title(figure).replace("\n", " ")
    assert document.status is GlassStatus.NOT_MELTED
    assert text.endswith("refused: not melted")
    assert text.count("not melted: Al and Cl moved by no more than 10 A^2") == 1
    assert "quenched" not in text
    names = [each.get_text() for each in figure.axes[1].get_legend().get_texts()]
    assert names[1].endswith("ps, not melted")


def test_a_reason_of_its_own_is_said(fine):
    document, profile = fine
    reacted = document.model_copy(update={"status": GlassStatus.REACTED, "reason": "Cl-Cl 2.0 A"})
    assert title(melt_quench(reacted, profile)).endswith("refused: reacted (Cl-Cl 2.0 A)")


def test_a_profile_of_the_last_stages_is_drawn_with_them(fine):
    document, profile = fine
    last = [k for k, name in enumerate(profile["stage"]) if name == "hold"]
    start = sum(record.time for record in document.stages[:-1])
    part = {name: [values[k] for k in last] for name, values in profile.items()}
    part["time_ps"] = [time - start for time in part["time_ps"]]
    figure = melt_quench(document, part)
    assert figure.axes[0].get_xlim() == pytest.approx((0, 4.0), abs=0.02)
    assert figure.axes[1].get_legend().get_texts()[0].get_text() == "hold, 4 ps"


def test_nothing_is_drawn_of_nothing(fine):
    document, profile = fine
    assert melt_quench(document, {name: [] for name in profile}) is None


@pytest.mark.parametrize("which", ["fine", "pressed", "frozen"])
def test_all_words_can_be_read(which, request):
    figure = melt_quench(*request.getfixturevalue(which))
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    width, height = figure.canvas.get_width_height()
    shown = [
        text
        for text in figure.findobj(match=lambda each: type(each).__name__ == "Text")
        if text.get_text().strip() and text.get_visible()
    ]
    # Axes that are off draw their legend only.
    shown = [
        text for text in shown if text.axes is None or text.axes.axison or text in _legend_texts(text.axes)
    ]
    boxes = [text.get_window_extent(renderer) for text in shown]
    for text, box in zip(shown, boxes, strict=True):
        assert text.get_fontsize() >= FONT
        assert box.x0 >= -1, text
        assert box.x1 <= width + 1, text
        assert box.y1 <= height + 1, text


def _legend_texts(axes):
    return axes.get_legend().get_texts() if axes.get_legend() else []


def test_files_are_written_by_name(fine, tmp_path):
    document, profile = fine
    assert "melt_quench" in RUN_FIGURES
    (path,) = write_run_figures(document, profile, tmp_path / "figures", ["png"])
    assert path.name == "melt_quench-x1.000-y0.000-seed-r0-0.png"
    assert path.read_bytes()[:4] == b"\x89PNG"
    again = path.read_bytes()
    write_run_figures(document, profile, tmp_path / "figures", ["png"])
    assert path.read_bytes() == again
    with pytest.raises(InputError, match="no figure format 'gif'"):
        write_run_figures(document, profile, tmp_path, ["gif"])
