"""Frames on their way between jobs: extended XYZ in compressed bytes, and the identity of a geometry."""

from __future__ import annotations

import gzip
import io
from collections.abc import Sequence

import numpy as np
from ase import Atoms

from laoc_flows.blobs import digest_json

MEDIA_TYPE = "chemical/x-extxyz+gzip"
_DECIMALS, _STORED = 6, 8


def encode_frames(frames: Sequence[Atoms]) -> bytes:
    """Frames (with energy, forces and stress where they have them) as compressed extended XYZ.

    Equal frames give equal bytes.
    """
    from ase.io import write

    buffer = io.StringIO()
    write(buffer, list(frames), format="extxyz", write_results=True)
    return gzip.compress(buffer.getvalue().encode(), compresslevel=6, mtime=0)


def decode_frames(data: bytes) -> list[Atoms]:
    """Frames from compressed extended XYZ."""
    from ase.io import read

    text = gzip.decompress(data).decode()
    if not text.strip():
        return []
    return list(read(io.StringIO(text), index=":", format="extxyz"))


def geometry_key(atoms: Atoms, level_of_theory: str) -> str:
    """Content address of a label: species, cell and wrapped positions to 1e-6 A, and the level of theory.

    Parameters
    ----------
    atoms : ase.Atoms
        Periodic cell.
    level_of_theory : str
        Identity string of the engine.
    """
    # First to the decimals that extended XYZ keeps: a frame and its copy that was stored are the same label.
    kept = Atoms(
        atoms.get_chemical_symbols(),
        positions=np.round(atoms.positions, _STORED),
        cell=np.round(atoms.cell.array, _STORED),
        pbc=True,
    )
    cell = np.round(kept.cell.array, _DECIMALS) + 0.0
    scaled = np.round(kept.get_positions(wrap=True, eps=1e-7), _DECIMALS) + 0.0
    return digest_json([level_of_theory, atoms.get_chemical_symbols(), cell.tolist(), scaled.tolist()])
