"""Trajectories: validation, windows, unwrapping, drift, files."""

import h5py
import MDAnalysis
import numpy as np
import pytest
from ase import Atoms
from ase.data import atomic_masses
from ase.io import write
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from laoc_flows.analysis import Frame, Trajectory, as_frame
from laoc_flows.errors import InputError, LaocError, TrajectoryError

SPECIES = ("Li", "Al", "O", "Cl", "Cl")
CELL = np.array([[6.0, 0.0, 0.0], [1.5, 5.0, 0.0], [-1.0, 2.0, 7.0]])


def walk(n_frames=40, n_atoms=5, cell=CELL, step=0.3, seed=0):
    """Unwrapped positions of a random walk and the same positions wrapped into the cell."""
    rng = np.random.default_rng(seed)
    true = rng.random((n_atoms, 3)) @ cell + np.cumsum(rng.normal(0, step, (n_frames, n_atoms, 3)), axis=0)
    fractional = true @ np.linalg.inv(cell)
    return true, (fractional - np.floor(fractional)) @ cell


def make(n_frames=40, **kwargs):
    true, wrapped = walk(n_frames, **kwargs)
    return true, Trajectory(SPECIES, wrapped, CELL, 0.05)


@pytest.mark.parametrize(
    "change",
    [
        {"species": ("Li",)},
        {"species": ("Li", "Al", "O", "Cl", "Xx")},
        {"species": ()},
        {"positions": np.zeros((3, 5, 2))},
        {"positions": np.zeros((0, 5, 3))},
        {"positions": np.full((3, 5, 3), np.nan)},
        {"cells": np.zeros((3, 3))},
        {"cells": np.broadcast_to(np.eye(3), (2, 3, 3))},
        {"cells": np.full((3, 3), np.inf)},
        {"time_step": 0.0},
        {"time_step": np.nan},
    ],
)
def test_refuses_what_is_no_trajectory(change):
    good = {"species": SPECIES, "positions": np.zeros((3, 5, 3)), "cells": np.eye(3), "time_step": 1.0}
    Trajectory(**good)
    with pytest.raises(TrajectoryError):
        Trajectory(**(good | change))


def test_shapes_times_and_frames():
    _, trajectory = make()
    assert (trajectory.n_frames, trajectory.n_atoms) == (40, 5)
    assert trajectory.constant_cell
    assert trajectory.times[-1] == pytest.approx(39 * 0.05)
    frame = trajectory.frame(-1)
    assert frame.volume == pytest.approx(6 * 5 * 7)
    assert np.array_equal(frame.positions, trajectory.positions[39])
    with pytest.raises(TrajectoryError, match="no frame 40"):
        trajectory.frame(40)
    with pytest.raises(ValueError, match="read-only"):
        trajectory.positions[0] = 0


def test_the_callers_arrays_stay_writeable():
    positions = np.zeros((2, 5, 3))
    Trajectory(SPECIES, positions, CELL, 1.0)
    positions[0] = 1.0
    assert positions.flags.writeable


def test_windows_are_half_open_and_tile_the_run():
    _, trajectory = make(n_frames=41)
    parts = [trajectory.window(t, t + 0.5) for t in (0.0, 0.5, 1.0, 1.5)]
    assert [part.n_frames for part in parts] == [10, 10, 10, 10]
    assert [part.start_time for part in parts] == pytest.approx([0, 0.5, 1, 1.5])
    assert np.array_equal(np.concatenate([part.positions for part in parts]), trajectory.positions[:40])
    assert parts[2].window(1.1, np.inf).n_frames == 8
    with pytest.raises(TrajectoryError, match="no frame in"):
        trajectory.window(5.0, 6.0)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_unwrapping_restores_the_walk(seed):
    true, trajectory = make(seed=seed)
    unwrapped = trajectory.unwrapped("none")
    assert np.allclose(unwrapped - unwrapped[0], true - true[0], atol=1e-10)
    assert np.array_equal(unwrapped[0], trajectory.positions[0]) or np.allclose(
        unwrapped[0], trajectory.positions[0], atol=1e-12
    )


def test_drift_choices():
    true, _ = make()
    wind = np.linspace(0, 30, 40)[:, None, None] * np.array([1.0, -0.5, 0.2])
    trajectory = Trajectory(SPECIES, true + wind, CELL, 0.05)
    moved = true - true[0]
    framework = trajectory.unwrapped("framework")
    expected = moved - moved[:, 1:].mean(axis=1, keepdims=True)
    assert np.allclose(framework - framework[0], expected, atol=1e-10)
    masses = atomic_masses[[3, 13, 8, 17, 17]]
    expected = moved - np.average(moved, axis=1, weights=masses)[:, None]
    com = trajectory.unwrapped("com")
    assert np.allclose(com - com[0], expected, atol=1e-10)
    with pytest.raises(TrajectoryError, match="drift"):
        trajectory.unwrapped("wrong")
    lithium = Trajectory(("Li",) * 5, true, CELL, 0.05)
    with pytest.raises(TrajectoryError, match="no framework"):
        lithium.unwrapped()


