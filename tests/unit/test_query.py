"""The language of --where, columns, and how rows are printed."""

import csv
import io
import json
import math
from datetime import UTC, datetime
from fractions import Fraction

import numpy as np
import pytest
from bson import encode
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.console import Console

from laoc_flows.cli.query import render
from laoc_flows.errors import QueryError
from laoc_flows.schemas.summary import CompositionSummary
from laoc_flows.store.catalog import COLLECTIONS, fields_of, resolve
from laoc_flows.store.columns import concise, csv_header, csv_row, jsonable, parse_columns, shown
from laoc_flows.store.query import MAX_LENGTH, TOLERANCE, parse_where, sort_order, where_from
from laoc_flows.store.summarize import Sources, between, summarize, weakest

ALLOWED = {"$and", "$or", "$eq", "$ne", "$lt", "$lte", "$gt", "$gte", "$regex", "$options"}


def operators(value):
    if isinstance(value, dict):
        found = {name for name in value if name.startswith("$")}
        return found.union(*(operators(each) for each in value.values()))
    if isinstance(value, list):
        return set().union(*(operators(each) for each in value))
    return set()


def paths(value):
    if isinstance(value, list):
        return set().union(*(paths(each) for each in value))
    if not isinstance(value, dict):
        return set()
    found = set()
    for name, each in value.items():
        found |= paths(each) if name in ("$and", "$or") else {name}
    return found


# -- where -----------------------------------------------------------------------------------------------------


ID = "tiny-0123456789ab"


@pytest.mark.parametrize("text", ["", "  ", "\n"])
def test_no_condition_is_no_filter(text):
    assert parse_where("structures", text) == {}


@pytest.mark.parametrize(
    ("collection", "text", "wanted"),
    [
        ("structures", "status=glass", {"status": {"$eq": "glass"}}),
        ("structures", "status != 'refused: reacted'", {"status": {"$ne": "refused: reacted"}}),
        (
            "structures",
            'reason ~ "Cl-Cl 1.9 (A)"',
            {"reason": {"$regex": r"Cl\-Cl\ 1\.9\ \(A\)", "$options": "i"}},
        ),
        ("structures", "iteration>=2", {"iteration": {"$gte": 2.0}}),
        ("structures", "2 < iteration", {"iteration": {"$gt": 2.0}}),
        ("structures", "iteration==1/3", {"iteration": {"$eq": 1 / 3}}),
        ("structures", "density > -1.5e0", {"density.value": {"$gt": -1.5}}),
        ("structures", "density.standard_error<0.1", {"density.standard_error": {"$lt": 0.1}}),
        ("structures", "tetrahedra.AlCl4>.2", {"tetrahedra.AlCl4.value": {"$gt": 0.2}}),
        ("structures", "tetrahedra.CN5:O2Cl3>0", {"tetrahedra.CN5:O2Cl3.value": {"$gt": 0.0}}),
        ("structures", "balance.n_free_anions=0", {"balance.n_free_anions": {"$eq": 0.0}}),
        ("structures", "chains.0.max_dimension>0", {"chains.0.max_dimension": {"$gt": 0.0}}),
        ("structures", "o_to_cl=none", {"o_to_cl": {"$eq": None}}),
        ("structures", "reason='none'", {"reason": {"$eq": "none"}}),
        ("structures", "potential_key != null", {"potential_key": {"$ne": None}}),
        ("structures", f"campaign_id={ID}", {"campaign_ids": {"$eq": ID}}),
        ("compositions", f"campaign_id!={ID}", {"campaign_id": {"$ne": ID}}),
        ("structures", "campaign_id=a.b", {"campaign_ids": {"$regex": r"^a\.b(-[0-9a-f]{12})?$"}}),
        ("labels", "campaign_id!=b", {"campaign_ids": {"$not": {"$regex": "^b(-[0-9a-f]{12})?$"}}}),
        ("structures", "composition_id=x1.000-y0.750", {"composition_id": {"$eq": "x1.000-y0.750"}}),
        ("labels", "held_out=true", {"held_out": {"$eq": True}}),
        ("labels", "held_out!=yes", {"held_out": {"$eq": False}}),
        ("transport", "species.Li.status=diffusive", {"species.Li.status": {"$eq": "diffusive"}}),
        ("potentials", "final=true", {"final": {"$eq": True}}),
        (
            "labels",
            "last_updated>=2026-01-31",
            {"last_updated": {"$gte": datetime(2026, 1, 31, tzinfo=UTC)}},
        ),
        (
            "labels",
            "n_atoms>1, energy<0 AND status=crashed,",
            {"$and": [{"n_atoms": {"$gt": 1.0}}, {"energy": {"$lt": 0.0}}, {"status": {"$eq": "crashed"}}]},
        ),
        ("labels", "1<=n_atoms<5", {"$and": [{"n_atoms": {"$gte": 1.0}}, {"n_atoms": {"$lt": 5.0}}]}),
        ("labels", "5>n_atoms>1", {"$and": [{"n_atoms": {"$lt": 5.0}}, {"n_atoms": {"$gt": 1.0}}]}),
    ],
)
def test_conditions(collection, text, wanted):
    assert parse_where(collection, text) == wanted


