"""The pages on the analysis: their examples run, and what they say of the code is so."""

import doctest
import inspect
import re
import runpy
import shlex
from ast import literal_eval
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from PIL import Image

from laoc_flows import analysis
from laoc_flows.analysis import Analysis
from laoc_flows.campaign.file import CampaignFile
from laoc_flows.campaign.plan import plan
from laoc_flows.cli.main import load
from laoc_flows.schemas.label import LabelStatus
from laoc_flows.schemas.melt_quench import PRESETS
from laoc_flows.store.columns import parse_columns
from laoc_flows.store.query import parse_where
from tests.unit.test_plan import BASE

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted((DOCS / "analysis").glob("*.md"))
GUIDES = [DOCS / "melt_quench.md", DOCS / "labels.md"]
FIGURES = DOCS / "analysis" / "figures"
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def text_of(name):
    return (DOCS / name).read_text(encoding="utf-8")


def examples(page):
    """Blank out all lines of a page but those in Python blocks, so that a failure names the right line."""
    inside, lines = False, []
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            inside = line == "```python"
            lines.append("")
        else:
            lines.append(line if inside else "")
    return doctest.DocTestParser().get_doctest("\n".join(lines) + "\n", {}, page.name, str(page), 0)


@pytest.mark.parametrize("page", [*PAGES, *GUIDES], ids=lambda page: page.stem)
def test_the_examples_of_a_page_run(page):
    test = examples(page)
    assert test.examples
    said = []
    doctest.DocTestRunner(optionflags=FLAGS, verbose=False).run(test, out=said.append)
    assert not said, "".join(said)


def test_a_wrong_example_is_noticed(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n```python\n>>> 1 + 1\n3\n\n```\n", encoding="utf-8")
    said = []
    doctest.DocTestRunner(optionflags=FLAGS, verbose=False).run(examples(page), out=said.append)
    assert "line 4" in "".join(said)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_defaults_are_those_of_the_code(page):
    wrong = {}
    for name, parameter, value in re.findall(r"`(\w+)\((\w+)=([^`]+)\)`", page.read_text(encoding="utf-8")):
        default = inspect.signature(getattr(analysis, name)).parameters[parameter].default
        if default != literal_eval(value):
            wrong[f"{name}({parameter})"] = (value, default)
    assert not wrong


def test_conventions_state_defaults_that_are_checked():
    assert len(re.findall(r"`\w+\(\w+=[^`]+\)`", text_of("analysis/index.md"))) >= 40


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_constants_are_those_of_the_code(page):
    known = {name for name in analysis.__all__ if name.isupper()}
    named = set(re.findall(r"`([A-Z][A-Z_]{3,})`", page.read_text(encoding="utf-8"))) - {
        "TMPDIR",
        "XDATCAR",
        "TRAJECTORY",
    }
    assert named <= known


def test_the_interface_page_lists_every_public_name():
    page = text_of("api.md")
    missing = [
        name for name in analysis.__all__ if not re.search(rf"(^   |`){name}(`|$)", page, re.MULTILINE)
    ]
    assert not missing


def test_every_public_result_has_its_fields_listed():
    page = runpy.run_path(str(DOCS / "results_reference.py"))["results_page"]()
    results = [
        name
        for name in analysis.__all__
        if inspect.isclass(getattr(analysis, name)) and hasattr(getattr(analysis, name), "model_fields")
    ]
    assert not [name for name in results if name != "Result" and f"### {name}\n" not in page]


def test_the_command_page_names_every_option_and_every_key():
    page = text_of("analysis/command.md")
    command = load("analyze")
    options = {
        name
        for parameter in command.params
        if parameter.param_type_name == "option"
        for name in (*parameter.opts, *parameter.secondary_opts)
    }
    assert {"--out", "--time-step", "--temperature"} <= options
    assert not [name for name in options - {"--help"} if f"`{name}`" not in page]
    assert not [key for key in Analysis.model_fields if f"`{key}`" not in page]


def test_figures_are_there_used_and_small():
    used = {
        name for page in PAGES for name in re.findall(r"figures/(\w+\.png)", page.read_text(encoding="utf-8"))
    }
    assert used == {path.name for path in FIGURES.iterdir()}
    for path in FIGURES.iterdir():
        assert path.stat().st_size < 120_000
        with Image.open(path) as picture:
            assert picture.width >= 600


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_figures_of_models_say_so(page):
    captions = re.findall(
        r"^```\{figure\}.*?\n\n(.*?)\n```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    assert not captions or re.search(r"not the material|[Mm]ade-up|by construction", captions[0])


def test_the_paper_s_figures_lead_to_functions():
    table = text_of("analysis/index.md").partition("## From the figures")[2].partition("## ")[0]
    functions = set(re.findall(r"`(\w+)`", table))
    assert {"chains", "hop_classes", "enrichment", "rotations", "msd", "amorphisation"} <= functions
    assert functions <= set(analysis.__all__)


def test_the_values_of_constants_are_those_of_the_code():
    stated = dict(re.findall(r"^\| `([A-Z][A-Z_]+)` \| `([^`]+)`", text_of("api.md"), re.MULTILINE))
    assert {"BOND_CUTOFFS", "HYSTERESIS", "CHAIN_CUTOFF"} <= set(stated)
    for name, value in stated.items():
        actual = getattr(analysis, name)
        assert literal_eval(value) == (dict(actual) if isinstance(actual, Mapping) else actual), name


def blocks(page, language):
    return re.findall(
        rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )


@pytest.mark.parametrize("number", range(3))
def test_the_protocols_of_the_guide_are_planned_as_written(tmp_path, number):
    found = blocks(GUIDES[0], "yaml")
    assert len(found) == 3
    content = {**BASE, "melt_quench": yaml.safe_load(found[number])}
    path = tmp_path / "campaign.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    file = CampaignFile.load(path)
    stages = file.melt_quench.protocol.stages()
    names = [
        ["melt", "density", "quench", "npt", "hold"],
        ["heat", "melt", "density", "quench", "npt", "hold"],
        ["heat", "melt", "density", "quench", "npt", "hold"],
    ]
    assert [stage.name for stage in stages] == names[number]
    assert plan(file).seeds == 3 * len(file.melt_quench.trajectories())


def test_the_table_of_presets_names_them_all_with_their_times():
    rows = dict(
        re.findall(r"^\| `(\w+)` \| (.+? \|.+) \|$", GUIDES[0].read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert set(PRESETS) <= set(rows)
    for name, stages in PRESETS.items():
        text = rows[name].replace("1 ns", "1000 ps").replace("10 ns", "10000 ps")
        for stage in stages:
            rate = (stage.start_temperature - stage.end_temperature) / stage.time
            assert f"{stage.end_temperature:g} K" in text
            assert f"{stage.time:g} ps" in text or (stage.cools and f"{rate:g} K/ps" in text), (name, stage)


def test_the_guide_to_labels_names_every_status_and_every_query_can_be_asked():
    page = GUIDES[1].read_text(encoding="utf-8")
    assert not [status.value for status in LabelStatus if f"| `{status.value}` |" not in page]
    asked = 0
    for guide in (*GUIDES, DOCS / "store.md"):
        for line in "\n".join(blocks(guide, "bash")).splitlines():
            words = shlex.split(line)
            if words[:2] != ["laoc", "query"]:
                continue
            options = dict(zip(words[3::2], words[4::2], strict=True))
            parse_where(words[2], options.get("--where", ""))
            parse_columns(words[2], options.get("--columns", ""))
            asked += 1
    assert asked >= 10
