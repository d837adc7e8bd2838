"""A workspace: one directory with everything that a campaign needs besides the machines it runs on."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml
from pydantic import SecretStr

from laoc_flows.blobs import keep_blobs_in
from laoc_flows.errors import InputError, ServiceError, WorkspaceBusyError
from laoc_flows.settings import SETTINGS_FILE, Settings, write_private
from laoc_flows.store.connection import ping, without_login
from laoc_flows.store.mongod import EmbeddedMongo

if TYPE_CHECKING:
    from fireworks import LaunchPad
    from jobflow import JobStore

_SUBDIRECTORIES = ("mongod", "launches", "scratch", "trajectories", "campaigns")
PING: Final = 60
"""Time between two signs of life of a job that FireWorks runs [s]."""
_QUEUE_INTERVAL = 1  # s
_PATIENCE = 120_000  # ms
_POLL = 0.05  # s

_DEFAULTS = """\
# Settings of this workspace. Environment variables override them: LAOC_DATABASE, LAOC_PROCESSES, ...

# MongoDB connection string; without one the workspace runs a MongoDB of its own.
# mongo_uri: mongodb://user:password@host:27017/?authSource=admin

# Name of the MongoDB database.
# database: laoc

# Where trajectories are kept: an fsspec URL, or a path in the workspace.
# trajectory_root: trajectories

# Working directories of programs: a path in the workspace.
# scratch: scratch

# Jobs that run at once; by default the number of cores this process may use.
# processes: 4

# Threads of one job.
# threads_per_job: 1

# How to start programs; by default they are looked for beside the Python interpreter, then on PATH.
# lmp_command: lmp
# packmol_command: packmol

# What `laoc submit` needs; `laoc run` does without. Give `laoc init` again after a change.
# Places that jobs run in, by names of your own; without any, processes of this machine.
# workers:
#   cluster:
#     scheduler: slurm            # shell, slurm, pbs or sge
#     max_jobs: 50                # jobs that wait or run at once
#     resources: {partition: cpu, account: my-project, time_limit: 86400}   # s
#     setup: {modules: [intel/2025]}

# Which worker does what, and what its jobs need. dft labels frames with the reference engine, train trains potentials, md runs
# LAMMPS, light is the rest: minutes of one core.
# roles:
#   dft:
#     worker: cluster
#     resources: {nodes: 1, processes: 48}
#     engines: {vasp: {setup: {modules: [vasp/6.5]}}}
#   train: {worker: cluster, resources: {partition: gpu, gpus: 1, threads: 8}}

# Where models and frames are kept besides the database: for workers that do not reach it.
# blob_root: /shared/laoc-blobs

