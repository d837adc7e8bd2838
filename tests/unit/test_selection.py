"""What is offered, chosen, calibrated and doubted."""

from itertools import pairwise

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from laoc_flows.learning.calibration import ENOUGH, LabelError, calibrate, deviations_of, levels_of
from laoc_flows.learning.evaluate import Prediction
from laoc_flows.learning.novelty import Novelty
from laoc_flows.learning.quarantine import doubtful
from laoc_flows.learning.selection import Decision, Explored, Offered, choose, counted, merge, offer
from laoc_flows.learning.validity import min_distances, outside, validity_of
from laoc_flows.schemas.iteration import Stratum
from laoc_flows.schemas.learning import Learning, Selection, Targets, TrustLevels

TRUST = TrustLevels(low=0.2, high=0.5)
SETTINGS = Selection(labels_per_stratum=3, spacing=0.5, novelty=0.0, audit=1)
WHERE = {"composition_id": "c"}


def explored(deviations, ratios=None, step=0.1, n_cut=0):
    n = len(deviations)
    ratios = np.full(n, 2.0) if ratios is None else np.array(ratios, float)
    return Explored(1000.0, np.arange(n) * step, np.array(deviations, float), ratios, n_cut)


def test_candidates_are_between_the_levels_and_above_the_floor():
    deviations, ratios = [0.05, 0.25, 0.30, 0.6, 0.35, 0.1], [2, 2, 0.9, 2, 2, 0.5]
    few = SETTINGS.model_copy(update={"labels_per_stratum": 2})
    candidates, agreed, report = offer(explored(deviations, ratios), TRUST, few, WHERE, 1)
    assert candidates == [1, 4]
    # A frame that the committee agrees on may be audited, unless its atoms are too close.
    assert agreed == [0]
    assert (report.n_accurate, report.n_candidates, report.n_failed, report.n_frames) == (2, 2, 2, 6)
    assert report.max_deviation == 0.6


def test_where_all_is_above_the_upper_level_the_least_of_it_is_offered():
    deviations, ratios = [9.0, 0.7, 5.0, 0.6, np.inf, 0.8, 0.25], [2, 2, 2, 0.9, 2, 2, 2]
    candidates, _, report = offer(explored(deviations, ratios), TRUST, SETTINGS, WHERE, 1)
    # One candidate, and the two whose deviation is least of those whose atoms are not too close.
    assert candidates == [1, 5, 6]
    assert (report.n_candidates, report.n_failed) == (1, 6)


def test_a_run_with_very_many_candidates_offers_some_of_all_its_length():
    candidates, _, report = offer(explored([0.3] * 1000), TRUST, SETTINGS, WHERE, 1)
    assert (len(candidates), candidates[0], candidates[-1]) == (30, 0, 999)
    assert report.n_candidates == 1000


def frames_on_a_line(places, symbol="Cl"):
    """Frames of one atom whose descriptor is a place on a line."""
    frames = [Atoms(symbol, cell=[9, 9, 9], pbc=True) for _ in places]
    return frames, [np.array([[float(place), 0.0]]) for place in places]


def line(known, offered):
    """Novelty of points on a line against known ones."""
    known_frames, known_features = frames_on_a_line(known)
    frames, features = frames_on_a_line(offered)
    return Novelty(known_features, known_frames, features, frames)


def test_novelty_is_the_distance_to_what_is_known_in_units_of_its_neighbors():
    novelty = line([0, 2, 4], [2, 5, 10, 1])
    assert novelty.unit == 2.0
    np.testing.assert_allclose(novelty.scores, [0, 0.5, 3.0, 0.5])


def test_novelty_agrees_with_all_distances_of_atoms_of_one_species():
    generator = np.random.default_rng(3)
    frames = [Atoms("Li2AlCl3", cell=[9, 9, 9], pbc=True) for _ in range(9)]
    features = [generator.normal(size=(6, 5)) for _ in frames]
    novelty = Novelty(features[:5], frames[:5], features[5:], frames[5:])
    species = np.array(frames[0].get_chemical_symbols())
    expected = []
    for one in features[5:]:
        nearest = np.empty(6)
        for symbol in ("Li", "Al", "Cl"):
            mask = species == symbol
            nearest[mask] = cdist(one[mask], np.concatenate([f[mask] for f in features[:5]])).min(axis=1)
        expected.append(nearest.mean())
    np.testing.assert_allclose(novelty.scores * novelty.unit, expected, rtol=1e-5)


