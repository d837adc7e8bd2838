"""The exact algebra of Li_x Al O_y Cl_(3+x-2y): stoichiometry, neutrality, links, cells and grids.

Amounts are rationals; whatever cannot be used raises `CompositionError` with the numbers and a remedy.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from numbers import Rational
from operator import index
from typing import Final, TypeAlias

from laoc_flows.errors import CompositionError

Number: TypeAlias = int | float | str | Fraction

# Formal charges [e]; their order is the order of the species in every cell.
FORMAL_CHARGES: Final[dict[str, int]] = {"Li": 1, "Al": 3, "O": -2, "Cl": -1}
# Standard atomic weights [g/mol], IUPAC 2021 (abridged for Li, O and Cl).
MOLAR_MASS: Final[dict[str, float]] = {"Li": 6.94, "Al": 26.9815384, "O": 15.999, "Cl": 35.45}
# Volume that one anion claims in a start cell [A^3]; a seed for density equilibration only.
VOLUME_PER_ANION: Final[dict[str, float]] = {"Cl": 41.8, "O": 17.0}
MAX_RANGE: Final = 100_000
MAX_ATOMS: Final = 1_000_000
_AVOGADRO: Final = 0.602214076  # [1e24/mol]: takes A^3 to cm^3
# The lengths are bounded because "1e999999999" is a number that fills the memory.
_NUMBER = re.compile(r"(?=.{1,2000}$)[+-]?(\d+/0*[1-9]\d*|(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?)", re.ASCII)
_ID = re.compile(r"x(\d+[._]\d+)-y(\d+[._]\d+)", re.ASCII)


def as_fraction(value: Number) -> Fraction:
    """Turn a number into the exact rational that its writer meant.

    Parameters
    ----------
    value : int, float, str or Fraction
        A float counts as its shortest decimal form (0.1 is 1/10); a string is a decimal or a ratio ("1/3").
        `CompositionError` is raised for a bool, an infinity, NaN and whatever is no number.
    """
    if isinstance(value, Rational) and not isinstance(value, bool):
        return Fraction(int(value.numerator), int(value.denominator))
    # float.__repr__ and not repr: a subclass, such as numpy's float64, writes its own name around the number.
    text = float.__repr__(value) if isinstance(value, float) else value
    if isinstance(text, str) and _NUMBER.fullmatch(text.strip()):
        return Fraction(text.strip())
    msg = f"{value!r:.80} is not a finite number"
    raise CompositionError(msg, remedy='write an integer, a decimal or a ratio such as "1/3"')


def _as_count(value: int, name: str, minimum: int, maximum: int = sys.maxsize) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__") or not minimum <= index(value) <= maximum:
        msg = f"{name} = {value!r:.80} is not a count"
        most = f" and at most {maximum}" if maximum < sys.maxsize else ""
        raise CompositionError(msg, remedy=f"give a whole number of at least {minimum}{most}")
    return index(value)


def _text(value: Fraction, places: int = 1) -> str:
    """Write `value` exactly: with at least `places` decimals, or as a ratio if six do not suffice."""
    scaled = abs(value) * 10**6
    if scaled.denominator != 1:
        return str(value)
    whole, rest = divmod(scaled.numerator, 10**6)
    return f"{'-' if value < 0 else ''}{whole}." + f"{rest:06d}".rstrip("0").ljust(places, "0")


@dataclass(frozen=True, order=True)
class Composition:
    """One point (x, y) of Li_x Al O_y Cl_(3+x-2y), exact and neutral by construction.

    Parameters
    ----------
    x, y : Fraction
        Li per Al and O per Al, or anything that `as_fraction` reads. `CompositionError` is raised
        if x, y or the Cl content 3 + x - 2y is negative.
    """

    x: Fraction
    y: Fraction

    def __post_init__(self) -> None:
        object.__setattr__(self, "x", as_fraction(self.x))
        object.__setattr__(self, "y", as_fraction(self.y))
        if min(self.x, self.y, self.cl_per_al) < 0:
            x, y, cl = (_text(v) for v in (self.x, self.y, self.cl_per_al))
            most = _text((3 + max(self.x, Fraction(0))) / 2)
            msg = f"(x, y) = ({x}, {y}) is outside the composition space: Cl = 3 + x - 2y = {cl} per Al"
            raise CompositionError(msg, remedy=f"choose x >= 0 and 0 <= y <= (3 + x)/2 = {most}")

    @classmethod
    def from_id(cls, text: str) -> Composition:
        """Read a canonical id, such as ``"x1.000-y0.750"``; no other spelling is accepted."""
        match = _ID.fullmatch(text)
        composition = match and cls(*(as_fraction(part.replace("_", "/")) for part in match.groups()))
        if composition is None or composition.id != text:
            msg = f"{text!r:.80} is not a canonical composition id"
            raise CompositionError(msg, remedy='ids look like "x1.000-y0.750" or "x1_3-y0.750"')
        return composition

    @classmethod
    def from_counts(cls, n_li: int, n_al: int, n_o: int, n_cl: int) -> Composition:
        """Read the composition of a cell from its numbers of atoms, which must be neutral and hold Al."""
        li, al, o, cl = (_as_count(n, "a number of atoms", 0) for n in (n_li, n_al, n_o, n_cl))
        if al == 0 or cl != 3 * al + li - 2 * o:
            charge = sum(q * n for q, n in zip(FORMAL_CHARGES.values(), (li, al, o, cl), strict=True))
            msg = f"{li} Li, {al} Al, {o} O and {cl} Cl are no neutral cell with Al: the charge is {charge:+d} e"
            raise CompositionError(msg, remedy="choose n_al >= 1 and n_cl = 3 n_al + n_li - 2 n_o")
        return cls(Fraction(li, al), Fraction(o, al))

    @classmethod
    def from_ratios(cls, o_to_cl: Number, li_to_al: Number) -> Composition:
        """Find the composition of O/Cl = r >= 0 and Li/Al = x >= 0: y = r (3 + x) / (1 + 2r)."""
        r, x = as_fraction(o_to_cl), as_fraction(li_to_al)
        if r < 0:
            msg = f"the ratio O/Cl = {_text(r)} is negative"
            raise CompositionError(msg, remedy="choose O/Cl >= 0")
        return cls(x, r * (3 + x) / (1 + 2 * r))

    @property
    def id(self) -> str:
        """Canonical key: exact decimals, or ``1_3`` for one third; no two compositions share one."""
        return f"x{_text(self.x, 3)}-y{_text(self.y, 3)}".replace("/", "_")

    @property
    def cl_per_al(self) -> Fraction:
        """Cl per Al, 3 + x - 2y."""
        return 3 + self.x - 2 * self.y

    @property
    def per_al(self) -> dict[str, Fraction]:
        """Amount of each species per Al, in the order Li, Al, O, Cl."""
        return {"Li": self.x, "Al": Fraction(1), "O": self.y, "Cl": self.cl_per_al}

    @property
    def atoms_per_al(self) -> Fraction:
        """Atoms per Al, 4 + 2x - y."""
        return 4 + 2 * self.x - self.y

    @property
    def links_per_al(self) -> Fraction:
        """Links per Al, lambda = 1 - x + y, if every Al has four anions and no anion is free."""
        return 1 - self.x + self.y

    @property
    def o_to_cl(self) -> Fraction | None:
        """O per Cl, or None without Cl."""
        return self.y / self.cl_per_al if self.cl_per_al else None

    @property
    def li_to_al(self) -> Fraction:
        """Li per Al."""
        return self.x

    @property
    def charge(self) -> Fraction:
        """Formal charge per Al [e]; zero for every composition."""
        return sum((FORMAL_CHARGES[s] * n for s, n in self.per_al.items()), Fraction(0))

    @property
    def formula_per_al(self) -> str:
        """Formula per Al, such as ``Li1.0AlO0.75Cl2.5``; an amount without a short decimal is ``(1/3)``."""
        amounts = {s: "" if s == "Al" else _text(n) for s, n in self.per_al.items() if n}
        return "".join(f"{s}({n})" if "/" in n else s + n for s, n in amounts.items())

    @property
    def n_al_multiple(self) -> int:
        """Smallest number of Al for which every count is an integer."""
        return math.lcm(self.x.denominator, self.y.denominator)


@dataclass(frozen=True)
class Cell:
    """A composition in whole atoms.

    Parameters
    ----------
    composition : Composition
        What the cell is made of.
    n_al : int
        Number of Al; a multiple of ``composition.n_al_multiple``, or `CompositionError` is raised.
    """

    composition: Composition
    n_al: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_al", _as_count(self.n_al, "n_al", 1))
        if self.n_al % (multiple := self.composition.n_al_multiple):
            x, y = (_text(self.n_al * v) for v in (self.composition.x, self.composition.y))
            msg = f"{self.composition.id} with n_al = {self.n_al} would need {x} Li and {y} O"
            raise CompositionError(msg, remedy=f"choose n_al as a multiple of {multiple}")

    @property
    def counts(self) -> dict[str, int]:
        """Number of atoms of each species, in the order Li, Al, O, Cl; zero where absent."""
        return {s: int(self.n_al * n) for s, n in self.composition.per_al.items()}

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return int(self.n_al * self.composition.atoms_per_al)

    @property
    def formula(self) -> str:
        """Formula of the cell without absent species, such as ``Li16Al16O12Cl40``."""
        return "".join(f"{s}{n}" for s, n in self.counts.items() if n)

    @property
    def symbols(self) -> list[str]:
        """Chemical symbol of every atom, shape (n_atoms,), grouped in the order Li, Al, O, Cl."""
        return [s for s, n in self.counts.items() for _ in range(n)]

    @property
    def start_volume(self) -> float:
        """Volume to start density equilibration from [A^3]."""
        return sum(volume * self.counts[s] for s, volume in VOLUME_PER_ANION.items())

    @property
    def start_length(self) -> float:
        """Edge of the cubic start cell [A]."""
        return math.cbrt(self.start_volume)

    @property
    def start_density(self) -> float:
        """Density at the start volume [g/cm^3]."""
        return sum(MOLAR_MASS[s] * n for s, n in self.counts.items()) / (_AVOGADRO * self.start_volume)

    def repeat(self, n: int) -> Cell:
        """Return the cell of `n` times as many atoms."""
        return Cell(self.composition, _as_count(n, "n", 1) * self.n_al)


def nearest_realizable(
    composition: Composition,
    n_al_values: Iterable[int],
    *,
    n_atoms: tuple[int, int] = (0, sys.maxsize),
    count: int = 3,
) -> tuple[Cell, ...]:
    """Find the cells whose compositions lie nearest to a point of the (x, y) plane, by exact search.

    Parameters
    ----------
    composition : Composition
        The point.
    n_al_values : iterable of int
        Numbers of Al that are allowed; where several give one composition, the first is kept.
    n_atoms : tuple of int, default (0, sys.maxsize)
        Smallest and largest number of atoms.
    count : int, default 3
        Most cells to return; distinct compositions, nearest first by dx^2 + dy^2, ties by (x, y).
    """
    best: list[tuple[Fraction, Composition, int]] = []
    low, high = n_atoms
    for n_al in n_al_values:
        li, o = composition.x * n_al, composition.y * n_al
        # N = 4 n_al + 2 n_li - n_o with 0 <= n_o <= (3 n_al + n_li)/2 bounds the number of Li.
        first, last = max(0, -((4 * n_al - low) // 2)), (2 * high - 5 * n_al) // 3
        below = range(min(math.floor(li), last), first - 1, -1)
        for columns in (below, range(max(math.floor(li) + 1, first), last + 1)):
            for n_li in columns:
                if len(best) == count and ((n_li - li) / n_al) ** 2 > best[-1][0]:
                    break
                bare = 4 * n_al + 2 * n_li
                low_o, high_o = max(0, bare - high), min((3 * n_al + n_li) // 2, bare - low)
                near_o = max(low_o, min(high_o, round(o)))
                for n_o in range(max(low_o, near_o - count), min(high_o, near_o + count) + 1):
                    distance = ((n_li - li) ** 2 + (n_o - o) ** 2) / n_al**2
                    found = Composition(Fraction(n_li, n_al), Fraction(n_o, n_al))
                    if all(found != other for _, other, _ in best):
                        best = sorted([*best, (distance, found, n_al)])[:count]
    return tuple(Cell(found, n_al) for _, found, n_al in best)


def _closest_cell(composition: Composition, n_atoms: int) -> Cell:
    """Return the cell nearest to `n_atoms` atoms; the smaller of two that are equally near."""
    multiple = composition.n_al_multiple
    step = int(multiple * composition.atoms_per_al)
    k = max(1, n_atoms // step)
    return Cell(composition, multiple * min(k, k + 1, key=lambda n: abs(n * step - n_atoms)))


def _naming(cells: Iterable[Cell]) -> str:
    names = ", ".join(f"{c.composition.id} ({c.formula}, {c.n_atoms} atoms)" for c in cells)
    return f"nearest realizable compositions: {names}" if names else "no composition fits these limits"


def plan_cell(composition: Composition, *, n_atoms: int, tolerance: float) -> Cell:
    """Choose the cell of a composition that is nearest to a wanted number of atoms.

    Parameters
    ----------
    composition : Composition
        What the cell is made of.
    n_atoms : int
        Wanted number of atoms, at most `MAX_ATOMS`; the smaller of two equally near cells is chosen.
    tolerance : float
        Largest deviation from `n_atoms`, as a fraction of it, in [0, 1).

    Raises
    ------
    CompositionError
        If no cell lies within the tolerance; the message names the nearest compositions that have one.
    """
    n_atoms = _as_count(n_atoms, "n_atoms", 1, MAX_ATOMS)
    margin = as_fraction(tolerance) * n_atoms
    if not 0 <= margin < n_atoms:
        msg = f"tolerance = {tolerance} is not in [0, 1)"
        raise CompositionError(msg, remedy="give a fraction of n_atoms, such as 0.1")
    cell = _closest_cell(composition, n_atoms)
    if abs(cell.n_atoms - n_atoms) <= margin:
        return cell
    low, high = math.ceil(n_atoms - margin), math.floor(n_atoms + margin)
    # No cell holds fewer than 5/2 atoms per Al. Likely sizes go first, so that the search narrows at once.
    num, den = composition.atoms_per_al.as_integer_ratio()
    sizes = sorted(range(1, 2 * high // 5 + 1), key=lambda n_al: abs(n_al * num - n_atoms * den))
    near = nearest_realizable(composition, sizes, n_atoms=(low, high))
    msg = f"{composition.id} fits no cell of {low} to {high} atoms; its nearest has {cell.n_atoms}"
    raise CompositionError(msg, remedy=_naming(_closest_cell(c.composition, n_atoms) for c in near))


def plan_cell_fixed(composition: Composition, n_al: int) -> Cell:
    """Make the cell with `n_al` Al; `CompositionError` names the nearest compositions that fit instead."""
    n_al = _as_count(n_al, "n_al", 1)
    try:
        return Cell(composition, n_al)
    except CompositionError as error:
        near = _naming(nearest_realizable(composition, [n_al]))
        raise CompositionError(error.message, remedy=f"{error.remedy}; {near}") from None


def frange(start: Number, stop: Number, step: Number) -> tuple[Fraction, ...]:
    """List start, start + step, ... exactly, with stop if a whole number of steps leads to it.

    Parameters
    ----------
    start, stop, step : int, float, str or Fraction
        First value, bound and spacing in one unit: step > 0, stop >= start, at most `MAX_RANGE` values.
    """
    first, last, by = as_fraction(start), as_fraction(stop), as_fraction(step)
    count = (last - first) // by + 1 if by > 0 else 0
    if not 1 <= count <= MAX_RANGE:
        msg = f"the range from {_text(first)} to {_text(last)} in steps of {_text(by)} cannot be listed"
        raise CompositionError(msg, remedy=f"choose step > 0, stop >= start and at most {MAX_RANGE} values")
    return tuple(first + i * by for i in range(count))


def _product(**lists: Iterable[Number]) -> Iterable[tuple[Fraction, ...]]:
    """Pair every value of one list with every value of the other; both are empty, or neither is."""
    axes = {name: [as_fraction(value) for value in values] for name, values in lists.items()}
    missing = [name for name, values in axes.items() if not values]
    if len(missing) == 1:
        msg = f"{missing[0]} has no values, but {next(name for name in axes if name not in missing)} has"
        raise CompositionError(msg, remedy="give both lists or neither")
    return product(*axes.values())


def expand_grid(
    points: Iterable[tuple[Number, Number]] = (),
    x: Iterable[Number] = (),
    y: Iterable[Number] = (),
    o_to_cl: Iterable[Number] = (),
    li_to_al: Iterable[Number] = (),
) -> tuple[Composition, ...]:
    """Expand a grid into its distinct compositions, sorted by (x, y).

    Parameters
    ----------
    points : iterable of (x, y)
        Explicit points, each given once.
    x, y : iterable of int, float, str or Fraction
        Li per Al and O per Al; every x meets every y.
    o_to_cl, li_to_al : iterable of int, float, str or Fraction
        O per Cl and Li per Al; every ratio meets every other.

    Raises
    ------
    CompositionError
        If the grid is empty, leaves the composition space, repeats a point or lacks one list of a product.
    """
    explicit: set[Composition] = set()
    for px, py in points:
        composition = Composition(as_fraction(px), as_fraction(py))
        if composition in explicit:
            msg = f"the point {composition.id} is given twice"
            raise CompositionError(msg, remedy="remove one of the two")
        explicit.add(composition)
    plane = {Composition(*pair) for pair in _product(x=x, y=y)}
    ratios = {Composition.from_ratios(*pair) for pair in _product(o_to_cl=o_to_cl, li_to_al=li_to_al)}
    if not (grid := explicit | plane | ratios):
        msg = "the grid holds no composition"
        raise CompositionError(msg, remedy="give points, x with y, or o_to_cl with li_to_al")
    return tuple(sorted(grid))
