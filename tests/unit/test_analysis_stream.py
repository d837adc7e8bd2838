"""Trajectories that stay in their files: the same numbers as in memory, in bounded memory."""

import gc
import subprocess
import sys
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import write
from hypothesis import given, settings
from hypothesis import strategies as st

from laoc_flows.analysis import Trajectory, msd, rdf
from laoc_flows.analysis.trajectories import h5md, series
from laoc_flows.errors import TrajectoryError

SPECIES = ("Li", "Li", "Al", "O", "Cl", "Cl")
CELL = np.array([[6.0, 0.0, 0.0], [1.5, 5.0, 0.0], [-1.0, 2.0, 7.0]])
LAMMPS_HEADER = "ITEM: TIMESTEP\n{}\nITEM: NUMBER OF ATOMS\n{}\nITEM: BOX BOUNDS pp pp pp\n0 8\n0 8\n0 8\n"


@pytest.fixture
def spools(tmp_path, monkeypatch):
    """The directory of temporary files."""
    folder = tmp_path / "spools"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def walk(n_frames=60, *, breathing=False, continuous=False, species=SPECIES, seed=0):
    rng = np.random.default_rng(seed)
    cells = CELL * np.linspace(1, 1.1 if breathing else 1, n_frames)[:, None, None]
    steps = rng.normal(0, 0.05, (n_frames, len(species), 3)).clip(-0.3, 0.3)
    fractional = rng.random((len(species), 3)) + np.cumsum(steps, axis=0)
    if not continuous:
        fractional -= np.floor(fractional)
    return Trajectory(species, np.matmul(fractional, cells), cells, 0.05, 3.0, continuous)


def on_disk(run, folder, kind):
    """Write the run in some format, and return what opens it."""
    if kind.startswith("float"):
        return run.write(folder / "run.h5md", dtype=kind), {}
    frames = [
        Atoms(run.species, positions=r, cell=c, pbc=True)
        for r, c in zip(run.positions, run.cells, strict=True)
    ]
    path = folder / ("run.traj" if kind == "traj" else "run.extxyz.gz")
    write(path, frames)
    return path, {"time_step": run.time_step}


@pytest.mark.parametrize("kind", ["float32", "float64", "traj", "extxyz.gz"])
@pytest.mark.parametrize("breathing", [False, True])
def test_the_same_numbers_as_in_memory(tmp_path, spools, kind, breathing):
    path, given = on_disk(walk(breathing=breathing), tmp_path, kind)
    memory = Trajectory.read(path, **given)
    with Trajectory.open(path, **given) as file:
        assert (file.species, file.n_frames, file.n_atoms) == (SPECIES, 60, 6)
        assert (file.time_step, file.start_time, file.continuous) == (0.05, memory.start_time, False)
        assert np.array_equal(file.times, memory.times)
        assert np.array_equal(file.cells, memory.cells)
        assert file.constant_cell == (not breathing)
        assert np.array_equal(file.frame(-1).positions, memory.positions[-1])
        pieces = list(file.chunks(max_bytes=7 * 24 * 6))
        assert [piece.n_frames for piece in pieces] == [7] * 8 + [4]
        assert pieces[1].start_time == pytest.approx(memory.start_time + 7 * 0.05)
        assert np.array_equal(np.concatenate([piece.positions for piece in pieces]), memory.positions)
        for drift in ("framework", "com", "none"):
            expected, found = memory.paths(drift), file.paths(drift)
            assert np.abs(found.of() - expected.of()).max() < 1e-5
            assert np.abs(found.of([1, 4], 10, 30) - expected.of([1, 4], 10, 30)).max() < 1e-5
        assert file.paths() is file.paths()
        assert rdf(file, "Li", "Cl") == rdf(memory, "Li", "Cl")
    assert list(spools.iterdir()) == []


def test_displacements_of_a_file(tmp_path):
    run = walk(300)
    with Trajectory.open(run.write(tmp_path / "run.h5md", dtype="float64")) as file:
        expected, found = msd(run, "Li"), msd(file, "Li")
        assert np.allclose(found.value, expected.value, rtol=1e-5)
        assert np.allclose(found.lag_time, expected.lag_time, rtol=1e-12)


