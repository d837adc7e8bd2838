"""Makers: they travel unchanged, never change themselves, and run wherever jobflow runs."""

import json

import pytest
from jobflow import Flow, JobStore, run_locally
from maggma.stores import MemoryStore
from monty.json import MontyDecoder, MontyEncoder

from laoc_flows.analysis import Trajectory
from laoc_flows.blobs import BlobRef, fetch_file, get_blob
from laoc_flows.campaign.file import CampaignFile
from laoc_flows.engines.cp2k import Cp2kEngine
from laoc_flows.engines.vasp import VaspEngine
from laoc_flows.engines.xtb import XtbEngine
from laoc_flows.flows import campaign
from laoc_flows.flows.campaign import CampaignMaker
from laoc_flows.flows.committee import CommitteeMaker, TrainMaker
from laoc_flows.flows.explore import ExploreMaker
from laoc_flows.flows.production import GlassMaker, ProductionMaker
from laoc_flows.flows.reference_production import ReferenceProductionMaker
from laoc_flows.flows.seeds import PackMaker, SeedMaker
from laoc_flows.frames import decode_frames
from laoc_flows.jobs import laoc_job
from laoc_flows.schemas.base import Provenance
from laoc_flows.schemas.config import ReferenceProduction
from laoc_flows.schemas.label import LabelBatch, MDResult
from laoc_flows.schemas.protocol import LabelLimits
from tests.integration.test_campaign_run import TINY


@pytest.fixture(scope="module")
def spec():
    return CampaignFile.load(TINY).spec()


@pytest.fixture(scope="module")
def makers(spec):
    stages = spec.melt_quench.protocol.stages()
    return [
        PackMaker("x1.000-y0.000", 2),
        XtbEngine(accuracy=7).static_maker(LabelLimits(max_force=20)),
        XtbEngine(accuracy=7).md_maker(stages, time_step=2.0, frame_every=4),
        VaspEngine(preset="paper").md_maker(stages, time_step=1.0, frame_every=2, label_every=4),
        Cp2kEngine().static_maker(),
        SeedMaker(spec.engine, spec.melt_quench, LabelLimits()),
        ReferenceProductionMaker(spec.engine, ReferenceProduction(), LabelLimits()),
        TrainMaker(spec.learning),
        CommitteeMaker(spec.learning),
        ExploreMaker(spec.learning),
        GlassMaker(spec.production),
        ProductionMaker(spec.production),
        CampaignMaker(spec),
    ]


def test_makers_come_back_equal_from_json(makers):
    for maker in makers:
        again = json.loads(json.dumps(maker, cls=MontyEncoder), cls=MontyDecoder)
        assert type(again) is type(maker)
        assert _comparable(again) == _comparable(maker)


def _comparable(maker):
    return {k: list(v) if isinstance(v, (list, tuple)) else v for k, v in vars(maker).items()}


def test_makers_do_not_change_themselves(spec):
    maker = CampaignMaker(spec)
    before = json.dumps(maker, cls=MontyEncoder, sort_keys=True)
    flows = [maker.make(), maker.make()]
    assert json.dumps(maker, cls=MontyEncoder, sort_keys=True) == before
    names = [[job.name for job, _ in flow.iterflow()] for flow in flows]
    assert sorted(names[0]) == sorted(names[1])
    for job, _ in flows[0].iterflow():
        assert job.metadata["laoc"]["campaign"] == spec.campaign_id
        assert job.metadata["laoc"]["stage"] in {"seed", "train"}


