"""Production: a larger cell melted, quenched and run with the final potential, analyzed where it was made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ase import Atoms
from ase.units import mol
from jobflow import Flow, Response

from laoc_flows.analysis import Measured, Trajectory, block_average
from laoc_flows.blobs import BlobRef, FileRef, derive_seed, digest_json, publish_file, put_blob
from laoc_flows.engines.controller import Controller
from laoc_flows.engines.labels import LOG_TYPE
from laoc_flows.engines.lammps_engine import LammpsEngine
from laoc_flows.engines.melting import judged_stages
from laoc_flows.engines.runs import Checkpoint, Run
from laoc_flows.engines.stage_records import profile_of
from laoc_flows.flows.assess import (
    finished_production,
    production_of,
    structure_document,
    structure_of,
    thinned,
    transport_document,
    verdict,
)
from laoc_flows.flows.kept import held
from laoc_flows.flows.potential import write_models
from laoc_flows.flows.seeds import PackMaker
from laoc_flows.frames import MEDIA_TYPE, encode_frames
from laoc_flows.jobs import LaocMaker, current_store, laoc_job, scratch_directory, stamp
from laoc_flows.learning.validity import outside
from laoc_flows.schemas.base import Provenance
from laoc_flows.schemas.config import Production
from laoc_flows.schemas.glass import GlassStatus, ProductionResult
from laoc_flows.schemas.label import MDResult
from laoc_flows.schemas.potential import PotentialDocument
from laoc_flows.schemas.protocol import Stage
from laoc_flows.settings import Settings

_CM3 = 1e24


@dataclass
class GlassMaker(LaocMaker):
    """Melt, quench, NPT and NVT of one packed cell, and everything that is read off it.

    A cell that does not melt is not quenched. At the time limit of the settings the run goes on in another job.

    Parameters
    ----------
    production : Production
        Protocol.
    """

    production: Production
    name: str = "production"

    @laoc_job(output_schema=ProductionResult)
    def make(
        self,
        potential: PotentialDocument | BlobRef,
        start: BlobRef,
        composition_id: str,
        n_al: int,
        provenance: Provenance,
        checkpoint: Checkpoint | None = None,
    ) -> ProductionResult | Response[ProductionResult]:
        """Make and analyze one glass, or go on with it.

        Parameters
        ----------
        potential : PotentialDocument or BlobRef
            Potential; its first model drives the run.
        start : BlobRef
            Packed cell.
        composition_id : str
            Canonical composition id.
        n_al : int
            Al atoms of the production cell.
        provenance : Provenance
            Composition, quench rate and index of the glass; the seed derives from it.
        checkpoint : Checkpoint, optional
            Where an earlier job has stopped.
        """
        given, potential = potential, held(PotentialDocument, potential)
        settings = self.production
        stages = settings.stages(provenance.quench_rate)
        every = settings.frame_every
        seed = derive_seed(provenance.campaign_seed, provenance.trajectory_id, "production")
        protocol = [[stage.model_dump() for stage in stages], settings.md_time_step, every]
        key = digest_json([potential.key, start.sha256, protocol, seed, "production/r3"])
        if (done := finished_production(key)) is not None:
            return done
        with scratch_directory("production") as directory:
            (model,) = write_models(current_store(), potential, directory, count=1)
            engine = LammpsEngine(
                model=model, soft_core=potential.soft_core, identity=f"deepmd/{potential.level_of_theory}"
            )
            controller = Controller(
                engine=engine,
                stages=stages,
                time_step=settings.md_time_step,
                frame_interval=every * settings.md_time_step / 1000.0,
                relax_steps=0,
                seed=seed,
            )
            # What is judged and what is analyzed; the others would only fill the memory.
            kept = {*judged_stages(stages), len(stages) - 1}
            run = Run(controller, start, checkpoint, kept_stages=kept)
            run.go(engine.steps_per_job)
        if not controller.done(run.progress):
            following = self.make(given, start, composition_id, n_al, provenance, run.checkpoint())
            following.name = f"production {composition_id} glass {provenance.replica} | step {run.n_steps}"
            return Response(replace=following)
        return documents(run, key, potential, composition_id, n_al, provenance)


def documents(
    run: Run, key: str, potential: PotentialDocument, composition_id: str, n_al: int, provenance: Provenance
) -> ProductionResult:
    """Documents of a glass and of the transport in it, out of a run that is over.

    Parameters
    ----------
    run : Run
        Melt, quench, run at constant pressure and, as the last stage, run at constant volume.
    key : str
        Content address of the structure.
    potential : PotentialDocument
        Potential that drove it.
    composition_id : str
        Canonical composition id.
    n_al : int
        Al atoms of the cell.
    provenance : Provenance
        Where the glass belongs.
    """
    recording, progress, stages = run.recording, run.progress, run.controller.stages
    interval = run.controller.frame_interval
    picks = recording.frames_of([len(stages) - 1])
    # Of a run that failed on its way, too: what was made is kept.
    made = recording.trajectory([int(i) for i in picks], interval) if len(picks) else None
    failure = progress.failure or ("" if made is not None else "the run left no frame to analyze")
    final = None if failure else made
    last = recording.trajectory([recording.n_frames - 1], interval) if recording.n_frames else None
    checked = final if final is not None else last
    status, reason = verdict(thinned(checked) if checked is not None else [], progress.melt, failure)
    document = _run_document(run, key, potential, provenance, _publish(made, key, provenance))
    seed = derive_seed(provenance.campaign_seed, provenance.trajectory_id, "analysis")
    temperature = stages[-1].end_temperature
    fields: dict[str, Any] = {}
    moved: dict[str, Any] = {}
    if final is not None:
        fields, moved = production_of(final, temperature, seed)
        fields |= {"density": _density(run), "pressure": progress.records[-1].pressure}
    elif status is GlassStatus.NOT_MELTED and last is not None:
        fields = structure_of(last, seed)
    structure = structure_document(
        document,
        key,
        composition_id,
        n_al,
        status=status,
        reason=reason,
        provenance=provenance,
        potential_key=potential.key,
        flags=_flags(potential, composition_id, checked, stages),
        **fields,
    )
    mean = progress.records[-1].temperature
    if status is not GlassStatus.GLASS or final is None or mean is None:
        return ProductionResult(structure=structure, transport=None)
    transport = transport_document(structure, temperature, mean, final, document.trajectory, moved)
    return ProductionResult(structure=structure, transport=transport)


def _flags(
    potential: PotentialDocument, composition_id: str, run: Trajectory | None, stages: Sequence[Stage]
) -> tuple[str, ...]:
    """In what respect a run lies outside the range of the labels that its potential was trained on."""
    ends = [t for stage in stages for t in (stage.start_temperature, stage.end_temperature)]
    frames = [
        Atoms(list(frame.species), positions=frame.positions, cell=frame.cell, pbc=True)
        for frame in (thinned(run) if run is not None else [])
    ]
    return outside(potential.validity, composition_id, frames, (min(ends), max(ends)))


def _run_document(
    run: Run, key: str, potential: PotentialDocument, provenance: Provenance, trajectory: FileRef | None
) -> MDResult:
    store, progress, controller = current_store(), run.progress, run.controller
    last = run.state.atoms.copy()
    last.wrap()
    profile = profile_of(run.recording, controller.stages, controller.time_step)
    return MDResult(
        key=key,
        campaign_id=provenance.campaign_id,
        level_of_theory=f"deepmd/{potential.level_of_theory}",
        provenance=provenance,
        status=f"stopped: {progress.failure[:300]}" if progress.failure else "completed",
        n_steps=run.n_steps,
        time_step=controller.time_step,
        final_frame=put_blob(store, encode_frames([last]), MEDIA_TYPE),
        trajectory=trajectory,
        frame_interval=controller.frame_interval,
        stages=progress.records,
        melt=progress.melt,
        profile=put_blob(store, profile, "application/json"),
        log=put_blob(store, run.log, LOG_TYPE) if run.log else None,
    )


def _publish(made: Trajectory | None, key: str, provenance: Provenance) -> FileRef | None:
    """Write the constant-volume run under the trajectory root."""
    if made is None:
        return None
    with scratch_directory("trajectory") as directory:
        path = directory / "nvt.h5"
        made.write(path)
        name = f"{provenance.campaign_id}/{provenance.composition_id}/nvt-{key[:16]}.h5"
        return publish_file(path, Settings.load().trajectory_root, name)


def _density(run: Run) -> Measured:
    """Mass density of the constant-pressure run before the last stage; its first half equilibrates."""
    volume = run.recording.of_stage(len(run.controller.stages) - 2)[:, 5]
    mass = run.state.atoms.get_masses().sum() / mol * _CM3
    return block_average(mass / volume[len(volume) // 2 :], "g/cm^3")


@dataclass
class ProductionMaker(LaocMaker):
    """Pack a production cell and make a glass of it.

    The production cell holds the stoichiometry of the supercell and starts from a packing of its own: after the
    melt nothing is left of a seed, and no two glasses are copies of each other.

    Parameters
    ----------
    production : Production
        Protocol.
    """

    production: Production
    name: str = "production"

    def make(
        self,
        potential: PotentialDocument | BlobRef,
        composition_id: str,
        n_al: int,
        campaign_id: str,
        campaign_seed: int,
        glass: int,
        quench_rate: float | None = None,
    ) -> Flow:
        """Flow of one glass.

        Parameters
        ----------
        potential : PotentialDocument or BlobRef
            Final potential.
        composition_id : str
            Canonical composition id.
        n_al : int
            Al atoms of the small cell.
        campaign_id : str
            Campaign; the potential may come from another.
        campaign_seed : int
            Seed of the campaign.
        glass : int
            Index of the glass.
        quench_rate : float, optional
            Quench rate of the glass [K/ps]; the first of the settings by default.
        """
        provenance = Provenance(
            campaign_id=campaign_id,
            campaign_seed=campaign_seed,
            composition_id=composition_id,
            stage="production",
            replica=glass,
            quench_rate=quench_rate,
        )
        large = n_al * self.production.repeats
        packing = PackMaker(composition_id, large).make(provenance)
        packing.name = f"pack {composition_id} glass {glass}"
        run = GlassMaker(self.production).make(
            potential, packing.output.frame, composition_id, large, provenance
        )
        run.name = f"production {composition_id} glass {glass}"
        stamp(packing, step="pack")
        stamp(run, step="production")
        flow = Flow([packing, run], output=run.output, name=f"production {composition_id} glass {glass}")
        stamp(flow, stage="production", composition=composition_id, iteration=0)
        return flow