def test_continuous_files_are_not_unwrapped(tmp_path):
    run = walk(continuous=True)
    jump = Trajectory(SPECIES, run.positions[::20], CELL, 1.0, continuous=True)
    with Trajectory.open(jump.write(tmp_path / "run.h5md", dtype="float64")) as file:
        assert file.continuous
        assert np.allclose(file.paths("none").of(), jump.positions, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(first=st.integers(0, 19), length=st.integers(1, 20), inner=st.integers(0, 19))
def test_windows_are_cut_without_reading(tmp_path_factory, first, length, inner):
    run = walk(20, breathing=True)
    path = run.write(tmp_path_factory.mktemp("stream") / "run.h5md", dtype="float64")
    with Trajectory.open(path) as file:
        t0, t1 = 3.0 + 0.05 * first, 3.0 + 0.05 * (first + length)
        window, expected = file.window(t0, t1), run.window(t0, t1)
        assert type(window) is type(file)
        assert np.array_equal(window.block(0, 99).positions, expected.positions)
        assert np.array_equal(window.cells, expected.cells)
        assert window.start_time == pytest.approx(expected.start_time)
        k = min(inner, expected.n_frames - 1)
        narrow = window.window(window.times[k], np.inf)
        assert np.array_equal(narrow.frame(0).positions, expected.positions[k])


def test_blocks_outside_and_closed_files(tmp_path, spools):
    for kind in ("float64", "traj"):
        path, given = on_disk(walk(), tmp_path, kind)
        file = Trajectory.open(path, **given)
        assert file.block(50, 99).n_frames == 10
        with pytest.raises(TrajectoryError, match="no frame from 60 to 60"):
            file.block(60, 70)
        with pytest.raises(TrajectoryError, match="no frame 60"):
            file.frame(60)
        with pytest.raises(TrajectoryError, match="no frame in"):
            file.window(0, 1e-3) if file.start_time else file.window(99, 100)
        window, paths = file.window(file.times[10], np.inf), file.paths()
        file.close()
        file.close()
        for closed in (file, window):
            with pytest.raises(TrajectoryError, match="the file is closed"):
                closed.frame(0)
        assert paths.of().shape == (60, 6, 3)
        assert "60 frames of 6 atoms" in repr(file)
    assert list(spools.iterdir()) == []


def test_a_window_keeps_the_file_open(tmp_path):
    path, given = on_disk(walk(), tmp_path, "traj")
    window = Trajectory.open(path, **given).window(0, 1)
    gc.collect()
    assert window.block(0, 20).n_frames == 20


def test_a_file_writes_the_same_bytes_as_memory(tmp_path):
    path, given = on_disk(walk(), tmp_path, "traj")
    memory = Trajectory.read(path, **given).write(tmp_path / "memory.h5md")
    with Trajectory.open(path, **given) as file:
        assert file.write(tmp_path / "file.h5md").read_bytes() == memory.read_bytes()


def test_progress_and_restarts_of_a_conversion(tmp_path, spools):
    rng = np.random.default_rng(0)
    steps = [0, 10, 20, 30, 20, 30, 40]
    positions = rng.random((7, 3, 3)) * 8
    text = "".join(
        LAMMPS_HEADER.format(step, 3)
        + "ITEM: ATOMS id element x y z\n"
        + "".join(f"{i} Li {' '.join(map(str, row))}\n" for i, row in enumerate(frame))
        for step, frame in zip(steps, positions, strict=True)
    )
    (tmp_path / "run.dump").write_text(text)
    calls = []
    with Trajectory.open(
        tmp_path / "run.dump", md_step=0.001, progress=lambda done, total: calls.append((done, total))
    ) as file:
        assert np.array_equal(file.block(0, 5).positions, positions[[0, 1, 4, 5, 6]])
    assert calls == [(n, None) for n in (1, 2, 3, 4, 3, 4, 5)]
    assert list(spools.iterdir()) == []


def test_a_failed_conversion_leaves_nothing(tmp_path, spools):
    path, given = on_disk(walk(), tmp_path, "traj")
    with pytest.raises(TrajectoryError, match="how far apart"):
        Trajectory.open(path)

    def interrupt(done, _):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Trajectory.open(path, **given, progress=interrupt)
    assert list(spools.iterdir()) == []
    spools.rmdir()
    with pytest.raises(TrajectoryError, match=r"cannot be written .* -- set TMPDIR"):
        Trajectory.open(path, **given)


def test_a_full_disk_is_a_clear_error(tmp_path, monkeypatch):
    path, given = on_disk(walk(), tmp_path, "traj")
    with Path("/dev/full").open("wb", buffering=0) as full:
        monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: full)
        with pytest.raises(TrajectoryError, match=r"No space left on device.* -- set TMPDIR"):
            Trajectory.open(path, **given)
        assert full.closed


