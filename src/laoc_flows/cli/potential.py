"""``laoc potential``: what the potentials of a store are good for, and their files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from laoc_flows.cli.console import console, fails_clearly, say
from laoc_flows.cli.options import WorkspaceOption, open_workspace
from laoc_flows.store.columns import concise

potential = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    help="Potentials: list, show, compare, and export as files.",
)
_KEY = 12
_ERRORS = {
    "force_rmse": "force RMSE [eV/A]",
    "zero_force_rmse": "of zero forces [eV/A]",
    "energy_rmse": "energy RMSE [eV/atom]",
    "energy_bias": "energy bias [eV/atom]",
    "stress_rmse": "stress RMSE [GPa]",
    "n_frames": "frames",
}

KeyArgument = Annotated[
    str, typer.Argument(metavar="KEY", help="Key of the potential, or its beginning.", show_default=False)
]


@potential.command("list")
@fails_clearly
def show_all(workspace: WorkspaceOption = None) -> None:
    """List the potentials, by iteration."""
    from laoc_flows.cli.query import Format, render
    from laoc_flows.store.laoc_store import LaocStore

    with LaocStore.open(open_workspace(workspace, create=False)) as store:
        store.build()
        rows = store.query("potentials")
    render("potentials", rows, (), Format.TABLE, console())


@potential.command("show")
@fails_clearly
def show(key: KeyArgument, workspace: WorkspaceOption = None) -> None:
    """Show where a potential comes from, and its errors on trajectories that it has never seen."""
    from laoc_flows.store.exports import find_potential
    from laoc_flows.store.laoc_store import LaocStore

    with LaocStore.open(open_workspace(workspace, create=False)) as store:
        store.build()
        found = find_potential(store, key)
    out = console()
    facts = Table(box=None, show_header=False, pad_edge=False)
    models = found["models"]
    for name, value in {
        "key": found["key"],
        "campaigns": ", ".join(found.get("campaign_ids") or [found.get("campaign_id", "")]),
        "iteration": found["iteration"],
        "parent": found["parent"] or "none",
        "level of theory": found["level_of_theory"],
        "labels": f"{found['n_train']} trained on, {found['n_test']} held out",
        "data set": found["dataset_digest"],
        "models": f"{len(models)}, {models[0]['steps']} steps, sel {list(models[0]['sel'])}"
        if models
        else "none",
        "verdict": _verdict(found),
        **_range(found.get("validity")),
        **_left_out(found),
    }.items():
        facts.add_row(name, str(value))
    out.print(facts, soft_wrap=True)
    out.print(_errors({"": found}))


@potential.command("compare")
@fails_clearly
def compare(
    keys: Annotated[
        list[str], typer.Argument(metavar="KEY...", help="Keys, or their beginnings.", show_default=False)
    ],
    workspace: WorkspaceOption = None,
) -> None:
    """Show the held-out errors of several potentials side by side."""
    from laoc_flows.store.exports import find_potential
    from laoc_flows.store.laoc_store import LaocStore

    with LaocStore.open(open_workspace(workspace, create=False)) as store:
        store.build()
        found = {each["key"][:_KEY]: each for each in (find_potential(store, key) for key in keys)}
    levels = {each["level_of_theory"] for each in found.values()}
    if len(levels) > 1:
        say(f"note: of {len(levels)} levels of theory; each is compared with its own labels")
    console().print(_errors(found))


@potential.command("export")
@fails_clearly
def export(
    key: KeyArgument,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="New folder.", show_default=False)],
    workspace: WorkspaceOption = None,
) -> None:
    """Write the models, how LAMMPS takes them, and a card."""
    from laoc_flows.store.exports import export_potential
    from laoc_flows.store.laoc_store import LaocStore

    with LaocStore.open(open_workspace(workspace, create=False)) as store:
        store.build()
        card = export_potential(store, key, folder)
    say(f"wrote {len(card['models'])} models and how LAMMPS takes them to {folder}")


def _verdict(found: Mapping[str, Any]) -> str:
    """Its verdict, or that of each campaign that has it."""
    verdicts = found.get("verdicts") or {}
    if len(verdicts) > 1:
        return "; ".join(f"{verdict} ({campaign})" for campaign, verdict in sorted(verdicts.items()))
    return found.get("verdict") or "none yet"


def _range(validity: Mapping[str, Any] | None) -> dict[str, str]:
    """Where it has seen labels, in words; of an earlier version nothing is known."""
    if not validity:
        return {}
    found = {"trained on": ", ".join(validity["compositions"])}
    if validity["temperatures"]:
        low, high = validity["temperatures"]
        found["at"] = f"{low:.0f} to {high:.0f} K"
    if density := validity["number_density"].values():
        low, high = min(pair[0] for pair in density), max(pair[1] for pair in density)
        found["densities"] = f"{low:.4f} to {high:.4f} atoms/A^3"
    pairs = (f"{pair} {distance:.2f}" for pair, distance in validity["min_distances"].items())
    return {**found, "closest pairs [A]": ", ".join(pairs)}


def _left_out(found: Mapping[str, Any]) -> dict[str, str]:
    lines = {}
    if failed := found.get("failed"):
        lines["could not be trained"] = "; ".join(f"{each['status']}: {each['reason']}" for each in failed)
    if suspects := found.get("suspects"):
        lines["in quarantine"] = f"{len(suspects)} labels, see 'laoc learning'"
    return lines


def _errors(found: Mapping[str, Mapping[str, Any]]) -> Table:
    """Held-out errors by composition and potential."""
    several = len(found) > 1
    table = Table(box=None, pad_edge=False)
    table.add_column("composition", no_wrap=True)
    if several:
        table.add_column("potential", no_wrap=True)
    for title in _ERRORS.values():
        # As text: a unit in brackets would be taken for a style.
        table.add_column(Text(title), justify="right")
    for composition in sorted({name for each in found.values() for name in each["held_out"]}):
        for key, each in found.items():
            errors = each["held_out"].get(composition)
            cells = [_number(errors, name) if errors else "-" for name in _ERRORS]
            table.add_row(composition, *([key] if several else []), *cells)
    return table


def _number(errors: Mapping[str, Any], name: str) -> str:
    value = errors[name]
    return str(value) if isinstance(value, int) else concise(value, errors.get(f"{name}_error"))
