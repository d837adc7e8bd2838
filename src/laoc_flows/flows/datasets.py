"""Data sets as jobs return them, and how many labels of a batch must have succeeded."""

from __future__ import annotations

from collections.abc import Sequence

from laoc_flows.blobs import digest_json
from laoc_flows.errors import LaocError
from laoc_flows.flows.spec import CampaignSpec
from laoc_flows.schemas.base import Document
from laoc_flows.schemas.dataset import Dataset
from laoc_flows.schemas.label import LabelBatch, LabelStatus

FEW = 8
"""Labels of an iteration that are too few for their share of failures to mean anything."""
_REJECTED = {status for status in LabelStatus if status.value.startswith("rejected")}


class DatasetDocument(Document):
    """A data set as a job returns it."""

    schema_name: str = "dataset"
    dataset: Dataset


def dataset_document(spec: CampaignSpec, dataset: Dataset) -> DatasetDocument:
    """Document of a campaign's data set."""
    return DatasetDocument(
        key=digest_json([spec.campaign_id, dataset.digest]), campaign_id=spec.campaign_id, dataset=dataset
    )


def check_quorum(spec: CampaignSpec, batches: Sequence[LabelBatch], least: int = 1) -> None:
    """Raise LaocError where too many labels of some batches have failed.

    Parameters
    ----------
    spec : CampaignSpec
        Holds the quorum.
    batches : sequence of LabelBatch
        Labels; what was rejected for what it is has not failed, and computing it again would change nothing.
    least : int
        Labels below which nothing is raised.
    """
    records = [record for batch in batches for record in batch.records if record.status not in _REJECTED]
    total = len(records)
    good = sum(record.status is LabelStatus.CONVERGED for record in records)
    if total >= least and (good == 0 or good < spec.learning.quorum * total):
        counts: dict[str, int] = {}
        for batch in batches:
            for status, count in batch.counts.items():
                counts[status] = counts.get(status, 0) + count
        msg = f"only {good} of {total} labels succeeded ({counts}), fewer than the quorum {spec.learning.quorum:g}"
        raise LaocError(msg, remedy="see the reasons with 'laoc query labels --columns status,reason'")
