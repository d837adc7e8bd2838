"""Settings: file, environment, errors, programs."""

import os
import stat
import sys
from pathlib import Path

import pytest

from laoc_flows.errors import EngineUnavailableError, InputError
from laoc_flows.settings import Settings, write_private

SECRET = "s3cr3t-Pa55"  # noqa: S105


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    for name in [name for name in os.environ if name.startswith("LAOC_")]:
        monkeypatch.delenv(name)


def write(workspace: Path, text: str) -> Path:
    path = workspace / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return path


def executable(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n", encoding="utf-8")
    path.chmod(0o700)
    return path


def test_defaults_without_a_file(tmp_path):
    settings = Settings.load(tmp_path)
    assert settings.workspace == tmp_path
    assert settings.mongo_uri is None
    assert settings.database == "laoc"
    assert settings.trajectory_root == str(tmp_path / "trajectories")
    assert settings.scratch == tmp_path / "scratch"
    assert settings.threads_per_job == 1
    assert settings.processes is None
    assert settings.cores == len(os.sched_getaffinity(0))


def test_the_workspace_is_an_argument_or_the_environment_or_the_current_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Settings.load().workspace == tmp_path / ".laoc"
    monkeypatch.setenv("LAOC_WORKSPACE", str(tmp_path / "environment"))
    assert Settings.load().workspace == tmp_path / "environment"
    assert Settings.load(tmp_path / "argument").workspace == tmp_path / "argument"


def test_the_environment_overrides_the_file(tmp_path, monkeypatch):
    write(tmp_path, "processes: 3\nthreads_per_job: 2\ndatabase: of_the_file\n")
    monkeypatch.setenv("LAOC_PROCESSES", "5")
    monkeypatch.setenv("LAOC_DATABASE", "")
    settings = Settings.load(tmp_path)
    assert (settings.processes, settings.cores, settings.threads_per_job) == (5, 5, 2)
    assert settings.database == "of_the_file"


def test_paths_are_below_the_workspace_and_urls_stay(tmp_path):
    write(tmp_path, "trajectory_root: s3://bucket/laoc\nscratch: fast/scratch\n")
    settings = Settings.load(tmp_path)
    assert settings.trajectory_root == "s3://bucket/laoc"
    assert settings.scratch == tmp_path / "fast" / "scratch"
    write(tmp_path, "trajectory_root: /data/laoc\nscratch: /tmp/laoc\n")
    settings = Settings.load(tmp_path)
    assert settings.trajectory_root == "/data/laoc"
    assert settings.scratch == Path("/tmp/laoc")  # noqa: S108


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("procesess: 4\n", ["procesess = 4", "unknown setting", "threads_per_job"]),
        ("processes: many\n", ["processes = 'many'", "integer", "jobs that run at once"]),
        ("processes: 0\n", ["processes = 0", "greater than or equal to 1"]),
        ("database: a/b\n", ["database = 'a/b'", "name of the MongoDB database"]),
        ("lmp_command: 'mpirun \"dp'\n", ["lmp_command = ", "quotation"]),
        ("lmp_command: ''\n", ["lmp_command = ''", "must name a program"]),
        ("- 1\n", ["list, not a mapping"]),
        ("a: [1\n", ["not valid YAML (line 2, column 1)"]),
        ("x: !!python/object/apply:os.system [true]\n", ["not valid YAML"]),
        ("workspace: /elsewhere\n", ["workspace = '/elsewhere'", "LAOC_WORKSPACE"]),
    ],
)
def test_errors_in_the_file_are_one_line_with_file_key_value_and_remedy(tmp_path, text, parts):
    path = write(tmp_path, text)
    with pytest.raises(InputError) as caught:
        Settings.load(tmp_path)
    line = str(caught.value)
    assert line.startswith(str(path))
    assert " -- " in line
    assert "\n" not in line
    for part in parts:
        assert part in line