# Whom to tell when a campaign has finished, failed, not converged or reached its budget.
# webhook: https://example.org/hook
# notify_command: /home/me/bin/tell-me
"""


class Workspace:
    """A directory that holds settings, database, launch directories, scratch space and trajectories.

    Parameters
    ----------
    path : pathlib.Path, optional
        Directory of the workspace. By default ``LAOC_WORKSPACE``, or ``.laoc`` below the current directory.

    Raises
    ------
    InputError
        If there is no workspace.

    Examples
    --------
    >>> workspace = Workspace.create(Path("li-al-o-cl"))  # doctest: +SKIP
    >>> workspace.write_service_files()  # doctest: +SKIP
    >>> subprocess.run(["rlaunch", "rapidfire"], env={**os.environ, **workspace.environment()})  # doctest: +SKIP
    """

    def __init__(self, path: Path | None = None) -> None:
        directory = path or Path(
            os.environ.get("LAOC_WORKSPACE") or Settings.model_fields["workspace"].default
        )
        self.path: Path = directory.expanduser().resolve()
        if not (self.path / SETTINGS_FILE).is_file():
            msg = "this is not a workspace"
            raise InputError(msg, where=str(self.path), remedy="run 'laoc init', or set LAOC_WORKSPACE")
        self.mongo = EmbeddedMongo(self.path / "mongod")
        self.jobflow_file = self.path / "jobflow.yaml"
        self.launchpad_file = self.path / "my_launchpad.yaml"
        self.fireworks_file = self.path / "FW_config.yaml"
        self._overrides: dict[str, str] = {}

    @classmethod
    def create(cls, path: Path) -> Workspace:
        """Make a workspace, or complete one; what is there stays as it is.

        Parameters
        ----------
        path : pathlib.Path
            Directory, made with mode 0700.

        Raises
        ------
        InputError
            If the directory cannot be made.
        """
        directory = path.expanduser().resolve()
        try:
            for each in (directory, *(directory / name for name in _SUBDIRECTORIES)):
                each.mkdir(mode=0o700, parents=True, exist_ok=True)
                each.chmod(0o700)
            if not (directory / SETTINGS_FILE).exists():
                write_private(directory / SETTINGS_FILE, _DEFAULTS)
        except OSError as error:
            msg = f"the workspace cannot be made ({error.strerror})"
            raise InputError(
                msg, where=str(directory), remedy="choose a directory that you may write to"
            ) from None
        return cls(directory)

    @cached_property
    def settings(self) -> Settings:
        """The settings, read once."""
        return Settings.load(self.path)

    def override(self, **values: Any) -> None:
        """Override settings for this process and the workers it starts; None leaves a setting as it is.

        Raises
        ------
        InputError
            If a value is not valid.
        """
        changed = {name: value for name, value in values.items() if value is not None}
        self._overrides |= {f"LAOC_{name.upper()}": str(value) for name, value in changed.items()}
        with environment(self._overrides):
            self.__dict__["settings"] = Settings.load(self.path)

    @property
    def launches(self) -> Path:
        """Directory in which jobs are launched."""
        return self.path / "launches"

    @property
    def campaigns(self) -> Path:
        """Directory of the submitted campaign files."""
        return self.path / "campaigns"

    def database_uri(self, *, start: bool = True) -> SecretStr:
        """Give the connection string of the database, which was reached when this returns.

        Parameters
        ----------
        start : bool
            Whether to start the embedded MongoDB if it does not run.

        Raises
        ------
        ServiceError
            If the database cannot be reached, or the embedded MongoDB does not run and may not be started.
        """
        uri = self.settings.mongo_uri
        if uri is not None:
            ping(uri)
            return uri
        if start:
            self.mongo.start()
        elif not self.mongo.status().running:
            msg = "the embedded MongoDB does not run"
            raise ServiceError(msg, where=str(self.path), remedy="start it first")
        return self.mongo.uri(self.settings.database)

    def job_store_spec(self) -> dict[str, Any]:
        """Specification of the JobStore, password included, as jobflow and jobflow-remote take it."""
        address, login = without_login(self.database_uri())
        common = {"uri": address, "database": self.settings.database, "mongoclient_kwargs": login}
        return {
            "docs_store": {"type": "MongoStore", "collection_name": "outputs", **common},
            "additional_stores": {
                "data": {"type": "GridFSStore", "collection_name": "outputs_blobs", **common}
            },
        }

    def write_service_files(self) -> None:
        """Write the configuration of jobflow and FireWorks for this workspace; only its owner may read it.

        User name and password are kept out of the connection strings: maggma takes a store's connection string for
        the store's name, and names end up in logs.

        Raises
        ------
        ServiceError
            If the database cannot be reached.
        """
        store = self.job_store_spec()
        docs = store["docs_store"]
        launchpad = {
            "host": docs["uri"],
            "name": self.settings.database,
            "uri_mode": True,
            # qlaunch and rlaunch end when they have not reached the database for so long: a restart of it takes a minute.
            "mongoclient_kwargs": {**docs["mongoclient_kwargs"], "serverSelectionTimeoutMS": _PATIENCE},
            "strm_lvl": "WARNING",
        }
        fireworks = {
            "LAUNCHPAD_LOC": str(self.launchpad_file),
            "CONFIG_FILE_DIR": str(self.path),
            # A sign of life of every running job each minute: their default of an hour hides a dead one for a day.
            "PING_TIME_SECS": PING,
            # Where a job of its own is submitted for each, the moment between two need not be long.
            "QUEUE_UPDATE_INTERVAL": _QUEUE_INTERVAL,
        }
        for path, content in (
            (self.jobflow_file, {"JOB_STORE": store}),
            (self.launchpad_file, launchpad),
            (self.fireworks_file, fireworks),
        ):
            write_yaml(path, content)

    def environment(self) -> dict[str, str]:
        """Environment variables of a worker process, to be added to the current environment."""
        return {
            "LAOC_WORKSPACE": str(self.path),
            "JOBFLOW_CONFIG_FILE": str(self.jobflow_file),
            "FW_CONFIG_FILE": str(self.fireworks_file),
            **self._overrides,
            **self.settings.thread_environment(),
        }

    def launchpad(self) -> LaunchPad:
        """Connect to the FireWorks LaunchPad; the service files are brought up to date first."""
        from fireworks import LaunchPad  # reads its configuration when it is imported

        self.write_service_files()
        return LaunchPad.from_file(str(self.launchpad_file))

    def job_store(self) -> JobStore:
        """Connect to the JobStore; the service files are brought up to date first."""
        from jobflow import JobStore  # takes seconds, which most commands need not spend

        self.write_service_files()
        store = JobStore.from_dict_spec(
            yaml.safe_load(self.jobflow_file.read_text(encoding="utf-8"))["JOB_STORE"]
        )
        store.connect()
        return keep_blobs_in(store, self.settings.blob_root)

    @contextlib.contextmanager
    def lock(self, timeout: float = 0.0) -> Iterator[int]:
        """Hold the workspace for oneself and for the workers one starts.

        Parameters
        ----------
        timeout : float
            How long to wait for the lock [s].

        Yields
        ------
        int
            File descriptor of the lock. A worker that is started with it (``subprocess.Popen(...,
            pass_fds=[descriptor])``) holds the lock for as long as it lives, also after its parent has died.

        Raises
        ------
        WorkspaceBusyError
            If others still hold the lock; the message names their process ids.
        """
        path = self.path / "run.lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            deadline = time.monotonic() + timeout
            while not _taken(descriptor):
                if time.monotonic() >= deadline:
                    raise _busy(path)
                time.sleep(_POLL)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            os.set_inheritable(descriptor, True)
            yield descriptor
        finally:
            # Closed, never unlocked: unlocking would take the lock from the workers that inherited it.
            os.close(descriptor)


@contextlib.contextmanager
def environment(variables: dict[str, str]) -> Iterator[None]:
    """Set environment variables for a while."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def write_yaml(path: Path, content: Any) -> None:
    """Write a YAML file that only its owner may read; it appears whole, or not at all."""
    write_private(path, yaml.dump(content, Dumper=_PlainDumper, sort_keys=False))


class _PlainDumper(yaml.SafeDumper):
    """Writes what is repeated twice; anchors are more than other YAML readers may take."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    """Text as it stands, where it has several lines."""
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_PlainDumper.add_representer(str, _text)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _busy(path: Path) -> WorkspaceBusyError:
    holders = (
        ", ".join(str(pid) for pid in _holders(path)) or path.read_text(encoding="ascii").strip() or "unknown"
    )
    msg = f"another process works in this workspace (process {holders})"
    return WorkspaceBusyError(msg, where=str(path.parent), remedy="wait for it, or end it")


def _holders(path: Path) -> list[int]:
    """Find the processes that hold the lock, the workers that inherited it included."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*/fd/*"):
        # Processes end while one looks, and those of others cannot be looked into.
        with contextlib.suppress(OSError):
            if entry.readlink() == path and "lock:" in (entry.parents[1] / "fdinfo" / entry.name).read_text():
                found.add(int(entry.parents[1].name))
    return sorted(found)
