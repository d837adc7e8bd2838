"""A whole campaign, for real: run, run again, and killed at three stages."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from laoc_flows.store.workspace import Workspace

TINY = Path(__file__).parents[1] / "data" / "tiny.yaml"
SMALL = TINY.with_name("small.yaml")
LAOC = [sys.executable, "-c", "from laoc_flows.cli.main import main; main()"]
COLLECTIONS = ("structures", "labels", "potentials", "transport", "compositions")
# What differs between two runs of the same campaign by its nature: when, where, under which job, and the bytes of
# a TensorFlow graph, whose numbers are the same but whose nodes are written in any order; how long it took, and whether a training
# that was killed after its last step went on from there. The builders' own digest covers these.
VOLATILE = {
    "_id", "uuid", "uuids", "last_updated", "built_at", "completed_at", "newest_source", "digest", "uri", "model",
    "source_uuid", "source_uuids", "frozen", "core_hours", "resumed",
}  # fmt: skip


def laoc(workspace, *arguments, check=True):
    done = subprocess.run(
        [*LAOC, *map(str, arguments), "--workspace", str(workspace)],
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


def documents(workspace):
    store = Workspace(workspace).job_store()
    database = store.docs_store._collection.database
    found = {}
    for name in COLLECTIONS:
        rows = [_stable(row) for row in database[name].find()]
        found[name] = sorted(rows, key=lambda row: json.dumps(row, sort_keys=True, default=str))
    store.close()
    return found


def _stable(value):
    if isinstance(value, dict):
        return {k: _stable(v) for k, v in value.items() if k not in VOLATILE}
    return [_stable(item) for item in value] if isinstance(value, list) else value


def fireworks(workspace):
    launchpad = Workspace(workspace).launchpad()
    rows = launchpad.fireworks.find(
        {},
        {"state": 1, "name": 1, "launches": 1, "archived_launches": 1, "spec.laoc": 1, "_id": 0, "fw_id": 1},
    )
    rows = list(rows)
    launches = {
        row["launch_id"]: row["state"] for row in launchpad.launches.find({}, {"launch_id": 1, "state": 1})
    }
    return rows, launches


def stop(workspace):
    with contextlib.suppress(Exception):
        Workspace(workspace).mongo.stop()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    workspace = tmp_path_factory.mktemp("undisturbed") / "ws"
    settings = Workspace.create(workspace).path / "settings.yaml"
    settings.write_text(f"notify_command: tee -a {workspace / 'told.jsonl'}\n")
    settings.chmod(0o600)
    done = laoc(workspace, "run", TINY)
    yield workspace, done
    stop(workspace)


@pytest.mark.timeout(900)
def test_run_prints_one_row_for_each_composition(undisturbed):
    _, done = undisturbed
    for formula in ("Li8Al8Cl32", "Li8Al8O4Cl24"):
        assert formula in done.stdout
    assert "not converged" in done.stdout


def test_every_document_is_small_and_versioned(undisturbed):
    workspace, _ = undisturbed
    store = Workspace(workspace).job_store()
    database = store.docs_store._collection.database
    for name in COLLECTIONS:
        rows = list(database[name].find())
        # The cells of this campaign do not melt in their half picosecond: no glass, no transport.
        assert rows or name == "transport"
        for row in rows:
            assert row["schema_version"] >= 1
            assert len(json.dumps(row, default=str)) < 1_000_000
    for row in database["outputs"].find():
        assert len(json.dumps(row, default=str)) < 1_000_000
    store.close()


def test_the_sum_rule_closes_on_every_stored_structure(undisturbed):
    workspace, _ = undisturbed
    rows = documents(workspace)["structures"]
    balances = [row["balance"] for row in rows if row["balance"] is not None]
    assert len(balances) >= 4
    for balance in balances:
        assert balance["links"] == balance["coordination_minus_bound"]


def test_a_seed_that_has_not_melted_is_refused(undisturbed):
    workspace, _ = undisturbed
    seeds = [row for row in documents(workspace)["structures"] if row["provenance"]["stage"] == "seed"]
    assert len(seeds) == 4
    assert all(row["status"] == "refused: not melted" for row in seeds)


def test_no_label_is_stored_without_an_outcome_and_none_twice(undisturbed):
    workspace, _ = undisturbed
    labels = documents(workspace)["labels"]
    assert len({row["key"] for row in labels}) == len(labels)
    assert any(row["iteration"] == 0 and row["stage"] == "explore" for row in labels)
    for row in labels:
        assert (row["energy"] is None) == (row["status"] != "converged")


def test_running_a_finished_campaign_again_does_nothing_and_says_so(undisturbed):
    workspace, first = undisturbed
    before = fireworks(workspace)
    again = laoc(workspace, "run", TINY)
    assert "nothing to do" in again.stderr
    assert fireworks(workspace) == before
    assert [line for line in again.stdout.splitlines() if "Li8Al8" in line] == [
        line for line in first.stdout.splitlines() if "Li8Al8" in line
    ]


def test_how_it_ended_is_told_once(undisturbed):
    workspace, _ = undisturbed
    # Also after the run that had nothing to do.
    told = [json.loads(line) for line in (workspace / "told.jsonl").read_text().splitlines()]
    assert sorted(each["event"] for each in told) == ["budget reached", "finished", "not converged"]
    assert len({each["campaign"] for each in told}) == 1


def test_status_from_another_terminal(undisturbed):
    workspace, _ = undisturbed
    done = laoc(workspace, "status", TINY)
    assert "x1.000-y0.500" in done.stdout
    assert "finished" in done.stderr


def test_query_by_range_in_three_formats(undisturbed):
    workspace, _ = undisturbed
    rows = json.loads(
        laoc(workspace, "query", "compositions", "--where", "y > 0.2", "--format", "json").stdout
    )
    assert [row["composition_id"] for row in rows] == ["x1.000-y0.500"]
    csv = laoc(
        workspace, "query", "labels", "--where", "y = 0", "--columns", "key,status", "--format", "csv"
    ).stdout
    assert csv.splitlines()[0] == "key,status"
    assert len(csv.splitlines()) > 10
    bad = laoc(workspace, "query", "labels", "--where", "$where = 1", check=False)
    assert bad.returncode == 2
    assert len(bad.stderr.strip().splitlines()) == 1


def test_no_secret_is_in_a_document_a_log_or_a_readable_file(undisturbed):
    workspace, _ = undisturbed
    place = Workspace(workspace)
    secret = (
        place.mongo.uri("laoc")
        .get_secret_value()
        .partition("://")[2]
        .partition("@")[0]
        .partition(":")[2]
        .encode()
    )
    assert len(secret) > 20
    for path in workspace.rglob("*"):
        if path.is_file() and not path.is_relative_to(place.mongo.dbpath):
            private = path.stat().st_mode & 0o077 == 0
            assert private or secret not in path.read_bytes(), path
            if path.suffix in {".log", ".json"} and "launches" in path.parts:
                assert secret not in path.read_bytes(), path
    store = place.job_store()
    database = store.docs_store._collection.database
    for name in database.list_collection_names():
        for row in database[name].find():
            assert secret.decode() not in json.dumps(row, default=str), name
    store.close()


def processes_of(workspace):
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            environment = (entry / "environ").read_bytes()
            command = (entry / "cmdline").read_bytes()
            if f"LAOC_WORKSPACE={workspace}\0".encode() in environment and b"mongod" not in command:
                found.append(command.replace(b"\0", b" ").decode())
    return found


def interrupt_when(workspace, step, number=signal.SIGKILL, status=-signal.SIGKILL):
    """Run, wait until a job of a step runs, signal the whole process group; what was completed before?"""
    process = subprocess.Popen(
        [*LAOC, "run", str(SMALL), "--workspace", str(workspace)],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # A test run in the background of a shell is born deaf to Ctrl-C, and so would be its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    deadline = time.monotonic() + 400
    launchpad = None
    while time.monotonic() < deadline:
        time.sleep(0.05)  # a poll without a pause takes the core that the campaign needs
        if process.poll() is not None:
            pytest.fail(
                f"the run ended (exit status {process.returncode}) before a job of step {step!r} was seen"
            )
        if launchpad is None:
            with contextlib.suppress(Exception):
                launchpad = Workspace(workspace).launchpad()
            continue
        if launchpad.fireworks.find_one({"spec.laoc.step": step, "state": "RUNNING"}, {"_id": 1}):
            break
    os.killpg(process.pid, number)
    assert process.wait(30) == status
    rows, launches = fireworks(workspace)
    return {
        row["fw_id"]: row["launches"]
        for row in rows
        if any(launches[i] == "COMPLETED" for i in row["launches"])
    }
