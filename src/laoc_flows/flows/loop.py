"""The learning loop: train, explore, decide, label, and again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from jobflow import Flow, Response
from pydantic import Field

from laoc_flows.blobs import BlobRef, derive_seed, digest_json
from laoc_flows.flows.choice import (
    Choice,
    choice_of,
    errors_blob,
    errors_of_labels,
    held_out_errors,
    read_errors,
)
from laoc_flows.flows.committee import CommitteeMaker
from laoc_flows.flows.datasets import FEW, DatasetDocument, check_quorum, dataset_document
from laoc_flows.flows.explore import ExploreMaker, strata_of
from laoc_flows.flows.kept import held, kept
from laoc_flows.flows.probe import ProbeMaker, checks_of
from laoc_flows.flows.production import ProductionMaker
from laoc_flows.flows.spec import CampaignSpec, LoopState
from laoc_flows.jobs import laoc_job, stamp
from laoc_flows.learning.calibration import calibrate
from laoc_flows.learning.convergence import Judgment, judge
from laoc_flows.learning.selection import merge
from laoc_flows.schemas.base import Model, Provenance
from laoc_flows.schemas.iteration import (
    CalibrationDocument,
    ExplorationDocument,
    IterationDocument,
    PropertyCheck,
    Spent,
    StratumReport,
    Verdict,
)
from laoc_flows.schemas.label import LabelBatch
from laoc_flows.schemas.potential import PotentialDocument
from laoc_flows.schemas.probe import ProbeDocument


def iteration_flow(spec: CampaignSpec, state: LoopState) -> Flow:
    """One iteration of the learning loop: train, calibrate, explore, decide.

    Parameters
    ----------
    spec : CampaignSpec
        Campaign.
    state : LoopState
        How far the loop is.
    """
    iteration, learning = state.iteration, spec.learning
    committee = CommitteeMaker(learning).make(
        kept(state.dataset), spec.campaign_id, spec.seed, iteration, state.parent, reuse=state.reuse
    )
    levels = calibrate_levels(spec, committee.output, state.errors)
    levels.name = f"calibrate i{iteration}"
    stamp(levels, stage="train", step="calibrate", composition="", iteration=iteration)
    explorations = []
    for composition_id in spec.explored:
        frames = state.starts[composition_id]
        for replica in range(learning.exploration.replicas):
            provenance = _provenance(spec, composition_id, "explore", iteration, replica)
            start = frames[(iteration + replica) % len(frames)]
            job = ExploreMaker(learning).make(committee.output, start, provenance, levels.output)
            job.name = f"explore {composition_id} i{iteration} r{replica}"
            stamp(job, stage="explore", step="explore", composition=composition_id, iteration=iteration)
            explorations.append(job)
    found = [job.output for job in explorations]
    verdict = decide(spec, committee.output, levels.output, found, kept(state))
    verdict.name = f"decide i{iteration}"
    stamp(verdict, stage="train", step="decide", composition="", iteration=iteration)
    flow = Flow([committee, levels, *explorations, verdict], name=f"iteration {iteration}")
    stamp(flow, campaign=spec.campaign_id)
    return flow


def _provenance(
    spec: CampaignSpec, composition_id: str, stage: str, iteration: int, replica: int
) -> Provenance:
    return Provenance(
        campaign_id=spec.campaign_id,
        campaign_seed=spec.seed,
        composition_id=composition_id,
        stage=stage,
        iteration=iteration,
        replica=replica,
    )


@laoc_job(output_schema=CalibrationDocument)
def calibrate_levels(
    spec: CampaignSpec, potential: PotentialDocument, errors_before: BlobRef | None
) -> CalibrationDocument:
    """Trust levels of this iteration.

    They come from the labels that the potential before asked for, unless it was taken over from another campaign, and
    where these are too few from the held-out labels as well, for which the committee's deviation and the error are both known.

    Parameters
    ----------
    spec : CampaignSpec
        Campaign.
    potential : PotentialDocument
        Potential of this iteration.
    errors_before : BlobRef or None
        Errors of the potential before on the labels that it asked for.
    """
    errors = [*read_errors(errors_before), *held_out_errors(potential)]
    conditions = range(len(spec.learning.exploration.conditions))
    strata = dict.fromkeys(
        stratum
        for composition_id in spec.explored
        for replica in conditions
        for stratum in strata_of(spec.learning, composition_id, replica)
    )
    calibration = calibrate(strata, errors, spec.learning)
    return CalibrationDocument(
        key=digest_json([[each.model_dump() for each in calibration], potential.key, "calibration/r1"]),
        campaign_id=spec.campaign_id,
        calibration=calibration,
        points=errors_blob(errors) if errors else None,
    )


class Findings(Model):
    """What an iteration has found until its verdict."""

    potential: PotentialDocument = Field(description="potential of the iteration")
    calibration: CalibrationDocument = Field(description="trust levels that were explored with")
    explorations: tuple[ExplorationDocument, ...] = Field(description="what the committee found")
    strata: tuple[StratumReport, ...] = Field(description="all strata, replicas added up")
    state: LoopState = Field(description="how far the loop is")
    spent: Spent = Field(description="what it has used until now")

    def judged(self, spec: CampaignSpec, properties: Sequence[PropertyCheck] | None) -> Judgment:
        """Verdict; without the checks of properties if these are None."""
        return judge(
            self.state.iteration,
            spec.learning,
            self.strata,
            self.state.previous,
            self.potential.held_out,
            fitted=self.potential.fitted,
            between=tuple(spec.between),
            calibration=self.calibration.calibration,
            spent=self.spent,
            properties=properties,
        )


# Without an output schema: where properties have to be looked at first, the verdict is the output of a later job.
@laoc_job()
def decide(
    spec: CampaignSpec,
    potential: PotentialDocument,
    calibration: CalibrationDocument,
    explorations: list[ExplorationDocument],
    state: LoopState | BlobRef,
) -> Response[IterationDocument]:
    """Verdict of an iteration; adds labels and the next iteration, property checks, or production.

    Parameters
    ----------
    spec : CampaignSpec
        Campaign.
    potential : PotentialDocument
        Potential of this iteration.
    calibration : CalibrationDocument
        Trust levels that were explored with.
    explorations : list of ExplorationDocument
        What the committee found.
    state : LoopState or BlobRef
        How far the loop is.
    """
    state = held(LoopState, state)
    strata = merge([report for exploration in explorations for report in exploration.strata])
    work = potential.core_hours * (not state.reuse) + sum(each.core_hours for each in explorations)
    found = Findings(
        potential=potential,
        calibration=calibration,
        explorations=tuple(explorations),
        strata=strata,
        state=state,
        spent=state.spent.plus(core_hours=work),
    )
    judgment = found.judged(spec, None)
    if judgment.probes_are_due:
        return Response(addition=_probe_flow(spec, found))
    return _concluded(spec, found, judgment, ())


def _probe_flow(spec: CampaignSpec, found: Findings) -> Flow:
    probe, iteration = spec.learning.probe, found.state.iteration
    assert probe is not None  # noqa: S101 -- only then they are due
    potential = kept(found.potential)
    jobs = []
    for composition_id in spec.explored:
        start = found.state.starts[composition_id][0]
        provenance = _provenance(spec, composition_id, "probe", iteration, 0)
        for index in range(len(found.potential.models)):
            job = ProbeMaker(probe).make(potential, index, start, provenance)
            job.name = f"probe {composition_id} i{iteration} m{index}"
            stamp(job, stage="explore", step="probe", composition=composition_id, iteration=iteration)
            jobs.append(job)
    last = conclude(spec, kept(found), [job.output for job in jobs])
    last.name = f"conclude i{iteration}"
    stamp(last, stage="train", step="decide", composition="", iteration=iteration)
    flow = Flow([*jobs, last], name=f"properties {iteration}")
    stamp(flow, campaign=spec.campaign_id)
    return flow


@laoc_job(output_schema=IterationDocument)
def conclude(
    spec: CampaignSpec, found: Findings | BlobRef, probes: list[ProbeDocument]
) -> Response[IterationDocument]:
    """Verdict of an iteration whose properties were looked at.

    Parameters
    ----------
    spec : CampaignSpec
        Campaign.
    found : Findings or BlobRef
        What the iteration had found before the probes.
    probes : list of ProbeDocument
        Properties by composition and member of the committee.
    """
    probe = spec.learning.probe
    assert probe is not None  # noqa: S101 -- there are probes
    found = held(Findings, found)
    checks = checks_of(probes, probe)
    spent = found.spent.plus(core_hours=sum(each.core_hours for each in probes))
    found = found.model_copy(update={"spent": spent})
    return _concluded(spec, found, found.judged(spec, checks), checks)


def _concluded(
    spec: CampaignSpec, found: Findings, judgment: Judgment, checks: Sequence[PropertyCheck]
) -> Response[IterationDocument]:
    potential, calibration, explorations = found.potential, found.calibration, found.explorations
    strata, state, spent = found.strata, found.state, found.spent
    goes_on = judgment.verdict is Verdict.CONTINUE
    choice = Choice({}, strata, None)
    if goes_on:
        most = spec.learning.max_labels
        budget = None if most is None else most - spent.labels
        seed = derive_seed(spec.seed, "select", state.iteration)
        choice = choice_of(spec.learning, potential, explorations, state.dataset, strata, budget, seed)
        disagreed = any(s.n_candidates + s.n_failed + s.n_cut for s in strata)
        if disagreed and not choice.n_selected and not potential.suspects:
            # Training again on the same labels would only take time.
            goes_on = False
            judgment = replace(
                judgment,
                verdict=Verdict.NOT_CONVERGED,
                limit="nothing is left to label: all that is not agreed on is known, or beyond the limits",
            )
    spent = spent.plus(labels=choice.n_selected)
    document = IterationDocument(
        key=digest_json([potential.key, [each.key for each in explorations], calibration.key, "decide/r2"]),
        campaign_id=spec.campaign_id,
        iteration=state.iteration,
        potential_key=potential.key,
        verdict=judgment.verdict,
        reasons=judgment.reasons,
        limit=judgment.limit,
        strata=choice.strata,
        worst_force_rmse=potential.worst_force_rmse,
        n_train=state.dataset.n_train,
        n_selected=choice.n_selected,
        spent=spent,
        cut=tuple(
            f"{each.provenance.trajectory_id}: {each.status.removeprefix('cut: ')}"
            for each in explorations
            if each.status != "completed"
        ),
        composition_verdicts=judgment.by_composition,
        calibration=calibration.calibration,
        calibration_points=calibration.points,
        decisions=choice.decisions,
        quarantined=potential.suspects,
        properties=tuple(checks),
    )
    if goes_on:
        following = state.model_copy(
            update={
                "dataset": state.dataset.without(potential.suspects),
                "iteration": state.iteration + 1,
                "parent": potential,
                "reuse": False,
                "taken_over": state.reuse,
                "previous": choice.strata,
                "spent": spent,
            }
        )
        return Response(
            output=document, addition=_label_flow(spec, potential, explorations, choice, following)
        )
    return Response(output=document, addition=production_flow(spec, potential))


def _label_flow(
    spec: CampaignSpec,
    potential: PotentialDocument,
    explorations: Sequence[ExplorationDocument],
    choice: Choice,
    following: LoopState,
) -> Flow:
    maker = spec.engine.static_maker(spec.learning.selection.limits)
    iteration = following.iteration - 1
    labels = []
    for run, frames in choice.frames.items():
        place = explorations[run].provenance
        job = maker.make(frames)
        job.name = f"label {place.composition_id} i{iteration} r{place.replica}"
        stamp(job, stage="label", step="label", composition=place.composition_id, iteration=iteration)
        labels.append(job)
    extension = extend_dataset(spec, kept(potential), [job.output for job in labels], kept(following))
    extension.name = f"data set i{following.iteration}"
    stamp(extension, stage="train", step="dataset", composition="", iteration=following.iteration)
    flow = Flow([*labels, extension], name=f"label i{iteration}")
    stamp(flow, campaign=spec.campaign_id)
    return flow


@laoc_job(output_schema=DatasetDocument)
def extend_dataset(
    spec: CampaignSpec,
    potential: PotentialDocument | BlobRef,
    batches: list[LabelBatch],
    state: LoopState | BlobRef,
) -> Response[DatasetDocument]:
    """Data set with the new labels; adds the next iteration.

    Parameters
    ----------
    spec : CampaignSpec
        Campaign.
    potential : PotentialDocument or BlobRef
        Potential that asked for the labels.
    batches : list of LabelBatch
        New labels.
    state : LoopState or BlobRef
        State of the iteration that follows, without them.
    """
    potential, state = held(PotentialDocument, potential), held(LoopState, state)
    check_quorum(spec, batches, least=FEW)
    # What a committee of another campaign says is worth something else: it may have more models, or smaller ones.
    asked = not state.taken_over
    errors = errors_of_labels(spec.learning, potential, batches, state.previous) if asked else []
    following = state.model_copy(
        update={
            "dataset": state.dataset.extended(batches),
            "errors": errors_blob(errors) if errors else None,
            "spent": state.spent.plus(core_hours=sum(batch.core_hours for batch in batches)),
        }
    )
    return Response(
        output=dataset_document(spec, following.dataset), addition=iteration_flow(spec, following)
    )


def production_flow(spec: CampaignSpec, potential: PotentialDocument) -> Flow:
    """Glasses of every composition with the final potential.

    Parameters
    ----------
    spec : CampaignSpec
        Campaign.
    potential : PotentialDocument
        Final potential.
    """
    maker, final = ProductionMaker(spec.production), kept(potential)
    glasses = [
        maker.make(final, composition_id, n_al, spec.campaign_id, spec.seed, glass, rate)
        for composition_id, n_al in spec.cells.items()
        for glass, rate in spec.production.glass_runs()
    ]
    flow = Flow(glasses, name="production")
    stamp(flow, campaign=spec.campaign_id)
    return flow