def test_a_species_that_nothing_labeled_has_is_as_new_as_can_be():
    known, known_features = frames_on_a_line([0, 1, 2])
    frames, features = frames_on_a_line([0.5, 0.5], "O")
    asked = [known_features[1], features[0]]
    scores = Novelty(known_features, known, asked, [known[0], frames[0]]).scores
    assert scores[0] == 0
    assert scores[1] == 10


def test_farthest_first_takes_the_ends_before_the_middle():
    novelty = line([0, 1], [2, 3, 50, 100, 99])
    offered = [Offered(run=i, stratum="s", time=0.0, deviation=0.3) for i in range(5)]
    chosen = choose(offered, novelty, SETTINGS)
    # 100 is farthest from all, then 50, then 3; what is left is beyond the quota of three.
    assert [d.value for d in chosen] == ["over quota", "selected", "selected", "selected", "over quota"]


def test_what_is_above_the_upper_level_comes_last_the_least_of_it_first():
    novelty = line([0, 1], [2, 500, 3, 400, 300])
    deviations = [0.3, 9.0, 0.3, 5.0, 7.0]
    offered = [Offered(i, "s", 0.0, d, above=d > 1) for i, d in enumerate(deviations)]
    chosen = choose(offered, novelty, SETTINGS)
    assert [d.value for d in chosen] == ["selected", "over quota", "selected", "selected", "over quota"]


def test_likes_of_what_is_labeled_are_left_out():
    novelty = line([0, 1, 2], [0.01, 5, 5.02])
    offered = [Offered(run=i, stratum="s", time=0.0, deviation=0.3) for i in range(3)]
    chosen = choose(offered, novelty, SETTINGS.model_copy(update={"novelty": 0.1}))
    assert chosen == [Decision.KNOWN, Decision.KNOWN, Decision.SELECTED]


def test_the_audit_draws_from_what_is_agreed_on_and_counts_for_the_budget():
    novelty = line([0, 1], [5, 9, 20, 30])
    offered = [
        Offered(0, "s", 0.0, 0.1, agreed=True),
        Offered(1, "s", 0.0, 0.1, agreed=True),
        Offered(2, "s", 0.0, 0.3),
        Offered(3, "s", 0.0, 0.3),
    ]
    chosen = choose(offered, novelty, SETTINGS, budget=2, seed=1)
    assert sorted(d.value for d in chosen[:2]) == ["audited", "not drawn"]
    assert chosen[2:] == [Decision.OVER_BUDGET, Decision.SELECTED]
    assert choose(offered, novelty, SETTINGS, budget=0) == [
        Decision.NOT_DRAWN,
        Decision.NOT_DRAWN,
        Decision.OVER_BUDGET,
        Decision.OVER_BUDGET,
    ]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30), st.integers(0, 9)), min_size=1, max_size=40),
    st.integers(0, 20),
    st.integers(1, 4),
    st.floats(0.0, 0.5),
)
def test_a_choice_holds_its_rules(rows, budget, quota, spacing):
    offered = [Offered(run, f"s{place % 2}", 0.1 * time, 0.3) for run, time, place in rows]
    rules = Selection(labels_per_stratum=quota, spacing=spacing, novelty=0.05, audit=0)

    def chosen():
        return choose(offered, line([0, 1], [row[2] for row in rows]), rules, budget=budget)

    decisions = chosen()
    assert decisions == chosen()
    picks = [
        frame for frame, decision in zip(offered, decisions, strict=True) if decision is Decision.SELECTED
    ]
    assert len(picks) <= budget
    for name in ("s0", "s1"):
        assert sum(frame.stratum == name for frame in picks) <= quota
    for run in range(3):
        times = sorted(frame.time for frame in picks if frame.run == run)
        assert all(b - a >= spacing - 1e-6 for a, b in pairwise(times))
    # No two that are alike, and none that is labeled already (at 0 and at 1).
    places = [rows[i][2] for i, d in enumerate(decisions) if d is Decision.SELECTED]
    assert len(set(places)) == len(places)
    assert not {0, 1} & set(places)


