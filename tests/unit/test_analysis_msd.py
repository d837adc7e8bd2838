"""Mean squared displacements: batches, invariances, single atoms, and what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laoc_flows.analysis import Trajectory, diffusive_window
from laoc_flows.analysis.transport.displacements import atom_series, mean_squares, spread_lags, square_blocks
from laoc_flows.analysis.transport.msd import msd, msd_per_particle
from laoc_flows.errors import InputError, TrajectoryError

CELL = np.array([[9.0, 0, 0], [2, 8, 0], [1, -2, 10]])
SPECIES = ("Li", "Al", "Cl", "Li", "O")


def walk(n_frames=60, n_atoms=5, seed=0):
    return np.cumsum(np.random.default_rng(seed).normal(0, 0.4, (n_frames, n_atoms, 3)), axis=0)


def run(positions, species=SPECIES, cell=CELL, time_step=0.5):
    return Trajectory(species, positions, cell, time_step)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), n_frames=st.integers(3, 40))
def test_the_msd_does_not_see_what_it_must_not_see(seed, n_frames):
    rng = np.random.default_rng(seed)
    positions = walk(n_frames, seed=seed)
    expected = np.array(msd(run(positions), "Li").value)
    shifted = run(positions + rng.uniform(-50, 50, 3))
    fractional = positions @ np.linalg.inv(CELL)
    wrapped = run((fractional - np.floor(fractional)) @ CELL)
    backward = run(positions[::-1])
    order = rng.permutation(5)
    shuffled = run(positions[:, order], tuple(SPECIES[k] for k in order))
    # The same lattice, described by another cell.
    other_cell = run(positions, cell=np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1]]) @ CELL)
    for same in (shifted, wrapped, backward, shuffled, other_cell):
        assert np.array(msd(same, "Li").value) == pytest.approx(expected, abs=1e-9)


def test_a_supercell_of_copies_has_the_same_msd():
    positions = walk()
    moved = np.concatenate([positions, positions + CELL[0]], axis=1)
    double = run(moved, SPECIES * 2, np.diag([2, 1, 1]) @ CELL)
    assert msd(double, "Li").value == pytest.approx(msd(run(positions), "Li").value, abs=1e-9)


def test_axes_and_atoms_add_up():
    trajectory = run(walk())
    result = msd(trajectory, "Li")
    assert np.sum(result.per_axis, axis=1) == pytest.approx(result.value)
    single = [msd(trajectory, "Li", atoms=[k]) for k in (0, 3)]
    assert np.mean([each.value for each in single], axis=0) == pytest.approx(result.value)
    assert [each.n_particles for each in single] == [1, 1]
    each = msd_per_particle(trajectory, "Li")
    assert each.atoms == (0, 3)
    assert each.lag_time == result.lag_time
    assert each.value.shape == (len(each.lag_time), 2)
    assert each.value[:, 1] == pytest.approx(single[1].value)
    assert each.value.mean(axis=1) == pytest.approx(result.value)


def test_batches_make_no_difference(monkeypatch):
    positions = walk(n_atoms=150)
    trajectory = run(positions, ("Li",) * 149 + ("Al",))
    whole = msd(trajectory, "Li")
    alone = msd_per_particle(trajectory, "Li", max_lags=7).value
    monkeypatch.setattr("laoc_flows.analysis.transport.displacements._BATCH_BYTES", 1)
    assert next(atom_series(trajectory.paths(), np.arange(5))).shape == (1, 3, 60)
    assert msd(trajectory, "Li").value == pytest.approx(whole.value, rel=1e-12)
    assert msd_per_particle(trajectory, "Li", max_lags=7).value == pytest.approx(alone, rel=1e-12)


def test_a_file_gives_what_memory_gives(tmp_path):
    trajectory = run(walk(n_frames=200))
    path = trajectory.write(tmp_path / "run.h5md", dtype="float64")
    with Trajectory.open(path) as file:
        streamed = msd(file, "Li")
    assert streamed.value == pytest.approx(msd(trajectory, "Li").value, rel=1e-5)


def test_the_carrier_does_not_belong_to_the_framework():
    trajectory = run(walk(), ("Na", "Ta", "O", "Cl", "Na"))
    both = msd(trajectory, "Na", carrier="Na").value
    assert both != pytest.approx(msd(trajectory, "Na", carrier="Li").value)
    relative = walk() - (walk()[:, 1:4].mean(axis=1) - walk()[0, 1:4].mean(axis=0))[:, None]
    expected = ((relative[1:, [0, 4]] - relative[:-1, [0, 4]]) ** 2).sum(axis=-1).mean()
    assert both[0] == pytest.approx(expected)


def test_a_resting_atom_has_exactly_no_displacement():
    positions = np.tile([[1e3, 1e3, 1e3], [0, 0, 0]], (50, 1, 1)).reshape(50, 2, 3)
    result = msd(run(positions, ("Li", "Cl"), 20 * np.eye(3)), "Li")
    assert set(result.value) == {0.0}


def test_square_blocks_against_loops():
    positions = walk(n_frames=41, n_atoms=3)
    trajectory = run(positions, ("Li",) * 3)
    lags, borders = np.array([1, 4, 9]), np.array([0, 10, 20, 32])
    blocks = square_blocks(trajectory.paths("none"), np.arange(3), lags, borders)
    for m, lag in enumerate(lags):
        squared = ((positions[lag:] - positions[:-lag]) ** 2).sum(axis=-1)
        for b in range(3):
            part = squared[borders[b] : borders[b + 1]]
            assert blocks.mean[b, m] == pytest.approx(part.mean())
            assert blocks.variance[b, m] == pytest.approx(part.var(ddof=1))
        assert blocks.per_atom[:, m] == pytest.approx(squared[:32].mean(axis=0))
    whole = square_blocks(trajectory.paths("none"), np.arange(3), lags, np.array([0, 41]))
    fourier = mean_squares(positions.transpose(1, 2, 0), 9, summed=True).sum(axis=0) / 3
    assert whole.mean[0] == pytest.approx(fourier[lags - 1])


@pytest.mark.parametrize("n_frames", [1, 2])
def test_too_short_runs_are_empty(n_frames):
    assert msd_per_particle(run(walk(n_frames)), "Li").value.shape == (0, 2)
    assert msd(run(walk(n_frames)), "Li").value == ()


def test_absent_species():
    result = msd_per_particle(run(walk()), "P")
    assert (result.atoms, result.value.size) == ((), 0)


def test_what_is_refused():
    trajectory = run(walk())
    cells = CELL * np.linspace(1, 1.001, 60)[:, None, None]
    with pytest.raises(TrajectoryError, match="cell varies"):
        msd_per_particle(run(walk(), cell=cells), "Li")
    for atoms in ([1], [0, 0], [99]):
        with pytest.raises(InputError, match="different Li atoms"):
            msd(trajectory, "Li", atoms=atoms)
    with pytest.raises(InputError, match="max_lags"):
        msd_per_particle(trajectory, "Li", max_lags=0)
    with pytest.raises(InputError, match="copies"):
        diffusive_window(msd(trajectory, "Li"), copies=0)
    with pytest.raises(TrajectoryError, match="framework"):
        msd(run(walk(n_atoms=2), ("Li", "Li")), "Li")


def test_spread_lags():
    assert spread_lags(1, 0, 5).size == 0
    assert spread_lags(3, 3, 5).tolist() == [3]
    lags = spread_lags(2, 5000, 40)
    assert (lags[0], lags[-1]) == (2, 5000)
    assert (np.diff(lags) > 0).all()
    assert lags.size <= 40


def test_the_exponent_is_given_as_a_curve():
    t = np.arange(400)[:, None, None]
    flight = run(t * np.array([[0.01, 0.02, 0.0], [0.0, 0.0, 0.0]]), ("Li", "Cl"))
    window = diffusive_window(msd(flight, "Li"))
    assert len(window.lag_time) == len(window.exponent) > 10
    assert window.exponent == pytest.approx([2.0] * len(window.exponent), abs=1e-6)
    assert window.lag_time[0] >= 1.0
    assert diffusive_window(msd(flight, "P")).exponent == ()


def test_copies_divide_the_counted_motion():
    result = msd(run(walk(400)), "Li")
    one, four = (diffusive_window(result, copies=k) for k in (1, 4))
    assert four.n_eff == pytest.approx(one.n_eff / 4)


def test_results_survive_json():
    for result in (msd(run(walk()), "Li"), diffusive_window(msd(run(walk()), "Li"))):
        assert type(result).model_validate_json(result.model_dump_json()) == result
    each = msd_per_particle(run(walk()), "Li")
    again = type(each).model_validate_json(each.model_dump_json())
    assert np.array_equal(again.value, each.value)
    assert not again.value.flags.writeable
