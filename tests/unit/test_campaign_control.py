"""Causes of failures, tries, cost, notifications, and claims of submissions."""

import http.server
import json
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
import typer
from jobflow import JobStore
from maggma.stores import MemoryStore
from pydantic import SecretStr
from pymongo.errors import AutoReconnect, OperationFailure

from laoc_flows.campaign.causes import Cause, cause_of
from laoc_flows.campaign.cost import costs
from laoc_flows.campaign.file import CampaignFile
from laoc_flows.campaign.notify import Event, Kind, Notifier, events_of
from laoc_flows.campaign.progress import Progress, StageCount, read_progress
from laoc_flows.campaign.queues.base import QueuedJob, Run, State
from laoc_flows.campaign.resume import resume
from laoc_flows.campaign.submissions import COLLECTION, Submissions
from laoc_flows.campaign.submit import submit
from laoc_flows.cli import status
from laoc_flows.cli.console import fails_clearly
from laoc_flows.errors import InputError, ServiceError
from laoc_flows.settings import Settings

TINY = Path(__file__).parents[1] / "data" / "tiny.yaml"


def job(ident="1", state=State.FAILED, reason="", trace="", native="FIZZLED", **more):
    return QueuedJob(
        id=ident, uuid=f"u{ident}", name=f"job {ident}", state=state, native=native, stage="label", reason=reason,
        trace=trace, **more,
    )  # fmt: skip


@pytest.fixture
def store():
    store = JobStore(MemoryStore())
    store.connect()
    return store


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        ("pymongo.errors.ServerSelectionTimeoutError: 127.0.0.1:27017: [Errno 111]", Cause.DATABASE),
        ("pymongo.errors.AutoReconnect: connection closed", Cause.DATABASE),
        ("OSError: [Errno 28] No space left on device", Cause.DISK),
        ("MemoryError", Cause.MEMORY),
        (
            "slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026-01-01T00:00:00 DUE TO TIME LIMIT ***",
            Cause.TIME,
        ),
        (
            "laoc_flows.errors.ServiceError: the Slurm allocation ends in 100 s: the job was not begun",
            Cause.TIME,
        ),
        ("slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026-01-01T00:00:00 ***", Cause.KILLED),
        ("The output file jfremote_out.json was not present in the download folder /x", Cause.KILLED),
        ("The job was likely killed before completing", Cause.KILLED),
        ("OSError: [Errno 116] Stale file handle", Cause.NODE),
        ("laoc_flows.errors.EngineError: label: VASP has failed its 5 tries", Cause.OWN),
        ("laoc_flows.errors.TrainingError: the loss is NaN", Cause.OWN),
        ("ValueError: the memory of what was is not a number", Cause.OWN),
        ("AssertionError", Cause.OWN),
        ("no reason recorded", Cause.OWN),
    ],
)
def test_the_last_words_of_a_failure_say_whose_it_is(reason, cause):
    trace = f"Traceback:\n  File x, line 1, in connection_pool AutoReconnectMixin\n{reason}"
    assert cause_of(job(reason=reason, trace=trace)) is cause
    assert cause_of(job(reason=reason, trace=trace)).outside == (cause is not Cause.OWN)


class FakeQueue:
    name = "fake"

    def __init__(self, *jobs):
        self.there = list(jobs)
        self.again = []

    def jobs(self, _):
        return self.there

    def rerun(self, jobs):
        self.again += [job.id for job in jobs]
        return len(jobs)


def test_what_failed_for_reasons_outside_runs_again_within_its_budget(store):
    outside, own = job("1", reason="AutoReconnect: gone"), job("2", reason="TrainingError: NaN")
    done, waiting = job("3", State.DONE), job("4", State.WAITING)
    queue = FakeQueue(outside, own, done, waiting)
    first = resume(queue, store, "c", tries=2)
    assert [each.id for each, _ in first.again] == ["1"]
    assert [each.id for each in first.own] == ["2"]
    # It has failed once more, at once: it has to wait.
    second = resume(queue, store, "c", tries=2)
    assert not second.again
    (later, due) = second.later[0]
    assert later.id == "1"
    assert timedelta(seconds=30) < due - datetime.now(UTC) < timedelta(seconds=61)
    third = resume(queue, store, "c", tries=2, now=True)
    assert [each.id for each, _ in third.again] == ["1"]
    fourth = resume(queue, store, "c", tries=2, now=True)
    assert [(each.id, cause) for each, cause in fourth.spent] == [("1", Cause.DATABASE)]
    assert queue.again == ["1", "1"]


