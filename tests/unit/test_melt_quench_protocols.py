"""Melt-quench protocols: three ways to write them, what they become, and what is said of wrong ones."""

import json
from itertools import pairwise

import jsonschema
import pytest
from pydantic import TypeAdapter

from laoc_flows.campaign.file import CampaignFile, json_schema
from laoc_flows.errors import CampaignFileError
from laoc_flows.schemas.config import Production, ReferenceSampling
from laoc_flows.schemas.melt_quench import PRESETS, AnyProtocol, MeltQuench, Preset, StageList
from tests.unit.test_plan import BASE

RAMP = {"name": "quench", "start_temperature": 1500, "end_temperature": 300, "time": 10}
HOLD = {"name": "hold", "start_temperature": 300, "end_temperature": 300, "time": 50}
PROTOCOLS = TypeAdapter(AnyProtocol)


def protocol(content):
    return PROTOCOLS.validate_python(content)


def loaded(tmp_path, **melt_quench):
    content = json.loads(json.dumps(BASE))
    content["melt_quench"] |= melt_quench
    path = tmp_path / "c.yaml"
    path.write_text(json.dumps(content), encoding="utf-8")
    return CampaignFile.load(path), content


def path_of(stages):
    """Temperature over time: time [ps] and target [K] at every corner."""
    time, corners = 0.0, []
    for stage in stages:
        corners += [(time, stage.start_temperature), (time + stage.time, stage.end_temperature)]
        time += stage.time
    return corners


def test_parameters_and_stages_that_say_the_same_are_the_same_run():
    parameters = protocol(
        {"melt_temperature": 1500, "melt_time": 5, "quench_rate": 120, "hold_time": 50, "time_step": 1}
    )
    melt = {"name": "melt", "start_temperature": 1500, "end_temperature": 1500, "time": 5}
    spelled = protocol({"stages": [melt, RAMP, {**HOLD, "thermostat": "measure"}], "time_step": 1})
    assert isinstance(parameters, MeltQuench)
    assert isinstance(spelled, StageList)
    assert parameters.stages() == spelled.stages()


def test_a_stage_goes_its_own_way():
    hot, cold = protocol({"stages": [RAMP, HOLD], "time_step": 2, "hot_time_step": 1}).stages()
    assert (hot.time_step, cold.time_step) == (1, None)
    assert (hot.steps(2.0), cold.steps(2.0)) == (10_000, 25_000)
    (own,) = protocol({"stages": [{**RAMP, "time_step": 0.5}], "hot_time_step": 1}).stages()
    assert own.time_step == 0.5


@pytest.mark.parametrize("form", ["parameters", "stages", "preset"])
def test_every_rate_takes_the_time_of_its_quench(form):
    rates = [1200, 120, 12]
    content = {
        "parameters": {"melt_time": 5, "quench_rate": rates},
        "stages": {"stages": [RAMP, HOLD], "quench_rates": rates},
        "preset": {"preset": "paper", "quench_rates": rates},
    }[form]
    found = protocol(content)
    assert found.rates() == (1200, 120, 12)
    for rate, time in zip(rates, (1, 10, 100), strict=True):
        (quench,) = [stage for stage in found.stages(rate) if stage.cools]
        assert quench.time == pytest.approx(time)
        others = [stage for stage in found.stages(rate) if not stage.cools]
        assert others == [stage for stage in found.stages(rates[0]) if not stage.cools]


def test_the_presets_are_as_published():
    paper = protocol({"preset": "paper"}).stages()
    assert [stage.name for stage in paper] == ["heat", "melt", "density", "quench", "npt", "hold"]
    assert (paper[1].start_temperature, paper[1].time, paper[1].until_melted) == (1500, 20, True)
    assert (paper[3].end_temperature, paper[3].time) == (300, 10)
    assert (paper[5].start_temperature, paper[5].time, paper[5].ensemble) == (300, 50, "nvt")
    dai = protocol({"preset": "dai2023"}).stages()
    assert path_of(dai) == [(0, 600), (30, 600), (30, 300), (190, 300)]
    assert dai[0].time_step == 1.0
    mlip = protocol({"preset": "mlip"}).stages()
    (quench,) = [stage for stage in mlip if stage.cools]
    assert (quench.start_temperature - quench.end_temperature) / quench.time == pytest.approx(0.1)
    assert [stage.ensemble for stage in mlip] == ["npt", "npt", "npt", "nvt"]


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_preset_is_scaled_as_a_whole_and_its_parts_follow_each_other(name):
    whole, tenth = protocol({"preset": name}).stages(), protocol({"preset": name, "length": 0.1}).stages()
    assert [stage.time for stage in tenth] == pytest.approx([0.1 * stage.time for stage in whole])
    # Temperatures are continuous, but for the one published jump to a lower one.
    jumps = [(one.end_temperature, two.start_temperature) for one, two in pairwise(whole)]
    assert [jump for jump in jumps if jump[0] != jump[1]] == ([(600, 300)] if name == "dai2023" else [])


def test_replicas_are_one_packing_for_each_rate():
    sampling = ReferenceSampling.model_validate(
        {"packings": 2, "held_out": 2, "protocol": {"melt_time": 1, "quench_rate": [100, 10]}}
    )
    assert sampling.trajectories() == (
        (0, 100.0, False),
        (1, 10.0, False),
        (2, 100.0, False),
        (3, 10.0, False),
        (4, 100.0, True),
        (5, 100.0, True),
    )


