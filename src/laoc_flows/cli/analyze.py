"""``laoc analyze``: the whole analysis suite on one trajectory file."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from laoc_flows.analysis import Analysis, FrameSeries, Trajectory, analyze, as_frame
from laoc_flows.cli.console import console, fails_clearly, say
from laoc_flows.composition import FORMAL_CHARGES
from laoc_flows.errors import InputError, LaocError
from laoc_flows.report.figures import write_figures
from laoc_flows.report.headline import headline

IN_MEMORY = 512 * 2**20
"""Positions [bytes] up to which a trajectory is held in memory; a larger one is read chunk by chunk."""
_JSON = "analysis.json"


def _pairs(given: list[str], option: str) -> dict[str, float]:
    """Parse ``Cl=2.8`` and the like."""
    found: dict[str, float] = {}
    for each in given:
        name, _, number = each.partition("=")
        try:
            found[name.strip()] = float(number)
        except ValueError:
            message = f"{option} {each!r} is not ELEMENT=NUMBER"
            raise InputError(message, remedy=f"for example {option} Cl=2.8") from None
    return found


def _cell_of(text: str | None) -> Path | list[list[float]] | None:
    """Path of a cell file, or three or nine numbers [A]."""
    if text is None:
        return None
    try:
        numbers = [float(word) for word in text.replace(",", " ").split()]
    except ValueError:
        return Path(text)
    if len(numbers) == 3:  # noqa: PLR2004 - three edges
        return [[numbers[0], 0.0, 0.0], [0.0, numbers[1], 0.0], [0.0, 0.0, numbers[2]]]
    if len(numbers) == 9:  # noqa: PLR2004 - three vectors
        return [numbers[0:3], numbers[3:6], numbers[6:9]]
    message = f"--cell {text!r} has {len(numbers)} numbers"
    raise InputError(
        message, remedy="give a CP2K .cell file, three edges, or nine components, row by row [A]"
    )


def _reference(path: Path | None, option: str) -> FrameSeries | None:
    if path is None:
        return None
    from ase.io import read

    if not path.is_file():
        message = "there is no such file"
        raise InputError(message, where=str(path), remedy=f"{option} names a structure or a trajectory")
    try:
        return Trajectory.read(path)
    except LaocError:
        try:
            frame = as_frame(read(path))
        except LaocError:
            raise
        except Exception as error:  # ASE's readers raise anything
            message = f"neither a trajectory nor a structure ({type(error).__name__}: {error})"
            raise InputError(message, where=str(path)) from error
    return Trajectory(frame.species, frame.positions[None], frame.cell, time_step=1.0)


def _selected(series: FrameSeries, start: float | None, stop: float | None) -> FrameSeries:
    if start is not None or stop is not None:
        series = series.window(
            series.start_time if start is None else start, float("inf") if stop is None else stop
        )
    if 24 * series.n_atoms * series.n_frames <= IN_MEMORY:
        return series.block(0, series.n_frames)
    return series


def _write(analysis: Analysis, directory: Path) -> Path:
    path = directory / _JSON
    part = directory / f".{_JSON}.{os.getpid()}.part"
    try:
        part.write_text(analysis.model_dump_json(indent=1) + "\n")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


@fails_clearly
def analyze_command(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="TRAJECTORY",
            help="H5MD, XYZ, XDATCAR, vasprun.xml, LAMMPS dump, ASE .traj or CP2K -pos-1.xyz.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for analysis.json and the figures.")],
    time_step: Annotated[
        float | None,
        typer.Option(
            "--time-step",
            help="Time between frames [ps], where the file does not tell it.",
            show_default=False,
        ),
    ] = None,
    md_step: Annotated[
        float | None,
        typer.Option(
            "--md-step", help="Time of one MD step [ps], for the step numbers of a dump.", show_default=False
        ),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option("--temperature", "-T", help="Temperature of the run [K].", show_default=False),
    ] = None,
    start: Annotated[
        float | None, typer.Option("--start", help="Analyze from this time on [ps].", show_default=False)
    ] = None,
    stop: Annotated[
        float | None, typer.Option("--stop", help="Analyze up to this time [ps].", show_default=False)
    ] = None,
    crystal: Annotated[
        Path | None,
        typer.Option(
            "--crystal", help="Structure or trajectory that amorphisation refers to.", show_default=False
        ),
    ] = None,
    liquid: Annotated[
        Path | None,
        typer.Option("--liquid", help="Trajectory of the liquid that Theta_g refers to.", show_default=False),
    ] = None,
    center: Annotated[str, typer.Option("--center", help="Element of the tetrahedra's centers.")] = "Al",
    ligands: Annotated[str, typer.Option("--ligands", help="Elements around them.")] = "O,Cl",
    carrier: Annotated[str, typer.Option("--carrier", help="The mobile element.")] = "Li",
    bond: Annotated[
        list[str] | None,
        typer.Option("--bond", help="Bond cutoff [A], such as Cl=2.8; once per ligand.", show_default=False),
    ] = None,
    chain: Annotated[
        float | None,
        typer.Option("--chain", help="Center-center cutoff of chains [A], 4.2 for Al.", show_default=False),
    ] = None,
    charge: Annotated[
        list[str] | None,
        typer.Option("--charge", help="Charge [e], such as P=5; once per element.", show_default=False),
    ] = None,
    elements: Annotated[
        str | None,
        typer.Option(
            "--elements", help="Elements of LAMMPS types 1, 2, ...: Li,Al,O,Cl.", show_default=False
        ),
    ] = None,
    cell: Annotated[
        str | None,
        typer.Option(
            "--cell", help="CP2K .cell file, or edges [A], for XYZ files without.", show_default=False
        ),
    ] = None,
    stride: Annotated[
        int, typer.Option("--stride", min=1, help="Look at structure in every n-th frame.")
    ] = 1,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of posteriors and bootstraps.")] = 0,
    figures: Annotated[bool, typer.Option(help="Draw the figures.")] = True,
) -> None:
    """Analyze a trajectory: structure, chains, hops, rotations, diffusion and conductivity."""
    if temperature is not None and not temperature > 0:
        message = f"--temperature {temperature} is not a temperature"
        raise InputError(message, remedy="give kelvin")
    if out.exists() and not out.is_dir():
        message = "this is a file, not a folder"
        raise InputError(message, where=str(out), remedy="give another --out")
    names = [name.strip() for name in ligands.split(",") if name.strip()]
    options = {
        "bond_cutoffs": _pairs(bond, "--bond") if bond else None,
        "chain_cutoff": chain,
        "crystal": _reference(crystal, "--crystal"),
        "liquid": _reference(liquid, "--liquid"),
        "charges": FORMAL_CHARGES | _pairs(charge or [], "--charge"),
    }
    shown = sys.stderr.isatty()
    with Progress(
        TextColumn("{task.description:14}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        transient=True,
        disable=not shown,
        console=Console(stderr=True),
    ) as display:
        task = display.add_task("reading", total=None)
        reading: Callable[[int, int | None], None] = lambda done, total: display.update(  # noqa: E731
            task, completed=done, total=total
        )
        series = Trajectory.open(
            file,
            time_step,
            md_step=md_step,
            elements=[name.strip() for name in elements.split(",")] if elements else None,
            cell=_cell_of(cell),
            progress=reading,
        )

        def step(part: str, done: int, total: int) -> None:
            display.update(task, description=part, completed=done, total=total)
            if not shown and part != "done":
                say(f"{part} ({done + 1}/{total})")

        analysis = analyze(
            _selected(series, start, stop),
            temperature,
            center=center,
            ligands=names,
            carrier=carrier,
            stride=stride,
            seed=seed,
            progress=step,
            **options,  # type: ignore[arg-type]
        )
        out.mkdir(parents=True, exist_ok=True)
        written = [_write(analysis, out)]
        if figures:
            display.update(task, description="figures", completed=0, total=None)
            written += write_figures(analysis, out)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for name, value in headline(analysis):
        table.add_row(name, value)
    console().print(table)
    for part, reason in analysis.missing.items():
        say(f"no {part}: {reason}")
    say(f"wrote {len(written)} files to {out}")