def test_errors_in_the_environment_name_the_variable(tmp_path, monkeypatch):
    write(tmp_path, "processes: 2\n")
    monkeypatch.setenv("LAOC_PROCESSES", "two")
    with pytest.raises(InputError, match="LAOC_PROCESSES = 'two'"):
        Settings.load(tmp_path)


@pytest.mark.parametrize(
    "text", [f"mongo_uri: http://u:{SECRET}@h\n", f"mongo_uri: mongodb://u:{SECRET}@h\n: [\n"]
)
def test_a_password_is_in_no_error(tmp_path, text):
    write(tmp_path, text)
    with pytest.raises(InputError) as caught:
        Settings.load(tmp_path)
    assert SECRET not in str(caught.value)


def test_a_password_is_not_shown(tmp_path):
    write(tmp_path, f"mongo_uri: mongodb://u:{SECRET}@h\n")
    settings = Settings.load(tmp_path)
    assert settings.mongo_uri.get_secret_value() == f"mongodb://u:{SECRET}@h"
    assert SECRET not in repr(settings)
    assert SECRET not in settings.model_dump_json()


def test_a_password_that_others_may_read_is_refused(tmp_path):
    path = write(tmp_path, f"mongo_uri: mongodb://u:{SECRET}@h\n")
    path.chmod(0o640)
    with pytest.raises(InputError, match="chmod 600"):
        Settings.load(tmp_path)


def test_programs_beside_the_interpreter_come_first(tmp_path, monkeypatch):
    beside = executable(tmp_path / "venv" / "bin" / "dp")
    elsewhere = executable(tmp_path / "elsewhere" / "dp")
    monkeypatch.setattr(sys, "executable", str(beside.parent / "python"))
    monkeypatch.setenv("PATH", str(elsewhere.parent))
    assert Settings.load(tmp_path).command("dp") == [str(beside)]
    beside.unlink()
    assert Settings.load(tmp_path).command("dp") == [str(elsewhere)]


def test_a_configured_command_keeps_its_arguments(tmp_path, monkeypatch):
    program = executable(tmp_path / "with space" / "launcher")
    write(tmp_path, f"lmp_command: \"'{program}' -np 2 lmp\"\n")
    assert Settings.load(tmp_path).command("lmp") == [str(program), "-np", "2", "lmp"]
    monkeypatch.setenv("PATH", str(program.parent))
    monkeypatch.setenv("LAOC_LMP_COMMAND", "launcher -k on")
    assert Settings.load(tmp_path).command("lmp") == [str(program), "-k", "on"]


def test_a_missing_program_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineUnavailableError, match=r"packmol_command.*PATH.*settings\.yaml") as caught:
        Settings.load(tmp_path).command("packmol")
    assert caught.value.exit_code == 2
    with pytest.raises(EngineUnavailableError, match="'rlaunch' was found neither"):
        Settings.load(tmp_path).command("rlaunch")


def test_threads(tmp_path):
    write(tmp_path, "threads_per_job: 3\n")
    assert Settings.load(tmp_path).thread_environment() == {
        "OMP_NUM_THREADS": "3",
        "MKL_NUM_THREADS": "3",
        "OPENBLAS_NUM_THREADS": "3",
        "TF_INTRA_OP_PARALLELISM_THREADS": "3",
        "TF_INTER_OP_PARALLELISM_THREADS": "1",
        "DP_INTRA_OP_PARALLELISM_THREADS": "3",
        "DP_INTER_OP_PARALLELISM_THREADS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


def test_every_setting_is_described_with_its_unit():
    for name, field in Settings.model_fields.items():
        assert "[" in (field.description or ""), name


def test_private_files_replace_whole_or_not_at_all(tmp_path):
    path = tmp_path / "private"
    path.write_text("old", encoding="utf-8")
    path.chmod(0o644)
    with pytest.raises(UnicodeEncodeError):
        write_private(path, "\ud800")
    assert path.read_text(encoding="utf-8") == "old"
    write_private(path, "new")
    assert path.read_text(encoding="utf-8") == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["private"]  # noqa: PTH208
