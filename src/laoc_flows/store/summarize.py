"""From the documents of one composition to its summary: pure functions, no database."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from laoc_flows.analysis.transport.ensemble import CombinedResult, combine
from laoc_flows.composition import Composition
from laoc_flows.schemas.base import Measured
from laoc_flows.schemas.glass import GlassStatus
from laoc_flows.schemas.imported import CAMPAIGN_ID, import_id
from laoc_flows.schemas.summary import CompositionStatus, CompositionSummary, RateSummary

_WEAKEST_FIRST: Final = ("insufficient", "subdiffusive", "diffusive")
_MOST_REFUSALS: Final = 20
_LONGEST_REASON: Final = 300
_MOST_SOURCES: Final = 1000


@dataclass(frozen=True)
class Sources:
    """What is known of one composition of a campaign.

    Parameters
    ----------
    campaign_id, composition_id : str
        Which one.
    newest : datetime
        When the newest of the documents was written.
    structures, transport : sequence of dict
        Documents of its production cells, whatever their quench rate.
    reference_structures, reference_transport : sequence of dict
        Documents of its cells that were run with the reference engine.
    potential, iteration : dict or None
        Newest potential and last iteration of the campaign.
    n_train, n_test : int
        Converged labels.
    """

    campaign_id: str
    composition_id: str
    newest: datetime
    structures: Sequence[Mapping[str, Any]] = ()
    transport: Sequence[Mapping[str, Any]] = ()
    reference_structures: Sequence[Mapping[str, Any]] = ()
    reference_transport: Sequence[Mapping[str, Any]] = ()
    potential: Mapping[str, Any] | None = None
    iteration: Mapping[str, Any] | None = None
    n_train: int = 0
    n_test: int = 0


def summarize(sources: Sources) -> CompositionSummary:
    """Summarize one composition of a campaign.

    Parameters
    ----------
    sources : Sources
        What is known of it.

    Returns
    -------
    CompositionSummary
        The same sources give the same summary.
    """
    composition = Composition.from_id(sources.composition_id)
    by_rate = _by_rate(_sorted(sources.structures), _sorted(sources.transport))
    rate, (structures, transport) = next(iter(by_rate.items()), (None, ([], [])))
    reference = _sorted(sources.reference_structures), _sorted(sources.reference_transport)
    glasses, refused = _judged(structures)
    # A campaign of such a name has the digest of its file in its id.
    imported = sources.campaign_id.startswith(import_id("")) and not CAMPAIGN_ID.search(sources.campaign_id)
    status = CompositionStatus.IMPORTED if imported else CompositionStatus.IN_PROGRESS
    if structures:
        status = CompositionStatus.COMPLETE if glasses else CompositionStatus.REFUSED
    first = (glasses or structures or [{}])[0]
    documents = [
        *structures,
        *transport,
        *reference[0],
        *reference[1],
        *(each for each in (sources.potential, sources.iteration) if each),
    ]
    uuids = sorted({uuid for each in documents for uuid in each.get("uuids", ())})
    return CompositionSummary(
        key=CompositionSummary.key_of(sources.campaign_id, sources.composition_id),
        campaign_id=sources.campaign_id,
        composition_id=sources.composition_id,
        status=status,
        x=float(composition.x),
        y=float(composition.y),
        o_to_cl=None if composition.o_to_cl is None else float(composition.o_to_cl),
        li_to_al=float(composition.li_to_al),
        links_expected=float(composition.links_per_al),
        formula=first.get("formula"),
        n_atoms=first.get("n_atoms"),
        n_glasses=len(glasses),
        n_refused=len(refused),
        quench_rate=rate,
        by_rate=tuple(_of_rate(each, *found) for each, found in by_rate.items()) if len(by_rate) > 1 else (),
        refusals=tuple(_refusal(each) for each in refused[:_MOST_REFUSALS]),
        n_labels_train=sources.n_train,
        n_labels_test=sources.n_test,
        sources={
            "structures": _keys(structures),
            "transport": _keys(transport),
            "potentials": (str(sources.potential["key"]),) if sources.potential else (),
            "iterations": (str(sources.iteration["key"]),) if sources.iteration else (),
            **({"reference_structures": _keys(reference[0])} if reference[0] else {}),
            **({"reference_transport": _keys(reference[1])} if reference[1] else {}),
        },
        uuids=tuple(uuids[:_MOST_SOURCES]),
        **_structure(glasses),
        **_potential(sources),
        **_learning(sources),
        **_transport(transport),
        **_reference(*reference),
    )


def _keys(documents: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(str(each["key"]) for each in documents[:_MOST_SOURCES])


def _sorted(documents: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(documents, key=lambda each: str(each["key"]))


def _judged(
    structures: Sequence[Mapping[str, Any]],
) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """Glasses, and cells that are refused."""
    glasses = [each for each in structures if each["status"] == GlassStatus.GLASS.value]
    return glasses, [each for each in structures if each["status"] != GlassStatus.GLASS.value]


def _by_rate(
    structures: Sequence[Mapping[str, Any]], transport: Sequence[Mapping[str, Any]]
) -> dict[float | None, tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]]:
    """Documents by the quench rate that was asked for, slowest first; the unknown one of old documents last."""
    groups: dict[float | None, tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]] = {}
    for which, documents in enumerate((structures, transport)):
        for each in documents:
            groups.setdefault(each.get("asked_quench_rate"), ([], []))[which].append(each)
    return dict(sorted(groups.items(), key=lambda item: math.inf if item[0] is None else item[0]))


def _of_rate(
    rate: float | None, structures: Sequence[Mapping[str, Any]], transport: Sequence[Mapping[str, Any]]
) -> RateSummary:
    glasses, refused = _judged(structures)
    moved = _transport(transport)
    return RateSummary(
        quench_rate=rate,
        n_glasses=len(glasses),
        n_refused=len(refused),
        density=between(each.get("density") for each in glasses),
        isolated_share=between(_isolated(glasses)),
        li_status=moved["li_status"],
        li_diffusion=moved["li_diffusion"],
    )


def _reference(
    structures: Sequence[Mapping[str, Any]], transport: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """What the runs of the reference engine show; their times are too short for more."""
    glasses, refused = _judged(structures)
    moved = _transport(transport)
    return {
        "n_reference": len(glasses),
        "n_reference_refused": len(refused),
        "reference_isolated_share": between(_isolated(glasses)),
        **{f"reference_{name}": moved[name] for name in ("li_status", "li_last_msd", "li_last_lag")},
    }


def between(numbers: Iterable[Any]) -> Measured | None:
    """Mean over glasses with the standard error between them; the number itself of a single glass.

    Parameters
    ----------
    numbers : iterable of dict or None
        Stored numbers, one for each glass; glasses without one are left out.
    """
    found = [Measured.model_validate(each) for each in numbers if each is not None]
    if len(found) <= 1:
        return found[0] if found else None
    n = len(found)
    mean = math.fsum(each.value for each in found) / n
    variance = math.fsum((each.value - mean) ** 2 for each in found) / (n - 1)
    return Measured(value=mean, standard_error=math.sqrt(variance / n), unit=found[0].unit, n_independent=n)


def weakest(statuses: Iterable[str]) -> str | None:
    """Give the MSD status that holds for all glasses."""
    ranked = sorted(
        set(statuses), key=lambda status: _WEAKEST_FIRST.index(status) if status in _WEAKEST_FIRST else -1
    )
    return ranked[0] if ranked else None


def _refusal(structure: Mapping[str, Any]) -> str:
    reason = str(structure.get("reason") or "")[:_LONGEST_REASON]
    return f"{structure['status']} ({reason})" if reason else str(structure["status"])


def _structure(glasses: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    if not glasses:
        return {}
    types = list(dict.fromkeys(name for each in glasses for name in each.get("tetrahedra") or {}))
    shares = {}
    for name in types:
        # A type that a glass does not name is one that it does not have.
        absent = {"value": 0.0, "standard_error": None, "unit": "1", "n_independent": 1}
        shares[name] = between((each.get("tetrahedra") or {}).get(name, absent) for each in glasses)
    return {
        "density": between(each.get("density") for each in glasses),
        "links_found": between(each.get("links_found") for each in glasses),
        "isolated_share": between(_isolated(glasses)),
        "tetrahedra": {name: share for name, share in shares.items() if share is not None},
    }


def _isolated(glasses: Sequence[Mapping[str, Any]]) -> list[Any]:
    return [
        chains["isolated_share"]
        for each in glasses
        for chains in each.get("chains") or ()
        if chains["rule"] == "distance"
    ]


def _potential(sources: Sources) -> dict[str, Any]:
    if sources.potential is None:
        return {}
    found: dict[str, Any] = {"potential_key": sources.potential["key"]}
    error = (sources.potential.get("held_out") or {}).get(sources.composition_id)
    if error is None:
        return found
    zero = error["zero_force_rmse"]
    rmse = Measured(
        value=error["force_rmse"],
        standard_error=error["force_rmse_error"],
        unit="eV/A",
        n_independent=max(1, error["n_trajectories"]),
    )
    return found | {
        "force_rmse": rmse,
        "zero_force_rmse": zero,
        "force_ratio": error["force_rmse"] / zero if zero > 0 else None,
        "energy_rmse": error["energy_rmse"],
    }


def _learning(sources: Sources) -> dict[str, Any]:
    iteration = sources.iteration
    if iteration is None:
        return {}
    found: dict[str, Any] = {"iterations": iteration["iteration"] + 1}
    text = (iteration.get("composition_verdicts") or {}).get(sources.composition_id)
    if text is not None:
        found["verdict"], _, found["verdict_reason"] = text.partition(": ")
    strata = [each for each in iteration["strata"] if each["composition_id"] == sources.composition_id]
    if strata:
        coldest = min(strata, key=lambda each: float(each["temperature"]))
        found["deviation"] = coldest["median_deviation"]
        found["deviation_temperature"] = coldest["temperature"]
        largest = [each["max_deviation"] for each in strata if each["max_deviation"] is not None]
        found["max_deviation"] = max(largest, default=None)
    return found


def _transport(documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    lithium = [each["species"]["Li"] for each in documents if "Li" in each["species"]]
    chlorine = [each["species"]["Cl"] for each in documents if "Cl" in each["species"]]
    lags = [each["last_lag"] for each in lithium if each["last_lag"] is not None]
    displacements = [
        {"value": each["last_msd"], "standard_error": None, "unit": "A^2", "n_independent": 1}
        for each in lithium
        if each["last_msd"] is not None
    ]
    return {
        **_estimates(documents, lithium),
        **_events(documents),
        "li_status": weakest(each["status"] for each in lithium),
        "cl_status": weakest(each["status"] for each in chlorine),
        "li_last_msd": between(displacements),
        "li_last_lag": min(lags, default=None),
    }


def _combined(
    estimates: Sequence[Mapping[str, Any] | None], unit: str
) -> tuple[Measured | None, CombinedResult | None]:
    """Combine the glasses, or give a single one's own number; nothing unless every one of them has a number.

    The mean of those that happen to be diffusive would be one of the fast ones.
    """
    known = [each for each in estimates if each is not None and each["value"] is not None]
    if not known or len(known) < len(estimates):
        return None, None
    if len(known) == 1:
        error = known[0]["standard_error"]
        return Measured(value=known[0]["value"], standard_error=error, unit=unit, n_independent=1), None
    found = combine(
        [each["value"] for each in known], [each["standard_error"] or 0.0 for each in known], unit=unit
    )
    if found.value is None:
        return None, None
    number = Measured(
        value=found.value, standard_error=found.standard_error, unit=unit, n_independent=found.n_glasses
    )
    return number, found


def _estimates(
    documents: Sequence[Mapping[str, Any]], lithium: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    diffusion = [each.get("diffusion") for each in lithium]
    number, parts = _combined(diffusion, "cm^2/s")
    conduction = [each.get("nernst_einstein") for each in documents]
    collective = [each.get("collective") for each in documents]
    haven = [each.get("haven_ratio") for each in documents]
    bounds = [
        each["upper_bound"] for each in diffusion if each is not None and each["upper_bound"] is not None
    ]
    return {
        "li_diffusion": number,
        "li_diffusion_between": parts.between_glasses if parts is not None else None,
        "li_diffusion_within": parts.within_runs if parts is not None else None,
        "li_diffusion_bound": max(bounds, default=None) if number is None else None,
        "conductivity": _combined(conduction, "mS/cm")[0],
        "collective_conductivity": _combined(collective, "mS/cm")[0],
        "haven_ratio": _combined(haven, "1")[0],
    }


def _events(documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    hops = [each["hops"] for each in documents if each.get("hops")]
    n_hops = sum(each["all"]["count"] for each in hops)
    classes: dict[str, int] = {}
    for each in hops:
        for name, counted in each["classes"].items():
            classes[name] = classes.get(name, 0) + counted["count"]
    turns = [
        each["rotations"]["Cl"]["rotating"]["rate"] for each in documents if "Cl" in each.get("rotations", {})
    ]
    return {
        "n_hops": n_hops,
        "hop_rate": between(_rate(each["all"]["rate"]) for each in hops),
        "hop_shares": {name: n / n_hops for name, n in classes.items()} if n_hops else {},
        "cl_rotation_rate": between(_rate(rate) for rate in turns),
    }


def _rate(value: float | None) -> dict[str, Any] | None:
    if value is None:
        return None
    return {"value": value, "standard_error": None, "unit": "1/ns", "n_independent": 1}
