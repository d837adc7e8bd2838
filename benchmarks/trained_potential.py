"""A trained potential against its reference: energy conservation, density and g(r) of one cell.

    python benchmarks/trained_potential.py      # some 20 minutes on two cores; after `active_learning.py pool`

One model is trained on the labeled frames of `data/active_learning-1.npz`. It and the reference engine (CHGNet) run
the same cell from the same frame, at constant pressure and then at the reference's mean volume, cold and hot; the comparison is that of
the property checks of the learning loop. Energy conservation is measured in LAMMPS without a thermostat, on a cell of eight.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from active_learning import TEACHER, read_pool
from ase import Atoms, units
from ase.io.lammpsdata import write_lammps_data

from laoc_flows.analysis import Trajectory, block_average
from laoc_flows.composition import Composition
from laoc_flows.engines.base import Engine
from laoc_flows.engines.dynamics import MDState, Segment, SegmentRun
from laoc_flows.engines.lammps import header, interaction, lammps_environment, lammps_program
from laoc_flows.engines.lammps_engine import LammpsEngine
from laoc_flows.engines.registry import parse_engine
from laoc_flows.flows.probe import rdf_curves
from laoc_flows.learning.evaluate import predict
from laoc_flows.learning.properties import MemberProperties, compare_density, compare_rdf
from laoc_flows.learning.train import train_model
from laoc_flows.process import run_program
from laoc_flows.schemas.base import SPECIES, Measured
from laoc_flows.schemas.learning import Probe
from laoc_flows.schemas.protocol import SoftCore
from laoc_flows.schemas.training import Training

RESULTS = Path(__file__).parent / "results" / "trained_potential.json"
SEED = 1
COMPOSITION = Composition(1, "1/2").id
CORE = SoftCore()
TRAINING = Training(
    steps=20_000,
    batch_size=1,
    rcut=5.0,
    neuron=(10, 20, 40),
    axis_neuron=4,
    fitting=(40, 40, 40),
    precision="float32",
    start_lr=5e-3,
    stop_lr=1e-6,
    force_prefactor=(1000, 100),
    virial_prefactor=(0, 0),
)
TEMPERATURES = (300.0, 900.0)
TIME_STEP, FRAME_EVERY = 2.0, 10
SETTLE, NPT, NVT = 500, 2000, 1500
"""Steps at constant pressure before and during the average, and at constant volume."""
LONGER = 10
"""The model's runs over the reference's [1]: where both are ergodic, its errors are the smaller ones."""
NVE_STEPS, NVE_STEP, NVE_CELLS = 20_000, 1.0, (2, 2, 2)


def rmse_of(model: Path, frames: Sequence[Atoms], place: Path) -> float:
    """Force RMSE of network and core on frames [eV/A]."""
    (answer,) = predict([model], frames, place)
    forces = np.concatenate(answer.with_core(frames, CORE).forces)
    return float(np.sqrt(np.mean((forces - np.concatenate([f.get_forces() for f in frames])) ** 2)))


def properties(engine: Engine, start: Atoms, temperature: float, factor: int, place: Path) -> dict[str, Any]:
    """Density, and the run at constant volume that g(r) is taken from."""

    def run(atoms: Atoms, ensemble: str, steps: int, seed: int) -> SegmentRun:
        segment = Segment(
            ensemble=ensemble,  # type: ignore[arg-type]
            n_steps=steps,
            time_step=TIME_STEP,
            start_temperature=temperature,
            end_temperature=temperature,
            pressure=0.0,
            frame_every=FRAME_EVERY,
            seed=seed,
            time_limit=86400.0,
        )
        with tempfile.TemporaryDirectory(dir=place) as directory:
            done = engine.run_segment(MDState(atoms), segment, Path(directory))
        if done.failure:
            sys.exit(f"{engine.name} at {temperature} K: {done.failure}")
        return done

    npt = run(start, "npt", SETTLE + factor * NPT, SEED)
    volume = npt.rows[npt.rows[:, 0] > SETTLE, 4]
    gram = 1e24 / units.mol  # from amu per cubic angstrom to g/cm^3
    density = block_average(start.get_masses().sum() / volume * gram, "g/cm^3")
    return {
        "density": density.model_dump(),
        "volume": float(volume.mean()),
        "last": npt.state.atoms,
        "run": run,
    }


def at_volume(found: dict[str, Any], volume: float, factor: int) -> dict[str, Any]:
    """Partial g(r) of blocks of a run at a volume [A^3], by pair, shape (n_blocks, n_bins)."""
    atoms = found["last"].copy()
    atoms.set_cell(atoms.cell.array * (volume / atoms.get_volume()) ** (1 / 3), scale_atoms=True)
    done = found["run"](atoms, "nvt", factor * NVT, SEED + 1)
    frames = done.frames[len(done.frames) // 10 :]
    trajectory = Trajectory(
        frames[0].get_chemical_symbols(),
        np.array([frame.positions for frame in frames]),
        np.array([frame.cell.array for frame in frames]),
        time_step=FRAME_EVERY * TIME_STEP / 1000,
        continuous=True,
    )
    return rdf_curves(trajectory)["blocks"]


def compare(temperature: float, model: Path, place: Path) -> dict[str, Any]:
    """Reference and model at one temperature."""
    os.environ["OMP_NUM_THREADS"] = "1"
    pool = read_pool(SEED, "pool")
    start = next(
        f
        for f, s in zip(reversed(pool.frames), reversed(pool.strata), strict=True)
        if s == (COMPOSITION, "cold")
    )
    engines = {
        "reference": parse_engine(TEACHER),
        "model": LammpsEngine(model=model, soft_core=CORE, identity="trained"),
    }
    found = {
        name: properties(engine, start, temperature, LONGER if name == "model" else 1, place)
        for name, engine in engines.items()
    }
    volume = found["reference"]["volume"]
    blocks = {name: at_volume(each, volume, LONGER if name == "model" else 1) for name, each in found.items()}
    pairs = tuple(sorted(blocks["reference"]))
    members = [
        MemberProperties(
            density=Measured.model_validate(found[name]["density"]),
            pairs=pairs,
            rdf=np.array([blocks[name][pair] for pair in pairs]).swapaxes(0, 1),
            diffusion=None,
            diffusion_status="not asked for",
        )
        for name in ("reference", "model")
    ]
    tolerances = Probe()
    checks = (
        compare_density(COMPOSITION, members, tolerances.density),
        compare_rdf(COMPOSITION, members, tolerances.rdf),
    )
    print(
        f"{temperature:.0f} K:",
        *(f"{c.name}: {c.status} ({c.reason})" for c in checks),
        sep="\n  ",
        flush=True,
    )
    return {
        "temperature_K": temperature,
        "density_g_per_cm3": {name: found[name]["density"] for name in found},
        "checks": [check.model_dump(mode="json") for check in checks],
        "rdf_mean": {
            name: {pair: np.mean(blocks[name][pair], axis=0).round(4).tolist() for pair in pairs}
            for name in found
        },
    }


def conservation(model: Path, start: Atoms, temperature: float, place: Path) -> dict[str, Any]:
    """Drift of the total energy of a run without a thermostat, after one that has settled it."""
    atoms = start.repeat(NVE_CELLS)
    settle = Segment(
        ensemble="nvt", n_steps=5000, time_step=NVE_STEP, start_temperature=temperature, end_temperature=temperature,
        pressure=0.0, frame_every=5000, seed=SEED, time_limit=86400.0,
    )  # fmt: skip
    engine = LammpsEngine(model=model, soft_core=CORE, identity="trained")
    with tempfile.TemporaryDirectory(dir=place) as name:
        directory = Path(name)
        settled = engine.run_segment(MDState(atoms), settle, directory)
        if settled.failure:
            sys.exit(settled.failure)
        write_lammps_data(
            directory / "nve.data", settled.state.atoms, specorder=list(SPECIES), velocities=True, units="metal", atom_style="atomic",
        )  # fmt: skip
        script = [*header(), "read_data nve.data", *interaction([model], CORE)]
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
            sys.exit(done.tail(5))
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
        "time_ps": float(time[-1]),
        "time_step_fs": NVE_STEP,
        "drift_meV_per_atom_per_ps": float(np.polyfit(time, energy, 1)[0]) * per_atom,
        "drift_error_meV_per_atom_per_ps": float(np.std(slopes, ddof=1) / np.sqrt(5)) * per_atom,
        "fluctuation_meV_per_atom": float(energy.std()) * per_atom,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, measure, and write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    os.environ["OMP_NUM_THREADS"] = "1"
    place = Path(".trained_potential").resolve()
    place.mkdir(exist_ok=True)
    pool, test = read_pool(SEED, "pool"), read_pool(SEED, "test")
    model = place / "model.pb"
    if not model.exists():
        files, attempts = train_model(pool.frames, TRAINING, CORE, SEED, place / "train")
        if files is None:
            sys.exit(str(attempts))
        model.write_bytes(files.model.read_bytes())
        (place / "frozen.pb").write_bytes(files.frozen.read_bytes())
    of = {
        s: [f for f, t in zip(test.frames, test.strata, strict=True) if t == (COMPOSITION, s)]
        for s in ("cold", "melt", "quench")
    }
    start = next(
        f
        for f, s in zip(reversed(pool.frames), reversed(pool.strata), strict=True)
        if s == (COMPOSITION, "cold")
    )
    with ProcessPoolExecutor(2) as workers:
        compared = [workers.submit(compare, t, model, place) for t in TEMPERATURES]
        conserved = [workers.submit(conservation, model, start, t, place) for t in TEMPERATURES]
        content = {
            "composition": COMPOSITION,
            "n_atoms": len(start),
            "n_train": len(pool.frames),
            "force_rmse_eV_per_angstrom": {s: rmse_of(model, frames, place) for s, frames in of.items()},
            "comparison": [each.result() for each in compared],
            "conservation": [each.result() for each in conserved],
            "steps": {"settle": SETTLE, "npt": NPT, "nvt": NVT, "model_over_reference": LONGER, "time_step_fs": TIME_STEP},
            "versions": {name: version(name) for name in ("laoc-flows", "deepmd-kit", "chgnet")},
        }  # fmt: skip
    options.out.write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps({k: content[k] for k in ("force_rmse_eV_per_angstrom", "conservation")}, indent=1))


if __name__ == "__main__":
    main()
