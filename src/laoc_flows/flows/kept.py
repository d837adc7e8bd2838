"""What grows with a campaign goes along with its jobs as the address of a blob, not in the document of every job.

The queues keep the arguments of a job, and FireWorks those of all jobs that a job adds, in one document of MongoDB, which takes
16 MB.
"""

from __future__ import annotations

from typing import TypeVar

from jobflow import CURRENT_JOB

from laoc_flows.blobs import BlobRef, get_blob, put_blob
from laoc_flows.jobs import current_store
from laoc_flows.schemas.base import Model

T = TypeVar("T", bound=Model)
_JSON = "application/json"


def kept(value: T) -> T | BlobRef:
    """Where a value is stored, for the jobs that need it; outside a job, where there is no store, the value itself.

    Parameters
    ----------
    value : Model
        Value.
    """
    if CURRENT_JOB.store is None:
        return value
    return put_blob(current_store(), value.model_dump_json().encode(), _JSON)


def held(kind: type[T], value: T | BlobRef) -> T:
    """Value that is kept.

    Parameters
    ----------
    kind : type
        What it is.
    value : Model or BlobRef
        What `kept` gave.

    Raises
    ------
    ServiceError
        If the blob is missing, or was changed.
    pydantic.ValidationError
        If it is not of this kind.
    """
    if isinstance(value, BlobRef):
        return kind.model_validate_json(get_blob(current_store(), value))
    return value
