"""Neighbor search against all images by brute force."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laoc_flows.analysis import Frame, pairs
from laoc_flows.errors import InputError


def random_frame(seed, n_atoms=7):
    """A few atoms, far outside the cell too, in a small skewed cell of either handedness."""
    rng = np.random.default_rng(seed)
    cell = np.diag(rng.uniform(2.5, 5.0, 3)) + rng.uniform(-1.2, 1.2, (3, 3))
    cell[2] *= rng.choice([-1, 1])
    positions = rng.uniform(-3, 3, (n_atoms, 3)) @ cell
    return Frame(tuple(rng.choice(["Al", "Cl", "Li"], n_atoms)), positions, cell)


def brute_force(frame, a, b, cutoff):
    reach = range(-12, 13)
    found = {}
    for i, j in itertools.product(frame.indices(a), frame.indices(b)):
        for n in itertools.product(reach, reach, reach):
            if i == j and not any(n):
                continue
            d = np.linalg.norm(frame.positions[j] - frame.positions[i] + np.array(n) @ frame.cell)
            if d < cutoff:
                found[int(i), int(j), n] = d
    return found


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**31), elements=st.sampled_from([("Al", "Cl"), ("Cl", "Cl")]))
def test_finds_every_image(seed, elements):
    frame = random_frame(seed, n_atoms=4)
    found = pairs(frame, *elements, 4.2)
    keys = zip(found.i.tolist(), found.j.tolist(), map(tuple, found.image.tolist()), strict=True)
    found = dict(zip(keys, found.distance.tolist(), strict=True))
    # A wide range of images is searched by hand, because unwrapped atoms are many cells apart.
    expected = brute_force(frame, *elements, 4.2)
    assert found.keys() == expected.keys()
    assert all(found[key] == pytest.approx(expected[key], abs=1e-9) for key in expected)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_directions(seed):
    frame = random_frame(seed)
    there, back = pairs(frame, "Al", "Cl", 5.0), pairs(frame, "Cl", "Al", 5.0)
    assert sorted(there.distance) == sorted(back.distance)
    same = pairs(frame, "Cl", "Cl", 5.0)
    keys = set(zip(same.i, same.j, map(tuple, same.image), same.distance, strict=True))
    assert len(keys) == len(same.i)
    assert {(j, i, tuple(-k for k in n), d) for i, j, n, d in keys} == keys
    elements = ("Al", "Cl", "Li")
    n_all = sum(len(pairs(frame, a, b, 5.0).i) for a in elements for b in elements)
    assert len(pairs(frame, None, None, 5.0).i) == n_all
    assert len(pairs(frame, None, "Cl", 5.0).i) == sum(len(pairs(frame, a, "Cl", 5.0).i) for a in elements)


def test_an_atom_sees_its_own_images_but_not_itself():
    found = pairs(Frame(("Al",), [[50.0, -7.0, 1.0]], 3 * np.eye(3)), "Al", "Al", 3.001)
    assert len(found.i) == 6
    assert np.allclose(found.distance, 3.0)
    assert found.image.any(axis=1).all()


def test_coincident_atoms_are_a_contact():
    found = pairs(Frame(("Al", "Cl"), [[0, 0, 0], [9, 0, 0]], 9 * np.eye(3)), "Al", "Cl", 1.0)
    assert found.distance.tolist() == [0.0]
    assert found.image.tolist() == [[-1, 0, 0]]


def test_the_cutoff_is_exclusive():
    frame = Frame(("Al", "Cl"), [[0, 0, 0], [2.5, 0, 0]], 20 * np.eye(3))
    assert len(pairs(frame, "Al", "Cl", 2.5).i) == 0
    assert len(pairs(frame, "Al", "Cl", 2.5000001).i) == 1


def test_absent_elements_and_senseless_cutoffs():
    frame = Frame(("Al",), [[0, 0, 0]], 9 * np.eye(3))
    empty = pairs(frame, "Al", "O", 3.0)
    assert (empty.i.shape, empty.image.shape) == ((0,), (0, 3))
    for cutoff in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(InputError, match="cutoff"):
            pairs(frame, "Al", "Al", cutoff)
