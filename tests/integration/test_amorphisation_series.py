"""The series of degrees of amorphisation, from a crystal to its document and figure, with an engine of the registry."""

import json

import pytest
from jobflow import JobStore, run_locally
from maggma.stores import MemoryStore
from monty.json import MontyDecoder, MontyEncoder
from pydantic import ValidationError

from laoc_flows.analysis import Trajectory
from laoc_flows.blobs import fetch_file, get_blob
from laoc_flows.engines.ase import AseEngine
from laoc_flows.engines.registry import parse_engine
from laoc_flows.flows.amorphisation import AmorphisationSeriesMaker
from laoc_flows.flows.crystals import lialcl4
from laoc_flows.frames import decode_frames
from laoc_flows.report.figures import amorphisation_series
from laoc_flows.schemas.amorphisation import AmorphisationSeries, AmorphisationSettings, Snapshots
from laoc_flows.schemas.label import MDResult

# A classical pair potential through the engine of any ASE calculator: milliseconds a step.
ENGINE = {"name": "mlip", "model": "tests.physical.test_melt_quench:PairModel", "steps_per_job": 150}
SETTINGS = AmorphisationSettings(
    supercell=(2, 1, 1),
    melt_temperature=2500,
    melt_times=(0, 0.2, 1.2),
    settle_time=0.1,
    npt_time=0.1,
    quench_rate=22000,
    time=0.4,
    frame_every=5,
)


def plain(value):
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if not k.startswith("@")}
    return [plain(item) for item in value] if isinstance(value, list) else value


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("LAOC_WORKSPACE", str(tmp_path))
    found = JobStore(MemoryStore(), additional_stores={"data": MemoryStore(key="blob_uuid")})
    found.connect()
    return found


def made(store, settings=SETTINGS, **more):
    flow = AmorphisationSeriesMaker(parse_engine({**ENGINE, **more}), settings).make(seed=7)
    run_locally(flow, store=store, ensure_success=True, log=False)
    # A run in several jobs keeps its name, with the step at which each began; the last one has the output.
    found = [row for row in store.docs_store.query() if row["output"] is not None]
    rows = {row["name"].split(" | ")[0]: plain(row["output"]) for row in found}
    return flow, rows, AmorphisationSeries.model_validate(rows["amorphisation series"])


def test_the_crystal_is_the_published_one():
    cell = lialcl4()
    assert cell.get_chemical_formula() == "Al4Cl16Li4"
    assert cell.get_volume() == pytest.approx(591.2, abs=0.1)
    distances = cell.get_all_distances(mic=True)
    al, cl = ([a.index for a in cell if a.symbol == s] for s in ("Al", "Cl"))
    bonded = sorted(distances[al][:, cl].ravel())[:16]
    assert (bonded[0], bonded[-1]) == (pytest.approx(2.123, abs=2e-3), pytest.approx(2.154, abs=2e-3))
    assert min(distances[i, j] for i in al for j in al if i != j) == pytest.approx(4.628, abs=2e-3)


