"""Seeds: random packings, melted and quenched with the reference engine, that give the first labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jobflow import Flow, Job

from laoc_flows.blobs import BlobRef, derive_seed, digest_json, get_blob, put_blob
from laoc_flows.composition import Cell, Composition
from laoc_flows.engines.base import Engine
from laoc_flows.engines.packing import pack
from laoc_flows.flows.assess import assess_seed
from laoc_flows.flows.reference_production import ReferenceProductionMaker
from laoc_flows.frames import MEDIA_TYPE, decode_frames, encode_frames
from laoc_flows.jobs import LaocMaker, current_store, finished, laoc_job, scratch_directory, stamp
from laoc_flows.schemas.base import Document, Provenance
from laoc_flows.schemas.config import ReferenceSampling
from laoc_flows.schemas.label import FrameSet, MDResult
from laoc_flows.schemas.protocol import LabelLimits


class PackedCell(Document):
    """A random packing."""

    schema_name: str = "packed_cell"
    provenance: Provenance
    frame: BlobRef


@dataclass
class PackMaker(LaocMaker):
    """Random packing of a cell at its start density.

    Parameters
    ----------
    composition_id : str
        Canonical composition id.
    n_al : int
        Al atoms of the cell.
    """

    composition_id: str = ""
    n_al: int = 4
    name: str = "pack"

    @laoc_job(output_schema=PackedCell)
    def make(self, provenance: Provenance) -> PackedCell:
        """Pack the cell.

        Parameters
        ----------
        provenance : Provenance
            Composition, stage and replica; the seed derives from it.
        """
        cell = Cell(Composition.from_id(self.composition_id), self.n_al)
        seed = derive_seed(provenance.campaign_seed, provenance.trajectory_id, "pack")
        key = digest_json([self.composition_id, self.n_al, seed, "pack/r1"])
        if (done := finished(PackedCell, "packed_cell", key)) is not None:
            return done
        with scratch_directory("pack") as directory:
            atoms = pack(list(cell.symbols), cell.start_length, seed, directory)
        frame = put_blob(current_store(), encode_frames([atoms]), MEDIA_TYPE)
        return PackedCell(key=key, campaign_id=provenance.campaign_id, provenance=provenance, frame=frame)


@laoc_job(output_schema=FrameSet)
def strained_frames(run: MDResult, strains: tuple[float, ...]) -> FrameSet:
    """Strained copies of a seed trajectory's frames: they teach the potential its pressure.

    Parameters
    ----------
    run : MDResult
        Seed trajectory.
    strains : tuple of float
        Linear scalings; the frames are spread evenly over the trajectory.

    Returns
    -------
    FrameSet
        One frame for each strain.
    """
    frames = []
    blob = run.to_label.frames if run.to_label is not None else None
    if run.labels is not None:
        blob = run.labels.shard
    source = decode_frames(get_blob(current_store(), blob)) if blob is not None else []
    if source:
        picks = np.linspace(0, len(source) - 1, len(strains) + 2)[1:-1].round().astype(int)
        for index, strain in zip(picks, strains, strict=True):
            frame = source[index].copy()
            frame.set_cell(frame.cell.array * strain, scale_atoms=True)
            frames.append(frame)
    blob = put_blob(current_store(), encode_frames(frames), MEDIA_TYPE)
    return FrameSet(frames=blob, n_frames=len(frames), provenance=run.provenance)


@dataclass
class SeedMaker(LaocMaker):
    """Pack, melt, quench and hold one cell with the reference engine, and label strained copies.

    Parameters
    ----------
    engine : Engine
        Reference engine.
    sampling : ReferenceSampling
        Protocol and what is labeled.
    limits : LabelLimits
        What is refused as a label.
    """

    engine: Engine
    sampling: ReferenceSampling
    limits: LabelLimits
    name: str = "seed"

    def make(self, composition_id: str, n_al: int, provenance: Provenance) -> Flow:
        """Flow of one seed trajectory.

        Parameters
        ----------
        composition_id : str
            Canonical composition id.
        n_al : int
            Al atoms of the cell.
        provenance : Provenance
            Where the trajectory belongs.

        Returns
        -------
        jobflow.Flow
            Output: dictionary with the label batches (``batches``) and the last frame (``frame``).
        """
        tag = f"{composition_id} r{provenance.replica}"
        packing = PackMaker(composition_id, n_al).make(provenance)
        packing.name = f"pack {tag}"
        sampling, protocol = self.sampling, self.sampling.protocol
        dynamics = self.engine.md_maker(
            protocol.stages(provenance.quench_rate),
            time_step=protocol.time_step,
            frame_every=sampling.stored_every,
            label_every=sampling.label_every,
            relax_steps=sampling.relax_steps,
            limits=self.limits,
        ).make(packing.output.frame, provenance)
        dynamics.name = f"melt-quench {tag}"
        assessment = assess_seed(dynamics.output, composition_id, n_al)
        assessment.name = f"assess {tag}"
        stamp(packing, step="pack")
        stamp(dynamics, step="melt-quench")
        stamp(assessment, step="assess")
        jobs: list[Job | Flow] = [packing, dynamics, assessment]
        runs = [dynamics]
        if sampling.production is not None:
            production = ReferenceProductionMaker(self.engine, sampling.production, self.limits).make(
                dynamics.output, composition_id, n_al, protocol.time_step
            )
            jobs.append(production)
            if sampling.production.label_every is not None:
                runs.append(production.jobs[1])
        batches = []
        for run in runs:
            if self.engine.harvests:
                batches.append(run.output.labels)
                continue
            labels = self.engine.static_maker(self.limits).make(run.output.to_label)
            labels.name = f"label {run.name}"
            stamp(labels, step="label")
            jobs.append(labels)
            batches.append(labels.output)
        if sampling.strains:
            strained = strained_frames(dynamics.output, sampling.strains)
            strained.name = f"strain {tag}"
            labels = self.engine.static_maker(self.limits).make(strained.output)
            labels.name = f"label strained {tag}"
            stamp(strained, step="strain")
            stamp(labels, step="label")
            jobs += [strained, labels]
            batches.append(labels.output)
        return Flow(
            jobs, output={"batches": batches, "frame": dynamics.output.final_frame}, name=f"seed {tag}"
        )
