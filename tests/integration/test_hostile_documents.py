"""Documents that somebody has changed: of jobs, of the collections, of the queues. Read as data, refused in a line, never run."""

import contextlib
import random

import bson
import pytest
from fireworks import FWorker
from jobflow import Flow
from jobflow.managers.fireworks import flow_to_workflow
from typer.testing import CliRunner

from laoc_flows.campaign.file import CampaignFile
from laoc_flows.campaign.queues.fireworks import FireworksQueue
from laoc_flows.campaign.submissions import Submissions
from laoc_flows.cli.main import app
from laoc_flows.errors import LaocError
from laoc_flows.jobs import stamp
from laoc_flows.store.builders import build_all, n_left_out
from laoc_flows.store.catalog import COLLECTIONS
from laoc_flows.store.incremental import handle
from laoc_flows.store.laoc_store import LaocStore
from laoc_flows.store.workspace import Workspace
from tests.hostile import mutated, nothing_happens
from tests.integration.test_campaign_run import SMALL
from tests.integration.test_store import campaign, run
from tests.queue_jobs import add


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    place = Workspace.create(tmp_path_factory.mktemp("hostile") / "ws")
    try:
        place.write_service_files()
        yield place
    finally:
        place.mongo.stop()


@pytest.fixture
def store(workspace):
    found = workspace.job_store()
    database = handle(found.docs_store).database
    for name in database.list_collection_names():
        database[name].delete_many({})
    run(found, campaign(found))
    build_all(found)
    yield found
    found.close()


def hostile(document, rng):
    """A changed copy that the database takes, without its id."""
    while True:
        changed = mutated({key: value for key, value in document.items() if key != "_id"}, rng)
        try:
            if isinstance(changed, dict) and len(bson.encode(changed)) < 10**6:
                return changed
        except (OverflowError, bson.errors.InvalidDocument):
            continue


def put_instead(collection, row, changed):
    """Put one document in the place of another; one that is inserted may have any field name."""
    collection.delete_one({"_id": row["_id"]})
    collection.insert_one({**changed, "_id": row["_id"]})


def invoked(*arguments):
    """Run a command; it ends well, or in one line with exit code 1 or 2, never in a traceback."""
    done = CliRunner().invoke(app, list(map(str, arguments)))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise AssertionError(arguments) from done.exception
    if done.exit_code:
        assert done.exit_code in {1, 2}, arguments
        assert done.stderr.startswith("laoc: "), done.stderr
        assert done.stderr.count("\n") == 1, done.stderr
    return done


@pytest.mark.timeout(900)
def test_outputs_of_jobs(workspace, store, tmp_path):
    rng = random.Random(1)
    outputs = handle(store.docs_store).database["outputs"]
    genuine = list(outputs.find())
    good = documents(store)
    with nothing_happens(tmp_path):
        for turn in range(8):
            outputs.insert_many(
                [with_keys_of_its_own(changed_row(rng.choice(genuine), rng), turn, n) for n in range(50)]
            )
            build_all(store)
            assert set(build_all(store).values()) == {0}
            for name in COLLECTIONS:
                invoked("query", name, "--format", rng.choice(("table", "csv", "json")), "-w", workspace.path)
            invoked("potential", "list", "-w", workspace.path)
            invoked("learning", "one", "-w", workspace.path)
    assert n_left_out(store) > 100
    again = documents(store)
    for name in ("structures", "labels", "iterations", "potentials", "transport"):
        for key, row in good[name].items():
            assert again[name][key] == row


def documents(store):
    """Documents of the collections by key, without what others may add to them."""
    grows = {"last_updated", "uuids", "campaign_ids", "verdict", "verdicts", "final"}
    return {
        name: {
            row["key"]: {k: v for k, v in row.items() if k not in grows}
            for row in LaocStore(store).query(name)
        }
        for name in COLLECTIONS
    }


