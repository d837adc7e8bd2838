"""Rotors with known counts, kinds of motion, invariances and edge cases."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

import laoc_flows.analysis.events.bond_history as bonds_module
import laoc_flows.analysis.events.rotations as rotations_module
from laoc_flows.analysis import Trajectory
from laoc_flows.analysis.events.bond_history import bond_history, frame_blocks
from laoc_flows.analysis.events.bond_persistence import bond_persistence
from laoc_flows.analysis.events.host_types import host_types, mean_numbers
from laoc_flows.analysis.events.rotations import rotations, rotations_of
from laoc_flows.analysis.events.tetrahedron_motion import tetrahedron_motion
from laoc_flows.analysis.structure.tetrahedra import tetrahedra
from laoc_flows.errors import InputError, TrajectoryError

STEP = 0.1
BOX = np.array([[15.0, 0, 0], [4, 14, 0], [-3, 2, 16]])
LEGS = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)
FOURTH = LEGS @ Rotation.from_euler("z", 90, degrees=True).as_matrix().T


def rotor(
    directions, species=("Al", "Cl", "Cl", "Cl", "Cl"), center=(0, 0, 0), time_step=STEP, start_time=0.0
):
    """One center whose ligands have the given directions, shape (n_frames, n_ligands, 3)."""
    lengths = np.where(np.array(species[1:]) == "O", 1.75, 2.15)[:, None]
    positions = np.zeros((len(directions), len(species), 3)) + center
    positions[:, 1:] += lengths * directions
    return Trajectory(species, positions, BOX, time_step, start_time)


def schedule(n_frames, *states):
    """Directions that change at the given frames: (frame, directions), ..."""
    directions = np.empty((n_frames, *np.shape(states[0][1])))
    for frame, state in states:
        directions[frame:] = state
    return directions


def noisy(directions, degrees, seed=0):
    """Tilt every direction by a random angle of the given standard deviation per axis."""
    tilt = np.random.default_rng(seed).normal(0, np.radians(degrees), (directions.size // 3, 3))
    turned = Rotation.from_rotvec(tilt).apply(directions.reshape(-1, 3))
    return turned.reshape(directions.shape)


def jumped(legs, which, to):
    new = np.array(legs)
    new[which] = to
    return new


FIFTH = np.array([-1.0, -1.0, -1.0]) / np.sqrt(3)

MOTIONS = {
    "single jump to a fifth position": (jumped(LEGS, 0, FIFTH), "single", 1),
    "swap of two": (LEGS[[1, 0, 2, 3]], "permutation", 2),
    "cyclic exchange of three": (LEGS[[0, 2, 3, 1]], "permutation", 3),
    "quarter turn": (FOURTH, "tumbling", 4),
    "75 degrees about a bond": (
        LEGS @ Rotation.from_rotvec(np.radians(75) * LEGS[0]).as_matrix().T,
        "tumbling",
        3,
    ),
    "two jump independently": (
        jumped(jumped(LEGS, 0, FIFTH), 1, np.array([1.0, 1, -1]) / np.sqrt(3)),
        "mixed",
        2,
    ),
}


@pytest.mark.parametrize(("after", "kind", "n_turned"), MOTIONS.values(), ids=MOTIONS)
@pytest.mark.parametrize("noise", [0.0, 8.0])
def test_motions_of_a_tetrahedron(after, kind, n_turned, noise):
    result = rotations(rotor(noisy(schedule(100, (0, LEGS), (50, after)), noise)))
    assert result.status == "ok"
    assert result.events_by_kind[kind] == len(result.events) == n_turned
    assert result.motions_by_kind[kind] == sum(result.motions_by_kind.values()) == 1
    assert result.events.time == pytest.approx([5.0] * n_turned, abs=0.21)
    assert result.rotating_ligands.count == n_turned
    assert result.rotating_hosts.count == 1
    assert set(result.events.host_type) == {"AlCl4"}


def test_a_tumbling_that_maps_unlike_ligands_is_no_permutation():
    third = LEGS @ Rotation.from_rotvec(np.radians(120) * LEGS[1]).as_matrix().T
    species = ("Al", "O", "Cl", "Cl", "Cl")
    result = rotations(rotor(schedule(100, (0, LEGS), (50, third)), species))
    assert result.events_by_kind == {"single": 0, "tumbling": 2, "permutation": 0, "mixed": 0}
    assert result.events.host_type == ("AlOCl3",) * 2
    about_oxygen = LEGS @ Rotation.from_rotvec(np.radians(120) * LEGS[0]).as_matrix().T
    result = rotations(rotor(schedule(100, (0, LEGS), (50, about_oxygen)), species))
    assert result.events_by_kind["permutation"] == 3


@pytest.mark.parametrize("seed", range(3))
def test_vibrations_of_fifteen_degrees_add_nothing(seed):
    assert len(rotations(rotor(noisy(schedule(600, (0, LEGS)), 15.0, seed))).events) == 0
    turned = noisy(schedule(600, (0, LEGS), (200, jumped(LEGS, 0, FIFTH)), (400, LEGS)), 15.0, seed)
    result = rotations(rotor(turned))
    assert result.events.time == pytest.approx([20.0, 40.0], abs=0.15)
    assert result.events.kind == ("single", "single")


@pytest.mark.parametrize(("away", "n_events"), [(5, 0), (9, 0), (11, 2), (12, 2), (30, 2)])
def test_an_excursion_counts_only_when_it_is_held(away, n_events):
    directions = schedule(200, (0, LEGS), (100, jumped(LEGS, 0, FIFTH)), (100 + away, LEGS))
    assert len(rotations(rotor(directions)).events) == n_events


@pytest.mark.parametrize(("left", "n_events"), [(10, 0), (12, 0), (13, 1), (20, 1)])
def test_a_turn_that_the_end_cuts_off_is_none(left, n_events):
    # Two frames of half an average, and ten of holding after the first turned one.
    directions = schedule(100, (0, LEGS), (100 - left, jumped(LEGS, 0, FIFTH)))
    assert len(rotations(rotor(directions)).events) == n_events
    assert len(rotations(rotor(directions[::-1])).events) == (1 if left >= 5 else 0)


@pytest.mark.parametrize(("degrees", "n_events"), [(54.0, 0), (55.4, 1), (109.5, 1), (179.0, 1)])
def test_the_threshold_is_an_angle(degrees, n_events):
    turned = Rotation.from_rotvec(np.radians(degrees) * np.array([0, 0, 1.0])).apply([1.0, 0, 0])
    directions = schedule(100, (0, [[1.0, 0, 0]]), (50, [turned]))
    result = rotations(rotor(directions, ("Al", "Cl")))
    assert len(result.events) == n_events
    assert result.events.angle == pytest.approx([degrees] * n_events)


@pytest.mark.parametrize("speed", [1.0, 2.0, 4.0])
def test_a_slow_turn_counts_step_by_step(speed):
    """A step ends when the angle was exceeded for the time of holding, so it takes 54.7 degrees and 1 ps."""
    n_frames = 3000
    angle = speed * STEP * np.arange(n_frames)
    directions = np.column_stack([np.cos(np.radians(angle)), np.sin(np.radians(angle)), 0 * angle])
    result = rotations(rotor(directions[:, None], ("Al", "Cl")))
    per_step = (np.floor(54.7 / (speed * STEP)) + 1 + 10) * STEP
    assert len(result.events) == int((n_frames * STEP - 0.5) // per_step)
    assert np.diff(result.events.time) == pytest.approx(per_step)


def test_a_slow_tumbling_is_recognized():
    angle = np.minimum(np.arange(400) * 0.5, 90)
    turn = Rotation.from_rotvec(np.radians(angle)[:, None] * np.array([0, 0, 1.0]))
    directions = np.stack([turn.apply(leg) for leg in LEGS], axis=1)
    result = rotations(rotor(directions))
    assert result.events_by_kind == {"single": 0, "tumbling": 4, "permutation": 0, "mixed": 0}
    assert result.motions_by_kind["tumbling"] == 1


def test_a_ligand_that_changes_its_host_migrates_and_does_not_rotate():
    positions = np.zeros((200, 3, 3))
    positions[:, 1, 0] = 4.6
    x = np.interp(np.arange(200), [90, 110], [2.15, 2.45])
    positions[:, 2, 0] = x
    positions[:100, 1, 0] += 1.5
    positions[100:, 0, 0] -= 1.5
    result = rotations(Trajectory(("Al", "Al", "Cl"), positions, BOX, STEP))
    assert (len(result.events), result.n_migrations) == (0, 1)
    assert (result.changes.from_center.tolist(), result.changes.to_center.tolist()) == ([0], [1])
    assert result.n_hosted == 1


def test_a_bridging_ligand_counts_once():
    """Both Al see it turn by 90 degrees; the one that keeps it is its host."""
    positions = np.zeros((200, 3, 3))
    positions[:, 1] = [2.15, 2.15, 0]
    positions[:100, 2, 0] = 2.15
    positions[100:, 2, 1] = 2.15
    result = rotations(Trajectory(("Al", "Al", "Cl"), positions, BOX, STEP))
    assert len(result.events) == 1
    assert result.n_migrations == 0
    positions[150:, 0, 0] -= 3.0
    result = rotations(Trajectory(("Al", "Al", "Cl"), positions, BOX, STEP))
    assert (result.events.host.tolist(), result.n_migrations) == ([1], 0)


def test_a_ligand_that_lets_go_for_a_moment_has_not_left():
    directions = schedule(100, (0, [[1.0, 0, 0]]), (50, [[0, 1.0, 0]]))
    positions = rotor(directions, ("Al", "Cl")).positions.copy()
    positions[48:52, 1] *= 1.5
    assert len(rotations(Trajectory(("Al", "Cl"), positions, BOX, STEP)).events) == 1
    positions[40:60, 1] = positions[[40], 1] * 1.5
    assert len(rotations(Trajectory(("Al", "Cl"), positions, BOX, STEP)).events) == 0


@pytest.mark.parametrize("n_ligands", [1, 2, 3, 5, 6])
def test_hosts_that_are_no_tetrahedra(n_ligands):
    legs = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, 0, 0], [0, -1, 0], [0, 0, -1.0]])[:n_ligands]
    species = ("Al",) + ("Cl",) * n_ligands
    there = jumped(legs, 0, np.array([-1.0, -1, -1]) / np.sqrt(3))
    result = rotations(rotor(schedule(100, (0, legs), (50, there)), species))
    assert result.events.kind == ("single",)
    assert result.events.host_type == (f"CN{n_ligands}:O0Cl{n_ligands}",)
    turn = Rotation.from_rotvec(np.radians(60) * np.ones(3) / np.sqrt(3)).as_matrix().T
    result = rotations(rotor(schedule(100, (0, legs), (50, legs @ turn)), species), angle=40.0)
    assert set(result.events.kind) == {"single" if n_ligands == 1 else "tumbling"}


def naive_events(trajectory, angle=54.7, half=2, n_hold=10):
    """All events of the ligands of one Al that never let go, by plain loops over averaged vectors."""
    vectors = trajectory.unwrapped("none")
    vectors = vectors[:, 1:] - vectors[:, :1]
    found = []
    for k in range(vectors.shape[1]):
        reference, since = None, None
        for t in range(half, len(vectors) - half):
            mean = vectors[t - half : t + half + 1, k].mean(axis=0)
            mean /= np.linalg.norm(mean)
            if reference is None:
                reference = mean
            elif mean @ reference < np.cos(np.radians(angle)):
                since = t if since is None else since
                if t - since >= n_hold:
                    found.append((since, k + 1))
                    reference, since = mean, None
            else:
                since = None
    return sorted(found)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("block", [None, 37, 3])
def test_events_equal_a_plain_loop_whatever_the_blocks(monkeypatch, seed, block):
    rng = np.random.default_rng(seed)
    steps = Rotation.from_rotvec(rng.normal(0, 0.15, (500 * 4, 3)))
    directions = np.empty((500, 4, 3))
    state = LEGS
    for t, step in enumerate(steps.as_matrix().reshape(500, 4, 3, 3)):
        state = np.einsum("kij,kj->ki", step, state)
        directions[t] = state
    if block:
        small = partial(frame_blocks, max_bytes=24 * 5 * block)
        monkeypatch.setattr(rotations_module, "frame_blocks", small)
        monkeypatch.setattr(bonds_module, "frame_blocks", small)
    run = rotor(directions, center=(1.0, 2.0, 3.0), start_time=7.0)
    events = rotations(run).events
    frames = np.rint((events.time - 7.0) / STEP).astype(int)
    expected = naive_events(run)
    assert len(expected) > 10
    assert list(zip(frames.tolist(), events.ligand.tolist(), strict=True)) == expected
    assert events.position == pytest.approx(run.unwrapped("framework")[frames, events.ligand])


def glass(n_hosts=4, seed=0, n_frames=400):
    """Hosts of several types whose ligands jump at random times, with vibrations."""
    rng = np.random.default_rng(seed)
    anions = [("Cl",) * 4, ("O", "Cl", "Cl", "Cl"), ("O", "O", "Cl", "Cl"), ("Cl",) * 3]
    centers = np.array([[0, 0, 0], [7.5, 0, 0], [0, 7, 0], [0, 0, 8.0]])[:n_hosts]
    species, parts, n_jumps = [], [], 0
    for center, ligands in zip(centers, anions, strict=False):
        legs = LEGS[: len(ligands)]
        states = [(0, legs)]
        for frame in sorted(rng.choice(np.arange(40, n_frames - 40, 40), 2, replace=False)):
            chlorine = int(rng.choice(np.flatnonzero(np.array(ligands) == "Cl")))
            states.append((frame, jumped(states[-1][1], chlorine, -states[-1][1][chlorine])))
            n_jumps += 1
        run = rotor(noisy(schedule(n_frames, *states), 5.0, seed), ("Al", *ligands), center)
        species += run.species
        parts.append(run.positions)
    species.append("Li")
    parts.append(np.tile([6.0, 5, 5], (n_frames, 1, 1)))
    return tuple(species), np.concatenate(parts, axis=1), n_jumps


def numbers(result):
    rows = [
        (r.label, r.n_events, r.n_rotating_ligands, r.n_rotating_hosts, r.mean_hosts) for r in result.by_type
    ]
    return len(result.events), sorted(result.events.time.round(6)), result.motions_by_kind, rows


def test_neither_place_nor_order_nor_wrapping_nor_drift_matters():
    species, positions, n_jumps = glass()
    base = rotations(Trajectory(species, positions, BOX, STEP))
    expected = numbers(base)
    assert expected[0] == n_jumps == 8
    fractional = positions @ np.linalg.inv(BOX)
    order = np.random.default_rng(3).permutation(len(species))
    drift = np.arange(len(positions))[:, None, None] * np.array([0.1, -0.05, 0.02])
    turn = Rotation.from_rotvec([0.3, -0.5, 0.8]).as_matrix()
    for other in (
        Trajectory(species, (fractional - np.floor(fractional)) @ BOX, BOX, STEP),
        Trajectory(species, positions + drift, BOX, STEP),
        Trajectory(tuple(np.array(species)[order]), positions[:, order], BOX, STEP),
        Trajectory(species, positions, np.array([[1, 0, 0], [0, 1, 0], [1, 0, 1]]) @ BOX, STEP),
        Trajectory(species, positions @ turn.T, BOX @ turn.T, STEP),
    ):
        assert numbers(rotations(other)) == expected
    drifted = rotations(Trajectory(species, positions + drift, BOX, STEP))
    assert drifted.events.position == pytest.approx(base.events.position, abs=1e-9)


def test_time_reversal_keeps_the_events_and_moves_their_times():
    species, positions, _ = glass()
    forward = rotations(Trajectory(species, positions, BOX, STEP))
    backward = rotations(Trajectory(species, positions[::-1], BOX, STEP))
    duration = (len(positions) - 1) * STEP
    assert np.sort(duration - backward.events.time) == pytest.approx(forward.events.time, abs=2.1 * STEP)
    assert backward.motions_by_kind == forward.motions_by_kind


def test_a_supercell_doubles_the_counts():
    species, positions, _ = glass()
    one = rotations(Trajectory(species, positions, BOX, STEP))
    both = np.concatenate([positions, positions + BOX[1]], axis=1)
    two = rotations(Trajectory(species * 2, both, np.diag([1, 2.0, 1]) @ BOX, STEP))
    assert len(two.events) == 2 * len(one.events)
    assert two.rate.value == pytest.approx(one.rate.value)
    assert [r.mean_ligands for r in two.by_type] == pytest.approx([2 * r.mean_ligands for r in one.by_type])
    assert [r.n_rotating_hosts for r in two.by_type] == [2 * r.n_rotating_hosts for r in one.by_type]


def test_numbers_by_type_add_up():
    species, positions, _ = glass()
    result = rotations(Trajectory(species, positions, BOX, STEP))
    by_type = {row.label: row for row in result.by_type}
    assert {"AlCl4", "AlOCl3", "AlO2Cl2", "AlO3Cl", "AlO4", "CN3:O0Cl3"} == set(by_type)
    assert [by_type[label].n_events for label in ("AlCl4", "AlOCl3", "AlO2Cl2", "CN3:O0Cl3")] == [2] * 4
    assert by_type["AlO3Cl"].mean_hosts == by_type["AlO4"].rate.exposure == 0
    assert by_type["AlOCl3"].mean_ligands == pytest.approx(3)
    assert sum(row.mean_hosts for row in result.by_type) == pytest.approx(result.n_centers)
    assert sum(row.mean_ligands for row in result.by_type) == pytest.approx(result.n_ligands)
    assert sum(row.rate.exposure for row in result.by_type) == pytest.approx(result.rate.exposure)
    # Half an average at either end, the first direction, and the time of holding are lost.
    assert result.rate.exposure == pytest.approx(result.n_ligands * (400 - 4 - 1 - 10) * STEP / 1000)
    assert result.rate.count == len(result.events)


def test_types_along_a_run_are_those_of_its_frames():
    rng = np.random.default_rng(1)
    species = ("Al",) * 8 + ("O",) * 6 + ("Cl",) * 20
    start = rng.random((34, 3)) @ BOX
    positions = start + np.cumsum(rng.normal(0, 0.15, (60, 34, 3)), axis=0)
    run = Trajectory(species, positions, BOX, STEP)
    same = {"O": (2.4, 2.4), "Cl": (2.8, 2.8)}
    types = host_types(bond_history(run, limits=same))
    centers = np.arange(8)
    counted = np.zeros(len(types.labels))
    for t in range(60):
        labels = tetrahedra(run.frame(t)).labels
        assert tuple(types.labels[k] for k in types.at(centers, np.full(8, t))) == labels
        for label in labels:
            counted[types.labels.index(label)] += 1
    assert mean_numbers(types) == pytest.approx(counted / 60)
    assert len({label for label, n in zip(types.labels, counted, strict=True) if n}) > 4
    part = types.time_in(np.array([3]), np.array([11]), np.array([37]))
    seen = types.at(np.full(26, 3), np.arange(11, 37))
    assert part.tolist() == np.bincount(seen, minlength=len(types.labels)).tolist()


def test_a_breathing_cell_changes_nothing():
    species, positions, n_jumps = glass()
    scale = (1 + 0.01 * np.sin(np.arange(len(positions)) / 20))[:, None, None]
    result = rotations(Trajectory(species, positions * scale + 0.98 * BOX[0] * scale, BOX * scale, STEP))
    assert len(result.events) == n_jumps


def test_a_run_that_stays_in_its_file_gives_the_same(tmp_path):
    species, positions, _ = glass()
    run = Trajectory(species, positions, BOX, STEP, start_time=3.0)
    with Trajectory.open(run.write(tmp_path / "run.h5md", dtype="float64")) as file:
        streamed, kept = rotations(file), bond_persistence(file)
    loaded = rotations(run)
    assert numbers(streamed) == numbers(loaded)
    assert streamed.events.kind == loaded.events.kind
    assert streamed.events.position == pytest.approx(loaded.events.position, abs=1e-5)
    assert kept.continuous.tolist() == bond_persistence(run).continuous.tolist()


def test_bonds_need_to_be_followed_only_once():
    species, positions, _ = glass()
    run = Trajectory(species, positions, BOX, STEP)
    history = bond_history(run)
    for ligand in ("O", "Cl"):
        expected = rotations(run, ligand=ligand)
        assert rotations_of(run, history, ligand).model_dump_json() == expected.model_dump_json()
    with pytest.raises(InputError, match="not those of this run"):
        rotations_of(Trajectory(species, positions[1:], BOX, STEP), history)
    with pytest.raises(InputError, match="not followed"):
        rotations_of(run, history, "Br")


def test_results_survive_json():
    species, positions, _ = glass()
    result = rotations(Trajectory(species, positions, BOX, STEP))
    assert (
        type(result).model_validate_json(result.model_dump_json()).model_dump_json()
        == result.model_dump_json()
    )


CASES = {
    "no center": ({"center": "Ga"}, 50, "empty", "no Ga"),
    "no ligand": ({"ligand": "O"}, 50, "empty", "no O"),
    "no bond": ({"limits": {"O": (1.0, 1.1), "Cl": (1.0, 1.1)}}, 50, "empty", "bonded"),
    "one frame": ({}, 1, "insufficient", "longer than 1.5 ps"),
    "shorter than the hold": ({}, 15, "insufficient", "longer than 1.5 ps"),
    "long enough": ({}, 16, "ok", "4 Cl"),
}


@pytest.mark.parametrize(("options", "n_frames", "status", "reason"), CASES.values(), ids=CASES)
def test_what_cannot_be_measured_is_said(options, n_frames, status, reason):
    result = rotations(rotor(schedule(n_frames, (0, LEGS))), **options)
    assert result.status == status
    assert reason in result.reason
    assert len(result.events) == result.n_migrations == 0
    assert result.events.position.shape == (0, 3)
    assert (result.rate.value is None) is (status != "ok")


@pytest.mark.parametrize(
    ("time_step", "status"), [(0.2, "ok"), (0.25, "ok"), (0.3, "coarse"), (2.0, "coarse")]
)
def test_frames_too_far_apart_to_average_are_reported(time_step, status):
    directions = schedule(100, (0, LEGS), (50, jumped(LEGS, 0, [0.0, 0.0, -1.0])))
    result = rotations(rotor(directions, time_step=time_step))
    assert result.status == status
    assert len(result.events) == 1
    assert (result.average == 0) is (status == "coarse")
    assert result.hold >= 1.0


def test_a_thiophosphate_works_the_same_way():
    run = rotor(schedule(100, (0, LEGS), (50, jumped(LEGS, 2, -LEGS[2]))), ("P", "S", "S", "S", "S"))
    result = rotations(run, "P", "S", "Na", ligands=("S",), limits={"S": (2.5, 2.9)})
    assert result.events.host_type == ("PS4",)
    assert [row.label for row in result.by_type] == ["PS4"]


@pytest.mark.parametrize(
    "options",
    [
        {"ligand": "Br"},
        {"angle": 0.0},
        {"angle": 180.0},
        {"average": -0.1},
        {"hold": -1.0},
        {"tolerance": 0.0},
        {"limits": {"Cl": (2.6, 3.0)}},
    ],
)
def test_parameters_that_make_no_sense_are_refused(options):
    with pytest.raises(InputError):
        rotations(rotor(schedule(30, (0, LEGS))), **options)


def test_frames_too_far_apart_to_unwrap_are_refused():
    positions = np.zeros((3, 2, 3))
    positions[:, 1, 0] = [2.1, 9.0, 2.1]
    with pytest.raises(TrajectoryError, match="unwrap"):
        rotations(Trajectory(("Al", "Cl"), positions, BOX, STEP))


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.floats(60, 180), st.permutations(range(4)))
def test_rigid_turns_are_never_single_and_never_leave_a_residual(seed, degrees, order):
    rng = np.random.default_rng(seed)
    axis = rng.normal(size=3)
    turn = Rotation.from_rotvec(np.radians(degrees) * axis / np.linalg.norm(axis))
    species = np.array(["O", "O", "Cl", "Cl"])[list(order)]
    legs = LEGS[list(order)]
    result = tetrahedron_motion(2.1 * legs, 1.9 * turn.apply(legs), species)
    assert result.residual == pytest.approx(0, abs=1e-4)
    assert result.rotation_angle == pytest.approx(degrees, abs=1e-4)
    assert result.kind in {"tumbling", "permutation"}
    assert (result.kind == "permutation") is (result.permuted_residual < 25)


def test_an_inversion_is_neither_a_turn_nor_a_permutation():
    assert tetrahedron_motion(LEGS, -LEGS, ["Cl"] * 4).kind == "mixed"


def test_motions_without_direction_are_refused():
    for before, after in ((np.zeros((1, 3)), LEGS[:1]), (LEGS, LEGS[:3]), (LEGS[:0], LEGS[:0])):
        with pytest.raises(InputError):
            tetrahedron_motion(before, after, ["Cl"] * len(before))
