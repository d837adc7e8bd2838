"""One campaign file from packing to production with each engine: only the engine changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from laoc_flows.store.workspace import Workspace
from tests.integration.test_campaign_run import laoc, stop
from tests.standin import install

SAME_FILE = Path(__file__).parents[1] / "data" / "engines.yaml"
ENGINES = {
    "vasp": {"name": "vasp", "labels_per_job": 4, "steps_per_job": 10},
    "cp2k": {
        "name": "cp2k",
        "basis": "SZV-MOLOPT-SR-GTH",
        "dispersion": "none",
        "cutoff": 150,
        "rel_cutoff": 30,
        "eps_scf": 1e-5,
        "labels_per_job": 4,
        "steps_per_job": 20,
    },
    "chgnet": {"name": "chgnet"},
}


@pytest.fixture(scope="module", params=sorted(ENGINES))
def campaign(request, tmp_path_factory):
    """A finished campaign with one of the engines: name, workspace, and what it printed."""
    directory = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "vasp":
            for name, value in install(directory / "standin").items():
                patch.setenv(name, value)
        content = yaml.safe_load(SAME_FILE.read_text()) | {"engine": ENGINES[request.param]}
        # Labels of what an exploration has found go through the same code for all ASE calculators, and xTB's campaigns ask for them.
        if request.param == "chgnet":
            content["learning"]["max_iterations"] = 1
        path = directory / "campaign.yaml"
        path.write_text(yaml.safe_dump(content))
        done = laoc(directory / "w", "run", path)
        yield request.param, directory / "w", done.stdout
        stop(directory / "w")


def query(workspace, *arguments):
    return json.loads(laoc(workspace, "query", *arguments, "--format", "json").stdout)


def test_it_reaches_its_verdict_and_its_table(campaign):
    _, _, printed = campaign
    assert "x1.000-y0.000" in printed
    assert "not converged" in printed


def test_every_label_has_one_level_of_theory_and_most_have_converged(campaign):
    name, workspace, _ = campaign
    labels = query(workspace, "labels", "--columns", "status,level_of_theory,key")
    assert len(labels) > 8
    assert len({row["key"] for row in labels}) == len(labels)
    (level,) = {row["level_of_theory"] for row in labels}
    assert level.startswith(f"{name}/")
    converged = [row for row in labels if row["status"] == "converged"]
    assert len(converged) >= 0.8 * len(labels)


def test_the_run_has_kept_its_protocol_with_what_was_really_reached(campaign):
    _, workspace, _ = campaign
    space = Workspace(workspace)
    store = space.job_store()
    runs = [row["output"] for row in store.query({"output.schema_name": "md"}, load=False)]
    store.close()
    assert len(runs) == 2
    for run in runs:
        assert run["status"] == "completed"
        stages = {stage["name"]: stage for stage in run["stages"]}
        assert list(stages) == ["melt", "density", "quench", "npt"]
        assert stages["density"]["status"] in {"equilibrated", "not equilibrated"}
        assert 1 <= len(stages["density"]["attempts"]) <= 2
        assert stages["quench"]["end_target"] == 300
        assert stages["quench"]["n_steps"] == 3
        assert stages["npt"]["pressure"]["unit"] == "GPa"
        # Three femtoseconds melt nothing, and that is what is stored.
        assert run["melt"]["passed"] is False


def test_no_seed_is_called_a_glass(campaign):
    _, workspace, _ = campaign
    rows = query(workspace, "structures", "--columns", "status,stage")
    assert {row["stage"] for row in rows} == {"seed", "production"}
    assert all(row["status"].startswith("refused") for row in rows)
