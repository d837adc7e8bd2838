"""Potentials: committees of trained models with what is known of their errors."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from laoc_flows.blobs import BlobRef
from laoc_flows.schemas.base import Document, Model
from laoc_flows.schemas.protocol import SoftCore

MODEL_TYPES = {"tensorflow": "application/x-tensorflow-graph", "pytorch": "application/x-torchscript"}
"""Media type of a frozen model by backend."""
MODEL_SUFFIXES = {MODEL_TYPES["tensorflow"]: ".pb", MODEL_TYPES["pytorch"]: ".pth"}
"""Suffix of its file, by which DeePMD-kit knows the backend."""


class TrainingStatus(StrEnum):
    """Typed outcome of one try to train a model."""

    COMPLETED = "completed"
    DIVERGED = "diverged"
    NO_DATA = "no data"
    CRASHED = "crashed"
    PARITY = "parity"


class TrainingAttempt(Model):
    """One try to train a model."""

    status: TrainingStatus = Field(description="typed outcome")
    reason: str = Field("", description="why it failed, empty if it did not")
    start_lr: float = Field(description="learning rate at the start [1]")
    resumed: bool = Field(
        False, description="whether it went on from the checkpoint of a job that was killed"
    )


class TrainedModel(Document):
    """One trained, frozen and compressed DeePMD model."""

    schema_name: str = "model"
    dataset_digest: str = Field(description="content address of the training data")
    seed: int = Field(description="seed of weights, batches and of the sample of the frames")
    iteration: int = Field(description="iteration of the learning loop")
    model: BlobRef = Field(description="model that is used: compressed where its descriptor can be")
    frozen: BlobRef | None = Field(
        None, description="the same before it was compressed, for the next iteration to begin with"
    )
    backend: str = Field("tensorflow", description="backend of DeePMD-kit")
    parent: str | None = Field(
        None, description="digest of the frozen model that it began with, None for none"
    )
    n_train: int = Field(description="frames trained on")
    n_left_out: int = Field(description="labels left out because of their forces")
    n_distinct: int | None = Field(
        None,
        description="distinct frames among those of a random sample; None where every frame was taken once",
    )
    steps: int = Field(description="training steps made")
    sel: tuple[int, ...] = Field(description="neighbors per species that the descriptor keeps, measured")
    final_force_loss: float = Field(description="training force RMSE at the last report [eV/A]")
    learning_curve: BlobRef | None = Field(
        None, description="JSON of the training over its steps: losses [eV, eV/A] and learning rate [1]"
    )
    parity_force: float = Field(description="largest force difference, compressed against frozen [eV/A]")
    parity_energy: float = Field(description="largest energy difference, compressed against frozen [eV/atom]")
    attempts: tuple[TrainingAttempt, ...] = Field((), description="what was tried, the last with success")
    core_hours: float = Field(0.0, ge=0, description="work: wall time times threads [h]")
    versions: dict[str, str] = Field(description="versions of the programs that trained it")


class TrainingOutcome(Document):
    """What became of one member of a committee: a model, or why there is none."""

    schema_name: str = "training"
    model: TrainedModel | None = Field(description="trained model, None if it failed")
    attempts: tuple[TrainingAttempt, ...] = Field(description="what was tried")
    core_hours: float = Field(0.0, ge=0, description="work: wall time times threads [h]")


class Validity(Model):
    """Where a potential has seen labels: used elsewhere, its numbers carry a flag."""

    compositions: tuple[str, ...] = Field(description="compositions with labels that were trained on")
    temperatures: tuple[float, float] | None = Field(
        None, description="lowest and highest temperature of those labels, where they have one [K]"
    )
    number_density: dict[str, tuple[float, float]] = Field(
        default_factory=dict, description="lowest and highest number density by composition [1/A^3]"
    )
    min_distances: dict[str, float] = Field(
        default_factory=dict, description="shortest distance by pair of species [A]"
    )
    max_force: float | None = Field(None, description="largest force component [eV/A]")


class Suspect(Model):
    """A label that does not fit all the others of its composition."""

    shard: str = Field(description="digest of the shard that holds it")
    index: int = Field(ge=0, description="index in the shard")
    composition_id: str = Field(description="canonical composition id")
    trajectory_id: str = Field(description="trajectory that it comes from")
    reason: str = Field(description="how far it is from the others")


class HeldOutError(Model):
    """Errors of a potential on the held-out trajectories of one composition."""

    n_frames: int = Field(description="held-out frames")
    n_trajectories: int = Field(description="held-out trajectories")
    force_rmse: float = Field(description="RMS error of the force components [eV/A]")
    force_rmse_error: float | None = Field(description="standard error over blocks of frames [eV/A]")
    zero_force_rmse: float = Field(description="the same for the trivial model 'all forces are zero' [eV/A]")
    energy_rmse: float = Field(description="RMS error of the energy [eV/atom]")
    energy_rmse_error: float | None = Field(
        None, description="standard error over blocks of frames [eV/atom]"
    )
    energy_bias: float = Field(description="mean error of the energy [eV/atom]")
    stress_rmse: float = Field(description="RMS error of the stress components [GPa]")


class FitError(Model):
    """Errors of a potential on the labels of one composition that it was trained on."""

    n_frames: int = Field(description="labels trained on")
    force_rmse: float = Field(description="RMS error of the force components [eV/A]")
    energy_rmse: float = Field(description="RMS error of the energy [eV/atom]")


class PotentialDocument(Document):
    """A committee of models: the potential of a campaign at one iteration."""

    schema_name: str = "potential"
    iteration: int = Field(description="iteration of the learning loop")
    level_of_theory: str = Field(description="identity of the reference it was trained on")
    models: tuple[TrainedModel, ...] = Field(description="the committee; the first model runs production")
    failed: tuple[TrainingAttempt, ...] = Field(
        (), description="last tries of members that could not be trained"
    )
    soft_core: SoftCore = Field(description="repulsion that belongs to the potential")
    dataset_digest: str = Field(description="content address of the data set")
    n_train: int = Field(description="labels trained on")
    n_test: int = Field(description="labels held out")
    held_out: dict[str, HeldOutError] = Field(description="errors on held-out trajectories by composition id")
    fitted: dict[str, FitError] = Field(
        default_factory=dict,
        description="errors on the labels that it was trained on by composition id: where they are as large as the held-out "
        "ones, more steps or a larger model will help and more labels alone will not",
    )
    tested_only: tuple[str, ...] = Field((), description="compositions of which no label was ever trained on")
    parent: str | None = Field(description="key of the potential of the iteration before")
    validity: Validity | None = Field(None, description="where it has seen labels")
    parity: BlobRef | None = Field(
        None,
        description="JSON of labeled and predicted energies and forces of the held-out frames by composition",
    )
    suspects: tuple[Suspect, ...] = Field(
        (), description="labels that do not fit the others: not trained on from the next iteration on"
    )
    core_hours: float = Field(0.0, ge=0, description="work of its trainings: wall time times threads [h]")

    @property
    def worst_force_rmse(self) -> float | None:
        """Largest held-out force RMSE among the compositions [eV/A]."""
        return max((error.force_rmse for error in self.held_out.values()), default=None)