def test_decisions_are_counted_by_stratum():
    *_, one = offer(explored([0.3] * 4), TRUST, SETTINGS, WHERE, 1)
    (report,) = merge([one])
    decisions = [Decision.SELECTED, Decision.AUDITED, Decision.KNOWN, Decision.OVER_QUOTA, Decision.TOO_SOON]
    (report,) = counted([report], [report.stratum] * 5, decisions)
    assert (report.n_selected, report.n_audited, report.n_known) == (2, 1, 1)
    assert (report.n_over_quota, report.n_too_soon, report.n_over_budget) == (1, 1, 0)


STRATUM = Stratum(composition_id="c", temperature=1500.0)
LEARNING = Learning(
    targets=Targets(force_rmse=0.1), selection=Selection(worst_error=1.0, hot=TrustLevels(low=0.3, high=0.7))
)


def errors(ratio, n, spread=0.0, *, composition="c", temperature=1500.0, seed=0, agreed=False):
    generator = np.random.default_rng(seed)
    deviations = np.exp(generator.uniform(np.log(0.05), np.log(1.0), n))
    return [
        LabelError(
            composition_id=composition, temperature=temperature, volume_scale=1.0, pressure=None, deviation=d,
            force_rmse=d * ratio * np.exp(spread * generator.normal()), max_error=d, source="selected", agreed=agreed,
        )
        for d in deviations
    ]  # fmt: skip


def test_levels_are_where_the_expected_error_reaches_target_and_worst():
    (found,) = calibrate([STRATUM], errors(2.5, ENOUGH), LEARNING)
    assert found.levels.low == pytest.approx(0.1 / 2.5)
    assert found.levels.high == pytest.approx(1.0 / 2.5)
    assert (found.n_labels, found.pooled) == (ENOUGH, "")
    assert found.ratio == pytest.approx(2.5)
    assert found.spread == pytest.approx(0, abs=1e-9)
    assert found.correlation == pytest.approx(1.0)


def test_the_ratio_of_scattered_labels_is_found_within_its_error():
    away = []
    for seed in range(60):
        (found,) = calibrate([STRATUM], errors(1.7, 40, spread=0.4, seed=seed), LEARNING)
        away.append(np.log(found.ratio / 1.7) / found.ratio_error)
    # Of normal scatter: about two thirds within one standard error.
    assert 0.55 < np.mean(np.abs(away) < 1) < 0.85
    assert abs(np.mean(away)) < 0.4


def test_few_labels_are_pooled_with_the_nearest_and_none_leave_the_first_levels():
    few = errors(1.0, ENOUGH - 1)
    assert calibrate([STRATUM], few, LEARNING)[0].levels == LEARNING.selection.hot
    cold = errors(9.0, 30, temperature=300.0)
    (found,) = calibrate([STRATUM], [*few, *cold], LEARNING)
    assert found.pooled == "its composition"
    others = errors(4.0, 30, composition="d")
    (found,) = calibrate([STRATUM], [*few, *others], LEARNING)
    assert found.pooled == "all compositions above 600 K"
    assert found.ratio == pytest.approx(4.0, rel=0.2)
    fixed = LEARNING.model_copy(
        update={"selection": LEARNING.selection.model_copy(update={"calibrate": False})}
    )
    assert calibrate([STRATUM], errors(9.0, 50), fixed)[0].levels == LEARNING.selection.hot


def test_what_the_audit_missed_is_counted():
    audited = errors(0.5, 4, agreed=True)
    (found,) = calibrate([STRATUM], [*errors(1.0, 20), *audited], LEARNING)
    assert found.n_audited == 4
    assert found.n_audit_missed == sum(e.force_rmse > 0.1 for e in audited)
    other = Stratum(composition_id="c", temperature=900.0)
    assert calibrate([other], audited, LEARNING)[0].n_audited == 0
    assert levels_of((found,), STRATUM, LEARNING) == found.levels
    assert levels_of((found,), other, LEARNING) == LEARNING.selection.hot


def test_deviation_is_that_of_the_worst_atom():
    forces = [
        [np.array([[1.0, 0, 0], [0, 0, 0]])],
        [np.array([[-1.0, 0, 0], [0, 0, 0.2]])],
    ]
    assert deviations_of(forces) == pytest.approx([1.0])


def labeled(n, seed=0):
    generator = np.random.default_rng(seed)
    frames = []
    for _ in range(n):
        atoms = Atoms("LiAlCl4", generator.uniform(0, 8, (6, 3)), cell=[8, 8, 8], pbc=True)
        atoms.calc = SinglePointCalculator(
            atoms, energy=-20.0 + generator.normal(), forces=generator.normal(size=(6, 3)), stress=np.zeros(6)
        )
        frames.append(atoms)
    return frames


