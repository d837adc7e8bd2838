"""The command imports what is called, and says of each subcommand what it says itself."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from laoc_flows import analysis
from laoc_flows.cli.main import COMMANDS, app, load

# What takes seconds to import, and what a version, a help or a plan need not know.
HEAVY = {
    "matplotlib",
    "kinisi",
    "fireworks",
    "pymatgen.core",
    "tensorflow",
    "torch",
    "laoc_flows.analysis.suite",
}


def imported(*arguments):
    code = f"""
import sys
sys.argv = {["laoc", *arguments]!r}
from laoc_flows.cli.main import main
try:
    main()
except SystemExit:
    pass
print("\\n".join(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_the_command_is_the_first_line_of_each_subcommand(name):
    assert load(name).help.splitlines()[0] == COMMANDS[name].help
    shown = CliRunner().invoke(app, ["--help"]).stdout
    assert f"  {name} " in shown
    own = CliRunner().invoke(app, [name, "--help"])
    assert own.exit_code == 0
    assert COMMANDS[name].help[:60] in own.stdout


def test_version_and_help_import_no_subcommand():
    for arguments in (["--version"], ["--help"]):
        found = imported(*arguments)
        assert not {module for module in found if module.startswith("laoc_flows.cli.")} - {
            "laoc_flows.cli.main"
        }
        assert not HEAVY & found


def test_a_plan_imports_neither_figures_nor_the_whole_suite():
    found = imported("plan", "campaigns/quickstart.yaml")
    assert "laoc_flows.campaign.plan" in found
    assert not {"matplotlib", "kinisi", "fireworks", "laoc_flows.analysis.suite"} & found


@pytest.mark.parametrize(
    "arguments",
    [("status", "--help"), ("query", "--help"), ("doctor", "--help"), ("plan", "campaigns/quickstart.yaml")],
)
def test_a_command_compiles_and_moves_nothing(arguments):
    found = imported(*arguments)
    assert f"laoc_flows.cli.{arguments[0]}" in found
    assert not {"numba", "dpdata", "ase.constraints", "ase.md", "scipy.integrate", "scipy.optimize"} & found


def test_every_name_of_the_analysis_is_there():
    assert len(analysis.__all__) > 100
    for name in analysis.__all__:
        assert getattr(analysis, name) is not None
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = analysis.no_such_thing
