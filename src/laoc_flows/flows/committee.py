"""Training of a committee, and the potential it makes."""

from __future__ import annotations

from dataclasses import dataclass

from ase import Atoms
from jobflow import Flow, JobStore

from laoc_flows.blobs import derive_seed, digest_json, get_blob, put_blob
from laoc_flows.frames import decode_frames
from laoc_flows.jobs import LaocMaker, current_store, finished, laoc_job, scratch_directory, stamp
from laoc_flows.learning.errors import held_out_error
from laoc_flows.learning.train import predict, train_model
from laoc_flows.schemas.config import Learning, Training
from laoc_flows.schemas.dataset import Dataset, DatasetMember
from laoc_flows.schemas.potential import HeldOutError, PotentialDocument, TrainedModel
from laoc_flows.schemas.protocol import SoftCore

MODEL_MEDIA_TYPE = "application/x-tensorflow-graph"


def frames_of(store: JobStore, members: list[DatasetMember]) -> list[Atoms]:
    """Labeled frames of data set members, in their order."""
    return [frame for member in members for frame in decode_frames(get_blob(store, member.shard))]


@dataclass
class TrainMaker(LaocMaker):
    """Training of one DeePMD model.

    Parameters
    ----------
    training : Training
        Model and schedule.
    soft_core : SoftCore
        Repulsion that is subtracted from the labels.
    """

    training: Training
    soft_core: SoftCore
    name: str = "train"

    @laoc_job(output_schema=TrainedModel)
    def make(
        self, dataset: Dataset, campaign_id: str, campaign_seed: int, iteration: int, index: int
    ) -> TrainedModel:
        """Train one member of the committee.

        Parameters
        ----------
        dataset : Dataset
            Data; held-out trajectories are never seen.
        campaign_id : str
            Campaign.
        campaign_seed : int
            Seed of the campaign.
        iteration, index : int
            Iteration of the loop, index in the committee.
        """
        seed = derive_seed(campaign_seed, "train", iteration, index)
        key = digest_json(
            [dataset.digest, self.training.model_dump(), self.soft_core.model_dump(), seed, "train/r1"]
        )
        if (done := finished(TrainedModel, "model", key)) is not None:
            return done
        store = current_store()
        frames = frames_of(store, [member for member in dataset.members if not member.held_out])
        with scratch_directory("train") as directory:
            files = train_model(frames, self.training, self.soft_core, seed, directory)
            model = put_blob(store, files.model.read_bytes(), MODEL_MEDIA_TYPE)
        return TrainedModel(
            key=key,
            campaign_id=campaign_id,
            dataset_digest=dataset.digest,
            seed=seed,
            iteration=iteration,
            model=model,
            n_train=files.n_train,
            n_left_out=files.n_left_out,
            steps=self.training.steps,
            sel=files.sel,
            final_force_loss=files.final_force_loss,
            parity_force=files.parity_force,
            parity_energy=files.parity_energy,
            versions=files.versions,
        )


@laoc_job(output_schema=PotentialDocument)
def assemble_potential(
    models: list[TrainedModel],
    dataset: Dataset,
    soft_core: SoftCore,
    campaign_id: str,
    iteration: int,
    parent: str | None,
) -> PotentialDocument:
    """Potential out of its committee, tested on the held-out trajectories.

    Parameters
    ----------
    models : list of TrainedModel
        The committee.
    dataset : Dataset
        Data it was trained on, with the held-out trajectories.
    soft_core : SoftCore
        Repulsion that belongs to the potential.
    campaign_id : str
        Campaign.
    iteration : int
        Iteration of the loop.
    parent : str or None
        Key of the potential before.
    """
    key = digest_json([[model.key for model in models], soft_core.model_dump(), "potential/r1"])
    if (done := finished(PotentialDocument, "potential", key)) is not None:
        return done
    return PotentialDocument(
        key=key,
        campaign_id=campaign_id,
        iteration=iteration,
        level_of_theory=dataset.level_of_theory,
        models=tuple(models),
        soft_core=soft_core,
        dataset_digest=dataset.digest,
        n_train=dataset.n_train,
        n_test=dataset.n_test,
        held_out=_held_out(models[0], dataset, soft_core),
        parent=parent,
    )


def _held_out(model: TrainedModel, dataset: Dataset, soft_core: SoftCore) -> dict[str, HeldOutError]:
    store = current_store()
    groups: dict[str, list[DatasetMember]] = {}
    for member in dataset.members:
        if member.held_out:
            groups.setdefault(member.composition_id, []).append(member)
    frames = {name: frames_of(store, members) for name, members in sorted(groups.items())}
    if not frames:
        return {}
    with scratch_directory("held-out") as directory:
        path = directory / "model.pb"
        path.write_bytes(get_blob(store, model.model))
        prediction = predict([path], [frame for group in frames.values() for frame in group], directory)[0]
    errors, start = {}, 0
    for name, group in frames.items():
        part = prediction.part(start, start + len(group)).with_core(group, soft_core)
        n_trajectories = len({member.trajectory_id for member in groups[name]})
        errors[name] = held_out_error(group, part, n_trajectories)
        start += len(group)
    return errors


@dataclass
class CommitteeMaker(LaocMaker):
    """Train a committee and assemble the potential.

    Parameters
    ----------
    learning : Learning
        Size of the committee, training, distance floor.
    """

    learning: Learning
    name: str = "committee"

    def make(
        self, dataset: Dataset, campaign_id: str, campaign_seed: int, iteration: int, parent: str | None
    ) -> Flow:
        """Flow of one committee.

        Parameters
        ----------
        dataset : Dataset
            Data.
        campaign_id : str
            Campaign.
        campaign_seed : int
            Seed of the campaign.
        iteration : int
            Iteration of the loop.
        parent : str or None
            Key of the potential before.

        Returns
        -------
        jobflow.Flow
            Output: the potential.
        """
        trainings = []
        for index in range(self.learning.committee):
            training = TrainMaker(self.learning.training, self.learning.soft_core).make(
                dataset, campaign_id, campaign_seed, iteration, index
            )
            training.name = f"train i{iteration} m{index}"
            stamp(training, stage="train", step="train", composition="", iteration=iteration)
            trainings.append(training)
        potential = assemble_potential(
            [training.output for training in trainings],
            dataset,
            self.learning.soft_core,
            campaign_id,
            iteration,
            parent,
        )
        potential.name = f"potential i{iteration}"
        stamp(potential, stage="train", step="potential", composition="", iteration=iteration)
        return Flow([*trainings, potential], output=potential.output, name=f"committee i{iteration}")
