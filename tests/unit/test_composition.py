"""The algebra of compositions: exact, neutral, injective, and honest about what fits a cell."""

import json
import pickle
import re
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from laoc_flows.composition import (
    FORMAL_CHARGES,
    MAX_ATOMS,
    MAX_RANGE,
    MOLAR_MASS,
    Cell,
    Composition,
    as_fraction,
    expand_grid,
    frange,
    nearest_realizable,
    plan_cell,
    plan_cell_fixed,
)
from laoc_flows.errors import CompositionError

F = Fraction
# A busy machine is no failure.
PATIENT = settings(deadline=None)
AMOUNTS = st.one_of(
    st.fractions(min_value=0, max_value=20, max_denominator=400),
    st.integers(0, 5_000_000).map(lambda n: F(n, 10**6)),
    st.integers(0, 5 * 2**9).map(lambda n: F(n, 2**9)),
)


@st.composite
def compositions(draw, amounts=AMOUNTS):
    x = draw(amounts)
    # A share of the allowed O, and not a filter, so that the line without Cl is met as well.
    share = draw(st.fractions(min_value=0, max_value=1, max_denominator=24))
    return Composition(x, share * (3 + x) / 2)


SMALL = st.builds(F, st.integers(0, 12), st.integers(1, 8))


def named_neighbors(error):
    """Read id, formula and size of every neighbor in a refusal."""
    return [
        (Composition.from_id(key), formula, int(size))
        for key, formula, size in re.findall(r"(x[\d._]+-y[\d._]+) \((\w+), (\d+) atoms\)", error.remedy)
    ]


def brute_force(composition, n_al_values, low, high, count):
    """List the nearest compositions by looking at every cell there is."""
    cells = {
        Composition(F(li, al), F(o, al))
        for al in n_al_values
        for li in range(2 * high)
        for o in range((3 * al + li) // 2 + 1)
        if low <= 4 * al + 2 * li - o <= high
    }
    return sorted(cells, key=lambda c: ((c.x - composition.x) ** 2 + (c.y - composition.y) ** 2, c))[:count]


class TestAsFraction:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            (0.75, F(3, 4)),
            (0.1, F(1, 10)),
            (1e-7, F(1, 10**7)),
            (2.5e22, F(25 * 10**21)),
            (3, F(3)),
            ("1/3", F(1, 3)),
            (" 0.75 ", F(3, 4)),
            (".5", F(1, 2)),
            ("-2e-1", F(-1, 5)),
            (F(7, 16), F(7, 16)),
            (np.float64(0.3), F(3, 10)),
            (np.int64(4), F(4)),
        ],
    )
    def test_is_exact(self, value, expected):
        fraction = as_fraction(value)
        assert fraction == expected
        assert type(fraction) is Fraction
        assert type(fraction.numerator) is type(fraction.denominator) is int

    @PATIENT
    @given(st.integers(-(10**12), 10**12), st.integers(0, 6))
    def test_reads_a_decimal_as_written(self, digits, places):
        exact = F(digits, 10**places)
        assert as_fraction(float(exact)) == exact

    @pytest.mark.parametrize(
        "value",
        [
            True,
            np.True_,
            float("nan"),
            float("inf"),
            "-inf",
            "nan",
            "",
            "one",
            "1/0",
            "0/00",
            "1//3",
            "1 2",
            "1_000",
            "1e999999999",
            "1/3/3",
            "9" * 5000,
            None,
            1j,
            [1],
            b"1",
        ],
    )
    def test_refuses_what_is_no_number(self, value):
        with pytest.raises(CompositionError, match="is not a finite number -- write"):
            as_fraction(value)


