"""One periodic arrangement of atoms, and the one converter that everything else goes through."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import numpy as np
import numpy.typing as npt
from ase.data import atomic_numbers
from pydantic import BaseModel, ConfigDict, PlainSerializer, PlainValidator, WithJsonSchema

from laoc_flows.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure

FloatArray: TypeAlias = npt.NDArray[np.float64]
IntArray: TypeAlias = npt.NDArray[np.int64]
Image: TypeAlias = tuple[int, int, int]

MIN_VOLUME = 1e-3
"""Below this volume [A^3] a cell counts as degenerate."""


def _column(values: Any) -> npt.NDArray[Any]:
    array = np.array(values)
    if array.dtype.kind not in "fiub" and array.size:
        message = f"a column holds numbers, not {array.dtype}"
        raise ValueError(message)
    if not np.isfinite(array).all():
        message = "a column holds a number that is not finite"
        raise ValueError(message)
    array.flags.writeable = False
    return array


Column: TypeAlias = Annotated[
    npt.NDArray[Any],
    PlainValidator(_column),
    PlainSerializer(lambda array: array.tolist()),
    WithJsonSchema({"type": "array"}),
]
"""Numbers of a result, any shape: a read-only array in Python, a (nested) list in JSON."""


class Result(BaseModel):
    """Base of every typed result: closed, immutable, and free of NaN and infinities."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, arbitrary_types_allowed=True)


@dataclass(frozen=True, eq=False)
class Frame:
    """One periodic arrangement of atoms.

    Parameters
    ----------
    species : sequence of str, shape (n_atoms,)
        Element symbols.
    positions : array_like, shape (n_atoms, 3)
        Cartesian positions, wrapped or not [A].
    cell : array_like, shape (3, 3)
        Rows are a, b and c [A]; may be triclinic. All three directions are periodic.

    Raises
    ------
    InputError
        When shapes disagree, a number is not finite, a symbol is no element, or the cell has no volume.
    """

    species: tuple[str, ...]
    positions: FloatArray
    cell: FloatArray

    def __post_init__(self) -> None:
        object.__setattr__(self, "species", check_species(self.species))
        object.__setattr__(self, "positions", read_only(self.positions))
        object.__setattr__(self, "cell", read_only(self.cell))
        shape = (len(self.species), 3)
        if self.positions.shape != shape:
            message = f"positions have shape {self.positions.shape}, the species need {shape}"
            raise InputError(message)
        if self.cell.shape != (3, 3):
            message = f"the cell has shape {self.cell.shape}, not (3, 3)"
            raise InputError(message)
        if not (np.isfinite(self.positions).all() and np.isfinite(self.cell).all()):
            message = "a position or a cell vector is not a finite number"
            raise InputError(message)
        if self.volume < MIN_VOLUME:
            message = f"the cell has a volume of {self.volume:.3g} A^3"
            raise InputError(message, remedy="give a periodic cell with three independent vectors")

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.species)

    @property
    def volume(self) -> float:
        """Volume of the cell [A^3]."""
        return float(abs(np.linalg.det(self.cell)))

    def indices(self, symbol: str) -> IntArray:
        """Return the indices of the atoms of one element.

        Parameters
        ----------
        symbol : str
            Element symbol.

        Returns
        -------
        ndarray of int, shape (n,)
            Ascending; empty when the element is absent.
        """
        return species_indices(self.species, symbol)


StructureLike: TypeAlias = "Frame | Atoms | Structure"


def as_frame(structure: StructureLike) -> Frame:
    """Turn a structure of any supported kind into a `Frame`.

    Parameters
    ----------
    structure : Frame, ase.Atoms or pymatgen.core.Structure
        The structure; an ASE one must be periodic in all three directions.

    Returns
    -------
    Frame
        The same atoms in the same order.

    Raises
    ------
    InputError
        When the object is of another kind, is not periodic, or has a partly occupied site.

    Examples
    --------
    >>> from ase.build import bulk
    >>> as_frame(bulk("LiCl", "rocksalt", a=5.13)).species
    ('Li', 'Cl')
    """
    if isinstance(structure, Frame):
        return structure
    # Duck typing keeps pymatgen.core, which is slow to import, out of the way of those who do not use it.
    source: Any = structure
    if hasattr(source, "get_chemical_symbols"):
        if not all(source.pbc):
            message = f"the ASE structure is not periodic in all three directions (pbc = {list(source.pbc)})"
            raise InputError(message, remedy="set a cell and pbc=True")
        return Frame(
            species=tuple(source.get_chemical_symbols()),
            positions=source.get_positions(),
            cell=np.asarray(source.get_cell()[:]),
        )
    if hasattr(source, "cart_coords") and hasattr(source, "lattice"):
        try:
            species = tuple(site.specie.symbol for site in source)
        except AttributeError:
            message = "the structure has partly occupied sites"
            raise InputError(message, remedy="give an ordered structure") from None
        return Frame(
            species=species,
            positions=np.asarray(source.cart_coords).reshape(-1, 3),
            cell=source.lattice.matrix,
        )
    message = f"a {type(structure).__name__} is not a Frame, an ase.Atoms or a pymatgen Structure"
    raise InputError(message)


def check_species(species: Iterable[str]) -> tuple[str, ...]:
    """Return the symbols as a tuple.

    Parameters
    ----------
    species : iterable of str
        Element symbols.

    Returns
    -------
    tuple of str
        The same symbols.

    Raises
    ------
    InputError
        When one of them is no element.
    """
    symbols = tuple(str(symbol) for symbol in species)
    unknown = sorted({symbol for symbol in symbols if atomic_numbers.get(symbol, 0) < 1})
    if unknown:
        message = f"not an element: {', '.join(map(repr, unknown))}"
        raise InputError(message)
    return symbols


def species_indices(species: tuple[str, ...], symbol: str) -> IntArray:
    """Return the positions of one symbol in a tuple of symbols.

    Parameters
    ----------
    species : tuple of str
        Element symbols.
    symbol : str
        The one to look for.

    Returns
    -------
    ndarray of int, shape (n,)
        Ascending; empty when the symbol is absent.
    """
    return np.array([k for k, s in enumerate(species) if s == symbol], dtype=np.int64)


def read_only(values: npt.ArrayLike) -> FloatArray:
    """Return a read-only float64 view of the values.

    Parameters
    ----------
    values : array_like
        Numbers of any shape.

    Returns
    -------
    ndarray
        The same numbers; the caller's own array keeps its flags.
    """
    array = np.asarray(values, dtype=np.float64).view()
    array.flags.writeable = False
    return array
