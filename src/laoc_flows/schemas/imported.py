"""Labels that come from elsewhere: what is to be imported, and what an import has made."""

from __future__ import annotations

import re
from typing import Final

from pydantic import Field

from laoc_flows.schemas.base import Document, Model
from laoc_flows.schemas.dataset import Dataset
from laoc_flows.schemas.label import FrameSet, LabelBatch

NAME_PATTERN = r"^[a-z0-9][a-z0-9-]{0,40}$"
"""Names of imports, as those of campaigns."""

STAGE = "import"
"""Stage of the trajectories of an import."""
CAMPAIGN_ID: Final = re.compile(r"-[0-9a-f]{12}$")
"""End of the id of a campaign: the digest of its file. Names have none, and neither have imports."""


def import_id(name: str) -> str:
    """Campaign id under which the labels of an import are kept.

    Parameters
    ----------
    name : str
        Name of the import.
    """
    return f"import-{name}"


class ImportFacts(Model):
    """What is known of an import besides its labels."""

    name: str = Field(pattern=NAME_PATTERN, description="name of the import")
    level_of_theory: str = Field(
        min_length=1, description="identity of the reference, as its importer claims"
    )
    license: str = Field("not stated", description="license of the data")
    files: tuple[str, ...] = Field(description="names of the files, without their folders")
    n_read: int = Field(ge=0, description="frames in the files")
    n_duplicates: int = Field(0, ge=0, description="frames left out because they are there already")
    left_out: dict[str, int] = Field(
        default_factory=dict, description="frames left out because they are no labels, by reason"
    )


class ImportOrder(Model):
    """What an import still has to do."""

    facts: ImportFacts = Field(description="what is known besides the labels")
    frames: tuple[FrameSet, ...] = Field(
        description="frames with their results that are not in the store yet"
    )
    known: tuple[LabelBatch, ...] = Field(
        (), description="batches that are there, in the order they were made"
    )


class ImportDocument(Document):
    """An import: labels of one level of theory that no engine of the campaign has computed."""

    schema_name: str = "import"
    facts: ImportFacts = Field(description="what is known besides the labels")
    dataset: Dataset = Field(description="converged labels, split by trajectory")
    rejected: dict[str, int] = Field(
        default_factory=dict, description="labels that are beyond the limits, by outcome"
    )

    @property
    def name(self) -> str:
        """Name of the import."""
        return self.facts.name

    @property
    def level_of_theory(self) -> str:
        """Identity of the reference of every label."""
        return self.dataset.level_of_theory

    @property
    def license(self) -> str:
        """License of the data."""
        return self.facts.license
