"""The series of degrees of amorphisation with an engine whose disorder and motion are known exactly."""

import gzip
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from jobflow import JobStore, run_locally
from maggma.stores import MemoryStore

from laoc_flows.analysis import Analysis
from laoc_flows.blobs import get_blob
from laoc_flows.engines.base import Engine
from laoc_flows.engines.dynamics import MDState, Segment, SegmentRun, SinglePoint
from laoc_flows.flows.amorphisation import AmorphisationSeriesMaker
from laoc_flows.flows.crystals import lialcl4
from laoc_flows.report.figures import amorphisation_series
from laoc_flows.schemas.amorphisation import AmorphisationSeries, AmorphisationSettings

VIBRATION = 0.12  # A along each axis
SPREAD = 0.09  # A along each axis and frame, in the melt
WALK = 0.08  # A of a Li along each axis and frame, for each A that the cell is away from its crystal
SETTINGS = AmorphisationSettings(
    supercell=(3, 2, 1), melt_times=(0, 0.4, 2, 18), settle_time=0.4, time=8.0, frame_every=20
)


class Einstein(Engine):
    """Atoms that walk at random while it is hot, and vibrate about where they are while it is cold.

    When cold, Li walks besides, the faster the farther the cell is from its crystal.
    """

    name: str = "einstein"

    @property
    def level_of_theory(self) -> str:
        return "einstein/r1"

    def single_points(self, frames: Sequence[Atoms], directory: Path) -> Iterator[SinglePoint]:
        raise AssertionError(frames, directory)

    def run_segment(self, state: MDState, segment: Segment, directory: Path) -> SegmentRun:
        assert directory.is_dir()
        rng = np.random.default_rng(segment.seed)
        n = segment.n_steps // segment.frame_every
        atoms = state.atoms.copy()
        shape = (n, *atoms.positions.shape)
        if segment.end_temperature > 500:
            positions = atoms.positions + rng.normal(scale=SPREAD, size=shape).cumsum(axis=0)
            atoms.positions = positions[-1]
        else:
            steps = np.zeros(shape)
            if segment.thermostat == "measure":
                li = atoms.symbols == "Li"
                scale = WALK * away(atoms)
                steps[:, li] = rng.normal(scale=scale, size=(n, li.sum(), 3)) if scale else 0.0
            positions = atoms.positions + steps.cumsum(axis=0)
            positions = positions + rng.normal(scale=VIBRATION, size=shape)
        frames = [Atoms(atoms.symbols, positions=p, cell=atoms.cell, pbc=True) for p in positions]
        steps_made = segment.frame_every * np.arange(1, n + 1)
        rows = np.column_stack(
            [steps_made, [segment.temperature_after(int(s)) for s in steps_made], *np.zeros((2, n)), np.full(n, atoms.get_volume())]
        )  # fmt: skip
        return SegmentRun(segment.n_steps, frames, list(steps_made), rows, MDState(atoms))


def away(atoms):
    """Root mean squared displacement of Al along one axis from the crystal's sites [A], 0 for the crystal."""
    crystal = np.array((lialcl4() * SETTINGS.supercell).positions)
    al = atoms.symbols == "Al"
    found = float(np.sqrt(((atoms.positions - crystal)[al] ** 2).mean()))
    return found if found > 1e-6 else 0.0


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAOC_WORKSPACE", str(tmp_path_factory.mktemp("ws")))
        store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore(key="blob_uuid")})
        flow = AmorphisationSeriesMaker(Einstein(), SETTINGS).make()
        run_locally(flow, store=store, ensure_success=True, log=False)
        series = AmorphisationSeries.model_validate(plain(store.get_output(flow.jobs[-1].uuid)))
        whole = [
            Analysis.model_validate_json(gzip.decompress(get_blob(store, point.analysis)))
            for point in series.points
        ]
        yield series, whole


def plain(value):
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if not k.startswith("@")}
    return [plain(item) for item in value] if isinstance(value, list) else value


