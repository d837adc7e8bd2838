"""From trajectories to documents: whether it is a glass, and what it is like."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from laoc_flows.analysis import (
    BOND_CUTOFFS,
    CHAIN_CUTOFF,
    TETRAHEDRA,
    Frame,
    MeltVerdict,
    Trajectory,
    block_average,
    bonds,
    chains,
    coordination_number,
    diffusive_window,
    distance_check,
    first_shell,
    melt_check,
    msd,
    rdf,
    reaction_check,
    tetrahedra,
)
from laoc_flows.blobs import BlobRef, digest_json, fetch_file, put_blob
from laoc_flows.composition import Cell, Composition
from laoc_flows.jobs import current_store, finished, laoc_job, scratch_directory
from laoc_flows.schemas.glass import (
    ChainSummary,
    GlassStatus,
    LinkBalance,
    PairCorrelation,
    SpeciesTransport,
    StructureDocument,
)
from laoc_flows.schemas.label import MDResult

MAX_FRAMES = 200
"""Frames of a run that structural averages are taken over, evenly spread."""

_PAIRS = (("Al", "O"), ("Al", "Cl"), ("Al", "Al"), ("Li", "O"), ("Li", "Cl"), ("Cl", "Cl"))
_COUNT_UP_TO = {
    "Al-O": BOND_CUTOFFS["O"],
    "Al-Cl": BOND_CUTOFFS["Cl"],
    "Al-Al": CHAIN_CUTOFF,
    "Li-O": 2.8,
    "Li-Cl": 3.4,
    "Cl-Cl": 5.0,
}
_R_MAX = 8.0
_CURVES = "application/json"


def thinned(trajectory: Trajectory, n_frames: int = MAX_FRAMES) -> list[Frame]:
    """At most `n_frames` frames of a trajectory, evenly spread, the last one included."""
    picks = np.unique(
        np.linspace(0, trajectory.n_frames - 1, min(n_frames, trajectory.n_frames)).round().astype(int)
    )
    return [trajectory.frame(int(index)) for index in picks]


def verdict(frames: Sequence[Frame], melt: MeltVerdict | None, failure: str = "") -> tuple[GlassStatus, str]:
    """Whether a cell may be called a glass.

    Parameters
    ----------
    frames : sequence of Frame
        Frames of the final run; every one is checked.
    melt : MeltVerdict or None
        Displacements in the melt; None when there was no melt.
    failure : str
        Why the run stopped early, empty if it did not.

    Returns
    -------
    status : GlassStatus
        Glass, or the first reason against it: stopped, collapsed, reacted, not melted, sum rule.
    reason : str
        The numbers behind it.
    """
    if failure:
        return GlassStatus.STOPPED, failure
    for frame in frames:
        contact = distance_check(frame)
        reaction = reaction_check(frame)
        # A collapsed pair is also a short anion pair: the reaction is the more telling word for that.
        if not reaction.passed:
            return GlassStatus.REACTED, reaction.reason
        if not contact.passed:
            return GlassStatus.COLLAPSED, contact.reason
    if melt is None or not melt.passed:
        return GlassStatus.NOT_MELTED, melt.reason if melt is not None else "there was no melt"
    if frames:
        left, right = bonds(frames[-1]).sum_rule()
        if left != right:
            return GlassStatus.SUM_RULE, f"{left} links against {right} from the coordination numbers"
    return GlassStatus.GLASS, ""


def structure_fields(frames: Sequence[Frame]) -> dict[str, Any]:
    """Structural fields of a structure document, averaged over frames in time order.

    Parameters
    ----------
    frames : sequence of Frame
        At least one frame.
    """
    tables = [bonds(frame) for frame in frames]
    types = [tetrahedra(frame) for frame in frames]
    left, right = tables[-1].sum_rule()
    labels = [*TETRAHEDRA, *sorted({label for t in types for label in t.counts} - set(TETRAHEDRA))]
    shares = {label: [t.fractions.get(label, 0.0) for t in types] for label in labels}
    correlations, curves = pair_correlations(frames)
    return {
        "links_found": block_average([table.links_per_al or 0.0 for table in tables], "1"),
        "balance": LinkBalance(
            links=left, coordination_minus_bound=right, n_free_anions=tables[-1].n_free_anions
        ),
        "tetrahedra": {label: block_average(series, "1") for label, series in shares.items()},
        "chains": (chain_summary(frames, "distance"), chain_summary(frames, "bridge")),
        "pair_correlations": correlations,
        "curves": curves,
    }


def chain_summary(frames: Sequence[Frame], rule: str) -> ChainSummary:
    """Al chains by one rule, averaged over frames."""
    results = [chains(frame, rule=rule) for frame in frames]  # type: ignore[arg-type]
    counts: Counter[int] = Counter()
    for result in results:
        counts.update(result.counts)
    n_chains = sum(counts.values())
    n_al = sum(size * n for size, n in counts.items())
    return ChainSummary(
        rule=rule,
        cutoff=results[0].cutoff,
        isolated_share=block_average([r.isolated_fraction or 0.0 for r in results], "1"),
        number_weighted={str(size): n / n_chains for size, n in sorted(counts.items())},
        al_weighted={str(size): size * n / n_al for size, n in sorted(counts.items())},
        max_dimension=max(result.dimension for result in results),
    )


def pair_correlations(frames: Sequence[Frame]) -> tuple[dict[str, PairCorrelation], BlobRef]:
    """First peaks and coordination numbers of g(r), and the curves as a blob."""
    species = frames[0].species
    trajectory = Trajectory(
        species, np.array([f.positions for f in frames]), np.array([f.cell for f in frames]), time_step=1.0
    )
    found: dict[str, PairCorrelation] = {}
    curves: dict[str, Any] = {}
    for a, b in _PAIRS:
        if a not in species or b not in species:
            continue
        result = rdf(trajectory, a, b, r_max=_R_MAX)
        name = f"{a}-{b}"
        if len(result.r) == 0:
            continue
        shell = first_shell(result)
        cutoff = _COUNT_UP_TO[name]
        found[name] = PairCorrelation(
            peak=shell.peak,
            minimum=shell.minimum,
            coordination=coordination_number(result, cutoff),
            cutoff=cutoff,
        )
        curves.setdefault("r_angstrom", [round(r, 4) for r in result.r])
        curves[f"g_{name}"] = [round(float(g), 5) for g in result.g]
    return found, put_blob(current_store(), json.dumps(curves, sort_keys=True).encode(), _CURVES)


def transport_fields(
    trajectory: Trajectory, drift: str = "framework"
) -> tuple[dict[str, SpeciesTransport], BlobRef]:
    """MSD of Li and Cl with their diffusive-window status, and the curves as a blob."""
    found: dict[str, SpeciesTransport] = {}
    curves: dict[str, Any] = {}
    for species in ("Li", "Cl"):
        result = msd(trajectory, species, drift=drift)  # type: ignore[arg-type]
        window = diffusive_window(result)
        found[species] = SpeciesTransport(
            status=window.status,
            reason=window.reason,
            exponent=window.alpha,
            n_eff=window.n_eff,
            last_lag=result.lag_time[-1] if result.lag_time else None,
            last_msd=result.value[-1] if result.value else None,
            n_windows=result.n_windows[-1] if result.n_windows else None,
        )
        # A curve of at most some hundred points, dense at short lags, says all there is to see.
        n_lags = len(result.lag_time)
        keep = (
            np.unique(np.geomspace(1, n_lags, 200).round().astype(int)) - 1
            if n_lags
            else np.array([], dtype=int)
        )
        curves[species] = {
            "lag_ps": [round(result.lag_time[i], 6) for i in keep],
            "msd_angstrom2": [round(result.value[i], 6) for i in keep],
            "n_windows": [result.n_windows[i] for i in keep],
        }
    return found, put_blob(current_store(), json.dumps(curves, sort_keys=True).encode(), _CURVES)


@laoc_job(output_schema=StructureDocument)
def assess_seed(run: MDResult, composition_id: str, n_al: int) -> StructureDocument:
    """Structure document of a seed trajectory of the reference engine.

    Seeds give labels. They are glasses only if they pass the same checks as production does; a seed of some
    hundred femtoseconds has not melted and says so.

    Parameters
    ----------
    run : MDResult
        Seed trajectory.
    composition_id : str
        Canonical composition id.
    n_al : int
        Al atoms of the cell.
    """
    key = digest_json([run.key, "assess/r1"])
    if (done := finished(StructureDocument, "structure", key)) is not None:
        return done
    composition = Composition.from_id(composition_id)
    cell = Cell(composition, n_al)
    frames: list[Frame] = []
    melt = None
    if run.trajectory is not None:
        with scratch_directory("assess") as directory:
            trajectory = Trajectory.read(fetch_file(run.trajectory, directory / "trajectory.h5"))
        frames = thinned(trajectory)
        melt = melt_check(trajectory)
    # The raw packing reacts or not within the first frames; the verdict is on where the quench ended.
    failure = run.status.removeprefix("stopped: ") if run.status != "completed" else ""
    status, reason = verdict(frames[-1:], melt, failure)
    fields = structure_fields(frames[-1:]) if frames else {}
    return StructureDocument(
        key=key,
        campaign_id=run.campaign_id,
        provenance=run.provenance,
        status=status,
        reason=reason,
        level_of_theory=run.level_of_theory,
        potential_key=None,
        formula=cell.formula,
        n_atoms=cell.n_atoms,
        x=float(composition.x),
        y=float(composition.y),
        links_expected=float(Fraction(composition.links_per_al)),
        structure=run.final_frame,
        melt_displacement=melt.displacement if melt is not None else {},
        **fields,
    )
