"""Crystalline LiAlCl4 on its way to the glass: snapshots of its melting, each run and analyzed at 300 K."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from jobflow import Flow, Job

from laoc_flows.analysis import Analysis, Trajectory, analyze
from laoc_flows.blobs import derive_seed, digest_json, fetch_file, put_blob
from laoc_flows.engines.base import Engine
from laoc_flows.engines.melting import melt_record
from laoc_flows.flows.assess import packed
from laoc_flows.flows.crystals import lialcl4
from laoc_flows.flows.summaries import transport_fields
from laoc_flows.frames import MEDIA_TYPE, encode_frames
from laoc_flows.jobs import LaocMaker, current_store, finished, laoc_job, scratch_directory, stamp
from laoc_flows.schemas.amorphisation import (
    AmorphisationPoint,
    AmorphisationSeries,
    AmorphisationSettings,
    Snapshots,
)
from laoc_flows.schemas.base import Provenance
from laoc_flows.schemas.label import FrameSet, MDResult, StageRecord

CRYSTAL = "LiAlCl4, P2_1/c, COD 1004036"
_COMPOSITION = "x1.000-y0.000"
_STAGE = "amorphisation"


@dataclass
class AmorphisationSeriesMaker(LaocMaker):
    """Melt a crystal, take snapshots on the way, and run and analyze each at one lower temperature.

    As in J. Mater. Chem. A 2025, 13, 2309, Fig. S8: motion against the degree of amorphisation. The run of the
    crystal itself is the reference of Theta_S, that of the longest-melted snapshot the one of Theta_g.

    Parameters
    ----------
    engine : Engine
        Engine of all runs; any will do.
    settings : AmorphisationSettings
        Supercell, times, temperatures.

    Examples
    --------
    The engine computes in jobs, which any of jobflow's managers runs::

        flow = AmorphisationSeriesMaker(parse_engine({"name": "chgnet"})).make()
        run_locally(flow, store=store)
    """

    engine: Engine
    settings: AmorphisationSettings = field(default_factory=AmorphisationSettings)
    name: str = "amorphisation"

    def make(self, campaign_id: str = "amorphisation", seed: int = 1) -> Flow:
        """Flow of the whole series.

        Parameters
        ----------
        campaign_id : str
            What the documents are filed under.
        seed : int
            Root of every other seed.

        Returns
        -------
        jobflow.Flow
            Output: the ``AmorphisationSeries``.
        """
        settings, n_points = self.settings, len(self.settings.melt_times)
        origins = [_provenance(campaign_id, seed, _STAGE, replica) for replica in range(n_points)]
        melting = _provenance(campaign_id, seed, f"{_STAGE} melt", 0)
        crystal = crystal_cell(settings.supercell, melting)
        melt = self._run(settings.melt_stages(), crystal.output.frames, melting)
        snapshots = melt_snapshots(melt.output, crystal.output, settings)
        runs = [
            self._run(
                settings.run_stages(melted=index > 0),
                snapshots.output.frames[index] if index else crystal.output.frames,
                origin,
            )
            for index, origin in enumerate(origins)
        ]
        points = [
            analyze_point(run.output, runs[0].output, runs[-1].output, snapshots.output, index, settings)
            for index, run in enumerate(runs)
        ]
        series = amorphisation_series(
            melt.output, snapshots.output, [point.output for point in points], settings
        )
        for job, what in ((crystal, "crystal"), (melt, "melt"), (snapshots, "snapshots"), (series, "series")):
            job.name = f"{self.name} {what}"
            stamp(job, step=f"{_STAGE} {what}")
        for index, time in enumerate(settings.melt_times):
            for job, what in ((runs[index], "run"), (points[index], "analyze")):
                job.name = f"{self.name} {what} {time:g} ps"
                stamp(job, step=f"{_STAGE} {what}")
        flow = Flow([crystal, melt, snapshots, *runs, *points, series], output=series.output, name=self.name)
        stamp(flow, stage=_STAGE, campaign=campaign_id, composition=_COMPOSITION, iteration=0)
        return flow

    def _run(self, stages: Any, start: Any, provenance: Provenance) -> Job:
        settings = self.settings
        maker = self.engine.md_maker(
            stages, time_step=settings.time_step, frame_every=settings.frame_every, purpose=_STAGE
        )
        return maker.make(start, provenance)


def _provenance(campaign_id: str, seed: int, stage: str, replica: int) -> Provenance:
    return Provenance(
        campaign_id=campaign_id,
        campaign_seed=seed,
        composition_id=_COMPOSITION,
        stage=stage,
        replica=replica,
    )


@laoc_job(output_schema=FrameSet)
def crystal_cell(supercell: tuple[int, int, int], provenance: Provenance) -> FrameSet:
    """Supercell of the crystal.

    Parameters
    ----------
    supercell : tuple of int
        Repeats along a, b and c.
    provenance : Provenance
        Where it belongs.
    """
    from ase.build import make_supercell

    atoms = make_supercell(lialcl4(), np.diag(supercell))
    bare = Atoms(atoms.get_chemical_symbols(), positions=atoms.positions, cell=atoms.cell, pbc=True)
    return FrameSet(
        frames=put_blob(current_store(), encode_frames([bare]), MEDIA_TYPE), n_frames=1, provenance=provenance
    )


@laoc_job(output_schema=Snapshots)
def melt_snapshots(melt: MDResult, crystal: FrameSet, settings: AmorphisationSettings) -> Snapshots:
    """Last frame of every stage of the melting run, the crystal before them.

    Parameters
    ----------
    melt : MDResult
        Melting run.
    crystal : FrameSet
        Its start.
    settings : AmorphisationSettings
        Times of the snapshots.

    Returns
    -------
    Snapshots
        Where the run stopped early, its last frame stands for what it did not reach. With the verdict whether the
        last of them is a melt.
    """
    store = current_store()
    frames, times = [crystal.frames], [0.0]
    whole = _trajectory(melt)
    for index in range(len(settings.melt_times) - 1):
        record = melt.stages[min(index, len(melt.stages) - 1)] if melt.stages else None
        last = record.first_frame + record.n_frames if record is not None else 0
        if whole is None or not last:
            frames.append(frames[-1])
            times.append(times[-1])
            continue
        frames.append(put_blob(store, encode_frames([_atoms(whole, last - 1)]), MEDIA_TYPE))
        times.append(round(last * melt.frame_interval, 6))
    return Snapshots(
        key=digest_json([melt.key, settings.model_dump(), "snapshots/r2"]),
        campaign_id=melt.campaign_id,
        times=tuple(times),
        frames=tuple(frames),
        melt=melt_record(whole) if whole is not None else None,
    )


@laoc_job(output_schema=AmorphisationPoint)
def analyze_point(
    run: MDResult,
    crystal: MDResult,
    glass: MDResult,
    snapshots: Snapshots,
    index: int,
    settings: AmorphisationSettings,
) -> AmorphisationPoint:
    """Analyze the run of one snapshot against those of the crystal and of the longest-melted one.

    Parameters
    ----------
    run : MDResult
        Run of the snapshot.
    crystal : MDResult
        Run of the crystal, reference of Theta_S.
    glass : MDResult
        Run of the longest-melted snapshot, reference of Theta_g.
    snapshots : Snapshots
        The snapshots and their times.
    index : int
        Which of them it is.
    settings : AmorphisationSettings
        Temperature.
    """
    key = digest_json([run.key, crystal.key, glass.key, settings.temperature, "point/r2"])
    if (done := finished(AmorphisationPoint, "amorphisation_point", key)) is not None:
        return done
    here = _window(run)
    fields: dict[str, Any] = {}
    if here.trajectory is not None:
        seed = derive_seed(run.provenance.campaign_seed, run.provenance.trajectory_id, "analysis")
        found = analyze(
            here.trajectory,
            settings.temperature,
            crystal=_window(crystal).trajectory,
            # What has not melted is no liquid that others could be measured against.
            liquid=_window(glass).trajectory if snapshots.melted else None,
            seed=seed,
        )
        fields = {**_fields(found), "analysis": packed(found)}
        if not snapshots.melted:
            fields["missing"] = {**fields["missing"], "theta_g": _no_liquid(snapshots)}
    hold = here.record
    return AmorphisationPoint(
        key=key,
        campaign_id=run.campaign_id,
        melt_time=snapshots.times[index],
        status=run.status,
        temperature=hold.temperature if hold is not None else None,
        pressure=hold.pressure if hold is not None else None,
        duration=here.trajectory.duration if here.trajectory is not None else 0.0,
        trajectory=run.trajectory,
        **{"order_status": "insufficient", "order_reason": "the run left nothing to analyze", **fields},
    )


@laoc_job(output_schema=AmorphisationSeries)
def amorphisation_series(
    melt: MDResult, snapshots: Snapshots, points: list[AmorphisationPoint], settings: AmorphisationSettings
) -> AmorphisationSeries:
    """Document of the series.

    Parameters
    ----------
    melt : MDResult
        Melting run.
    snapshots : Snapshots
        Its frames, and whether it has melted.
    points : list of AmorphisationPoint
        Snapshots, by time in the melt.
    settings : AmorphisationSettings
        What was run.
    """
    from ase.build import make_supercell

    atoms = make_supercell(lialcl4(), np.diag(settings.supercell))
    return AmorphisationSeries(
        key=digest_json([melt.key, [point.key for point in points], settings.model_dump(), "series/r2"]),
        campaign_id=melt.campaign_id,
        crystal=CRYSTAL,
        formula=atoms.get_chemical_formula(),
        n_atoms=len(atoms),
        level_of_theory=melt.level_of_theory,
        settings=settings,
        melt_status=melt.status if melt.status != "completed" or snapshots.melted else _no_liquid(snapshots),
        melt=snapshots.melt,
        points=tuple(points),
    )


def _no_liquid(snapshots: Snapshots) -> str:
    return (
        snapshots.melt.reason if snapshots.melt is not None else "not melted: the melting run left no frame"
    )


class _Window(NamedTuple):
    """The analyzed part of a run, None where there is none."""

    record: StageRecord | None
    trajectory: Trajectory | None


def _window(run: MDResult) -> _Window:
    record = run.stages[-1] if run.stages and run.stages[-1].name == "hold" else None
    whole = _trajectory(run) if record is not None and record.n_frames else None
    if record is None or whole is None:
        return _Window(None, None)
    return _Window(record, whole.block(record.first_frame, record.first_frame + record.n_frames))


def _trajectory(run: MDResult) -> Trajectory | None:
    if run.trajectory is None:
        return None
    with scratch_directory("amorphisation") as directory:
        return Trajectory.read(fetch_file(run.trajectory, directory / "trajectory.h5"))


def _atoms(trajectory: Trajectory, index: int) -> Atoms:
    frame = trajectory.frame(index)
    return Atoms(frame.species, positions=frame.positions, cell=frame.cell, pbc=True)


def _fields(found: Analysis) -> dict[str, Any]:
    moved = transport_fields(found)
    fields = {name: moved[name] for name in ("species", "hops", "rotations", "missing")}
    order = found.amorphisation
    if order is None:
        reason = found.missing.get("amorphisation", "the crystal left nothing to compare with")
        return {**fields, "order_status": "insufficient", "order_reason": reason}
    return {
        **fields,
        "order_status": order.status,
        "order_reason": order.reason,
        "theta_s": order.theta_s,
        "theta_s_corrected": order.theta_s_corrected,
        "theta_g": order.theta_g,
        "theta_g_noise": order.theta_g_noise,
        "crystal_site_fraction": order.crystal_site_fraction,
        "displaced_fraction": order.displaced_fraction,
    }
