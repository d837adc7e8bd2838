"""A trained potential against its reference: energy conservation, density and g(r) of a cell that both can run.

    python benchmarks/trained_potential.py      # some three hours on two cores; goes on where it was

A campaign (`trained_potential.yaml`) learns one composition from a universal potential with short trainings; the next
(`_long`) begins with its labels, asks for many more and trains longer. The last potential is then held against the
reference in two ways, by the tolerances of the learning loop:

* runs: two melts at constant pressure, by each alone, from the last frame of the held-out trajectory;
* weights: frames of the model's melts are given the reference's weight, exp(-(U_reference - U_model) / kT), which turns
  averages of the model into those of the reference. Both averages are over the same frames, so that their difference is
  known far better than from two runs. How much two stretches of one run differ is measured beside it.

Energy conservation is measured in LAMMPS without a thermostat. The workspace and the runs are in `.trained_potential`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ase import Atoms, units
from ase.io import read, write
from ase.io.lammpsdata import write_lammps_data

from laoc_flows.analysis import Trajectory, block_average, rdfs
from laoc_flows.engines.base import Engine
from laoc_flows.engines.dynamics import MDState, Segment
from laoc_flows.engines.lammps import header, interaction, lammps_environment, lammps_program
from laoc_flows.engines.lammps_engine import LammpsEngine
from laoc_flows.engines.registry import parse_engine
from laoc_flows.flows.probe import RDF_BIN, RDF_RANGE, rdf_curves
from laoc_flows.learning.evaluate import Prediction, predict
from laoc_flows.learning.properties import Difference, MemberProperties, compare_density, compare_rdf
from laoc_flows.process import run_program
from laoc_flows.schemas.base import SPECIES, Measured
from laoc_flows.schemas.learning import Probe
from laoc_flows.schemas.protocol import SoftCore
from laoc_flows.store.exports import export_potential
from laoc_flows.store.laoc_store import LaocStore
from laoc_flows.store.learning import learning_run
from laoc_flows.store.workspace import Workspace

HERE = Path(__file__).parent
CAMPAIGNS = tuple(HERE / f"trained_potential{name}.yaml" for name in ("", "_long"))
RESULTS = HERE / "results" / "trained_potential.json"
WORK = Path(".trained_potential")
START = "start.extxyz"
SEED = 1
PRESSURE = 1.0
"""Of all runs [GPa]: at none, a cell of 22 atoms is so soft that its density drifts for as long as the reference can run."""
MELTS = (900.0, 1200.0)
CONSERVED = (300.0, 600.0, 900.0, 1200.0)
TIME_STEP, FRAME_EVERY = 2.0, 10
SETTLE, NPT = 5000, 10_000
"""Steps of the reference's melts before and during the average."""
WEIGHED, WEIGHED_EVERY, BLOCKS = 1200, 50, 12
"""Frames of a model's melt, steps between two of them, and blocks whose scatter is the error."""
NVE_SETTLE, NVE_STEPS, NVE_STEP = 2000, 10_000, 1.0
TOLERANCES = Probe()
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


def reference_engine() -> Engine:
    """What labels the data of the campaigns."""
    return parse_engine(yaml.safe_load(CAMPAIGNS[0].read_text())["engine"])


def trajectory_of(frames: Sequence[Atoms], every: int) -> Trajectory:
    """Frames of a run as the analysis takes them."""
    return Trajectory(
        frames[0].get_chemical_symbols(),
        np.array([frame.positions for frame in frames]),
        np.array([frame.cell.array for frame in frames]),
        time_step=every * TIME_STEP / 1000,
        continuous=True,
    )


def density_of(frames: Sequence[Atoms]) -> np.ndarray:
    """Mass density of every frame [g/cm^3]."""
    return np.array([frame.get_masses().sum() / frame.get_volume() * GRAM for frame in frames])