def changed_row(row, rng):
    """A row of a job that is changed somewhere, as a rule in its output."""
    if rng.random() < 0.3:
        return hostile(row, rng)
    rest = {name: value for name, value in row.items() if name not in {"_id", "output"}}
    return rest | {"output": hostile(row["output"], rng)}


def with_keys_of_its_own(row, turn, number):
    """What is right stays as it is: the keys of a changed output become others, also those inside."""
    if "uuid" in row:
        row["uuid"] = f"{turn}-{number}" if isinstance(row["uuid"], str) else row["uuid"]

    def renamed(value):
        if isinstance(value, dict):
            return {
                name: f"{turn}-{number}-{each}"
                if name in {"key", "potential_key", "structure_key"} and isinstance(each, str)
                else renamed(each)
                for name, each in value.items()
            }
        return [renamed(each) for each in value] if isinstance(value, list) else value

    return row | {"output": renamed(row["output"])} if "output" in row else row


@pytest.mark.timeout(900)
def test_documents_of_the_collections(workspace, store, tmp_path):
    rng = random.Random(2)
    database = handle(store.docs_store).database
    blobs = [row["curves"] for row in database["structures"].find()]
    blobs += [model["model"] for row in database["potentials"].find() for model in row["models"]]
    with nothing_happens(tmp_path):
        for _ in range(200):
            name = rng.choice(list(COLLECTIONS))
            rows = list(database[name].find())
            row = rng.choice(rows)
            changed = hostile(row, rng)
            changed.pop("_id", None)
            if rng.random() < 0.2:
                # Another blob that is there, of another kind.
                changed[rng.choice(("structure", "curves", "log", "profile", "analysis"))] = rng.choice(blobs)
            # The key is the database's own business: an index holds it unique.
            changed["key"] = row["key"]
            put_instead(database[name], row, changed)
            invoked("query", name, "--format", rng.choice(("table", "csv", "json")), "-w", workspace.path)
            if name in {"potentials", "iterations"}:
                invoked("potential", "list", "-w", workspace.path)
                invoked("learning", "one", "-w", workspace.path)
            reader = LaocStore(store)
            for read in (
                reader.structure,
                reader.curves,
                reader.log,
                reader.profile,
                reader.model,
                reader.analysis,
            ):
                with contextlib.suppress(LaocError):
                    read(changed)
            put_instead(database[name], row, row)


@pytest.mark.timeout(900)
def test_documents_of_the_queue(workspace, store, tmp_path, monkeypatch):
    rng = random.Random(3)
    file = CampaignFile.load(SMALL)
    submissions = Submissions(store)
    submissions.settle(file.campaign_id, submissions.claim(file, "fireworks", None))
    queue = FireworksQueue(workspace.launchpad(), workspace.settings)
    monkeypatch.setattr("laoc_flows.campaign.queues.fireworks._SETTLING", 0.0)
    queue.ensure_indexes()
    first = add(1, 2)
    flow = Flow([first, add(first.output, 3)])
    stamp(flow, campaign=file.campaign_id, stage="seed", step="pack", composition="x1.000-y0.000")
    queue.launchpad.add_wf(flow_to_workflow(flow, metadata={"laoc_campaign": file.campaign_id}))
    queue.launchpad.checkout_fw(FWorker(), str(tmp_path))
    pad = queue.launchpad
    with nothing_happens(tmp_path):
        for _ in range(80):
            collection = rng.choice((pad.fireworks, pad.launches, pad.workflows))
            row = rng.choice(list(collection.find()))
            changed = hostile(row, rng)
            put_instead(collection, row, changed)
            invoked(*rng.choice((("status",), ("status", "small"), ("cost", "small"))), "-w", workspace.path)
            # It ends with 1, and its findings on standard output.
            done = CliRunner().invoke(app, ["doctor", "-q", "-w", str(workspace.path)])
            assert done.exception is None or isinstance(done.exception, SystemExit)
            assert done.exit_code in {0, 1}
            put_instead(collection, row, row)
