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
BEFORE, MORE, MODELS = 40, 30, 2
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
    files, attempts = train_model(frames, training, CORE, seed, place, parent=parent)
    if files is None or len(attempts) > 1:
        sys.exit(f"{place}: {attempts}")
    return files


def one(seed: int, model: int) -> dict[str, float]:
    """Force RMSE [eV/A] of one parent and of its children, by arm."""
    os.environ["OMP_NUM_THREADS"] = "1"
    pool, test = read_pool(seed, "pool"), read_pool(seed, "test")
    order = np.random.default_rng(derive_seed("warm start", seed)).permutation(len(pool.frames))
    frames = [pool.frames[i] for i in order[: BEFORE + MORE]]
    with tempfile.TemporaryDirectory(prefix="warm-start-") as name:
        place = Path(name)
        before = _trained(frames[:BEFORE], TRAINING, derive_seed(seed, model, "parent"), place / "parent")
        errors = {"parent": errors_of([before.frozen], test, place)["force_rmse"]}
        for number, (arm, settings) in enumerate(ARMS.items()):
            training = TRAINING.model_copy(update=settings)
            parent = Parent(before.frozen, before.sel) if "warm_steps" in settings else None
            after = _trained(frames, training, derive_seed(seed, model, arm), place / str(number), parent)
            if after.warm != (parent is not None):
                sys.exit(f"{arm}: did not begin as it should")
            errors[arm] = errors_of([after.frozen], test, place)["force_rmse"]
            print(f"pool {seed}, model {model}: {arm}: {errors[arm]:.3f} eV/A", flush=True)
    return errors


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, and write errors and their ratios to a long training that begins anew."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    tasks = [(seed, model) for seed in SEEDS for model in range(MODELS)]
    with ProcessPoolExecutor(2) as workers:
        found = list(workers.map(one, *zip(*tasks, strict=True)))
    ratios = {arm: [each[arm] / each[ANEW] for each in found] for arm in ("parent", *ARMS)}
    content = {
        "labels": {"parent": BEFORE, "children": BEFORE + MORE},
        "force_rmse_eV_per_angstrom": [
            {"pool": seed, "model": model, **errors}
            for (seed, model), errors in zip(tasks, found, strict=True)
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