def variance(point):
    """Variance of a displacement along one axis after a time in the melt [A^2]."""
    return round(point.melt_time / 0.04) * SPREAD**2


def test_theta_s_is_that_of_gaussian_displacements(outcome):
    """Displacements of variance v take |S(G)| to exp(-G^2 v / 2) of its value; N atoms never to less than 1/sqrt(N)."""
    series, whole = outcome
    for point, analysis in zip(series.points, whole, strict=True):
        order = analysis.amorphisation
        q, crystal = np.array(order.q), np.array(order.crystal_amplitude)
        left = crystal * np.exp(-(q**2) * variance(point) / 2)
        floor = np.sqrt(np.pi / 4 / series.n_atoms)
        expected = 1 - np.maximum(left, floor).mean() / crystal.mean()
        assert point.theta_s.value == pytest.approx(expected, abs=0.04), point.melt_time
    degrees = [point.theta_s.value for point in series.points]
    assert degrees == sorted(degrees)
    assert degrees[0] == pytest.approx(0, abs=1e-9)
    assert degrees[-1] == pytest.approx(1 - whole[-1].amorphisation.floor, abs=0.04)
    # One frozen arrangement of 144 atoms, seen in ten vectors.
    assert series.points[-1].theta_s_corrected == pytest.approx(1, abs=0.15)


def test_theta_g_runs_from_the_crystal_to_the_longest_melted(outcome):
    degrees = [point.theta_g for point in outcome[0].points]
    assert (degrees[0], degrees[-1]) == (0, 1)
    assert degrees == sorted(degrees)


def test_al_leaves_its_sites_as_a_maxwell_distribution_does(outcome):
    """Farther than 1 A from where it was, while no other site is nearer than that."""
    for point in outcome[0].points[:3]:
        width = variance(point) + VIBRATION**2
        rng = np.random.default_rng(0)
        expected = (np.linalg.norm(rng.normal(scale=np.sqrt(width), size=(200_000, 3)), axis=1) > 1).mean()
        assert point.displaced_fraction.value == pytest.approx(expected, abs=0.06)


def test_li_moves_the_more_the_less_is_left_of_the_crystal(outcome):
    series, _ = outcome
    for point in series.points:
        li = point.species["Li"]
        step = WALK * np.sqrt(variance(point)) if point.melt_time else 0.0
        expected = 6 * VIBRATION**2 + 3 * step**2 * (li.last_lag / 0.04)
        assert li.last_msd == pytest.approx(expected, rel=0.25), point.melt_time
        # Whatever the degree of amorphisation, Cl only vibrates.
        assert point.species["Cl"].last_msd == pytest.approx(6 * VIBRATION**2, rel=0.05)
        assert (li.diffusion.value is not None) == (li.status == "diffusive")
    assert series.points[0].species["Li"].status != "diffusive"
    assert series.points[0].hops.all.count == 0
    moved = [point.species["Li"].last_msd for point in series.points]
    assert moved == sorted(moved)


def test_the_figure_has_the_numbers_of_the_document(outcome):
    series, whole = outcome
    figure = amorphisation_series(series)
    degree, displacement, *_ = figure.axes
    assert degree.get_ylabel() == "degree of amorphisation (1)"
    lines = {
        line.get_color(): line for line in displacement.lines if len(line.get_xdata()) == len(series.points)
    }
    theta = [point.theta_s.value for point in series.points]
    assert any(list(line.get_xdata()) == theta for line in lines.values())
    msd = [point.species["Li"].last_msd for point in series.points]
    assert any(list(line.get_ydata()) == pytest.approx(msd) for line in lines.values())
    # From the analyses alone the same, but for the time in the melt, which these do not know.
    from_analyses = amorphisation_series({str(n): analysis for n, analysis in enumerate(whole)})
    assert [axes.get_ylabel() for axes in from_analyses.axes] == [
        axes.get_ylabel() for axes in figure.axes[1:]
    ]
    assert amorphisation_series(whole[0]) is None
