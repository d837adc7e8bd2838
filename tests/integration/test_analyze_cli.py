"""``laoc analyze`` as a user runs it: a file, a folder, one JSON and the figures; or one line that says what is wrong."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import make_supercell
from ase.io import write

from laoc_flows.analysis import Analysis, Trajectory, analyze

LAOC = str(Path(sys.executable).with_name("laoc"))


def laoc(*arguments, directory):
    return subprocess.run(
        [LAOC, *map(str, arguments)], cwd=directory, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def cell(lialcl4):
    return make_supercell(lialcl4, np.diag([2, 2, 1]))


@pytest.fixture(scope="module")
def run(cell):
    rng = np.random.default_rng(4)
    positions = cell.positions + rng.normal(scale=0.05, size=(300, len(cell), 3))
    li = np.array(cell.get_chemical_symbols()) == "Li"
    positions[:, li] += rng.normal(scale=0.12, size=(300, li.sum(), 3)).cumsum(axis=0)
    return Trajectory(cell.get_chemical_symbols(), positions, cell.cell.array, time_step=0.1)


def test_a_file_becomes_one_json_and_the_figures(run, cell, tmp_path):
    run.write(tmp_path / "run.h5md", dtype="float64")
    write(tmp_path / "crystal.cif", cell)
    done = laoc(
        "analyze", "run.h5md", "-T", 300, "--out", "made", "--crystal", "crystal.cif", directory=tmp_path
    )
    assert done.returncode == 0, done.stderr
    found = Analysis.model_validate_json((tmp_path / "made/analysis.json").read_text())
    assert found.system.temperature == 300
    assert found.missing == {}
    same = analyze(run, 300.0, parts=("msd", "hops"))
    assert found.msd["Li"].value == pytest.approx(same.msd["Li"].value, abs=1e-9)
    assert found.hops.n_hops == same.hops.n_hops
    figures = {path.name for path in (tmp_path / "made").iterdir()} - {"analysis.json"}
    for name in ("chain_lengths", "hop_classes", "enrichment", "msd", "pair_correlations", "tetrahedra_time"):
        assert {f"{name}.png", f"{name}.pdf"} <= figures
    assert all((tmp_path / "made" / name).stat().st_size > 5000 for name in figures)
    assert "D(Li)" in done.stdout
    assert not [path for path in tmp_path.rglob(".*") if path.is_file()]


def test_any_format_a_window_and_no_figures(run, tmp_path):
    frames = [
        Atoms(run.species, positions=p, cell=c, pbc=True)
        for p, c in zip(run.positions, run.cells, strict=True)
    ]
    write(tmp_path / "run.extxyz", frames[:60])
    done = laoc(
        *(
            "analyze",
            "run.extxyz",
            "--time-step",
            0.1,
            "--start",
            1,
            "--stop",
            5,
            "--no-figures",
            "-o",
            "made",
        ),
        directory=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "made/analysis.json").read_text())
    assert (found["system"]["n_frames"], found["system"]["start_time"]) == (40, 1.0)
    assert found["missing"]["conductivity"] == "no temperature was given"
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["analysis.json"]
    assert "no conductivity: no temperature was given" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nowhere.h5",), ("nowhere.h5", "no such file")),
        (("run.extxyz",), ("run.extxyz", "--time-step")),
        (("run.extxyz", "--time-step", "-1"), ("-1",)),
        (("run.extxyz", "--time-step", "0.1", "-T", "-5"), ("--temperature -5", "kelvin")),
        (("run.extxyz", "--time-step", "0.1", "--bond", "Cl"), ("--bond 'Cl'", "Cl=2.8")),
        (("run.extxyz", "--time-step", "0.1", "--center", "P", "--ligands", "S"), ("no P", "Li, Al, Cl")),
        (("run.extxyz", "--time-step", "0.1", "--crystal", "none.cif"), ("none.cif", "--crystal")),
        (("run.extxyz", "--time-step", "0.1", "--start", "99"), ("99", "no frame", "0.2 ps")),
        (("run.extxyz", "--time-step", "0.1", "--stop", "-1"), ("--stop -1", "not after")),
        (("run.extxyz", "--time-step", "0.1", "-T", "inf"), ("--temperature inf",)),
        (("run.extxyz", "--time-step", "0.1", "--bond", "Cl=-2.8"), ("--bond Cl -2.8", "positive")),
        (("run.extxyz", "--time-step", "0.1", "--chain", "nan"), ("--chain nan",)),
        (("run.extxyz", "--time-step", "0.1", "--carrier", "Na"), ("--carrier Na", "Li, Al, Cl")),
        (("run.extxyz", "--time-step", "0.1", "--liquid", "run.extxyz"), ("--liquid", "--crystal")),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(run, tmp_path, arguments, words):
    frames = [Atoms(run.species, positions=p, cell=run.cells[0], pbc=True) for p in run.positions[:3]]
    write(tmp_path / "run.extxyz", frames)
    done = laoc("analyze", *arguments, "--out", "made", directory=tmp_path)
    assert done.returncode == 2
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("laoc: ")
    for word in words:
        assert word in line
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("out", ["file/made", "file"])
def test_a_folder_that_cannot_be_made_is_refused_before_the_work(run, tmp_path, out):
    (tmp_path / "file").write_text("mine")
    run.block(0, 3).write(tmp_path / "run.h5")
    done = laoc("analyze", "run.h5", "--out", out, directory=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"laoc: --out {out}: it cannot be written")
    assert "survey" not in done.stderr
    assert (tmp_path / "file").read_text() == "mine"


def test_a_full_disk_is_one_line_and_keeps_what_was_there(run, tmp_path):
    # Less room than the JSON needs, more than everything before it.
    run.write(tmp_path / "run.h5")
    (tmp_path / "made").mkdir()
    (tmp_path / "made/analysis.json").write_text("before")
    script = f"ulimit -f 400; trap '' XFSZ; exec {LAOC} analyze run.h5 --out made --no-figures"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "--out made: it cannot be written" in done.stderr.splitlines()[-1]
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["analysis.json"]
    assert (tmp_path / "made/analysis.json").read_text() == "before"