def test_a_flat_cell_and_a_bad_position_are_refused(tmp_path):
    path, given = on_disk(walk(), tmp_path, "extxyz.gz")
    plain = tmp_path / "flat.xyz"
    plain.write_text('1\nLattice="6 0 0 0 5 0 6 5 0"\nLi 0 0 0\n' * 2)
    with pytest.raises(TrajectoryError, match="no volume"):
        Trajectory.open(plain, 1.0)
    plain.write_text('1\nLattice="6 0 0 0 5 0 0 0 5"\nLi 0 0 nan\n')
    with Trajectory.open(plain, 1.0) as file, pytest.raises(TrajectoryError, match="not a finite number"):
        file.frame(0)
    with pytest.raises(TrajectoryError, match="the file says"):
        Trajectory.open(walk().write(tmp_path / "run.h5md"), 1.0)
    with pytest.raises(TrajectoryError, match="no such file"):
        Trajectory.open(tmp_path / "absent.dump", **given)
    assert path.exists()


def test_unwrapping_of_a_file_holds_one_chunk_at_a_time(tmp_path, monkeypatch):
    limit = 2**20
    monkeypatch.setattr(series, "CHUNK_BYTES", limit)
    species = ("Li",) * 50 + ("Al",) * 50
    path = walk(4000, species=species).write(tmp_path / "run.h5md")
    whole = 4000 * 100 * 24
    with Trajectory.open(path) as file:
        tracemalloc.start()
        paths = file.paths()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert paths.n_frames == 4000
    # Cells and times, and one chunk.
    assert peak < 4000 * 200 + 2 * limit < whole / 2


MEMORY = """
import resource, sys
import numpy as np
from laoc_flows.analysis import Trajectory, rdf

with Trajectory.open(sys.argv[1]) as file:
    rdf(file.window(0, 0.01), "Li", "Li")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    n_frames, mean = 0, np.zeros(3)
    for piece in file.chunks(max_bytes=2**22):
        n_frames += piece.n_frames
        mean += piece.positions.sum(axis=(0, 1))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(n_frames, (after - before) * 1024, *(mean / (n_frames * file.n_atoms)))
"""


def test_a_file_larger_than_its_memory(tmp_path):
    n_atoms, n_frames = 300, 60_000
    rng = np.random.default_rng(0)
    # Few digits, which are written fast.
    part = rng.integers(0, 72, (600, n_atoms, 3)) / 8
    path = tmp_path / "large.h5md"
    cells = np.broadcast_to(9 * np.eye(3), (n_frames, 3, 3))
    header = h5md.Header(("Li",) * n_atoms, cells, 0.002, 0.0, continuous=False)
    h5md.write(path, header, (part for _ in range(n_frames // 600)), "float32")
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(path)], capture_output=True, text=True, check=True, timeout=120
    )
    found, grown, *mean = done.stdout.split()
    assert int(found) == n_frames
    assert np.allclose([float(x) for x in mean], part.mean(axis=(0, 1)), atol=1e-5)
    # The positions take 432 MB in memory; a chunk of them, in two precisions, a few MB.
    assert int(grown) < 48 * 2**20 < n_atoms * n_frames * 24 / 8