@pytest.mark.parametrize("name", ["x", "y", "o_to_cl", "li_to_al"])
@pytest.mark.parametrize("collection", ["structures", "transport", "labels", "compositions"])
def test_compositions_are_equal_within_a_tolerance(collection, name):
    third = 1 / 3
    bounds = parse_where(collection, f"{name}=1/3")[name]
    assert bounds["$gte"] <= third <= bounds["$lte"]
    assert bounds["$lte"] - bounds["$gte"] == pytest.approx(2 * TOLERANCE)
    assert parse_where(collection, f"{name}<=0.3333333333")[name]["$lte"] > third
    assert parse_where(collection, f"{name}<1/3")[name]["$lt"] < third
    assert parse_where(collection, f"{name}>1/3")[name]["$gt"] > third
    assert parse_where(collection, f"{name}>=1/3")[name]["$gte"] < third
    below, above = parse_where(collection, f"{name}!=1/3")["$or"]
    assert below[name]["$lt"] < third < above[name]["$gt"]


@pytest.mark.parametrize(
    ("collection", "text", "parts"),
    [
        (
            "structures",
            "densty>1",
            ["no field 'densty'", "did you mean density?", "fields: asked_quench_rate, balance, "],
        ),
        ("structures", "$where=1", ["no field '$where'"]),
        ("structures", "tetrahedra.$gt=1", ["'tetrahedra.$gt' is not a field"]),
        ("structures", "tetrahedra..AlCl4=1", ["single dots"]),
        ("structures", "density.valu>1", ["density has: n_independent, standard_error, unit, value"]),
        ("structures", "tetrahedra=1", ["no single value", "tetrahedra.<name>"]),
        ("structures", "x>=abc", ["'abc' is not a number", "1/3"]),
        ("structures", "x=1/0", ["is not a number"]),
        ("structures", "iteration=1e999", ["is not a number"]),
        ("structures", "x~1", ["contains nothing"]),
        ("structures", "status>glass", ["status is text", "= != or ~"]),
        ("structures", "x=1 or y=2", ["joined by 'and' only"]),
        ("structures", "x", ["field operator value"]),
        ("structures", "x=1 y=2", ["field operator value"]),
        ("structures", "x=1 and and y=2", ["nothing between"]),
        ("structures", "and", ["nothing between"]),
        ("structures", "x=>1", ["not a condition"]),
        ("structures", "0<=x>=1", ["not a range"]),
        ("structures", "0=x=1", ["not a range"]),
        ("structures", "reason='open", ["quotes come in pairs"]),
        ("structures", "!x", ["cannot be read"]),
        ("structures", "'x'=1", ["quoted and therefore no field"]),
        ("structures", "reason='a\0b'", ["no document holds"]),
        ("structures", "reason=\ud800", ["no document holds"]),
        ("structures", "tetrahedra.\ud800=1", ["is not a field"]),
        ("labels", "held_out=maybe", ["true or false"]),
        ("labels", "held_out>true", ["true or false"]),
        ("labels", "last_updated>yesterday", ["date in UTC"]),
        ("labels", "last_updated=none9", ["date in UTC"]),
        ("potentials", "x=1", ["potentials have no field 'x'"]),
        ("potentials", "held_out.x1.000-y0.750.force_rmse>1", ["shown but not compared"]),
        ("struktures", "x=1", ["no collection 'struktures'", "did you mean structures?"]),
        ("$outputs", "", ["no collection"]),
        ("structures", "status=glas", ["status is never 'glas'", "did you mean glass", "refused: collapsed"]),
        ("labels", "status!=failed", ["status is never 'failed'", "unconverged"]),
        ("iterations", "verdict=CONVERGED", ["verdict is never", "not converged"]),
        ("structures", "x=1," * 201, ["more than 200"]),
        ("structures", "x" * (MAX_LENGTH + 1), ["longer than"]),
    ],
)
def test_what_cannot_be_understood_is_one_line_with_a_remedy(collection, text, parts):
    with pytest.raises(QueryError) as caught:
        parse_where(collection, text)
    line = str(caught.value)
    assert "\n" not in line
    assert caught.value.remedy
    for part in parts:
        assert part in line