def fitted(frames, error=0.01, seed=1):
    """What a potential says that is off by a little everywhere."""
    generator = np.random.default_rng(seed)
    return Prediction(
        np.array([f.get_potential_energy() for f in frames]) + 6 * error * generator.normal(size=len(frames)),
        [f.get_forces() + error * generator.normal(size=(6, 3)) for f in frames],
        np.zeros((len(frames), 3, 3)),
    )


def test_a_poisoned_energy_and_poisoned_forces_are_found_and_nothing_else():
    frames = labeled(40)
    answer = fitted(frames)
    assert doubtful(frames, answer, ["c"] * 40) == {}
    answer.energies[7] += 6 * 0.5
    answer.forces[20] = answer.forces[20] + 5.0
    found = doubtful(frames, answer, ["c"] * 40)
    assert sorted(found) == [7, 20]
    assert "-0.5" in found[7]
    assert "forces" in found[20]
    # Too few to know what is usual.
    assert doubtful(frames[:7], fitted(frames[:7]), ["c"] * 7) == {}


def test_frames_that_are_only_tested_are_not_doubted_for_being_hard():
    frames = labeled(320)
    answer, worse = fitted(frames, error=0.05), fitted(frames, error=0.7)
    for i in range(300, 320):
        answer.energies[i], answer.forces[i] = worse.energies[i], worse.forces[i]
    trained = [i < 300 for i in range(320)]
    assert doubtful(frames, answer, ["c"] * 320, trained) == {}
    # An absurd energy is found among them all the same.
    answer.energies[310] += 6 * 60.0
    assert list(doubtful(frames, answer, ["c"] * 320, trained)) == [310]


def test_a_composition_that_a_potential_knows_badly_is_not_doubtful():
    frames = labeled(60)
    answer = fitted(frames)
    worse = fitted(frames, error=1.0)
    for i in range(30, 60):
        answer.energies[i], answer.forces[i] = worse.energies[i] + 30.0, worse.forces[i]
    assert doubtful(frames, answer, ["c"] * 30 + ["d"] * 30) == {}


def test_hard_frames_are_not_doubtful():
    # Errors that scatter by a factor of three among the frames, as those of hot and of strained ones do.
    generator = np.random.default_rng(5)
    frames = labeled(400)
    scale = np.exp(np.log(3) * generator.normal(size=400)) * 0.05
    answer = Prediction(
        np.array([f.get_potential_energy() for f in frames]) + 6 * 0.2 * scale * generator.normal(size=400),
        [f.get_forces() + s * generator.normal(size=(6, 3)) for f, s in zip(frames, scale, strict=True)],
        np.zeros((400, 3, 3)),
    )
    assert doubtful(frames, answer, ["c"] * 400) == {}


def test_shortest_distances_are_those_of_rock_salt():
    from ase.build import bulk

    found = min_distances([bulk("LiCl", "rocksalt", a=5.13, cubic=True)])
    assert found == pytest.approx({"Li-Cl": 5.13 / 2, "Li-Li": 5.13 / 2**0.5, "Cl-Cl": 5.13 / 2**0.5})


def test_what_lies_outside_is_named():
    frames = labeled(5)
    validity = validity_of(frames, ["c"] * 5, [(300.0, 900.0), None, (600.0, 1500.0)])
    assert validity.compositions == ("c",)
    assert validity.temperatures == (300.0, 1500.0)
    assert validity.number_density["c"] == pytest.approx((6 / 512, 6 / 512))
    assert outside(validity, "c", frames, (300.0, 1500.0)) == ()
    assert outside(None, "c", frames) == ()
    dense = frames[0].copy()
    dense.set_cell([7, 7, 7], scale_atoms=True)
    words = outside(validity, "d", [dense], (200.0, 1000.0))
    assert any("not trained on this composition" in each for each in words)
    assert any("200 to 1000 K" in each for each in words)
    assert any("atoms/A^3" in each for each in outside(validity, "c", [dense]))
    close = Atoms("LiAl", [[0, 0, 0], [0, 0, 0.3]], cell=[8, 8, 8], pbc=True)
    assert any(
        each.startswith("closer pairs") and "Li-Al 0.30 A" in each for each in outside(validity, "c", [close])
    )