def test_delays_grow(store):
    queue = FakeQueue(job("1", reason="AutoReconnect"))
    delays = []
    for _ in range(3):
        assert resume(queue, store, "c", tries=5, now=True).again
        ((_, due),) = resume(queue, store, "c", tries=5).later
        delays.append((due - datetime.now(UTC)).total_seconds())
    assert delays == pytest.approx([60, 240, 960], abs=2)


def test_a_job_that_is_asked_for_runs_again_whatever_its_reasons(store):
    queue = FakeQueue(job("1", reason="TrainingError"), job("2", reason="AutoReconnect"))
    assert [each.id for each, _ in resume(queue, store, "c", tries=1, only=["1"]).again] == ["1"]
    assert queue.again == ["1"]
    with pytest.raises(InputError, match="7: no failed job"):
        resume(queue, store, "c", tries=1, only=["7"])


def test_costs_add_up_by_stage_and_composition():
    runs = [
        Run("1", "label", "a", 3600, 4, useful=True),
        Run("2", "label", "a", 1800, 4, useful=True),
        Run("2", "label", "a", 900, 4, useful=False),
        Run("3", "seed", "b", 360, 1, useful=True),
        Run("4", "train", "", 720, 2, useful=True),
    ]
    found = costs(runs)
    assert [(c.stage, c.composition) for c in found] == [("seed", "b"), ("train", ""), ("label", "a")]
    label = found[-1]
    assert (label.runs, label.core_hours, label.wall_hours) == (2, 6.0, 1.5)
    assert (label.lost_runs, label.lost_core_hours) == (1, 1.0)


def timed(ident, state, step, seconds=None, stage="production"):
    start = datetime(2026, 1, 1, tzinfo=UTC)
    ended = None if seconds is None else start + timedelta(seconds=seconds)
    return QueuedJob(
        id=ident, uuid=ident, name=f"{step} {ident}", state=state, native="", stage=stage, step=step, started=start, ended=ended,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("done", "time_left", "untimed"),
    [
        ([], 1.0, ["production"]),
        ([timed("r0", State.DONE, "production", 600.0)], (2 * 600 + 2 * 1) / 2, []),
    ],
    ids=["the first runs", "one has finished"],
)
def test_the_time_left_takes_a_second_of_packing_for_no_run_of_hours(store, done, time_left, untimed):
    jobs = [
        timed("p0", State.DONE, "pack", 1.0),
        timed("p1", State.RUNNING, "pack"),
        timed("p2", State.WAITING, "pack"),
        timed("r1", State.RUNNING, "production"),
        timed("r2", State.READY, "production"),
        *done,
    ]
    found = read_progress(SimpleNamespace(jobs=lambda _: jobs), store, "c", None, processes=2)
    assert found.time_left == pytest.approx(time_left)
    assert found.untimed == untimed


def test_no_seeds_are_waited_for_once_an_iteration_is_decided(store):
    """A campaign that begins with the data of another has fewer than its plan."""
    plan = SimpleNamespace(stages=dict.fromkeys(("seed", "train", "explore", "label", "production"), (0, 5)))
    queue = SimpleNamespace(jobs=lambda _: [timed("t", State.DONE, "train", 60.0, stage="train")])
    assert "seed" in read_progress(queue, store, "c", plan, processes=1).untimed
    decided = {
        "schema_name": "iteration",
        "campaign_id": "c",
        "iteration": 0,
        "verdict": "continue",
        "strata": [],
        "worst_force_rmse": 0.1,
    }
    store.docs_store.update([{"uuid": "u", "index": 1, "output": decided}])
    found = read_progress(queue, store, "c", plan, processes=1)
    assert "seed" not in found.untimed
    assert found.time_left == pytest.approx(4 * 60.0)


def progress(**more):
    return Progress("c-1", submitted=True, **more)