def test_a_seed_runs_under_run_locally_and_its_work_is_never_repeated(spec, tmp_path, monkeypatch):
    monkeypatch.setenv("LAOC_WORKSPACE", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore(key="blob_uuid")})
    provenance = Provenance(campaign_id="c", campaign_seed=1, composition_id="x1.000-y0.500", stage="seed")
    maker = SeedMaker(spec.engine, spec.melt_quench, LabelLimits())
    run_locally(maker.make("x1.000-y0.500", 2, provenance), store=store, ensure_success=True, log=False)
    outputs = {row["name"].split()[0]: row["output"] for row in store.docs_store.query()}
    run = MDResult.model_validate(_plain(outputs["melt-quench"]))
    assert run.status == "completed"
    assert run.n_steps == sum(stage.steps(2.0) for stage in spec.melt_quench.protocol.stages())
    assert len(run.labels.records) == run.n_steps // 2
    strained = LabelBatch.model_validate(_plain(outputs["label"]))
    assert len(strained.records) == 1
    assert strained.provenance.trajectory_id == run.provenance.trajectory_id
    frames = decode_frames(get_blob(store, run.labels.shard))
    trajectory = Trajectory.read(fetch_file(run.trajectory, tmp_path / "t.h5"))
    assert trajectory.n_frames == len(frames)
    assert trajectory.time_step == pytest.approx(0.004)
    converged = [record for record in run.labels.records if record.index is not None]
    assert [frames[r.index].get_potential_energy() for r in converged] == pytest.approx(
        [r.energy for r in converged]
    )

    # Again, with the engine taken away: everything is found by its content.
    monkeypatch.setattr(XtbEngine, "calculator", lambda _: pytest.fail("the engine was asked again"))
    run_locally(maker.make("x1.000-y0.500", 2, provenance), store=store, ensure_success=True, log=False)
    again = [row["output"] for row in store.docs_store.query() if row["name"].startswith("melt-quench")]
    assert len(again) == 2
    assert again[0] == again[1]


def test_seeds_of_a_large_grid_are_added_by_jobs_and_come_to_the_same(spec, tmp_path, monkeypatch):
    monkeypatch.setenv("LAOC_WORKSPACE", str(tmp_path))
    whole = CampaignMaker(spec).make()
    monkeypatch.setattr(campaign, "TOGETHER", 1)
    flow = CampaignMaker(spec).make()
    *adding, dataset = [job for job, _ in flow.iterflow()]
    assert [job.name for job in adding] == [f"seeds {name} to {name}" for name in spec.cells]
    assert set(dataset.input_uuids) == {job.uuid for job in adding}
    names = []
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore(key="blob_uuid")})
    store.connect()
    for job in adding:
        job.update_config({"manager_config": {"lane": "light"}}, dynamic=True)
        again = json.loads(json.dumps(job, cls=MontyEncoder), cls=MontyDecoder)
        response = again.run(store)
        added = [each for each, _ in response.replace.iterflow()]
        names += [each.name for each in added if each.metadata["laoc"]["step"] != "seeds"]
        # What comes together waits for every job, also for one that fails and runs again.
        (last,) = [each for each in added if each.name == "seeds together"]
        assert last.config.on_missing_references.value == "error"
        assert len(last.input_uuids) > 2
        (stored,) = [each for each in added if each.uuid == job.uuid]
        assert set(stored.input_uuids) == {last.uuid}
        assert {each.metadata["laoc"]["campaign"] for each in added} == {spec.campaign_id}
        # Also what puts the results together goes where the settings say.
        assert {each.config.manager_config.get("lane") for each in added} == {"light"}
    assert sorted(names) == sorted(job.name for job, _ in whole.iterflow() if job.name != dataset.name)


def test_what_jobs_have_added_comes_together(spec, tmp_path, monkeypatch):
    monkeypatch.setenv("LAOC_WORKSPACE", str(tmp_path))
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore(key="blob_uuid")})
    maker = SeedMaker(spec.engine, spec.melt_quench, LabelLimits())
    provenance = Provenance(campaign_id="c", campaign_seed=1, composition_id="x1.000-y0.500", stage="start")
    request = campaign.SeedRequest(composition_id="x1.000-y0.500", n_al=2, provenance=provenance)
    adding = campaign.add_seeds(maker, [], [request])
    together = gathered([adding.output])
    run_locally(Flow([adding, together]), store=store, ensure_success=True, log=False)
    found = store.get_output(together.uuid)
    assert found["batches"] == []
    (blob,) = found["starts"]["x1.000-y0.500"]
    (frame,) = decode_frames(get_blob(store, BlobRef(**_plain(blob))))
    assert frame.get_chemical_formula() == "Al2Cl6Li2O"


@laoc_job()
def gathered(parts):
    return parts[0]


def _plain(value):
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items() if not k.startswith("@")}
    return [_plain(item) for item in value] if isinstance(value, list) else value
