"""Trajectories of VASP: XDATCAR and vasprun.xml."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from laoc_flows.analysis.trajectories.formats import (
    ElementNames,
    ElementTranslator,
    Lines,
    Snapshot,
    open_file,
)
from laoc_flows.errors import TrajectoryError


def xdatcar(path: Path, elements: ElementNames | None) -> Iterator[Snapshot]:
    """Read an XDATCAR of VASP 5 and 6, at constant or varying cell, also several joined to one.

    Parameters
    ----------
    path : Path
        The file.
    elements : mapping or sequence of str, optional
        Element of every label that is none itself.

    Yields
    ------
    Snapshot
        Without steps: VASP counts from one in every run.

    Notes
    -----
    ASE and pymatgen hold all frames in memory at once.
    """
    translator = ElementTranslator(elements)
    species: tuple[str, ...] = ()
    cell = np.zeros((3, 3))
    last, stride = None, None
    with open_file(path, "rt") as file:
        lines = Lines(file)
        while line := lines.line():
            if "direct configuration" not in line.lower():
                number = lines.line()
                if not (line + number).strip():
                    continue
                scale = float(number)
                cell = lines.numbers(lines.take(3), (0, 1, 2))
                cell *= scale if scale > 0 else (-scale / abs(np.linalg.det(cell))) ** (1 / 3)
                symbols, counts = lines.need().split(), lines.need().split()
                species = translator.species(
                    [symbol for symbol, count in zip(symbols, counts, strict=True) for _ in range(int(count))]
                )
                line = lines.need()
            # VASP writes stars for a number that is too long.
            found = re.search(r"=\s*(\d+)", line)
            current = int(found[1]) if found else None
            if current is not None and last is not None and current > last:
                stride = stride or current - last
                if current - last != stride:
                    message = (
                        f"frames {lines.n_frames - 1} and {lines.n_frames} are configurations {last} and "
                        f"{current}, {current - last} apart; the first two are {stride} apart"
                    )
                    raise TrajectoryError(message, remedy="cut out an equally spaced part")
            last = current
            fractional = lines.numbers(lines.take(len(species)), (0, 1, 2))
            lines.frame_done()
            yield Snapshot(species, fractional @ cell, cell.copy())


def vasprun(path: Path) -> Iterator[Snapshot]:
    """Read the ionic steps of a ``vasprun.xml``.

    Parameters
    ----------
    path : Path
        The file.

    Yields
    ------
    Snapshot
        With times, when POTIM is a time step.

    Notes
    -----
    pymatgen and ASE keep the tree of the whole run in memory; here each step is forgotten after it is read.
    """
    # The pull parser knows no external entities and takes decompressed bytes.
    parser: Any = ET.XMLPullParser(["end"])
    species: tuple[str, ...] = ()
    translator = ElementTranslator(None)
    tags: dict[str, str] = {}
    n_frames = 0
    with open_file(path, "rb") as file:
        try:
            while data := file.read(2**16):
                parser.feed(data)
                for _, node in parser.read_events():
                    if node.tag in {"incar", "parameters"}:
                        tags |= {str(i.get("name")): (i.text or "").strip() for i in node.iter("i")}
                    elif node.tag == "atominfo":
                        rows = node.findall("array[@name='atoms']/set/rc")
                        species = translator.species([(row.findtext("c") or "").strip() for row in rows])
                    elif node.tag == "calculation":
                        yield _calculation(node, species, tags, n_frames)
                        n_frames += 1
                        node.clear()
            parser.close()
        except ET.ParseError as error:
            message = f"the file ends or breaks after {n_frames} complete ionic steps ({error})"
            raise TrajectoryError(
                message, remedy="let VASP finish, or read the XDATCAR of the run"
            ) from error


def _calculation(node: Any, species: tuple[str, ...], tags: dict[str, str], k: int) -> Snapshot:
    n_electronic = len(node.findall("scstep"))
    if n_electronic >= int(tags.get("NELM") or 60):
        message = f"the electrons of ionic step {k} did not converge in {n_electronic} steps"
        raise TrajectoryError(
            message, remedy="read the XDATCAR of the run to take its positions all the same"
        )
    cell, fractional = (
        np.array([(v.text or "").split() for v in node.findall(f"structure/{name}/v")], dtype=np.float64)
        for name in ("crystal/varray[@name='basis']", "varray[@name='positions']")
    )
    # POTIM is a time in MD only, and ML_OUTBLOCK thins out this file in some versions of VASP and not in others.
    told = tags.get("IBRION") == "0" and int(tags.get("ML_OUTBLOCK") or 1) == 1
    time = k * float(tags["POTIM"]) * 1e-3 if told else None
    return Snapshot(species, fractional @ cell, cell, k, time)