FRAGMENTS = st.lists(
    st.one_of(
        st.sampled_from(
            [
                *COLLECTIONS["structures"],
                *(
                    "=",
                    "!=",
                    "<",
                    "<=",
                    ">",
                    ">=",
                    "~",
                    "==",
                    "!",
                    ",",
                    "and",
                    "or",
                    "$",
                    "$where",
                    "$gt",
                    "{}",
                ),
                *(
                    "[]",
                    ".",
                    "\\",
                    '"',
                    "'",
                    "(",
                    ")",
                    "*",
                    "\0",
                    "\n",
                    "none",
                    "true",
                    "1/3",
                    "0.5",
                    "1e5",
                    "-1",
                ),
                "x>=0.5",
                "'a b'",
                "{'$gt': 1}",
                "density.value",
                "tetrahedra.a.b",
                "campaign_id",
                "last_updated",
            ]
        ),
        st.text(max_size=8),
    ),
    max_size=12,
).flatmap(lambda parts: st.sampled_from(["", " "]).map(lambda joint: joint.join(parts)))


@settings(max_examples=600, deadline=None)
@given(collection=st.sampled_from(sorted(COLLECTIONS)), text=st.one_of(FRAGMENTS, st.text()))
@example(collection="structures", text="x=" + "9" * 400)
@example(collection="structures", text="last_updated=9999-12-31T23:59:59-23:59")
@example(collection="structures", text="tetrahedra." + "a." * 4000 + "b=1")
def test_any_text_gives_a_harmless_filter_or_a_query_error(collection, text):
    try:
        found = parse_where(collection, text)
    except QueryError as error:
        assert "\n" not in str(error)  # noqa: PT017
        return
    assert operators(found) <= ALLOWED
    assert {path.split(".")[0] for path in paths(found)} <= set(COLLECTIONS[collection])
    encode(found)


@settings(max_examples=300, deadline=None)
@given(
    where=st.dictionaries(
        st.one_of(st.sampled_from([*COLLECTIONS["labels"], "$or", "$where"]), st.text(max_size=6)),
        st.recursive(
            st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=6)),
            lambda inner: st.one_of(
                st.lists(inner, max_size=3),
                st.tuples(inner, inner),
                st.dictionaries(st.text(max_size=4), inner, max_size=2),
            ),
            max_leaves=4,
        ),
        max_size=3,
    )
)
@example(where={"status": {"$gt": ""}})
@example(where={"$where": "1"})
def test_any_mapping_gives_a_harmless_filter_or_a_query_error(where):
    try:
        found = where_from("labels", where)
    except QueryError as error:
        assert "\n" not in str(error)  # noqa: PT017
        return
    assert operators(found) <= ALLOWED
    encode(found)


