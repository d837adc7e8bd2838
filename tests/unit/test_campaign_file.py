"""Campaign files: what is wrong is told in one line each; what is right has an id of its own."""

import copy
import json
import os
import re
import time
from fractions import Fraction
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from laoc_flows.campaign.expect import did_you_mean
from laoc_flows.campaign.file import CampaignFile, json_schema, write_schema
from laoc_flows.campaign.reading import read_mapping
from laoc_flows.composition import plan_cell_fixed
from laoc_flows.engines.registry import ENGINES
from laoc_flows.engines.xtb import XtbEngine
from laoc_flows.errors import CampaignFileError
from laoc_flows.schemas.learning import Learning

SHIPPED = Path(__file__).parents[2] / "campaigns"
VALID = """\
name: test
seed: 1
grid:
  points:
    - {x: 1, y: 0.75}
    - {x: 0.5, y: 0.75}
cell:
  n_al: 4
engine:
  name: xtb
  accuracy: 10
melt_quench:
  packings: 2
  label_every: 4
  strains: [0.96, 1.04]
  protocol:
    melt_temperature: 1500
    melt_time: 1
    quench_rate: 600
    final_temperature: 300
learning:
  max_iterations: 3
  committee: 2
  quorum: 0.5
  training:
    steps: 1000
    start_lr: 1e-3
    stop_lr: 1e-6
  exploration:
    temperatures: [1500, 900, 400]
    melt_time: 5
  selection:
    cold: {low: 0.1, high: 0.3}
    distance_floor:
      distances: {Al-O: 1.4, Al-Cl: 1.75}
  targets:
    candidate_share: 0.05
production:
  supercell: [2, 2, 2]
"""
DELETE = object()


def write(directory, content, name="broken.yaml"):
    path = directory / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, str):
        path.write_text(content, encoding="utf-8")
    else:
        path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def valid():
    # YAML 1.1 reads 1e-3 as text; the campaign reader does not.
    return yaml.safe_load(VALID.replace("1e-3", "0.001").replace("1e-6", "0.000001"))


def changed(changes):
    content = valid()
    for key, value in changes.items():
        *parents, last = key.split(".")
        node = content
        for parent in parents:
            node = node.setdefault(parent, {}) if isinstance(node, dict) else node[int(parent)]
        if value is DELETE:
            del node[last]
        else:
            node[last] = copy.deepcopy(value)
    return content


def load(directory, changes=None):
    return CampaignFile.load(write(directory, changed(changes or {}), "good.yaml"))


def refused(path):
    """Error of a file, after checking what every error must be like."""
    before = sorted(os.walk(path.parent))
    with pytest.raises(CampaignFileError) as caught:
        CampaignFile.load(path)
    assert sorted(os.walk(path.parent)) == before
    error = caught.value
    assert error.exit_code == 2
    assert error.lines[0] in error.line
    assert len(error.lines) == 1 or error.line.endswith(f"(and {len(error.lines) - 1} more)")
    for line in (error.line, *error.lines):
        assert len(line.splitlines()) == 1
        assert line.isprintable()
        assert line.startswith(str(path))
        assert not re.search(r"pydantic|Input should|Value error|http|validation|Field required", line)
        message, _, remedy = line.partition(" -- ")
        assert len(message) > len(str(path)) + 5
        assert len(remedy) > 5
    return error


