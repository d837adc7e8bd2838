"""Exploration: LAMMPS driven by the committee, and the frames that may be labeled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms

from laoc_flows.analysis import Contact, Trajectory, closest_contact
from laoc_flows.blobs import BlobRef, FileRef, derive_seed, digest_json, get_blob, publish_file, put_blob
from laoc_flows.engines.clock import JobClock
from laoc_flows.engines.lammps import LammpsRun, run_lammps
from laoc_flows.flows.potential import write_models
from laoc_flows.frames import MEDIA_TYPE, decode_frames, encode_frames
from laoc_flows.jobs import LaocMaker, current_store, finished, laoc_job, scratch_directory
from laoc_flows.learning.calibration import levels_of
from laoc_flows.learning.selection import Explored, offer
from laoc_flows.schemas.base import Provenance
from laoc_flows.schemas.iteration import CalibrationDocument, ExplorationDocument, Stratum, StratumReport
from laoc_flows.schemas.label import FrameSet
from laoc_flows.schemas.learning import Exploration, Learning, Selection, TrustLevels
from laoc_flows.schemas.potential import PotentialDocument
from laoc_flows.schemas.protocol import Stage
from laoc_flows.settings import Settings

_RUNAWAY = 3.0
"""Kinetic temperature over the hottest target at which a trajectory has left physics [1]."""
_EVAPORATED = 2.0
"""Volume over that of the first frame beyond which a cell is no melt any more: gas teaches nothing about glasses, and its
labels are the dearest [1]."""


@dataclass
class ExploreMaker(LaocMaker):
    """Melt, quench and hold of one composition with the committee, at one volume or pressure.

    Parameters
    ----------
    learning : Learning
        Exploration protocol and selection.
    """

    learning: Learning
    name: str = "explore"

    @laoc_job(output_schema=ExplorationDocument)
    def make(
        self,
        potential: PotentialDocument,
        start: BlobRef,
        provenance: Provenance,
        calibration: CalibrationDocument | None = None,
    ) -> ExplorationDocument:
        """Explore, and offer the frames that may be labeled.

        Parameters
        ----------
        potential : PotentialDocument
            Potential that drives the run.
        start : BlobRef
            Frames, of which the last is the first of the run.
        provenance : Provenance
            Composition, iteration and replica; the seed derives from it, and the replica says which volume or pressure.
        calibration : CalibrationDocument, optional
            Trust levels; by default those of the settings.
        """
        settings = self.learning.exploration
        selection = self.learning.selection
        seed = derive_seed(provenance.campaign_seed, provenance.trajectory_id, "explore")
        strata = strata_of(self.learning, provenance.composition_id, provenance.replica)
        known = calibration.calibration if calibration is not None else ()
        levels = [levels_of(known, stratum, self.learning) for stratum in strata]
        key = digest_json(
            [
                *(potential.key, start.sha256, settings.model_dump(), selection.model_dump(), seed),
                *([level.model_dump() for level in levels], "explore/r4"),
            ]
        )
        if (done := finished(ExplorationDocument, "exploration", key)) is not None:
            return done
        store, clock = current_store(), JobClock(Settings.load())
        condition = settings.condition(provenance.replica)
        atoms = decode_frames(get_blob(store, start))[-1]
        atoms.calc = None
        atoms.set_cell(atoms.cell.array * (condition.volume_scale or 1.0) ** (1 / 3), scale_atoms=True)
        with scratch_directory("explore") as directory:
            limits = _Limits.of(atoms, settings, selection, levels)
            harvest = _Harvest.empty(settings)
            stages, over, first = settings.stages(condition.pressure), 0, atoms
            models = write_models(store, potential, directory)
            while over < len(stages):
                run = run_lammps(
                    first,
                    models,
                    potential.soft_core,
                    stages[over:],
                    time_step=settings.time_step,
                    frame_interval=settings.frame_interval,
                    seed=derive_seed(seed, over) if over else seed,
                    directory=directory,
                )
                steps = sum(stage.steps(settings.time_step) for stage in stages[:over])
                over += harvest.add(run, stages[over:], limits, steps)
                # A melt that leaves physics says nothing of the colder stages: they go on from what can still be trusted.
                first = atoms if harvest.trusted is None else harvest.frames[harvest.trusted]
            trajectory = _publish(harvest, settings, key, provenance, directory)
        offered = _offer(harvest, selection, strata, levels, seed)
        picks = sorted([*offered.candidates, *offered.agreed])
        return ExplorationDocument(
            key=key,
            campaign_id=provenance.campaign_id,
            provenance=provenance,
            potential_key=potential.key,
            status=f"cut: {'; '.join(harvest.cuts)}" if harvest.cuts else "completed",
            strata=offered.reports,
            candidates=_frame_set(harvest, picks, provenance) if picks else None,
            audited=tuple(index in set(offered.agreed) for index in picks),
            times=tuple(harvest.times[index] for index in picks),
            trajectory=trajectory,
            core_hours=clock.core_hours,
        )


def strata_of(learning: Learning, composition_id: str, replica: int) -> list[Stratum]:
    """Strata of one exploration run: its composition and its volume or pressure, at every temperature.

    Parameters
    ----------
    learning : Learning
        Settings.
    composition_id : str
        Canonical composition id.
    replica : int
        Which run of the composition.
    """
    volume_scale, pressure = learning.exploration.condition(replica)
    return [
        Stratum(
            composition_id=composition_id,
            temperature=temperature,
            volume_scale=volume_scale,
            pressure=pressure,
        )
        for temperature in learning.exploration.temperatures
    ]


@dataclass(frozen=True)
class _Limits:
    """Where a run has left physics, and up to where its frames are trusted."""

    time_step: float
    floors: dict[str, float]
    hottest: float
    largest: float
    trusted: dict[float, float]

    @classmethod
    def of(
        cls, start: Atoms, settings: Exploration, selection: Selection, levels: Sequence[TrustLevels]
    ) -> _Limits:
        return cls(
            time_step=settings.time_step,
            floors=selection.distance_floor.distances,
            hottest=_RUNAWAY * max(settings.temperatures),
            largest=_EVAPORATED * start.get_volume(),
            trusted={t: level.high for t, level in zip(settings.temperatures, levels, strict=True)},
        )

    def broken(self, frame: Atoms, contact: Contact | None, hot: float, deviation: float) -> str:
        """How a frame has left physics; empty where it has not."""
        if contact is not None and contact.ratio < 1.0:
            return f"{contact} is inside its floor"
        if frame.get_volume() > self.largest:
            return f"the cell has more than {_EVAPORATED:g} times its volume, the melt evaporates"
        if hot > self.hottest:
            return f"{hot:.0f} K"
        return "" if np.isfinite(deviation) else "the deviation is not finite"


def _frame_every(settings: Exploration) -> int:
    return max(1, round(settings.frame_interval * 1000.0 / settings.time_step))


@dataclass
class _Harvest:
    """Frames of the runs of one exploration, each up to the point where it left physics."""

    frames: list[Atoms]
    times: list[float]
    deviations: list[float]
    ratios: list[float]
    temperatures: list[float]
    expected: dict[float, int]
    cuts: list[str]
    trusted: int | None = None
    """Last frame whose deviation is below the upper trust level."""

    @classmethod
    def empty(cls, settings: Exploration) -> _Harvest:
        expected: dict[float, int] = {}
        for stage in settings.stages():
            count = stage.steps(settings.time_step) // _frame_every(settings)
            expected[stage.end_temperature] = expected.get(stage.end_temperature, 0) + count
        return cls([], [], [], [], [], expected, [])

    def add(self, run: LammpsRun, stages: Sequence[Stage], limits: _Limits, steps: int) -> int:
        """Add the frames of a run; how many of its stages are over, that in which it was cut included.

        Parameters
        ----------
        run : LammpsRun
            The run.
        stages : sequence of Stage
            What it was asked for.
        limits : _Limits
            Where it is cut.
        steps : int
            MD steps of the stages before those of the run [1].
        """
        last = 0
        for part in run.stages:
            hot = dict(zip(part.column("step").astype(int), part.column("temperature"), strict=True))
            for step, positions, cell in zip(part.steps, part.positions, part.cells, strict=True):
                # The first frame of a stage is the last of the one before; frame zero is the start itself.
                if step <= last or int(step) not in run.deviation:
                    continue
                last = int(step)
                frame = Atoms(run.symbols, positions=positions, cell=cell, pbc=True)
                contact = closest_contact(frame, limits.floors)
                deviation = run.deviation[last]
                time = (steps + last) * limits.time_step / 1000
                if broken := limits.broken(frame, contact, hot.get(last, 0.0), deviation):
                    self.cuts.append(f"{broken} at {time:.2f} ps")
                    return stages.index(part.stage) + 1
                if deviation < limits.trusted[part.stage.end_temperature]:
                    self.trusted = len(self.frames)
                self.frames.append(frame)
                self.times.append(time)
                self.deviations.append(deviation)
                self.ratios.append(np.inf if contact is None else contact.ratio)
                self.temperatures.append(part.stage.end_temperature)
        if not run.failure:
            return len(stages)
        self.cuts.append(f"{run.failure} after {(steps + last) * limits.time_step / 1000:.2f} ps")
        return stages.index(run.stages[-1].stage) + 1 if run.stages else 1


@dataclass
class _Offer:
    """Frames that may be labeled, by their index in the harvest."""

    candidates: list[int]
    agreed: list[int]
    reports: tuple[StratumReport, ...]


def _offer(
    harvest: _Harvest,
    selection: Selection,
    strata: Sequence[Stratum],
    levels: Sequence[TrustLevels],
    seed: int,
) -> _Offer:
    candidates: list[int] = []
    agreed: list[int] = []
    reports = []
    temperatures = np.array(harvest.temperatures)
    for stratum, trust in zip(strata, levels, strict=True):
        index = np.flatnonzero(temperatures == stratum.temperature)
        # A run that was not cut may lack its very last frame; that is not a cut.
        missing = harvest.expected.get(stratum.temperature, 0) - len(index) if harvest.cuts else 0
        explored = Explored(
            temperature=stratum.temperature,
            times=np.array(harvest.times)[index],
            deviations=np.array(harvest.deviations)[index],
            floor_ratios=np.array(harvest.ratios)[index],
            n_cut=max(0, missing),
        )
        draw = derive_seed(seed, stratum.temperature)
        some, drawn, report = offer(explored, trust, selection, stratum.model_dump(), draw)
        candidates += [int(index[pick]) for pick in some]
        agreed += [int(index[pick]) for pick in drawn]
        reports.append(report)
    return _Offer(candidates, agreed, tuple(reports))


def _frame_set(harvest: _Harvest, chosen: list[int], provenance: Provenance) -> FrameSet:
    frames = []
    for index in chosen:
        frame = harvest.frames[index].copy()
        frame.wrap()
        frames.append(frame)
    return FrameSet(
        frames=put_blob(current_store(), encode_frames(frames), MEDIA_TYPE),
        n_frames=len(frames),
        temperatures=tuple(harvest.temperatures[index] for index in chosen),
        deviations=tuple(harvest.deviations[index] for index in chosen),
        provenance=provenance,
    )


def _publish(
    harvest: _Harvest, settings: Exploration, key: str, provenance: Provenance, directory: Path
) -> FileRef | None:
    if not harvest.frames:
        return None
    path = directory / "explored.h5"
    Trajectory.from_ase(harvest.frames, time_step=settings.frame_interval).write(path)
    name = f"{provenance.campaign_id}/{provenance.composition_id}/{provenance.stage}-{key[:16]}.h5"
    return publish_file(path, Settings.load().trajectory_root, name)
