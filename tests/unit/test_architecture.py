"""The rooms and who may enter where."""

from pathlib import Path

from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

import laoc_flows

ROOT = Path(__file__).parents[2]


def test_imports_between_rooms_run_downward_only(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == EXIT_STATUS_SUCCESS


def test_every_room_is_in_the_contract():
    package = Path(laoc_flows.__file__).parent
    rooms = {
        path.name.removesuffix(".py") for path in package.iterdir() if path.suffix == ".py" or path.is_dir()
    }
    rooms -= {"__init__", "__pycache__", "py.typed"}
    contract = (ROOT / "pyproject.toml").read_text().partition("[tool.importlinter]")[2]
    missing = {room for room in rooms if f"laoc_flows.{room}" not in contract}
    assert not missing


def test_modules_are_one_idea_long():
    package = Path(laoc_flows.__file__).parent
    long = {path.name: n for path in package.rglob("*.py") if (n := len(path.read_text().splitlines())) > 420}
    assert not long
