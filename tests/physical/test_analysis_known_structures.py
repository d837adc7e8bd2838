"""Structures whose coordination is known: LiAlCl4, fcc, rock salt, the ideal gas."""

import time

import numpy as np
import pytest
from ase.build import bulk
from pymatgen.core import Lattice, Structure

from laoc_flows.analysis import (
    DISTANCE_FLOORS,
    Frame,
    Trajectory,
    bonds,
    chains,
    coordination_number,
    distance_check,
    first_shell,
    min_distance_ratio,
    pairs,
    rdf,
    reaction_check,
    rule_disagreement,
    tetrahedra,
)


@pytest.fixture(scope="module")
def crystal():
    """LiAlCl4, P2_1/c: Mairesse, Barbier and Vignacourt, Cryst. Struct. Commun. 6, 15 (1977); COD 1004036."""
    return Structure.from_spacegroup(
        "P2_1/c",
        Lattice.monoclinic(7.007, 6.504, 12.995, 93.32),
        ["Li", "Al", "Cl", "Cl", "Cl", "Cl"],
        [
            [0.15688, 0.98308, 0.36658],
            [0.70588, 0.32198, 0.89924],
            [0.69400, 0.18329, 0.04695],
            [0.80902, 0.62835, 0.92849],
            [0.92580, 0.18160, 0.81372],
            [0.43947, 0.31364, 0.81280],
        ],
    )


def test_crystal_distances(crystal):
    assert crystal.volume == pytest.approx(591.2, abs=0.1)
    al_cl = pairs(crystal, "Al", "Cl", 2.8).distance
    assert len(al_cl) == 16
    assert (al_cl.min(), al_cl.max()) == pytest.approx((2.123, 2.154), abs=1e-3)
    li_cl = pairs(crystal, "Li", "Cl", 3.2).distance
    assert len(li_cl) == 24
    assert (li_cl.min(), li_cl.max()) == pytest.approx((2.45, 2.82), abs=5e-3)
    assert pairs(crystal, "Al", "Al", 6.0).distance.min() == pytest.approx(4.628, abs=1e-3)


def test_crystal_holds_isolated_tetrahedra(crystal):
    table = bonds(crystal)
    assert table.coordination == (4,) * 4
    assert table.sum_rule() == (0, 0)
    assert table.links_per_al == 0.0
    assert (table.n_free_anions, table.links) == (0, ())
    assert tetrahedra(crystal).counts == {"AlCl4": 4, "AlOCl3": 0, "AlO2Cl2": 0, "AlO3Cl": 0, "AlO4": 0}
    for rule in ("distance", "bridge"):
        assert chains(crystal, rule).isolated_fraction == 1.0
        assert chains(crystal, rule).counts == {1: 4}
    assert rule_disagreement(crystal).both == ()


def test_crystal_is_sane(crystal):
    assert reaction_check(crystal).passed
    assert distance_check(crystal).passed
    assert min_distance_ratio(crystal) == pytest.approx(2.1229 / DISTANCE_FLOORS["Al-Cl"], abs=1e-3)


def test_crystal_first_shell(crystal):
    rng = np.random.default_rng(0)
    positions = crystal.cart_coords + rng.normal(0, 0.08, (50, 24, 3))
    species = tuple(site.specie.symbol for site in crystal)
    thermal = Trajectory(species, positions, crystal.lattice.matrix, 1.0)
    g = rdf(thermal, "Al", "Cl")
    shell = first_shell(g)
    assert shell.peak == pytest.approx(2.14, abs=0.08)
    assert 2.5 < shell.minimum < 3.9
    assert coordination_number(g, shell.minimum) == pytest.approx(4.0, abs=1e-9)


@pytest.mark.parametrize("cubic", [True, False])
def test_fcc_shells(cubic):
    a = 4.05
    result = rdf(bulk("Al", "fcc", a=a, cubic=cubic), "Al", "Al", r_max=8.0)
    numbers = np.cumsum([12, 6, 24, 12, 24, 8])
    shells = a * np.sqrt(np.arange(1, 7) / 2)
    for k, number in enumerate(numbers):
        middle = (shells[k] + (a * np.sqrt((k + 2) / 2))) / 2
        if middle < 8.0:
            assert coordination_number(result, middle) == pytest.approx(number)
    # One atom per cell has no g, but it has neighbors.
    assert result.status == ("ok" if cubic else "empty")


def test_rock_salt_shells():
    result = rdf(bulk("LiCl", "rocksalt", a=5.13, cubic=True), "Li", "Cl", r_max=7.0)
    assert coordination_number(result, 3.0) == pytest.approx(6)
    assert coordination_number(result, 5.0) == pytest.approx(6 + 8)
    assert coordination_number(result, 6.2) == pytest.approx(6 + 8 + 24)


def test_ideal_gas_has_g_of_one():
    rng = np.random.default_rng(1)
    cell = np.array([[12.0, 0, 0], [3, 11, 0], [-2, 4, 12]])
    gas = Trajectory(("Li",) * 60 + ("Cl",) * 40, rng.random((150, 100, 3)) @ cell, cell, 1.0)
    for a, b in (("Li", "Cl"), ("Cl", "Cl"), ("Li", "Li")):
        # Beyond half the cell, but short of the shortest lattice vector.
        result = rdf(gas, a, b, r_max=10.0, bin_width=0.5)
        assert np.abs(np.array(result.g)[4:] - 1).max() < 0.03
        volume = 4 / 3 * np.pi * 10.0**3
        ideal = (gas.species.count(b) - (a == b)) * volume / abs(np.linalg.det(cell))
        assert result.coordination[-1] == pytest.approx(ideal, rel=0.005)


def test_a_whole_run_takes_seconds():
    rng = np.random.default_rng(2)
    cell = 12.8 * np.eye(3)
    species = ("Li",) * 24 + ("Al",) * 16 + ("O",) * 12 + ("Cl",) * 48
    trajectory = Trajectory(species, rng.random((500, 100, 3)) * 12.8, cell, 0.1)
    start = time.process_time()
    rdf(trajectory, "Al", "Cl")
    for k in range(trajectory.n_frames):
        frame = trajectory.frame(k)
        assert isinstance(frame, Frame)
        assert tetrahedra(frame).n_al == chains(frame).n_al == 16
    assert time.process_time() - start < 15
