"""From the transport of several glasses to that of their composition."""

import dataclasses
from datetime import UTC, datetime

import pytest

from laoc_flows.store.summarize import Sources, summarize


def estimate(value, error=1e-8, bound=None):
    return {"value": value, "standard_error": error, "upper_bound": bound, "status": "s", "reason": ""}


def glass(key, diffusion, conductivity=None, counts=(0, 0, 0), rate=None, turns=None):
    classes = dict(zip(("intra-chain", "inter-chain", "isolated-assisted"), counts, strict=True))
    return {
        "key": key,
        "species": {"Li": {"status": "diffusive", "last_lag": 5.0, "last_msd": 3.0, "diffusion": diffusion}},
        "nernst_einstein": conductivity,
        "hops": {
            "all": {"count": sum(counts), "rate": rate},
            "classes": {name: {"count": n} for name, n in classes.items()},
        },
        "rotations": {"Cl": {"rotating": {"rate": turns}}},
    }


def summary(*glasses):
    return summarize(Sources("c", "x1.000-y0.750", datetime(2026, 1, 1, tzinfo=UTC), transport=glasses))


def test_one_glass_gives_its_own_number():
    found = summary(glass("a", estimate(2e-7), estimate(10.0, 0.5)))
    assert found.li_diffusion.value == pytest.approx(2e-7)
    assert found.li_diffusion.standard_error == pytest.approx(1e-8)
    assert found.conductivity.value == pytest.approx(10.0)
    assert found.conductivity.unit == "mS/cm"


def test_several_glasses_keep_both_parts_of_the_error():
    values = [1e-7, 2e-7, 3e-7, 4e-7, 5e-7]
    found = summary(*(glass(str(k), estimate(v, 2e-8)) for k, v in enumerate(values)))
    assert found.li_diffusion.value == pytest.approx(3e-7)
    assert found.li_diffusion.n_independent == 5
    # The standard error of five values whose spread is sqrt(2.5)e-7 is that over sqrt(5).
    assert found.li_diffusion.standard_error == pytest.approx(0.5**0.5 * 1e-7, rel=0.05)
    # The spread of the glasses themselves is what is seen less what the runs add.
    assert found.li_diffusion_within == pytest.approx(2e-8)
    assert found.li_diffusion_between == pytest.approx((2.5 - 0.04) ** 0.5 * 1e-7, rel=0.02)


def test_a_glass_without_a_number_takes_the_number_from_all():
    found = summary(glass("a", estimate(2e-7)), glass("b", estimate(None, None, 8e-7)))
    assert found.li_diffusion is None
    assert found.li_diffusion_bound == 8e-7


def test_hops_are_pooled_and_rates_averaged():
    found = summary(
        glass("a", None, counts=(8, 1, 1), rate=4.0, turns=1.0),
        glass("b", None, counts=(10, 0, 0), rate=6.0, turns=3.0),
    )
    assert found.n_hops == 20
    assert found.hop_shares == {"intra-chain": 0.9, "inter-chain": 0.05, "isolated-assisted": 0.05}
    assert (found.hop_rate.value, found.hop_rate.standard_error) == (5.0, pytest.approx(1.0))
    assert found.cl_rotation_rate.value == 2.0


def test_documents_of_earlier_versions_are_summarized_too():
    found = summary(
        {"key": "old", "species": {"Li": {"status": "insufficient", "last_lag": 1.0, "last_msd": 1.0}}}
    )
    assert (found.li_diffusion, found.n_hops, found.hop_shares) == (None, 0, {})
    assert found.li_status == "insufficient"


def cell(key, status="glass", rate=None, density=1.7):
    number = {"value": density, "standard_error": 0.1, "unit": "g/cm^3", "n_independent": 5}
    return {"key": key, "status": status, "asked_quench_rate": rate, "density": number, "reason": "why"}


def sources(**known):
    return Sources("c", "x1.000-y0.750", datetime(2026, 1, 1, tzinfo=UTC), **known)


def test_the_slowest_rate_is_the_headline_and_every_rate_is_told():
    cells = [cell("a", rate=100.0), cell("b", rate=1.0, density=1.9), cell("c", "refused: reacted", 1.0)]
    runs = [
        glass("ta", estimate(9e-7)) | {"asked_quench_rate": 100.0},
        glass("tb", estimate(2e-7)) | {"asked_quench_rate": 1.0},
    ]
    found = summarize(sources(structures=cells, transport=runs))
    assert (found.quench_rate, found.n_glasses, found.n_refused) == (1.0, 1, 1)
    assert found.li_diffusion.value == pytest.approx(2e-7)
    assert found.density.value == pytest.approx(1.9)
    assert found.refusals == ("refused: reacted (why)",)
    assert [(each.quench_rate, each.n_glasses, each.n_refused) for each in found.by_rate] == [
        (1.0, 1, 1),
        (100.0, 1, 0),
    ]
    assert found.by_rate[1].li_diffusion.value == pytest.approx(9e-7)
    assert found.sources["structures"] == ("b", "c")


def test_one_rate_is_no_ensemble_of_rates():
    found = summarize(sources(structures=[cell("a", rate=5.0), cell("b", rate=5.0)]))
    assert (found.quench_rate, found.n_glasses, found.by_rate) == (5.0, 2, ())
    old = summarize(sources(structures=[cell("a"), cell("b", rate=5.0)]))
    assert (old.quench_rate, [each.quench_rate for each in old.by_rate]) == (5.0, [5.0, None])


def test_the_reference_engine_s_runs_change_no_other_number():
    cells, runs = [cell("a", rate=1.0)], [glass("ta", estimate(2e-7)) | {"asked_quench_rate": 1.0}]
    own = [cell("r", density=9.0, rate=0.1), cell("s", "refused: not melted")]
    alone = summarize(sources(structures=cells, transport=runs))
    both = summarize(
        sources(
            structures=cells,
            transport=runs,
            reference_structures=own,
            reference_transport=[glass("tr", estimate(9e-5))],
        )
    )
    assert (both.n_reference, both.n_reference_refused, both.reference_li_status) == (1, 1, "diffusive")
    assert both.sources["reference_structures"] == ("r", "s")
    changed = {
        name
        for name in type(both).model_fields
        if getattr(both, name) != getattr(alone, name) and "reference" not in name
    }
    assert changed == {"sources"}
    # A composition that has nothing else is not complete.
    only = summarize(sources(reference_structures=own))
    assert (only.status.value, only.n_glasses, only.density, only.formula) == ("in progress", 0, None, None)
    # Of labels that were imported nothing more will come.
    assert summarize(dataclasses.replace(sources(), campaign_id="import-mine")).status.value == "imported"
    campaign = dataclasses.replace(sources(), campaign_id="import-mine-0123456789ab")
    assert summarize(campaign).status.value == "in progress"
