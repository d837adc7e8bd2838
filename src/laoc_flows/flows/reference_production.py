"""Production with the reference engine: a quenched cell is run on at constant volume and analyzed itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jobflow import Flow

from laoc_flows.analysis import Trajectory
from laoc_flows.blobs import derive_seed, digest_json, fetch_file
from laoc_flows.engines.base import Engine
from laoc_flows.flows.assess import (
    failure_of,
    finished_production,
    production_of,
    structure_document,
    thinned,
    transport_document,
    verdict,
)
from laoc_flows.jobs import LaocMaker, laoc_job, scratch_directory, stamp
from laoc_flows.schemas.base import Model, Provenance
from laoc_flows.schemas.config import ReferenceProduction
from laoc_flows.schemas.glass import GlassStatus, ProductionResult
from laoc_flows.schemas.label import MDResult
from laoc_flows.schemas.protocol import LabelLimits

STAGE = "reference"


class Handover(Model):
    """What a quench hands on to the run that follows it."""

    provenance: Provenance
    veto: str


@laoc_job(output_schema=Handover)
def hand_over(quenched: MDResult) -> Handover:
    """Provenance of the run that follows a quench, and whether there is anything to follow.

    Parameters
    ----------
    quenched : MDResult
        Melt-quench run; one that stopped, or whose cell was no melt, is not worth the run.
    """
    veto = failure_of(quenched)
    if not veto and quenched.melt is not None and not quenched.melt.passed:
        veto = quenched.melt.reason
    return Handover(provenance=quenched.provenance.model_copy(update={"stage": STAGE}), veto=veto)


@dataclass
class ReferenceProductionMaker(LaocMaker):
    """Run a quenched cell at constant volume with the reference engine, and analyze it.

    As in J. Mater. Chem. A 2025, 13, 2309: 300 K for 50 ps, of which 11 to 50 ps are analyzed.

    Parameters
    ----------
    engine : Engine
        Reference engine.
    settings : ReferenceProduction
        Temperature, length, and the time from which the run is analyzed.
    limits : LabelLimits
        What is refused as a label.
    """

    engine: Engine
    settings: ReferenceProduction
    limits: LabelLimits
    name: str = "reference production"

    def make(self, quenched: MDResult, composition_id: str, n_al: int, time_step: float) -> Flow:
        """Flow of the run and its analysis.

        Parameters
        ----------
        quenched : MDResult
            Melt-quench run (or a reference to its output) whose last frame is the start.
        composition_id : str
            Canonical composition id.
        n_al : int
            Al atoms of the cell.
        time_step : float
            MD time step [fs].

        Returns
        -------
        jobflow.Flow
            Jobs: handover, run, analysis. Output: the ``ProductionResult``.
        """
        settings = self.settings
        handover = hand_over(quenched)
        run = self.engine.md_maker(
            settings.stages(),
            time_step=time_step,
            frame_every=settings.frame_every,
            label_every=settings.label_every,
            limits=self.limits,
            purpose="reference production",
        ).make(quenched.final_frame, handover.output.provenance, None, handover.output.veto)
        analysis = analyze_run(run.output, quenched, composition_id, n_al, settings)
        tag = f"{self.name} {composition_id}"
        for job, step in ((handover, "prepare"), (run, "run"), (analysis, "analyze")):
            job.name = f"{tag} {step}"
            stamp(job, step=f"reference {step}")
        return Flow([handover, run, analysis], output=analysis.output, name=tag)


@laoc_job(output_schema=ProductionResult)
def analyze_run(
    run: MDResult, quenched: MDResult, composition_id: str, n_al: int, settings: ReferenceProduction
) -> ProductionResult:
    """Structure and transport of a run at constant volume with the reference engine.

    Parameters
    ----------
    run : MDResult
        Run at constant volume.
    quenched : MDResult
        Melt-quench run before it: whether the cell had melted.
    composition_id : str
        Canonical composition id.
    n_al : int
        Al atoms of the cell.
    settings : ReferenceProduction
        Temperature and analyzed part.
    """
    key = digest_json([run.key, quenched.key, settings.model_dump(), "reference/r1"])
    if (done := finished_production(key)) is not None:
        return done
    window = _window(run, settings.analyze_from)
    failure = failure_of(quenched) or failure_of(run)
    if window is None and not failure:
        failure = "the run left no frame to analyze"
    status, reason = verdict(thinned(window) if window is not None else [], quenched.melt, failure)
    fields: dict[str, Any] = {}
    moved: dict[str, Any] = {}
    if window is not None:
        seed = derive_seed(run.provenance.campaign_seed, run.provenance.trajectory_id, "analysis")
        fields, moved = production_of(window, settings.temperature, seed)
    whole = run.model_copy(update={"melt": quenched.melt, "stages": (*quenched.stages, *run.stages)})
    hold = run.stages[-1] if run.stages else None
    structure = structure_document(
        whole,
        key,
        composition_id,
        n_al,
        status=status,
        reason=reason,
        provenance=run.provenance,
        density=hold.density if hold is not None else None,
        pressure=hold.pressure if hold is not None else None,
        **fields,
    )
    if status is not GlassStatus.GLASS or window is None or hold is None or hold.temperature is None:
        return ProductionResult(structure=structure, transport=None)
    transport = transport_document(
        structure, settings.temperature, hold.temperature, window, run.trajectory, moved
    )
    return ProductionResult(structure=structure, transport=transport)


def _window(run: MDResult, analyze_from: float) -> Trajectory | None:
    """The analyzed part of the run, half open; None if nothing is left of it."""
    if run.trajectory is None:
        return None
    with scratch_directory("analysis") as directory:
        trajectory = Trajectory.read(fetch_file(run.trajectory, directory / "trajectory.h5"))
    # Frame zero is one interval after the start of the run.
    first = max(0, round(analyze_from / trajectory.time_step) - 1)
    return trajectory.block(first, trajectory.n_frames) if first < trajectory.n_frames else None
