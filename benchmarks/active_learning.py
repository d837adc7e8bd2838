"""Labels that a potential needs to reach a force error: our selection, dpgen simplify, and random picks on the same pool.

    python benchmarks/active_learning.py pool                     # trajectories of a teacher, once: data/active_learning-*.npz
    python benchmarks/active_learning.py run --dpgen /path/to/env # hours on two cores; goes on where it was
    python benchmarks/active_learning.py report                   # results/active_learning.json and .png

The pool is what an exploration gives: cells of four compositions, melted, quenched and held at several volumes, far more
frames of the cold and of the usual than of the hot and of the dense. The teacher (CHGNet) has labeled every frame, so an arm
only has to ask. The test set is of other trajectories. All arms have the same first picks and the same first models (those
of dpgen), the same training input, the same number of models and picks; each is measured by the mean force RMSE of its
first two models. dpgen (0.14, with deepmd-kit 3.2.0) runs unchanged in an environment of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution

from laoc_flows.blobs import derive_seed
from laoc_flows.composition import Cell, Composition
from laoc_flows.engines.packing import pack
from laoc_flows.engines.registry import parse_engine
from laoc_flows.learning.calibration import LabelError, calibrate, deviations_of
from laoc_flows.learning.data import write_systems
from laoc_flows.learning.evaluate import describe, predict
from laoc_flows.learning.inputs import render_input
from laoc_flows.learning.novelty import Novelty
from laoc_flows.learning.selection import Decision, Offered, choose
from laoc_flows.learning.train import train_model
from laoc_flows.schemas.base import SPECIES
from laoc_flows.schemas.iteration import Stratum
from laoc_flows.schemas.learning import Learning, Selection, Targets
from laoc_flows.schemas.protocol import SoftCore
from laoc_flows.schemas.training import Training

HERE = Path(__file__).parent
DATA, RESULTS = HERE / "data", HERE / "results" / "active_learning.json"
WORK = Path(".active_learning")
COMPOSITIONS = ("0", "1/4", "1/2", "3/4")
SEEDS = (1, 2, 3)
TEACHER = {"name": "chgnet", "model": "r2scan"}
N_AL, TIME_STEP, EVERY = 4, 2.0, 5
SCHEDULE = (
    # name, volume relative to the packing's, temperature at start and end [K], steps
    ("melt", 1.0, 1500, 1500, 300),
    ("quench", 1.0, 1500, 300, 300),
    ("cold", 1.0, 300, 300, 600),
    ("dense", 0.8, 1500, 1500, 160),
    ("wide", 1.25, 900, 900, 160),
)
TEST_SHARE = 0.4
"""Length of the test's stages over that of the pool's [1]."""
FIRST, PICKS, ITERATIONS, COMMITTEE, MEASURED = 10, 15, 5, 3, 2
STEPS = 12_000
MATCH = 1e-4
"""Largest difference of the forces of one frame [eV/A]: dpgen stores single precision."""
ARMS = ("ours", "dpgen", "random")
ERRORS = {"force_rmse": "all frames", "worst_stage_rmse": "the stage where it is largest"}
_NAMES = {"ours": "laoc-flows", "dpgen": "dpgen simplify 0.14", "random": "random"}
INPUT: dict[str, Any] = {
    "model": {
        "descriptor": {
            "type": "se_e2_a",
            "sel": [14, 14, 14, 40],
            "rcut": 5.0,
            "rcut_smth": 0.5,
            "neuron": [10, 20, 40],
            "axis_neuron": 4,
            "type_one_side": True,
            "precision": "float32",
        },
        "fitting_net": {"neuron": [40, 40, 40], "resnet_dt": True, "precision": "float32"},
    },
    "loss": {
        "type": "ener",
        "start_pref_e": 0.02,
        "limit_pref_e": 1,
        "start_pref_f": 1000,
        "limit_pref_f": 100,
        "start_pref_v": 0,
        "limit_pref_v": 0,
    },
    "learning_rate": {"type": "exp", "start_lr": 0.005, "stop_lr": 1e-5, "decay_steps": 120},
}
TRAINING = Training(steps=STEPS, batch_size=1, start_lr=0.005, stop_lr=1e-5, max_force=1e6, input=INPUT)
# No repulsion besides the network: dpgen has none.
CORE = SoftCore(prefactor=0.0)
LEARNING = Learning(
    targets=Targets(force_rmse=0.05),
    selection=Selection(labels_per_stratum=PICKS, spacing=0.0, audit=0, novelty=0.0, worst_error=10.0),
)


class Pool(NamedTuple):
    """Labeled frames, and the stratum of each."""

    frames: list[Atoms]
    strata: list[tuple[str, str]]


def trajectory(y: str, seed: int, share: float) -> Pool:
    """Melt, quench, hold, compress and expand one cell with the teacher."""
    composition = Composition(1, y)
    cell = Cell(composition, N_AL)
    engine = parse_engine(TEACHER)
    place = WORK / "pack" / f"{composition.id}-{seed}"
    place.mkdir(parents=True, exist_ok=True)
    packed = pack(list(cell.symbols), cell.start_length, derive_seed(seed, composition.id), place)
    frames: list[Atoms] = []
    strata: list[tuple[str, str]] = []
    calculator = engine.calculator()
    atoms = melted = packed.copy()
    for name, scale, hot, cold, steps in SCHEDULE:
        if name in {"dense", "wide"}:
            # Of the melt, not of the glass.
            atoms = melted.copy()
            atoms.set_cell(atoms.cell.array * scale ** (1 / 3), scale_atoms=True)
        atoms.calc = calculator
        generator = np.random.default_rng(derive_seed(seed, composition.id, name))
        MaxwellBoltzmannDistribution(atoms, temperature_K=hot, rng=generator)
        dynamics = Langevin(
            atoms, TIME_STEP * units.fs, temperature_K=hot, friction=0.02 / units.fs, rng=generator
        )
        n_steps = max(EVERY, int(steps * share))
        for step in range(0, n_steps, EVERY):
            dynamics.set_temperature(temperature_K=hot + (cold - hot) * step / n_steps)
            dynamics.run(EVERY)
            frames.append(_labeled(atoms))
            strata.append((composition.id, name))
        if name == "melt":
            melted = atoms.copy()
    return Pool(frames, strata)


def _labeled(atoms: Atoms) -> Atoms:
    frame = Atoms(atoms.symbols, positions=atoms.get_positions(wrap=True), cell=atoms.cell, pbc=True)
    frame.calc = SinglePointCalculator(
        frame,
        energy=float(atoms.get_potential_energy()),
        forces=atoms.get_forces().astype(float),
        stress=atoms.get_stress().astype(float),
    )
    return frame


def make_pools(seeds: Sequence[int]) -> None:
    """Write the pool and the test set of every seed."""
    DATA.mkdir(exist_ok=True)
    jobs = [
        (y, 1000 * seed + (500 if kind == "test" else 0), TEST_SHARE if kind == "test" else 1.0)
        for seed in seeds
        for kind in ("pool", "test")
        for y in COMPOSITIONS
        if not _file(seed).exists()
    ]
    with ProcessPoolExecutor(2) as workers:
        made = list(workers.map(trajectory, *zip(*jobs, strict=True))) if jobs else []
    for seed in seeds:
        if _file(seed).exists():
            continue
        parts = {}
        for kind, offset in (("pool", 0), ("test", 500)):
            found = [
                pool
                for (_, number, _), pool in zip(jobs, made, strict=True)
                if number == 1000 * seed + offset
            ]
            parts[kind] = Pool([f for p in found for f in p.frames], [s for p in found for s in p.strata])
        _write(seed, parts)
        print(
            f"seed {seed}: {len(parts['pool'].frames)} frames, {len(parts['test'].frames)} to test",
            flush=True,
        )


def _file(seed: int) -> Path:
    return DATA / f"active_learning-{seed}.npz"


def _write(seed: int, parts: dict[str, Pool]) -> None:
    arrays: dict[str, Any] = {}
    for kind, pool in parts.items():
        arrays |= {
            f"{kind}_sizes": np.array([len(f) for f in pool.frames]),
            f"{kind}_types": np.concatenate(
                [[SPECIES.index(s) for s in f.symbols] for f in pool.frames]
            ).astype(np.int8),
            f"{kind}_positions": np.concatenate([f.positions for f in pool.frames]).astype(np.float32),
            f"{kind}_cells": np.array([f.cell.array for f in pool.frames]).astype(np.float32),
            f"{kind}_energies": np.array([f.get_potential_energy() for f in pool.frames]),
            f"{kind}_forces": np.concatenate([f.get_forces() for f in pool.frames]).astype(np.float32),
            f"{kind}_strata": np.array(["/".join(s) for s in pool.strata]),
        }
    np.savez_compressed(_file(seed), **arrays)


def read_pool(seed: int, kind: str) -> Pool:
    """Pool or test set of a seed."""
    with np.load(_file(seed)) as data:
        ends = np.cumsum(data[f"{kind}_sizes"])[:-1]
        parts = [np.split(data[f"{kind}_{name}"], ends) for name in ("types", "positions", "forces")]
        cells, energies = data[f"{kind}_cells"], data[f"{kind}_energies"]
        strata = [tuple(str(s).split("/")) for s in data[f"{kind}_strata"]]
    frames = []
    for types, positions, forces, cell, energy in zip(*parts, cells, energies, strict=True):
        frame = Atoms(
            [SPECIES[t] for t in types], positions=positions.astype(float), cell=cell.astype(float), pbc=True
        )
        frame.calc = SinglePointCalculator(
            frame, energy=float(energy), forces=forces.astype(float), stress=np.zeros(6)
        )
        frames.append(frame)
    return Pool(frames, strata)


def errors_of(models: Sequence[Path], test: Pool, place: Path) -> dict[str, Any]:
    """Mean over the models of their force RMSE [eV/A]: on all frames, and on the stage where it is largest."""
    stages = np.array([stage for _, stage in test.strata])
    answers = predict(models, test.frames, place)
    squares = np.array(
        [
            [np.mean((f - frame.get_forces()) ** 2) for f, frame in zip(a.forces, test.frames, strict=True)]
            for a in answers
        ]
    )
    weights = np.array([len(frame) for frame in test.frames])
    by_stage = {
        str(stage): float(
            np.sqrt(np.average(squares[:, stages == stage], axis=1, weights=weights[stages == stage])).mean()
        )
        for stage in np.unique(stages)
    }
    return {
        "force_rmse": float(np.sqrt(np.average(squares, axis=1, weights=weights)).mean()),
        "worst_stage_rmse": max(by_stage.values()),
        "by_stage": by_stage,
    }


def train(
    frames: Sequence[Atoms], arm: str, seed: int, iteration: int, place: Path, count: int
) -> list[Path]:
    """Models of one iteration; those that are there already are not trained again."""
    models = []
    for index in range(count):
        target = place / f"model-{iteration}-{index}.pb"
        if not target.exists():
            inside = place / f"train-{iteration}-{index}"
            files, attempts = train_model(
                frames, TRAINING, CORE, derive_seed(arm, seed, iteration, index), inside
            )
            if files is None:
                sys.exit(f"{arm} {seed} {iteration} {index}: {attempts}")
            shutil.copy(files.frozen, target)
            shutil.rmtree(inside)
        models.append(target)
    return models


def picks_of(
    pool: Pool, picked: list[int], models: Sequence[Path], errors: list[LabelError], seed: int, place: Path
) -> tuple[list[int], dict[int, float]]:
    """What our loop would label next, and the deviation of each."""
    rest = [i for i in range(len(pool.frames)) if i not in set(picked)]
    answers = predict(models, [pool.frames[i] for i in rest], place)
    deviation = deviations_of([a.forces for a in answers])
    strata = {s: Stratum(composition_id=s[0], temperature=_temperature(s[1])) for s in set(pool.strata)}
    levels = {
        s: each.levels for s, each in zip(strata, calibrate(strata.values(), errors, LEARNING), strict=True)
    }
    candidates = [k for k, i in enumerate(rest) if deviation[k] >= levels[pool.strata[i]].low]
    if len(candidates) < PICKS:
        candidates = list(np.argsort(-deviation)[:PICKS])
    offered = [Offered(0, pool.strata[rest[k]], float(n), deviation[k]) for n, k in enumerate(candidates)]
    frames = [pool.frames[i] for i in picked] + [pool.frames[rest[k]] for k in candidates]
    features = describe(models[0], frames, place)
    split = len(picked)
    novelty = Novelty(features[:split], frames[:split], features[split:], frames[split:], seed)
    decisions = choose(offered, novelty, LEARNING.selection, budget=PICKS, seed=seed)
    chosen = [rest[k] for k, d in zip(candidates, decisions, strict=True) if d is Decision.SELECTED]
    of = {rest[k]: float(deviation[k]) for k in candidates}
    return chosen, {i: of[i] for i in chosen}


def _temperature(stage: str) -> float:
    return {"cold": 300.0, "wide": 900.0, "quench": 900.0}.get(stage, 1500.0)


def run_arm(arm: str, seed: int) -> list[dict[str, Any]]:
    """Curve of one arm that we drive ourselves: labels and force RMSE of every iteration."""
    place = WORK / f"{arm}-{seed}"
    place.mkdir(parents=True, exist_ok=True)
    record = place / "curve.json"
    pool, test = read_pool(seed, "pool"), read_pool(seed, "test")
    start = json.loads((WORK / f"dpgen-{seed}" / "start.json").read_text())
    state = (
        json.loads(record.read_text())
        if record.exists()
        else {"picked": start["picked"], "curve": [], "errors": []}
    )
    count = COMMITTEE if arm == "ours" else MEASURED
    for iteration in range(len(state["curve"]), ITERATIONS):
        frames = [pool.frames[i] for i in state["picked"]]
        if iteration == 0:
            models = [Path(name) for name in start["models"]][:count]
        else:
            models = train(frames, arm, seed, iteration, place, count)
        state["curve"].append({"labels": len(frames), **errors_of(models[:MEASURED], test, place)})
        print(f"{arm} {seed}: {state['curve'][-1]}", flush=True)
        if arm == "random":
            rest = np.setdiff1d(np.arange(len(pool.frames)), state["picked"])
            generator = np.random.default_rng(derive_seed("random", seed, iteration))
            new = sorted(int(i) for i in generator.choice(rest, PICKS, replace=False))
        else:
            errors = [LabelError.model_validate(e) for e in state["errors"]]
            new, deviation = picks_of(
                pool, state["picked"], models, errors, derive_seed(seed, iteration), place
            )
            (answer,) = predict(models[:1], [pool.frames[i] for i in new], place)
            state["errors"] = [
                LabelError(
                    composition_id=pool.strata[i][0],
                    temperature=_temperature(pool.strata[i][1]),
                    volume_scale=1.0,
                    pressure=None,
                    deviation=deviation[i],
                    force_rmse=float(np.sqrt(np.mean((forces - pool.frames[i].get_forces()) ** 2))),
                    max_error=0.0,
                    source="selected",
                ).model_dump()
                for i, forces in zip(new, answer.forces, strict=True)
            ]
        state["picked"] = [*state["picked"], *new]
        record.write_text(json.dumps(state))
    return state["curve"]


_DPGEN = """
import random, sys
import numpy
seed = int(sys.argv[1])
random.seed(seed)
numpy.random.seed(seed)
from functools import partialmethod
from dpdispatcher import Submission
# Looks every second whether a command has ended, not twice a minute: nothing else changes.
Submission.run_submission = partialmethod(Submission.run_submission, check_interval=1)
from dpgen.main import main
sys.argv = ["dpgen", "simplify", "param.json", "machine.json"]
main()
"""


def run_dpgen(seed: int, python: Path) -> list[dict[str, Any]]:
    """Curve of dpgen simplify, which is stopped after the last iteration; writes the start that all arms share."""
    place = (WORK / f"dpgen-{seed}").resolve()
    pool, test = read_pool(seed, "pool"), read_pool(seed, "test")
    last = place / f"iter.{ITERATIONS - 1:06d}" / "00.train"
    if not _trained(last, after=True):
        _start_dpgen(place, pool, seed, python, last)
    curve, picked = [], []
    forces = [f.get_forces() for f in pool.frames]
    for iteration in range(ITERATIONS):
        # What an iteration trains on was picked by those before.
        picked += _picked(place / f"iter.{iteration:06d}", forces)
        train_ = place / f"iter.{iteration + 1:06d}" / "00.train"
        models = sorted(train_.glob("graph.*.pb"))
        if iteration == 0:
            start = {"picked": picked, "models": [str(model) for model in models]}
            (place / "start.json").write_text(json.dumps(start))
        if len(picked) != FIRST + PICKS * iteration:
            sys.exit(f"dpgen {seed}: {len(picked)} picks after iteration {iteration}")
        curve.append({"labels": len(picked), **errors_of(models[:MEASURED], test, place)})
        print(f"dpgen {seed}: {curve[-1]}", flush=True)
    (place / "curve.json").write_text(json.dumps({"picked": picked, "curve": curve}))
    return curve


def _trained(place: Path, *, after: bool) -> bool:
    following = place.parent.parent / f"iter.{ITERATIONS:06d}" / "00.train" if after else place
    return len(list(following.glob("graph.*.pb"))) >= COMMITTEE


def _picked(iteration: Path, forces: Sequence[np.ndarray]) -> list[int]:
    """Frames of the pool that an iteration picked, which dpgen only copies: those with the same forces."""
    found = []
    for path in sorted(iteration.glob("01.model_devi/data.picked/**/force.npy")):
        for row in np.load(path):
            distance = [np.abs(f.ravel() - row).max() if f.size == row.size else np.inf for f in forces]
            found.append(int(np.argmin(distance)))
            if distance[found[-1]] > MATCH:
                sys.exit(f"{path}: a frame that is not in the pool")
    return found


def _start_dpgen(place: Path, pool: Pool, seed: int, python: Path, last: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    (place / "empty").mkdir(parents=True)
    write_systems(pool.frames, place / "pool")
    content = render_input(TRAINING, INPUT["model"]["descriptor"]["sel"], [], seed)
    training = {
        "model": {k: v for k, v in content["model"].items() if k != "type_map"},
        "learning_rate": content["learning_rate"],
        "loss": content["loss"],
        "training": {"numb_steps": STEPS, "disp_file": "lcurve.out", "disp_freq": 100, "save_freq": STEPS},
    }
    for section in ("descriptor", "fitting_net"):
        training["model"][section].pop("seed", None)
    infinite = float("inf")
    param = {
        "type_map": list(SPECIES),
        "init_data_prefix": str(place / "empty"),
        "init_data_sys": [],
        "sys_configs": [],
        "sys_batch_size": [1],
        "pick_data": str(place / "pool"),
        "labeled": True,
        "fp_style": "none",
        "init_pick_number": FIRST,
        "iter_pick_number": PICKS,
        "model_devi_f_trust_lo": 0.1,
        "model_devi_f_trust_hi": 100.0,
        "true_error_f_trust_lo": infinite,
        "true_error_f_trust_hi": infinite,
        "true_error_e_trust_lo": infinite,
        "true_error_e_trust_hi": infinite,
        "numb_models": COMMITTEE,
        "train_backend": "tensorflow",
        "default_training_param": training,
        "dp_train_skip_neighbor_stat": True,
        "fp_task_max": PICKS,
        "fp_task_min": 1,
    }
    (place / "param.json").write_text(json.dumps(param))
    (place / "machine.json").write_text(json.dumps(_machine(python)))
    (place / "seeded.py").write_text(_DPGEN)
    environment = {
        **os.environ,
        "HOME": str(place),
        "PATH": f"{python.parent}:{os.environ['PATH']}",
        "TF_ENABLE_ONEDNN_OPTS": "0",
    }
    with (place / "dpgen.out").open("w") as log:
        process = subprocess.Popen(
            [str(python), "seeded.py", str(seed)],
            cwd=place,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            while process.poll() is None and not _trained(last, after=True):
                time.sleep(2)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if not _trained(last, after=True):
        sys.exit(f"dpgen {seed} has stopped early: see {place / 'dpgen.out'}")


def _machine(python: Path) -> dict[str, Any]:
    task = {
        "machine": {
            "batch_type": "Shell",
            "context_type": "LocalContext",
            "local_root": "./",
            "remote_root": "./work",
        },
        "resources": {
            "number_node": 1,
            "cpu_per_node": 1,
            "gpu_per_node": 0,
            "queue_name": "",
            "group_size": 1000,
            "envs": {
                "OMP_NUM_THREADS": "1",
                "DP_INTRA_OP_PARALLELISM_THREADS": "1",
                "DP_INTER_OP_PARALLELISM_THREADS": "1",
                "CUDA_VISIBLE_DEVICES": "",
            },
        },
    }
    dp = f"{python.parent / 'dp'} --tf"
    return {
        "api_version": "1.0",
        "deepmd_version": "3.2.0",
        "train": {"command": dp, **task},
        "model_devi": {"command": dp, **task},
        "fp": {"command": "true", **task},
    }


def labels_to_reach(curve: Sequence[dict[str, Any]], error: str, target: float) -> float | None:
    """Labels at which a curve first comes below an error, interpolated between iterations in log-log; None if never."""
    for before, after in zip([None, *curve], curve, strict=False):
        if after[error] > target:
            continue
        if before is None:
            return float(after["labels"])
        a, b = np.log([before[error], after[error]])
        share = (a - np.log(target)) / (a - b)
        return float(np.exp(np.interp(share, [0, 1], np.log([before["labels"], after["labels"]]))))
    return None


def compared(curves: dict[str, dict[str, list[dict[str, Any]]]], error: str) -> dict[str, Any]:
    """Labels of every run at one error, and the ratios of ours to the others'."""
    # The best error that every arm comes to on a seed's test set: no arm is asked for what it never showed.
    target = {seed: max(min(p[error] for p in by[seed]) for by in curves.values()) for seed in curves["ours"]}
    needed = {
        arm: {seed: labels_to_reach(curve, error, target[seed]) or np.nan for seed, curve in by.items()}
        for arm, by in curves.items()
    }
    ratios = {
        arm: {seed: needed["ours"][seed] / labels for seed, labels in needed[arm].items()}
        for arm in ("dpgen", "random")
    }
    return {
        "target_eV_per_angstrom": target,
        "labels": needed,
        "ratios": {arm: float(np.median(list(by.values()))) for arm, by in ratios.items()},
        "ratios_by_seed": ratios,
    }


