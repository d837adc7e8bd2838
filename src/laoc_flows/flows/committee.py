"""Training of a committee."""

from __future__ import annotations

import json
from dataclasses import dataclass

from jobflow import Flow

from laoc_flows.blobs import BlobRef, derive_seed, digest_json, put_blob
from laoc_flows.engines.clock import JobClock
from laoc_flows.flows.kept import held
from laoc_flows.flows.potential import assemble_potential, frames_of, model_file
from laoc_flows.jobs import LaocMaker, current_store, finished, laoc_job, lasting_directory, stamp
from laoc_flows.learning.train import Parent, train_model
from laoc_flows.schemas.dataset import Dataset
from laoc_flows.schemas.learning import Learning
from laoc_flows.schemas.potential import MODEL_TYPES, PotentialDocument, TrainedModel, TrainingOutcome
from laoc_flows.settings import Settings


@dataclass
class TrainMaker(LaocMaker):
    """Training of one DeePMD model.

    Parameters
    ----------
    learning : Learning
        Holds the settings of the training, of the soft core and of the sample of the frames.
    """

    learning: Learning
    name: str = "train"

    @laoc_job(output_schema=TrainingOutcome)
    def make(
        self,
        dataset: Dataset | BlobRef,
        campaign_id: str,
        campaign_seed: int,
        iteration: int,
        index: int,
        parent: TrainedModel | None = None,
    ) -> TrainingOutcome:
        """Train one member of the committee.

        A training that was killed goes on from its last checkpoint where the scratch directory is the same.

        Parameters
        ----------
        dataset : Dataset or BlobRef
            Data; held-out trajectories are never seen.
        campaign_id : str
            Campaign.
        campaign_seed : int
            Seed of the campaign.
        iteration, index : int
            Iteration of the loop, index in the committee.
        parent : TrainedModel, optional
            Member of the committee before, to begin with where the settings want it.
        """
        dataset = held(Dataset, dataset)
        settings, core = self.learning.training, self.learning.soft_core
        seed = derive_seed(campaign_seed, "train", iteration, index)
        wanted = parent if settings.warm_steps is not None and _can_follow(parent, settings.backend) else None
        frozen = wanted.frozen.sha256 if wanted is not None and wanted.frozen is not None else None
        identity = [dataset.digest, settings.model_dump(), core.model_dump(), seed, self.learning.bootstrap]
        key = digest_json([*identity, frozen, "train/r2"])
        done = finished(TrainingOutcome, "training", key, where={"output.model": {"$ne": None}})
        if done is not None:
            return done
        store, clock = current_store(), JobClock(Settings.load())
        frames = frames_of(store, [member for member in dataset.members if not member.held_out])
        with lasting_directory("train", key) as directory:
            before = None
            if wanted is not None and wanted.frozen is not None:
                before = Parent(model_file(store, wanted.frozen, directory, "parent"), wanted.sel)
            files, attempts = train_model(
                frames, settings, core, seed, directory, bootstrap=self.learning.bootstrap, parent=before
            )
            common = {"campaign_id": campaign_id, "attempts": attempts, "core_hours": clock.core_hours}
            if files is None:
                return TrainingOutcome(key=key, model=None, **common)
            media_type = MODEL_TYPES[settings.backend]
            model = put_blob(store, files.model.read_bytes(), media_type)
            kept = put_blob(store, files.frozen.read_bytes(), media_type)
            curve = put_blob(store, json.dumps(files.curve).encode(), "application/json")
        trained = TrainedModel(
            key=digest_json([key, "model"]),
            dataset_digest=dataset.digest,
            seed=seed,
            iteration=iteration,
            model=model,
            frozen=kept,
            backend=settings.backend,
            parent=frozen if files.warm else None,
            n_train=files.n_train,
            n_left_out=files.n_left_out,
            n_distinct=files.n_distinct,
            steps=files.steps,
            sel=files.sel,
            final_force_loss=files.final_force_loss,
            learning_curve=curve,
            parity_force=files.parity_force,
            parity_energy=files.parity_energy,
            versions=files.versions,
            **common,
        )
        return TrainingOutcome(key=key, model=trained, **common)


def _can_follow(parent: TrainedModel | None, backend: str) -> bool:
    # Only TensorFlow's training begins with a frozen model.
    return parent is not None and parent.backend == backend == "tensorflow"


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
        self,
        dataset: Dataset | BlobRef,
        campaign_id: str,
        campaign_seed: int,
        iteration: int,
        parent: PotentialDocument | None,
        *,
        reuse: bool = False,
    ) -> Flow:
        """Flow of one committee.

        Parameters
        ----------
        dataset : Dataset or BlobRef
            Data.
        campaign_id : str
            Campaign.
        campaign_seed : int
            Seed of the campaign.
        iteration : int
            Iteration of the loop.
        parent : PotentialDocument or None
            Potential before.
        reuse : bool
            Whether its models are those of this iteration: there is nothing new to train on.

        Returns
        -------
        jobflow.Flow
            Output: the potential.
        """
        trainings = []
        if reuse and parent is not None:
            outcomes = [
                TrainingOutcome(
                    key=model.key, campaign_id=model.campaign_id, model=model, attempts=model.attempts
                )
                for model in parent.models
            ]
        else:
            for index in range(self.learning.committee):
                # Two members that begin with one model would differ too little.
                before = parent.models[index] if parent is not None and index < len(parent.models) else None
                training = TrainMaker(self.learning).make(
                    dataset, campaign_id, campaign_seed, iteration, index, before
                )
                training.name = f"train i{iteration} m{index}"
                stamp(training, stage="train", step="train", composition="", iteration=iteration)
                trainings.append(training)
            outcomes = [training.output for training in trainings]
        potential = assemble_potential(
            outcomes,
            dataset,
            self.learning.soft_core,
            campaign_id,
            iteration,
            parent.key if parent is not None else None,
            self.learning.training.max_force,
        )
        potential.name = f"potential i{iteration}"
        stamp(potential, stage="train", step="potential", composition="", iteration=iteration)
        return Flow([*trainings, potential], output=potential.output, name=f"committee i{iteration}")
