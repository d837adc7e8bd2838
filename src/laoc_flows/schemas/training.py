"""The settings of one DeePMD model: its architecture, its schedule, and what runs it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from laoc_flows.schemas.base import Model, NonNegative, Positive

Width = Annotated[int, Field(ge=1, le=10_000)]
_SECTIONS = frozenset({"model", "learning_rate", "optimizer", "loss", "training"})
_OURS = {
    "training": (
        "training_data",
        "validation_data",
        "seed",
        "disp_file",
        "save_freq",
        "save_ckpt",
        "numb_steps",
    ),
    "model": ("type_map",),
}


class ShortRangeTable(Model):
    """Screened repulsion of the nuclei (Ziegler, Biersack and Littmark) that takes over at short distances.

    It is part of the model (DeePMD-kit's ``use_srtab``): below `inner` an atom feels the table alone, above `outer`
    the network alone.
    """

    inner: Positive = Field(0.9, description="nearest neighbor below which only the table counts [A]")
    outer: Positive = Field(1.4, description="nearest neighbor above which only the network counts [A]")
    smin_alpha: Positive = Field(0.1, description="width of the soft minimum over the neighbors [A]")

    @model_validator(mode="after")
    def _ordered(self) -> ShortRangeTable:
        if self.inner >= self.outer:
            msg = "inner must be below outer"
            raise ValueError(msg)
        return self


class Training(Model):
    """Architecture and schedule of one DeePMD model."""

    backend: Literal["tensorflow", "pytorch"] = Field(
        "tensorflow",
        description="backend of DeePMD-kit; pytorch needs the setting deepmd_python, an environment that has it",
    )
    descriptor: Literal["se_e2_a", "dpa1"] = Field(
        "se_e2_a", description="descriptor: two-body embedding, or with attention over the neighbors (DPA-1)"
    )
    attention_layers: int = Field(2, ge=0, le=12, description="layers of attention of dpa1")
    steps: int = Field(400_000, ge=10, description="training steps")
    batch_size: int | Literal["auto"] = Field("auto", description="frames per step, or 'auto' (>= 32 atoms)")
    rcut: float = Field(6.0, ge=3, le=12, description="cutoff radius of the descriptor [A]")
    rcut_smth: float = Field(0.5, ge=0, description="where the smooth cutoff begins [A]")
    neuron: tuple[Width, ...] = Field((25, 50, 100), min_length=1, description="widths of the embedding net")
    axis_neuron: int = Field(16, ge=1, description="width of the axis sub-matrix of the embedding")
    fitting: tuple[Width, ...] = Field((240, 240, 240), min_length=1, description="widths of the fitting net")
    precision: Literal["float32", "float64"] = Field("float64", description="floating point precision")
    start_lr: Positive = Field(1e-3, description="learning rate at the start [1]")
    stop_lr: Positive = Field(1e-8, description="learning rate at the end [1]")
    energy_prefactor: tuple[NonNegative, NonNegative] = Field(
        (0.02, 1.0), description="loss weight, start/end"
    )
    force_prefactor: tuple[NonNegative, NonNegative] = Field(
        (1000.0, 1.0), description="loss weight, start/end"
    )
    virial_prefactor: tuple[NonNegative, NonNegative] = Field(
        (0.02, 1.0), description="loss weight, start/end"
    )
    max_force: Positive = Field(
        10.0, description="labels with a larger force component are not trained on [eV/A]"
    )
    short_range: ShortRangeTable | None = Field(
        None, description="table of short-range repulsion within the model, None for none"
    )
    warm_steps: int | None = Field(
        None,
        ge=10,
        description="begin with the model of the iteration before, and train this many steps; None to begin anew each time",
    )
    warm_start_lr: Positive | None = Field(
        None, description="learning rate at the start of such a training, None for start_lr / 10 [1]"
    )
    input: dict[str, Any] | None = Field(
        None,
        description="content of an input.json of DeePMD-kit, for experts: it replaces the architecture and the schedule above "
        "section by section; data, seeds, type map, steps and output files remain ours, and a missing sel is measured",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Training:
        if self.stop_lr >= self.start_lr:
            msg = "stop_lr must be below start_lr"
            raise ValueError(msg)
        if self.warm_start_lr is not None and self.stop_lr >= self.warm_start_lr:
            msg = "stop_lr must be below warm_start_lr"
            raise ValueError(msg)
        if self.rcut_smth >= self.rcut:
            msg = "rcut_smth must be below rcut"
            raise ValueError(msg)
        if self.axis_neuron > self.neuron[-1]:
            msg = "axis_neuron must not exceed the last width of neuron"
            raise ValueError(msg)
        if self.backend == "pytorch" and self.short_range is not None and self.descriptor != "dpa1":
            msg = "short_range needs descriptor: dpa1 with backend: pytorch, which combines a table with no other"
            raise ValueError(msg)
        self._check_input()
        return self

    def _check_input(self) -> None:
        if self.input is None:
            return
        for name, section in self.input.items():
            if name not in _SECTIONS:
                msg = f"input has an unknown section {name!r}, known are {', '.join(sorted(_SECTIONS))}"
                raise ValueError(msg)
            if not isinstance(section, dict):
                msg = f"input.{name} must be a mapping"
                raise ValueError(msg)  # noqa: TRY004 -- pydantic collects ValueError only
            if taken := sorted(set(_OURS.get(name, ())) & set(section)):
                msg = f"input.{name} must leave out {', '.join(taken)}: the campaign sets them"
                raise ValueError(msg)

    @property
    def cutoff(self) -> float:
        """Cutoff radius of the descriptor, that of `input` if it has one [A]."""
        descriptor = ((self.input or {}).get("model") or {}).get("descriptor") or {}
        return float(descriptor.get("rcut", self.rcut))

    @property
    def rates(self) -> tuple[float, float]:
        """Learning rates at the start, of a training that begins anew and of one that goes on [1]."""
        given = (self.input or {}).get("learning_rate") or {}
        start = float(given.get("start_lr", self.start_lr))
        return start, self.warm_start_lr or max(start / 10.0, 2.0 * self.last_rate)

    @property
    def last_rate(self) -> float:
        """Learning rate at the end, that of `input` if it has one [1]."""
        given = (self.input or {}).get("learning_rate") or {}
        return float(given.get("stop_lr", self.stop_lr))