def at_pressure(
    engine: Engine, start: Atoms, temperature: float, steps: int, every: int
) -> tuple[dict[str, Any], list[Atoms]]:
    """Density and partial g(r) at constant pressure, and the frames of the averages; ends the program where a run fails."""
    segment = Segment(
        ensemble="npt",
        n_steps=SETTLE + steps,
        time_step=TIME_STEP,
        start_temperature=temperature,
        end_temperature=temperature,
        pressure=PRESSURE,
        frame_every=every,
        seed=SEED,
        time_limit=86400.0,
    )
    with tempfile.TemporaryDirectory() as directory:
        done = engine.run_segment(MDState(start), segment, Path(directory))
    if done.failure:
        message = f"{engine.name} at {temperature:g} K: {done.failure}"
        raise RuntimeError(message)
    kept = done.rows[:, 0] > SETTLE
    frames = done.frames[SETTLE // every :]
    density = block_average(start.get_masses().sum() / done.rows[kept, 4] * GRAM, "g/cm^3")
    found = {
        "density": density.model_dump(),
        "temperature": float(done.rows[kept, 1].mean()),
        "rdf": rdf_curves(trajectory_of(frames, every)),
    }
    return found, frames


def reference_part(temperature: float, place: Path) -> dict[str, Any]:
    """Density and g(r) of a melt of the reference."""
    found, frames = at_pressure(reference_engine(), read(place / START), temperature, NPT, FRAME_EVERY)
    write(place / f"reference-{temperature:g}.extxyz", frames)
    return found


def model_part(temperature: float, place: Path) -> dict[str, Any]:
    """Density and g(r) of a melt of the model, and its force error along the run of the reference."""
    engine = model_engine(place)
    own = read(place / f"reference-{temperature:g}.extxyz", index=":")
    errors = np.concatenate(predicted(engine, own).forces) - np.concatenate(
        [frame.get_forces() for frame in own]
    )
    found, frames = at_pressure(
        engine, read(place / START), temperature, WEIGHED * WEIGHED_EVERY, WEIGHED_EVERY
    )
    write(place / f"model-{temperature:g}.extxyz", frames)
    return found | {"force_rmse": float(np.sqrt(np.mean(errors**2)))}


def predicted(engine: LammpsEngine, frames: Sequence[Atoms]) -> Prediction:
    """Energies and forces of the model, its soft core included."""
    with tempfile.TemporaryDirectory() as directory:
        (answer,) = predict([engine.model], frames, Path(directory))
    return answer.with_core(frames, engine.soft_core)


def weights_part(temperature: float, place: Path) -> dict[str, Any]:
    """Density and g(r) of the frames of a model's melt, by the model's weights and by those of the reference.

    Both ensembles are at one temperature and pressure, so that only the energies differ (Zwanzig, J. Chem. Phys. 1954,
    22, 1420). The share of effective frames is Kish's, (sum w)^2 / (n sum w^2).
    """
    engine = model_engine(place)
    frames = read(place / f"model-{temperature:g}.extxyz", index=":")
    with tempfile.TemporaryDirectory() as directory:
        points = list(reference_engine().single_points(frames, Path(directory)))
    excess = np.array([point.energy for point in points]) - predicted(engine, frames).energies
    own = read(place / f"reference-{temperature:g}.extxyz", index=":")
    in_own = np.array([frame.get_potential_energy() for frame in own]) - predicted(engine, own).energies
    beta = 1 / (units.kB * temperature)
    weights = np.exp(-beta * (excess - excess.mean()))
    trajectory = trajectory_of(frames, WEIGHED_EVERY)
    single = [
        rdfs(trajectory.block(k, k + 1), r_max=RDF_RANGE, bin_width=RDF_BIN).partials
        for k in range(len(frames))
    ]
    pairs = sorted(pair for pair, found in single[0].items() if found.status == "ok")
    values = {
        "density": density_of(frames)[:, None],
        "g(r)": np.array([[each[pair].g for pair in pairs] for each in single]),
    }
    blocks = np.array_split(np.arange(len(frames)), BLOCKS)
    stretches = {
        name: np.array([value[block].mean(axis=0) for block in blocks]) for name, value in values.items()
    }
    found: dict[str, Any] = {
        "n_frames": len(frames),
        "effective_share": float(weights.sum() ** 2 / (len(weights) * (weights**2).sum())),
        "excess_sd_kT": float(excess.std() * beta),
        # What the weights make of the excess must be what it is in the reference's own run.
        "excess_kT": {
            "model": float(excess.mean() * beta),
            "by weights": float(np.average(excess, weights=weights) * beta),
            "reference": float(in_own.mean() * beta),
            "reference_error": block_average(in_own * beta, "1").standard_error,
        },
        # Two stretches of one run, with the noise of both.
        "stretches": {
            "time_ps": len(frames) // BLOCKS * WEIGHED_EVERY * TIME_STEP / 1000,
            "density": between(stretches["density"]) / float(values["density"].mean()),
            "g(r)": between(stretches["g(r)"]),
        },
        "pairs": pairs,
    }
    for name, value in values.items():
        flat = np.ones_like(weights)
        found[name] = {
            whose: {
                "whole": np.average(value, axis=0, weights=w).tolist(),
                "without": [
                    np.average(np.delete(value, block, axis=0), axis=0, weights=np.delete(w, block)).tolist()
                    for block in blocks
                ],
            }
            for whose, w in (("model", flat), ("reference", weights))
        }
    return found


def between(stretches: np.ndarray) -> float:
    """Median RMS difference of two stretches of a run."""
    return float(np.median([np.sqrt(np.mean((a - b) ** 2)) for a, b in combinations(stretches, 2)]))


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


PARTS: dict[str, tuple[Callable[[float, Path], dict[str, Any]], tuple[float, ...]]] = {
    "reference": (reference_part, MELTS),
    "model": (model_part, MELTS),
    "weights": (weights_part, MELTS),
    "conservation": (conservation_part, CONSERVED),
}
"""Of every name what measures it and at which temperatures [K]; later ones read what earlier ones have left."""


def part(name: str, temperature: float, place: Path) -> str:
    """Measure a part and keep it; what went wrong, empty if nothing did."""
    os.environ["OMP_NUM_THREADS"] = "1"
    kept = place / f"{name}-{temperature:g}.json"
    if not kept.exists():
        try:
            found = PARTS[name][0](temperature, place)
        except (RuntimeError, OSError) as error:
            return f"{name} at {temperature:g} K: {error}"
        kept.write_text(json.dumps(found, indent=1) + "\n")
    print(f"{name} at {temperature:g} K: done", flush=True)
    return ""


def part_of(name: str, temperature: float, place: Path) -> dict[str, Any]:
    """What a part has measured."""
    return dict(json.loads((place / f"{name}-{temperature:g}.json").read_text()))


def runs(temperature: float, composition: str, place: Path) -> dict[str, Any]:
    """Hold the model's run of a melt against the reference's, by the checks of the learning loop."""
    found = {name: part_of(name, temperature, place) for name in ("reference", "model")}
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
    checks = (
        compare_density(composition, members, TOLERANCES.density),
        compare_rdf(composition, members, TOLERANCES.rdf),
    )
    print(f"runs, {temperature:.0f} K:", *(f"{c.name}: {c.status} ({c.reason})" for c in checks), sep="\n  ")
    return {
        "temperature_K": temperature,
        "density_g_per_cm3": {name: each["density"] for name, each in found.items()},
        "force_rmse_along_reference_eV_per_angstrom": found["model"]["force_rmse"],
        "checks": [check.model_dump(mode="json") for check in checks],
        "rdf": {name: {k: each["rdf"][k] for k in ("edges_angstrom", "g", "g_error")} for name, each in found.items()},
    }  # fmt: skip


def rms(whole: np.ndarray, without: np.ndarray) -> tuple[float, float]:
    """RMS of a difference of two averages over the same blocks, and its standard error.

    As in `rdf_difference`, what noise adds to the mean square is taken off.

    Parameters
    ----------
    whole : numpy.ndarray, shape (...)
        The difference.
    without : numpy.ndarray, shape (n_blocks, ...)
        The difference without each of the blocks: its jackknife.
    """
    n = len(without)
    noise = (n - 1) * without.var(axis=0)
    square = max(float(np.mean(whole**2 - noise)), 0.0)
    error = math.sqrt((n - 1) * (without**2).mean(axis=tuple(range(1, without.ndim))).var())
    value = math.sqrt(square)
    return value, max(math.sqrt(square + error) - value, value - math.sqrt(max(square - error, 0.0)))


def held_against(
    name: str, value: float, error: float, tolerance: float, by_pair: dict[str, tuple[float, float]]
) -> dict[str, Any]:
    """Hold a difference against a tolerance, by the rule of the learning loop."""
    found = Difference((0, 1), value, error)
    status = "differ" if found.low > tolerance else "agree" if found.high < tolerance else "cannot tell"
    return {
        "name": name,
        "status": status,
        "difference": value,
        "difference_error": error,
        "tolerance": tolerance,
        "by_pair": by_pair,
    }


def checks_of(
    density: np.ndarray, densities: np.ndarray, rdf: np.ndarray, rdfs_left: np.ndarray, pairs: Sequence[str]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Relative difference of the densities with its error, and the checks of density and g(r).

    Parameters
    ----------
    density, densities : numpy.ndarray, shapes () and (n_blocks,)
        Relative difference of the densities [1], and without each of the blocks.
    rdf, rdfs_left : numpy.ndarray, shapes (n_pairs, n_bins) and (n_blocks, n_pairs, n_bins)
        The same of g(r) [1].
    pairs : sequence of str
        Pairs of elements.
    """
    error = math.sqrt((len(densities) - 1) * float(densities.var()))
    by_pair = {pair: rms(rdf[k], rdfs_left[:, k]) for k, pair in enumerate(pairs)}
    shown = {"relative_difference": float(density), "relative_difference_error": error}
    return shown, [
        held_against("density", abs(float(density)), error, TOLERANCES.density, {}),
        held_against("g(r)", *rms(rdf, rdfs_left), TOLERANCES.rdf, by_pair),
    ]


def weights(temperature: float, place: Path) -> dict[str, Any]:
    """Hold the model's averages against the reference's over the same frames of a melt."""
    found = part_of("weights", temperature, place)
    whole, without = (
        {
            name: {whose: np.array(found[name][whose][kind]) for whose in ("model", "reference")}
            for name in ("density", "g(r)")
        }
        for kind in ("whole", "without")
    )
    difference, left = (
        {name: each["model"] - each["reference"] for name, each in kind.items()} for kind in (whole, without)
    )
    density = {whose: float(value[0]) for whose, value in whole["density"].items()}
    shown, checks = checks_of(
        difference["density"][0] / density["reference"],
        left["density"][:, 0] / density["reference"],
        difference["g(r)"],
        left["g(r)"],
        found["pairs"],
    )
    print(
        f"weights, {temperature:.0f} K, {100 * found['effective_share']:.0f} % effective:",
        *(_line(check) for check in checks),
        sep="\n  ",
    )
    return {
        "temperature_K": temperature,
        **{
            key: found[key]
            for key in ("n_frames", "effective_share", "excess_sd_kT", "excess_kT", "stretches")
        },
        "density_g_per_cm3": density | shown,
        "checks": checks,
    }


def _line(check: dict[str, Any]) -> str:
    return "{name}: {status} ({difference:.4f} +- {difference_error:.4f}, tolerance {tolerance:g})".format(
        **check
    )


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
    failures: list[str] = []
    with ProcessPoolExecutor(2) as workers:
        for name, (_, keys) in PARTS.items():
            failures += [job.result() for job in [workers.submit(part, name, key, place) for key in keys]]
            if any(failures):
                sys.exit("\n".join(filter(None, failures)))
    content = {
        "composition": composition,
        "pressure_GPa": PRESSURE,
        "campaigns": campaigns,
        "runs": [runs(t, composition, place) for t in MELTS],
        "weights": [weights(t, place) for t in MELTS],
        "conservation": [part_of("conservation", t, place) for t in CONSERVED],
        "steps": {
            "settle": SETTLE, "npt": NPT, "model_npt": WEIGHED * WEIGHED_EVERY, "time_step_fs": TIME_STEP,
        },
        "versions": {name: version(name) for name in ("laoc-flows", "deepmd-kit", "chgnet")},
    }  # fmt: skip
    options.out.write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(content["conservation"], indent=1))


if __name__ == "__main__":
    main()
