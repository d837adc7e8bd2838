"""How figures name and color things: elements, types of centers, and numbers with their errors."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from ase.data import atomic_numbers
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from uncertainties import ufloat  # type: ignore[import-untyped,unused-ignore]

from laoc_flows.report.style import LIGHT

RARE = 0.01
"""Types with a smaller share than this are drawn together as `OTHER`."""
OTHER = "other"

# Okabe and Ito's colors; none of the pairs of our elements is mistaken by any common kind of color blindness.
_ELEMENTS = {
    "Li": "#cc79a7",
    "Na": "#cc79a7",
    "K": "#cc79a7",
    "Al": "#0072b2",
    "P": "#0072b2",
    "Ta": "#0072b2",
    "O": "#d55e00",
    "S": "#e69f00",
    "Cl": "#009e73",
    "Br": "#56b4e9",
}
_SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
# The ends of viridis, from only the last ligand to only the first; unlike in lightness, too.
_REGULAR = ("#3b528b", "#21918c", "#5ec962", "#b5de2b", "#440154")
_COORDINATION = {1: "#000000", 2: "#882255", 3: "#e69f00", 5: "#d55e00", 6: "#996633"}
_SUBSCRIPTS = str.maketrans("0123456789", "".join(chr(0x2080 + k) for k in range(10)))
_SUPERSCRIPTS = str.maketrans(
    "-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"
)
_IRREGULAR = re.compile(r"CN(\d+):(.*)")
_PLAIN_RANGE = (1e-3, 1e5)


def element_color(symbol: str) -> str:
    """Return the color of an element, the same in every figure.

    Parameters
    ----------
    symbol : str
        The element.

    Returns
    -------
    str
        Hexadecimal.

    Examples
    --------
    >>> element_color("Li")
    '#cc79a7'
    """
    return _ELEMENTS.get(symbol) or _SERIES[atomic_numbers.get(symbol, 0) % len(_SERIES)]


def series_color(number: int) -> str:
    """Return the color of the n-th of several things that have none of their own.

    Parameters
    ----------
    number : int
        From 0 on; colors repeat after the seventh.

    Returns
    -------
    str
        Hexadecimal.

    Examples
    --------
    >>> series_color(0) == series_color(7)
    True
    """
    return _SERIES[number % len(_SERIES)]


def type_color(label: str, regular: Sequence[str]) -> str:
    """Return the color of a type of center, the same in every figure.

    Parameters
    ----------
    label : str
        The type, such as 'AlOCl3' or 'CN5:O1Cl4', or `OTHER`.
    regular : sequence of str
        The regular types of the run, in their order.

    Returns
    -------
    str
        Hexadecimal. Irregular types have one hue per coordination number, lighter with more of the first ligand.

    Examples
    --------
    >>> type_color("AlCl4", ["AlCl4", "AlOCl3"]), type_color("other", [])
    ('#3b528b', '#bbbbbb')
    """
    irregular = _IRREGULAR.match(label)
    if irregular:
        first = re.search(r"\d+", irregular[2])
        white = min(0.2 * int(first[0]), 0.6) if first else 0.0
        base = np.array(to_rgb(_COORDINATION.get(int(irregular[1]), "#777777")))
        return to_hex(base + white * (1 - base))
    return _REGULAR[regular.index(label) % len(_REGULAR)] if label in regular else LIGHT


def type_text(label: str) -> str:
    r"""Write the type of a center as chemists do.

    Parameters
    ----------
    label : str
        The type, such as 'AlOCl3' or 'CN5:O1Cl4'.

    Returns
    -------
    str
        With subscripts, and without elements that are not there.

    Examples
    --------
    >>> ascii(type_text("CN5:O1Cl4")), ascii(type_text("CN3:O0Cl3"))
    ("'CN5: OCl\\u2084'", "'CN3: Cl\\u2083'")
    """
    irregular = _IRREGULAR.match(label)
    if not irregular:
        return label.translate(_SUBSCRIPTS)
    parts = re.findall(r"([A-Z][a-z]?)(\d+)", irregular[2])
    formula = "".join(s + (n if n != "1" else "") for s, n in parts if n != "0")
    return f"CN{irregular[1]}: {formula.translate(_SUBSCRIPTS) or 'none'}"


def common_types(labels: Sequence[str], shares: npt.ArrayLike) -> tuple[list[int], list[int]]:
    """Split types into those to draw and those to draw together.

    Parameters
    ----------
    labels : sequence of str
        The types.
    shares : array_like, shape (n_types,) or (n, n_types)
        Their shares; a type is drawn when any of them reaches `RARE`.

    Returns
    -------
    common, rare : list of int
        Indices; rare ones only where their share is not zero.

    Examples
    --------
    >>> common_types(["AlCl4", "AlO4", "CN3:O0Cl3"], [0.995, 0.0, 0.005])
    ([0], [2])
    """
    largest = np.atleast_2d(np.asarray(shares, dtype=np.float64)).max(axis=0)
    common = [k for k in range(len(labels)) if largest[k] >= RARE]
    return common, [k for k in range(len(labels)) if 0 < largest[k] < RARE]


def type_axis(axes: Axes, labels: Sequence[str]) -> None:
    """Write types of centers at the vertical axis, the first at the top.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        The axes.
    labels : sequence of str
        The types; `OTHER` says how rare they are.
    """
    names = [f"other, each < {100 * RARE:g} %" if label == OTHER else type_text(label) for label in labels]
    axes.set_yticks(range(len(labels)), names)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)


def number(value: float, error: float | None = None, *, digits: int = 3, pretty: bool = False) -> str:
    """Write a number with its standard error in parentheses.

    Parameters
    ----------
    value : float
        The number.
    error : float, optional
        Its standard error; digits follow the rule of the Particle Data Group.
    digits : int, default 3
        Significant digits of a number without error.
    pretty : bool, default False
        Whether a power of ten is written with superscripts.

    Returns
    -------
    str
        Powers of ten only where the number is very small or very large.

    Examples
    --------
    >>> number(3.236e-5, 2.3e-6), number(570.2, 41.0), number(0.25)
    ('3.24(23)e-5', '570(41)', '0.25')
    """
    plain = value == 0 or _PLAIN_RANGE[0] <= abs(value) < _PLAIN_RANGE[1]
    if error:
        text = f"{ufloat(value, error):{'f' if plain else 'e'}S}"
    elif plain:
        text = f"{value:.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"
    else:
        text = f"{value:.{digits - 1}e}"
    mantissa, _, exponent = text.partition("e")
    if not exponent:
        return text
    if not pretty:
        return f"{mantissa}e{int(exponent)}"
    raised = str(int(exponent)).translate(_SUPERSCRIPTS)
    return f"{mantissa}\N{MULTIPLICATION SIGN}10{raised}"
