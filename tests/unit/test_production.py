"""What is read off a production run: a glass with transport, or a refusal with its reason and none."""

import gzip

import numpy as np
import pytest
from ase.build import make_supercell
from jobflow import CURRENT_JOB, JobStore
from maggma.stores import MemoryStore

from laoc_flows.analysis import Analysis
from laoc_flows.blobs import get_blob
from laoc_flows.engines.lammps import THERMO_COLUMNS, LammpsRun, StageRun
from laoc_flows.flows.production import _Made
from laoc_flows.schemas.base import Provenance
from laoc_flows.schemas.config import Production
from laoc_flows.schemas.glass import GlassStatus
from laoc_flows.schemas.potential import PotentialDocument
from laoc_flows.schemas.protocol import SoftCore

SETTINGS = Production(
    supercell=(1, 1, 1), melt_time=5, quench_rate=200, npt_time=2, nvt_time=4, frame_interval=0.05
)
PROVENANCE = Provenance(campaign_id="c", campaign_seed=1, composition_id="x1.000-y0.000", stage="production")


@pytest.fixture(autouse=True)
def store():
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore(key="blob_uuid")})
    store.connect()
    CURRENT_JOB.store = store
    yield store
    CURRENT_JOB.reset()


@pytest.fixture(scope="module")
def cell(lialcl4):
    return make_supercell(lialcl4, np.diag([2, 1, 1]))


@pytest.fixture(scope="module")
def potential():
    return PotentialDocument(
        key="p", campaign_id="c", iteration=0, level_of_theory="l", models=(), soft_core=SoftCore(), dataset_digest="d",
        n_train=1, n_test=1, held_out={}, parent=None,
    )  # fmt: skip


def stage_run(stage, cell, positions):
    n = len(positions)
    thermo = np.ones((n, len(THERMO_COLUMNS)))
    thermo[:, THERMO_COLUMNS.index("density")] = np.linspace(1.9, 2.1, n)
    thermo[:, THERMO_COLUMNS.index("temperature")] = 300.0
    return StageRun(stage, np.arange(n) * 25, positions, np.array([cell.cell.array] * n), thermo)


def made(cell, *, melt_step=0.05, move=None, stages=4, failure="", li_step=0.0):
    rng = np.random.default_rng(0)
    parts = []
    for index, stage in enumerate(SETTINGS.stages()[:stages]):
        n = 81
        positions = np.array([cell.positions] * n) + rng.normal(scale=0.02, size=(n, len(cell), 3))
        if stage.name == "melt":
            directions = rng.normal(size=(len(cell), 3))
            directions /= np.linalg.norm(directions, axis=1)[:, None]
            positions += np.arange(n)[:, None, None] * melt_step * directions
        if stage.name == "nvt":
            li = np.array(cell.get_chemical_symbols()) == "Li"
            positions[:, li] += li_step * rng.normal(size=(n, li.sum(), 3)).cumsum(axis=0)
            if move is not None:
                positions[n // 2 :, move[0]] = positions[n // 2 :, move[1]] + [0, 0, move[2]]
        parts.append(stage_run(stage, cell, positions))
        assert index < stages
    return _Made(LammpsRun(tuple(cell.get_chemical_symbols()), parts, {}, failure), SETTINGS)


def result(run, potential):
    return run.result("k", potential, "x1.000-y0.000", 8, PROVENANCE, None)


def test_a_glass_has_its_structure_and_transport(cell, potential):
    structure, transport = (found := result(made(cell), potential)).structure, found.transport
    assert structure.status is GlassStatus.GLASS
    assert structure.formula == "Li8Al8Cl32"
    assert structure.tetrahedra["AlCl4"].value == 1.0
    assert structure.links_found.value == structure.links_expected == 0
    assert structure.balance.closes
    assert {chain.rule: chain.isolated_share.value for chain in structure.chains} == {
        "distance": 1.0,
        "bridge": 1.0,
    }
    assert structure.density.value == pytest.approx(2.05, abs=0.01)
    assert 2.1 < structure.pair_correlations["Al-Cl"].peak < 2.2
    assert structure.pair_correlations["Al-Cl"].coordination == pytest.approx(4.0)
    assert structure.pair_correlations["Al-Al"].coordination == 0
    assert transport.duration == pytest.approx(4.0)
    assert transport.mean_temperature.value == 300.0
    # Ions that rattle have not moved: there is nothing to conclude.
    assert transport.species["Li"].status == "insufficient"
    assert transport.species["Li"].last_msd == pytest.approx(6 * 0.02**2, rel=0.2)
    # No number without a status that allows it, and an upper bound in its place.
    assert transport.species["Li"].diffusion.value is None
    assert transport.nernst_einstein.value is None
    assert transport.nernst_einstein.upper_bound > 0
    assert (transport.hops.all.count, transport.hops.back_jumps.count) == (0, 0)
    assert set(transport.rotations) == {"Cl"}
    assert (transport.rotations["Cl"].rotating.count, transport.rotations["Cl"].exchanges.count) == (0, 0)
    assert structure.coordination["CN(Cl)"].value == 4.0
    assert structure.coordination["Q0"].value == 1.0
    assert structure.links_by_kind == {"corner": 0, "edge": 0, "face": 0}
    assert (structure.rings, structure.bridge_angle, structure.mixing) == ({}, None, None)


def test_the_whole_analysis_is_kept_with_the_document(cell, potential, store):
    transport = result(made(cell), potential).transport
    whole = Analysis.model_validate_json(gzip.decompress(get_blob(store, transport.analysis)))
    assert whole.system.formula == {"Li": 8, "Al": 8, "Cl": 32}
    assert whole.msd["Li"].value[-1] == transport.species["Li"].last_msd
    assert result(made(cell), potential).transport.analysis == transport.analysis


def test_moving_li_is_seen_and_still_chlorine_is_not(cell, potential):
    transport = result(made(cell, li_step=0.03), potential).transport
    # A walk with steps of 0.03 A along each axis: 3 * 0.03^2 per frame.
    assert transport.species["Li"].last_msd == pytest.approx(3 * 0.03**2 * 40, rel=0.6)
    assert transport.species["Cl"].last_msd < 0.01


@pytest.mark.parametrize(
    ("change", "status", "word"),
    [
        ({"melt_step": 0.001}, GlassStatus.NOT_MELTED, "Al"),
        ({"move": (20, 30, 2.0)}, GlassStatus.REACTED, "Cl-Cl"),
        ({"move": (0, 1, 1.2)}, GlassStatus.COLLAPSED, "Li-Li"),
        ({"stages": 3}, GlassStatus.STOPPED, "last stage"),
        ({"failure": "ERROR: Lost atoms"}, GlassStatus.STOPPED, "Lost atoms"),
    ],
)
def test_what_is_no_glass_is_refused_with_its_reason_and_has_no_transport(
    cell, potential, change, status, word
):
    found = result(made(cell, **change), potential)
    assert found.structure.status is status
    assert word in found.structure.reason
    assert found.transport is None


def test_documents_stay_small(cell, potential):
    found = result(made(cell), potential)
    assert len(found.model_dump_json()) < 50_000