def test_forms_survive_their_json(tmp_path):
    for content in (
        {"melt_time": 5, "quench_rate": [120, 12], "equilibrate": {"tolerance": 0.3}},
        {"stages": [RAMP, HOLD], "quench_rates": [12]},
        {"preset": "paper", "length": 0.5},
    ):
        found, campaign = loaded(tmp_path, protocol=content, label_every=1)
        again = ReferenceSampling.model_validate(json.loads(found.melt_quench.model_dump_json(by_alias=True)))
        assert again == found.melt_quench
        assert found.spec().melt_quench == found.melt_quench
        jsonschema.validate(campaign, json_schema(), jsonschema.Draft202012Validator)


def test_one_rate_or_a_list_is_the_same_in_the_schema_and_in_the_file(tmp_path):
    one, content = loaded(tmp_path, protocol={"melt_time": 1, "quench_rate": 100})
    many, _ = loaded(tmp_path, protocol={"melt_time": 1, "quench_rate": [100]})
    assert one.melt_quench == many.melt_quench
    assert one.campaign_id == many.campaign_id
    check = jsonschema.Draft202012Validator(json_schema())
    for wrong in ([], [0], -1, "fast"):
        content["melt_quench"]["protocol"]["quench_rate"] = wrong
        assert not check.is_valid(content)
    assert Production.model_validate_json('{"quench_rate": [1, 2]}', strict=True).quench_rate == (1, 2)
    assert Production.model_validate_json('{"quench_rate": 3}', strict=True).glass_runs() == ((0, 3),)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (
            {"melt_tme": 1, "quench_rate": 100},
            "protocol.melt_tme = 1: unknown key -- did you mean 'melt_time'?",
        ),
        ({"preset": "papr"}, "protocol.preset = 'papr': must be 'dai2023', 'paper' or 'mlip'"),
        (
            {"preset": "paper", "melt_time": 3},
            "protocol.melt_time = 3: unknown key -- allowed: time_step, hot_time_step, preset, length, quench_rates",
        ),
        ({"preset": "paper", "length": -1}, "protocol.length = -1: must be above 0"),
        ({"preset": "paper", "stages": []}, "protocol.stages = []: unknown key"),
        ({"stages": []}, "protocol.stages = []: has fewer entries than 1"),
        ({"stages": 3}, "protocol.stages = 3: is not a list"),
        (
            {"stages": [{k: v for k, v in RAMP.items() if k != "end_temperature"}]},
            "protocol.stages[0].end_temperature: is missing -- add it: thermostat target at the end",
        ),
        (
            {"stages": [HOLD, {**RAMP, "tiem": 2}]},
            "protocol.stages[1].tiem = 2: unknown key -- did you mean 'time'?",
        ),
        (
            {"stages": [{**HOLD, "time": "long"}]},
            "protocol.stages[0].time = 'long': is not a number -- write a number without quotes",
        ),
        (
            {"stages": [{**HOLD, "equilibrate": {"tolerence": 1}}]},
            "protocol.stages[0].equilibrate.tolerence = 1: unknown key -- did you mean 'tolerance'?",
        ),
        (
            {"melt_time": 1, "quench_rate": [100, -1]},
            "protocol.quench_rate[1] = -1: must be above 0",
        ),
        ({"melt_time": 1, "quench_rate": []}, "protocol.quench_rate = []: has fewer entries than 1"),
        ({"melt_time": 1, "quench_rate": "fast"}, "protocol.quench_rate = 'fast': is not a number"),
        ({"melt_time": 1, "quench_rate": [9, 9]}, "protocol.quench_rate = [9, 9]: a quench rate is given"),
        ("paper", "protocol = 'paper': is not a mapping of keys to values"),
        (None, "protocol = null: is not a mapping of keys to values"),
        (
            {"preset": "dai2023", "quench_rates": [1]},
            "protocol = {'preset': 'dai2023', 'quench_rates': [1]}: ",
        ),
    ],
)
def test_a_wrong_protocol_is_one_line_with_the_keys_as_written(tmp_path, content, line):
    with pytest.raises(CampaignFileError) as caught:
        loaded(tmp_path, protocol=content)
    first = caught.value.lines[0]
    assert first.startswith(f"{tmp_path / 'c.yaml'}: melt_quench.{line}"), first
    assert " form" not in first
    # A misspelled key is also a missing one.
    assert len(caught.value.lines) == (2 if "melt_tme" in line else 1)


@pytest.mark.parametrize(
    ("stage", "why"),
    [
        ({**HOLD, "equilibrate": {}, "ensemble": "npt"}, "has a barostat, not both"),
        ({**HOLD, "equilibrate": {}, "until_melted": True}, "when its density is equilibrated, not both"),
        ({**RAMP, "until_melted": True}, "only a stage at one temperature can wait"),
    ],
)
def test_a_stage_that_cannot_be_is_refused(tmp_path, stage, why):
    with pytest.raises(CampaignFileError, match=why) as caught:
        loaded(tmp_path, protocol={"stages": [stage]})
    assert "melt_quench.protocol.stages[0]" in caught.value.lines[0]
    assert len(caught.value.lines) == 1


def test_a_protocol_gives_itself_for_itself():
    for one in (Preset(preset="paper"), MeltQuench(melt_time=1, quench_rate=(1,))):
        assert protocol(one) == one