class TestComposition:
    # Li, Al, O, Cl, atoms and lambda of the cells of J. Mater. Chem. A 2025, 13, 2309.
    @pytest.mark.parametrize(
        ("x", "y", "formula", "n_atoms", "links"),
        [
            (0.5, 0.75, "Li8Al16O12Cl32", 68, F(5, 4)),
            (1, 0.75, "Li16Al16O12Cl40", 84, F(3, 4)),
            (1.5, 0.75, "Li24Al16O12Cl48", 100, F(1, 4)),
            (1, 0.25, "Li16Al16O4Cl56", 92, F(1, 4)),
            (1, 0, "Li16Al16Cl64", 96, F(0)),
        ],
    )
    def test_gives_the_cells_of_the_paper(self, x, y, formula, n_atoms, links):
        composition = Composition(x, y)
        cell = plan_cell_fixed(composition, 16)
        assert cell.formula == formula
        assert cell.n_atoms == n_atoms == len(cell.symbols)
        assert composition.links_per_al == links
        assert isinstance(composition.links_per_al, Fraction)

    @PATIENT
    @given(compositions())
    def test_is_neutral(self, composition):
        counts = Cell(composition, composition.n_al_multiple).counts
        assert counts["Li"] + 3 * counts["Al"] - 2 * counts["O"] - counts["Cl"] == 0
        assert composition.charge == 0
        assert isinstance(composition.charge, Fraction)

    def test_charge_is_a_sum_and_not_a_constant(self, monkeypatch):
        monkeypatch.setitem(FORMAL_CHARGES, "O", -1)
        assert Composition(1, 0.75).charge == F(3, 4)

    @PATIENT
    @given(compositions())
    def test_links_close_the_sum_of_bonds(self, composition):
        counts = Cell(composition, composition.n_al_multiple).counts
        links = 4 * counts["Al"] - counts["O"] - counts["Cl"]
        assert links == counts["Al"] * composition.links_per_al

    @PATIENT
    @given(compositions())
    def test_amounts_agree_with_each_other(self, composition):
        amounts = composition.per_al
        assert list(amounts) == ["Li", "Al", "O", "Cl"]
        assert sum(amounts.values()) == composition.atoms_per_al
        assert composition.li_to_al == composition.x
        assert amounts["Cl"] == composition.cl_per_al >= 0
        if composition.cl_per_al:
            assert composition.o_to_cl * composition.cl_per_al == composition.y
        else:
            assert composition.o_to_cl is None

    def test_reaches_the_line_without_cl(self):
        oxide = Composition(1, 2)
        assert oxide.cl_per_al == 0
        assert oxide.o_to_cl is None
        assert oxide.formula_per_al == "Li1.0AlO2.0"
        assert Cell(oxide, 4).formula == "Li4Al4O8"

    @pytest.mark.parametrize(
        ("x", "y", "numbers"),
        [
            (-0.5, 0, "(-0.5, 0.0)"),
            (0, "-1/3", "(0.0, -1/3)"),
            (0.5, 2, "3 + x - 2y = -0.5 per Al"),
            (0, "1500001/1000000", "-0.000002"),
        ],
    )
    def test_refuses_points_outside_the_space(self, x, y, numbers):
        with pytest.raises(CompositionError) as caught:
            Composition(x, y)
        assert numbers in caught.value.message
        assert f"(3 + x)/2 = {1.75 if x == 0.5 else 1.5}" in caught.value.remedy

    def test_is_an_ordered_key(self):
        a, b, c = Composition(0.5, 1), Composition(0.5, "5/4"), Composition(1, 0)
        assert sorted([c, b, a]) == [a, b, c]
        assert {Composition(0.5, 1): 1}[Composition("1/2", F(1))] == 1
        assert pickle.loads(pickle.dumps(b)) == b  # noqa: S301
        with pytest.raises(AttributeError):
            a.x = F(1)

    @pytest.mark.parametrize(
        ("x", "y", "expected"),
        [
            (1, 0.75, "Li1.0AlO0.75Cl2.5"),
            (1, 0, "Li1.0AlCl4.0"),
            (0, 0, "AlCl3.0"),
            ("1/3", "1/16", "Li(1/3)AlO0.0625Cl(77/24)"),
        ],
    )
    def test_formula_per_al(self, x, y, expected):
        assert Composition(x, y).formula_per_al == expected

    @PATIENT
    @given(compositions())
    def test_n_al_multiple_is_the_smallest(self, composition):
        multiple = composition.n_al_multiple
        whole = [
            n
            for n in range(1, min(multiple, 500) + 1)
            if all((n * v).denominator == 1 for v in (composition.x, composition.y))
        ]
        assert whole == ([multiple] if multiple <= 500 else [])