def test_a_state_has_its_events(store):
    assert events_of(progress(cells={("", "train"): StageCount(done=1, waiting=1)}), store) == []
    failed = events_of(
        progress(cells={("", "train"): StageCount(failed=1)}, failed=[job("9", reason="why")]), store
    )
    assert [(e.kind, e.about) for e in failed] == [(Kind.FAILED, "u9:9")]
    assert "why" in failed[0].message
    store.update(
        {
            "uuid": "x", "index": 1,
            "output": {"schema_name": "iteration", "campaign_id": "c-1", "iteration": 3, "limit": "max_labels = 5"},
        }
    )  # fmt: skip
    ended = events_of(
        progress(cells={("", "train"): StageCount(done=2)}, verdict="not converged", iteration=3), store
    )
    assert [e.kind for e in ended] == [Kind.BUDGET_REACHED, Kind.NOT_CONVERGED, Kind.FINISHED]
    assert ended[0].message == "max_labels = 5"


@pytest.fixture
def hook():
    got = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204 if "fail" not in self.path else 500)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", got
    server.shutdown()
    thread.join()


def settings(tmp_path, **more):
    return Settings(workspace=tmp_path, **more)


def test_an_event_is_sent_once_however_many_watch(tmp_path, store, hook):
    url, got = hook
    script = tmp_path / "hook.py"
    script.write_text("import sys; open(sys.argv[1], 'a').write(sys.stdin.read())")
    log = tmp_path / "got $(id).txt"
    chosen = settings(tmp_path, webhook=SecretStr(url), notify_command=f"{sys.executable} {script} '{log}'")
    event = Event(Kind.FINISHED, "c-1", "all 3 jobs are done")
    said = []
    for _ in range(2):
        notifier = Notifier(chosen, store, said.append)
        notifier.send(event)
        notifier.send(event)
    assert [each["event"] for each in got] == ["finished"]
    assert got[0]["campaign"] == "c-1"
    assert [json.loads(line)["message"] for line in log.read_text().splitlines()] == ["all 3 jobs are done"]
    assert said == []


def test_one_that_could_not_be_sent_is_told_without_the_address_and_tried_again(tmp_path, store, hook):
    url, got = hook
    said = []
    chosen = settings(tmp_path, webhook=SecretStr(f"{url}fail/secret-token"))
    for _ in range(2):
        Notifier(chosen, store, said.append).send(Event(Kind.FAILED, "c-1", "x", "job"))
    assert len(got) == 2
    assert len(said) == 2
    assert all("secret" not in line and "HTTPError 500" in line for line in said)


def test_a_command_that_fails_is_told(tmp_path, store):
    said = []
    chosen = settings(tmp_path, notify_command="/no/such/program")
    Notifier(chosen, store, said.append).send(Event(Kind.FAILED, "c-1", "x", "job"))
    assert len(said) == 1
    assert "/no/such/program" in said[0]


def other(**changes):
    import yaml

    content = yaml.safe_load(TINY.read_text())
    content.update(changes)
    return CampaignFile.model_validate(content)


def test_a_campaign_is_claimed_once(store):
    submissions = Submissions(store)
    file = other()
    token = submissions.claim(file, "jf", None)
    assert token is not None
    with pytest.raises(ServiceError, match="is submitting it"):
        submissions.claim(file, "jf", None)
    submissions.settle(file.campaign_id, token)
    assert submissions.claim(file, "jf", None) is None
    with pytest.raises(InputError, match="in the queue of jf"):
        submissions.claim(file, "fireworks", None)
    found = submissions.find(file.campaign_id[:8])
    assert found.file == file
    assert found.state == "submitted"
    assert submissions.find("tiny").campaign_id == file.campaign_id
    with pytest.raises(InputError, match="there is no campaign"):
        submissions.find("other")


def test_a_claim_of_a_dead_process_is_taken_over(store):
    submissions = Submissions(store)
    file = other()
    submissions.claim(file, "jf", None)
    collection = submissions._collection
    collection.update_one({"_id": file.campaign_id}, {"$set": {"by.begun": 1.0}})
    (submission,) = submissions.all()
    assert submissions.abandoned(submission)
    token = submissions.claim(file, "jf", None)
    assert token is not None
    assert collection.name == COLLECTION
    submissions.release(file.campaign_id, token)
    assert submissions.all() == []