# What is changed, the key to blame, the value as it is shown (None: there is none), further words.
BROKEN = {
    "name-missing": ({"name": DELETE}, "name", None, ["is missing"]),
    "name-with-slash": ({"name": "a/b"}, "name", "'a/b'", ["hyphens"]),
    "name-with-space": ({"name": "a b"}, "name", "'a b'", ["hyphens"]),
    "name-with-newline": ({"name": "ab\n"}, "name", r"'ab\n'", []),
    "name-upper-case": ({"name": "Test"}, "name", "'Test'", []),
    "name-too-long": ({"name": "a" * 42}, "name", "'aaaa", []),
    "name-a-number": ({"name": 12}, "name", "12", ["is not text"]),
    "seed-negative": ({"seed": -1}, "seed", "-1", ["at least 0"]),
    "seed-float": ({"seed": 1.5}, "seed", "1.5", ["whole number"]),
    "seed-text": ({"seed": "1"}, "seed", "'1'", ["without quotes"]),
    "seed-bool": ({"seed": True}, "seed", "true", ["whole number"]),
    "seed-null": ({"seed": None}, "seed", "null", ["whole number"]),
    "seed-too-large": ({"seed": 2**63}, "seed", str(2**63), ["too large"]),
    "unknown-key": (
        {"learnin": 1},
        "learnin",
        "1",
        ["unknown key", "did you mean 'learning'?", "production"],
    ),
    "unknown-nested-key": (
        {"learning.training.step": 5},
        "learning.training.step",
        "5",
        ["unknown key", "did you mean 'steps'?", "rcut"],
    ),
    "unknown-key-in-point": ({"grid.points.0.z": 1}, "grid.points[0].z", "1", ["unknown key", "x, y"]),
    "unknown-engine-key": ({"engine.acuracy": 1}, "engine.acuracy", "1", ["did you mean 'accuracy'?"]),
    "unreachable": (
        {"grid.points.0.x": 0.3},
        "cell.n_al",
        "4",
        ["x0.300-y0.750", "multiple of 20", "Li1Al4O3Cl7", "x0.500-y0.750"],
    ),
    "unreachable-third": ({"grid.points.0.x": "1/3"}, "cell.n_al", "4", ["x1_3-y0.750", "multiple of 12"]),
    "zero-tolerance": (
        {"grid.points": [{"x": 1, "y": 0.75}], "cell": {"n_atoms": 50, "tolerance": 0}},
        "cell.n_atoms",
        "50",
        ["nearest realizable"],
    ),
    "n_al-and-n_atoms": ({"cell": {"n_al": 4, "n_atoms": 80}}, "cell", "{'n_al': 4", ["exactly one"]),
    "neither-n_al-nor-n_atoms": ({"cell": {}}, "cell", "{}", ["exactly one"]),
    "tolerance-with-n_al": ({"cell.tolerance": 0.1}, "cell.tolerance", "0.1", ["n_atoms"]),
    "n_al-zero": ({"cell.n_al": 0}, "cell.n_al", "0", ["at least 1"]),
    "n_al-text": ({"cell.n_al": "4"}, "cell.n_al", "'4'", ["whole number"]),
    "n_al-bool": ({"cell.n_al": True}, "cell.n_al", "true", ["whole number"]),
    "n_al-huge": ({"cell.n_al": 10**12}, "cell.n_al", "1000000000000", ["at most 10000"]),
    "tolerance-one": ({"cell": {"n_atoms": 80, "tolerance": 1.0}}, "cell.tolerance", "1.0", ["below 1"]),
    "cell-a-number": ({"cell": 4}, "cell", "4", ["mapping"]),
    "grid-missing": ({"grid": DELETE}, "grid", None, ["is missing"]),
    "grid-empty": ({"grid": {}}, "grid", "{}", ["no composition"]),
    "grid-empty-lists": ({"grid": {"x": [], "y": []}}, "grid", "{'x': []", ["no composition"]),
    "grid-duplicate-point": (
        {"grid.points": [{"x": 1, "y": 0}, {"x": "2/2", "y": 0.0}]},
        "grid.points",
        "[{'x': 1",
        ["x1.000-y0.000", "twice"],
    ),
    "grid-x-without-y": ({"grid": {"x": [1]}}, "grid.y", None, ["no values", "give both x and y"]),
    "grid-ratio-alone": ({"grid": {"li_to_al": [1]}}, "grid.o_to_cl", None, ["give both"]),
    "x-negative": ({"grid.points.0.x": -0.5}, "grid.points[0].x", "-0.5", ["negative"]),
    "x-negative-in-list": ({"grid": {"x": [1, -1], "y": [0]}}, "grid.x[1]", "-1", ["negative"]),
    "y-above-the-space": (
        {"grid.points.1.y": 2},
        "grid.points[1]",
        "{'x': 0.5, 'y': 2}",
        ["(3 + x)/2 = 1.75"],
    ),
    "y-above-the-space-in-product": ({"grid": {"x": [0], "y": [0, 2]}}, "grid.y", "[0, 2]", ["outside"]),
    "x-missing": ({"grid.points.0.x": DELETE}, "grid.points[0].x", None, ["is missing"]),
    "x-a-word": ({"grid.points.0.x": "one"}, "grid.points[0].x", "'one'", ['"1/3"']),
    "x-divided-by-zero": ({"grid.points.0.x": "1/0"}, "grid.points[0].x", "'1/0'", []),
    "x-bool": ({"grid.points.0.x": True}, "grid.points[0].x", "true", ["finite number"]),
    "x-nan": ({"grid.points.0.x": float("nan")}, "grid.points[0].x", ".nan", ["finite number"]),
    "x-inf": ({"grid.points.0.x": float("inf")}, "grid.points[0].x", ".inf", ["finite number"]),
    "x-huge": ({"grid.points.0.x": 1e300}, "grid.points[0].x", "1e+300", ["too large"]),
    "x-endless-text": ({"grid.points.0.x": " 1e999999999"}, "grid.points[0].x", "' 1e999999999'", []),
    "x-too-fine": ({"grid.points.0.x": "1/10000019"}, "grid.points[0].x", "'1/10000019'", ["finer"]),
    "points-a-mapping": ({"grid.points": {"x": 1, "y": 0}}, "grid.points", "{'x'", ["not a list"]),
    "axis-a-number": ({"grid": {"x": 1, "y": [0]}}, "grid.x", "1", ["not a list"]),
    "range-step-zero": (
        {"grid": {"x": {"start": 0, "stop": 1, "step": 0}, "y": [0]}},
        "grid.x.step",
        "0",
        ["above 0"],
    ),
    "range-backwards": (
        {"grid": {"x": {"start": 1, "stop": 0, "step": 0.5}, "y": [0]}},
        "grid.x.stop",
        "0",
        ["below start"],
    ),
    "range-huge": (
        {"grid": {"x": {"start": 0, "stop": 1, "step": 1e-9}, "y": [0]}},
        "grid.x.step",
        "1e-09",
        [],
    ),
    "range-too-long": (
        {"grid": {"x": {"start": 0, "stop": 1000, "step": "1/1000"}, "y": [0]}},
        "grid.x.step",
        "'1/1000'",
        ["100000"],
    ),
    "product-huge": (
        {"grid": {axis: {"start": 0, "stop": 1, "step": "1/1000"} for axis in "xy"}},
        "grid.x",
        "{'start'",
        ["100000"],
    ),
    "range-without-step": (
        {"grid": {"x": {"start": 0, "stop": 1}, "y": [0]}},
        "grid.x.step",
        None,
        ["missing"],
    ),
    "range-unknown-key": (
        {"grid": {"x": {"start": 0, "stop": 1, "step": 1, "steps": 1}, "y": [0]}},
        "grid.x.steps",
        "1",
        ["did you mean 'step'?"],
    ),
    "engine-missing": ({"engine": DELETE}, "engine", None, ["is missing"]),
    "engine-unknown": ({"engine.name": "xtp"}, "engine.name", "'xtp'", ["did you mean 'xtb'?", "vasp"]),
    "engine-without-name": ({"engine.name": DELETE}, "engine.name", None, ["is missing", "xtb"]),
    "engine-a-word": ({"engine": "xtb"}, "engine", "'xtb'", ["mapping"]),
    "engine-null": ({"engine": None}, "engine", "null", ["mapping"]),
    "engine-name-a-list": ({"engine.name": ["xtb"]}, "engine.name", "['xtb']", ["vasp"]),
    "engine-accuracy-text": ({"engine.accuracy": "1"}, "engine.accuracy", "'1'", ["is not a number"]),
    "engine-iterations-zero": ({"engine.max_iterations": 0}, "engine.max_iterations", "0", ["at least 1"]),
    "vasp-functional": (
        {"engine": {"name": "vasp", "functional": "PBEsol"}},
        "engine.functional",
        "'PBEsol'",
        ["must be 'PBE'"],
    ),
    "vasp-dispersion": (
        {"engine": {"name": "vasp", "dispersion": "d4"}},
        "engine.dispersion",
        "'d4'",
        ["'none' or 'd3bj'"],
    ),
    "melt_quench-missing": ({"melt_quench": DELETE}, "melt_quench", None, ["is missing"]),
    "melt_quench-null": ({"melt_quench": None}, "melt_quench", "null", ["mapping"]),
    "temperature-negative": (
        {"melt_quench.protocol.melt_temperature": -300},
        "melt_quench.protocol.melt_temperature",
        "-300",
        ["above 0", "[K]"],
    ),
    "quench-to-hotter": (
        {"melt_quench.protocol.final_temperature": 2000},
        "melt_quench.protocol.final_temperature",
        "2000",
        ["below melt_temperature"],
    ),
    "melt-time-zero": (
        {"melt_quench.protocol.melt_time": 0},
        "melt_quench.protocol.melt_time",
        "0",
        ["above 0", "[ps]"],
    ),
    "quench-endless": (
        {"melt_quench.protocol.quench_rate": 1e-309},
        "melt_quench.protocol",
        "{'melt_temperature'",
        ["MD steps"],
    ),
    "label_every-zero": ({"melt_quench.label_every": 0}, "melt_quench.label_every", "0", ["at least 1"]),
    "label_every-beyond-the-end": (
        {"melt_quench.label_every": 1501},
        "melt_quench.label_every",
        "1501",
        ["1500"],
    ),
    "packings-zero": ({"melt_quench.packings": 0}, "melt_quench.packings", "0", ["at least 1"]),
    "strain-zero": ({"melt_quench.strains": [0, 1]}, "melt_quench.strains", "[0, 1]", ["0.8 to 1.25"]),
    "committee-of-one": ({"learning.committee": 1}, "learning.committee", "1", ["at least 2"]),
    "committee-float": ({"learning.committee": 4.0}, "learning.committee", "4.0", ["whole number"]),
    "quorum-zero": ({"learning.quorum": 0}, "learning.quorum", "0", ["above 0"]),
    "quorum-above-one": ({"learning.quorum": 1.5}, "learning.quorum", "1.5", ["at most 1"]),
    "quorum-bool": ({"learning.quorum": True}, "learning.quorum", "true", ["is not a number"]),
    "max_iterations-zero": ({"learning.max_iterations": 0}, "learning.max_iterations", "0", ["at least 1"]),
    "candidate_share-one": (
        {"learning.targets.candidate_share": 1},
        "learning.targets.candidate_share",
        "1",
        ["below 1"],
    ),
    "trust-crossed": (
        {"learning.selection.cold.low": 0.5},
        "learning.selection.cold.low",
        "0.5",
        ["below high"],
    ),
    "trust-a-number": ({"learning.selection.hot": 0.3}, "learning.selection.hot", "0.3", ["mapping"]),
    "floor-of-unknown-element": (
        {"learning.selection.distance_floor.distances": {"Al-F": 1}},
        "learning.selection.distance_floor.distances",
        "{'Al-F': 1}",
        ["'Al-F'"],
    ),
    "floor-negative": (
        {"learning.selection.distance_floor.distances.Al-O": -1},
        "learning.selection.distance_floor.distances.Al-O",
        "-1",
        ["above 0"],
    ),
    "exploration-heats": (
        {"learning.exploration.temperatures": [400, 900]},
        "learning.exploration.temperatures",
        "[400, 900]",
        ["must fall"],
    ),
    "exploration-nowhere": (
        {"learning.exploration.temperatures": []},
        "learning.exploration.temperatures",
        "[]",
        ["fewer entries than 1"],
    ),
    "exploration-without-frames": (
        {"learning.exploration.frame_interval": 100},
        "learning.exploration.frame_interval",
        "100",
        ["no frame"],
    ),
    "volume-scale": (
        {"learning.exploration.volume_scales": [9]},
        "learning.exploration",
        "{'temperatures'",
        ["0.5 to 2"],
    ),
    "stop_lr-above-start_lr": (
        {"learning.training.stop_lr": 0.1},
        "learning.training.stop_lr",
        "0.1",
        ["below start_lr"],
    ),
    "batch_size-a-word": (
        {"learning.training.batch_size": "big"},
        "learning.training.batch_size",
        "'big'",
        ["none of the allowed values", "'auto'"],
    ),
    "prefactor-alone": (
        {"learning.training.force_prefactor": [1]},
        "learning.training.force_prefactor",
        "[1]",
        ["too few entries"],
    ),
    "neuron-with-text": (
        {"learning.training.neuron": [8, "16"]},
        "learning.training.neuron[1]",
        "'16'",
        ["whole number"],
    ),
    "supercell-zeros": (
        {"production.supercell": [0, 1, 1]},
        "production.supercell",
        "[0, 1, 1]",
        ["positive"],
    ),
    "supercell-of-two": ({"production.supercell": [1, 1]}, "production.supercell", "[1, 1]", ["too few"]),
    "supercell-of-four": (
        {"production.supercell": [1, 1, 1, 1]},
        "production.supercell",
        "[1,",
        ["more entries"],
    ),
    "supercell-huge": (
        {"grid.points": [{"x": 1, "y": 0}], "production.supercell": [99, 99, 99]},
        "production.supercell",
        "[99",
        ["1000000"],
    ),
    "production-hotter-than-melt": (
        {"production.temperature": 2000},
        "production.temperature",
        "2000",
        ["below melt_temperature"],
    ),
    "production-a-list": ({"production": []}, "production", "[]", ["mapping"]),
    "production-without-frames": (
        {"production.nvt_time": 0.05},
        "production.frame_interval",
        None,
        ["no frame"],
    ),
    "workers-zero": ({"workers.processes": 0}, "workers.processes", "0", ["at least 1"]),
    "database-with-slash": ({"store.database": "a/b"}, "store.database", "'a/b'", ["letters"]),
    "trajectory-root-empty": ({"store.trajectory_root": ""}, "store.trajectory_root", "''", ["is empty"]),
    "description-a-number": ({"description": 3}, "description", "3", ["is not text"]),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_wrong_value_is_named_with_its_key_and_a_remedy(tmp_path, case):
    changes, key, value, words = BROKEN[case]
    path = write(tmp_path, changed(changes))
    error = refused(path)
    assert len(error.lines) == 1
    found, _, rest = error.line.removeprefix(f"{path}: ").partition(" = " if value else ": ")
    assert found == key
    assert value is None or rest.startswith(value)
    for word in words:
        assert word in error.line


# The text of the file, words of the message.
UNREADABLE = {
    "empty": ("", ["is empty"]),
    "comments-only": ("# nothing\n", ["is empty"]),
    "null": ("null\n", ["empty"]),
    "list": ("- name: test\n", ["a list", "mapping"]),
    "word": ("campaign\n", ["single value"]),
    "no-yaml": ("name: [1, 2\nseed: 1\n", ["not valid YAML", "line 2"]),
    "tabs": (VALID.replace("  n_al", "\tn_al"), ["tabs", "line 8"]),
    "bad-indent": (VALID.replace("  points:", " points:").replace("    - {x: 0.5", "   - {x: 0.5"), ["line"]),
    "two-documents": (VALID + "---\nname: b\n", ["not valid YAML"]),
    "duplicate-key": (VALID + "seed: 2\n", ["seed = 2", "repeated in line"]),
    "duplicate-nested-key": (
        VALID.replace("  n_al: 4", "  n_al: 4\n  n_al: 8"),
        ["cell.n_al = 8", "repeated"],
    ),
    "binary": (bytes(range(256)), ["not UTF-8"]),
    "utf-16": (VALID.encode("utf-16"), ["not UTF-8"]),
    "zero-bytes": (b"name: a\0b\n", ["not valid YAML"]),
    "too-large": ("# " + "x" * 1_100_000 + "\n" + VALID, ["larger than 1000 kB"]),
    "python-tag": (
        VALID + "description: !!python/object/apply:os.system ['touch executed']\n",
        ["description", "!!python/object/apply:os.system", "not allowed"],
    ),
    "binary-tag": (VALID + "description: !!binary aGk=\n", ["description", "!!binary"]),
    "own-tag": (VALID + "description: !secret hi\n", ["!secret", "not allowed"]),
    "wrong-tag": (VALID.replace("seed: 1", "seed: !!int one"), ["seed = 'one'"]),
    "alias": (VALID + "description: &a hi\nworkers: *a\n", ["anchor", "*a"]),
    "nested-too-deep": ("a: " + "[" * 5000 + "]" * 5000, ["levels are nested"]),
    "list-as-key": ("? [a, b]\n: 1\n" + VALID, ["key is not a single word"]),
    "merge-key": (VALID + "<<: {description: a}\n", ["unknown key", "'<<'"]),
    "yes-is-no-bool": (VALID + "workers: {processes: yes}\n", ["workers.processes = 'yes'"]),
    "endless-number": (VALID.replace("seed: 1", "seed: " + "9" * 5000), ["seed = '9999"]),
    "unprintable-key": (VALID + '"a\\nb\\u2028c": 1\n', ["unknown key", r"\u2028"]),
    "lone-surrogate": (VALID + 'description: "\\ud800"\n', []),
    "infinite": (VALID.replace("melt_time: 5", "melt_time: .INF"), ["learning.exploration.melt_time = .inf"]),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_a_file_that_is_no_campaign_is_refused_in_one_line(tmp_path, case, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content, words = UNREADABLE[case]
    error = refused(write(tmp_path, content))
    for word in words:
        assert word in error.line


def test_a_billion_laughs_are_not_heard(tmp_path):
    bomb = 'a0: &a0 ["lol"]\n' + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 40)
    )
    start = time.perf_counter()
    assert "anchor" in refused(write(tmp_path, bomb)).line
    assert time.perf_counter() - start < 2


def test_what_is_no_file_is_refused(tmp_path):
    assert "directory" in refused(tmp_path).line
    assert "no such file" in refused(tmp_path / "missing.yaml").line
    os.mkfifo(tmp_path / "pipe.yaml")
    assert "no regular file" in refused(tmp_path / "pipe.yaml").line


def test_the_name_of_a_file_does_not_break_the_line(tmp_path):
    path = write(tmp_path, "", "two\nlines.yaml")
    with pytest.raises(CampaignFileError) as caught:
        CampaignFile.load(path)
    assert r"two\nlines.yaml" in caught.value.line
    assert caught.value.line.isprintable()


def test_every_problem_has_its_line_and_unknown_keys_come_first(tmp_path):
    error = refused(
        write(
            tmp_path,
            changed({"seed": -1, "engine.accuracy": -1, "lerning": {}, "learning": DELETE, "cell.n_al": 0}),
        )
    )
    assert [
        re.sub(r" = .*|: is missing.*", "", line.removeprefix(f"{error.lines[0].split(': ')[0]}: "))
        for line in error.lines
    ] == [
        "engine.accuracy",
        "lerning",
        "seed",
        "cell.n_al",
        "learning",
    ]
    assert error.line.endswith("(and 4 more)")


def test_many_unreachable_points_are_not_all_searched(tmp_path):
    points = {
        "grid": {"x": {"start": 0, "stop": 1, "step": "1/64"}, "y": {"start": 0, "stop": 1, "step": "1/64"}}
    }
    error = refused(write(tmp_path, changed(points)))
    assert len(error.lines) == 11
    assert all("nearest realizable" in line for line in error.lines[:10])
    assert "not checked" in error.lines[-1]


def test_the_valid_file_says_what_it_says(tmp_path):
    file = CampaignFile.load(write(tmp_path, VALID))
    assert file.engine == XtbEngine(accuracy=10)
    assert file.learning.training.start_lr == pytest.approx(1e-3)
    assert file.learning.training.stop_lr == pytest.approx(1e-6)
    assert file.learning.exploration.temperatures == (1500.0, 900.0, 400.0)
    assert {key: (cell.formula, cell.n_al) for key, cell in file.cells().items()} == {
        "x0.500-y0.750": ("Li2Al4O3Cl8", 4),
        "x1.000-y0.750": ("Li4Al4O3Cl10", 4),
    }
    spec = file.spec()
    assert spec.campaign_id == file.campaign_id
    assert re.fullmatch(r"test-[0-9a-f]{12}", file.campaign_id)
    assert list(spec.cells.items()) == [("x0.500-y0.750", 4), ("x1.000-y0.750", 4)]
    assert (spec.engine, spec.seed, spec.learning) == (file.engine, 1, file.learning)
    assert (spec.production, spec.melt_quench) == (file.production, file.melt_quench)
    assert file.settings_overrides() == {}


def test_defaults_are_those_of_the_settings_models(tmp_path):
    assert load(tmp_path, {"learning": {}}).learning == Learning()


def test_workers_and_store_override_the_settings(tmp_path):
    changes = {
        "workers": {"processes": 3, "threads": 2},
        "store": {"database": "d", "trajectory_root": "s3://t"},
    }
    assert load(tmp_path, changes).settings_overrides() == {
        "processes": 3,
        "threads_per_job": 2,
        "database": "d",
        "trajectory_root": "s3://t",
    }


def test_the_grid_adds_points_plane_and_ratios(tmp_path):
    grid = {
        "points": [{"x": "1/2", "y": 0}],
        "x": {"start": 0.5, "stop": 1.1, "step": "1/4"},
        "y": [0, "0.25"],
        "o_to_cl": ["3/10"],
        "li_to_al": [1.0],
    }
    file = load(tmp_path, {"grid": grid, "cell": {"n_al": 4}})
    plane = [(x, y) for x in ("1/2", "3/4", "1") for y in ("0", "1/4")]
    assert [(c.x, c.y) for c in file.grid.compositions] == [
        (Fraction(x), Fraction(y)) for x, y in [*plane, ("1", "3/4")]
    ]


def test_cells_of_equal_size_keep_their_tolerance(tmp_path):
    file = load(tmp_path, {"cell": {"n_atoms": 84}})
    sizes = [cell.n_atoms for cell in file.cells().values()]
    assert sizes == [85, 84]
    assert load(tmp_path, {"cell": {"n_atoms": 84, "tolerance": 0.1}}).campaign_id == file.campaign_id
    with pytest.raises(CampaignFileError, match="fits no cell of 84 to 84 atoms"):
        load(tmp_path, {"cell": {"n_atoms": 84, "tolerance": 0}})


SAME = {
    "description": {"description": "other words"},
    "workers": {"workers": {"processes": 7}},
    "store": {"store": {"database": "elsewhere"}},
    "order-of-points": {"grid.points": [{"x": 0.5, "y": 0.75}, {"x": 1, "y": 0.75}]},
    "ratio-spelling": {"grid.points": [{"x": "2/2", "y": "3/4"}, {"x": "0.50", "y": "0.75"}]},
    "product-spelling": {"grid": {"x": [1, 0.5], "y": [0.75]}},
    "range-spelling": {"grid": {"x": {"start": "1/2", "stop": 1.2, "step": 0.5}, "y": ["3/4"]}},
    "float-for-int": {"melt_quench.protocol.melt_temperature": 1500.0},
    "default-spelled-out": {"learning.selection.spacing": 0.5, "engine.method": "GFN1-xTB"},
}
OTHER = {
    "seed": {"seed": 2},
    "name": {"name": "other"},
    "point-more": {"grid.points": [{"x": 1, "y": 0.75}, {"x": 0.5, "y": 0.75}, {"x": 1, "y": 0}]},
    "cell": {"cell.n_al": 8},
    "engine": {"engine": {"name": "vasp"}},
    "engine-setting": {"engine.accuracy": 11},
    "melt_quench": {"melt_quench.label_every": 5},
    "protocol": {"melt_quench.protocol.hold_time": 1},
    "learning": {"learning.committee": 3},
    "training": {"learning.training.steps": 1001},
    "trust": {"learning.selection.cold.high": 0.31},
    "floor": {"learning.selection.distance_floor.distances.Al-O": 1.41},
    "production": {"production.glasses": 2},
}


@pytest.mark.parametrize("case", SAME)
def test_the_id_does_not_depend_on_how_it_is_written(tmp_path, case):
    assert load(tmp_path, SAME[case]).campaign_id == load(tmp_path).campaign_id


def test_the_id_does_not_depend_on_the_order_of_keys_or_the_format(tmp_path):
    content = valid()
    backwards = write(tmp_path, dict(reversed(content.items())))
    as_json = write(tmp_path, json.dumps(content), "a.json")
    with_mark = write(tmp_path, b"\xef\xbb\xbf" + VALID.replace("\n", "\r\n").encode(), "b.yaml")
    ids = {CampaignFile.load(path).campaign_id for path in (backwards, as_json, with_mark)}
    assert ids == {load(tmp_path).campaign_id}


@pytest.mark.parametrize("case", OTHER)
def test_the_id_depends_on_everything_that_changes_results(tmp_path, case):
    assert load(tmp_path, OTHER[case]).campaign_id != load(tmp_path).campaign_id


def test_a_cell_by_atoms_has_the_id_of_the_same_cell_by_al(tmp_path):
    grid = {"grid.points": [{"x": 1, "y": 0.75}]}
    by_atoms = load(tmp_path, {**grid, "cell": {"n_atoms": 21}})
    assert by_atoms.campaign_id == load(tmp_path, {**grid, "cell": {"n_al": 4}}).campaign_id


def test_a_file_survives_its_own_dump(tmp_path):
    file = load(
        tmp_path, {"cell": {"n_atoms": 84}, "grid": {"x": {"start": 0, "stop": 1, "step": "1/4"}, "y": [0]}}
    )
    again = CampaignFile.model_validate(json.loads(json.dumps(file.model_dump(mode="json"))))
    assert again == file
    assert again.campaign_id == file.campaign_id


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_shipped_campaigns_load_and_obey_the_schema(path):
    file = CampaignFile.load(path)
    assert file.name == path.stem
    content = read_mapping(path, path.read_text(encoding="utf-8"))
    jsonschema.validate(content, json_schema(), jsonschema.Draft202012Validator)
    assert all(cell == plan_cell_fixed(cell.composition, cell.n_al) for cell in file.cells().values())


def test_the_paper_campaign_is_the_paper():
    assert (SHIPPED / "quickstart.yaml").is_file()
    file = CampaignFile.load(SHIPPED / "paper2025.yaml")
    cells = {(float(c.composition.x), float(c.composition.y)): c for c in file.cells().values()}
    assert {key: (cell.formula, cell.n_atoms) for key, cell in cells.items()} == {
        (0.5, 0.75): ("Li8Al16O12Cl32", 68),
        (1.0, 0.75): ("Li16Al16O12Cl40", 84),
        (1.5, 0.75): ("Li24Al16O12Cl48", 100),
        (1.0, 0.25): ("Li16Al16O4Cl56", 92),
        (1.0, 0.0): ("Li16Al16Cl64", 96),
    }
    assert file.engine.level_of_theory.startswith("vasp/PBE/none/")
    melt, density, quench, npt = file.melt_quench.protocol.stages()
    assert (melt.end_temperature, melt.time, melt.until_melted) == (1500, 20, True)
    assert (density.end_temperature, density.pressure, density.ensemble) == (1500, 0, "nvt")
    assert density.equilibrate is not None
    assert (quench.end_temperature, quench.time) == (300, pytest.approx(10))
    assert (npt.ensemble, npt.end_temperature, npt.pressure, npt.time) == ("npt", 300, 0, 5)
    hold = file.melt_quench.production
    assert (hold.temperature, hold.time, hold.analyze_from) == (300, 50, 11)
    assert file.production.supercell == (3, 3, 3)
    assert file.production.temperature == 300


def test_the_schema_knows_every_key_and_refuses_others(tmp_path):
    path = tmp_path / "schema.json"
    write_schema(path)
    schema = json.loads(path.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    assert set(schema["properties"]) == set(CampaignFile.model_fields)
    assert schema["additionalProperties"] is False
    assert all(field.get("description") for field in schema["properties"].values())
    engines = [
        schema["$defs"][ref["$ref"].rpartition("/")[2]] for ref in schema["properties"]["engine"]["anyOf"]
    ]
    assert {engine["properties"]["name"]["const"] for engine in engines} == set(ENGINES)
    check = jsonschema.Draft202012Validator(schema)
    assert check.is_valid(valid())
    assert check.is_valid(changed({"grid": {"x": {"start": 0, "stop": 1, "step": "1/4"}, "y": [0, "1/3"]}}))
    assert check.is_valid(changed({"engine": {"name": "vasp", "encut": 600}}))
    for changes in (
        {"nme": 1},
        {"learning.training.stpes": 1},
        {"engine.encut": 600},
        {"engine.name": DELETE},
        {"engine.name": "abinit"},
        {"seed": DELETE},
        {"cell.n_al": "4"},
        {"grid.points.0.x": -1},
    ):
        assert not check.is_valid(changed(changes)), changes


def test_a_close_word_is_proposed_and_a_far_one_is_not():
    assert did_you_mean("sedd", ["seed", "name"]).startswith("did you mean 'seed'? ")
    assert did_you_mean("zzz", ["seed", "name"]) == "allowed: seed, name"


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def _keys(node, path=""):
    for key, value in node.items():
        yield path + key
        if isinstance(value, dict):
            yield from _keys(value, f"{path}{key}.")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.sampled_from(sorted(_keys(valid()))), value=_values)
def test_any_value_anywhere_loads_or_is_refused_in_words(tmp_path, key, value):
    path = write(tmp_path, changed({key: value}))
    try:
        file = CampaignFile.load(path)
    except CampaignFileError:
        refused(path)
    else:
        assert file.cells()
