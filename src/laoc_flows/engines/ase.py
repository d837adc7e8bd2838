"""Engines that are ASE calculators: GFN1-xTB through tblite.

atomate2's ``GFNxTBStaticMaker`` and ``AseMDMaker`` were considered and not used: the former relaxes with zero
steps and raises when the SCF does not converge, the latter changes itself in ``make``, cannot seed its
thermostat and loses the whole trajectory when one step fails. ASE's own dynamics and tblite's calculator do
the work; only the bookkeeping is here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.constraints import FixCom
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import Stationary, thermalize_momenta
from ase.optimize import FIRE
from jobflow import Maker
from pydantic import Field

from laoc_flows.analysis.trajectories.trajectory import Trajectory
from laoc_flows.blobs import BlobRef, FileRef, derive_seed, digest_json, get_blob, publish_file, put_blob
from laoc_flows.engines.base import Engine
from laoc_flows.engines.labels import batch_of, label_frame
from laoc_flows.errors import EngineUnavailableError
from laoc_flows.frames import MEDIA_TYPE, decode_frames, encode_frames
from laoc_flows.jobs import LaocMaker, current_store, finished, laoc_job, scratch_directory
from laoc_flows.schemas.base import Provenance
from laoc_flows.schemas.label import FrameSet, LabelBatch, LabelRecord, MDResult
from laoc_flows.schemas.protocol import DISTANCE_FLOOR, PairDistances, Stage
from laoc_flows.settings import Settings


class XtbEngine(Engine):
    """GFN1-xTB (Grimme, Bannwarth, Shushkov, JCTC 2017, 13, 1989) in tblite; GFN2 does not converge here."""

    name: Literal["xtb"] = "xtb"
    method: Literal["GFN1-xTB"] = Field("GFN1-xTB", description="Hamiltonian")
    accuracy: float = Field(
        1.0,
        gt=0,
        le=1000,
        description="tblite's accuracy; 100 is twice as fast and moves forces by some meV/A",
    )
    electronic_temperature: float = Field(300.0, gt=0, le=10000, description="Fermi smearing [K]")
    max_iterations: int = Field(
        300, ge=1, le=10000, description="SCF iterations before it counts as unconverged"
    )

    @property
    def level_of_theory(self) -> str:
        """Identity of the labels; the last part is the version of this recipe."""
        return f"tblite/{self.method}/accuracy={self.accuracy:g}/Te={self.electronic_temperature:g}K/r1"

    def calculator(self) -> Calculator:
        """A new ASE calculator."""
        from tblite.ase import TBLite

        return TBLite(
            method=self.method,
            accuracy=self.accuracy,
            electronic_temperature=self.electronic_temperature,
            max_iterations=self.max_iterations,
            verbosity=0,
        )

    def static_maker(self, distance_floor: PairDistances) -> Maker:
        """Maker of single points."""
        return AseLabelMaker(engine=self, distance_floor=distance_floor)

    def md_maker(
        self,
        stages: tuple[Stage, ...],
        *,
        time_step: float,
        label_every: int,
        relax_steps: int,
        distance_floor: PairDistances,
    ) -> Maker:
        """Maker of molecular dynamics whose frames are labels themselves."""
        return AseMDMaker(
            engine=self,
            stages=stages,
            time_step=time_step,
            label_every=label_every,
            relax_steps=relax_steps,
            distance_floor=distance_floor,
        )

    def check_available(self) -> None:
        """Raise EngineUnavailableError without tblite."""
        if find_spec("tblite") is None:
            msg = "the engine xtb needs tblite"
            raise EngineUnavailableError(msg, remedy="pip install tblite")


@dataclass
class AseLabelMaker(LaocMaker):
    """Single points of a set of frames with an ASE calculator, in one job.

    Parameters
    ----------
    engine : XtbEngine
        Engine that gives the calculator.
    distance_floor : PairDistances
        Frames with a closer pair are rejected without a calculation.
    """

    engine: XtbEngine = field(default_factory=XtbEngine)
    distance_floor: PairDistances = DISTANCE_FLOOR
    name: str = "label"

    @laoc_job(output_schema=LabelBatch)
    def make(self, frames: FrameSet) -> LabelBatch:
        """Label frames.

        Parameters
        ----------
        frames : FrameSet
            Frames to label.
        """
        level = self.engine.level_of_theory
        identity = [
            level,
            frames.frames.sha256,
            frames.provenance.trajectory_id,
            self.distance_floor.model_dump(),
        ]
        key = digest_json(identity)
        if (done := finished(LabelBatch, "label_batch", key)) is not None:
            return done
        calculator = self.engine.calculator()
        floors = self.distance_floor.distances
        atoms_list = decode_frames(get_blob(current_store(), frames.frames))
        unknown = (None,) * len(atoms_list)
        outcomes = [
            label_frame(atoms, calculator, level, floors, temperature, deviation)
            for atoms, temperature, deviation in zip(
                atoms_list, frames.temperatures or unknown, frames.deviations or unknown, strict=True
            )
        ]
        return batch_of(outcomes, key=key, level_of_theory=level, provenance=frames.provenance)


@dataclass
class AseMDMaker(LaocMaker):
    """Melt, quench and hold at constant volume with an ASE calculator (Langevin, seeded).

    Every ``label_every``-th step is kept as a frame and as a label: the engine has computed it already. A run
    that fails midway keeps what it made until then and says why it stopped.

    Parameters
    ----------
    engine : XtbEngine
        Engine that gives the calculator.
    stages : tuple of Stage
        Protocol; NVT stages only.
    time_step : float
        MD time step [fs].
    label_every : int
        Steps between labels.
    relax_steps : int
        FIRE steps before the dynamics.
    distance_floor : PairDistances
        Frames with a closer pair are rejected as labels.
    friction : float
        Langevin friction [1/ps]; strong, because a seed trajectory samples and does not measure dynamics.
    """

    engine: XtbEngine = field(default_factory=XtbEngine)
    stages: tuple[Stage, ...] = ()
    time_step: float = 2.0
    label_every: int = 4
    relax_steps: int = 12
    distance_floor: PairDistances = DISTANCE_FLOOR
    friction: float = 20.0
    name: str = "reference md"

    @laoc_job(output_schema=MDResult)
    def make(self, start: BlobRef, provenance: Provenance) -> MDResult:
        """Run the protocol.

        Parameters
        ----------
        start : BlobRef
            One frame, extended XYZ.
        provenance : Provenance
            Composition, stage and replica; the seed derives from it.
        """
        level = self.engine.level_of_theory
        seed = derive_seed(provenance.campaign_seed, provenance.trajectory_id, "reference md")
        stages = tuple(Stage.model_validate(stage) for stage in self.stages)
        key = digest_json(
            [
                level,
                start.sha256,
                [stage.model_dump() for stage in stages],
                [self.time_step, self.label_every, self.relax_steps, self.friction, seed],
                self.distance_floor.model_dump(),
            ]
        )
        if (done := finished(MDResult, "md", key)) is not None:
            return done
        atoms = decode_frames(get_blob(current_store(), start))[0]
        atoms.calc = self.engine.calculator()
        atoms.set_constraint(FixCom())
        recorder = _Recorder(level, self.distance_floor.distances)
        status, steps = "completed", 0
        try:
            if self.relax_steps:
                FIRE(atoms, logfile=None, maxstep=0.1).run(fmax=0.05, steps=self.relax_steps)
            rng = np.random.default_rng(seed)
            thermalize_momenta(atoms, temperature_K=stages[0].start_temperature, rng=rng)
            Stationary(atoms)
            for stage, step in self._steps(atoms, stages, rng):
                steps += 1
                if step % self.label_every == 0:
                    recorder.record(atoms, stage)
        except Exception as error:  # noqa: BLE001 -- a failed step ends the trajectory, not the campaign
            status = f"stopped: {' '.join(str(error).split())[:300]}"
        return recorder.result(
            key=key,
            provenance=provenance,
            status=status,
            steps=steps,
            time_step=self.time_step,
            interval=self.label_every,
            last=atoms,
        )

    def _steps(
        self, atoms: Atoms, stages: tuple[Stage, ...], rng: np.random.Generator
    ) -> Iterator[tuple[Stage, int]]:
        count = 0
        for stage in stages:
            n_steps = stage.steps(self.time_step)
            dynamics = Langevin(
                atoms,
                self.time_step * units.fs,
                temperature_K=stage.start_temperature,
                friction=self.friction / (1000.0 * units.fs),
                rng=rng,
                fixcm=False,
            )
            ramp = np.linspace(stage.start_temperature, stage.end_temperature, n_steps + 1)[1:]
            for target in ramp:
                dynamics.set_temperature(temperature_K=target)
                dynamics.run(1)
                count += 1
                yield stage, count


class _Recorder:
    """Frames and labels of a trajectory while it runs."""

    def __init__(self, level_of_theory: str, floors: Mapping[str, float]) -> None:
        self.level = level_of_theory
        self.floors = floors
        self.outcomes: list[tuple[LabelRecord, Atoms | None]] = []
        self.frames: list[Atoms] = []
        self.series: dict[str, list[tuple[float, float]]] = {}

    def record(self, atoms: Atoms, stage: Stage) -> None:
        """Keep the present frame; the calculator has its results cached."""
        temperature = float(atoms.get_temperature())
        frame = Atoms(atoms.get_chemical_symbols(), positions=atoms.positions, cell=atoms.cell, pbc=True)
        self.frames.append(frame)
        record, labeled = label_frame(frame, _Cached(atoms), self.level, self.floors, temperature)
        self.outcomes.append((record, labeled))
        if record.pressure is not None:
            self.series.setdefault(stage.name, []).append((temperature, record.pressure))

    def result(
        self,
        *,
        key: str,
        provenance: Provenance,
        status: str,
        steps: int,
        time_step: float,
        interval: int,
        last: Atoms,
    ) -> MDResult:
        """Everything that was recorded, arrays in blobs and files."""
        store = current_store()
        final = Atoms(last.get_chemical_symbols(), positions=last.positions, cell=last.cell, pbc=True)
        return MDResult(
            key=key,
            campaign_id=provenance.campaign_id,
            level_of_theory=self.level,
            provenance=provenance,
            status=status,
            n_steps=steps,
            time_step=time_step,
            final_frame=put_blob(store, encode_frames([final]), MEDIA_TYPE),
            trajectory=self._publish(key, provenance, interval * time_step / 1000.0),
            labels=batch_of(
                self.outcomes,
                key=digest_json([key, "labels"]),
                level_of_theory=self.level,
                provenance=provenance,
            ),
            mean_temperature={
                name: float(np.mean([t for t, _ in rows])) for name, rows in self.series.items()
            },
            mean_pressure={name: float(np.mean([p for _, p in rows])) for name, rows in self.series.items()},
        )

    def _publish(self, key: str, provenance: Provenance, interval: float) -> FileRef | None:
        if not self.frames:
            return None
        with scratch_directory("trajectory") as directory:
            path = directory / "trajectory.h5"
            Trajectory.from_ase(self.frames, time_step=interval).write(path)
            name = f"{provenance.campaign_id}/{provenance.composition_id}/{provenance.stage}-{key[:16]}.h5"
            return publish_file(path, Settings.load().trajectory_root, name)


class _Cached(Calculator):
    """The results that a dynamics run has computed for its present frame."""

    implemented_properties: tuple[str, ...] = ("energy", "forces", "stress")

    def __init__(self, source: Atoms) -> None:
        super().__init__()
        self._source = source

    def calculate(self, *_: Any, **__: Any) -> None:
        """Read the results from the running atoms; nothing is computed anew."""
        self.results = {
            "energy": self._source.get_potential_energy(),
            "forces": self._source.get_forces(apply_constraint=False),
            "stress": self._source.get_stress(apply_constraint=False),
        }
