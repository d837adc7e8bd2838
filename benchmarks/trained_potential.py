"""A trained potential against its reference: energy conservation, density and g(r) of a cell that both can run.

    python benchmarks/trained_potential.py      # two and a half hours on two cores; goes on where it was

A campaign (`trained_potential.yaml`) learns one composition from a universal potential with short trainings, and another
(`trained_potential_long.yaml`) begins with its labels and trains longer. The potential of its last iteration and the reference then run the cell
from the same frame, the last of the held-out trajectory: at constant pressure, and at the reference's mean volume. The
comparison is that of the property checks of the learning loop. Energy conservation is measured in LAMMPS without a
thermostat. The workspace and the runs are in `.trained_potential`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ase import Atoms, units
from ase.io import read, write
from ase.io.lammpsdata import write_lammps_data

from laoc_flows.analysis import Trajectory, block_average
from laoc_flows.engines.base import Engine
from laoc_flows.engines.dynamics import MDState, Segment, SegmentRun
from laoc_flows.engines.lammps import header, interaction, lammps_environment, lammps_program
from laoc_flows.engines.lammps_engine import LammpsEngine
from laoc_flows.engines.registry import parse_engine
from laoc_flows.flows.probe import rdf_curves
from laoc_flows.learning.evaluate import predict
from laoc_flows.learning.properties import MemberProperties, compare_density, compare_rdf
from laoc_flows.process import run_program
from laoc_flows.schemas.base import SPECIES, Measured
from laoc_flows.schemas.learning import Probe
from laoc_flows.schemas.protocol import SoftCore
from laoc_flows.store.exports import export_potential
from laoc_flows.store.laoc_store import LaocStore
from laoc_flows.store.learning import learning_run
from laoc_flows.store.workspace import Workspace

HERE = Path(__file__).parent
CAMPAIGNS = (HERE / "trained_potential.yaml", HERE / "trained_potential_long.yaml")
RESULTS = HERE / "results" / "trained_potential.json"
WORK = Path(".trained_potential")
START = "start.extxyz"
SEED = 1
PRESSURES = {300.0: 0.0, 600.0: 0.0, 900.0: 1.0, 1200.0: 1.0}
"""Pressure [GPa] by temperature [K]: two glasses, and two melts, which forget where they began."""
TIME_STEP, FRAME_EVERY = 2.0, 10
SETTLE, NPT, NVT = 5000, 10_000, 5000
"""Steps at constant pressure before and during the average, and at constant volume."""
LONGER = 4
"""The model's runs over the reference's [1]: where both are ergodic, its errors are the smaller ones."""
NVE_SETTLE, NVE_STEPS, NVE_STEP = 5000, 50_000, 1.0
GRAM = 1e24 / units.mol
"""From amu per cubic angstrom to g/cm^3."""


def learn(place: Path) -> list[dict[str, Any]]:
    """Run the campaigns as a user would, or go on with them; export the last potential, and the frame to start from."""
    laoc = Path(sys.executable).parent / "laoc"
    found = []
    for number, campaign in enumerate(CAMPAIGNS):
        kept = place / f"campaign-{number}.json"
        if not kept.exists():
            subprocess.run([laoc, "run", campaign, "-w", place / "laoc"], check=True)
            kept.write_text(json.dumps(_learned(campaign, place, place / f"potential-{number}"), indent=1))
        found.append(json.loads(kept.read_text()))
    return found


def _learned(campaign: Path, place: Path, folder: Path) -> dict[str, Any]:
    with LaocStore.open(Workspace(place / "laoc")) as store:
        store.build()
        run = learning_run(store, yaml.safe_load(campaign.read_text())["name"])
        potential = run.potential(run.last)
        if potential is None:
            sys.exit("the store does not have the last potential")
        if not folder.exists():
            export_potential(store, potential.key, folder)
        if not (place / START).exists():
            (last,) = store.labels("held_out = true", campaign_id=run.campaign_id, sort="-index", limit=1)
            write(place / START, Atoms(last.symbols, positions=last.positions, cell=last.cell, pbc=True))
    return {
        "campaign_id": run.campaign_id,
        "potential": potential.key,
        "level_of_theory": potential.level_of_theory,
        "soft_core": potential.soft_core.model_dump(mode="json"),
        "verdict": run.last.verdict.value,
        "limit": run.last.limit,
        "reasons": list(run.last.reasons),
        "n_train": potential.n_train,
        "steps": potential.models[0].steps,
        "held_out": {name: error.model_dump(mode="json") for name, error in potential.held_out.items()},
        "fitted": {name: error.model_dump(mode="json") for name, error in potential.fitted.items()},
        "core_hours": run.last.spent.core_hours,
    }


def model_engine(place: Path) -> LammpsEngine:
    """The first model of the last potential."""
    last = len(CAMPAIGNS) - 1
    content = json.loads((place / f"campaign-{last}.json").read_text())
    (model,) = (place / f"potential-{last}").glob("model-0.*")
    return LammpsEngine(
        model=model.resolve(),
        soft_core=SoftCore.model_validate(content["soft_core"]),
        identity=content["potential"],
    )


def run_at(
    engine: Engine, atoms: Atoms, ensemble: str, temperature: float, steps: int, seed: int
) -> SegmentRun:
    """Run one segment, or end the program with its failure."""
    segment = Segment(
        ensemble=ensemble,  # type: ignore[arg-type]
        n_steps=steps,
        time_step=TIME_STEP,
        start_temperature=temperature,
        end_temperature=temperature,
        pressure=PRESSURES[temperature],
        frame_every=FRAME_EVERY,
        seed=seed,
        time_limit=86400.0,
    )
    with tempfile.TemporaryDirectory() as directory:
        done = engine.run_segment(MDState(atoms), segment, Path(directory))
    if done.failure:
        message = f"{engine.name} at {temperature:g} K, {ensemble}: {done.failure}"
        raise RuntimeError(message)
    return done


def at_pressure(engine: Engine, start: Atoms, temperature: float, factor: int) -> dict[str, Any]:
    """Density at constant pressure, and the last frame."""
    done = run_at(engine, start, "npt", temperature, SETTLE + factor * NPT, SEED)
    kept = done.rows[:, 0] > SETTLE
    volume = done.rows[kept, 4]
    density = block_average(start.get_masses().sum() / volume * GRAM, "g/cm^3")
    last = done.state.atoms
    return {
        "density": density.model_dump(),
        "volume": float(volume.mean()),
        "temperature": float(done.rows[kept, 1].mean()),
        "positions": last.positions.tolist(),
        "cell": last.cell.array.tolist(),
        "frames": done.frames,
    }


def at_volume(
    engine: Engine, found: dict[str, Any], start: Atoms, volume: float, temperature: float, factor: int
) -> dict[str, Any]:
    """Partial g(r) at a volume [A^3], from the last frame of the run at constant pressure."""
    atoms = Atoms(start.symbols, positions=found["positions"], cell=found["cell"], pbc=True)
    atoms.set_cell(atoms.cell.array * (volume / atoms.get_volume()) ** (1 / 3), scale_atoms=True)
    done = run_at(engine, atoms, "nvt", temperature, factor * NVT, SEED + 1)
    frames = done.frames[len(done.frames) // 10 :]
    trajectory = Trajectory(
        frames[0].get_chemical_symbols(),
        np.array([frame.positions for frame in frames]),
        np.array([frame.cell.array for frame in frames]),
        time_step=FRAME_EVERY * TIME_STEP / 1000,
        continuous=True,
    )
    return rdf_curves(trajectory)


def reference_part(temperature: float, place: Path) -> dict[str, Any]:
    """Density and g(r) of the reference."""
    start = read(place / START)
    engine = parse_engine(yaml.safe_load(CAMPAIGNS[0].read_text())["engine"])
    found = at_pressure(engine, start, temperature, 1)
    write(place / f"reference-{temperature:g}.extxyz", found.pop("frames"))
    found["rdf"] = at_volume(engine, found, start, found["volume"], temperature, 1)
    return found


def model_part(temperature: float, place: Path) -> dict[str, Any]:
    """Density of the model, its g(r) at the volume of the reference, and its force error along the reference's run."""
    start = read(place / START)
    engine = model_engine(place)
    frames = read(place / f"reference-{temperature:g}.extxyz", index=":")
    with tempfile.TemporaryDirectory() as directory:
        (answer,) = predict([engine.model], frames, Path(directory))
    errors = np.concatenate(answer.with_core(frames, engine.soft_core).forces) - np.concatenate(
        [frame.get_forces() for frame in frames]
    )
    found = at_pressure(engine, start, temperature, LONGER)
    found.pop("frames")
    volume = json.loads((place / f"reference-{temperature:g}.json").read_text())["volume"]
    found["rdf"] = at_volume(engine, found, start, volume, temperature, LONGER)
    found["force_rmse"] = float(np.sqrt(np.mean(errors**2)))
    return found


