"""Probes with models that are models and nothing more: each runs alone, from the same start, or says why it cannot."""

import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from jobflow import JobStore, run_locally
from maggma.stores import MemoryStore

from laoc_flows.blobs import put_blob
from laoc_flows.engines.packing import pack
from laoc_flows.engines.xtb import XtbEngine
from laoc_flows.flows import probe as module
from laoc_flows.flows.probe import ProbeMaker, member_properties
from laoc_flows.frames import MEDIA_TYPE, encode_frames
from laoc_flows.learning.properties import property_checks
from laoc_flows.learning.train import train_model
from laoc_flows.schemas.base import Provenance
from laoc_flows.schemas.learning import Probe
from laoc_flows.schemas.potential import PotentialDocument, TrainedModel
from laoc_flows.schemas.probe import ProbeDocument
from laoc_flows.schemas.protocol import SoftCore
from laoc_flows.schemas.training import Training

COMPOSITION = "x1.000-y0.500"
CORE = SoftCore()
COLD = Probe(temperature=100, npt_time=0.04, nvt_time=0.08, time_step=0.5, frame_interval=0.005)


@pytest.fixture(scope="module", autouse=True)
def workspace(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        directory = tmp_path_factory.mktemp("ws")
        patch.setenv("LAOC_WORKSPACE", str(directory))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield directory


@pytest.fixture(scope="module")
def store():
    made = JobStore(MemoryStore(), additional_stores={"data": MemoryStore(key="blob_uuid")})
    made.connect()
    return made


@pytest.fixture(scope="module")
def frame(tmp_path_factory):
    return pack(["Li"] * 2 + ["Al"] * 2 + ["O"] + ["Cl"] * 6, 6.6, 5, tmp_path_factory.mktemp("pack"))


@pytest.fixture(scope="module")
def potential(frame, store, tmp_path_factory):
    rng = np.random.default_rng(0)
    moved = [frame.copy() for _ in range(6)]
    for atoms in moved:
        atoms.positions += rng.normal(scale=0.05, size=atoms.positions.shape)
    points = XtbEngine(accuracy=100).single_points(moved, tmp_path_factory.mktemp("xtb"))
    for atoms, point in zip(moved, points, strict=True):
        atoms.calc = SinglePointCalculator(
            atoms, energy=point.energy, forces=point.forces, stress=point.stress
        )
    training = Training(
        steps=60, neuron=(8, 16), axis_neuron=4, fitting=(20, 20), start_lr=5e-3, stop_lr=1e-4
    )
    models = []
    for seed in (1, 2):
        files, attempts = train_model(moved, training, CORE, seed, tmp_path_factory.mktemp(f"m{seed}"))
        assert files is not None, attempts
        models.append(
            TrainedModel(
                key=f"m{seed}",
                campaign_id="c",
                dataset_digest="d",
                seed=seed,
                iteration=0,
                model=put_blob(store, files.model.read_bytes(), "application/x-tensorflow-graph"),
                n_train=files.n_train,
                n_left_out=files.n_left_out,
                steps=files.steps,
                sel=files.sel,
                final_force_loss=files.final_force_loss,
                parity_force=files.parity_force,
                parity_energy=files.parity_energy,
                versions=files.versions,
            )
        )
    return PotentialDocument(
        key="p",
        campaign_id="c",
        iteration=0,
        level_of_theory="GFN1-xTB",
        # The third is the first once more.
        models=(*models, models[0]),
        soft_core=CORE,
        dataset_digest="d",
        n_train=6,
        n_test=0,
        held_out={},
        parent=None,
    )


def probed(store, potential, frame, index, probe=COLD):
    start = put_blob(store, encode_frames([frame]), MEDIA_TYPE)
    provenance = Provenance(campaign_id="c", campaign_seed=1, composition_id=COMPOSITION, stage="probe")
    job = ProbeMaker(probe).make(potential, index, start, provenance)
    outputs = run_locally(job, store=store, ensure_success=True, log=False)
    return ProbeDocument.model_validate(outputs[job.uuid][1].output)


def test_every_model_runs_alone_from_the_same_start(store, potential, frame, monkeypatch):
    calls = []
    real = module.run_lammps

    def spied(atoms, models, core, stages, **rest):
        calls.append((len(models), [stage.ensemble for stage in stages], rest["seed"]))
        return real(atoms, models, core, stages, **rest)

    monkeypatch.setattr(module, "run_lammps", spied)
    found = [probed(store, potential, frame, index) for index in range(3)]
    assert [each.status for each in found] == ["completed"] * 3
    # Two runs for either model; the third, whose content is the first's, is never run.
    assert [call[:2] for call in calls] == [(1, ["npt"]), (1, ["nvt"])] * 2
    assert calls[0][2] == calls[2][2]
    assert calls[1][2] == calls[3][2]
    assert calls[0][2] != calls[1][2]
    assert [each.index for each in found] == [0, 1, 2]
    assert found[2] == found[0].model_copy(update={"index": 2})
    assert found[0].density != found[1].density
    # Every 5 fs of 80 fs, without the start.
    assert found[0].n_frames in {15, 16}
    assert found[0].core_hours > 0
    # Nothing diffuses in 80 fs.
    assert found[0].diffusion is None
    assert found[0].diffusion_status == "insufficient"
    # The cell has hardly changed its volume.
    mass = frame.get_masses().sum() * 1.66053907
    assert found[0].density.value == pytest.approx(mass / frame.get_volume(), rel=0.2)

    members = [member_properties(store, each) for each in found]
    same = {check.name: check for check in property_checks(COMPOSITION, [members[0], members[2]], COLD)}
    assert same["density"].difference == 0
    assert same["g(r)"].difference == 0
    assert same["diffusion"].status == "cannot tell"
    assert "Al-Cl" in members[0].pairs


def test_another_tolerance_runs_nothing_again(store, potential, frame, monkeypatch):
    first = probed(store, potential, frame, 0)
    monkeypatch.setattr(module, "run_lammps", lambda *_, **__: pytest.fail("it was run again"))
    assert probed(store, potential, frame, 0, COLD.model_copy(update={"density": 0.5})) == first


def test_a_run_that_leaves_physics_is_a_result(store, potential, frame):
    hot = Probe(temperature=6000, npt_time=1, nvt_time=1, time_step=5, frame_interval=0.005)
    found = probed(store, potential, frame, 0, hot)
    assert found.status.startswith("failed: npt: ")
    assert found.rdf is None
    member = member_properties(store, found)
    checks = property_checks(COMPOSITION, [member, member], hot)
    assert {check.status for check in checks} == {"differ"}
