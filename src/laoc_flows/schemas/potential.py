"""Potentials: committees of trained models with what is known of their errors."""

from __future__ import annotations

from pydantic import Field

from laoc_flows.blobs import BlobRef
from laoc_flows.schemas.base import Document, Model
from laoc_flows.schemas.protocol import SoftCore


class TrainedModel(Document):
    """One trained, frozen and compressed DeePMD model."""

    schema_name: str = "model"
    dataset_digest: str = Field(description="content address of the training data")
    seed: int = Field(description="seed of weights and batches")
    iteration: int = Field(description="iteration of the learning loop")
    model: BlobRef = Field(description="compressed frozen model (TensorFlow)")
    n_train: int = Field(description="frames trained on")
    n_left_out: int = Field(description="labels left out because of their forces")
    steps: int = Field(description="training steps made")
    sel: tuple[int, ...] = Field(description="neighbors per species that the descriptor keeps, measured")
    final_force_loss: float = Field(description="training force RMSE at the last report [eV/A]")
    parity_force: float = Field(description="largest force difference, compressed against frozen [eV/A]")
    parity_energy: float = Field(description="largest energy difference, compressed against frozen [eV/atom]")
    versions: dict[str, str] = Field(description="versions of the programs that trained it")


class HeldOutError(Model):
    """Errors of a potential on the held-out trajectories of one composition."""

    n_frames: int = Field(description="held-out frames")
    n_trajectories: int = Field(description="held-out trajectories")
    force_rmse: float = Field(description="RMS error of the force components [eV/A]")
    force_rmse_error: float | None = Field(description="standard error over blocks of frames [eV/A]")
    zero_force_rmse: float = Field(description="the same for the trivial model 'all forces are zero' [eV/A]")
    energy_rmse: float = Field(description="RMS error of the energy [eV/atom]")
    energy_bias: float = Field(description="mean error of the energy [eV/atom]")
    stress_rmse: float = Field(description="RMS error of the stress components [GPa]")


class PotentialDocument(Document):
    """A committee of models: the potential of a campaign at one iteration."""

    schema_name: str = "potential"
    iteration: int = Field(description="iteration of the learning loop")
    level_of_theory: str = Field(description="identity of the reference it was trained on")
    models: tuple[TrainedModel, ...] = Field(description="the committee; the first model runs production")
    soft_core: SoftCore = Field(description="repulsion that belongs to the potential")
    dataset_digest: str = Field(description="content address of the data set")
    n_train: int = Field(description="labels trained on")
    n_test: int = Field(description="labels held out")
    held_out: dict[str, HeldOutError] = Field(description="errors on held-out trajectories by composition id")
    parent: str | None = Field(description="key of the potential of the iteration before")

    @property
    def worst_force_rmse(self) -> float | None:
        """Largest held-out force RMSE among the compositions [eV/A]."""
        return max((error.force_rmse for error in self.held_out.values()), default=None)
