"""``laoc analyze``: the whole analysis suite on one trajectory file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from laoc_flows.analysis import Trajectory, analyze
from laoc_flows.cli.analyze_input import (
    cell_of,
    cutoffs,
    folder,
    in_words_of_options,
    numbers,
    positive,
    present,
    reference,
    selected,
    write_json,
    writing,
)
from laoc_flows.cli.console import console, fails_clearly, say
from laoc_flows.composition import FORMAL_CHARGES
from laoc_flows.errors import InputError
from laoc_flows.report.figures import write_figures
from laoc_flows.report.headline import headline


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
    copies: Annotated[
        int, typer.Option("--copies", min=1, help="Exact copies of one cell that the run started from.")
    ] = 1,
    stride: Annotated[
        int, typer.Option("--stride", min=1, help="Look at structure in every n-th frame.")
    ] = 1,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of posteriors and bootstraps.")] = 0,
    figures: Annotated[bool, typer.Option(help="Draw the figures.")] = True,
) -> None:
    """Analyze a trajectory: structure, chains, hops, rotations, diffusion and conductivity."""
    positive(temperature, "--temperature", "kelvin")
    positive(chain, "--chain", "angstrom")
    if liquid is not None and crystal is None:
        message = "--liquid needs --crystal"
        raise InputError(message, remedy="give the crystal that the degree of amorphisation refers to")
    names = [name.strip() for name in ligands.split(",") if name.strip()]
    options: dict[str, Any] = {
        "bond_cutoffs": cutoffs(bond or [], "--bond"),
        "chain_cutoff": chain,
        "crystal": reference(crystal, "--crystal"),
        "liquid": reference(liquid, "--liquid"),
        "charges": FORMAL_CHARGES | numbers(charge or [], "--charge"),
    }
    shown = sys.stderr.isatty()
    with (
        Progress(
            TextColumn("{task.description:14}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            transient=True,
            disable=not shown,
            console=Console(stderr=True),
        ) as display,
        folder(out),
    ):
        task = display.add_task("reading", total=None)

        def reading(done: int, total: int | None) -> None:
            display.update(task, completed=done, total=total)

        def step(part: str, done: int, total: int) -> None:
            display.update(task, description=part, completed=done, total=total)
            if not shown and part != "done":
                say(f"{part} ({done + 1}/{total})")

        with in_words_of_options():
            series = Trajectory.open(
                file,
                time_step,
                md_step=md_step,
                elements=[name.strip() for name in elements.split(",")] if elements else None,
                cell=cell_of(cell),
                progress=reading,
            )
        present(series, center, names, carrier)
        analysis = analyze(
            selected(series, start, stop),
            temperature,
            center=center,
            ligands=names,
            carrier=carrier,
            copies=copies,
            stride=stride,
            seed=seed,
            progress=step,
            **options,
        )
        with writing(out):
            written = [write_json(analysis, out)]
            if figures:
                display.update(task, description="figures", completed=0, total=None)
                written += write_figures(analysis, out)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for name, value in headline(analysis):
        table.add_row(name, value)
    console().print(table)
    reasons: dict[str, list[str]] = {}
    for part, reason in analysis.missing.items():
        reasons.setdefault(reason, []).append(part)
    for reason, parts in reasons.items():
        say(f"no {', '.join(parts)}: {reason}")
    say(f"wrote {', '.join(sorted({path.name for path in written if path.suffix != '.pdf'}))} to {out}")
