"""The commands as a user gives them, from an empty folder."""

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TINY = ROOT / "tests/data/tiny.yaml"
LAOC = [sys.executable, "-c", "from laoc_flows.cli.main import main; main()"]


def laoc(directory, *arguments):
    return subprocess.run(
        [*LAOC, *map(str, arguments)], cwd=directory, capture_output=True, text=True, check=False, timeout=180
    )


def test_version_and_help(tmp_path):
    assert laoc(tmp_path, "--version").stdout.startswith("laoc-flows ")
    done = laoc(tmp_path, "--help")
    assert done.returncode == 0
    for command in ("init", "db", "plan", "run", "status", "query"):
        assert command in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["quickstart", "paper2025"])
def test_shipped_campaigns_plan(tmp_path, name):
    done = laoc(tmp_path, "plan", ROOT / f"campaigns/{name}.yaml")
    assert done.returncode == 0, done.stderr
    assert "lambda" in done.stdout
    assert not list(tmp_path.iterdir())


def test_the_paper_has_its_five_cells(tmp_path):
    done = laoc(tmp_path, "plan", ROOT / "campaigns/paper2025.yaml", "--format", "json")
    found = {row["formula"]: row["links_per_al"] for row in json.loads(done.stdout)["rows"]}
    assert found == {
        "Li8Al16O12Cl32": 1.25,
        "Li16Al16O12Cl40": 0.75,
        "Li24Al16O12Cl48": 0.25,
        "Li16Al16O4Cl56": 0.25,
        "Li16Al16Cl64": 0.0,
    }


@pytest.mark.parametrize("command", ["plan", "run", "status"])
@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (("n_al: 2", "n_al: two"), ["cell.n_al", "'two'"]),
        (("seed: 3", "sead: 3"), ["sead", "seed"]),
        (("x: 1, y: 1/2", "x: 1, y: 1/3"), ["y1_3", "x1.000-y0.500"]),
        (("name: xtb", "name: dftb"), ["dftb", "xtb"]),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(tmp_path, command, change, parts):
    folder = tmp_path / "work"
    folder.mkdir()
    file = tmp_path / "mine.yaml"
    text = TINY.read_text()
    assert change[0] in text
    file.write_text(text.replace(*change))
    done = laoc(folder, command, file)
    assert done.returncode == 2
    assert done.stdout == ""
    for line in done.stderr.strip().splitlines():
        assert line.startswith("laoc: ")
        assert "mine.yaml" in line
        assert " -- " in line
    for part in parts:
        assert part in done.stderr
    assert not list(folder.iterdir())


def test_an_engine_that_cannot_run_is_refused_before_anything_is_written(tmp_path):
    done = laoc(tmp_path, "run", ROOT / "campaigns/paper2025.yaml")
    assert done.returncode == 2
    assert "vasp" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments", [("status", str(TINY)), ("query", "labels"), ("db", "status"), ("db", "stop")]
)
def test_without_a_workspace_it_says_how_to_make_one(tmp_path, arguments):
    done = laoc(tmp_path, *arguments)
    assert done.returncode == 2
    assert "laoc init" in done.stderr
    assert not list(tmp_path.iterdir())


def test_init_makes_a_private_workspace_that_works(tmp_path):
    done = laoc(tmp_path, "init")
    try:
        assert done.returncode == 0, done.stderr
        workspace = tmp_path / ".laoc"
        assert stat.S_IMODE(workspace.stat().st_mode) == 0o700
        for name in ("settings.yaml", "jobflow.yaml", "my_launchpad.yaml", "FW_config.yaml"):
            assert stat.S_IMODE((workspace / name).stat().st_mode) == 0o600
        assert "running" in laoc(tmp_path, "db", "status").stdout
        assert laoc(tmp_path, "init").returncode == 0
        empty = laoc(tmp_path, "query", "compositions", "--format", "json")
        assert empty.returncode == 0, empty.stderr
        assert json.loads(empty.stdout) == []
        status = laoc(tmp_path, "status", TINY)
        assert status.returncode == 2
        assert "never started" in status.stderr
        assert laoc(tmp_path, "db", "stop").returncode == 0
        assert "stopped" in laoc(tmp_path, "db", "status").stdout
        assert laoc(tmp_path, "db", "start").returncode == 0
    finally:
        laoc(tmp_path, "db", "stop")


def test_a_database_that_does_not_answer_is_named_without_its_password(tmp_path, monkeypatch):
    monkeypatch.setenv("LAOC_MONGO_URI", "mongodb://me:sesame@127.0.0.1:9/laoc?serverSelectionTimeoutMS=500")
    done = laoc(tmp_path, "init")
    assert done.returncode == 1
    assert "127.0.0.1:9" in done.stderr
    assert "sesame" not in done.stdout + done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
