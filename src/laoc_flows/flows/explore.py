"""Exploration: LAMMPS driven by the committee, and the frames worth a label."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from jobflow import JobStore

from laoc_flows.analysis import Trajectory, closest_contact
from laoc_flows.blobs import BlobRef, FileRef, derive_seed, digest_json, get_blob, publish_file, put_blob
from laoc_flows.engines.lammps import LammpsRun, run_lammps
from laoc_flows.frames import MEDIA_TYPE, decode_frames, encode_frames
from laoc_flows.jobs import LaocMaker, current_store, finished, laoc_job, scratch_directory
from laoc_flows.learning.selection import Explored, select
from laoc_flows.schemas.base import Provenance
from laoc_flows.schemas.config import Exploration, Learning, Selection
from laoc_flows.schemas.iteration import ExplorationDocument, StratumReport
from laoc_flows.schemas.label import FrameSet
from laoc_flows.schemas.potential import PotentialDocument
from laoc_flows.settings import Settings

_RUNAWAY = 3.0
"""Kinetic temperature over the hottest target at which a trajectory has left physics [1]."""


def write_models(
    store: JobStore, potential: PotentialDocument, directory: Path, count: int | None = None
) -> list[Path]:
    """Write the first `count` models of a potential (all by default) into a directory, digests verified."""
    paths = []
    for index, model in enumerate(potential.models[:count]):
        path = directory / f"model-{index}.pb"
        path.write_bytes(get_blob(store, model.model))
        paths.append(path)
    return paths


@dataclass
class ExploreMaker(LaocMaker):
    """Melt, quench and hold of one composition with the committee.

    Parameters
    ----------
    learning : Learning
        Exploration protocol and selection.
    """

    learning: Learning
    name: str = "explore"

    @laoc_job(output_schema=ExplorationDocument)
    def make(
        self, potential: PotentialDocument, start: BlobRef, provenance: Provenance
    ) -> ExplorationDocument:
        """Explore and select.

        Parameters
        ----------
        potential : PotentialDocument
            Potential that drives the run.
        start : BlobRef
            First frame.
        provenance : Provenance
            Composition, iteration and replica; the seed derives from it.
        """
        settings = self.learning.exploration
        selection = self.learning.selection
        seed = derive_seed(provenance.campaign_seed, provenance.trajectory_id, "explore")
        key = digest_json(
            [potential.key, start.sha256, settings.model_dump(), selection.model_dump(), seed, "explore/r1"]
        )
        if (done := finished(ExplorationDocument, "exploration", key)) is not None:
            return done
        store = current_store()
        atoms = decode_frames(get_blob(store, start))[0]
        scale = settings.volume_scales[provenance.replica % len(settings.volume_scales)]
        atoms.set_cell(atoms.cell.array * scale ** (1 / 3), scale_atoms=True)
        with scratch_directory("explore") as directory:
            run = run_lammps(
                atoms,
                write_models(store, potential, directory),
                potential.soft_core,
                settings.stages(),
                time_step=settings.time_step,
                frame_interval=settings.frame_interval,
                seed=seed,
                directory=directory,
            )
            harvest = _harvest(run, settings, selection)
            trajectory = _publish(harvest, settings, key, provenance, directory)
        chosen, strata = _select(harvest, settings, selection, provenance.composition_id, seed)
        return ExplorationDocument(
            key=key,
            campaign_id=provenance.campaign_id,
            provenance=provenance,
            potential_key=potential.key,
            status=f"cut: {harvest.cut}" if harvest.cut else "completed",
            strata=strata,
            selected=_frame_set(harvest, chosen, provenance) if chosen else None,
            trajectory=trajectory,
        )


@dataclass
class _Harvest:
    """Frames of a run up to the point where it left physics."""

    frames: list[Atoms]
    times: list[float]
    deviations: list[float]
    ratios: list[float]
    temperatures: list[float]
    expected: dict[float, int]
    cut: str


def _harvest(run: LammpsRun, settings: Exploration, selection: Selection) -> _Harvest:
    every = max(1, round(settings.frame_interval * 1000.0 / settings.time_step))
    expected: dict[float, int] = {}
    for stage in settings.stages():
        count = stage.steps(settings.time_step) // every
        expected[stage.end_temperature] = expected.get(stage.end_temperature, 0) + count
    harvest = _Harvest([], [], [], [], [], expected, "")
    floors = selection.distance_floor.distances
    limit = _RUNAWAY * max(settings.temperatures)
    last = 0
    for part in run.stages:
        hot = dict(zip(part.column("step").astype(int), part.column("temperature"), strict=True))
        for step, positions, cell in zip(part.steps, part.positions, part.cells, strict=True):
            # The first frame of a stage is the last of the one before; frame zero is the start itself.
            if step <= last or int(step) not in run.deviation:
                continue
            last = int(step)
            frame = Atoms(run.symbols, positions=positions, cell=cell, pbc=True)
            contact = closest_contact(frame, floors)
            ratio = np.inf if contact is None else contact.ratio
            deviation = run.deviation[int(step)]
            if ratio < 1.0:
                harvest.cut = f"{contact} is inside its floor at {step * settings.time_step / 1000:.2f} ps"
            elif hot.get(int(step), 0.0) > limit:
                harvest.cut = f"{hot[int(step)]:.0f} K at {step * settings.time_step / 1000:.2f} ps"
            elif not np.isfinite(deviation):
                harvest.cut = f"the deviation is not finite at {step * settings.time_step / 1000:.2f} ps"
            if harvest.cut:
                return harvest
            harvest.frames.append(frame)
            harvest.times.append(step * settings.time_step / 1000.0)
            harvest.deviations.append(deviation)
            harvest.ratios.append(ratio)
            harvest.temperatures.append(part.stage.end_temperature)
    harvest.cut = run.failure
    return harvest


def _select(
    harvest: _Harvest, settings: Exploration, selection: Selection, composition_id: str, seed: int
) -> tuple[list[int], tuple[StratumReport, ...]]:
    chosen: list[int] = []
    reports = []
    taken: list[float] = []
    temperatures = np.array(harvest.temperatures)
    for temperature in settings.temperatures:
        index = np.flatnonzero(temperatures == temperature)
        # A run that was not cut may lack its very last frame; that is not a cut.
        missing = harvest.expected.get(temperature, 0) - len(index) if harvest.cut else 0
        explored = Explored(
            temperature=temperature,
            times=np.array(harvest.times)[index],
            deviations=np.array(harvest.deviations)[index],
            floor_ratios=np.array(harvest.ratios)[index],
            n_cut=max(0, missing),
        )
        picks, report = select(explored, selection, composition_id, derive_seed(seed, temperature), taken)
        chosen += [int(index[pick]) for pick in picks]
        reports.append(report)
    return sorted(chosen), tuple(reports)


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
