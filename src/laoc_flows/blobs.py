"""Bytes addressed by their SHA-256: small documents point at them, the JobStore's additional store holds them.

A blob is anything that grows with atoms or steps and has to reach another machine: frozen models, labeled
frames, final structures. Files (trajectories) live under the trajectory root, an fsspec URL.
"""

from __future__ import annotations

import base64
import hashlib
import json
import posixpath
import re
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
from pydantic import BaseModel, ConfigDict, Field

from laoc_flows.errors import ServiceError

if TYPE_CHECKING:
    from jobflow import JobStore

ADDITIONAL_STORE = "data"
_CHUNK = 1 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")


class BlobRef(BaseModel):
    """A pointer to bytes in the JobStore's additional store ``data``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str = Field(description="SHA-256 of the bytes, hexadecimal; also their address")
    size: int = Field(description="number of bytes [B]", ge=0)
    media_type: str = Field(description="what the bytes are, for example 'chemical/x-extxyz+gzip'")


class FileRef(BaseModel):
    """A pointer to a file under the trajectory root."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    uri: str = Field(description="fsspec URL of the file")
    sha256: str = Field(description="SHA-256 of the file, hexadecimal")
    size: int = Field(description="size of the file [B]", ge=0)


def digest(data: bytes) -> str:
    """SHA-256 of bytes, hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def digest_json(value: Any) -> str:
    """SHA-256 of the canonical JSON of a value made of plain types (sorted keys, no spaces)."""
    return digest(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


def derive_seed(*identity: object) -> int:
    """Seed in [1, 2^31 - 2] from the campaign seed and a job's own identity.

    Parameters
    ----------
    *identity : object
        Whatever names the random choice: campaign seed, composition id, stage, index, ...

    Returns
    -------
    int
        The same identity gives the same seed on every machine.
    """
    return int(digest_json([str(part) for part in identity])[:15], 16) % (2**31 - 2) + 1


class BlobFolder:
    """Blobs as files below a root that several machines see, in the place of the additional store ``data``.

    It answers to what `put_blob` and `get_blob` ask of a maggma store.

    Parameters
    ----------
    root : str
        fsspec URL, or path.
    """

    def __init__(self, root: str) -> None:
        self._filesystem, self._base = fsspec.core.url_to_fs(root)

    def connect(self, *, force_reset: bool = False) -> None:
        """Make nothing: files need no connection."""

    def close(self) -> None:
        """Close nothing."""

    def _path(self, name: str) -> str:
        return posixpath.join(self._base, name[:2], name)

    def query_one(
        self, criteria: dict[str, Any], properties: Sequence[str] | None = None
    ) -> dict[str, Any] | None:
        """Document of a blob, without its bytes where `properties` does not ask for them; None if there is none."""
        name = str(criteria["blob_uuid"])
        if not _SHA256.fullmatch(name) or not self._filesystem.exists(self._path(name)):
            return None
        if properties is not None and "data" not in properties:
            return {"blob_uuid": name}
        return {
            "blob_uuid": name,
            "data": base64.b64encode(self._filesystem.cat_file(self._path(name))).decode(),
        }

    def update(self, docs: Sequence[dict[str, Any]], key: str) -> None:
        """Write blobs; each appears whole, or not at all."""
        for document in docs:
            path = self._path(str(document[key]))
            partial = f"{path}.{uuid.uuid4().hex}.partial"
            self._filesystem.makedirs(posixpath.dirname(path), exist_ok=True)
            self._filesystem.pipe_file(partial, base64.b64decode(document["data"]))
            self._filesystem.mv(partial, path)


def keep_blobs_in(store: JobStore, root: str | None) -> JobStore:
    """A JobStore of the same documents that keeps its blobs below a root instead of in its own additional store.

    Parameters
    ----------
    store : jobflow.JobStore
        JobStore; jf wants to find its own additional store in it afterwards, so it stays as it is.
    root : str or None
        fsspec URL, or path; None gives the JobStore itself.
    """
    if root is None:
        return store
    stores = {**store.additional_stores, ADDITIONAL_STORE: BlobFolder(root)}
    # The same connection: a copy of a maggma store would be one that is not connected.
    return type(store)(store.docs_store, additional_stores=stores, save=store.save, load=store.load)


def put_blob(store: JobStore, data: bytes, media_type: str) -> BlobRef:
    """Store bytes once; storing them again does nothing.

    Parameters
    ----------
    store : jobflow.JobStore
        Connected JobStore with an additional store named ``data``.
    data : bytes
        What to store.
    media_type : str
        What the bytes are.

    Returns
    -------
    BlobRef
        Address of the bytes.
    """
    blob = BlobRef(sha256=digest(data), size=len(data), media_type=media_type)
    target = _additional(store)
    if target.query_one({"blob_uuid": blob.sha256}, properties=["blob_uuid"]) is None:
        document = {"blob_uuid": blob.sha256, "encoding": "base64", "data": base64.b64encode(data).decode()}
        target.update([document], key="blob_uuid")
    return blob


def get_blob(store: JobStore, blob: BlobRef) -> bytes:
    """Bytes of a blob, verified against its digest.

    Raises
    ------
    ServiceError
        If the blob is missing or its content does not have the digest it is addressed by.
    """
    document = _additional(store).query_one({"blob_uuid": blob.sha256})
    if document is None:
        msg = (
            f"blob {blob.sha256[:12]} ({blob.media_type}) is not in the additional store {ADDITIONAL_STORE!r}"
        )
        raise ServiceError(
            msg,
            remedy="check that worker and submitter use the same JobStore, or set blob_root in their settings",
        )
    data = base64.b64decode(document["data"])
    if digest(data) != blob.sha256:
        msg = f"blob {blob.sha256[:12]} ({blob.media_type}) does not have the content it is addressed by"
        raise ServiceError(msg, remedy="restore the store from a backup; the content was altered")
    return data


def _additional(store: JobStore) -> Any:
    try:
        return store.additional_stores[ADDITIONAL_STORE]
    except KeyError:
        msg = f"the JobStore has no additional store named {ADDITIONAL_STORE!r}"
        raise ServiceError(msg, remedy="run 'laoc init', or add it to the JobStore configuration") from None


def digest_file(path: Path) -> str:
    """SHA-256 of a file, hexadecimal, read in chunks."""
    sha = hashlib.sha256()
    with path.open("rb") as handle:
        while chunk := handle.read(_CHUNK):
            sha.update(chunk)
    return sha.hexdigest()


def publish_file(path: Path, root: str, name: str) -> FileRef:
    """Copy a local file to ``root/name`` and return its pointer; the target appears whole or not at all.

    Parameters
    ----------
    path : pathlib.Path
        Local file.
    root : str
        fsspec URL or path of the trajectory root.
    name : str
        Path below the root.
    """
    filesystem, base = fsspec.core.url_to_fs(root)
    target = posixpath.join(base, name)
    filesystem.makedirs(posixpath.dirname(target), exist_ok=True)
    partial = f"{target}.partial"
    filesystem.put_file(str(path), partial)
    filesystem.mv(partial, target)
    return FileRef(
        uri=filesystem.unstrip_protocol(target), sha256=digest_file(path), size=path.stat().st_size
    )


def fetch_file(ref: FileRef, target: Path) -> Path:
    """Copy a published file to a local path and verify it.

    Raises
    ------
    ServiceError
        If the file is gone or does not have its digest.
    """
    filesystem, path = fsspec.core.url_to_fs(ref.uri)
    try:
        filesystem.get_file(path, str(target))
    except FileNotFoundError:
        msg = "the trajectory is gone"
        raise ServiceError(msg, where=ref.uri, remedy="restore it; its document is kept") from None
    if digest_file(target) != ref.sha256:
        msg = "the trajectory does not have the digest its document states"
        raise ServiceError(msg, where=ref.uri, remedy="restore it; the file was altered")
    return target