def report() -> None:
    """Collect the curves, and write the result and its figure."""
    curves = {
        arm: {
            str(seed): json.loads((WORK / f"{arm}-{seed}" / "curve.json").read_text())["curve"]
            for seed in SEEDS
        }
        for arm in ARMS
    }
    results = {error: compared(curves, error) for error in ERRORS}
    content = {
        **results["force_rmse"],
        "worst_stage": results["worst_stage_rmse"],
        "curves": curves,
        "settings": {
            "first": FIRST, "picks": PICKS, "iterations": ITERATIONS, "committee": COMMITTEE, "steps": STEPS, "teacher": TEACHER,
            "input": INPUT,
        },
        "versions": {
            "laoc-flows": version("laoc-flows"),
            "deepmd-kit": version("deepmd-kit"),
            **json.loads((WORK / "versions.json").read_text()),
        },
    }  # fmt: skip
    RESULTS.write_text(json.dumps(content, indent=1) + "\n")
    _plot(curves, {error: each["target_eV_per_angstrom"] for error, each in results.items()})
    print(json.dumps(results, indent=1))


def _plot(curves: dict[str, dict[str, list[dict[str, Any]]]], targets: dict[str, dict[str, float]]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 3.8), layout="constrained")
    panels = figure.subplots(1, len(ERRORS), sharey=True)
    for axes, (error, title) in zip(panels, ERRORS.items(), strict=True):
        for arm, color, marker in zip(ARMS, ("#0072b2", "#d55e00", "#009e73"), "os^", strict=True):
            for number, curve in enumerate(curves[arm].values()):
                axes.loglog(
                    [p["labels"] for p in curve],
                    [p[error] for p in curve],
                    color=color,
                    marker=marker,
                    markersize=4,
                    linewidth=1,
                    alpha=0.8,
                    label=_NAMES[arm] if number == 0 else None,
                )
        for target in targets[error].values():
            axes.axhline(target, color="#888888", linewidth=0.8, linestyle="--")
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("labels")
        # Few decades: plain numbers at places of our own.
        axes.set_xticks([10, 20, 40, 70], labels=["10", "20", "40", "70"], minor=False)
        axes.set_yticks([0.15, 0.2, 0.3, 0.4, 0.5], labels=["0.15", "0.2", "0.3", "0.4", "0.5"], minor=False)
        axes.minorticks_off()
    panels[0].set_ylabel("force RMSE on held-out trajectories [eV/\u00c5]")
    panels[0].legend(frameon=False)
    figure.savefig(RESULTS.with_suffix(".png"), dpi=160)


