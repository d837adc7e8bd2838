"""What the learning loop of a campaign did: its iterations, their potentials, and the numbers behind both."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from laoc_flows.blobs import BlobRef, get_blob
from laoc_flows.errors import QueryError, as_written
from laoc_flows.learning.calibration import LabelError
from laoc_flows.schemas.base import Document
from laoc_flows.schemas.iteration import IterationDocument
from laoc_flows.schemas.potential import PotentialDocument, TrainedModel

if TYPE_CHECKING:
    from jobflow import JobStore

    from laoc_flows.store.laoc_store import LaocStore

_D = TypeVar("_D", bound=Document)
_MOST_NAMED = 4


@dataclass(frozen=True)
class LearningRun:
    """The learning loop of one campaign.

    Attributes
    ----------
    campaign_id : str
        Campaign.
    iterations : tuple of IterationDocument
        By iteration; at least one.
    potentials : mapping of str to PotentialDocument
        Potentials of the iterations by key, as far as the store has them.
    points : mapping of int to sequence of LabelError
        Labels behind the trust levels, by iteration; without what `with_blobs` reads, empty, as are the next three.
    decisions : mapping of int to mapping
        Frames that could be labeled, by iteration; columns by name: run, temperature_K, condition, time_ps,
        deviation_eV_per_angstrom, decision, reason.
    parity : mapping of str to mapping
        Labeled and predicted values of held-out frames by key of the potential and composition; columns by name: energy,
        predicted_energy [eV/atom], force, predicted_force, deviation and force_rmse [eV/A].
    curves : mapping of str to mapping
        Learning curves by key of the model; columns by name: step, rmse_e_trn [eV/atom], rmse_f_trn [eV/A], ...
    """

    campaign_id: str
    iterations: tuple[IterationDocument, ...]
    potentials: Mapping[str, PotentialDocument] = field(default_factory=dict)
    points: Mapping[int, Sequence[LabelError]] = field(default_factory=dict)
    decisions: Mapping[int, Mapping[str, Sequence[Any]]] = field(default_factory=dict)
    parity: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]] = field(default_factory=dict)
    curves: Mapping[str, Mapping[str, Sequence[float]]] = field(default_factory=dict)

    @property
    def last(self) -> IterationDocument:
        """Last iteration."""
        return self.iterations[-1]

    def potential(self, iteration: IterationDocument) -> PotentialDocument | None:
        """Potential of an iteration, None where the store does not have it."""
        return self.potentials.get(iteration.potential_key)


def find_campaign(store: LaocStore, text: str) -> str:
    """Campaign with an iteration in the store.

    Parameters
    ----------
    store : LaocStore
        Where it is, brought up to date.
    text : str
        Its id; its name, which stands for the newest campaign of that name; or the beginning of its id.

    Returns
    -------
    str
        Campaign id.

    Raises
    ------
    QueryError
        If there is none, or more than one id begins so.
    """
    last: dict[str, str] = {}
    for row in store.query("iterations", columns=["campaign_id", "completed_at"]):
        found = str(row["campaign_id"])
        last[found] = max(last.get(found, ""), str(row["completed_at"] or ""))
    if text in last:
        return text
    named = [each for each in last if each.rpartition("-")[0] == text]
    if named:
        return max(named, key=lambda each: (last[each], each))
    begin = [each for each in sorted(last) if text and each.startswith(text)]
    if len(begin) == 1:
        return begin[0]
    if begin:
        names = ", ".join(begin[:_MOST_NAMED]) + (", ..." if len(begin) > _MOST_NAMED else "")
        msg = f"{len(begin)} campaigns begin with {text!r:.80}: {names}"
        raise QueryError(msg, remedy="give more of the id")
    msg = f"no campaign with a finished iteration is called {text!r:.80} or begins so"
    raise QueryError(msg, remedy="'laoc query iterations' shows all")


def learning_run(store: LaocStore, campaign: str) -> LearningRun:
    """Learning loop of a campaign: its documents, without what they point at.

    Parameters
    ----------
    store : LaocStore
        Where it is, brought up to date.
    campaign : str
        Id of the campaign, its beginning, or its name; see `find_campaign`.

    Raises
    ------
    QueryError
        If there is no such campaign, or more than one.
    """
    campaign_id = find_campaign(store, campaign)
    rows = store.query("iterations", {"campaign_id": campaign_id})
    if not rows:
        msg = f"no iteration names {campaign_id!r:.80} among its campaigns, though one is of it"
        raise QueryError(msg, remedy="make the collections anew: laoc query iterations --rebuild")
    # An iteration that was made again with other jobs is there twice.
    documents = [(document_of(IterationDocument, row), str(row.get("completed_at") or "")) for row in rows]
    documents.sort(key=lambda each: (each[0].iteration, each[1]))
    latest = {document.iteration: document for document, _ in documents}
    iterations = tuple(latest.values())
    potentials = {}
    for key in dict.fromkeys(iteration.potential_key for iteration in iterations):
        for row in store.query("potentials", {"key": key}, limit=1):
            potentials[key] = document_of(PotentialDocument, row)
    return LearningRun(campaign_id, iterations, potentials)


def with_blobs(store: JobStore, run: LearningRun) -> LearningRun:
    """Read all that the documents of a learning loop point at, for its figures.

    Parameters
    ----------
    store : jobflow.JobStore
        Connected JobStore that holds the blobs.
    run : LearningRun
        The documents.

    Returns
    -------
    LearningRun
        The same with points, decisions, parity and curves; documents of earlier versions point at none.

    Raises
    ------
    ServiceError
        If a blob is missing or was altered.
    """
    points = {each.iteration: calibration_points(store, each) for each in run.iterations}
    decided = {each.iteration: decisions(store, each) for each in run.iterations}
    equal = {key: parity(store, potential) for key, potential in run.potentials.items()}
    models = [model for potential in run.potentials.values() for model in potential.models]
    curves = {model.key: learning_curve(store, model) for model in models}
    return replace(
        run,
        points={n: each for n, each in points.items() if each},
        decisions={n: each for n, each in decided.items() if each},
        parity={key: each for key, each in equal.items() if each},
        curves={key: each for key, each in curves.items() if each},
    )


def calibration_points(store: JobStore, iteration: IterationDocument) -> tuple[LabelError, ...]:
    """Labels that the trust levels of an iteration were set from; empty where there were none.

    Raises
    ------
    ServiceError
        If they are missing or were altered.
    """
    found = _json(store, iteration.calibration_points)
    return tuple(LabelError.model_validate(each) for each in found or ())


def decisions(store: JobStore, iteration: IterationDocument) -> dict[str, list[Any]]:
    """Every frame of an iteration that could be labeled, columns by name; empty where there was none.

    Raises
    ------
    ServiceError
        If they are missing or were altered.
    """
    return dict(_json(store, iteration.decisions) or {})


def parity(store: JobStore, potential: PotentialDocument) -> dict[str, dict[str, list[float]]]:
    """Labeled and predicted values [eV/atom, eV/A] of held-out frames by composition, columns by name.

    Raises
    ------
    ServiceError
        If they are missing or were altered.
    """
    return dict(_json(store, potential.parity) or {})


def learning_curve(store: JobStore, model: TrainedModel) -> dict[str, list[float]]:
    """Losses [eV/atom, eV/A] over the steps of a training, columns by name.

    Raises
    ------
    ServiceError
        If they are missing or were altered.
    """
    return dict(_json(store, model.learning_curve) or {})


def _json(store: JobStore, blob: BlobRef | None) -> Any:
    if blob is None:
        return None
    with as_written(f"the blob {blob.sha256[:12]}"):
        return json.loads(get_blob(store, blob))


def document_of(kind: type[_D], row: Mapping[str, Any]) -> _D:
    """Document out of a row, which has more fields; those that an earlier version did not know have their defaults.

    Parameters
    ----------
    kind : type
        Schema.
    row : mapping
        Whole document of a collection.

    Raises
    ------
    ServiceError
        If it is none of this schema.
    """
    with as_written(f"the document {str(row.get('key'))[:12]!r} of {row.get('campaign_id')!r:.80}"):
        return kind.model_validate({name: row[name] for name in kind.model_fields if name in row})
