"""Data sets: immutable lists of label batches, split by trajectory."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field, model_validator

from laoc_flows.blobs import BlobRef, digest_json
from laoc_flows.schemas.base import Model, Provenance
from laoc_flows.schemas.label import LabelBatch
from laoc_flows.schemas.potential import Suspect


class DatasetMember(Model):
    """One shard of labels in a data set."""

    shard: BlobRef = Field(description="labeled frames, extended XYZ")
    composition_id: str = Field(description="canonical composition id")
    trajectory_id: str = Field(description="trajectory the frames come from")
    held_out: bool = Field(description="test only")
    n_labels: int = Field(ge=1, description="converged labels in the shard")
    left_out: tuple[int, ...] = Field((), description="indices of labels in quarantine")
    temperatures: tuple[float, float] | None = Field(
        None, description="lowest and highest temperature of its labels, where they have one [K]"
    )

    @property
    def n_used(self) -> int:
        """Labels that are not in quarantine."""
        return self.n_labels - len(self.left_out)


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
        members = [
            [
                m.shard.sha256,
                m.composition_id,
                m.trajectory_id,
                m.held_out,
                *([m.left_out] if m.left_out else []),
            ]
            for m in self.members
        ]
        return digest_json([self.level_of_theory, sorted(members)])

    @property
    def training_digest(self) -> str:
        """Content address of what is trained on."""
        members = [[m.shard.sha256, list(m.left_out)] for m in self.members if not m.held_out]
        return digest_json([self.level_of_theory, sorted(members)])

    @property
    def n_train(self) -> int:
        """Labels that are trained on (before the force limit)."""
        return sum(member.n_used for member in self.members if not member.held_out)

    @property
    def n_test(self) -> int:
        """Labels that are held out."""
        return sum(member.n_used for member in self.members if member.held_out)

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
                    trajectory_id=_trajectory(batch.provenance),
                    held_out=batch.provenance.held_out,
                    n_labels=batch.n_converged,
                    temperatures=_range(batch),
                )
            )
        return Dataset(level_of_theory=self.level_of_theory, members=tuple(members))

    def without(self, suspects: Sequence[Suspect]) -> Dataset:
        """A new data set in which suspects are left out; those that are out already stay so.

        Parameters
        ----------
        suspects : sequence of Suspect
            Labels that do not fit the others.
        """
        found: dict[str, set[int]] = {}
        for suspect in suspects:
            found.setdefault(suspect.shard, set()).add(suspect.index)
        members = [
            member.model_copy(
                update={"left_out": tuple(sorted({*member.left_out, *found.get(member.shard.sha256, ())}))}
            )
            for member in self.members
        ]
        return Dataset(level_of_theory=self.level_of_theory, members=tuple(members))


def _range(batch: LabelBatch) -> tuple[float, float] | None:
    known = [r.temperature for r in batch.records if r.temperature is not None and r.index is not None]
    return (min(known), max(known)) if known else None


def _trajectory(provenance: Provenance) -> str:
    # Campaigns of one seed share their trajectories; all others, and imported data, have their own.
    origin = provenance.campaign_id if provenance.stage == "import" else f"seed {provenance.campaign_seed}"
    return f"{origin}/{provenance.trajectory_id}"