def run_all(python: Path, seeds: Sequence[int]) -> None:
    """Run all arms of all seeds, two at a time; what is done is not done again."""
    code = "import json, importlib.metadata as m; print(json.dumps({'dpgen': m.version('dpgen'), 'dpgen_deepmd-kit': m.version('deepmd-kit')}))"
    found = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True).stdout
    WORK.mkdir(exist_ok=True)
    (WORK / "versions.json").write_text(found)
    with ProcessPoolExecutor(2) as workers:
        started = [workers.submit(_one_dpgen, seed, python) for seed in seeds]
        # The other arms of a seed begin with the first models of its dpgen.
        arms = [
            workers.submit(run_arm, arm, done.result())
            for done in as_completed(started)
            for arm in ("ours", "random")
        ]
        for each in arms:
            each.result()


def _one_dpgen(seed: int, python: Path) -> int:
    if not (WORK / f"dpgen-{seed}" / "curve.json").exists():
        run_dpgen(seed, python)
    return seed


def main(arguments: Sequence[str] | None = None) -> None:
    """Do one of the three steps."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("step", choices=("pool", "run", "report"))
    parser.add_argument("--dpgen", type=Path, help="folder of a virtual environment with dpgen 0.14")
    parser.add_argument("--seeds", type=int, nargs="*", default=list(SEEDS))
    options = parser.parse_args(arguments)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("DP_INTRA_OP_PARALLELISM_THREADS", "1")
    os.environ.setdefault("DP_INTER_OP_PARALLELISM_THREADS", "1")
    if options.step == "pool":
        make_pools(options.seeds)
    elif options.step == "report":
        report()
    elif options.dpgen is None:
        sys.exit(
            "run needs --dpgen: python -m venv ENV && ENV/bin/pip install dpgen==0.14.0 'deepmd-kit[cpu]==3.2.0'"
        )
    else:
        run_all((options.dpgen / "bin" / "python").absolute(), options.seeds)


if __name__ == "__main__":
    main()