class TestId:
    @pytest.mark.parametrize(
        ("x", "y", "expected"),
        [
            (1, 0.75, "x1.000-y0.750"),
            (0, 0, "x0.000-y0.000"),
            ("1/16", "1/3", "x0.0625-y1_3"),
            ("1/64", "1/128", "x0.015625-y1_128"),
            (12.5, "4/3", "x12.500-y4_3"),
            (0.333333, 0.3333333, "x0.333333-y3333333_10000000"),
        ],
    )
    def test_is_canonical(self, x, y, expected):
        assert Composition(x, y).id == expected

    @PATIENT
    @given(compositions())
    def test_round_trip(self, composition):
        assert Composition.from_id(composition.id) == composition

    @PATIENT
    @given(st.floats(0, 5), st.floats(0, 3))
    def test_round_trip_of_long_fractions(self, x, r):
        composition = Composition.from_ratios(r, x)
        assert Composition.from_id(composition.id) == composition

    @PATIENT
    @given(compositions(), compositions())
    def test_is_injective(self, a, b):
        assert (a.id == b.id) == (a == b)

    def test_is_injective_on_a_dense_grid(self):
        values = {F(p, q) for q in range(1, 41) for p in range(q + 1)}
        assert len({Composition(v, 0).id for v in values}) == len(values)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "x1-y0.75",
            "x1.0-y0.750",
            "x1.000-y0.7500",
            "x2_6-y0.000",
            "x3_4-y0.000",
            "x1_0-y0.000",
            "x01.000-y0.000",
            "x1.000-y0.750\n",
            " x1.000-y0.750",
            "y0.750-x1.000",
            "x-1.000-y0.000",
            "x\u0661.000-y0.000",
            "x0.3333333-y0.000",
            "x0.000-y9.000",
            "x1_3_3-y0.000",
        ],
    )
    def test_refuses_other_spellings(self, text):
        with pytest.raises(CompositionError):
            Composition.from_id(text)


class TestOtherWaysIn:
    @PATIENT
    @given(compositions(), st.integers(1, 3))
    def test_counts_round_trip(self, composition, factor):
        cell = Cell(composition, factor * composition.n_al_multiple)
        assert Composition.from_counts(*cell.counts.values()) == composition

    @PATIENT
    @given(compositions(), st.sampled_from([-2, -1, 1, 2]))
    def test_charged_counts_are_refused(self, composition, extra):
        li, al, o, cl = Cell(composition, composition.n_al_multiple).counts.values()
        assume(cl + extra >= 0)
        with pytest.raises(CompositionError, match=re.escape(f"the charge is {-extra:+d} e")):
            Composition.from_counts(li, al, o, cl + extra)

    @pytest.mark.parametrize(
        "counts", [(1, 0, 0, 1), (-1, 1, 0, 2), (1.0, 1, 0, 4), (True, 1, 0, 4), ("1", 1, 0, 4)]
    )
    def test_counts_are_counts_and_hold_al(self, counts):
        with pytest.raises(CompositionError):
            Composition.from_counts(*counts)

    def test_counts_of_numpy_are_counts(self):
        composition = Composition.from_counts(*np.array([16, 16, 12, 40]))
        assert composition == Composition(1, 0.75)
        assert type(composition.x.numerator) is int

    @PATIENT
    @given(AMOUNTS, st.fractions(min_value=0, max_value=50, max_denominator=100))
    def test_ratios_round_trip(self, x, r):
        composition = Composition.from_ratios(r, x)
        assert composition.o_to_cl == r
        assert composition.li_to_al == x

    def test_ratios_of_the_paper(self):
        assert Composition.from_ratios(0.3, 1) == Composition(1, 0.75)

    @pytest.mark.parametrize(("r", "x"), [("-1/2", 1), (-0.1, 1), (0.3, -1), ("nan", 1)])
    def test_negative_ratios_are_refused(self, r, x):
        with pytest.raises(CompositionError):
            Composition.from_ratios(r, x)


