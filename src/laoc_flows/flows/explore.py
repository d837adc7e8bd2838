"""Exploration: LAMMPS driven by the committee, and the frames that may be labeled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms

from laoc_flows.analysis import Trajectory, closest_contact
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
                *([level.model_dump() for level in levels], "explore/r3"),
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
            run = run_lammps(
                atoms,
                write_models(store, potential, directory),
                potential.soft_core,
                settings.stages(condition.pressure),
                time_step=settings.time_step,
                frame_interval=settings.frame_interval,
                seed=seed,
                directory=directory,
            )
            harvest = _harvest(run, settings, selection)
            trajectory = _publish(harvest, settings, key, provenance, directory)
        offered = _offer(harvest, selection, strata, levels, seed)
        picks = sorted([*offered.candidates, *offered.agreed])
        return ExplorationDocument(
            key=key,
            campaign_id=provenance.campaign_id,
            provenance=provenance,
            potential_key=potential.key,
            status=f"cut: {harvest.cut}" if harvest.cut else "completed",
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
    largest = _EVAPORATED * abs(np.linalg.det(run.stages[0].cells[0])) if run.stages else 0.0
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
            elif frame.get_volume() > largest:
                harvest.cut = (
                    f"the cell has more than {_EVAPORATED:g} times its volume at {step * settings.time_step / 1000:.2f} ps: "
                    "the melt evaporates"
                )
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
        missing = harvest.expected.get(stratum.temperature, 0) - len(index) if harvest.cut else 0
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