def conservation_part(temperature: float, place: Path) -> dict[str, Any]:
    """Drift of the total energy of a run without a thermostat, after one that has settled it."""
    engine = model_engine(place)
    atoms = read(place / START)
    settle = Segment(
        ensemble="nvt", n_steps=NVE_SETTLE, time_step=NVE_STEP, start_temperature=temperature, end_temperature=temperature,
        pressure=0.0, frame_every=NVE_SETTLE, seed=SEED, time_limit=86400.0,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        settled = engine.run_segment(MDState(atoms), settle, directory)
        if settled.failure:
            raise RuntimeError(settled.failure)
        write_lammps_data(
            directory / "nve.data", settled.state.atoms, specorder=list(SPECIES), velocities=True, units="metal", atom_style="atomic",
        )  # fmt: skip
        script = [*header(), "read_data nve.data", *interaction([engine.model], engine.soft_core)]
        script += [f"timestep {NVE_STEP / 1000}", "fix move all nve"]
        script += ["fix rows all print 100 \"$(time) $(etotal) $(temp)\" file nve.txt screen no title ''"]
        (directory / "in.nve").write_text("\n".join([*script, f"run {NVE_STEPS}"]) + "\n")
        done = run_program(
            [*lammps_program(), "-in", "in.nve", "-log", "none"],
            directory=directory,
            log="out",
            environment=lammps_environment(plugin=True),
        )
        if done.returncode:
            raise RuntimeError(done.tail(5))
        time, energy, hot = np.loadtxt(directory / "nve.txt").T
    # The slope of blocks, whose scatter is its error.
    slopes = [
        np.polyfit(t, e, 1)[0]
        for t, e in zip(np.array_split(time, 5), np.array_split(energy, 5), strict=True)
    ]
    per_atom = 1000 / len(atoms)
    return {
        "temperature_K": float(hot.mean()),
        "n_atoms": len(atoms),
        "time_ps": float(time[-1] - time[0]),
        "time_step_fs": NVE_STEP,
        "drift_meV_per_atom_per_ps": float(np.polyfit(time, energy, 1)[0]) * per_atom,
        "drift_error_meV_per_atom_per_ps": float(np.std(slopes, ddof=1) / np.sqrt(5)) * per_atom,
        "fluctuation_meV_per_atom": float(energy.std()) * per_atom,
    }


PARTS: dict[str, Callable[[float, Path], dict[str, Any]]] = {
    "reference": reference_part,
    "conservation": conservation_part,
    "model": model_part,
}


def part(name: str, temperature: float, place: Path) -> str:
    """Measure a part and keep it; what went wrong, empty if nothing did."""
    os.environ["OMP_NUM_THREADS"] = "1"
    kept = place / f"{name}-{temperature:g}.json"
    if not kept.exists():
        try:
            found = PARTS[name](temperature, place)
        except (RuntimeError, OSError) as error:
            return f"{name} at {temperature:g} K: {error}"
        kept.write_text(json.dumps(found, indent=1) + "\n")
    print(f"{name} at {temperature:g} K: done", flush=True)
    return ""


def compare(temperature: float, composition: str, place: Path) -> dict[str, Any]:
    """Hold the model against the reference, by the checks of the learning loop."""
    found = {
        name: json.loads((place / f"{name}-{temperature:g}.json").read_text())
        for name in ("reference", "model")
    }
    pairs = tuple(sorted(found["reference"]["rdf"]["blocks"]))
    members = [
        MemberProperties(
            density=Measured.model_validate(each["density"]),
            pairs=pairs,
            rdf=np.array([each["rdf"]["blocks"][pair] for pair in pairs]).swapaxes(0, 1),
            diffusion=None,
            diffusion_status="not asked for",
        )
        for each in found.values()
    ]
    tolerances = Probe()
    checks = (
        compare_density(composition, members, tolerances.density),
        compare_rdf(composition, members, tolerances.rdf),
    )
    print(
        f"{temperature:.0f} K, {PRESSURES[temperature]:g} GPa:",
        *(f"{c.name}: {c.status} ({c.reason})" for c in checks),
        sep="\n  ",
    )
    return {
        "temperature_K": temperature,
        "pressure_GPa": PRESSURES[temperature],
        "density_g_per_cm3": {name: each["density"] for name, each in found.items()},
        "force_rmse_along_reference_eV_per_angstrom": found["model"]["force_rmse"],
        "checks": [check.model_dump(mode="json") for check in checks],
        "rdf": {name: {k: each["rdf"][k] for k in ("edges_angstrom", "g", "g_error")} for name, each in found.items()},
    }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Learn, measure, and write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    place = WORK.resolve()
    place.mkdir(exist_ok=True)
    campaigns = learn(place)
    (composition,) = campaigns[-1]["held_out"]
    # The model's g(r) is taken at the reference's volume, so that the reference comes first.
    failures: list[str] = []
    with ProcessPoolExecutor(2) as workers:
        for names in (("reference", "conservation"), ("model",)):
            jobs = [workers.submit(part, name, t, place) for name in names for t in PRESSURES]
            failures += [job.result() for job in jobs]
            if any(failures):
                sys.exit("\n".join(filter(None, failures)))
    content = {
        "composition": composition,
        "campaigns": campaigns,
        "comparison": [compare(t, composition, place) for t in PRESSURES],
        "conservation": [
            json.loads((place / f"conservation-{t:g}.json").read_text()) for t in PRESSURES
        ],
        "steps": {"settle": SETTLE, "npt": NPT, "nvt": NVT, "model_over_reference": LONGER, "time_step_fs": TIME_STEP},
        "versions": {name: version(name) for name in ("laoc-flows", "deepmd-kit", "chgnet")},
    }  # fmt: skip
    options.out.write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(content["conservation"], indent=1))


if __name__ == "__main__":
    main()
