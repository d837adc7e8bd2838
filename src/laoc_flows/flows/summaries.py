"""From the analysis suite to the fields of documents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from laoc_flows.analysis import (
    BOND_CUTOFFS,
    CHAIN_CUTOFF,
    Analysis,
    ChainSeries,
    ConductivityResult,
    DiffusionResult,
    HavenResult,
    Rate,
    RdfsResult,
    Share,
    coordination_number,
    first_shell,
)
from laoc_flows.schemas.base import Measured
from laoc_flows.schemas.glass import ChainSummary, LinkBalance, PairCorrelation
from laoc_flows.schemas.transport import Counted, Estimate, HopSummary, RotationSummary, SpeciesTransport

_PAIRS = ("Al-O", "Al-Cl", "Al-Al", "Li-O", "Li-Cl", "Cl-Cl")
_COUNT_UP_TO = {
    "Al-O": BOND_CUTOFFS["O"],
    "Al-Cl": BOND_CUTOFFS["Cl"],
    "Al-Al": CHAIN_CUTOFF,
    "Li-O": 2.8,
    "Li-Cl": 3.4,
    "Cl-Cl": 5.0,
}
_MOVING = ("Li", "Cl", "O", "Al")
_CURVE_POINTS = 200


def structure_fields(analysis: Analysis) -> dict[str, Any]:
    """Structural fields of a structure document.

    Parameters
    ----------
    analysis : Analysis
        With the parts survey, network, mixing and pairs.
    """
    fields: dict[str, Any] = {}
    survey, network = analysis.survey, analysis.network
    if survey is not None and survey.status == "ok":
        averages = survey.averages
        left, right = (int(side) for side in survey.sum_rule[-1])
        fields |= {
            "links_found": averages["links"],
            "balance": LinkBalance(
                links=left,
                coordination_minus_bound=right,
                n_free_anions=int(survey.free_anions[-1].sum()),
            ),
            "tetrahedra": {label: averages[label] for label in survey.type_labels},
            "coordination": {
                name: value for name, value in averages.items() if name[0] == "Q" or name.startswith("CN(")
            },
            "chains": tuple(
                _chains(series, CHAIN_CUTOFF if rule == "distance" else None)
                for rule, series in survey.chains.items()
            ),
        }
    if network is not None and network.status == "ok":
        bridges = network.bridge_angles.values()
        angles = np.concatenate([angle.value for angle in bridges]) if bridges else np.empty(0)
        fields |= {
            "links_by_kind": {
                "corner": network.n_corner_links,
                "edge": network.n_edge_links,
                "face": network.n_face_links,
            },
            "rings": {str(size): n for size, n in network.rings.counts.items() if n},
            "bridge_angle": float(angles.mean()) if angles.size else None,
        }
    mixing = analysis.mixing
    if mixing is not None and mixing.alpha is not None:
        fields["mixing"] = Measured(
            value=mixing.alpha, standard_error=mixing.standard_error, unit="1", n_independent=mixing.n_frames
        )
    if analysis.pairs is not None:
        fields["pair_correlations"] = _pair_correlations(analysis.pairs)
    return fields


def _chains(series: ChainSeries, cutoff: float | None) -> ChainSummary:
    averages = series.averages
    return ChainSummary(
        rule=series.rule,
        cutoff=cutoff,
        isolated_share=averages["isolated_fraction"],
        number_weighted={str(size): share.value for size, share in series.number_histogram.items()},
        al_weighted={str(size): share.value for size, share in series.center_histogram.items()},
        max_dimension=int(series.dimension.max()),
        number_average=averages["number_average_size"],
        weight_average=averages["weight_average_size"],
        percolating_share=averages["percolating_fraction"],
    )


def _pair_correlations(pairs: RdfsResult) -> dict[str, PairCorrelation]:
    found = {}
    for name in _PAIRS:
        a, b = name.split("-")
        if not (pairs.counts.get(a) and pairs.counts.get(b)):
            continue
        result = pairs.of(a, b)
        if result.status != "ok":
            continue
        shell = first_shell(result)
        cutoff = _COUNT_UP_TO[name]
        found[name] = PairCorrelation(
            peak=shell.peak,
            minimum=shell.minimum,
            coordination=coordination_number(result, cutoff),
            cutoff=cutoff,
        )
    return found


def pair_curves(pairs: RdfsResult) -> dict[str, Any]:
    """Curves of g(r) for the blob: r [A] and g by pair."""
    curves: dict[str, Any] = {}
    for name in _PAIRS:
        a, b = name.split("-")
        if not (pairs.counts.get(a) and pairs.counts.get(b)):
            continue
        result = pairs.of(a, b)
        if result.status == "ok":
            curves.setdefault("r_angstrom", [round(r, 4) for r in result.r])
            curves[f"g_{name}"] = [round(float(g), 5) for g in result.g]
    return curves


def displacement_curves(analysis: Analysis) -> dict[str, Any]:
    """Curves of the MSD for the blob, dense at short lags: lag [ps] and MSD [A^2] by species."""
    curves: dict[str, Any] = {}
    for species, result in analysis.msd.items():
        n_lags = len(result.lag_time)
        # Some hundred points, dense at short lags, say all there is to see.
        keep = np.unique(np.geomspace(1, n_lags, _CURVE_POINTS).astype(int)).tolist() if n_lags else []
        curves[species] = {
            "lag_ps": [round(float(result.lag_time[i - 1]), 6) for i in keep],
            "msd_angstrom2": [round(float(result.value[i - 1]), 6) for i in keep],
            "n_windows": [int(result.n_windows[i - 1]) for i in keep],
        }
    return curves


def transport_fields(analysis: Analysis) -> dict[str, Any]:
    """Fields of a transport document: what moves, how far, and by which events.

    Parameters
    ----------
    analysis : Analysis
        With the parts of motion.
    """
    return {
        "species": {s: _species(analysis, s) for s in _MOVING if s in analysis.msd},
        "nernst_einstein": _estimate(analysis.nernst_einstein, "mS/cm"),
        "collective": _estimate(analysis.collective, "mS/cm"),
        "haven_ratio": _estimate(analysis.haven, "1"),
        "hops": _hops(analysis),
        "rotations": {ligand: _rotation(analysis, ligand) for ligand in analysis.rotations},
        "missing": {name: reason for name, reason in analysis.missing.items() if name != "amorphisation"},
    }


def _species(analysis: Analysis, species: str) -> SpeciesTransport:
    result, window = analysis.msd[species], analysis.windows[species]
    moved = len(result.lag_time) > 0
    return SpeciesTransport(
        status=window.status,
        reason=window.reason,
        exponent=window.alpha,
        n_eff=window.n_eff,
        last_lag=float(result.lag_time[-1]) if moved else None,
        last_msd=float(result.value[-1]) if moved else None,
        n_windows=int(result.n_windows[-1]) if moved else None,
        diffusion=_estimate(analysis.diffusion.get(species), "cm^2/s"),
    )


def _estimate(
    result: DiffusionResult | ConductivityResult | HavenResult | None, unit: str
) -> Estimate | None:
    if result is None:
        return None
    return Estimate(
        status=result.status,
        reason=result.reason,
        value=result.value,
        standard_error=result.standard_error,
        interval=result.interval,
        upper_bound=getattr(result, "upper_bound", None),
        unit=unit,
    )


def _counted(share: Share, rate: Rate) -> Counted:
    return Counted(
        count=share.count,
        share=share.value,
        share_interval=share.interval,
        rate=rate.value,
        rate_interval=rate.interval,
    )


def _hops(analysis: Analysis) -> HopSummary | None:
    result, classes, types = analysis.hops, analysis.hop_classes, analysis.enrichment
    if result is None or classes is None:
        return None
    enriched: Mapping[str, float | None] = (
        dict(zip(types.labels, types.enrichment, strict=True)) if types is not None else {}
    )
    return HopSummary(
        status=result.status,
        reason=result.reason,
        tau=result.tau,
        all=_counted(classes.total.share, classes.total.rate),
        by_tau={f"{each.tau:g}": each.n_hops for each in result.by_tau},
        classes={each.name: _counted(each.share, each.rate) for each in classes.classes},
        back_jumps=_counted(classes.back_jumps.share, classes.back_jumps.rate),
        enrichment={label: value for label, value in enriched.items() if value is not None},
        jump_diffusion=analysis.jump_diffusion.value if analysis.jump_diffusion is not None else None,
    )


def _rotation(analysis: Analysis, ligand: str) -> RotationSummary:
    result, coupling = analysis.rotations[ligand], analysis.coupling.get(ligand)
    kept = analysis.persistence.get(ligand)
    return RotationSummary(
        status=result.status,
        reason=result.reason,
        rotating=_counted(result.rotating_ligands, result.rate),
        kinds={str(kind): n for kind, n in result.events_by_kind.items()},
        by_type={each.label: each.n_events for each in result.by_type if each.n_events},
        exchanges=_counted(kept.changed_share, kept.change_rate)
        if kept is not None
        else Counted(count=0, share=None, share_interval=None, rate=None, rate_interval=None),
        coupling=coupling.enrichment if coupling is not None else None,
        coupling_p_value=coupling.p_value if coupling is not None else None,
    )