def test_conditions_from_python():
    assert where_from("labels", None) == {}
    assert where_from("labels", "n_atoms>1") == {"n_atoms": {"$gt": 1.0}}
    assert where_from("labels", {"reason": "a and b=1"}) == {"reason": {"$eq": "a and b=1"}}
    assert where_from("labels", {"n_atoms": (np.int64(1), None)}) == {"n_atoms": {"$gte": 1.0}}
    assert where_from("labels", {"energy": np.float64(-0.5)}) == {"energy": {"$eq": -0.5}}
    assert where_from("labels", {"held_out": False}) == {"held_out": {"$eq": False}}
    assert where_from("labels", {"x": Fraction(1, 3)}) == where_from("labels", {"x": "1/3"})
    assert where_from("labels", {"status": ["crashed", "unconverged"]}) == {
        "$or": [{"status": {"$eq": "crashed"}}, {"status": {"$eq": "unconverged"}}]
    }
    for wrong in ({"x": (1, 2, 3)}, {"status": []}, {"status": {"$gt": ""}}, {3: 1}, {"$or": [1]}):
        with pytest.raises(QueryError):
            where_from("labels", wrong)


# -- columns ---------------------------------------------------------------------------------------------------

KEYED = {
    "density": {"value": 1.7342, "standard_error": 0.0123, "unit": "g/cm^3", "n_independent": 5},
    "held_out": {"x1.000-y0.750": {"force_rmse": 0.25}},
    "chains": [{"rule": "distance"}],
    "reason": 'a "quoted", text',
}


def test_paths_lead_into_documents():
    assert resolve("structures", "density").kind == "measured"
    assert resolve("structures", "density.value").value(KEYED) == 1.7342
    assert resolve("structures", "chains.0.rule").value(KEYED) == "distance"
    assert resolve("structures", "chains.1.rule").value(KEYED) is None
    assert resolve("potentials", "held_out.x1.000-y0.750.force_rmse").value(KEYED) == 0.25
    assert resolve("structures", "tetrahedra.AlCl4").value(KEYED) is None
    assert [each.path for each in parse_columns("structures", " x, density ,,x")] == ["x", "density"]
    assert parse_columns("structures", None) == ()
    with pytest.raises(QueryError, match="did you mean density"):
        parse_columns("structures", ["densiti"])
    with pytest.raises(QueryError, match="no collection"):
        parse_columns("nothing", "")


def test_sort_order():
    assert sort_order("structures", "x,-density") == [("x", 1), ("density.value", -1)]
    with pytest.raises(QueryError):
        sort_order("structures", "$natural")


def test_every_field_can_be_resolved():
    for collection in COLLECTIONS:
        for name in fields_of(collection):
            assert resolve(collection, name).parts == (name,)


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (1.7342, 0.0123, "1.734(12)"),
        (0.75, None, "0.75"),
        (0.75, 0.0, "0.75"),
        (12.3456789, None, "12.35"),
        (-3.2, 0.41, "-3.20(41)"),
        (math.nan, 0.1, ""),
        (1.0, math.nan, "1"),
    ],
)
def test_concise_notation(value, error, text):
    assert concise(value, error) == text


def test_values_for_people():
    assert shown(None) == ""
    assert shown(True) == "yes"
    assert shown(["a", 1]) == "a, 1"
    assert shown({"a": KEYED["density"]}) == "a 1.734(12)"
    assert shown(datetime(2026, 1, 2, 3, 4, 5)) == "2026-01-02 03:04:05"  # noqa: DTZ001


def test_csv_has_two_columns_for_a_number():
    columns = parse_columns("structures", "density,reason,chains,potential_key,n_atoms")
    assert csv_header(columns) == ["density", "density_error", "reason", "chains", "potential_key", "n_atoms"]
    row = csv_row(columns, KEYED)
    assert row == ["1.7342", "0.0123", 'a "quoted", text', '[{"rule": "distance"}]', "", ""]


def test_json_knows_no_nan():
    assert jsonable({"a": [math.nan, math.inf, 1.5], "t": datetime(2026, 1, 1)}) == {  # noqa: DTZ001
        "a": [None, None, 1.5],
        "t": "2026-01-01T00:00:00+00:00",
    }