class TestCell:
    def test_lists_its_atoms(self):
        cell = Cell(Composition(1, 0), 2)
        assert cell.counts == {"Li": 2, "Al": 2, "O": 0, "Cl": 8}
        assert list(cell.counts) == ["Li", "Al", "O", "Cl"]
        assert cell.symbols == ["Li"] * 2 + ["Al"] * 2 + ["Cl"] * 8
        assert json.dumps(cell.counts) == '{"Li": 2, "Al": 2, "O": 0, "Cl": 8}'

    def test_start_geometry(self):
        cell = Cell(Composition(1, 0.75), 16)
        assert cell.start_volume == pytest.approx(40 * 41.8 + 12 * 17.0)
        assert cell.start_length**3 == pytest.approx(1876.0)
        grams = (16 * 6.94 + 16 * 26.9815 + 12 * 15.999 + 40 * 35.45) / 6.02214076e23
        assert cell.start_density == pytest.approx(grams / (1876.0 * 1e-24), rel=1e-5)

    def test_start_density_is_near_the_crystal(self):
        # LiAlCl4 P2_1/c has 1.974 g/cm3; an amorphous start is somewhat lighter.
        assert 0.8 < Cell(Composition(1, 0), 16).start_density / 1.974 < 1.0

    def test_crystal_mass(self):
        # COD 1004036: four LiAlCl4 in 591.2 A^3 at 1.974 g/cm3.
        mass = sum(MOLAR_MASS[s] * n for s, n in Cell(Composition(1, 0), 4).counts.items())
        assert mass / 0.602214076 / 591.2 == pytest.approx(1.974, abs=2e-3)

    @PATIENT
    @given(compositions(SMALL), st.integers(1, 4), st.integers(1, 4))
    def test_repeats(self, composition, factor, n):
        cell = Cell(composition, factor * composition.n_al_multiple)
        big = cell.repeat(n)
        assert big.counts == {s: n * k for s, k in cell.counts.items()}
        assert big.start_density == pytest.approx(cell.start_density)
        assert len(big.symbols) == big.n_atoms == sum(big.counts.values())

    def test_refuses_broken_atoms(self):
        with pytest.raises(
            CompositionError, match=r"would need 10\.0 Li and 7\.5 O -- choose n_al as a multiple of 4"
        ):
            Cell(Composition(1, 0.75), 10)

    @pytest.mark.parametrize("n_al", [0, -16, 16.0, True, "16", None])
    def test_refuses_what_is_no_count(self, n_al):
        with pytest.raises(CompositionError, match="is not a count"):
            Cell(Composition(1, 0), n_al)
        with pytest.raises(CompositionError, match="is not a count"):
            plan_cell_fixed(Composition(1, 0), n_al)
        with pytest.raises(CompositionError, match="is not a count"):
            Cell(Composition(1, 0), 1).repeat(n_al)


class TestNearest:
    @settings(PATIENT, max_examples=40)
    @given(
        compositions(st.fractions(min_value=0, max_value=4, max_denominator=60)),
        st.tuples(st.integers(1, 7), st.integers(0, 5)),
        st.tuples(st.integers(3, 24), st.integers(0, 8)),
        st.integers(1, 4),
    )
    def test_agrees_with_brute_force(self, composition, n_al, n_atoms, count):
        sizes = range(n_al[0], sum(n_al) + 1)
        low, high = n_atoms[0], sum(n_atoms)
        found = nearest_realizable(composition, sizes, n_atoms=(low, high), count=count)
        assert [c.composition for c in found] == brute_force(composition, sizes, low, high, count)
        assert all(c.n_al in sizes and low <= c.n_atoms <= high for c in found)

    @settings(PATIENT, max_examples=40)
    @given(compositions(st.fractions(min_value=0, max_value=4, max_denominator=60)), st.integers(1, 6))
    def test_agrees_with_brute_force_without_limits(self, composition, n_al):
        found = nearest_realizable(composition, [n_al])
        assert [c.composition for c in found] == brute_force(composition, [n_al], 0, 120, 3)

    def test_keeps_the_first_size_that_gives_a_composition(self):
        (cell,) = nearest_realizable(Composition(1, 0.75), [8, 4, 16], count=1)
        assert (cell.composition, cell.n_al) == (Composition(1, 0.75), 8)

    def test_returns_nothing_where_nothing_fits(self):
        assert nearest_realizable(Composition(1, 0), [10], n_atoms=(1, 9)) == ()


