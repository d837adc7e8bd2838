"""The campaign of the paper through the stand-in VASP: shorter and fewer, nothing else changed."""

import json
from pathlib import Path

import pytest
import yaml

from tests.integration.test_campaign_run import laoc, stop
from tests.standin import install

PAPER = Path(__file__).parents[2] / "campaigns" / "paper2025.yaml"
# Only lengths and counts: times, steps, trajectories, models, iterations, cells of a supercell.
SHORTER = {
    "melt_quench": {
        "packings": 1,
        "held_out": 1,
        "protocol": {"melt_time": 0.012, "equilibrate_time": 0.004, "quench_rate": 100000, "npt_time": 0.006},
        "frame_every": 6,
        "label_every": 6,
        "production": {"time": 0.01, "analyze_from": 0.002, "frame_every": 1, "label_every": 5},
        "relax_steps": 4,
        "strains": [0.98],
    },
    "learning": {
        "max_iterations": 1,
        "committee": 2,
        "training": {"steps": 50},
        "exploration": {
            "melt_time": 0.01,
            "quench_rate": 50000,
            "hold_time": 0.01,
            "replicas": 1,
            "volume_scales": [1.0],
            "frame_interval": 0.005,
        },
    },
    "production": {
        "supercell": [1, 1, 1],
        "glasses": 1,
        "melt_time": 0.02,
        "quench_rate": 70000,
        "npt_time": 0.02,
        "nvt_time": 0.02,
        "frame_interval": 0.01,
    },
}


def shortened(content, changes):
    """The same mapping with other numbers; a key that is not there yet is refused."""
    found = dict(content)
    for key, value in changes.items():
        if isinstance(value, dict):
            found[key] = shortened(content.get(key, {}), value)
            continue
        if key in content:
            assert isinstance(content[key], int | float | list), key
        found[key] = value
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    directory = tmp_path_factory.mktemp("paper")
    content = yaml.safe_load(PAPER.read_text())
    path = directory / "paper2025.yaml"
    path.write_text(yaml.safe_dump(shortened(content, SHORTER)))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in install(directory / "standin").items():
            patch.setenv(name, value)
        done = laoc(directory / "w", "run", path)
        yield directory / "w", done.stdout
        stop(directory / "w")


def query(workspace, *arguments):
    return json.loads(laoc(workspace, "query", *arguments, "--format", "json").stdout)


def test_all_five_compositions_are_labeled_at_the_papers_level_of_theory(finished):
    workspace, printed = finished
    for composition in ("x0.500-y0.750", "x1.000-y0.000", "x1.000-y0.250", "x1.000-y0.750", "x1.500-y0.750"):
        assert composition in printed
    labels = query(workspace, "labels", "--columns", "status,composition_id,level_of_theory")
    converged = [row for row in labels if row["status"] == "converged"]
    assert len({row["composition_id"] for row in converged}) == 5
    (level,) = {row["level_of_theory"] for row in labels}
    assert level.startswith("vasp/PBE/none/")
    assert "encut=520eV/ediff=1e-06eV" in level


def test_twelve_femtoseconds_do_not_melt_and_nothing_is_quenched_for_it(finished):
    workspace, _ = finished
    rows = query(workspace, "structures", "--columns", "status,stage,composition_id,n_atoms")
    reference = [row for row in rows if row["stage"] in {"seed", "reference"}]
    assert len(reference) == 2 * 2 * 5
    assert {row["status"] for row in reference} == {"refused: not melted"}
    assert {row["n_atoms"] for row in reference} == {68, 84, 92, 96, 100}