@pytest.mark.parametrize(("step", "accepted"), [(0.39, True), (0.41, False), (0.5, False)])
def test_frames_too_far_apart_are_refused(step, accepted):
    positions = np.zeros((2, 2, 3))
    positions[1, 1] = np.array([0, step, 0]) @ CELL
    trajectory = Trajectory(("Al", "Li"), positions, CELL, 1.0)
    if accepted:
        assert np.allclose(trajectory.unwrapped("none")[1, 1], positions[1, 1])
    else:
        with pytest.raises(
            TrajectoryError, match=r"Li atom 1 moves by .* of cell vector b between frames 0 and 1"
        ):
            trajectory.unwrapped("none")


def test_unwrapping_in_a_breathing_cell():
    scale = 1 + 0.1 * np.sin(np.linspace(0, 5, 40))
    cells = scale[:, None, None] * CELL
    fractional = np.cumsum(np.random.default_rng(1).normal(0, 0.03, (40, 5, 3)), axis=0)
    wrapped = np.matmul(fractional - np.floor(fractional), cells)
    trajectory = Trajectory(SPECIES, wrapped, cells, 1.0)
    assert not trajectory.constant_cell
    found = np.matmul(trajectory.unwrapped("none"), np.linalg.inv(cells))
    assert np.allclose(found - found[0], fractional - fractional[0], atol=1e-12)


@pytest.mark.parametrize(("dtype", "error"), [("float32", 1e-6), ("float64", 0.0)])
def test_h5md_round_trip(tmp_path, dtype, error):
    _, wrapped = walk()
    cells = CELL * np.linspace(1, 1.01, 40)[:, None, None]
    trajectory = Trajectory(SPECIES, wrapped, cells, 0.05, 3.0)
    path = trajectory.write(tmp_path / "run.h5md", dtype=dtype)
    back = Trajectory.read(path)
    assert back.species == SPECIES
    assert np.abs(back.positions - wrapped).max() <= error
    assert np.array_equal(back.cells, cells)
    assert (back.time_step, back.start_time) == (0.05, 3.0)
    assert [p.name for p in tmp_path.iterdir()] == ["run.h5md"]


def test_one_frame_round_trip_keeps_the_time_step(tmp_path):
    _, trajectory = make()
    back = Trajectory.read(trajectory.window(0, 0.05).write(tmp_path / "one.h5"))
    assert (back.n_frames, back.time_step) == (1, 0.05)


def test_h5md_follows_the_specification(tmp_path):
    _, trajectory = make()
    with h5py.File(trajectory.write(tmp_path / "run.h5md")) as file:
        assert list(file["h5md"].attrs["version"]) == [1, 1]
        assert {"author", "creator"} <= set(file["h5md"])
        assert "units" in file["h5md/modules"]
        group = file["particles/all"]
        assert group["position/value"].shape == (40, 5, 3)
        assert group["position/value"].attrs["unit"] == "Angstrom"
        assert group["position/time"].attrs["unit"] == "ps"
        assert group["box"].attrs["dimension"] == 3
        assert list(group["box"].attrs["boundary"]) == [b"periodic"] * 3
        assert group["box/edges/step"] == group["position/step"]
        assert h5py.check_enum_dtype(group["species"].dtype) == {"Al": 13, "Cl": 17, "Li": 3, "O": 8}
        assert group["species"][()].tolist() == [3, 13, 8, 17, 17]


def test_h5md_bytes_depend_on_the_trajectory_only(tmp_path):
    _, trajectory = make()
    first = trajectory.write(tmp_path / "first.h5md").read_bytes()
    assert trajectory.write(tmp_path / "second.h5md").read_bytes() == first
    assert make(seed=1)[1].write(tmp_path / "third.h5md").read_bytes() != first


def test_mdanalysis_reads_our_h5md(tmp_path):
    _, wrapped = walk()
    cells = CELL * np.linspace(1, 1.01, 40)[:, None, None]
    path = Trajectory(SPECIES, wrapped, cells, 0.05).write(tmp_path / "run.h5md")
    universe = MDAnalysis.Universe.empty(5, trajectory=True)
    universe.load_new(str(path), format="H5MD")
    assert len(universe.trajectory) == 40
    for k, step in enumerate(universe.trajectory):
        assert np.allclose(step.positions, wrapped[k], atol=1e-5)
        assert step.time == pytest.approx(0.05 * k)
        assert step.dimensions == pytest.approx(Atoms(cell=cells[k]).cell.cellpar(), abs=1e-4)
        assert step.volume == pytest.approx(np.linalg.det(cells[k]), rel=1e-5)


