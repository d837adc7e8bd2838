"""What every job of the campaign shares: access to the store, and looking up what is already done."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from jobflow import CURRENT_JOB, Flow, Job, JobConfig, JobflowSettings, JobStore, Maker, job
from pydantic import BaseModel

from laoc_flows.blobs import keep_blobs_in
from laoc_flows.errors import ServiceError
from laoc_flows.settings import Settings

_Model = TypeVar("_Model", bound=BaseModel)
METADATA_KEY = "laoc"


class LaocMaker(Maker):
    """A Maker whose pydantic fields survive FireWorks, which turns what is no MSONable into text."""

    def as_dict(self) -> dict[str, Any]:
        """Dictionary that monty decodes into an equal Maker."""
        fields = {name: _marked(value) for name, value in vars(self).items() if not name.startswith("_")}
        return {"@module": type(self).__module__, "@class": type(self).__qualname__, **fields}


def _marked(value: Any) -> Any:
    if isinstance(value, BaseModel):
        cls = type(value)
        return {"@module": cls.__module__, "@class": cls.__qualname__, **value.model_dump(mode="json")}
    return [_marked(item) for item in value] if isinstance(value, (list, tuple)) else value


def laoc_job(
    output_schema: type[BaseModel] | None = None,
    *,
    resolve_references: bool = True,
) -> Callable[[Callable[..., Any]], Callable[..., Job]]:
    """Decorator: a jobflow job that sees the JobStore while it runs (for blobs and finished work).

    Parameters
    ----------
    output_schema : type, optional
        Pydantic model of the output.
    resolve_references : bool
        Whether the job gets what the outputs of others hold, and not where they are.
    """
    # Where a job runs follows from what it is, not from the job that has made it.
    config = JobConfig(expose_store=True, pass_manager_config=False, resolve_references=resolve_references)
    return job(output_schema=output_schema, config=config)


def current_store() -> JobStore:
    """JobStore of the running job: where blobs are, and what is already done.

    Under jf a job writes its output into files that the runner collects. What was made before is in the database, if the
    worker has one (``JOBFLOW_CONFIG_FILE``): then it is the database's JobStore. Without one nothing is known to be done,
    and blobs are below `blob_root`.

    Raises
    ------
    ServiceError
        Outside a job.
    """
    store = CURRENT_JOB.store
    if store is None:
        msg = "this needs the JobStore of a running job"
        raise ServiceError(msg, remedy="run it through jobflow (laoc run, run_locally, jf or FireWorks)")
    if type(store.docs_store).__module__.startswith("jobflow_remote."):
        store = _database() or store
    return keep_blobs_in(store, Settings.load().blob_root)


@cache
def _database() -> JobStore | None:
    if not os.environ.get("JOBFLOW_CONFIG_FILE"):
        return None
    # A job runs in a process of its own, which has read this file when it was started.
    store = JobflowSettings().JOB_STORE
    store.connect()
    return store


def finished(
    model: type[_Model],
    schema_name: str,
    key: str,
    field: str = "output",
    where: Mapping[str, Any] | None = None,
) -> _Model | None:
    """Output of an earlier job with the same content address, from any campaign or launch.

    Makes a restart cheap and safe: a job that was killed after it stored its output, or whose work another
    campaign did before, returns at once.

    Parameters
    ----------
    model : type
        Model of the document.
    schema_name, key : str
        Identity of the document.
    field : str
        Where in a stored job the document is.
    where : mapping, optional
        Further conditions, where not every document with the key will do.
    """
    store = current_store()
    query = {f"{field}.schema_name": schema_name, f"{field}.key": key, **(where or {})}
    found = store.docs_store.query_one(query, {field: 1})
    for part in field.split("."):
        found = found[part] if found is not None else None
    return None if found is None else model.model_validate(_plain(found))


def _plain(value: Any) -> Any:
    """Strip the class markers that jobflow adds to stored models."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items() if k not in {"@module", "@class", "@version"}}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


@contextmanager
def scratch_directory(name: str) -> Iterator[Path]:
    """Temporary directory under the configured scratch, removed at the end unless the job fails in it."""
    root = Settings.load().scratch
    root.mkdir(parents=True, exist_ok=True)
    path = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=root))
    yield path
    # Not in a finally: after a failure the logs stay for the user.
    shutil.rmtree(path, ignore_errors=True)


@contextmanager
def lasting_directory(name: str, key: str) -> Iterator[Path]:
    """Directory under the configured scratch that a job finds again after a kill, removed at the end.

    Where another process is working in it, which happens when a job runs twice, it is a temporary one instead.

    Parameters
    ----------
    name : str
        What the job does.
    key : str
        Content address of what it makes.
    """
    root = Settings.load().scratch
    path = root / f"{name}-{key[:16]}"
    path.mkdir(parents=True, exist_ok=True)
    with (path / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            with scratch_directory(name) as temporary:
                yield temporary
            return
        yield path
        shutil.rmtree(path, ignore_errors=True)


def stamp(work: Job | Flow, **fields: Any) -> Job | Flow:
    """Write a campaign's bookkeeping into the metadata of a job or of all jobs of a flow.

    The fields appear as ``metadata.laoc.*`` in the JobStore and as ``spec.laoc.*`` in FireWorks; a field that
    a job has already keeps its value.
    """
    if isinstance(work, Flow):
        for child in work.jobs:
            stamp(child, **fields)
        return work
    work.metadata = {**work.metadata, METADATA_KEY: {**fields, **work.metadata.get(METADATA_KEY, {})}}
    return work
