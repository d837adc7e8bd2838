"""What a campaign begins with: labels of imports and of earlier campaigns, and the last potential of one."""

from __future__ import annotations

import re
from typing import Any

from jobflow import JobStore

from laoc_flows.campaign.file import CampaignFile
from laoc_flows.errors import InputError
from laoc_flows.flows.datasets import DatasetDocument
from laoc_flows.flows.spec import BaseData
from laoc_flows.jobs import METADATA_KEY
from laoc_flows.schemas.dataset import Dataset
from laoc_flows.schemas.imported import CAMPAIGN_ID
from laoc_flows.schemas.potential import PotentialDocument
from laoc_flows.store.stored import plain

_KEY = "learning.data"
_CAMPAIGN = f"metadata.{METADATA_KEY}.campaign"


def base_of(file: CampaignFile, store: JobStore, *, also: str | None = None) -> BaseData | None:
    """Look up what `learning.data` names.

    Parameters
    ----------
    file : CampaignFile
        Campaign.
    store : jobflow.JobStore
        Where the imports and the earlier campaigns are.
    also : str, optional
        Campaign to look up besides.

    Returns
    -------
    BaseData or None
        Their labels in one data set, those in quarantine left out, and the newest potential of the last campaign that is
        named; None where nothing is named.

    Raises
    ------
    InputError
        If a name is neither an import nor a campaign in the store, has no labels, or has labels of another level of
        theory than the campaign's engine.
    """
    wanted = dict.fromkeys([*file.learning.data, *([also] if also is not None else [])])
    if not wanted:
        return None
    level = file.engine.level_of_theory
    members: dict[str, Any] = {}
    potential: PotentialDocument | None = None
    trained = ""
    tested_only = {composition.id for composition in file.grid.tested_only}
    names: list[str] = []
    for name in wanted:
        found, its, its_data, source = _of_name(name, store, file.campaign_id)
        if found.level_of_theory != level:
            msg = f"{name} holds labels of {found.level_of_theory}, the engine's are of {level}"
            raise InputError(
                msg, where=f"{_KEY}: {name}", remedy="labels of different levels never meet in one training"
            )
        for member in found.members:
            # What this campaign only tests on is not trained on, wherever its labels come from.
            if member.held_out or member.composition_id not in tested_only:
                members.setdefault(member.shard.sha256, member)
        if its is not None:
            potential, trained = its, its_data
        names.append(source)
    try:
        dataset = Dataset(level_of_theory=level, members=tuple(members.values()))
    except ValueError as error:
        msg = str(error).splitlines()[-1].strip()
        raise InputError(
            msg, where=_KEY, remedy="name data that do not test on what others train on"
        ) from None
    return BaseData(names=tuple(names), dataset=dataset, potential=potential, trained=trained)


def _of_name(name: str, store: JobStore, own: str) -> tuple[Dataset, PotentialDocument | None, str, str]:
    # Imported here: reading the files of other programs takes a second to import.
    from laoc_flows.store.imports import find_import

    imported = find_import(store, name)
    if imported is not None:
        return imported.dataset, None, "", imported.campaign_id
    campaign_id = name if CAMPAIGN_ID.search(name) else _last_campaign(name, store, own)
    rows = list(
        store.docs_store.query({_CAMPAIGN: campaign_id, "output.schema_name": "dataset"}, ["output"])
        if campaign_id is not None
        else ()
    )
    documents = [DatasetDocument.model_validate(plain(row["output"])) for row in rows]
    if not documents:
        msg = f"{name!r} is no import and no campaign with a data set in this store"
        raise InputError(
            msg,
            where=_KEY,
            remedy="see 'laoc potential list' for campaigns, or import with 'laoc data import'",
        )
    # A data set only ever grows within a campaign.
    dataset = max((each.dataset for each in documents), key=_size)
    potentials = [
        PotentialDocument.model_validate(plain(row["output"]))
        for row in store.docs_store.query(
            {_CAMPAIGN: campaign_id, "output.schema_name": "potential"}, ["output"]
        )
    ]
    newest = max(potentials, key=lambda each: (each.iteration, each.n_train), default=None)
    trained = ""
    if newest is not None:
        its = [each.dataset for each in documents if each.dataset.digest == newest.dataset_digest]
        trained = its[0].training_digest if its else ""
        dataset = dataset.without(newest.suspects)
    return dataset, newest, trained, str(campaign_id)


def _size(dataset: Dataset) -> tuple[int, int]:
    """Labels, and those in quarantine: both only ever grow."""
    return sum(m.n_labels for m in dataset.members), sum(len(m.left_out) for m in dataset.members)


def _last_campaign(name: str, store: JobStore, own: str) -> str | None:
    """Campaign of a name that has made a data set last."""
    pattern = {"$regex": f"^{re.escape(name)}{CAMPAIGN_ID.pattern}", "$ne": own}
    rows = store.docs_store.query(
        {_CAMPAIGN: pattern, "output.schema_name": "dataset"}, [_CAMPAIGN, "completed_at"]
    )
    last = max(rows, key=lambda row: str(row.get("completed_at", "")), default=None)
    return None if last is None else str(last["metadata"][METADATA_KEY]["campaign"])