def retime(path, times):
    with h5py.File(path, "r+") as file:
        file["particles/all/position/time"][...] = times


def test_frames_that_a_restart_replaced_are_dropped(tmp_path):
    _, trajectory = make(n_frames=7)
    path = trajectory.write(tmp_path / "run.h5md", dtype="float64")
    # The run wrote 0.00 to 0.15, was killed, and went on from the checkpoint at 0.10.
    retime(path, [0.0, 0.05, 0.10, 0.15, 0.10, 0.15, 0.20])
    back = Trajectory.read(path)
    assert np.array_equal(back.positions, trajectory.positions[[0, 1, 4, 5, 6]])


def test_h5md_refusals(tmp_path):
    _, trajectory = make(n_frames=4)
    path = trajectory.write(tmp_path / "run.h5md")
    with pytest.raises(TrajectoryError, match=r"the file says 0\.05"):
        Trajectory.read(path, time_step=0.1)
    retime(path, [0.0, 0.05, 0.2, 0.25])
    with pytest.raises(TrajectoryError, match="not equally spaced"):
        Trajectory.read(path)
    with h5py.File(path, "r+") as file:
        file["particles/all/position/value"].attrs["unit"] = "parsec"
    retime(path, [0.0, 0.05, 0.1, 0.15])
    with pytest.raises(TrajectoryError, match="parsec"):
        Trajectory.read(path)
    with h5py.File(path, "r+") as file:
        del file["particles/all/species"]
    with pytest.raises(TrajectoryError, match="species"):
        Trajectory.read(path)
    path.write_bytes(b"no HDF5")
    with pytest.raises(TrajectoryError, match="not a readable H5MD file"):
        Trajectory.read(path)
    with pytest.raises(TrajectoryError, match="no such file"):
        Trajectory.read(tmp_path / "absent.h5md")
    with pytest.raises(TrajectoryError, match="cannot be written"):
        trajectory.write(tmp_path / "absent" / "run.h5md")


def test_reads_what_ase_reads_without_repeated_frames(tmp_path):
    _, wrapped = walk(n_frames=5)
    order = [0, 1, 2, 2, 3, 4]
    frames = [Atoms(SPECIES, positions=wrapped[k], cell=CELL, pbc=True) for k in order]
    write(tmp_path / "run.extxyz", frames)
    with pytest.raises(TrajectoryError, match="time_step"):
        Trajectory.read(tmp_path / "run.extxyz")
    trajectory = Trajectory.read(tmp_path / "run.extxyz", time_step=0.5)
    assert trajectory.n_frames == 5
    assert np.allclose(trajectory.positions, wrapped, atol=1e-6)
    (tmp_path / "bad.extxyz").write_text("nonsense\n")
    with pytest.raises(TrajectoryError, match="not a number of atoms"):
        Trajectory.read(tmp_path / "bad.extxyz", time_step=0.5)


def test_from_ase_refuses_changing_atoms():
    one = Atoms("LiAl", positions=[[0, 0, 0], [1, 1, 1]], cell=np.eye(3) * 9, pbc=True)
    two = Atoms("AlLi", positions=[[0, 0, 0], [1, 1, 1]], cell=np.eye(3) * 9, pbc=True)
    assert Trajectory.from_ase([one, one], 1.0).n_frames == 2
    with pytest.raises(TrajectoryError, match="frame 1"):
        Trajectory.from_ase([one, two], 1.0)
    with pytest.raises(TrajectoryError, match="no frames"):
        Trajectory.from_ase([], 1.0)


def test_one_converter_for_every_kind_of_structure():
    positions = np.array([[0.1, 0.2, 0.3], [8.0, -3.0, 2.0]])
    frames = [
        as_frame(Frame(("Li", "Cl"), positions, CELL)),
        as_frame(Atoms("LiCl", positions=positions, cell=CELL, pbc=True)),
        as_frame(Structure(Lattice(CELL), ["Li+", "Cl-"], positions, coords_are_cartesian=True)),
    ]
    for frame in frames:
        assert frame.species == ("Li", "Cl")
        assert np.allclose(frame.positions, positions)
        assert np.allclose(frame.cell, CELL)
    with pytest.raises(InputError, match="not periodic"):
        as_frame(Atoms("LiCl", positions=positions))
    with pytest.raises(InputError, match="partly occupied"):
        as_frame(Structure(Lattice(CELL), [{"Li": 0.5}], [[0, 0, 0]]))
    with pytest.raises(LaocError, match="str is not"):
        as_frame("LiCl")
    with pytest.raises(InputError, match="volume"):
        Frame(("Li",), [[0, 0, 0]], np.zeros((3, 3)))
