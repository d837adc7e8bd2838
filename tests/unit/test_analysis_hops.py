"""Hops: scheduled ones are counted, timed and classed; everything else is not a hop."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from laoc_flows.analysis.events.hop_enrichment import enrichment, jump_diffusion
from laoc_flows.analysis.events.hop_hosts import HopRoles, Samples, TypeTable, host_series
from laoc_flows.analysis.events.hop_kernels import decode, host_code, site_borders
from laoc_flows.analysis.events.hop_statistics import dwell_curve, hop_classes, hop_matrix
from laoc_flows.analysis.events.hop_surroundings import connect, in_lattice, surroundings
from laoc_flows.analysis.events.hops import HopResult, hops
from laoc_flows.analysis.structure.chains import chains
from laoc_flows.analysis.structure.tetrahedra import TETRAHEDRA
from laoc_flows.analysis.trajectories.frame import Frame
from laoc_flows.analysis.trajectories.paths import moving_average
from laoc_flows.analysis.trajectories.trajectory import Trajectory
from laoc_flows.errors import InputError, TrajectoryError

CELL = np.array([[26.0, 0, 0], [0, 14, 0], [1, 0, 18]])
# Two chains of two, and two isolated centers; each has a Cl above it, and an ion sits above that.
CENTERS = np.array([[2.0, 2, 2], [5.6, 2, 2], [2, 2, 10], [5.6, 2, 10], [14, 2, 2], [14, 2, 10]])
UP = np.array([0.0, 2.1, 0])
DT = 0.1
A, A2, B, B2, LONE, LONE2 = range(6)


def site(host, image=(0, 0, 0), side=0.0):
    """Above a center; with a side, tilted to it about the ligand."""
    lean = np.array([0.0, 2.1 * math.cos(side), 2.1 * math.sin(side)])
    return CENTERS[host] + UP + lean + np.array(image) @ CELL


def path(*stays, n_frames=200, ramp=3):
    """Stays of (start time, place); the ion takes `ramp` frames on its way, centered on the start time."""
    t = np.arange(n_frames) * DT
    times, places = [], []
    for k, (start, place) in enumerate(stays):
        end = stays[k + 1][0] if k + 1 < len(stays) else n_frames * DT
        half = ramp * DT / 2
        times += [start + (half if k else 0), end - half]
        places += [place, place]
    return np.stack([np.interp(t, times, np.array(places)[:, c]) for c in range(3)], axis=-1)


def make(ions, noise=0.0, seed=0, center="Al", ligand="Cl", carrier="Li", **options):
    n_frames = len(ions[0])
    framework = np.concatenate([CENTERS, CENTERS + UP])
    positions = np.concatenate(
        [np.broadcast_to(framework, (n_frames, 12, 3)), np.stack(ions, axis=1)], axis=1
    )
    positions = (
        positions + np.random.default_rng(seed).normal(0, noise, positions.shape) if noise else positions
    )
    species = (center,) * 6 + (ligand,) * 6 + (carrier,) * len(ions)
    return Trajectory(species, positions, CELL, DT, **options)


def counts_of(result):
    """(hops, moves, rattles) of every dwell time."""
    return {c.tau: (c.n_hops, c.n_moves, c.n_rattles) for c in result.by_tau}


# One entry of the matrix each: what happens, how often, row and column.
SCHEDULED = [
    ((A, (0, 0, 0), 0.0), (A2, (0, 0, 0), 0.0), 1, (1, 1)),
    ((A, (0, 0, 0), 0.0), (B, (0, 0, 0), 0.0), 2, (1, 2)),
    ((A, (0, 0, 0), 0.0), (A, (0, 1, 0), 0.0), 1, (1, 2)),
    ((A2, (0, 0, 0), 0.0), (LONE, (0, 0, 0), 0.0), 4, (1, 3)),
    ((LONE, (0, 0, 0), 0.0), (A2, (0, 0, 0), 0.0), 5, (0, 2)),
    ((LONE, (0, 0, 0), 0.0), (LONE2, (0, 0, 0), 0.0), 2, (0, 3)),
    ((LONE, (0, 0, 0), 0.0), (LONE, (0, -1, 0), 0.0), 1, (0, 3)),
    ((A, (0, 0, 0), 0.9), (A, (0, 0, 0), -0.9), 2, (1, 0)),
    ((LONE2, (0, 0, 0), 0.9), (LONE2, (0, 0, 0), -0.9), 3, (0, 0)),
    # Through the border of the cell to the image of another chain's center, and back into the cell.
    ((A, (0, 0, 0), 0.0), (B2, (0, 0, -1), 0.0), 1, (1, 2)),
]
MATRIX = np.zeros((2, 4), int)
for _, _, times, entry in SCHEDULED:
    MATRIX[entry] += times


def scheduled(n_frames=200, **options):
    ions, k = [], 0
    for origin, destination, n, _ in SCHEDULED:
        for _ in range(n):
            ions.append(path((0, site(*origin)), (6.05 + 0.2 * k, site(*destination)), n_frames=n_frames))
            k += 1
    return make(ions, **options)


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.2])
def test_scheduled_hops_fill_every_entry_of_the_matrix(noise):
    result = hops(scheduled(noise=noise))
    assert result.status == "ok"
    matrix = hop_matrix(result)
    assert np.array_equal(matrix.counts, MATRIX)
    assert (matrix.n_events, matrix.n_hops) == (MATRIX.sum(), MATRIX[:, 1:].sum())
    assert (result.n_hops, result.n_moves, result.n_back_jumps) == (
        MATRIX[:, 1:].sum(),
        MATRIX[:, 0].sum(),
        0,
    )
    every = sorted(
        pair for rows in (result.events, result.moves) for pair in zip(rows.ion, rows.time, strict=True)
    )
    assert [ion for ion, _ in every] == list(range(12, 12 + MATRIX.sum()))
    expected = 6.05 + 0.2 * np.arange(MATRIX.sum())
    assert np.abs(np.array([time for _, time in every]) - expected).max() < (0.06 if noise == 0 else 0.16)


def test_events_say_where_from_and_where_to():
    result = hops(scheduled())
    events = result.events
    plan = [row for row in SCHEDULED for _ in range(row[2])]
    assert np.all(np.diff(events.time) > 0)
    for k in range(events.n):
        (a, image_a, _), (b, image_b, _), _, _ = plan[events.ion[k] - 12]
        assert (events.origin_center[k], events.destination_center[k]) == (a, b)
        assert events.origin_image[k].tolist() == list(image_a)
        assert events.destination_image[k].tolist() == list(image_b)
        step = site(b, image_b) - site(a, image_a)
        # The coarse-grained way from one site to the other leaks into the means.
        assert np.abs(events.displacement[k] - step).max() < 0.05 * np.abs(step).max()
        assert np.abs(events.position[k] - (site(a, image_a) + site(b, image_b)) / 2).max() < 0.2
        assert events.origin_isolated[k] == (a in {LONE, LONE2})
        assert events.destination_isolated[k] == (b in {LONE, LONE2})
        assert events.origin_chain_size[k] == (1 if a in {LONE, LONE2} else 2)
        assert events.origin_chain[k] == {A: A, A2: A, B: B, B2: B, LONE: LONE, LONE2: LONE2}[a]
        assert events.destination_chain[k] == {A: A, A2: A, B: B, B2: B, LONE: LONE, LONE2: LONE2}[b]
        assert result.labels[events.origin_type[k]] == "CN1:O0Cl1"


def test_projection_to_three_classes():
    classes = hop_classes(hops(scheduled()))
    counts = {kind.name: kind.count for kind in classes.classes}
    assert counts == {
        "intra-chain": MATRIX[1, 1],
        "inter-chain": MATRIX[1, 2] + MATRIX[1, 3],
        "isolated-assisted": MATRIX[0, 1:].sum(),
    }
    assert sum(kind.share.value for kind in classes.classes) == pytest.approx(1)
    assert sum(kind.rate.value for kind in classes.classes) == pytest.approx(classes.total.rate.value)
    # 200 frames are 19.9 ps, of which the first and the last picosecond cannot show a hop.
    assert classes.total.rate.value == pytest.approx(classes.n_hops / (22 * 17.9e-3))
    for kind in classes.classes:
        assert kind.share.interval[0] < kind.share.value < kind.share.interval[1]
        assert kind.rate.interval[0] < kind.rate.value < kind.rate.interval[1]


def test_the_bridge_rule_sees_no_chain_without_a_shared_ligand():
    result = hops(scheduled(), rule="bridge")
    assert result.chain_cutoff is None
    assert result.events.origin_isolated.all()
    assert result.events.destination_isolated.all()


@pytest.mark.parametrize(
    ("visits", "rattles"),
    [
        ([(6, 0.5)], 1),
        ([(6, 0.5), (7, 0.5), (12, 0.7)], 3),
        # A second visit right after the first, without a dwell in between, is a second rattle.
        ([(6, 0.5), (6.8, 0.5)], 2),
    ],
)
def test_short_visits_are_rattles_and_no_hops(visits, rattles):
    stays = [(0, site(A))]
    for start, length in visits:
        stays += [(start + 0.05, site(A2)), (start + length + 0.05, site(A))]
    result = hops(make([path(*stays, ramp=1)]), window=0)
    assert counts_of(result)[1.0] == (0, 0, rattles)
    assert result.n_rattles == rattles
    assert result.events.n == 0


def test_a_short_visit_on_the_way_is_part_of_one_hop():
    ion = path((0, site(A)), (8.05, site(A2)), (8.55, site(LONE)), n_frames=200, ramp=1)
    events = hops(make([ion]), window=0).events
    assert (events.n, events.origin_center[0], events.destination_center[0]) == (1, A, LONE)
    # The middle between leaving A and reaching LONE.
    assert events.time[0] == pytest.approx((8.0 + 8.6) / 2, abs=0.06)


@pytest.mark.parametrize(("away", "back_jumps"), [(2.0, 1), (4.9, 1), (5.3, 0)])
def test_a_return_in_time_is_a_back_jump(away, back_jumps):
    ion = path((0, site(A)), (6.05, site(A2)), (6.05 + away, site(A)), ramp=1)
    result = hops(make([ion]))
    assert (result.n_hops, result.n_back_jumps) == (2, back_jumps)
    assert result.events.back_jump.tolist() == [False, bool(back_jumps)]
    assert hop_classes(result).back_jumps.count == back_jumps
    assert hops(make([ion]), back_jump_time=away + 0.2).n_back_jumps == 1


def test_going_on_or_back_to_another_image_is_no_back_jump():
    on = path((0, site(A)), (6.05, site(A2)), (8.05, site(LONE)))
    other = path((0, site(LONE)), (6.05, site(A2)), (8.05, site(LONE, (-1, 0, 0))), ramp=8)
    assert hops(make([on, other])).n_hops == 4
    assert hops(make([on, other])).n_back_jumps == 0


def test_moves_back_and_forth_at_one_host():
    ion = path((0, site(A, side=0.9)), (6.05, site(A, side=-0.9)), (8.05, site(A, side=0.9)), (16, site(A)))
    result = hops(make([ion]))
    # The last step is only 1.6 A along a curve, and shorter than that between the means.
    assert result.n_hops == 0
    assert result.moves.time[:2] == pytest.approx([6.05, 8.05], abs=0.06)
    assert result.moves.back_jump[:2].tolist() == [False, True]
    assert np.all(np.linalg.norm(result.moves.displacement, axis=1) > 1.5)


def test_no_event_near_the_ends():
    ions = [path((0, site(A)), (t + 0.05, site(A2)), n_frames=100, ramp=1) for t in np.arange(0.2, 9.8, 0.2)]
    result = hops(make(ions))
    assert result.events.time.min() >= 1.0
    assert result.events.time.max() <= 8.9
    seen = [t for t in np.arange(0.25, 9.8, 0.2) if 1.0 <= t <= 8.9]
    assert result.n_hops == len(seen)


def test_counts_fall_with_the_dwell_time():
    # Stays of 0.8, 1.5 and 3 ps in turn: a dwell is its first to last sample, one interval less.
    stays, now, place = [(0, site(A))], 8.05, True
    for length in (0.8, 5.0, 1.5, 5.0, 3.0, 5.0):
        stays.append((now, site(A2 if place else A)))
        now, place = now + length, not place
    result = hops(make([path(*stays, n_frames=360, ramp=1)]))
    assert counts_of(result) == {0.5: (6, 0, 0), 1.0: (4, 0, 1), 2.0: (2, 0, 2)}
    for tau in (0.5, 2.0):
        alone = hops(make([path(*stays, n_frames=360, ramp=1)]), tau=tau)
        assert counts_of(alone)[tau] == counts_of(result)[tau]


def test_an_ion_that_hardly_moves_changes_its_label_only():
    # Between two centers 3.6 A apart a step of 1.2 A changes the closest ligand.
    middle = (site(A) + site(A2)) / 2
    step = np.array([0.6, 0, 0])
    result = hops(make([path((0, middle - step), (6.05, middle + step))]))
    assert result.n_hops == 0
    assert [c.n_relabels for c in result.by_tau] == [1, 1, 1]
    assert hops(make([path((0, middle - step), (6.05, middle + step))]), min_distance=1.0).n_hops == 1


def test_the_host_stays_until_another_is_clearly_closer():
    x = np.linspace(2, 5.6, 361)
    ion = np.stack([x, np.full(361, 6.2), np.full(361, 2.0)], axis=-1)
    for gap in (0.0, 0.15, 0.5):
        for way in (ion, ion[::-1]):
            run = make([way])
            roles = HopRoles.assign(run.species, "Al", ("O", "Cl"), "Li", None)
            series = host_series(Samples(run.paths("none"), 0.0, 1), roles, TypeTable(roles), gap)
            assert len(series.first) == 2
            at = way[series.first[1], 0]
            to = [math.dist((at, 6.2, 2.0), CENTERS[k] + UP) for k in (A, A2)]
            assert gap <= abs(to[0] - to[1]) < gap + 0.02


def test_the_host_of_an_ion_at_a_bridge_is_the_one_it_had():
    bridge = np.array([[0.0, 0, 0], [4, 0, 0], [2, 1, 0]])
    way = np.array([[x, 3.0, 0] for x in (1.0, 1.5, 2.5, 3.0)])
    for ion, expected in ((way, 0), (way[::-1], 1)):
        positions = np.array([[*bridge, r] for r in ion])
        run = Trajectory(("Al", "Al", "Cl", "Li"), positions, 12 * np.eye(3), 0.1)
        roles = HopRoles.assign(run.species, "Al", ("Cl",), "Li", {"Cl": 2.8})
        series = host_series(Samples(run.paths("none"), 0.0, 1), roles, TypeTable(roles), 0.15)
        assert decode(series.code)[0].tolist() == [expected]
        assert series.neighbor.sum() == 4


@given(
    codes=st.lists(st.tuples(st.integers(0, 10**6), *[st.integers(-4095, 4095)] * 3), min_size=1, max_size=5)
)
def test_host_codes_are_unique_and_reversible(codes):
    packed = np.array([host_code(*code) for code in codes])
    center, image = decode(packed)
    assert [(int(c), *map(int, n)) for c, n in zip(center, image, strict=True)] == codes


def brute_force_host(positions, cell, species, carrier, cutoff):
    """Distance to the closest bonded ligand, and the hosts that hold it, from all images up to the third."""
    shifts = np.array(list(itertools.product(range(-3, 4), repeat=3)))
    best, hosts = math.inf, set()
    for ligand in (k for k, s in enumerate(species) if s == "Cl"):
        for n in shifts:
            at = positions[ligand] + n @ cell
            d = np.linalg.norm(at - positions[carrier])
            if d > best + 1e-7:
                continue
            bonded = {
                (center, *(int(x) for x in m))
                for center in (k for k, s in enumerate(species) if s == "Al")
                for m in shifts[np.linalg.norm(positions[center] + shifts @ cell - at, axis=1) < cutoff]
            }
            if bonded:
                hosts = bonded if d < best - 1e-7 else hosts | bonded
                best = min(best, d)
    return best, hosts


@settings(max_examples=15, deadline=None)
@given(
    fractional=arrays(float, (7, 3), elements=st.floats(-1, 1.5, width=32)),
    shear=st.floats(-3, 3),
    size=st.floats(5, 9),
)
def test_the_host_is_that_of_a_search_by_hand(fractional, shear, size):
    cell = np.array([[size, 0, 0], [shear, 6, 0], [0, 1, 7]])
    species = ("Al", "Al", "Cl", "Cl", "Cl", "Li", "Li")
    run = Trajectory(species, (fractional @ cell)[None], cell, 0.1)
    roles = HopRoles.assign(species, "Al", ("Cl",), "Li", {"Cl": 2.8})
    series = host_series(Samples(run.paths("none"), 0.0, 1), roles, TypeTable(roles), 0.15)
    for row, carrier in enumerate((5, 6)):
        _, hosts = brute_force_host(run.positions[0], cell, species, carrier, 2.8)
        code = series.code[row]
        if not hosts:
            assert code == -1
            continue
        center, image = decode(np.array([code]))
        near = {(h[0], *h[1:]) for h in hosts}
        assert (int(center[0]), *map(int, image[0])) in near
        square = {
            h: np.sum((run.positions[0][h[0]] + h[1:] @ cell - run.positions[0][carrier]) ** 2) for h in near
        }
        chosen = square[(int(center[0]), *map(int, image[0]))]
        assert chosen == pytest.approx(min(square.values()), abs=1e-6)


def test_a_lone_ion_finds_its_host_far_away():
    positions = np.array([[[0.0, 0, 0], [2, 0, 0], [20, 3, 1]]])
    run = Trajectory(("Al", "Cl", "Li"), positions, 60 * np.eye(3), 0.1)
    roles = HopRoles.assign(run.species, "Al", ("Cl",), "Li", {"Cl": 2.8})
    series = host_series(Samples(run.paths("none"), 0.0, 1), roles, TypeTable(roles), 0.15)
    assert series.code.tolist() == [host_code(0, 0, 0, 0)]


@settings(max_examples=40, deadline=None)
@given(fractional=arrays(float, (6, 3), elements=st.floats(-1, 2, width=32)), size=st.floats(3.5, 9))
def test_chains_with_copies_agree_with_chains(fractional, size):
    cell = np.array([[size, 0, 0], [1, 6, 0], [0, 1, 9]])
    frame = Frame(("Al",) * 6, fractional @ cell, cell)
    roles = HopRoles.assign(frame.species, "Al", ("Cl",), "Li", {"Cl": 2.8})
    around = surroundings(frame.positions, cell, roles, TypeTable(roles), "distance", 4.2)
    for part in chains(frame).components:
        members = np.array(part.atoms)
        assert set(around.chain[members]) == {members[0]}
        assert set(around.size[members]) == {part.size}
        assert np.linalg.matrix_rank(around.basis[members[0]]) == part.dimension
        assert set(around.isolated[members]) == {part.size == 1 and part.dimension == 0}
        images = np.array(part.images)
        for k, atom in enumerate(members):
            # The tree of `chains` joins these two images, whatever they close on.
            assert around.same_chain(int(members[0]), images[0], int(atom), images[k])
            far = images[k] + np.array([7, 11, 13])
            if part.dimension == 0:
                assert not around.same_chain(int(members[0]), images[0], int(atom), far)


def test_interpenetrating_chains_are_told_apart():
    # A closes on (2, 0, 0) and (1, 3, 0): the vectors (1, 0, 0) and (0, 3, 0) lead to another copy.
    i = np.zeros(2, np.int64)
    _, _, basis = connect(i, i, np.array([[2, 0, 0], [1, 3, 0]]), 1)
    around = [np.array(v) for v in ([2, 0, 0], [1, 3, 0], [3, 3, 0], [0, 6, 0], [1, -3, 0])]
    beside = [np.array(v) for v in ([1, 0, 0], [0, 3, 0], [0, 0, 1], [2, 1, 0])]
    assert all(in_lattice(basis[0], v) for v in around)
    assert not any(in_lattice(basis[0], v) for v in beside)


def test_a_percolating_chain_is_one_chain_in_all_images():
    # Centers every 4 A along x, closed through the cell of 8 A.
    framework = np.array([[0.0, 2, 2], [4, 2, 2], [0, 4.1, 2], [4, 4.1, 2]])
    x = np.interp(np.arange(200), [60, 70, 130, 140], [0, 4, 4, 8])
    ion = np.stack([x, np.full(200, 6.2), np.full(200, 2.0)], axis=-1)
    positions = np.concatenate([np.broadcast_to(framework, (200, 4, 3)), ion[:, None]], axis=1)
    run = Trajectory(("Al", "Al", "Cl", "Cl", "Li"), positions, np.diag([8.0, 14, 12]), 0.1)
    result = hops(run)
    assert result.events.destination_image.tolist() == [[0, 0, 0], [1, 0, 0]]
    assert result.events.same_chain.all()
    assert result.n_back_jumps == 0
    assert hop_matrix(result).counts.tolist() == [[0, 0, 0, 0], [0, 2, 0, 0]]


def test_site_borders_split_where_the_ion_moved():
    x = np.zeros((60, 3))
    x[20:40, 0] = 3.0
    x[45:48, 1] = 3.0
    sums = np.concatenate([np.zeros((1, 3)), np.cumsum(x, axis=0)])
    assert site_borders(sums, 10, 1.5).tolist() == [0, 20, 40, 60]
    assert site_borders(sums, 10, 3.5).tolist() == [0, 60]
    back = np.concatenate([np.zeros((1, 3)), np.cumsum(x[::-1], axis=0)])
    assert site_borders(back, 10, 1.5).tolist() == [0, 20, 40, 60]


@pytest.mark.parametrize(("n_away", "borders"), [(5, [0, 45]), (9, [0, 49]), (10, [0, 20, 30, 50])])
def test_a_far_place_counts_only_after_a_whole_dwell(n_away, borders):
    # Six samples of ten at 4 A move a mean by 2.4 A, but they are no dwell of ten.
    positions = np.zeros((40 + n_away, 3))
    positions[20 : 20 + n_away, 0] = 4.0
    sums = np.concatenate([np.zeros((1, 3)), np.cumsum(positions, axis=0)])
    assert site_borders(sums, 10, 1.5).tolist() == borders
    at_the_end = [0, 20, 30] if n_away == 10 else [0, 20 + n_away]
    assert site_borders(sums[: 21 + n_away], 10, 1.5).tolist() == at_the_end


@pytest.mark.parametrize(("away", "n_moves"), [(0.5, 0), (0.8, 0), (1.4, 2)])
def test_a_move_at_one_host_lasts_the_dwell_time(away, n_moves):
    ion = path((0, site(A)), (6, site(A, side=2.0)), (6 + away, site(A)), ramp=1)
    result = hops(make([ion]))
    assert (result.n_hops, result.n_moves) == (0, n_moves)


def test_blocks_equal_the_moving_average_of_the_whole():
    rng = np.random.default_rng(1)
    run = Trajectory(("Li",) * 3, np.cumsum(rng.normal(0, 0.1, (97, 3, 3)), axis=0), CELL, 0.02)
    for width, stride in ((1, 1), (15, 5), (15, 4), (3, 7), (41, 1)):
        samples = Samples(run.paths("none"), width * 0.02, stride)
        assert samples.width == width
        whole = moving_average(run.paths("none").of(), width, stride)
        for max_bytes in (1, 72 * 20, 72 * 1000):
            parts = np.concatenate(list(samples.blocks(max_bytes)))
            assert np.abs(parts - whole).max() < 1e-12
        assert len(whole) == samples.n_samples
        assert all(np.abs(samples.at(k) - whole[k]).max() < 1e-12 for k in range(samples.n_samples))


def table(result):
    e = result.events
    return sorted(
        zip(e.ion.tolist(), np.round(e.time, 6).tolist(), e.displacement.round(4).tolist(), strict=True)
    )


def test_translation_and_wrapping_change_nothing():
    run = scheduled(noise=0.1)
    before = hops(run)
    rng = np.random.default_rng(3)
    inverse = np.linalg.inv(CELL)
    fractional = run.positions @ inverse
    wrapped = (fractional - np.floor(fractional)) @ CELL
    moved = run.positions + np.array([3.3, -7.1, 55.0])
    # Other images of single atoms give other image numbers, but the same hops.
    shifted = run.positions + (rng.integers(-3, 4, (run.n_atoms, 3)) @ CELL)
    for positions in (wrapped, moved, shifted):
        after = hops(Trajectory(run.species, positions, CELL, DT))
        assert np.array_equal(hop_matrix(after).counts, hop_matrix(before).counts)
        assert table(after) == table(before)


def test_a_run_on_disk_has_the_same_hops(tmp_path):
    run = scheduled(noise=0.1)
    with Trajectory.open(run.write(tmp_path / "run.h5md")) as file:
        result = hops(file)
    assert np.array_equal(hop_matrix(result).counts, hop_matrix(hops(run)).counts)
    assert [row[:2] for row in table(result)] == [row[:2] for row in table(hops(run))]


def test_permutation_of_atoms():
    run = scheduled()
    order = np.random.default_rng(5).permutation(run.n_atoms)
    after = hops(Trajectory(tuple(run.species[k] for k in order), run.positions[:, order], CELL, DT))
    before = hops(run)
    assert np.array_equal(hop_matrix(after).counts, hop_matrix(before).counts)
    renamed = sorted(
        (int(order[i]), t) for i, t in zip(after.events.ion, np.round(after.events.time, 6), strict=True)
    )
    assert renamed == [(i, t) for i, t, _ in table(before)]
    assert sorted(order[after.events.origin_center]) == sorted(before.events.origin_center)


def test_a_supercell_has_as_many_times_the_hops():
    run = scheduled()
    copies = np.concatenate([run.positions, run.positions + CELL[2]], axis=1)
    after = hops(Trajectory(run.species * 2, copies, CELL * np.array([[1], [1], [2]]), DT))
    assert np.array_equal(hop_matrix(after).counts, 2 * MATRIX)


def test_backward_in_time_every_hop_is_reversed():
    run = scheduled()
    forward = hops(run)
    backward = hops(Trajectory(run.species, run.positions[::-1], CELL, DT))
    assert np.array_equal(backward.events.origin_center, forward.events.destination_center[::-1])
    assert np.array_equal(backward.events.destination_center, forward.events.origin_center[::-1])
    assert np.abs(backward.events.time - (19.9 - forward.events.time[::-1])).max() < 0.11
    assert np.abs(backward.events.displacement + forward.events.displacement[::-1]).max() < 0.06
    kinds = {name: hop_matrix(r).counts for name, r in (("forward", forward), ("backward", backward))}
    assert kinds["forward"][0, 2] == kinds["backward"][1, 3]
    assert kinds["forward"][1, 3] == kinds["backward"][0, 2]
    assert kinds["forward"][1, 1] == kinds["backward"][1, 1]


def test_other_elements():
    ion = path((0, site(A)), (6.05, site(A2)))
    run = make([ion], center="Ta", ligand="O", carrier="Na")
    result = hops(run, "Ta", ("O", "Cl"), "Na", cutoffs={"O": 2.5, "Cl": 2.9}, chain_cutoff=4.5)
    assert (result.n_hops, result.labels[:5]) == (1, ("TaCl4", "TaOCl3", "TaO2Cl2", "TaO3Cl", "TaO4"))
    assert hops(run, "Ta", ("O",), "Na", cutoffs={"O": 2.5}, rule="bridge").n_hops == 1
    with pytest.raises(InputError, match="no default distance"):
        hops(run, "Ta", ("O",), "Na", cutoffs={"O": 2.5})


def test_without_an_element_the_result_is_empty():
    run = make([path((0, site(A)), (6.05, site(A2)))])
    for options, missing in (
        ({"carrier": "Na"}, "Na"),
        ({"center": "P", "cutoffs": {"O": 2, "Cl": 2}, "chain_cutoff": 4.0}, "P"),
        ({"ligands": ("O",)}, "O"),
        ({"ligands": ()}, "ligand"),
    ):
        result = hops(run, **options)
        assert (result.status, result.n_hops, result.by_tau) == ("empty", 0, ())
        assert result.reason == f"there is no {missing}"
        assert hop_matrix(result).counts.sum() == 0
        assert hop_classes(result).total.share.value is None
        assert enrichment(result).status == "empty"
        assert dwell_curve(result).status == "insufficient"
        assert jump_diffusion(result).status == "insufficient"
        assert HopResult.model_validate_json(result.model_dump_json()).n_hops == 0


def test_unbonded_ligands_are_no_hosts():
    framework = np.array([[0.0, 0, 0], [5, 0, 0]])
    positions = np.array([[*framework, [5, 2.0, 0]]] * 60)
    run = Trajectory(("Al", "Cl", "Li"), positions, 14 * np.eye(3), 0.1)
    assert hops(run).status == "empty"
    assert "bond cutoffs" in hops(run).reason


@pytest.mark.parametrize(("n_frames", "status"), [(1, "insufficient"), (21, "insufficient"), (22, "ok")])
def test_a_run_without_room_for_two_dwells(n_frames, status):
    run = make([path((0, site(A)), (1.05, site(A2)), n_frames=200, ramp=1)[:n_frames]])
    result = hops(run, window=0)
    assert result.status == status, result.reason
    assert result.n_hops == (status == "ok")
    assert not result.by_tau or [c.tau for c in result.by_tau] == [0.5, 1.0]


def test_frames_too_far_apart_for_the_dwell_time():
    run = make([path((0, site(A)), (9.05, site(A2)), ramp=1)])
    coarse = Trajectory(run.species, run.positions[::6], CELL, 0.6)
    result = hops(coarse)
    assert result.status == "insufficient"
    assert "do not resolve" in result.reason
    assert hops(coarse, tau=1.2).n_hops == 1


def test_ions_that_stay():
    result = hops(make([path((0, site(A)))] * 2, noise=0.15))
    assert (result.status, result.n_hops, result.n_moves) == ("ok", 0, 0)
    total = hop_classes(result).total
    assert total.rate.value == 0
    # -ln(0.025) events at most in 2 ions x 17.9 ps.
    assert total.rate.interval == (0.0, pytest.approx(3.689 / (2 * 17.9e-3), rel=1e-3))
    assert total.share.interval is None
    diffusion = jump_diffusion(result)
    assert (diffusion.status, diffusion.value, diffusion.standard_error) == ("insufficient", 0.0, None)
    assert dwell_curve(result, "persistence").n_censored == 2


def test_varying_cells_are_refused():
    run = make([path((0, site(A)))])
    cells = CELL * np.linspace(1, 1.01, 200)[:, None, None]
    with pytest.raises(TrajectoryError, match="cell varies"):
        hops(Trajectory(run.species, run.positions, cells, DT))


@pytest.mark.parametrize(
    "options",
    [
        {"tau": 0.0},
        {"tau": -1.0},
        {"tau": math.nan},
        {"window": -0.1},
        {"gap": -0.1},
        {"min_distance": math.inf},
        {"back_jump_time": -1.0},
        {"chain_cutoff": 0.0},
        {"rule": "angle"},
        {"stride": 0},
        {"carrier": "Al"},
        {"carrier": "Cl"},
        {"ligands": ("Cl", "Cl")},
        {"center": "P"},
    ],
)
def test_parameters_without_meaning_are_refused(options):
    with pytest.raises(InputError):
        hops(make([path((0, site(A)))]), **options)


def test_coordinates_thousands_of_cells_away_are_refused():
    run = make([path((0, site(A)))])
    with pytest.raises(TrajectoryError, match="thousand cells"):
        hops(Trajectory(run.species, run.positions + 1e5, CELL, DT))


def test_the_stride_samples_every_tenth_of_a_picosecond():
    ion = path((0, site(A)), (9.05, site(A2)), ramp=1)
    coarse = make([ion])
    run = Trajectory(coarse.species, np.repeat(coarse.positions, 10, axis=0), CELL, 0.01, 100.0)
    result = hops(run)
    assert (result.interval, result.n_hops) == (pytest.approx(0.1), 1)
    # Frame 910 is the first after the jump.
    assert result.events.time[0] == pytest.approx(109.095, abs=0.06)
    assert hops(run, stride=5).interval == pytest.approx(0.05)


def test_types_and_enrichment_of_known_shares():
    # Three tetrahedra with a terminal ligand up: AlCl4, AlOCl3 (an O below) and, without neighbors, AlO2Cl2.
    down = 2.0 * np.array([[1, -0.35, 0], [-0.5, -0.35, 0.87], [-0.5, -0.35, -0.87]])
    centers = np.array([[3.0, 4, 4], [11, 4, 4], [19, 4, 4]])
    species, atoms = [], []
    for k, center in enumerate(centers):
        species += ["Al", "Cl", *["O"] * k, *["Cl"] * (3 - k)]
        atoms += [center, center + UP, *(center + down)]
    above = [centers[k] + 2 * UP for k in range(2)]
    # Ion 0 stays with AlCl4; ion 1 spends a quarter of its time with AlOCl3, and hops twice.
    ions = [
        np.broadcast_to(above[0], (400, 3)),
        path((0, above[0]), (15.05, above[1]), (25.05, above[0]), n_frames=400),
    ]
    positions = np.concatenate(
        [np.broadcast_to(np.array(atoms), (400, 15, 3)), np.stack(ions, axis=1)], axis=1
    )
    run = Trajectory((*species, "Li", "Li"), positions, np.diag([24.0, 14, 12]), DT)
    result = hops(run)
    assert result.labels[:5] == TETRAHEDRA
    assert result.structure_counts[:5].tolist() == [400, 400, 400, 0, 0]
    assert result.neighbor_counts[:, :5].tolist() == [[400, 0, 0, 0, 0], [300, 100, 0, 0, 0]]
    both = enrichment(result)
    assert both.event_count.tolist() == [2, 2, 0, 0, 0]
    assert both.event_share[:3] == (0.5, 0.5, 0.0)
    assert both.structure_share[:3] == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    assert both.neighbor_share[:3] == (0.875, 0.125, 0.0)
    assert both.enrichment[:3] == (pytest.approx(0.5 / 0.875), 4.0, None)
    assert both.structure_enrichment[:4] == (pytest.approx(1.5), pytest.approx(1.5), 0.0, None)
    low, high = both.enrichment_interval[1]
    assert 0 < low < 4 < high <= 8
    assert enrichment(result, "origin").event_count.tolist() == [1, 1, 0, 0, 0]
    with pytest.raises(InputError, match="not one of"):
        enrichment(result, "middle")


def test_dwell_curve_of_known_dwells():
    # Exchange: 4 and 6 ps, then 3.85 and 8.85 ps until nothing could be seen any more.
    ions = [
        path((0, site(A)), (5.05, site(A2)), (9.05, site(A)), (15.05, site(A2)), n_frames=200),
        path((0, site(A)), (10.05, site(A2)), n_frames=200),
        path((0, site(A)), n_frames=200),
    ]
    result = hops(make(ions))
    curve = dwell_curve(result)
    assert (curve.n_dwells, curve.n_censored) == (4, 2)
    # By hand: at 3.85 one is cut; at 4 one of three ends, at 6 one of two.
    survival = np.interp([0, 3.95, 4.05, 5.95, 6.05], curve.lag, curve.survival)
    steps = {round(float(t), 1): s for t, s in zip(curve.lag, curve.survival, strict=True)}
    assert steps[4.0] == pytest.approx(2 / 3)
    assert steps[6.0] == pytest.approx(1 / 3)
    assert survival[0] == 1
    assert np.all(np.diff(curve.survival) <= 0)
    assert np.all((curve.lower <= curve.survival) & (curve.survival <= curve.upper))
    assert curve.mean == pytest.approx((4 + 6 + 3.85 + 8.85) / 2, abs=0.1)
    assert curve.mean_interval[0] < curve.mean < curve.mean_interval[1]
    first = dwell_curve(result, "persistence")
    assert (first.n_dwells, first.n_censored) == (3, 1)
    assert first.mean == pytest.approx((4.05 + 9.05 + 17.9) / 2, abs=0.1)
    with pytest.raises(InputError, match="neither"):
        dwell_curve(result, "life")


def test_jump_diffusion_adds_squares():
    ions = [path((0, site(A)), (6.05, site(A2)), ramp=1), path((0, site(A)))]
    result = hops(make(ions), window=0)
    value = jump_diffusion(result)
    assert value.value == pytest.approx(3.6**2 / (6 * 2 * 17.9) * 1e-4)
    # One of two ions hops: the sum is as uncertain as it is large.
    assert value.standard_error == pytest.approx(value.value)
    moving = hops(make([path((0, site(A, side=0.9)), (6.05, site(A, side=-0.9)), ramp=1)]), window=0)
    assert jump_diffusion(moving).value == 0
    assert jump_diffusion(moving, with_moves=True).value == pytest.approx(
        (2 * 2.1 * math.sin(0.9)) ** 2 / (6 * 17.9) * 1e-4
    )
    assert jump_diffusion(moving, with_moves=True).standard_error > 0
