"""Production: a larger cell melted, quenched and run with the final potential, analyzed where it was made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ase import Atoms
from jobflow import Flow

from laoc_flows.analysis import Trajectory, block_average, melt_check
from laoc_flows.blobs import BlobRef, FileRef, derive_seed, digest_json, get_blob, publish_file, put_blob
from laoc_flows.composition import Cell, Composition
from laoc_flows.engines.lammps import LammpsRun, StageRun, run_lammps
from laoc_flows.flows.assess import production_of, thinned, verdict
from laoc_flows.flows.explore import write_models
from laoc_flows.flows.seeds import PackMaker
from laoc_flows.frames import MEDIA_TYPE, decode_frames, encode_frames
from laoc_flows.jobs import LaocMaker, current_store, finished, laoc_job, scratch_directory, stamp
from laoc_flows.schemas.base import Provenance
from laoc_flows.schemas.config import Production
from laoc_flows.schemas.glass import GlassStatus, ProductionResult, StructureDocument
from laoc_flows.schemas.potential import PotentialDocument
from laoc_flows.schemas.transport import TransportDocument
from laoc_flows.settings import Settings


@dataclass
class GlassMaker(LaocMaker):
    """Melt, quench, NPT and NVT of one packed cell, and everything that is read off it.

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
        potential: PotentialDocument,
        start: BlobRef,
        composition_id: str,
        n_al: int,
        provenance: Provenance,
    ) -> ProductionResult:
        """Make and analyze one glass.

        Parameters
        ----------
        potential : PotentialDocument
            Potential; its first model drives the run.
        start : BlobRef
            Packed cell.
        composition_id : str
            Canonical composition id.
        n_al : int
            Al atoms of the production cell.
        provenance : Provenance
            Composition and index of the glass; the seed derives from it.
        """
        settings = self.production
        seed = derive_seed(provenance.campaign_seed, provenance.trajectory_id, "production")
        key = digest_json([potential.key, start.sha256, settings.model_dump(), seed, "production/r2"])
        if (done := finished_production(key)) is not None:
            return done
        store = current_store()
        atoms = decode_frames(get_blob(store, start))[0]
        with scratch_directory("production") as directory:
            run = run_lammps(
                atoms,
                write_models(store, potential, directory, count=1),
                potential.soft_core,
                settings.stages(),
                time_step=settings.time_step,
                frame_interval=settings.frame_interval,
                seed=seed,
                directory=directory,
            )
            made = _Made(run, settings)
            published = made.publish(key, provenance, directory)
        return made.result(key, potential, composition_id, n_al, provenance, published)


def finished_production(key: str) -> ProductionResult | None:
    """An earlier production with the same content address."""
    structure = finished(StructureDocument, "structure", key, field="output.structure")
    if structure is None:
        return None
    transport = finished(
        TransportDocument, "transport", digest_json([key, "transport"]), field="output.transport"
    )
    return ProductionResult(structure=structure, transport=transport)


class _Made:
    """A finished run and what is read off it."""

    def __init__(self, run: LammpsRun, settings: Production) -> None:
        self.settings = settings
        self.run = run
        self.stages = {part.stage.name: part for part in run.stages}
        complete = "nvt" in self.stages and not run.failure
        self.failure = "" if complete else (run.failure or "the run did not reach its last stage")
        self.melt = melt_check(self._trajectory(self.stages["melt"])) if "melt" in self.stages else None
        self.final = self._trajectory(self.stages["nvt"]) if complete else None

    def _trajectory(self, part: StageRun) -> Trajectory:
        return Trajectory(
            self.run.symbols, part.positions, part.cells, time_step=self.settings.frame_interval
        )

    def publish(self, key: str, provenance: Provenance, directory: Path) -> FileRef | None:
        """Write the constant-volume run under the trajectory root."""
        if self.final is None:
            return None
        path = directory / "nvt.h5"
        self.final.write(path)
        name = f"{provenance.campaign_id}/{provenance.composition_id}/nvt-{key[:16]}.h5"
        return publish_file(path, Settings.load().trajectory_root, name)

    def result(
        self,
        key: str,
        potential: PotentialDocument,
        composition_id: str,
        n_al: int,
        provenance: Provenance,
        published: FileRef | None,
    ) -> ProductionResult:
        """Documents of the glass and of the transport in it."""
        composition = Composition.from_id(composition_id)
        cell = Cell(composition, n_al)
        frames = thinned(self.final) if self.final is not None else []
        status, reason = verdict(frames, self.melt, self.failure)
        fields: dict[str, Any] = {}
        moved: dict[str, Any] = {}
        if self.final is not None:
            seed = derive_seed(provenance.campaign_seed, provenance.trajectory_id, "analysis")
            fields, moved = production_of(self.final, self.settings.temperature, seed)
            fields |= self._thermodynamics()
        structure = StructureDocument(
            key=key,
            campaign_id=provenance.campaign_id,
            provenance=provenance,
            status=status,
            reason=reason,
            level_of_theory=f"deepmd/{potential.level_of_theory}",
            potential_key=potential.key,
            formula=cell.formula,
            n_atoms=cell.n_atoms,
            x=float(composition.x),
            y=float(composition.y),
            links_expected=float(composition.links_per_al),
            structure=put_blob(current_store(), encode_frames([self._last_frame()]), MEDIA_TYPE),
            melt_displacement=self.melt.displacement if self.melt is not None else {},
            **fields,
        )
        transport = None
        if status is GlassStatus.GLASS and self.final is not None:
            transport = self._transport(key, potential, structure, published, moved)
        return ProductionResult(structure=structure, transport=transport)

    def _last_frame(self) -> Atoms:
        part = self.run.stages[-1] if self.run.stages else None
        if part is None:
            return Atoms()
        atoms = Atoms(self.run.symbols, positions=part.positions[-1], cell=part.cells[-1], pbc=True)
        atoms.wrap()
        return atoms

    def _thermodynamics(self) -> dict[str, Any]:
        # The first half of the constant-pressure run equilibrates.
        density = self.stages["npt"].column("density")
        return {
            "density": block_average(density[len(density) // 2 :], "g/cm^3"),
            "pressure": block_average(self.stages["nvt"].column("pressure"), "GPa"),
        }

    def _transport(
        self,
        key: str,
        potential: PotentialDocument,
        structure: StructureDocument,
        published: FileRef | None,
        moved: dict[str, Any],
    ) -> TransportDocument:
        return TransportDocument(
            key=digest_json([key, "transport"]),
            campaign_id=structure.campaign_id,
            provenance=structure.provenance,
            structure_key=structure.key,
            potential_key=potential.key,
            x=structure.x,
            y=structure.y,
            temperature=self.settings.temperature,
            mean_temperature=block_average(self.stages["nvt"].column("temperature"), "K"),
            duration=self.final.duration if self.final is not None else 0.0,
            drift="framework",
            trajectory=published,
            **moved,
        )


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
        potential: PotentialDocument,
        composition_id: str,
        n_al: int,
        campaign_id: str,
        campaign_seed: int,
        glass: int,
    ) -> Flow:
        """Flow of one glass.

        Parameters
        ----------
        potential : PotentialDocument
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
        """
        provenance = Provenance(
            campaign_id=campaign_id,
            campaign_seed=campaign_seed,
            composition_id=composition_id,
            stage="production",
            replica=glass,
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