class TestPlan:
    @settings(PATIENT, max_examples=60)
    @given(compositions(), st.integers(1, 300), st.sampled_from([0, 0.02, 0.1, 0.3]))
    def test_keeps_to_the_tolerance_or_names_what_would(self, composition, n_atoms, tolerance):
        margin = as_fraction(tolerance) * n_atoms
        step = composition.n_al_multiple * composition.atoms_per_al
        sizes = [k * step for k in range(1, n_atoms // int(step) + 2)]
        try:
            cell = plan_cell(composition, n_atoms=n_atoms, tolerance=tolerance)
        except CompositionError as error:
            assert all(abs(size - n_atoms) > margin for size in sizes)
            neighbors = named_neighbors(error)
            assert len(neighbors) == 3 or n_atoms < 12
            for other, formula, size in neighbors:
                again = plan_cell(other, n_atoms=n_atoms, tolerance=tolerance)
                assert (again.formula, again.n_atoms) == (formula, size)
                assert abs(size - n_atoms) <= margin
        else:
            assert cell.composition == composition
            assert abs(cell.n_atoms - n_atoms) <= margin
            assert abs(cell.n_atoms - n_atoms) == min(abs(size - n_atoms) for size in sizes)

    def test_takes_the_smaller_of_two_equally_near(self):
        # LiAlCl4 comes in sixes, and 93 lies between 90 and 96.
        assert plan_cell(Composition(1, 0), n_atoms=93, tolerance=0.2).n_atoms == 90
        assert plan_cell(Composition(1, 0), n_atoms=94, tolerance=0.2).n_atoms == 96

    def test_tolerance_is_exact_at_its_edge(self):
        # 0.29 * 100 is 28.999999999999996 in floats; the smallest cell has 29 atoms too many.
        composition = Composition("8/30", "7/30")
        assert plan_cell(composition, n_atoms=100, tolerance=0.29).n_atoms == 129
        with pytest.raises(CompositionError, match="fits no cell of 72 to 128 atoms; its nearest has 129"):
            plan_cell(composition, n_atoms=100, tolerance=0.2899)

    def test_names_the_nearest_neighbors(self):
        with pytest.raises(CompositionError) as caught:
            plan_cell(Composition(0.3334, 0.75), n_atoms=96, tolerance=0.1)
        best, formula, _ = named_neighbors(caught.value)[0]
        assert best == Composition("1/3", "3/4")
        assert formula == "Li8Al24O18Cl44"
        assert "x0.3334-y0.750 fits no cell of 87 to 105 atoms" in caught.value.message

    def test_searches_down_to_the_fewest_atoms_per_al(self):
        # AlO1.5 has 5/2 atoms per Al, the fewest there are: eight Al in twenty atoms.
        with pytest.raises(CompositionError) as caught:
            plan_cell(Composition(0.001, 1.5), n_atoms=20, tolerance=0)
        assert named_neighbors(caught.value)[0] == (Composition(0, 1.5), "Al8O12", 20)

    def test_says_so_when_no_cell_is_small_enough(self):
        with pytest.raises(CompositionError, match="no composition fits these limits"):
            plan_cell(Composition(1, 0), n_atoms=2, tolerance=0)

    @pytest.mark.parametrize("tolerance", [-0.1, 1, 1.5, "nan", True, None])
    def test_refuses_a_bad_tolerance(self, tolerance):
        with pytest.raises(CompositionError):
            plan_cell(Composition(1, 0), n_atoms=96, tolerance=tolerance)

    @pytest.mark.parametrize("n_atoms", [0, -96, 96.0, True, MAX_ATOMS + 1])
    def test_refuses_a_bad_size(self, n_atoms):
        with pytest.raises(CompositionError, match=r"n_atoms = .* at most 1000000"):
            plan_cell(Composition(1, 0), n_atoms=n_atoms, tolerance=0.1)

    def test_counts_of_numpy_plan_the_same_cell(self):
        cell = plan_cell(Composition(1, 0.75), n_atoms=np.int64(84), tolerance=np.float64(0.1))
        assert cell == Cell(Composition(1, 0.75), 16)
        assert type(cell.n_al) is int

    @PATIENT
    @given(compositions(), st.integers(1, 24))
    def test_fixed_al_fits_or_names_what_would(self, composition, n_al):
        try:
            cell = plan_cell_fixed(composition, n_al)
        except CompositionError as error:
            assert n_al % composition.n_al_multiple
            neighbors = named_neighbors(error)
            assert len(neighbors) == 3
            assert all(plan_cell_fixed(other, n_al).formula == formula for other, formula, _ in neighbors)
        else:
            assert (cell.composition, cell.n_al) == (composition, n_al)


class TestRange:
    def test_tenths_are_exact(self):
        assert frange(0, 1, 0.1) == tuple(F(n, 10) for n in range(11))
        assert frange(0.1, 0.7, 0.2) == (F(1, 10), F(3, 10), F(1, 2), F(7, 10))

    def test_stop_is_a_bound(self):
        assert frange(0, 1, 0.4) == (F(0), F(2, 5), F(4, 5))
        assert frange(2, 2, 5) == (F(2),)

    @PATIENT
    @given(AMOUNTS, AMOUNTS, st.fractions(min_value=F(1, 20), max_value=3, max_denominator=50))
    def test_steps_are_even_and_end_at_the_bound(self, start, length, step):
        values = frange(start, start + length, step)
        assert values[0] == start
        assert all(b - a == step for a, b in pairwise(values))
        assert values[-1] <= start + length < values[-1] + step

    @pytest.mark.parametrize("step", [0, -0.1, "nan"])
    def test_refuses_a_bad_step(self, step):
        with pytest.raises(CompositionError):
            frange(0, 1, step)

    def test_refuses_a_backward_range(self):
        with pytest.raises(CompositionError, match=r"from 1\.0 to 0\.0"):
            frange(1, 0, 0.1)

    def test_has_a_largest_length(self):
        assert len(frange(1, MAX_RANGE, 1)) == MAX_RANGE == 100_000
        with pytest.raises(CompositionError, match="at most 100000 values"):
            frange(0, MAX_RANGE, 1)
        with pytest.raises(CompositionError):
            frange(0, 1e300, 1e-300)


class TestGrid:
    def test_merges_its_sources(self):
        grid = expand_grid(
            points=[(1, 0.75), ("3/2", 0.75)],
            x=frange(0.5, 1, 0.5),
            y=[0, "3/4"],
            o_to_cl=[0.3, 0],
            li_to_al=[1],
        )
        assert [c.id for c in grid] == [
            "x0.500-y0.000",
            "x0.500-y0.750",
            "x1.000-y0.000",
            "x1.000-y0.750",
            "x1.500-y0.750",
        ]

    @PATIENT
    @given(
        st.lists(SMALL, min_size=1, max_size=5), st.lists(SMALL.map(lambda v: v / 8), min_size=1, max_size=5)
    )
    def test_product_holds_every_pair_once(self, x, y):
        grid = expand_grid(x=x, y=y)
        assert grid == tuple(sorted({Composition(a, b) for a in x for b in y}))
        assert len(grid) == len(set(x)) * len(set(y))

    @PATIENT
    @given(st.lists(SMALL, min_size=1, max_size=4), st.lists(SMALL, min_size=1, max_size=4))
    def test_ratios_hold_every_pair_once(self, r, x):
        grid = expand_grid(o_to_cl=r, li_to_al=x)
        assert sorted((c.x, c.o_to_cl) for c in grid) == sorted({(a, b) for a in x for b in r})

    def test_reads_iterators_once(self):
        grid = expand_grid(x=iter([0, 1]), y=iter([0, 0.5]))
        assert len(grid) == 4

    def test_names_a_point_given_twice(self):
        with pytest.raises(CompositionError, match=r"x1\.000-y0\.750 is given twice"):
            expand_grid(points=[(1, 0.75), (0, 0), ("1", "3/4")])

    @pytest.mark.parametrize("lists", [{}, {"points": []}, {"x": [], "y": []}])
    def test_refuses_an_empty_grid(self, lists):
        with pytest.raises(CompositionError, match="no composition"):
            expand_grid(**lists)

    @pytest.mark.parametrize(
        ("given_list", "missing"), [("x", "y"), ("y", "x"), ("o_to_cl", "li_to_al"), ("li_to_al", "o_to_cl")]
    )
    def test_refuses_half_a_product(self, given_list, missing):
        with pytest.raises(CompositionError, match=f"{missing} has no values, but {given_list} has"):
            expand_grid(points=[(1, 0)], **{given_list: [1]})

    @pytest.mark.parametrize(
        "lists",
        [
            {"x": [0, 3], "y": [0, 2]},
            {"points": [(0, 2)]},
            {"o_to_cl": [-1], "li_to_al": [1]},
            {"x": [-1], "y": [0]},
        ],
    )
    def test_refuses_points_outside_the_space(self, lists):
        with pytest.raises(CompositionError):
            expand_grid(**lists)
