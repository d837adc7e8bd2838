"""The few lines that sum an analysis up."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from laoc_flows.analysis.events.rotation_results import RotationResult
from laoc_flows.analysis.rates import Rate, Share
from laoc_flows.analysis.statistics import Measured, block_average
from laoc_flows.analysis.structure.rdf import coordination_number, first_shell
from laoc_flows.analysis.structure.survey import SurveyResult
from laoc_flows.analysis.suite_results import Analysis, System
from laoc_flows.analysis.transport.conductivity import ConductivityResult
from laoc_flows.analysis.transport.diffusion import DiffusionResult
from laoc_flows.analysis.transport.haven import HavenResult
from laoc_flows.report.figure_labels import RARE, number

Line: TypeAlias = tuple[str, str]

WIDTH = 84
"""Longest value."""
MAX_TYPES = 4
"""Most types of centers that are named."""

_HUNDREDS = 999.5
_A = "\u00c5"
_D_UNIT = "cm\u00b2/s"
_DASH = "\N{EN DASH}"
_SIGMA = "\N{GREEK SMALL LETTER SIGMA}"
_TAU = "\N{GREEK SMALL LETTER TAU}"
_LAMBDA = "\N{GREEK SMALL LETTER LAMDA}"
_THETA = "\N{GREEK CAPITAL LETTER THETA}"


def headline(analysis: Analysis) -> list[Line]:
    """Sum an analysis up in a table of names and values.

    Parameters
    ----------
    analysis : Analysis
        From `analyze`.

    Returns
    -------
    list of (str, str)
        Name and value with unit and uncertainty: 3.24(23)e-5 is 3.24e-5 with a standard error of 0.23e-5. A
        result that is not sound has its status instead, with an upper bound or the reason. Parts that were not
        computed have no line.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from laoc_flows.analysis import analyze
    >>> from laoc_flows.analysis import Trajectory
    >>> run = Trajectory.from_ase([bulk("Al", "fcc", a=4.05, cubic=True)] * 3, time_step=0.1)
    >>> for name, value in headline(analyze(run, 300.0, parts=("survey",)))[1:5]:
    ...     print(f"{name}: {value}".encode("ascii", "replace").decode())
    run: 3 frames, 0.2 ps, every 0.1 ps, 300 K
    CN(Al): 0: O 0, Cl 0
    tetrahedra: CN0:O0Cl0 100 %
    links per Al: 0; ? = 4 if every Al had 4 bonds
    """
    lines = [*_system(analysis.system)]
    for part in (_structure, _transport, _hops, _rotations, _amorphisation):
        lines += part(analysis)
    return [(name, textwrap.shorten(value, WIDTH, placeholder=" ...")) for name, value in lines]


def _system(system: System) -> Iterator[Line]:
    formula = "".join(f"{s}{n}" for s, n in system.formula.items())
    cell = "constant" if system.constant_cell else "varying: no motion analyzed"
    n_atoms = sum(system.formula.values())
    yield "cell", f"{formula}, {n_atoms} atoms, {number(system.volume, digits=4)} {_A}\u00b3, {cell}"
    temperature = "no temperature" if system.temperature is None else f"{system.temperature:g} K"
    yield (
        "run",
        f"{system.n_frames} frames, {system.duration:.4g} ps, every {system.time_step:.4g} ps, {temperature}",
    )


def _structure(analysis: Analysis) -> Iterator[Line]:
    survey, center = analysis.survey, analysis.system.center
    if survey is not None and survey.status != "ok":
        yield "structure", f"{survey.status}: {survey.reason}"
    elif survey is not None:
        yield from _survey(survey)
    if analysis.pairs is None or f"{center}-{center}" not in analysis.pairs.partials:
        return
    found = analysis.pairs.partials[f"{center}-{center}"]
    shell = first_shell(found)
    if shell.peak is None:
        return
    cutoff = analysis.system.chain_cutoff
    around = coordination_number(found, cutoff) if cutoff <= found.edges[-1] else None
    parts = [f"{shell.peak:.2f} {_A}"]
    parts += [f"minimum {shell.minimum:.2f} {_A}"] if shell.minimum is not None else []
    parts += [f"{around:.2f} neighbors within {cutoff:g} {_A}"] if around is not None else []
    yield f"first {center}{_DASH}{center} peak", ", ".join(parts)


def _survey(survey: SurveyResult) -> Iterator[Line]:
    center, averages = survey.center, survey.averages
    total = block_average(survey.mean_coordination.sum(axis=1), "1")
    each = [f"{s} {_measured(averages[f'CN({s})'])}" for s in survey.ligands]
    yield f"CN({center})", f"{_measured(total)}: {', '.join(each)}"
    yield "tetrahedra", _types(survey)
    ideal = survey.coordination - sum(survey.n_anions.values()) / survey.n_centers
    yield (
        f"links per {center}",
        f"{_measured(averages['links'])}; {_LAMBDA} = {ideal:.3g} if every {center} had {survey.coordination} bonds",
    )
    chains = survey.chains.values()
    for name, key, scale in (
        (f"isolated {center}", "isolated_fraction", 100),
        ("chain length, per chain", "number_average_size", 1),
        (f"chain length, per {center}", "weight_average_size", 1),
    ):
        written = (
            f"{_percent(c.averages[key]) if scale > 1 else _measured(c.averages[key]) + ' ' + center} ({c.rule} rule)"
            for c in chains
        )
        yield name, ", ".join(written)
    yield (
        "chain dimension",
        "; ".join(
            f"{int(c.dimension.max())} with {_percent(c.averages['percolating_fraction'])} of {center} ({c.rule} rule)"
            if c.dimension.any()
            else f"0, no percolation ({c.rule} rule)"
            for c in chains
        ),
    )


def _types(survey: SurveyResult) -> str:
    """Name the most frequent types, as many as there is room for, and what is left."""
    shares = [(survey.averages[label], label) for label in survey.type_labels]
    shares = sorted((s for s in shares if s[0].value >= RARE), key=lambda s: -s[0].value)
    for n in range(min(MAX_TYPES, len(shares)), -1, -1):
        rest = 100 * (1 - sum(m.value for m, _ in shares[:n]))
        parts = [f"{label} {_percent(m)}" for m, label in shares[:n]]
        parts += [f"other {number(rest, digits=2)} %"] if rest > RARE else []
        text = ", ".join(parts)
        if len(text) <= WIDTH:
            break
    return text


def _transport(analysis: Analysis) -> Iterator[Line]:
    carrier = analysis.system.carrier
    for symbol, found in sorted(analysis.diffusion.items(), key=lambda item: item[0] != carrier):
        yield f"D({symbol})", _quantity(found, _D_UNIT)
    if analysis.jump_diffusion is not None and analysis.jump_diffusion.value is not None:
        jump = analysis.jump_diffusion
        value = "no hops to take it from"
        if jump.status == "ok" and jump.value is not None:
            value = f"{number(jump.value, jump.standard_error)} {_D_UNIT}, if they were uncorrelated"
        status = "" if jump.status == "ok" else f"{jump.status}: "
        yield f"D({carrier}) of hops", f"{status}{value}"
    for name, sigma in (("Nernst-Einstein", analysis.nernst_einstein), ("collective", analysis.collective)):
        if sigma is not None:
            yield f"{_SIGMA} {name}", _quantity(sigma, "mS/cm")
    if analysis.haven is not None:
        yield "Haven ratio", _quantity(analysis.haven, "")


def _hops(analysis: Analysis) -> Iterator[Line]:
    hops, classes = analysis.hops, analysis.hop_classes
    if hops is None:
        return
    name = f"{hops.carrier} hops ({_TAU} = {hops.tau:g} ps)"
    if hops.status != "ok":
        yield name, f"{hops.status}: {hops.reason}"
        return
    if classes is not None and classes.n_hops:
        rate = _rate(classes.total.rate, hops.carrier)
        yield name, f"{hops.n_hops}, {rate}"
        for kind in classes.classes:
            yield f"  {kind.name}", _share(kind.share)
        yield f"  back within {hops.back_jump_time:g} ps", _share(classes.back_jumps.share)
    else:
        yield name, "0"
    others = [f"{c.n_hops} with {_TAU} = {c.tau:g} ps" for c in hops.by_tau if c.tau != hops.tau]
    if analysis.p_hop is not None and analysis.p_hop.status == "ok":
        others.append(f"{analysis.p_hop.n_hops} by p_hop")
    if others:
        yield "  otherwise counted", ", ".join(others)


def _rotations(analysis: Analysis) -> Iterator[Line]:
    for ligand, found in analysis.rotations.items():
        name = f"{ligand} rotations"
        if found.status in {"empty", "insufficient"}:
            yield name, f"{found.status}: {found.reason}"
            continue
        status = "" if found.status == "ok" else f"{found.status}: "
        yield name, status + _rotation(found)
        if found.n_events:
            yield "  kinds", ", ".join(f"{kind} {n}" for kind, n in found.events_by_kind.items() if n)
        yield "  changes of host", f"{found.n_migrations}"
        coupling = analysis.coupling.get(ligand)
        if coupling is not None and coupling.status == "ok" and coupling.fraction is not None:
            chance = 100 * (coupling.null_mean or 0.0)
            near = f"within {coupling.dt:g} ps and {coupling.radius:g} {_A}"
            share = f"{_three(100 * coupling.fraction)} % of hops have one {near}"
            yield "  near hops", f"{share}, {_three(chance)} % by chance (p = {coupling.p_value or 0:.2g})"


def _rotation(found: RotationResult) -> str:
    share = found.rotating_ligands
    rate = _rate(found.rate, found.ligand)
    return f"{found.n_events} by {share.count} of {share.total} {found.ligand}, {rate}"


def _amorphisation(analysis: Analysis) -> Iterator[Line]:
    found = analysis.amorphisation
    if found is None:
        return
    if found.theta_s is None:
        yield "amorphisation", f"{found.status}: {found.reason}"
        return
    status = "" if found.status == "ok" else f"{found.status}: "
    parts = [f"{_THETA}_S = {_measured(found.theta_s)}"]
    if found.theta_s_corrected is not None:
        parts = [f"{_THETA}_S = {number(found.theta_s_corrected, found.theta_s.standard_error)}, corrected"]
    if found.theta_g is not None:
        parts.append(f"{_THETA}_g = {number(found.theta_g)}")
    if found.displaced_fraction is not None:
        parts.append(
            f"{_percent(found.displaced_fraction)} of {found.center} > {found.displacement:g} {_A} away"
        )
    yield "amorphisation", status + ", ".join(parts)


def _measured(found: Measured) -> str:
    return number(found.value, found.standard_error)


def _percent(found: Measured) -> str:
    error = None if found.standard_error is None else 100 * found.standard_error
    return f"{number(100 * found.value, error)} %"


def _quantity(found: DiffusionResult | ConductivityResult | HavenResult, unit: str) -> str:
    """Write a value with its interval; without a value the status with the bound or the reason."""
    if found.value is not None:
        interval = f", 95 %: {_range(found.interval)}" if found.interval is not None else ""
        return f"{number(found.value, found.standard_error)} {unit}".rstrip() + interval
    bound = getattr(found, "upper_bound", None)
    if bound is not None:
        return f"{found.status}, below {number(bound, digits=2)} {unit}: {found.reason}"
    return f"{found.status}: {found.reason}"


def _share(found: Share) -> str:
    if found.value is None:
        return f"{found.count} of {found.total}"
    interval = f" (95 %: {_range([100 * b for b in found.interval])} %)" if found.interval is not None else ""
    return f"{found.count}, {_three(100 * found.value)} %{interval}"


def _rate(found: Rate, symbol: str) -> str:
    if found.value is None:
        return "nothing was watched"
    interval = f" (95 %: {_range(found.interval)})" if found.interval is not None else ""
    return f"{_three(found.value)}{interval} per {symbol} and ns"


def _range(bounds: Sequence[float]) -> str:
    low, high = (_three(bound) for bound in bounds)
    return f"{low} to {high}"


def _three(value: float) -> str:
    """Write three digits, trailing zeros included, so that the ends of a range match."""
    text = number(value)
    return f"{value:#.3g}".rstrip(".") if "e" not in text and 0 < abs(value) < _HUNDREDS else text
