"""Data sets: immutable lists of label batches, split by trajectory."""

from __future__ import annotations

from pydantic import Field, model_validator

from laoc_flows.blobs import BlobRef, digest_json
from laoc_flows.schemas.base import Model
from laoc_flows.schemas.label import LabelBatch


class DatasetMember(Model):
    """One shard of labels in a data set."""

    shard: BlobRef = Field(description="labeled frames, extended XYZ")
    composition_id: str = Field(description="canonical composition id")
    trajectory_id: str = Field(description="trajectory the frames come from")
    held_out: bool = Field(description="test only")
    n_labels: int = Field(ge=1, description="converged labels in the shard")


class Dataset(Model):
    """Labels of one level of theory; never changed, only extended into a new one."""

    level_of_theory: str = Field(description="identity of the reference of every label")
    members: tuple[DatasetMember, ...] = Field(description="shards, in the order they were made")

    @model_validator(mode="after")
    def _split_by_trajectory(self) -> Dataset:
        train = {member.trajectory_id for member in self.members if not member.held_out}
        test = {member.trajectory_id for member in self.members if member.held_out}
        if both := train & test:
            msg = f"trajectories both trained on and tested on: {', '.join(sorted(both))}"
            raise ValueError(msg)
        return self

    @property
    def digest(self) -> str:
        """Content address of the data set."""
        members = [(m.shard.sha256, m.composition_id, m.trajectory_id, m.held_out) for m in self.members]
        return digest_json([self.level_of_theory, sorted(members)])

    @property
    def n_train(self) -> int:
        """Labels that are trained on (before the force limit)."""
        return sum(member.n_labels for member in self.members if not member.held_out)

    @property
    def n_test(self) -> int:
        """Labels that are held out."""
        return sum(member.n_labels for member in self.members if member.held_out)

    def extended(self, batches: list[LabelBatch]) -> Dataset:
        """A new data set with further batches.

        Parameters
        ----------
        batches : list of LabelBatch
            Batches without a converged label are left out.

        Raises
        ------
        ValueError
            If a batch is of another level of theory: labels of different functionals never meet.
        """
        members = list(self.members)
        known = {member.shard.sha256 for member in members}
        for batch in batches:
            if batch.level_of_theory != self.level_of_theory:
                msg = (
                    f"label of {batch.level_of_theory!r} does not belong to a set of {self.level_of_theory!r}"
                )
                raise ValueError(msg)
            if batch.shard is None or batch.shard.sha256 in known:
                continue
            known.add(batch.shard.sha256)
            members.append(
                DatasetMember(
                    shard=batch.shard,
                    composition_id=batch.provenance.composition_id,
                    trajectory_id=batch.provenance.trajectory_id,
                    held_out=batch.provenance.held_out,
                    n_labels=batch.n_converged,
                )
            )
        return Dataset(level_of_theory=self.level_of_theory, members=tuple(members))
