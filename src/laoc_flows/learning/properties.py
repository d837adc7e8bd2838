"""Whether the models of a committee agree on properties: density, g(r), and diffusion of Li.

Models whose forces agree may still disagree on what follows from them. Each model has run the same melt alone; here
the results are compared, two models at a time. A difference d with the standard error s is held against a tolerance:

* 'differ' if d - 2 s exceeds it for any two models, or if a model could not run the melt: of the six pairs of four equal
  models one is often more than one standard error apart;
* 'agree' if d + s is within it for every two models;
* 'cannot tell' otherwise: the errors are too large for the tolerance, or a value is missing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np

from laoc_flows.composition import Composition
from laoc_flows.errors import InputError
from laoc_flows.schemas.base import Measured
from laoc_flows.schemas.iteration import PropertyCheck
from laoc_flows.schemas.learning import Probe

MIN_BLOCKS = 3
"""Blocks of a run below which its g(r) has no error: the jackknife leaves one out and needs two for a variance."""


@dataclass(frozen=True, eq=False)
class MemberProperties:
    """What one model of the committee makes of one composition.

    Attributes
    ----------
    density : Measured or None
        Mass density [g/cm^3].
    pairs : tuple of str
        Pairs of elements that have a g(r), in the order of `rdf`.
    rdf : numpy.ndarray or None, shape (n_blocks, n_pairs, n_bins)
        Partial g(r) of consecutive blocks of the run [1].
    diffusion : Measured or None
        Self-diffusion coefficient of Li [cm^2/s]; None unless the run is diffusive.
    diffusion_status : str
        Why there is none: subdiffusive, insufficient, or empty without Li.
    failure : str
        Why the model could not run the melt, empty if it did.
    """

    density: Measured | None
    pairs: tuple[str, ...]
    rdf: np.ndarray | None
    diffusion: Measured | None
    diffusion_status: str
    failure: str = ""

    @property
    def rdf_mean(self) -> np.ndarray | None:
        """Partial g(r) of the whole run [1], shape (n_pairs, n_bins)."""
        return None if self.rdf is None else np.asarray(self.rdf.mean(axis=0))

    @property
    def rdf_error(self) -> np.ndarray | None:
        """Its standard error from the scatter of the blocks [1], shape (n_pairs, n_bins); None for one block."""
        if self.rdf is None or len(self.rdf) == 1:
            return None
        return np.asarray(self.rdf.std(axis=0, ddof=1) / math.sqrt(len(self.rdf)))


class Difference(NamedTuple):
    """Difference of two models, as the tolerance counts it.

    Parameters
    ----------
    models : tuple of int
        Indices of the two.
    value : float
        The difference, not negative [1].
    error : float or None
        Its standard error [1]; None where it is not known.
    """

    models: tuple[int, int]
    value: float
    error: float | None

    @property
    def low(self) -> float:
        """Two standard errors below; minus infinity without one."""
        return -math.inf if self.error is None else self.value - 2.0 * self.error

    @property
    def high(self) -> float:
        """One standard error above; infinity without one."""
        return math.inf if self.error is None else self.value + self.error


def property_checks(
    composition_id: str, probes: Sequence[MemberProperties], probe_settings: Probe
) -> tuple[PropertyCheck, ...]:
    """Compare the models on one composition.

    Parameters
    ----------
    composition_id : str
        Canonical composition id.
    probes : sequence of MemberProperties
        Results of the models, in the order of the committee.
    probe_settings : Probe
        Tolerances.

    Returns
    -------
    tuple of PropertyCheck
        Density, g(r) and, where the composition has Li, diffusion.

    Raises
    ------
    InputError
        When the g(r) of the models do not have the same pairs and bins, or values are in different units.
    """
    checks = [
        compare_density(composition_id, probes, probe_settings.density),
        compare_rdf(composition_id, probes, probe_settings.rdf),
    ]
    if Composition.from_id(composition_id).x > 0:
        checks.append(compare_diffusion(composition_id, probes, probe_settings.diffusion))
    return tuple(checks)


def compare_density(
    composition_id: str, members: Sequence[MemberProperties], tolerance: float
) -> PropertyCheck:
    """Compare densities.

    Parameters
    ----------
    composition_id : str
        Canonical composition id.
    members : sequence of MemberProperties
        Results of the models.
    tolerance : float
        Largest relative difference [1].

    Returns
    -------
    PropertyCheck
        See `relative_differences` for what is compared.
    """
    values = [member.density for member in members]
    missing = [_missing(k, "no density") for k, value in enumerate(values) if value is None]
    return _compare_values("density", composition_id, members, values, tolerance, missing)


def compare_diffusion(
    composition_id: str, members: Sequence[MemberProperties], tolerance: float
) -> PropertyCheck:
    """Compare self-diffusion coefficients of Li.

    Parameters
    ----------
    composition_id : str
        Canonical composition id, of a composition with Li.
    members : sequence of MemberProperties
        Results of the models.
    tolerance : float
        Largest relative difference [1].

    Returns
    -------
    PropertyCheck
        'cannot tell' also where a run is not diffusive, unless two others differ; see `relative_differences`.
    """
    values = [member.diffusion for member in members]
    missing = [
        _missing(k, member.diffusion_status or "no D")
        for k, member in enumerate(members)
        if member.diffusion is None
    ]
    return _compare_values("diffusion", composition_id, members, values, tolerance, missing)


def compare_rdf(composition_id: str, members: Sequence[MemberProperties], tolerance: float) -> PropertyCheck:
    """Compare partial g(r).

    Parameters
    ----------
    composition_id : str
        Canonical composition id.
    members : sequence of MemberProperties
        Results of the models.
    tolerance : float
        Largest RMS difference [1].

    Returns
    -------
    PropertyCheck
        See `rdf_difference` for what is compared.

    Raises
    ------
    InputError
        When the models do not have the same pairs and bins.
    """
    curves = [
        (k, member.rdf) for k, member in enumerate(members) if member.rdf is not None and member.rdf.size
    ]
    if len({(members[k].pairs, rdf.shape[1:]) for k, rdf in curves}) > 1:
        message = "the g(r) of the models do not have the same pairs and bins"
        raise InputError(message, where=composition_id, remedy="compute them with the same settings")
    known = {k for k, _ in curves}
    missing = [_missing(k, "no g(r)") for k in range(len(members)) if k not in known]
    differences = [Difference((i, j), *rdf_difference(a, b)) for (i, a), (j, b) in combinations(curves, 2)]
    return _check("g(r)", composition_id, members, differences, tolerance, missing, (), "{:.3f}".format)


def relative_differences(values: Sequence[Measured | None]) -> list[Difference]:
    """Differences of every two values, relative to the mean of all.

    Parameters
    ----------
    values : sequence of Measured or None
        One per model; None is left out.

    Returns
    -------
    list of Difference
        ``d = |v_i - v_j| / m`` with the standard error ``s = sqrt(e_i^2 + e_j^2) / m``, where m is the mean of all values.
        The error of m is left out: it changes s by the order of d. Empty when m is not positive.

    Raises
    ------
    InputError
        When the units differ.

    Examples
    --------
    >>> a = Measured(value=1.9, standard_error=0.03, unit="g/cm^3", n_independent=5)
    >>> b = Measured(value=2.1, standard_error=0.04, unit="g/cm^3", n_independent=5)
    >>> relative_differences([a, None, b])[0].models
    (0, 2)
    >>> [round(number, 3) for number in relative_differences([a, None, b])[0][1:]]
    [0.1, 0.025]
    """
    known = [(k, value) for k, value in enumerate(values) if value is not None]
    if len(units := {value.unit for _, value in known}) > 1:
        message = f"values in {' and '.join(sorted(units))} cannot be compared"
        raise InputError(message, remedy="convert them to one unit")
    # fsum and hypot: the same numbers in any order of the models.
    mean = math.fsum(value.value for _, value in known) / max(len(known), 1)
    if mean <= 0:
        return []
    found = []
    for (i, a), (j, b) in combinations(known, 2):
        error = None
        if a.standard_error is not None and b.standard_error is not None:
            error = math.hypot(*sorted((a.standard_error, b.standard_error))) / mean
        found.append(Difference((i, j), abs(a.value - b.value) / mean, error))
    return found


def rdf_difference(a: np.ndarray, b: np.ndarray) -> tuple[float, float | None]:
    """RMS difference of the partial g(r) of two runs, without what noise alone makes of it.

    Parameters
    ----------
    a, b : numpy.ndarray, shape (n_blocks, n_pairs, n_bins)
        g(r) of consecutive blocks of each run [1]; the number of blocks may differ.

    Returns
    -------
    difference : float
        Over all pairs and bins, each counted alike [1].
    error : float or None
        Its standard error [1]; None for fewer than `MIN_BLOCKS` blocks, where nothing is subtracted either.

    Notes
    -----
    With the means A and B over the blocks of each run and their squared standard errors s_A^2 and s_B^2 (variance of
    the blocks over their number), averaged over pairs and bins::

        q = < (A - B)^2 - s_A^2 - s_B^2 >,    difference = sqrt(max(q, 0))

    The expectation of q is the true mean squared difference: zero for two runs of one model, however noisy. The
    standard error e of q is the two-sample jackknife's, which leaves out one block of either run at a time, so that
    bins whose noise is correlated are not taken for independent. The error of the difference is the larger of the
    distances to ``sqrt(max(q - e, 0))`` and ``sqrt(max(q, 0) + e)``; for e << q this is the usual e / (2 sqrt(q)), and
    it stays finite at zero. Blocks must be longer than the time in which the melt forgets its structure.

    Examples
    --------
    >>> noise = np.random.default_rng(0).normal(0, 0.1, (2, 5, 3, 50))
    >>> difference, error = rdf_difference(1 + noise[0], 1.5 + noise[1])
    >>> abs(difference - 0.5) < 3 * error < 0.1
    True
    """
    if min(len(a), len(b)) < MIN_BLOCKS:
        return float(np.sqrt(np.mean((a.mean(axis=0) - b.mean(axis=0)) ** 2))), None
    square = max(_mean_square(a, b), 0.0)
    without_a = np.array([_mean_square(np.delete(a, k, axis=0), b) for k in range(len(a))])
    without_b = np.array([_mean_square(a, np.delete(b, k, axis=0)) for k in range(len(b))])
    # (n - 1) / n times the sum of squared deviations, for each run.
    error = math.sqrt(without_a.var() * (len(a) - 1) + without_b.var() * (len(b) - 1))
    difference = math.sqrt(square)
    above = math.sqrt(square + error) - difference
    below = difference - math.sqrt(max(square - error, 0.0))
    return difference, max(above, below)


def _mean_square(a: np.ndarray, b: np.ndarray) -> float:
    noise = a.var(axis=0, ddof=1) / len(a) + b.var(axis=0, ddof=1) / len(b)
    return float(np.mean((a.mean(axis=0) - b.mean(axis=0)) ** 2 - noise))


def _missing(index: int, why: str) -> str:
    return f"model {index}: {why}"


def _percent(number: float) -> str:
    return f"{100 * number:.3g} %"


def _compare_values(
    name: str,
    composition_id: str,
    members: Sequence[MemberProperties],
    values: Sequence[Measured | None],
    tolerance: float,
    missing: list[str],
) -> PropertyCheck:
    differences = relative_differences(values)
    if not differences and not missing and len(values) > 1:
        missing = ["the mean of the models is not positive"]
    return _check(name, composition_id, members, differences, tolerance, missing, tuple(values), _percent)


def _check(
    name: str,
    composition_id: str,
    members: Sequence[MemberProperties],
    differences: Sequence[Difference],
    tolerance: float,
    missing: Sequence[str],
    values: tuple[Measured | None, ...],
    words: Callable[[float], str],
) -> PropertyCheck:
    failures = [f"model {k} cannot run it: {m.failure}" for k, m in enumerate(members) if m.failure]
    status: Literal["agree", "differ", "cannot tell"]
    decisive: Difference | None = max(differences, key=lambda d: (d.high, d.value), default=None)
    notes = list(missing)
    if failures:
        # The others may be close to each other; a number that says so would hide that one is lost.
        status, decisive, notes = "differ", None, failures
    elif any(difference.low > tolerance for difference in differences):
        status, decisive = "differ", max(differences, key=lambda d: (d.low, d.value))
    elif decisive is None or missing or decisive.high > tolerance:
        status = "cannot tell"
        if decisive is not None and decisive.error is None:
            notes.append("the error is not known")
        elif decisive is None and not missing:
            notes.append("there are not two models to compare")
    else:
        status = "agree"
    if decisive is not None:
        i, j = decisive.models
        error = "" if decisive.error is None else f" +- {words(decisive.error)}"
        notes.insert(
            0, f"models {i} and {j} differ by {words(decisive.value)}{error}, tolerance {words(tolerance)}"
        )
    return PropertyCheck(
        composition_id=composition_id,
        name=name,
        status=status,
        difference=None if decisive is None else decisive.value,
        difference_error=None if decisive is None else decisive.error,
        tolerance=tolerance,
        values=values,
        reason="; ".join(notes),
    )