def test_a_series_goes_from_the_crystal_to_its_document_and_its_figure(store, tmp_path, monkeypatch):
    flow, rows, series = made(store)
    # A picosecond at 2500 K melts no crystal of this potential, and there is no liquid to measure others against.
    assert series.melt_status.startswith("not melted: Al and Cl moved by no more than 10 A^2 in 1.19 ps")
    assert not series.melt.passed
    assert (series.formula, series.n_atoms) == ("Al8Cl32Li8", 48)
    assert series.level_of_theory.startswith("mlip/tests.physical.test_melt_quench:PairModel")
    assert [point.melt_time for point in series.points] == [0, 0.2, 1.2]
    assert {point.status for point in series.points} == {"completed"}
    # Every snapshot is the frame of the one melting run at its time, and the crystal before it.
    snapshots = Snapshots.model_validate(rows["amorphisation snapshots"])
    melt = MDResult.model_validate(rows["amorphisation melt"])
    whole = Trajectory.read(fetch_file(melt.trajectory, tmp_path / "melt.h5"))
    assert whole.n_frames == 120
    for blob, index in zip(snapshots.frames[1:], (19, 119), strict=True):
        frame = decode_frames(get_blob(store, blob))[0]
        assert frame.positions == pytest.approx(whole.frame(index).positions, abs=1e-6)
    # The crystal is neither heated nor quenched; the others are, at the rate that was asked for.
    runs = [rows[f"amorphisation run {point.melt_time:g} ps"] for point in series.points]
    stages = [[stage["name"] for stage in run["stages"]] for run in runs]
    assert stages[0] == ["settle", "npt", "hold"]
    assert stages[1] == stages[2] == ["quench", "settle", "npt", "hold"]
    assert runs[1]["stages"][0]["rate"]["value"] == pytest.approx(22000, rel=0.5)
    assert runs[1]["stages"][0]["time"] == pytest.approx(0.1)
    crystal, _, glass = series.points
    assert crystal.theta_s.value == pytest.approx(0, abs=1e-9)
    assert crystal.displaced_fraction.value == 0
    assert glass.theta_s.value > 0.1
    assert {point.theta_g for point in series.points} == {None}
    assert glass.missing["theta_g"] == series.melt_status
    assert glass.duration == pytest.approx(0.39)
    # Nothing can be concluded from 0.4 ps, and nothing is.
    assert {point.species["Li"].status for point in series.points} == {"insufficient"}
    assert glass.species["Li"].diffusion.value is None
    assert glass.hops.status == "insufficient"
    figure = amorphisation_series(series)
    assert figure.axes[0].get_xlabel() == "time in the melt (ps)"
    assert list(figure.axes[0].lines[0].get_ydata()) == [point.theta_s.value for point in series.points]
    assert len(series.model_dump_json()) < 50_000
    for job, _ in flow.iterflow():
        assert job.metadata["laoc"]["stage"] == "amorphisation"

    # Again, with the engine taken away: every run and every analysis is found by its content.
    monkeypatch.setattr(AseEngine, "run_segment", lambda *_: pytest.fail("the engine was asked again"))
    assert made(store)[2] == series


def test_a_series_whose_melt_fails_says_so_and_is_a_series(store):
    # No time step of 5 fs survives 6000 K with this potential.
    settings = AmorphisationSettings(
        supercell=(1, 1, 1), melt_temperature=6000, melt_times=(0, 2, 4), settle_time=0.1, time=0.2, time_step=5, frame_every=4,
    )  # fmt: skip
    _, _, series = made(store, settings, steps_per_job=5000)
    assert series.melt_status.startswith("stopped: ")
    assert series.points[-1].melt_time < 4
    assert series.points[0].status == "completed"
    # 24 atoms are too few for a Bragg order that stands out, or enough: either way it is said.
    assert {point.order_status for point in series.points} <= {"ok", "insufficient"}
    assert all(point.order_reason for point in series.points)


def test_its_maker_travels_unchanged():
    maker = AmorphisationSeriesMaker(parse_engine(ENGINE), SETTINGS)
    again = json.loads(json.dumps(maker, cls=MontyEncoder), cls=MontyDecoder)
    assert (again.engine, again.settings) == (maker.engine, maker.settings)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"melt_times": (0, 2, 1)}, "must rise, and begin with 0"),
        ({"melt_times": (1, 2)}, "must rise, and begin with 0"),
        ({"melt_times": (0, 0.055)}, "no multiples of the time between frames, 0.04 ps"),
        ({"temperature": 2000}, "temperature must be below melt_temperature"),
        ({"supercell": (0, 1, 1)}, "three positive integers"),
    ],
)
def test_what_makes_no_series_is_refused(wrong, message):
    with pytest.raises(ValidationError, match=message):
        AmorphisationSettings(**wrong)
