"""The store as people use it: documents by composition, and the frames, curves and models they point at."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from ase import Atoms

from laoc_flows.analysis import Analysis
from laoc_flows.blobs import BlobRef, FileRef, fetch_file, get_blob
from laoc_flows.errors import QueryError, ServiceError, as_written
from laoc_flows.frames import decode_frames
from laoc_flows.schemas.label import LabelStatus
from laoc_flows.schemas.potential import PotentialDocument
from laoc_flows.store.builders import build_all
from laoc_flows.store.catalog import fields_of
from laoc_flows.store.columns import parse_columns
from laoc_flows.store.incremental import handle, sibling_store
from laoc_flows.store.query import conjunction, sort_order, where_from
from laoc_flows.store.stored import plain
from laoc_flows.store.workspace import Workspace

if TYPE_CHECKING:
    from jobflow import JobStore

Interval: TypeAlias = float | str | tuple[float | None, float | None]
"""A number (a ratio such as "1/3" too), or (low, high) with None for an open end; both ends belong to it."""

Condition: TypeAlias = str | Mapping[str, Any] | None
Where: TypeAlias = Condition | list[Condition]
"""Conditions, see `parse_where` and `where_from`; of a list all must hold."""

_DEFAULT_SORT = {
    "compositions": "campaign_id,x,y",
    "structures": "x,y,stage,replica,key",
    "transport": "x,y,replica,key",
    "labels": "x,y,trajectory_id,batch_key,index",
    "potentials": "campaign_id,iteration,key",
    "iterations": "campaign_id,iteration,key",
}


class LaocStore:
    """What campaigns have made, ready to be queried.

    Parameters
    ----------
    job_store : jobflow.JobStore
        JobStore of the campaigns; it is connected if it is not. It stays open when the store is left as a context,
        since others may use it.

    Examples
    --------
    >>> with LaocStore.open() as store:  # doctest: +SKIP
    ...     store.build()
    ...     for row in store.query("structures", "status=glass", x=(0.5, 1.0), sort="x,y"):
    ...         print(row["formula"], row["density"]["value"], store.structure(row))
    """

    def __init__(self, job_store: JobStore) -> None:
        self.job_store = job_store
        self.job_store.connect()
        self._owned = False

    @classmethod
    def open(cls, workspace: Path | Workspace | None = None) -> Self:
        """Open the store of a workspace; its embedded MongoDB is started if it does not run.

        Parameters
        ----------
        workspace : pathlib.Path, Workspace or None
            Workspace; by default ``LAOC_WORKSPACE``, or ``.laoc`` below the current directory.

        Raises
        ------
        InputError
            If there is no workspace.
        ServiceError
            If the database cannot be reached.
        """
        place = workspace if isinstance(workspace, Workspace) else Workspace(workspace)
        store = cls(place.job_store())
        store._owned = True
        return store

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._owned:
            self.close()

    def close(self) -> None:
        """Close the connection to the database."""
        self.job_store.close()

    def build(self, *, rebuild: bool = False, processes: int = 1) -> dict[str, int]:
        """Bring the collections up to date with the jobs that have ended.

        Parameters
        ----------
        rebuild : bool
            Whether to build everything from nothing.
        processes : int
            Processes that validate documents, where there are thousands.

        Returns
        -------
        dict of str to int
            Documents written, by collection.
        """
        return build_all(self.job_store, rebuild=rebuild, processes=processes)

    def query(
        self,
        collection: str,
        where: Where = None,
        *,
        x: Interval | None = None,
        y: Interval | None = None,
        o_to_cl: Interval | None = None,
        li_to_al: Interval | None = None,
        campaign_id: str | None = None,
        columns: str | Sequence[str] | None = None,
        sort: str | None = None,
        limit: int = 0,
    ) -> list[dict[str, Any]]:
        """Find documents.

        Parameters
        ----------
        collection : str
            compositions, structures, transport, labels, potentials or iterations.
        where : str, mapping, list of them, or None
            Conditions, see `parse_where` and `where_from`; of a list all must hold.
        x, y, o_to_cl, li_to_al : float, str, pair or None
            Values, or ranges with both ends included: Li per Al, O per Al, O per Cl and Li per Al.
        campaign_id : str, optional
            Only what this campaign made or used.
        columns : str or sequence of str, optional
            Fields by dotted path; without any, whole documents are returned.
        sort : str, optional
            Fields to sort by, such as ``"x,-density"``; by default by composition.
        limit : int
            Most documents; 0 for all.

        Returns
        -------
        list of dict
            Documents; with `columns` a flat dictionary from path to value for each.

        Raises
        ------
        QueryError
            If the collection, a field or a condition cannot be understood.
        """
        conditions = {"x": x, "y": y, "o_to_cl": o_to_cl, "li_to_al": li_to_al, "campaign_id": campaign_id}
        named = {name: value for name, value in conditions.items() if value is not None}
        criteria = conjunction([where_from(collection, part) for part in [*_listed(where), named]])
        chosen = parse_columns(collection, columns)
        order = sort_order(collection, sort or _DEFAULT_SORT[collection])
        if isinstance(limit, bool) or limit < 0:
            msg = f"limit = {limit} is no number of documents"
            raise QueryError(msg, remedy="give a positive number, or 0 for all")
        projection: dict[str, int] = {"_id": 0, "digest": 0, "newest_source": 0}
        if chosen:
            projection = {"_id": 0, **dict.fromkeys({field.root for field in chosen}, 1)}
        cursor = self._collection(collection).find(criteria, projection).sort(order).limit(limit)
        if not chosen:
            return list(cursor)
        return [{field.path: field.value(document) for field in chosen} for document in cursor]

    @as_written("what the document points at")
    def structure(self, doc: Mapping[str, Any]) -> Atoms:
        """Last frame of a structure document, verified against its digest.

        Parameters
        ----------
        doc : mapping
            Document of ``structures``, or of ``transport`` (the glass it was measured in).

        Raises
        ------
        QueryError
            If the document points at no structure.
        ServiceError
            If the frame is missing or was altered.
        """
        if "structure" not in doc and "structure_key" in doc:
            doc = self._one("structures", str(doc["structure_key"]))
        return decode_frames(self._blob(doc, "structure"))[0]

    @as_written("what the document points at")
    def trajectory(self, doc: Mapping[str, Any], path: Path) -> Path:
        """Copy the trajectory of a transport document to a local path (H5MD), verified against its digest.

        Parameters
        ----------
        doc : mapping
            Document of ``transport``.
        path : pathlib.Path
            File to be written.

        Raises
        ------
        QueryError
            If the document points at no trajectory.
        ServiceError
            If the file is gone or was altered.
        """
        return fetch_file(FileRef.model_validate(_pointer(doc, "trajectory")), path)

    @as_written("what the document points at")
    def curves(self, doc: Mapping[str, Any]) -> dict[str, Any]:
        """Curves of a document: g(r) of a structure, mean squared displacements of a transport document.

        Raises
        ------
        QueryError
            If the document points at no curves.
        ServiceError
            If they are missing or were altered.
        """
        return dict(json.loads(self._blob(doc, "curves")))

    @as_written("what the document points at")
    def profile(self, doc: Mapping[str, Any]) -> dict[str, list[Any]]:
        """How a cell was made: temperature, pressure, energy and volume over time.

        Parameters
        ----------
        doc : mapping
            Document of ``structures``.

        Returns
        -------
        dict of str to list
            Columns of equal length: stage, time_ps, temperature_K, pressure_GPa, potential_energy_eV,
            volume_angstrom3.

        Raises
        ------
        QueryError
            If the document points at none, for example because an earlier version made it.
        ServiceError
            If what it points at is missing, was altered, or is something else.
        """
        return dict(json.loads(self._blob(doc, "profile")))

    @as_written("what the document points at")
    def log(self, doc: Mapping[str, Any]) -> dict[str, bytes]:
        """Files that a failed label or run has left: custodian's log, and the ends of the program's own.

        Parameters
        ----------
        doc : mapping
            Document of ``labels``.

        Returns
        -------
        dict of str to bytes
            Content by file name.

        Raises
        ------
        QueryError
            If the document points at no log.
        ServiceError
            If what it points at is missing, was altered, or is something else.
        """
        with tarfile.open(fileobj=io.BytesIO(self._blob(doc, "log")), mode="r:gz") as archive:
            files = [(member.name, archive.extractfile(member)) for member in archive.getmembers()]
            return {name: file.read() for name, file in files if file is not None}

    @as_written("what the document points at")
    def analysis(self, doc: Mapping[str, Any]) -> Analysis:
        """Everything the analysis suite says about the run of a transport document.

        Parameters
        ----------
        doc : mapping
            Document of ``transport``.

        Raises
        ------
        QueryError
            If the document has none, for example because an earlier version made it.
        ServiceError
            If what it points at is missing, was altered, or is something else.
        """
        return Analysis.model_validate_json(gzip.decompress(self._blob(doc, "analysis")))

    @as_written("what the document points at")
    def model(self, potential: Mapping[str, Any] | PotentialDocument | str, index: int = 0) -> bytes:
        """Frozen model of a potential, verified against its digest.

        Parameters
        ----------
        potential : mapping, PotentialDocument or str
            The potential, its key, or any document with a `potential_key`.
        index : int
            Which model of the committee; the first one runs production.

        Raises
        ------
        QueryError
            If there is no such potential or model.
        ServiceError
            If the model is missing or was altered.
        """
        if isinstance(potential, PotentialDocument):
            potential = potential.model_dump()
        if isinstance(potential, str):
            potential = self._one("potentials", potential)
        elif "models" not in potential:
            key = potential.get("potential_key")
            if key is None:
                msg = "this document names no potential"
                raise QueryError(msg, remedy="give a document of 'potentials', or one with a potential_key")
            potential = self._one("potentials", str(key))
        models = potential["models"]
        if not 0 <= index < len(models):
            msg = f"the potential has no model {index}"
            raise QueryError(msg, remedy=f"it has {len(models)} models, counted from 0")
        return self._blob(models[index], "model")

    @as_written("a label")
    def labels(self, where: Where = None, *, limit: int = 0, **conditions: Any) -> list[Atoms]:
        """Converged labels as frames with energy, forces and stress.

        Parameters
        ----------
        where : str, mapping, list of them, or None
            Conditions on ``labels``.
        limit : int
            Most labels; 0 for all.
        **conditions
            `x`, `y`, `o_to_cl`, `li_to_al`, `campaign_id` and `sort`, as in `query`.

        Returns
        -------
        list of ase.Atoms
            In the order of the query; ``info`` has the key, campaign, composition and trajectory of each, and whether
            it is held out.

        Raises
        ------
        QueryError
            If a condition cannot be understood.
        ServiceError
            If frames are missing or were altered.
        """
        rows = self.query(
            "labels", [*_listed(where), {"status": LabelStatus.CONVERGED.value}], limit=limit, **conditions
        )
        frames: dict[str, list[Atoms]] = {}
        found = []
        for row in rows:
            shard = BlobRef.model_validate(row["shard"])
            if shard.sha256 not in frames:
                frames[shard.sha256] = decode_frames(get_blob(self.job_store, shard))
            try:
                shared = frames[shard.sha256][row["index"]]
            except (IndexError, TypeError):
                msg = f"label {row['key'][:12]} is not in its shard {shard.sha256[:12]}"
                raise ServiceError(msg, remedy="restore the store from a backup") from None
            names = ("key", "campaign_id", "composition_id", "trajectory_id", "held_out", "level_of_theory")
            # Two labels may have one frame: the same numbers under two levels of theory.
            atoms = shared.copy()
            atoms.calc = shared.calc
            atoms.info.update({name: row[name] for name in names})
            found.append(atoms)
        return found

    def _collection(self, name: str) -> Any:
        fields_of(name)
        return handle(sibling_store(self.job_store.docs_store, name))

    def _one(self, collection: str, key: str) -> Mapping[str, Any]:
        found = self._collection(collection).find_one({"key": {"$eq": key}}, {"_id": 0})
        if found is None:
            msg = f"{collection} hold no document with the key {key!r:.80}"
            raise QueryError(msg, remedy="bring the collections up to date with build()")
        return dict(found)

    def _blob(self, doc: Mapping[str, Any], name: str) -> bytes:
        return get_blob(self.job_store, BlobRef.model_validate(_pointer(doc, name)))


def _listed(where: Where) -> list[Condition]:
    return where if isinstance(where, list) else [where]


def _pointer(doc: Mapping[str, Any], name: str) -> Any:
    pointer = doc.get(name)
    if pointer is None:
        kind = doc.get("schema_name", "document")
        msg = f"the {kind} {str(doc.get('key', ''))[:12]} has no {name}"
        raise QueryError(msg, remedy="query whole documents, without columns")
    return plain(pointer)
