"""How strongly an atom scatters neutrons and X-rays."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from ase.data import atomic_numbers

from laoc_flows.analysis.trajectories.frame import FloatArray
from laoc_flows.errors import InputError

Weights: TypeAlias = Literal["neutron", "xray"] | Mapping[str, float] | None

MAX_XRAY_Q = 15.0
"""End of the range of the tabulated X-ray form factors [A^-1]; beyond 16 A^-1 their formula grows again."""

_MOTT_BETHE = 41.78214


class Amplitudes(NamedTuple):
    """What every element contributes to the scattered wave.

    Parameters
    ----------
    name : {"neutron", "xray", "custom", "number"}
        Kind of the weights.
    forward : dict of str to float
        Element to its amplitude at Q = 0: scattering length [fm], electrons, or what was given.
    """

    name: str
    forward: dict[str, float]

    def at(self, q: npt.ArrayLike) -> dict[str, FloatArray]:
        """Return the amplitude of every element.

        Parameters
        ----------
        q : array_like, shape (n,)
            Lengths of the scattering vector [A^-1].

        Returns
        -------
        dict of str to ndarray, shape (n,)
            Element to its amplitudes, in the unit of `forward`.
        """
        values = np.asarray(q, dtype=np.float64)
        if self.name == "xray":
            return {symbol: xray_form_factor(symbol, values) for symbol in self.forward}
        return {symbol: np.full(values.shape, length) for symbol, length in self.forward.items()}


@cache
def _table(name: str) -> dict[str, Any]:
    # Read as a file: importing pymatgen's calculators costs seconds.
    table: dict[str, Any] = json.loads((files("pymatgen.analysis.diffraction") / name).read_text())
    return table


def neutron_length(symbol: str) -> float:
    """Return the bound coherent neutron scattering length of an element at natural abundance.

    Parameters
    ----------
    symbol : str
        Element, or an isotope such as ``"7Li"``.

    Returns
    -------
    float
        b_c [fm].

    Raises
    ------
    InputError
        When the table does not hold it.

    Notes
    -----
    Neutron Data Booklet, 2nd ed. (Old City, 2003), the values of Sears, Neutron News 3, 26
    (1992), as tabulated in pymatgen.

    Examples
    --------
    >>> [neutron_length(symbol) for symbol in ("Li", "Al", "O", "Cl")]
    [-1.9, 3.449, 5.803, 9.577]
    """
    table = _table("neutron_scattering_length.json")
    if symbol not in table:
        message = f"no neutron scattering length is known of {symbol!r}"
        raise InputError(message, remedy="give weights={element: length, ...}")
    return float(table[symbol])


def xray_form_factor(symbol: str, q: npt.ArrayLike) -> FloatArray:
    """Return the X-ray form factor of a free neutral atom, without anomalous dispersion.

    Parameters
    ----------
    symbol : str
        Element.
    q : array_like, shape (n,)
        Lengths of the scattering vector, ``4 pi sin(theta) / lambda`` [A^-1].

    Returns
    -------
    ndarray, shape (n,)
        f(Q) [electrons]; the number of electrons at Q = 0.

    Raises
    ------
    InputError
        When the table does not hold the element, or when a Q lies outside 0 to 15 A^-1.

    Notes
    -----
    ``f = Z - 41.78214 s^2 sum_i a_i exp(-b_i s^2)`` with ``s = Q / 4 pi``: De Graef and McHenry,
    Structure of Materials (Cambridge, 2007), chapter 12, with the parameters tabulated in pymatgen. From the
    values of Waasmaier and Kirfel, Acta Cryst. A 51, 416 (1995), it differs by up to 5 % below 8 A^-1 and 15
    % at 15 A^-1.

    Examples
    --------
    >>> xray_form_factor("Cl", [0.0, 5.0]).round(2).tolist()
    [17.0, 8.13]
    """
    values = np.asarray(q, dtype=np.float64)
    if values.size and not (values.min() >= 0 and values.max() <= MAX_XRAY_Q + 1e-6):
        message = f"X-ray form factors are known from 0 to {MAX_XRAY_Q:g} A^-1"
        raise InputError(message, remedy=f"use q_max={MAX_XRAY_Q:g} or less")
    table = _table("atomic_scattering_params.json")
    if symbol not in table or symbol not in atomic_numbers:
        message = f"no X-ray form factor is known of {symbol!r}"
        raise InputError(message, remedy="give weights={element: electrons, ...}")
    squares = (values / (4 * np.pi)) ** 2
    part = sum(a * np.exp(-b * squares) for a, b in table[symbol])
    # Of hydrogen the formula falls below zero at 10 A^-1.
    return np.asarray(np.maximum(atomic_numbers[symbol] - _MOTT_BETHE * squares * part, 0.0))


def amplitudes(elements: Iterable[str], weights: Weights) -> Amplitudes:
    """Look up what every element contributes to the scattered wave.

    Parameters
    ----------
    elements : iterable of str
        The elements of the sample.
    weights : {"neutron", "xray"}, mapping of str to float, or None
        Kind of radiation; or an amplitude for every element, as for isotopes; or None for 1 each.

    Returns
    -------
    Amplitudes
        Of these elements alone.

    Raises
    ------
    InputError
        When the weights are of no known kind, or an element is missing.

    Examples
    --------
    >>> amplitudes(["Li", "Cl"], {"Li": -2.22, "Cl": 9.577}).forward["Li"]
    -2.22
    """
    symbols = sorted(set(elements))
    if weights is None:
        return Amplitudes("number", dict.fromkeys(symbols, 1.0))
    if isinstance(weights, Mapping):
        missing = [symbol for symbol in symbols if not np.isfinite(weights.get(symbol, np.nan))]
        if missing:
            message = f"the weights hold no finite number for {', '.join(missing)}"
            raise InputError(message)
        return Amplitudes("custom", {symbol: float(weights[symbol]) for symbol in symbols})
    if weights == "neutron":
        return Amplitudes("neutron", {symbol: neutron_length(symbol) for symbol in symbols})
    if weights == "xray":
        return Amplitudes("xray", {symbol: float(xray_form_factor(symbol, 0.0)) for symbol in symbols})
    message = f"weights = {weights!r} are neither 'neutron', 'xray', a mapping nor None"
    raise InputError(message)
