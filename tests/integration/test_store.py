"""Builders, queries and blobs in a real MongoDB, out of jobs that really ran."""

import contextlib
import csv
import io
import json
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import bson
import joblib
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from jobflow import Flow, JobStore, run_locally
from maggma.stores import MemoryStore
from rich.console import Console
from typer.testing import CliRunner

from laoc_flows.blobs import BlobRef, FileRef, digest_json, publish_file, put_blob
from laoc_flows.cli.main import app
from laoc_flows.cli.query import draw, print_compositions, render
from laoc_flows.composition import Cell, Composition
from laoc_flows.engines.custody import failure_log
from laoc_flows.errors import QueryError, ServiceError
from laoc_flows.frames import MEDIA_TYPE, encode_frames, geometry_key
from laoc_flows.jobs import laoc_job, stamp
from laoc_flows.schemas.base import Provenance
from laoc_flows.schemas.dataset import Dataset
from laoc_flows.schemas.glass import (
    ChainSummary,
    GlassStatus,
    LinkBalance,
    Measured,
    ProductionResult,
    StructureDocument,
)
from laoc_flows.schemas.iteration import IterationDocument, StratumReport
from laoc_flows.schemas.label import (
    Attempt,
    Correction,
    LabelBatch,
    LabelRecord,
    LabelStatus,
    MDResult,
    MeltRecord,
    StageRecord,
)
from laoc_flows.schemas.potential import HeldOutError, PotentialDocument, SoftCore, TrainedModel
from laoc_flows.schemas.protocol import DISTANCE_FLOOR
from laoc_flows.schemas.transport import Estimate, SpeciesTransport, TransportDocument
from laoc_flows.store import incremental
from laoc_flows.store.builders import build_all, n_left_out
from laoc_flows.store.catalog import COLLECTIONS
from laoc_flows.store.columns import parse_columns
from laoc_flows.store.incremental import LEDGER, MAX_DOCUMENT, handle
from laoc_flows.store.laoc_store import LaocStore
from laoc_flows.store.workspace import Workspace

