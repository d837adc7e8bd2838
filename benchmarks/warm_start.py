"""A training that begins with the model of the iteration before against one that begins anew: error by steps.

    python benchmarks/warm_start.py      # a quarter of an hour on two cores

For each pool of `active_learning.py` a parent is trained on 40 random frames. Its children have 30 more, and begin anew or
with the parent, for as many steps or a third of them. Errors are force RMSEs on the test set of the pool, of models that
differ in their seeds. The network and the schedule are those of `active_learning.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from active_learning import CORE, SEEDS, STEPS, TRAINING, errors_of, read_pool

from laoc_flows.blobs import derive_seed
from laoc_flows.learning.train import Parent, TrainedFiles, train_model
from laoc_flows.schemas.training import Training

RESULTS = Path(__file__).parent / "results" / "warm_start.json"
BEFORE, MORE = 40, 30
SHORT = STEPS // 3
START_LR = TRAINING.rates[0]
ANEW = f"anew, {STEPS} steps"
ARMS: dict[str, dict[str, Any]] = {
    ANEW: {"steps": STEPS},
    f"anew, {SHORT} steps": {"steps": SHORT},
    f"warm, {STEPS} steps": {"warm_steps": STEPS},
    f"warm, {SHORT} steps": {"warm_steps": SHORT},
    f"warm, {SHORT} steps at the full rate": {"warm_steps": SHORT, "warm_start_lr": START_LR},
}


def _trained(
    frames: Sequence[Any], training: Training, seed: int, place: Path, parent: Parent | None = None
) -> TrainedFiles:
    os.environ["OMP_NUM_THREADS"] = "1"
    files, attempts = train_model(frames, training, CORE, seed, place, parent=parent)
    if files is None or len(attempts) > 1 or files.warm != (parent is not None):
        sys.exit(f"{place}: {attempts}")
    return files


def _frames(seed: int, count: int) -> list[Any]:
    pool = read_pool(seed, "pool")
    order = np.random.default_rng(derive_seed("warm start", seed)).permutation(len(pool.frames))
    return [pool.frames[i] for i in order[:count]]


def parent_of(seed: int, place: Path) -> tuple[Parent, float]:
    """Model that the warm children begin with, and its force RMSE [eV/A]."""
    files = _trained(_frames(seed, BEFORE), TRAINING, derive_seed(seed, "parent"), place)
    return Parent(files.frozen, files.sel), errors_of([files.frozen], read_pool(seed, "test"), place)[
        "force_rmse"
    ]


def child_of(seed: int, arm: str, parent: Parent, place: Path) -> float:
    """Force RMSE of one child [eV/A]."""
    training = TRAINING.model_copy(update=ARMS[arm])
    before = parent if training.warm_steps is not None else None
    files = _trained(_frames(seed, BEFORE + MORE), training, derive_seed(seed, arm), place, before)
    error = float(errors_of([files.frozen], read_pool(seed, "test"), place)["force_rmse"])
    print(f"pool {seed}: {arm}: {error:.3f} eV/A", flush=True)
    return error


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, and write errors and their ratios to a long training that begins anew."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="warm-start-") as name, ProcessPoolExecutor(2) as workers:
        place = Path(name)
        parents = list(workers.map(parent_of, SEEDS, [place / f"parent-{seed}" for seed in SEEDS]))
        tasks = [(i, arm) for arm in ARMS for i in range(len(SEEDS))]
        children = workers.map(
            child_of,
            [SEEDS[i] for i, _ in tasks],
            [arm for _, arm in tasks],
            [parents[i][0] for i, _ in tasks],
            [place / f"{i}-{list(ARMS).index(arm)}" for i, arm in tasks],
        )
        found: list[dict[str, float]] = [{"parent": error} for _, error in parents]
        for (i, arm), error in zip(tasks, children, strict=True):
            found[i][arm] = error
    ratios = {arm: [each[arm] / each[ANEW] for each in found] for arm in ("parent", *ARMS)}
    content = {
        "labels": {"parent": BEFORE, "children": BEFORE + MORE},
        "force_rmse_eV_per_angstrom": [
            {"pool": seed, **errors} for seed, errors in zip(SEEDS, found, strict=True)
        ],
        "ratios": {
            arm: {"median": statistics.median(each), "least": min(each), "largest": max(each)}
            for arm, each in ratios.items()
        },
        "versions": {name: version(name) for name in ("laoc-flows", "deepmd-kit")},
    }
    options.out.write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(content["ratios"], indent=1))


if __name__ == "__main__":
    main()