def test_one_that_only_adds_compositions_has_a_predecessor(store):
    submissions = Submissions(store)
    file = other()
    submissions.settle(file.campaign_id, submissions.claim(file, "jf", None))
    points = [{"x": 1, "y": 0}, {"x": 1, "y": "1/2"}]
    more = other(grid={"points": [*points, {"x": 1, "y": 1}]})
    assert submissions.predecessor(more) == file.campaign_id
    assert submissions.predecessor(file) is None
    # Fewer, others, or anything else that is not the same: a campaign of its own.
    assert submissions.predecessor(other(grid={"points": [*points[:1], {"x": 1, "y": 1}]})) is None
    assert submissions.predecessor(other(grid=more.grid.model_dump(mode="json"), seed=4)) is None
    assert submissions.predecessor(other(grid=more.grid.model_dump(mode="json"), name="another")) is None


def test_one_that_adds_more_jobs_at_once_than_a_queue_takes_is_refused(store):
    points = [{"x": 1, "y": f"{i}/751"} for i in range(751)]
    large = other(grid={"points": points}, cell={"n_al": 751})
    queue = SimpleNamespace(name="jf", has=lambda _: False, add=pytest.fail)
    with pytest.raises(InputError, match=r"1502 jobs at once.*takes 1500"):
        submit(queue, large, store, say=pytest.fail)
    assert Submissions(store).all() == []


REFUSED = OperationFailure("not authorized on laoc to execute command { find: ... }")
LOST = AutoReconnect(
    "127.0.0.1:27017: connection closed (configured timeouts: ...), Topology Description: <...>"
)


def test_a_database_that_goes_away_ends_a_command_in_one_line(capsys):
    @fails_clearly
    def command():
        raise LOST

    with pytest.raises(typer.Exit) as ended:
        command()
    assert ended.value.exit_code == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "does not answer any more" in said
    assert "Topology" not in said


def test_watch_waits_for_a_database_that_goes_away(monkeypatch, capsys):
    progress = Progress("c-1", submitted=True, cells={("", "seed"): StageCount(done=1)})
    looks = iter([LOST, LOST, [(None, progress)]])

    def look(*_):
        found = next(looks)
        if isinstance(found, Exception):
            raise found
        return found

    waits = []
    monkeypatch.setattr(status, "_look", look)
    for name in ("open_workspace", "Campaigns", "Notifier", "picture"):
        monkeypatch.setattr(status, name, mock.MagicMock())
    monkeypatch.setattr(status.time, "sleep", waits.append)
    status.watch("c-1", every=3.0, keep=False, workspace=None)
    said = capsys.readouterr().err
    assert said.count("looking again") == 1
    assert waits == [3.0, 3.0]


def test_an_event_is_sent_though_the_database_went_away_when_it_was_first_seen(tmp_path, store, hook):
    url, got = hook
    notifier = Notifier(settings(tmp_path, webhook=SecretStr(url)), store, lambda _: None)
    insert = notifier._collection.insert_one
    failures = iter([LOST])

    def once_away(document):
        for error in failures:
            raise error
        return insert(document)

    notifier._collection = mock.MagicMock(wraps=notifier._collection)
    notifier._collection.insert_one.side_effect = once_away
    event = Event(Kind.FINISHED, "c-1", "all 3 jobs are done")
    with pytest.raises(AutoReconnect):
        notifier.send(event)
    assert got == []
    notifier.send(event)
    notifier.send(event)
    assert [each["event"] for each in got] == ["finished"]


def test_what_the_database_refuses_is_not_told_as_its_absence(capsys):
    @fails_clearly
    def command():
        raise REFUSED

    with pytest.raises(typer.Exit):
        command()
    said = capsys.readouterr().err
    assert "the database refuses" in said
    assert said.count("\n") == 1


def test_what_the_queue_refuses_to_run_again_is_told(store):
    queue = mock.MagicMock()
    queue.name = "jf"
    queue.jobs.return_value = [job("1", reason="OSError: [Errno 28] No space left on device")]
    queue.rerun.return_value = 0
    done = resume(queue, store, "c", tries=3)
    assert [each.id for each in done.refused] == ["1"]
    assert done.again == []