A, B = "x1.000-y0.750", "x0.500-y0.750"
THEORY = "tblite/GFN1-xTB/accuracy=1/Te=300K/r1"
NOTHING = dict.fromkeys(("structures", "labels", "iterations", "potentials", "transport", "compositions"), 0)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    for name in [name for name in os.environ if name.startswith("LAOC_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    place = Workspace.create(tmp_path_factory.mktemp("store") / "workspace")
    try:
        place.write_service_files()
        yield place
    finally:
        place.mongo.stop()
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if os.fsencode(place.path / "mongod" / "mongod.yaml") in path.read_bytes().split(b"\0"):
                    os.kill(int(path.parent.name), signal.SIGKILL)


@pytest.fixture
def job_store(workspace):
    """The JobStore of the workspace, empty."""
    store = workspace.job_store()
    database = handle(store.docs_store).database
    for name in database.list_collection_names():
        database[name].delete_many({})
    yield store
    store.close()


# -- what campaigns make ---------------------------------------------------------------------------------------


@laoc_job()
def emit(document):
    return document


def run(store, documents, campaign="one"):
    jobs = [emit(document) for document in documents]
    for job in jobs:
        stamp(job, campaign=campaign)
    run_locally(Flow(jobs), store=store, ensure_success=True, log=False)
    return [job.uuid for job in jobs]


def provenance(composition_id, stage="production", replica=0, campaign="one", **more):
    return Provenance(
        campaign_id=campaign,
        campaign_seed=1,
        composition_id=composition_id,
        stage=stage,
        replica=replica,
        **more,
    )


def number(value, error=0.01, unit="1"):
    return Measured(value=value, standard_error=error, unit=unit, n_independent=5)


def planned_cell(composition_id):
    composition = Composition.from_id(composition_id)
    return Cell(composition, 3 if composition.x.denominator == 3 else 4)


def cell(composition_id, shift=0.0):
    planned = planned_cell(composition_id)
    length = planned.start_length
    rng = np.random.default_rng(7)
    positions = rng.random((planned.n_atoms, 3)) * length
    positions[0, 0] += shift
    return Atoms(planned.symbols, positions=positions, cell=[length] * 3, pbc=True)


def structure(
    store, composition_id, replica=0, density=1.7, status=GlassStatus.GLASS, stage="production", **more
):
    composition = Composition.from_id(composition_id)
    atoms = cell(composition_id, 0.01 * replica)
    curves = {"r_angstrom": [0.1, 0.2], "g_Al-Cl": [0.0, 1.0]}
    distance, bridge = (
        ChainSummary(
            rule=rule,
            cutoff=4.2,
            isolated_share=number(share),
            number_weighted={"1": 1.0},
            al_weighted={"1": 1.0},
            max_dimension=0,
        )
        for rule, share in (("distance", 0.4 + 0.1 * replica), ("bridge", 0.9))
    )
    fields = {
        "key": digest_json([stage, composition_id, replica]),
        "campaign_id": "one",
        "provenance": provenance(composition_id, stage, replica),
        "status": status,
        "reason": "" if status is GlassStatus.GLASS else "Cl-Cl 1.99 A",
        "level_of_theory": f"deepmd/{THEORY}",
        "potential_key": "p0" if stage == "production" else None,
        "formula": planned_cell(composition_id).formula,
        "n_atoms": len(atoms),
        "x": float(composition.x),
        "y": float(composition.y),
        "links_expected": float(composition.links_per_al),
        "structure": put_blob(store, encode_frames([atoms]), MEDIA_TYPE),
        "melt_displacement": {"Al": 12.0, "Cl": 20.0},
        "density": number(density, unit="g/cm^3"),
        "links_found": number(0.7),
        "balance": LinkBalance(links=3, coordination_minus_bound=3, n_free_anions=0),
        "tetrahedra": {"AlCl4": number(0.4), "AlOCl3": number(0.6)}
        | ({"CN5:O2Cl3": number(0.1)} if replica else {}),
        "chains": (distance, bridge),
        "curves": put_blob(store, json.dumps(curves).encode(), "application/json"),
    }
    return StructureDocument(**(fields | more))


def transport(glass, status="diffusive", trajectory=None, last_msd=30.0):
    known = status == "diffusive"
    diffusion = Estimate(
        status=status,
        reason="",
        value=2e-7 if known else None,
        standard_error=1e-8 if known else None,
        interval=(1.8e-7, 2.2e-7) if known else None,
        upper_bound=None if known else 9e-7,
        unit="cm^2/s",
    )
    one = SpeciesTransport(
        status=status,
        reason="",
        exponent=1.0,
        n_eff=50.0,
        last_lag=10.0,
        last_msd=last_msd,
        n_windows=2,
        diffusion=diffusion,
    )
    return TransportDocument(
        key=digest_json([glass.key, "transport"]),
        campaign_id="one",
        provenance=glass.provenance,
        structure_key=glass.key,
        potential_key="p0",
        x=glass.x,
        y=glass.y,
        temperature=300.0,
        mean_temperature=number(300.0, 1.0, "K"),
        duration=20.0,
        drift="framework",
        species={"Li": one, "Cl": one.model_copy(update={"status": "insufficient"})},
        nernst_einstein=diffusion.model_copy(update={"value": 10.0 if known else None, "unit": "mS/cm"}),
        curves=glass.curves,
        trajectory=trajectory,
    )


def glass(store, composition_id, replica=0, **more):
    made = structure(store, composition_id, replica, **more)
    good = made.status is GlassStatus.GLASS
    return ProductionResult(structure=made, transport=transport(made) if good else None)


def batch(store, composition_id, shifts, *, held_out=False, campaign="one", crashed=(), replica=0):
    frames, records = [], []
    for shift in shifts:
        atoms = cell(composition_id, shift)
        key = geometry_key(atoms, THEORY)
        if shift in crashed:
            records.append(
                LabelRecord(key=key, status=LabelStatus.CRASHED, reason="no SCF", n_atoms=len(atoms))
            )
            continue
        forces = np.full((len(atoms), 3), shift)
        atoms.calc = SinglePointCalculator(atoms, energy=-100.0 - shift, forces=forces, stress=np.zeros(6))
        records.append(
            LabelRecord(
                key=key,
                status=LabelStatus.CONVERGED,
                n_atoms=len(atoms),
                energy=-100.0 - shift,
                max_force=shift,
                index=len(frames),
            )
        )
        frames.append(atoms)
    return LabelBatch(
        key=digest_json([composition_id, shifts, held_out, campaign, crashed]),
        campaign_id=campaign,
        level_of_theory=THEORY,
        provenance=provenance(composition_id, "seed", replica, campaign, held_out=held_out),
        records=tuple(records),
        shard=put_blob(store, encode_frames(frames), MEDIA_TYPE) if frames else None,
    )


def dynamics(store, labels):
    return MDResult(
        key=digest_json([labels.key, "md"]),
        campaign_id=labels.campaign_id,
        level_of_theory=THEORY,
        provenance=labels.provenance,
        status="completed",
        n_steps=10,
        time_step=2.0,
        final_frame=put_blob(store, encode_frames([cell(A)]), MEDIA_TYPE),
        trajectory=None,
        frame_interval=0.002,
        labels=labels,
    )


def potential(store, iteration=0, compositions=(A, B), rmse=0.2):
    models = tuple(
        TrainedModel(
            key=f"model-{iteration}-{index}",
            campaign_id="one",
            dataset_digest="d",
            seed=index + 1,
            iteration=iteration,
            model=put_blob(store, f"model {iteration} {index}".encode(), "application/x-tensorflow-graph"),
            n_train=10,
            n_left_out=0,
            steps=100,
            sel=(10, 10, 10, 10),
            final_force_loss=0.1,
            parity_force=0.0,
            parity_energy=0.0,
            versions={"deepmd": "3.2"},
        )
        for index in range(2)
    )
    held_out = {
        name: HeldOutError(
            n_frames=10,
            n_trajectories=1,
            force_rmse=rmse + 0.1 * position,
            force_rmse_error=0.02,
            zero_force_rmse=0.8,
            energy_rmse=0.004,
            energy_bias=0.0,
            stress_rmse=0.1,
        )
        for position, name in enumerate(compositions)
    }
    return PotentialDocument(
        key=f"p{iteration}",
        campaign_id="one",
        iteration=iteration,
        level_of_theory=THEORY,
        models=models,
        soft_core=SoftCore(radii=DISTANCE_FLOOR),
        dataset_digest="d",
        n_train=10,
        n_test=4,
        held_out=held_out,
        parent=None,
    )


def iteration(number_=0, verdict="not converged", campaign="one"):
    def stratum(name, temperature, median):
        return StratumReport(
            composition_id=name,
            temperature=temperature,
            n_frames=100,
            n_accurate=90,
            n_candidates=5,
            n_failed=3,
            n_cut=2,
            n_selected=5,
            trust_low=0.1,
            trust_high=0.3,
            median_deviation=median,
            max_deviation=10 * median,
        )

    return IterationDocument(
        key=f"i{number_}",
        campaign_id=campaign,
        iteration=number_,
        potential_key=f"p{number_}",
        verdict=verdict,
        reasons=(),
        strata=tuple(stratum(n, t, m) for n in (A, B) for t, m in ((400.0, 0.05), (1500.0, 0.12))),
        worst_force_rmse=0.3,
        n_train=10,
        n_selected=5,
        composition_verdicts={A: "converged", B: "not converged: force RMSE 0.300 >= 0.1 eV/A"},
    )


def campaign(store):
    """All that a small campaign returns."""
    return [
        dynamics(store, batch(store, A, [0.0, 0.1, 0.2])),
        dynamics(store, batch(store, A, [0.3, 0.4], held_out=True)),
        batch(store, B, [0.0, 0.1], crashed=(0.1,)),
        structure(store, A, stage="seed", status=GlassStatus.NOT_MELTED),
        potential(store),
        iteration(),
        glass(store, A, 0, density=1.6),
        glass(store, A, 1, density=1.8),
        glass(store, B, 0, status=GlassStatus.REACTED),
    ]


def dump(store):
    database = handle(store.docs_store).database
    return {name: sorted(database[name].find({}, {"_id": 0}), key=lambda d: d["key"]) for name in NOTHING}


# -- building --------------------------------------------------------------------------------------------------


def test_a_campaign_is_built_once(job_store):
    run(job_store, campaign(job_store))
    assert build_all(job_store) == {
        "structures": 4,
        "labels": 7,
        "iterations": 1,
        "potentials": 1,
        "transport": 2,
        "compositions": 2,
    }
    before = dump(job_store)
    assert build_all(job_store) == NOTHING
    assert dump(job_store) == before
    assert n_left_out(job_store) == 0
    for name, documents in before.items():
        for document in documents:
            assert len(bson.encode(document)) < MAX_DOCUMENT
            assert document["schema_version"] == (2 if name in {"compositions", "iterations"} else 1)
            assert "@class" not in json.dumps(document, default=str)
            assert "positions" not in json.dumps(document, default=str)


def melted_cell(store, replica=0, *, stage="production", rate=None, asked=None, equilibrated=True, **more):
    """A cell with everything that a controller says of its run."""
    ended = "equilibrated" if equilibrated else "not equilibrated"
    attempt = Attempt(volume=700.0, pressure=number(0.1, 0.2, "GPa"), time=2.0)
    common = {"ensemble": "nvt", "n_steps": 100, "time_step": 1.0, "first_frame": 0, "n_frames": 5}
    stages = (
        StageRecord(
            name="density",
            status=ended,
            reason="0.10 +- 0.20 GPa against 0 GPa",
            time=2.0,
            start_target=1500.0,
            end_target=1500.0,
            attempts=(attempt,),
            **common,
        ),
        StageRecord(
            name="quench",
            status="completed",
            time=8.0,
            start_target=1500.0,
            end_target=300.0,
            rate=number(rate or 1.0, 0.1, "K/ps"),
            **common,
        ),
    )
    n = 50
    profile = {
        "stage": ["density"] * n + ["quench"] * n,
        "time_ps": list(np.linspace(0.1, 10.0, 2 * n)),
        "temperature_K": [1500.0] * n + list(np.linspace(1500, 300, n)),
        "pressure_GPa": [0.1] * (2 * n),
        "potential_energy_eV": [-1.0] * (2 * n),
        "volume_angstrom3": [700.0] * (2 * n),
    }
    fields = {
        "key": digest_json([stage, A, replica, asked]),
        "provenance": provenance(A, stage, replica, quench_rate=asked),
        "melt": MeltRecord(
            passed=True, displacement={"Al": 20.0, "Cl": 30.0}, bragg=0.1, reason="melted: ..."
        ),
        "quench_rate": number(rate or 1.0, 0.1, "K/ps"),
        "stages": stages,
        "profile": put_blob(store, json.dumps(profile).encode(), "application/json"),
        "warnings": () if equilibrated else (f"density: {ended}, 0.10 +- 0.20 GPa against 0 GPa",),
    }
    return structure(store, A, replica, stage=stage, **(fields | more))


def test_runs_of_the_reference_engine_are_counted_by_themselves(job_store):
    reference = [
        melted_cell(job_store, k, stage="reference", density=9.0, potential_key=None) for k in range(3)
    ]
    moved = transport(reference[0], "subdiffusive", last_msd=7.0).model_copy(update={"potential_key": None})
    documents = [
        *campaign(job_store),
        ProductionResult(structure=reference[0], transport=moved),
        ProductionResult(structure=reference[1], transport=None),
        ProductionResult(
            structure=reference[2].model_copy(
                update={"status": GlassStatus.NOT_MELTED, "reason": "too cold"}
            ),
            transport=None,
        ),
    ]
    run(job_store, documents)
    build_all(job_store)
    found = {row["composition_id"]: row for row in LaocStore(job_store).query("compositions")}[A]
    # As without them.
    assert (found["n_glasses"], found["n_refused"], found["refusals"]) == (2, 0, [])
    assert found["density"]["value"] == pytest.approx(1.7)
    assert found["li_status"] == "diffusive"
    assert found["li_last_msd"]["value"] == pytest.approx(30.0)
    assert (found["n_reference"], found["n_reference_refused"]) == (2, 1)
    assert found["reference_li_status"] == "subdiffusive"
    assert found["reference_li_last_msd"]["value"] == pytest.approx(7.0)
    assert found["reference_li_last_lag"] == pytest.approx(10.0)
    assert found["reference_isolated_share"]["value"] == pytest.approx(0.45)
    assert set(found["sources"]["reference_structures"]).isdisjoint(found["sources"]["structures"])
    assert len(found["sources"]["reference_structures"]) == 3
    text = printed(job_store, "compositions")
    assert "run with the reference engine: 2 glasses, 1 refused, Al_iso 0.450" in text
    assert "Li subdiffusive, MSD(Li) 7 A^2 at 10 ps" in text


def test_several_quench_rates_are_an_ensemble_each_and_the_slowest_is_the_headline(job_store):
    made = [
        melted_cell(job_store, 0, asked=100.0, rate=99.0, density=1.4),
        melted_cell(job_store, 1, asked=100.0, rate=101.0, density=1.6),
        melted_cell(job_store, 2, asked=1.0, density=1.8),
        melted_cell(job_store, 3, asked=1.0, density=2.5, status=GlassStatus.REACTED, equilibrated=False),
    ]
    documents = [
        ProductionResult(
            structure=each, transport=transport(each) if each.status is GlassStatus.GLASS else None
        )
        for each in made
    ]
    run(job_store, documents)
    build_all(job_store)
    (found,) = LaocStore(job_store).query("compositions")
    assert (found["quench_rate"], found["n_glasses"], found["n_refused"]) == (1.0, 1, 1)
    assert found["density"]["value"] == pytest.approx(1.8)
    slow, fast = found["by_rate"]
    assert (slow["quench_rate"], slow["n_glasses"], slow["n_refused"]) == (1.0, 1, 1)
    assert (fast["quench_rate"], fast["n_glasses"], fast["n_refused"]) == (100.0, 2, 0)
    assert fast["density"]["value"] == pytest.approx(1.5)
    assert fast["density"]["standard_error"] == pytest.approx(0.1)
    assert fast["isolated_share"]["value"] == pytest.approx(0.45)
    assert fast["li_diffusion"]["value"] == pytest.approx(2e-7)
    text = printed(job_store, "compositions")
    assert "1 K/ps: 1 glasses, 1 refused, density 1.800(10), Al_iso 0.600(10), D(Li) 2.0" in text
    assert "100 K/ps: 2 glasses, 0 refused, density 1.50(10)" in text
    store = LaocStore(job_store)
    assert len(store.query("structures", "asked_quench_rate > 10")) == 2
    assert len(store.query("structures", "quench_rate > 100.5")) == 1


def test_how_a_cell_was_made_can_be_asked_for_and_drawn(job_store, tmp_path):
    run(
        job_store,
        [
            melted_cell(job_store, 0, asked=120.0, rate=118.0),
            melted_cell(job_store, 1, asked=120.0, equilibrated=False),
            structure(job_store, B, stage="seed", status=GlassStatus.NOT_MELTED),
        ],
    )
    build_all(job_store)
    store = LaocStore(job_store)
    assert len(store.query("structures", "melted = true")) == 2
    (warned,) = store.query("structures", "equilibration = 'not equilibrated'")
    assert warned["warnings"] == ["density: not equilibrated, 0.10 +- 0.20 GPa against 0 GPa"]
    assert len(store.query("structures", "melt.bragg < 0.5")) == 2
    text = printed(job_store, "structures")
    header, first, *_ = text.splitlines()
    for word in ("status", "melted", "asked", "K/ps", "pressure"):
        assert word in header
    assert "yes (10 %)" in first or "yes (10 %)" in text
    assert "118.00(10)" in text
    assert f"{A} production 1: density: not equilibrated, 0.10 +- 0.20 GPa against 0 GPa" in text
    assert f"{B} seed 0: Cl-Cl 1.99 A" in text
    drawn = draw(store, store.query("structures"), tmp_path / "figures")
    assert len(drawn) == 2
    assert all(path.name.startswith(f"melt_quench-{A}-production-r") for path in drawn)
    assert sorted((tmp_path / "figures").iterdir()) == sorted(drawn)
    with pytest.raises(QueryError, match="has no profile"):
        store.profile(store.query("structures", "stage = seed")[0])


def test_failed_labels_are_kept_with_their_reasons_and_never_trained_on(job_store, tmp_path):
    atoms = [cell(A, 0.1 * k) for k in range(6)]
    (tmp_path / "custodian.json").write_text("[]", encoding="utf-8")
    (tmp_path / "OUTCAR").write_bytes(b"the end")
    log = put_blob(job_store, failure_log(tmp_path, ["OUTCAR", "OSZICAR"]), "application/gzip")
    corrected = (
        Correction(handler="UnconvergedErrorHandler", errors=("unconverged",), actions=("ALGO = All",)),
        Correction(handler="UnconvergedErrorHandler", errors=("unconverged",)),
        Correction(handler="VaspErrorHandler", errors=("brmix",)),
    )
    failed = [status for status in LabelStatus if status is not LabelStatus.CONVERGED]
    records = [
        LabelRecord(
            key=geometry_key(frame, THEORY),
            status=status,
            reason=f"because it is {status.value}",
            n_atoms=len(frame),
            energy=-50.0 if status.value.startswith("rejected") else None,
            corrections=corrected if status is LabelStatus.UNCONVERGED else (),
            log=log if status is LabelStatus.UNCONVERGED else None,
        )
        for frame, status in zip(atoms, failed, strict=True)
    ]
    good = batch(job_store, A, [0.71, 0.72])
    mixed = good.model_copy(update={"key": "mixed", "records": (*records, *good.records)})
    alone = good.model_copy(update={"key": "alone", "records": tuple(records), "shard": None})
    run(job_store, [mixed, alone])
    build_all(job_store)
    store = LaocStore(job_store)
    rows = {row["status"]: row for row in store.query("labels", "status != converged")}
    assert set(rows) == {status.value for status in failed}
    assert all(row["reason"] == f"because it is {status}" for status, row in rows.items())
    assert rows["unconverged"]["handlers"] == ["UnconvergedErrorHandler", "VaspErrorHandler"]
    assert rows["crashed"]["handlers"] == []
    assert len(store.query("labels", "handlers = VaspErrorHandler")) == 1
    assert store.log(rows["unconverged"]) == {"custodian.json": b"[]", "OUTCAR": b"the end"}
    with pytest.raises(QueryError, match="has no log"):
        store.log(rows["crashed"])
    chosen = parse_columns("labels", "status,reason,handlers,log.sha256")
    console = Console(file=io.StringIO(), width=200)
    render("labels", store.query("labels", "status = unconverged"), chosen, "csv", console)
    _, row = csv.reader(io.StringIO(console.file.getvalue()))
    assert row == [
        "unconverged",
        "because it is unconverged",
        '["UnconvergedErrorHandler", "VaspErrorHandler"]',
        log.sha256,
    ]
    text = printed(job_store, "labels")
    assert log.sha256[:12] in text
    assert "UnconvergedErrorHandler, VaspErrorHandler" in text
    # Neither the store's frames nor a data set have any of them.
    assert len(store.labels()) == 2
    dataset = Dataset(level_of_theory=THEORY, members=()).extended([mixed, alone])
    assert dataset.n_train == 2
    assert sum(member.n_labels for member in dataset.members) == 2
    (found,) = store.query("compositions")
    assert found["n_labels_train"] == 2


def printed(store, collection):
    console = Console(file=io.StringIO(), width=100)
    render(collection, LaocStore(store).query(collection), (), "table", console)
    return console.file.getvalue()


def test_the_summary_of_a_composition(job_store):
    uuids = run(job_store, campaign(job_store))
    build_all(job_store)
    refused, made = LaocStore(job_store).query("compositions")
    assert (made["composition_id"], made["status"], made["formula"]) == (A, "complete", "Li4Al4O3Cl10")
    assert (made["n_glasses"], made["n_refused"], made["iterations"], made["potential_key"]) == (
        2,
        0,
        1,
        "p0",
    )
    # Between two glasses of 1.6 and 1.8: sqrt(0.02 / 2).
    assert made["density"] == {
        "value": pytest.approx(1.7),
        "standard_error": pytest.approx(0.1),
        "unit": "g/cm^3",
        "n_independent": 2,
    }
    assert made["isolated_share"]["value"] == pytest.approx(0.45)
    assert made["tetrahedra"]["CN5:O2Cl3"]["value"] == pytest.approx(0.05)
    assert (made["links_expected"], made["o_to_cl"], made["li_to_al"]) == (0.75, 0.3, 1.0)
    assert (made["force_rmse"]["value"], made["zero_force_rmse"], made["force_ratio"]) == (0.2, 0.8, 0.25)
    assert (made["deviation"], made["deviation_temperature"], made["max_deviation"]) == (0.05, 400.0, 1.2)
    assert (made["verdict"], made["verdict_reason"]) == ("converged", "")
    assert (made["n_labels_train"], made["n_labels_test"]) == (3, 2)
    assert (made["li_status"], made["cl_status"]) == ("diffusive", "insufficient")
    assert (made["li_last_msd"]["value"], made["li_last_lag"]) == (30.0, 10.0)
    assert (made["li_diffusion"]["value"], made["conductivity"]["value"]) == (pytest.approx(2e-7), 10.0)
    assert (made["li_diffusion_bound"], made["haven_ratio"], made["n_hops"]) == (None, None, 0)
    (found,) = LaocStore(job_store).query("compositions", where="conductivity > 5 and li_diffusion < 1e-6")
    assert found["composition_id"] == A
    assert not LaocStore(job_store).query("transport", where="nernst_einstein.value > 11")
    assert len(LaocStore(job_store).query("transport", where="species.Li.diffusion.value > 1e-7")) == 2
    assert set(made["uuids"]) == set(uuids[4:8])
    assert {name: len(keys) for name, keys in made["sources"].items()} == {
        "structures": 2,
        "transport": 2,
        "potentials": 1,
        "iterations": 1,
    }
    assert (refused["composition_id"], refused["status"], refused["n_refused"]) == (B, "refused", 1)
    assert refused["refusals"] == ["refused: reacted (Cl-Cl 1.99 A)"]
    assert (refused["verdict"], refused["density"], refused["n_labels_train"]) == ("not converged", None, 1)
    assert refused["verdict_reason"].startswith("force RMSE 0.300")


def test_each_campaign_has_its_own_verdict_on_a_potential_that_they_share(job_store):
    made = potential(job_store)
    run(job_store, [made, iteration(verdict="not converged"), iteration(verdict="converged", campaign="two")])
    build_all(job_store)
    (found,) = LaocStore(job_store).query("potentials")
    assert found["verdicts"] == {"one": "not converged", "two": "converged"}


def test_what_is_new_is_added(job_store):
    seeds = campaign(job_store)
    run(job_store, seeds[:3])
    assert build_all(job_store) == NOTHING | {"labels": 7, "compositions": 2}
    store = LaocStore(job_store)
    assert [each["status"] for each in store.query("compositions")] == ["in progress"] * 2
    run(job_store, seeds[4:5])
    assert build_all(job_store) == NOTHING | {"potentials": 1, "compositions": 2}
    assert store.query("potentials", columns="verdict,final") == [{"verdict": None, "final": False}]
    run(job_store, seeds[5:6])
    assert build_all(job_store) == NOTHING | {"iterations": 1, "potentials": 1, "compositions": 2}
    (found,) = store.query("potentials")
    assert (found["verdict"], found["final"], found["worst_force_rmse"]) == (
        "not converged",
        True,
        pytest.approx(0.3),
    )
    run(job_store, seeds[6:7])
    assert build_all(job_store) == NOTHING | {"structures": 1, "transport": 1, "compositions": 1}
    assert [each["status"] for each in store.query("compositions")] == ["in progress", "complete"]
    run(job_store, [batch(job_store, B, [0.5])])
    assert build_all(job_store) == NOTHING | {"labels": 1, "compositions": 1}
    run(job_store, [potential(job_store, 1, rmse=0.1)])
    build_all(job_store)
    assert {each["potential_key"] for each in store.query("compositions")} == {"p1"}


def test_a_job_that_is_run_again_is_built_again_whatever_its_clock_says(job_store):
    run(job_store, [glass(job_store, A, density=1.6)])
    build_all(job_store)
    outputs = handle(job_store.docs_store)
    change = {"output.structure.density.value": 1.9, "completed_at": "1999-01-01T00:00:00"}
    outputs.update_one({}, {"$set": change})
    assert build_all(job_store) == NOTHING | {"structures": 1, "transport": 1, "compositions": 1}
    outputs.update_one({}, {"$set": {"output.structure.density.value": 2.0}, "$unset": {"completed_at": 1}})
    build_all(job_store)
    (row,) = LaocStore(job_store).query("compositions")
    assert row["density"]["value"] == 2.0
    assert build_all(job_store) == NOTHING


def test_a_job_from_a_slow_clock_is_not_missed(job_store):
    run(job_store, [glass(job_store, A, 0)])
    build_all(job_store)
    (late,) = run(job_store, [glass(job_store, A, 1)])
    handle(job_store.docs_store).update_one({"uuid": late}, {"$set": {"completed_at": "1999-01-01T00:00:00"}})
    assert build_all(job_store)["structures"] == 1


def test_a_label_of_two_campaigns_is_one_document(job_store):
    run(job_store, [batch(job_store, A, [0.0, 0.1], crashed=(0.1,))])
    build_all(job_store)
    run(job_store, [batch(job_store, A, [0.0, 0.1], campaign="two")], campaign="two")
    build_all(job_store)
    # A failure that comes later does not take the place of what converged.
    run(job_store, [batch(job_store, A, [0.0, 0.1], campaign="three", crashed=(0.0, 0.1))], campaign="three")
    build_all(job_store)
    store = LaocStore(job_store)
    rows = store.query("labels")
    assert [(row["status"], sorted(row["campaign_ids"])) for row in rows] == [
        ("converged", ["one", "three", "two"])
    ] * 2
    assert [len(store.query("labels", campaign_id=name)) for name in ("one", "two", "three", "four")] == [
        2,
        2,
        2,
        0,
    ]
    assert len({row["campaign_id"] for row in store.query("compositions")}) == 3
    assert len(store.labels()) == 2


def test_work_that_was_found_belongs_to_the_campaign_that_asked(job_store):
    made = glass(job_store, A)
    run(job_store, [made], campaign="one")
    # The second campaign's job returns the document as the first one made it.
    run(job_store, [made], campaign="two")
    build_all(job_store)
    store = LaocStore(job_store)
    (row,) = store.query("structures")
    assert (sorted(row["campaign_ids"]), len(row["uuids"])) == (["one", "two"], 2)
    assert [each["campaign_id"] for each in store.query("compositions")] == ["one", "two"]


def test_outputs_of_others_and_broken_ones_do_no_harm(job_store):
    good = structure(job_store, A)
    run(
        job_store,
        [
            {"schema_name": "structure", "key": 1},
            {"schema_name": "label_batch", "campaign_id": {"$gt": 1}},
            [1, {"schema_name": "structure"}],
            None,
            good.model_dump(mode="json") | {"secret": "hunter2"},
            good.model_dump(mode="json") | {"reason": "x" * MAX_DOCUMENT},
        ],
    )
    assert build_all(job_store) == NOTHING
    assert n_left_out(job_store) >= 4
    assert "hunter2" not in str(list(handle(job_store.docs_store).database[LEDGER].find()))
    assert build_all(job_store) == NOTHING
    run(job_store, [good])
    assert build_all(job_store)["structures"] == 1


def steady(row):
    return {name: value for name, value in row.items() if name not in {"last_updated", "newest_source"}}


def test_several_processes_build_the_same(job_store, monkeypatch, caplog):
    run(job_store, [*campaign(job_store), {"schema_name": "structure", "key": 1}])
    counts = build_all(job_store)
    alone = dump(job_store)
    monkeypatch.setattr(incremental, "MANY", 1)
    caplog.clear()
    with mock.patch("joblib.Parallel", wraps=joblib.Parallel) as parallel:
        assert build_all(job_store, rebuild=True, processes=2) == counts
    assert parallel.called
    again = dump(job_store)
    for name, rows in again.items():
        assert [steady(row) for row in rows] == [steady(row) for row in alone[name]]
    # What is left out is said here, not in a process that nobody reads.
    assert "is left out" in caplog.text


def test_a_dropped_collection_comes_back_and_rebuild_starts_from_nothing(job_store):
    run(job_store, campaign(job_store))
    counts = build_all(job_store)
    database = handle(job_store.docs_store).database
    for name in ("structures", "compositions"):
        database.drop_collection(name)
    assert build_all(job_store) == NOTHING | {"structures": 4, "compositions": 2}
    database["labels"].insert_one({"key": "stale"})
    assert build_all(job_store, rebuild=True) == counts
    assert database["labels"].count_documents({"key": "stale"}) == 0


def test_builders_at_once_make_no_second_copy(workspace, job_store):
    database = handle(job_store.docs_store).database
    for name in [*NOTHING, LEDGER]:
        database.drop_collection(name)
    run(job_store, campaign(job_store))
    stores = [workspace.job_store() for _ in range(4)]
    start = threading.Barrier(len(stores))

    def build(store):
        start.wait()
        return build_all(store)

    try:
        with ThreadPoolExecutor(len(stores)) as pool:
            for attempt in range(3):
                if attempt:
                    database["structures"].delete_many({})
                    database["labels"].delete_many({})
                    database["compositions"].delete_many({})
                list(pool.map(build, stores))
                found = dump(job_store)
                assert {name: len(rows) for name, rows in found.items()} == {
                    "structures": 4,
                    "labels": 7,
                    "iterations": 1,
                    "potentials": 1,
                    "transport": 2,
                    "compositions": 2,
                }
                assert build_all(job_store)["labels"] == 0
    finally:
        for store in stores:
            store.close()
    for name in NOTHING:
        assert database[name].index_information()["key_1"]["unique"]
    assert LaocStore(job_store).query("compositions", x=1)[0]["n_glasses"] == 2


def test_builders_work_in_memory():
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    store.connect()
    documents = campaign(store)
    # The stand-in for MongoDB in memory knows no names with dots.
    documents[4] = potential(store, compositions=())
    documents[5] = documents[5].model_copy(update={"composition_verdicts": {}})
    run(store, documents)
    assert build_all(store)["compositions"] == 2
    assert build_all(store) == NOTHING
    with LaocStore(store) as found:
        assert len(found.query("structures", x=(0.9, 1.1))) == 3


# -- asking ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def filled(workspace, tmp_path_factory):
    """A store with a campaign in it, for tests that leave it as it is."""
    job_store = workspace.job_store()
    database = handle(job_store.docs_store).database
    for name in database.list_collection_names():
        database[name].delete_many({})
    directory = tmp_path_factory.mktemp("trajectories")
    (directory / "nvt.h5").write_bytes(b"frames")
    file = publish_file(directory / "nvt.h5", str(directory / "root"), "one/nvt.h5")
    documents = campaign(job_store)
    made = documents[6].structure
    documents[6] = ProductionResult(structure=made, transport=transport(made, trajectory=file))
    third = "x1_3-y0.000"
    run(job_store, [*documents, glass(job_store, third, 0, density=1.5)])
    build_all(job_store)
    with LaocStore.open(workspace.path) as store:
        yield store
    job_store.close()


@pytest.mark.parametrize(
    ("conditions", "n"),
    [
        ({}, 5),
        ({"where": "status=glass"}, 3),
        ({"where": "status=glass and 0.5<=x<=1"}, 2),
        ({"where": "x=1/3"}, 1),
        ({"where": "x!=1/3"}, 4),
        ({"x": "1/3"}, 1),
        ({"x": (0.5, None)}, 4),
        ({"x": (None, 0.5)}, 2),
        ({"x": 1, "y": 0.75}, 3),
        ({"o_to_cl": (0.0, 0.0)}, 1),
        ({"where": "o_to_cl>0.3"}, 1),
        ({"o_to_cl": 0.3}, 3),
        ({"li_to_al": (0.4, 0.6)}, 1),
        ({"where": "density>1.65"}, 3),
        ({"where": "reason ~ cl-CL"}, 2),
        ({"where": "reason ~ .*"}, 0),
        ({"where": "chains.0.isolated_share>=0.5"}, 1),
        ({"where": {"status": ["glass", "refused: reacted"], "x": (0.4, 2)}}, 3),
        ({"campaign_id": "one"}, 5),
        ({"campaign_id": "two"}, 0),
        ({"limit": 2}, 2),
    ],
)
def test_ranges(filled, conditions, n):
    assert len(filled.query("structures", **conditions)) == n


def test_columns_and_order(filled):
    rows = filled.query(
        "structures", "status=glass", columns="x,density.value,tetrahedra.AlCl4", sort="-density"
    )
    assert [row["density.value"] for row in rows] == [1.8, 1.6, 1.5]
    assert set(rows[0]) == {"x", "density.value", "tetrahedra.AlCl4"}
    (row,) = filled.query("potentials", columns=f"key,held_out.{A}.force_rmse")
    assert row == {"key": "p0", f"held_out.{A}.force_rmse": 0.2}
    for wrong in (
        {"collection": "outputs"},
        {"collection": "labels", "limit": -1},
        {"collection": "potentials", "x": 1},
    ):
        with pytest.raises(QueryError):
            filled.query(**wrong)


def test_every_path_that_is_accepted_is_one_that_the_database_takes(filled):
    for collection, fields in COLLECTIONS.items():
        for name in fields:
            for text in (f"{name}=1", f"{name}~a", f"{name}>=2020-01-01", f"{name}=true", f"{name}!=none"):
                with contextlib.suppress(QueryError):
                    filled.query(collection, text, sort=f"-{name}", columns=name)


def test_structures_curves_models_and_trajectories(filled, tmp_path):
    (doc,) = filled.query("structures", "status=glass", x=1, sort="density", limit=1)
    atoms = filled.structure(doc)
    assert atoms.get_chemical_formula() == cell(A).get_chemical_formula()
    assert np.abs(atoms.positions - cell(A).positions).max() < 1e-7
    assert filled.curves(doc)["g_Al-Cl"] == [0.0, 1.0]
    (run_,) = filled.query("transport", {"structure_key": doc["key"]})
    assert filled.structure(run_) == atoms
    assert filled.trajectory(run_, tmp_path / "nvt.h5").read_bytes() == b"frames"
    assert filled.model(run_, 1) == b"model 0 1"
    assert filled.model("p0") == filled.model(filled.query("potentials")[0]) == b"model 0 0"
    with pytest.raises(QueryError, match="no model 2"):
        filled.model("p0", 2)
    with pytest.raises(QueryError, match="no document with the key 'p9'"):
        filled.model("p9")
    with pytest.raises(QueryError, match="has no trajectory"):
        filled.trajectory(run_ | {"trajectory": None}, tmp_path / "none")
    altered = doc["structure"] | {"sha256": "0" * 64}
    with pytest.raises(ServiceError, match="not in the additional store"):
        filled.structure(doc | {"structure": altered})
    assert BlobRef.model_validate(doc["structure"]).size > 0
    assert FileRef.model_validate(run_["trajectory"]).size == 6


def test_labels_are_frames_with_energies_and_forces(filled):
    frames = filled.labels(x=1, campaign_id="one")
    assert [round(-100 - frame.get_potential_energy(), 6) for frame in frames] == [0.0, 0.1, 0.2, 0.3, 0.4]
    assert [frame.info["held_out"] for frame in frames] == [False] * 3 + [True] * 2
    assert frames[2].get_forces()[0, 0] == pytest.approx(0.2)
    assert geometry_key(cell(A, 0.1), THEORY) == frames[1].info["key"]
    assert np.abs(frames[1].positions - cell(A, 0.1).positions).max() < 1e-7
    assert len(filled.labels("held_out=true", limit=1)) == 1
    assert len(filled.labels({"held_out": False}, x=0.5)) == 1


# -- the command -----------------------------------------------------------------------------------------------


def laoc(workspace, *arguments):
    return CliRunner().invoke(app, ["query", *arguments, "--workspace", str(workspace.path)])


@pytest.mark.usefixtures("filled")
def test_the_command(workspace):
    table = laoc(workspace, "compositions")
    assert table.exit_code == 0, table.output
    assert "1.70(10)" in table.stdout
    assert "0.200(20) (0.80)" in table.stdout
    assert f"{B}: refused: reacted (Cl-Cl 1.99 A)" in table.stdout
    found = laoc(workspace, "compositions", "--where", "status=complete, x>=0.5", "--format", "json")
    (row,) = json.loads(found.stdout)
    assert row["density"]["n_independent"] == 2
    found = laoc(
        workspace, "labels", "-c", "composition_id,energy", "-f", "csv", "--sort", "-energy", "-n", "2"
    )
    rows = list(csv.reader(io.StringIO(found.stdout)))
    assert rows[0] == ["composition_id", "energy"]
    assert [float(each[1]) for each in rows[1:]] == [-100.0, -100.0]
    for collection in NOTHING:
        for fmt in ("table", "csv", "json"):
            assert laoc(workspace, collection, "--format", fmt).exit_code == 0
    password = (workspace.mongo.directory / "password").read_text(encoding="ascii")
    assert password not in laoc(workspace, "compositions", "-f", "json").output


def test_what_the_command_does_not_understand(workspace, tmp_path):
    for arguments in (
        ["nothing"],
        ["labels", "--where", "$where=1"],
        ["labels", "-c", "a"],
        ["labels", "--sort", "a"],
    ):
        result = laoc(workspace, *arguments)
        assert result.exit_code == 2
        assert result.stdout == ""
        assert result.stderr.startswith("laoc: ")
        assert result.stderr.count("\n") == 1
    outside = CliRunner().invoke(app, ["query", "labels", "--workspace", str(tmp_path)])
    assert outside.exit_code == 2


@pytest.mark.usefixtures("filled")
def test_the_table_after_a_run(workspace):
    file = io.StringIO()
    print_compositions(workspace, "one", Console(file=file, width=80))
    assert A in file.getvalue()
    assert "x1_3-y0.000" in file.getvalue()