# -- summaries and tables --------------------------------------------------------------------------------------


def measured(value, error=None, unit="1"):
    return {"value": value, "standard_error": error, "unit": unit, "n_independent": 5}


def test_numbers_of_several_glasses():
    assert between([]) is None
    assert between([None]) is None
    assert between([measured(1.5, 0.1)]).standard_error == 0.1
    both = between([measured(1.0, 0.5), measured(2.0, 0.5), None])
    assert (both.value, both.standard_error, both.n_independent) == (1.5, pytest.approx(0.5), 2)
    assert weakest(["diffusive", "insufficient", "subdiffusive"]) == "insufficient"
    assert weakest(["diffusive", "diffusive"]) == "diffusive"
    assert weakest([]) is None


def test_a_composition_of_which_nothing_is_known():
    summary = summarize(Sources("c", "x1_3-y0.000", datetime.now(tz=UTC)))
    assert summary.status.value == "in progress"
    assert summary.x == pytest.approx(1 / 3)
    assert summary.key == CompositionSummary.key_of("c", "x1_3-y0.000")
    assert summary.density is None


def row(**changes):
    known = {
        "campaign_id": "tiny-0123456789ab",
        "composition_id": "x1.000-y0.750",
        "formula": "Li432Al432O324Cl1080",
        "n_atoms": 2268,
        "density": measured(1.7342, 0.0123, "g/cm^3"),
        "links_expected": 0.75,
        "links_found": measured(0.712, 0.021),
        "isolated_share": measured(0.431, 0.019),
        "tetrahedra": {"AlCl4": measured(0.43), "AlOCl3": measured(0.31), "CN5:O2Cl3": measured(0.01)},
        "force_rmse": measured(0.0812, 0.0042, "eV/A"),
        "zero_force_rmse": 0.742,
        "deviation": 0.0734,
        "verdict": "not converged",
        "li_status": "subdiffusive",
    }
    return known | changes


def printed(*arguments, width=80, terminal=False):
    file = io.StringIO()
    render(*arguments, Console(file=file, width=width, force_terminal=terminal, color_system=None))
    return file.getvalue()


def test_the_table_of_compositions_fits_140_characters_and_is_not_cut():
    text = printed("compositions", [row(), row(force_rmse=None, tetrahedra={}, verdict=None)], (), "table")
    lines = text.splitlines()
    assert max(map(len, lines)) <= 140
    for part in (
        "Li432Al432O324Cl1080",
        "1.734(12)",
        "0.712(21)",
        "43/31/0/26",
        "0.0812(42) (0.74)",
        "not converged",
    ):
        assert part in lines[1]
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
    assert len(lines) == 4
    both = printed("compositions", [row(), row(campaign_id="[red]other")], (), "table")
    assert "[red]other" in both


def test_a_terminal_is_not_overrun():
    text = printed("compositions", [row()], (), "table", width=60, terminal=True)
    assert max(map(len, text.splitlines())) <= 60


def test_rows_as_csv_and_json():
    columns = parse_columns("compositions", "composition_id,density,deviation")
    rows = list(csv.reader(io.StringIO(printed("compositions", [row(deviation=math.nan)], columns, "csv"))))
    assert rows == [
        ["composition_id", "density", "density_error", "deviation"],
        ["x1.000-y0.750", "1.7342", "0.0123", ""],
    ]
    found = json.loads(printed("compositions", [row(deviation=math.nan)], columns, "json"))
    assert found == [{"composition_id": "x1.000-y0.750", "density": row()["density"], "deviation": None}]
    assert json.loads(printed("compositions", [], (), "json")) == []
    header, cells = csv.reader(io.StringIO(printed("compositions", [row()], (), "csv")))
    assert dict(zip(header, cells, strict=True))["tetrahedra.AlOCl3"] == "0.31"


@pytest.mark.parametrize("collection", sorted(COLLECTIONS))
def test_every_collection_prints_an_empty_document(collection):
    for fmt in ("table", "csv", "json"):
        assert printed(collection, [{"key": "a" * 64}], (), fmt)
    assert f"no {collection}" in printed(collection, [], (), "table")
