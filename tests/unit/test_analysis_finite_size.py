"""Extrapolation to an infinite cell: exact lines, scatter, refusals."""

import numpy as np
import pytest
from scipy import constants, stats

from laoc_flows.analysis.transport.finite_size import EWALD_CUBIC, FiniteSizeResult, finite_size
from laoc_flows.errors import InputError

SIZES = np.array([12.0, 18.0, 25.0, 40.0])


def test_an_exact_liquid():
    # Water-like: 0.85 mPa s at 300 K.
    slope = constants.k * 300 * EWALD_CUBIC / (6 * np.pi * 0.85e-3) * 1e4 * 1e10
    values = 2.3e-5 - slope / SIZES
    for errors in (np.full(4, 1e-7), np.array([1e-7, 2e-7, 3e-7, 4e-7]), None):
        result = finite_size(SIZES, values, errors, temperature=300.0)
        assert result.status == "ok"
        assert result.value == pytest.approx(2.3e-5)
        assert result.slope == pytest.approx(-slope)
        assert result.viscosity == pytest.approx(0.85)
        assert result.size_dependent
    assert finite_size(SIZES, values, np.full(4, 1e-7)).viscosity is None
    assert finite_size(SIZES, values, np.full(4, 1e-7), temperature=300.0, unit="mS/cm").viscosity is None


def test_a_solid_has_no_slope_and_no_viscosity():
    result = finite_size(SIZES, [3.0, 3.1, 2.9, 3.0], [0.1] * 4, temperature=300.0, unit="cm^2/s")
    assert result.status == "ok"
    assert result.size_dependent is False
    assert result.viscosity is None
    assert result.mean == pytest.approx(3.0)
    assert result.mean_error == pytest.approx(0.05)
    assert result.standard_error > result.mean_error
    # A quantity that falls with the size has a slope, but no drag explains it.
    falling = finite_size(SIZES, 1 + 10 / SIZES, [1e-3] * 4, temperature=300.0)
    assert (falling.size_dependent, falling.viscosity) == (True, None)


def test_the_errors_are_those_of_least_squares():
    rng = np.random.default_rng(0)
    errors = np.array([0.1, 0.2, 0.15, 0.3])
    results = [finite_size(SIZES, 5 - 8 / SIZES + rng.normal(0, errors), errors) for _ in range(600)]
    good = [r for r in results if r.status == "ok"]
    # The test of the line is a test: it errs in 5 % of cases.
    assert 0.92 < len(good) / 600 < 0.975
    assert 0.92 < np.mean([r.interval[0] < 5 < r.interval[1] for r in good]) < 0.98
    assert np.std([r.slope for r in results]) == pytest.approx(results[0].slope_error, rel=0.1)
    line = np.polynomial.polynomial.polyfit(1 / SIZES, [4.0, 4.6, 4.5, 4.9], 1, w=1 / errors)
    ours = finite_size(SIZES, [4.0, 4.6, 4.5, 4.9], errors)
    assert (ours.value, ours.slope) == pytest.approx(tuple(line))
    plain = stats.linregress(1 / SIZES, [4.0, 4.6, 4.5, 4.9])
    without = finite_size(SIZES, [4.0, 4.6, 4.5, 4.9])
    assert (without.value, without.standard_error) == pytest.approx((plain.intercept, plain.intercept_stderr))
    assert without.slope_error == pytest.approx(plain.stderr)
    assert without.p_value is without.chi_squared is None


def test_a_curve_is_no_line():
    result = finite_size(SIZES, 5 - 500 / SIZES**2, [0.01] * 4, temperature=300.0)
    assert result.status == "inconsistent"
    assert result.value is result.interval is result.viscosity is None
    assert result.p_value < 0.05
    assert finite_size(SIZES, 5 - 500 / SIZES**2, [0.01] * 4, min_p_value=0.0).status == "ok"


def test_too_few_sizes():
    for lengths in ([20.0], [10.0, 20.0], [10.0, 20.0, 20.0, 10.0]):
        result = finite_size(lengths, [1.0] * len(lengths), [0.1] * len(lengths))
        assert (result.status, result.value) == ("insufficient", None)
    assert finite_size([], []).status == "empty"


def test_order_and_units_make_no_difference():
    values, errors = np.array([4.0, 4.6, 4.5, 4.9]), np.array([0.1, 0.2, 0.15, 0.3])
    result = finite_size(SIZES, values, errors)
    shuffled = finite_size(SIZES[::-1], values[::-1], errors[::-1])
    assert shuffled.value == pytest.approx(result.value)
    small = finite_size(SIZES, 1e-8 * values, 1e-8 * errors)
    assert small.value == pytest.approx(1e-8 * result.value)
    assert small.p_value == pytest.approx(result.p_value)
    assert FiniteSizeResult.model_validate_json(result.model_dump_json()) == result


@pytest.mark.parametrize(
    ("lengths", "values", "errors", "temperature"),
    [
        ([1, 2, 3], [1, 2], None, None),
        ([1, 2, 3], [1, 2, 3], [1, 1], None),
        ([1, 2, -3], [1, 2, 3], None, None),
        ([1, 2, 3], [1, 2, np.nan], None, None),
        ([1, 2, 3], [1, 2, 3], [1, 1, 0], None),
        ([1, 2, 3], [1, 2, 3], None, 0.0),
    ],
)
def test_what_is_refused(lengths, values, errors, temperature):
    with pytest.raises(InputError):
        finite_size(lengths, values, errors, temperature=temperature)
