"""What the models of a committee make of a melt, and whether they agree on it."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jobflow import JobStore
from maggma.stores import MemoryStore

from laoc_flows.analysis import Trajectory, rdfs
from laoc_flows.blobs import BlobRef, put_blob
from laoc_flows.engines.lammps import LammpsRun, StageRun
from laoc_flows.errors import InputError
from laoc_flows.flows.probe import RDF_BIN, RDF_RANGE, ProbeMaker, member_properties, rdf_curves, unphysical
from laoc_flows.learning.properties import (
    MemberProperties,
    compare_density,
    compare_diffusion,
    compare_rdf,
    property_checks,
    rdf_difference,
    relative_differences,
)
from laoc_flows.schemas.base import Measured, Provenance
from laoc_flows.schemas.learning import Probe
from laoc_flows.schemas.probe import ProbeDocument
from laoc_flows.schemas.protocol import Stage

SALT = "x1.000-y0.500"
CENTERS = np.arange(RDF_BIN / 2, RDF_RANGE, RDF_BIN)


def measured(value, error, unit="g/cm^3"):
    return Measured(value=value, standard_error=error, unit=unit, n_independent=5)


def member(density=None, diffusion=None, *, rdf=None, status="diffusive", failure=""):
    return MemberProperties(
        density=None if density is None else measured(*density),
        pairs=("Al-Cl", "Li-Cl"),
        rdf=rdf,
        diffusion=None if diffusion is None else measured(*diffusion, unit="cm^2/s"),
        diffusion_status=status,
        failure=failure,
    )


def peaks(position):
    """Partial g(r) of two pairs, shape (2, n_bins): nothing inside, a peak, one beyond it."""
    first = 2.0 * np.exp(-0.5 * ((CENTERS - position) / 0.2) ** 2)
    inside = 1.0 / (1.0 + np.exp(-(CENTERS - position) / 0.1))
    return np.stack([inside + first, inside + 0.7 * first])


def noisy(curves, seed, noise=0.1, n_blocks=4):
    """Blocks with noise in the bins that are not empty, correlated between neighboring bins."""
    rng = np.random.default_rng(seed)
    white = rng.normal(size=(n_blocks, *curves.shape))
    smooth = (white + np.roll(white, 1, axis=-1)) / np.sqrt(2)
    return curves + noise * smooth * (curves > 0.01)


def outcome(check):
    return check.status, check.difference, check.difference_error


def test_equal_densities_with_small_errors_agree():
    check = compare_density(SALT, [member((2.0, 0.01))] * 3, 0.03)
    assert check.status == "agree"
    assert check.difference == 0
    # Two equal errors add in quadrature: sqrt(2) x 0.01 / 2.0.
    assert check.difference_error == pytest.approx(np.sqrt(2) * 0.005)
    assert check.values == (measured(2.0, 0.01),) * 3
    assert check.reason == "models 0 and 1 differ by 0 % +- 0.707 %, tolerance 3 %"


def test_a_tenth_apart_with_small_errors_differs():
    check = compare_density(SALT, [member((1.9, 0.01)), member((2.0, 0.01)), member((2.1, 0.01))], 0.03)
    assert check.status == "differ"
    assert check.difference == pytest.approx(0.1)
    assert "models 0 and 2 differ by 10 %" in check.reason


def test_errors_above_the_tolerance_cannot_tell():
    check = compare_density(
        SALT, [member((1.98, 0.05 * np.sqrt(2))), member((2.02, 0.05 * np.sqrt(2)))], 0.03
    )
    assert check.status == "cannot tell"
    assert check.difference == pytest.approx(0.02)
    assert check.difference_error == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("difference", "status"),
    [(0.0199, "agree"), (0.0201, "cannot tell"), (0.0499, "cannot tell"), (0.0501, "differ")],
)
def test_one_standard_error_below_and_two_above_the_tolerance(difference, status):
    # 0.03 - 0.01 and 0.03 + 2 x 0.01, with the mean at 1.
    error = 0.01 / np.sqrt(2)
    pair = [member((1 - difference / 2, error)), member((1 + difference / 2, error))]
    assert compare_density(SALT, pair, 0.03).status == status


def test_a_pair_with_large_errors_does_not_hide_one_that_differs():
    sure = [member((1.0, 0.001)), member((1.1, 0.001))]
    check = compare_density(SALT, [*sure, member((1.2, 0.5))], 0.03)
    assert check.status == "differ"
    assert "models 0 and 1" in check.reason


def test_a_missing_value_cannot_tell_unless_others_differ():
    slow = member((2.0, 0.01), status="subdiffusive")
    alike = [member(diffusion=(1e-5, 1e-7)), member(diffusion=(1e-5, 1e-7))]
    check = compare_diffusion(SALT, [*alike, slow], 0.3)
    assert check.status == "cannot tell"
    assert check.values[2] is None
    assert check.reason.endswith("model 2: subdiffusive")
    lone = compare_diffusion(SALT, [alike[0], slow], 0.3)
    assert outcome(lone) == ("cannot tell", None, None)
    apart = [member(diffusion=(1e-5, 1e-7)), member(diffusion=(3e-5, 1e-7))]
    assert compare_diffusion(SALT, [*apart, slow], 0.3).status == "differ"


def test_values_without_an_error_cannot_tell():
    check = compare_density(SALT, [member((2.0, None)), member((2.0, 0.01))], 0.03)
    assert outcome(check) == ("cannot tell", 0.0, None)
    assert "the error is not known" in check.reason


def test_one_model_cannot_tell():
    check = compare_density(SALT, [member((2.0, 0.01))], 0.03)
    assert check.status == "cannot tell"
    assert check.reason == "there are not two models to compare"


def test_a_model_that_cannot_run_the_melt_disagrees_on_everything():
    rdf = noisy(peaks(2.2), 1)
    well = member((2.0, 0.01), (1e-5, 1e-7), rdf=rdf)
    lost = member((2.0, 0.01), failure="nvt: Cl-Cl 1.20 A is inside its floor at 0.10 ps", status="")
    checks = property_checks(SALT, [well, well, lost], Probe())
    assert [check.name for check in checks] == ["density", "g(r)", "diffusion"]
    assert {check.status for check in checks} == {"differ"}
    assert {check.difference for check in checks} == {None}
    assert all(check.reason.startswith("model 2 cannot run it: nvt: Cl-Cl 1.20 A") for check in checks)


def test_no_diffusion_of_lithium_without_lithium():
    members = [member((2.0, 0.01), rdf=noisy(peaks(2.2), seed), status="empty") for seed in range(2)]
    assert [check.name for check in property_checks("x0.000-y0.500", members, Probe())] == ["density", "g(r)"]


def test_tolerances_are_those_of_the_settings():
    members = [member((2.0, 0.01), (1e-5, 1e-7), rdf=noisy(peaks(2.2), seed)) for seed in range(2)]
    checks = property_checks(SALT, members, Probe(density=0.04, rdf=0.2, diffusion=0.5))
    assert [check.tolerance for check in checks] == [0.04, 0.2, 0.5]
    assert {check.status for check in checks} == {"agree"}


def test_units_are_never_mixed():
    with pytest.raises(InputError, match="cannot be compared"):
        relative_differences([measured(2.0, 0.1), measured(2.0, 0.1, "kg/m^3")])


def test_values_that_do_not_have_a_positive_mean_cannot_tell():
    check = compare_diffusion(SALT, [member(diffusion=(0.0, 0.0)), member(diffusion=(0.0, 0.0))], 0.3)
    assert outcome(check) == ("cannot tell", None, None)


def test_two_noisy_samples_of_one_g_agree():
    """Over many draws: the RMS of the noise itself is 0.07, that of the difference without it near zero."""
    found = [rdf_difference(noisy(peaks(2.2), 2 * k), noisy(peaks(2.2), 2 * k + 1)) for k in range(60)]
    differences, errors = np.array(found).T
    raw = [noisy(peaks(2.2), 2 * k).mean(0) - noisy(peaks(2.2), 2 * k + 1).mean(0) for k in range(60)]
    assert np.sqrt(np.mean(np.square(raw))) > 0.05
    assert differences.mean() < 0.02
    assert np.mean(differences <= 2 * errors) > 0.9
    assert np.mean(differences + errors < 0.15) == 1
    members = [member(rdf=noisy(peaks(2.2), seed)) for seed in range(4)]
    assert compare_rdf(SALT, members, 0.15).status == "agree"


def test_a_shifted_g_differs_by_the_rms_of_the_shift():
    exact = np.sqrt(np.mean((peaks(2.2) - peaks(2.4)) ** 2))
    assert exact > 0.2
    found = [rdf_difference(noisy(peaks(2.2), 2 * k), noisy(peaks(2.4), 2 * k + 1)) for k in range(60)]
    differences, errors = np.array(found).T
    assert differences.mean() == pytest.approx(exact, abs=4 * differences.std() / np.sqrt(60))
    # The error is as large as the scatter really is.
    assert errors.mean() == pytest.approx(differences.std(), rel=0.4)
    check = compare_rdf(SALT, [member(rdf=noisy(peaks(2.2), 1)), member(rdf=noisy(peaks(2.4), 2))], 0.15)
    assert check.status == "differ"
    assert check.difference == pytest.approx(exact, abs=4 * check.difference_error)


def test_without_noise_the_difference_is_the_rms_over_pairs_and_bins():
    a = np.zeros((3, 2, 50))
    b = a.copy()
    b[:, 1, :25] = 2.0
    # One of two pairs differs by 2 in half of its bins: sqrt(4 / 4).
    assert rdf_difference(a, b) == (1.0, 0.0)


def test_noise_that_is_larger_than_the_tolerance_cannot_tell():
    members = [member(rdf=noisy(peaks(2.2), seed, noise=3.0)) for seed in (1, 2)]
    check = compare_rdf(SALT, members, 0.15)
    assert check.status == "cannot tell"
    assert check.difference + check.difference_error > 0.15


def test_too_few_blocks_cannot_tell():
    check = compare_rdf(SALT, [member(rdf=noisy(peaks(2.2), seed, n_blocks=2)) for seed in (1, 2)], 0.15)
    assert check.status == "cannot tell"
    assert check.difference_error is None


def test_g_on_other_bins_is_not_compared():
    with pytest.raises(InputError, match="same pairs and bins"):
        compare_rdf(SALT, [member(rdf=np.ones((4, 2, 50))), member(rdf=np.ones((4, 2, 40)))], 0.15)


numbers = st.floats(0.5, 5.0)
errors = st.none() | st.floats(0.0, 0.5)
some_members = st.lists(
    st.builds(
        lambda density, error, diffusion, failure, seed: member(
            (density, error),
            None if diffusion is None else (diffusion, 0.1),
            rdf=None if seed is None else noisy(peaks(2.2 + 0.01 * seed), seed),
            status="insufficient",
            failure=failure,
        ),
        numbers,
        errors,
        st.none() | numbers,
        st.sampled_from(["", "", "", "", "lost atoms"]),
        st.none() | st.integers(0, 9),
    ),
    min_size=0,
    max_size=4,
)


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_the_order_of_the_models_does_not_matter(data):
    members = data.draw(some_members)
    other = data.draw(st.permutations(members))
    left, right = (property_checks(SALT, each, Probe()) for each in (members, other))
    assert [c.status for c in left] == [c.status for c in right]
    for a, b in zip(left, right, strict=True):
        assert a.difference == pytest.approx(b.difference, abs=1e-12)
        assert a.difference_error == pytest.approx(b.difference_error, abs=1e-9)
        assert a.status in {"differ", "cannot tell"} or len(members) > 1


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(numbers, st.floats(0.0, 0.5)), min_size=2, max_size=4), st.floats(0.001, 1.0))
def test_the_numbers_of_a_check_say_what_its_status_says(values, tolerance):
    check = compare_density(SALT, [member(value) for value in values], tolerance)
    low, high = check.difference - 2 * check.difference_error, check.difference + check.difference_error
    expected = "differ" if low > tolerance else "agree" if high <= tolerance else "cannot tell"
    assert check.status == expected


@pytest.fixture
def walk():
    rng = np.random.default_rng(4)
    start = rng.uniform(0, 8, (9, 3))
    positions = start + rng.normal(0, 0.1, (40, 9, 3)).cumsum(axis=0)
    species = ("Li",) * 3 + ("Al",) + ("O",) * 2 + ("Cl",) * 3
    return Trajectory(species, positions, 8 * np.eye(3), time_step=0.05, continuous=True)


@pytest.fixture
def store():
    made = JobStore(MemoryStore(), additional_stores={"data": MemoryStore(key="blob_uuid")})
    made.connect()
    return made


def test_curves_of_equal_blocks_average_to_those_of_the_run(walk):
    curves = rdf_curves(walk)
    whole = rdfs(walk, r_max=5.0, bin_width=0.1)
    # One Al has no pair with another.
    assert sorted(curves["g"]) == sorted(name for name in whole.partials if name != "Al-Al")
    assert curves["edges_angstrom"] == pytest.approx(np.linspace(0, 5, 51))
    for pair, g in curves["g"].items():
        assert g == pytest.approx(whole.partials[pair].g, abs=1e-5)
        blocks = np.array(curves["blocks"][pair])
        assert blocks.shape == (4, 50)
        assert curves["g_error"][pair] == pytest.approx(blocks.std(axis=0, ddof=1) / 2, abs=1e-5)


def test_a_run_of_one_frame_has_curves_without_errors(walk):
    curves = rdf_curves(walk.block(0, 1))
    assert curves["g_error"] == {}
    assert len(curves["blocks"]["Cl-Li"]) == 1


def document(**fields):
    return ProbeDocument(
        **{
            "key": "k",
            "campaign_id": "c",
            "provenance": Provenance(
                campaign_id="c", campaign_seed=1, composition_id=SALT, stage="probe", iteration=2
            ),
            "potential_key": "p",
            "index": 0,
            "status": "completed",
            "density": measured(2.0, 0.01),
            "rdf": None,
            "diffusion": None,
            "diffusion_status": "insufficient",
            "n_frames": 40,
            **fields,
        }
    )


def test_a_probe_comes_back_from_the_store_as_it_was_computed(store, walk):
    curves = rdf_curves(walk)
    blob = put_blob(store, json.dumps(curves).encode(), "application/json")
    found = member_properties(store, document(rdf=blob))
    assert found.density == measured(2.0, 0.01)
    assert found.failure == ""
    assert found.rdf.shape == (4, len(curves["g"]), 50)
    for k, pair in enumerate(found.pairs):
        assert found.rdf_mean[k] == pytest.approx(curves["g"][pair], abs=2e-6)
        assert found.rdf_error[k] == pytest.approx(curves["g_error"][pair], abs=2e-6)
    # A run and itself.
    check = property_checks(SALT, [found, found], Probe())[1]
    assert check.difference == 0
    failed = member_properties(store, document(status="failed: npt: lost atoms", density=None))
    assert failed.failure == "npt: lost atoms"
    assert failed.rdf is None


def run_of(positions, thermo=None, failure=""):
    stage = Stage(name="nvt", start_temperature=1000, end_temperature=1000, time=0.1)
    n = len(positions)
    rows = np.ones((n, 6)) if thermo is None else thermo
    cells = np.broadcast_to(9 * np.eye(3), (n, 3, 3))
    made = StageRun(stage, 25 * np.arange(n), np.array(positions, dtype=float), cells, rows)
    return LammpsRun(("Al", "O"), [made] if n else [], {}, failure)


def test_what_leaves_physics_is_named():
    near, apart = [[0, 0, 0], [1.0, 0, 0]], [[0, 0, 0], [1.8, 0, 0]]
    assert unphysical(run_of([apart, apart]), 2.0) == ""
    # The start is not the model's doing.
    assert unphysical(run_of([near, apart]), 2.0) == ""
    assert unphysical(run_of([apart, near]), 2.0) == "Al-O 1.00 A is inside its floor at 0.05 ps"
    assert unphysical(run_of([apart, apart], failure="ERROR: Lost atoms"), 2.0) == "ERROR: Lost atoms"
    assert unphysical(run_of([]), 2.0) == "it left no frames"
    assert "not finite" in unphysical(run_of([apart, apart], np.full((2, 6), np.nan)), 2.0)


def test_the_maker_makes_one_job_per_model_and_comes_back_equal():
    maker = ProbeMaker(Probe(temperature=900))
    blob = BlobRef(sha256="0" * 64, size=1, media_type="x")
    jobs = [maker.make(None, index, blob, document().provenance) for index in range(2)]
    assert [job.function_args[1] for job in jobs] == [0, 1]
    assert all(job.config.expose_store for job in jobs)
    again = ProbeMaker.from_dict(json.loads(json.dumps(maker.as_dict())))
    assert again == maker
