"""Probes: each model of the committee runs the same melt alone, for what follows from its forces."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from jobflow import JobStore

from laoc_flows.analysis import Trajectory, block_average, closest_contact, rdfs, self_diffusion
from laoc_flows.blobs import BlobRef, derive_seed, digest_json, get_blob, put_blob
from laoc_flows.engines.lammps import LammpsRun, StageRun, run_lammps
from laoc_flows.flows.kept import held
from laoc_flows.flows.potential import write_models
from laoc_flows.frames import decode_frames
from laoc_flows.jobs import LaocMaker, current_store, finished, laoc_job, scratch_directory
from laoc_flows.learning.properties import MemberProperties, property_checks
from laoc_flows.schemas.base import Measured, Provenance
from laoc_flows.schemas.iteration import PropertyCheck
from laoc_flows.schemas.learning import Probe
from laoc_flows.schemas.potential import PotentialDocument
from laoc_flows.schemas.probe import ProbeDocument
from laoc_flows.schemas.protocol import SoftCore, Stage
from laoc_flows.settings import Settings

CARRIER = "Li"
RDF_RANGE = 5.0
"""Distance up to which g(r) is compared [A]."""
RDF_BIN = 0.1
"""Width of its bins [A]."""
RDF_BLOCKS = 4
"""Blocks of consecutive frames that its error comes from."""
SETTLING = 10
"""One part in this many of the constant-volume run follows the change of volume and is left out."""

_TOLERANCES = {"density", "rdf", "diffusion"}
_SECONDS_PER_HOUR = 3600.0


@dataclass
class ProbeMaker(LaocMaker):
    """Density, g(r) and D of Li of one composition, with one model of the committee.

    Parameters
    ----------
    probe : Probe
        Temperature, cell and lengths of the runs.
    """

    probe: Probe
    name: str = "probe"

    @laoc_job(output_schema=ProbeDocument)
    def make(
        self,
        potential: PotentialDocument | BlobRef,
        index: int,
        start: BlobRef,
        provenance: Provenance,
    ) -> ProbeDocument:
        """Run at constant pressure, then at the mean volume of that run, and analyze.

        Parameters
        ----------
        potential : PotentialDocument or BlobRef
            Potential.
        index : int
            Which of its models runs, alone.
        start : BlobRef
            Frames, of which the last is the first of the run.
        provenance : Provenance
            Composition, iteration and replica; the seed derives from it, and is the same for every model.

        Returns
        -------
        ProbeDocument
            With the status 'failed: why' where the run stopped or left physics.
        """
        potential = held(PotentialDocument, potential)
        seed = derive_seed(provenance.campaign_seed, provenance.trajectory_id, "probe")
        model = potential.models[index]
        # Another tolerance does not change the run.
        protocol = self.probe.model_dump(exclude=_TOLERANCES)
        core = potential.soft_core.model_dump()
        key = digest_json([model.model.sha256, core, start.sha256, protocol, seed, "probe/r1"])
        if (done := finished(ProbeDocument, "probe", key)) is not None:
            return done.model_copy(update={"potential_key": potential.key, "index": index})
        begun = time.monotonic()
        store = current_store()
        atoms = decode_frames(get_blob(store, start))[-1].repeat(self.probe.supercell)
        with scratch_directory("probe") as directory:
            alone = potential.model_copy(update={"models": (model,)})
            (path,) = write_models(store, alone, directory)
            found = _run(atoms, path, potential.soft_core, self.probe, seed, directory)
        curves = None
        if found.trajectory is not None:
            curves = put_blob(store, json.dumps(rdf_curves(found.trajectory)).encode(), "application/json")
        diffusion, diffusion_status = _diffusion(found.trajectory, self.probe, seed)
        return ProbeDocument(
            key=key,
            campaign_id=provenance.campaign_id,
            provenance=provenance,
            potential_key=potential.key,
            index=index,
            status=f"failed: {found.failure[:300]}" if found.failure else "completed",
            density=found.density,
            rdf=curves,
            diffusion=diffusion,
            diffusion_status=diffusion_status,
            n_frames=found.trajectory.n_frames if found.trajectory is not None else 0,
            core_hours=(time.monotonic() - begun) * Settings.load().threads_per_job / _SECONDS_PER_HOUR,
        )


def member_properties(store: JobStore, document: ProbeDocument) -> MemberProperties:
    """Results of a probe in memory, to be compared with those of the other models.

    Parameters
    ----------
    store : jobflow.JobStore
        Where the curves are.
    document : ProbeDocument
        Probe of one model.

    Returns
    -------
    MemberProperties
        As `property_checks` takes them.
    """
    pairs: tuple[str, ...] = ()
    rdf = None
    if document.rdf is not None:
        blocks = json.loads(get_blob(store, document.rdf))["blocks"]
        pairs = tuple(sorted(blocks))
        rdf = np.array([blocks[pair] for pair in pairs]).swapaxes(0, 1) if pairs else None
    return MemberProperties(
        density=document.density,
        pairs=pairs,
        rdf=rdf,
        diffusion=document.diffusion,
        diffusion_status=document.diffusion_status,
        failure=document.failure,
    )


def checks_of(documents: Sequence[ProbeDocument], probe: Probe) -> tuple[PropertyCheck, ...]:
    """Whether the models agree, composition by composition.

    Parameters
    ----------
    documents : sequence of ProbeDocument
        Probes of every composition and model.
    probe : Probe
        Tolerances.
    """
    store = current_store()
    groups: dict[str, list[ProbeDocument]] = {}
    for document in documents:
        groups.setdefault(document.provenance.composition_id, []).append(document)
    return tuple(
        check
        for composition_id, group in sorted(groups.items())
        for check in property_checks(
            composition_id,
            [member_properties(store, each) for each in sorted(group, key=lambda d: d.index)],
            probe,
        )
    )


def rdf_curves(trajectory: Trajectory) -> dict[str, Any]:
    """Partial g(r) of a run and of its blocks.

    Parameters
    ----------
    trajectory : Trajectory
        The run.

    Returns
    -------
    dict
        ``edges_angstrom`` of the bins [A], and by pair of elements ``blocks``, shape (n_blocks, n_bins), their mean ``g``
        and its standard error ``g_error`` (not for a single block), all dimensionless.
    """
    parts = np.array_split(np.arange(trajectory.n_frames), min(RDF_BLOCKS, trajectory.n_frames))
    runs = [trajectory.block(int(part[0]), int(part[-1]) + 1) for part in parts]
    found = [rdfs(run, r_max=RDF_RANGE, bin_width=RDF_BIN).partials for run in runs]
    edges: list[float] = []
    mean: dict[str, Any] = {}
    error: dict[str, Any] = {}
    by_block: dict[str, Any] = {}
    for pair, partial in found[0].items():
        if partial.status == "ok":
            edges = [round(edge, 6) for edge in partial.edges]
            blocks = np.array([each[pair].g for each in found])
            mean[pair] = blocks.mean(axis=0).round(6).tolist()
            if len(blocks) > 1:
                error[pair] = (blocks.std(axis=0, ddof=1) / np.sqrt(len(blocks))).round(6).tolist()
            by_block[pair] = blocks.round(6).tolist()
    return {"edges_angstrom": edges, "g": mean, "g_error": error, "blocks": by_block}


@dataclass(frozen=True)
class _Found:
    """What the two runs left: the density, the constant-volume run once it has settled, or why there is none."""

    failure: str
    density: Measured | None = None
    trajectory: Trajectory | None = None


def _run(atoms: Atoms, model: Path, soft_core: SoftCore, probe: Probe, seed: int, directory: Path) -> _Found:
    npt, failure = _stage(
        atoms, model, soft_core, probe, _stage_of(probe, "npt", probe.npt_time), seed, directory
    )
    if npt is None:
        return _Found(failure)
    settled = len(npt.thermo) // 2
    density = block_average(npt.column("density")[settled:], "g/cm^3")
    middle = Atoms(atoms.get_chemical_symbols(), positions=npt.positions[-1], cell=npt.cells[-1], pbc=True)
    scale = float(npt.column("volume")[settled:].mean()) / middle.get_volume()
    middle.set_cell(middle.cell.array * scale ** (1 / 3), scale_atoms=True)
    middle.wrap()
    nvt, failure = _stage(
        middle,
        model,
        soft_core,
        probe,
        _stage_of(probe, "nvt", probe.nvt_time),
        derive_seed(seed, "nvt"),
        directory,
    )
    if nvt is None:
        return _Found(failure, density)
    first = max(1, len(nvt.steps) // SETTLING)
    trajectory = Trajectory(
        middle.get_chemical_symbols(),
        nvt.positions[first:],
        nvt.cells[first:],
        time_step=float(nvt.steps[1] - nvt.steps[0]) * probe.time_step / 1000.0,
        continuous=True,
    )
    return _Found("", density, trajectory)


def _stage_of(probe: Probe, ensemble: str, length: float) -> Stage:
    return Stage.model_validate(
        {
            "name": ensemble,
            "start_temperature": probe.temperature,
            "end_temperature": probe.temperature,
            "time": length,
            "ensemble": ensemble,
            "thermostat": "measure",
        }
    )


def _stage(
    atoms: Atoms, model: Path, soft_core: SoftCore, probe: Probe, stage: Stage, seed: int, directory: Path
) -> tuple[StageRun | None, str]:
    """Run one stage; the run, or why it cannot be used."""
    inside = directory / stage.name
    inside.mkdir()
    run = run_lammps(
        atoms,
        [model],
        soft_core,
        [stage],
        time_step=probe.time_step,
        frame_interval=min(probe.frame_interval, stage.time),
        seed=seed,
        directory=inside,
    )
    failure = unphysical(run, probe.time_step)
    return (None, f"{stage.name}: {failure}") if failure else (run.stages[0], "")


def unphysical(run: LammpsRun, time_step: float) -> str:
    """Why a run of one stage failed or left physics, empty if it did not.

    Parameters
    ----------
    run : LammpsRun
        The run.
    time_step : float
        MD time step [fs].

    Returns
    -------
    str
        The reason of LAMMPS, a number that is not finite, frames that are missing, or two atoms inside the distance floor
        (the first frame, which no model has made, is not checked).
    """
    if run.failure:
        return run.failure
    if not run.stages or len(run.stages[0].steps) < 2:  # noqa: PLR2004 - the start, and what came of it
        return "it left no frames"
    stage = run.stages[0]
    if not (len(stage.thermo) and np.isfinite(stage.thermo).all()):
        return "temperature, pressure, energy or volume is not finite"
    for step, positions, cell in zip(stage.steps[1:], stage.positions[1:], stage.cells[1:], strict=True):
        contact = closest_contact(Atoms(run.symbols, positions=positions, cell=cell, pbc=True))
        if contact is not None and contact.ratio < 1.0:
            return f"{contact} is inside its floor at {step * time_step / 1000:.2f} ps"
    return ""


def _diffusion(trajectory: Trajectory | None, probe: Probe, seed: int) -> tuple[Measured | None, str]:
    if trajectory is None:
        return None, ""
    # Copies of the cell have begun alike; whether the melt has made them independent is not known.
    copies = int(np.prod(probe.supercell))
    result = self_diffusion(trajectory, CARRIER, copies=copies, seed=seed)
    if result.value is None:
        return None, result.status
    n_independent = max(1, round(result.n_eff))
    return (
        Measured(
            value=result.value,
            standard_error=result.standard_error,
            unit="cm^2/s",
            n_independent=n_independent,
        ),
        result.status,
    )
