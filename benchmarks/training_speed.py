"""Time of a training step of DeePMD-kit by backend, and what comes out: a core with TensorFlow, a GPU with PyTorch.

    python benchmarks/training_speed.py --backend tensorflow --label "one core"
    python benchmarks/training_speed.py --backend pytorch --label "NVIDIA H100"   # where PyTorch sees a GPU

Each call adds its rows to results/training_speed.json; rows of the same label are replaced. The frames are those of the
first pool of `active_learning.py`, as they are (20 to 24 atoms) and repeated to eight times their size. A step has one frame,
as on a laptop, or as many as DeePMD-kit takes by itself ("auto:32" and more atoms), which a GPU needs to be of use.
Errors are those of the trained model on the test set of the pool, frozen and compressed as the learning loop does it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from laoc_flows.learning.evaluate import predict
from laoc_flows.learning.train import train_model
from laoc_flows.schemas.base import SPECIES
from laoc_flows.schemas.protocol import SoftCore
from laoc_flows.schemas.training import Training

HERE = Path(__file__).parent
POOL = HERE / "data" / "active_learning-1.npz"
RESULTS = HERE / "results" / "training_speed.json"
CORE = SoftCore(prefactor=0.0)
NETWORKS: dict[str, dict[str, Any]] = {
    "small": {
        "rcut": 5.0,
        "neuron": (10, 20, 40),
        "axis_neuron": 4,
        "fitting": (40, 40, 40),
        "precision": "float32",
    },
    "default": {},
}
_COMMON = {
    "start_lr": 2e-3, "stop_lr": 1e-5, "force_prefactor": (1000, 100), "virial_prefactor": (0, 0), "max_force": 1e6,
}  # fmt: skip
_STEP = re.compile(r"average training time: ([\d.eE+-]+) s/batch")


def frames_of(kind: str, copies: int) -> list[Atoms]:
    """Labeled frames of the pool, each repeated `copies` times along every axis."""
    with np.load(POOL) as data:
        ends = np.cumsum(data[f"{kind}_sizes"])[:-1]
        parts = [np.split(data[f"{kind}_{name}"], ends) for name in ("types", "positions", "forces")]
        cells, energies = data[f"{kind}_cells"], data[f"{kind}_energies"]
    found = []
    for types, positions, forces, cell, energy in zip(*parts, cells, energies, strict=True):
        atoms = Atoms(
            [SPECIES[t] for t in types], positions=positions.astype(float), cell=cell.astype(float), pbc=True
        )
        whole = atoms.repeat(copies)
        whole.calc = SinglePointCalculator(
            whole,
            energy=float(energy) * copies**3,
            forces=np.tile(forces.astype(float), (copies**3, 1)),
            stress=np.zeros(6),
        )
        found.append(whole)
    return found


def one(network: str, copies: int, batch: int | str, steps: int, backend: str) -> dict[str, Any]:
    """Train once; time of a step [ms], time of the whole [s], and the force RMSE on the test set [eV/A]."""
    training = Training(backend=backend, steps=steps, batch_size=batch, **NETWORKS[network], **_COMMON)
    frames, test = frames_of("pool", copies), frames_of("test", 1)
    place = Path(tempfile.mkdtemp(prefix="training-speed-"))
    begin = time.perf_counter()
    files, attempts = train_model(frames, training, CORE, 1, place)
    whole = time.perf_counter() - begin
    log = (place / "try-0" / "train.log").read_text(errors="replace")
    row: dict[str, Any] = {
        "network": network, "atoms": float(np.mean([len(f) for f in frames])), "batch": batch, "steps": steps,
        "whole_s": whole,
    }  # fmt: skip
    found = _STEP.search(log)
    if found:
        row["step_ms"] = 1000 * float(found.group(1))
    if files is None:
        row["failed"] = [attempt.reason for attempt in attempts]
    else:
        begin = time.perf_counter()
        (answer,) = predict([files.model], test, place)
        row["predict_s"] = time.perf_counter() - begin
        errors = np.concatenate(answer.forces) - np.concatenate([f.get_forces() for f in test])
        row["force_rmse_eV_per_angstrom"] = float(np.sqrt(np.mean(errors**2)))
        row["parity_force_eV_per_angstrom"] = files.parity_force
        row["versions"] = files.versions
    shutil.rmtree(place)
    print(json.dumps(row), flush=True)
    return row


def main(arguments: Sequence[str] | None = None) -> None:
    """Train by one backend, and add the rows to the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backend", choices=("tensorflow", "pytorch"), default="tensorflow")
    parser.add_argument("--label", required=True, help="what it runs on, in words")
    parser.add_argument("--steps", type=int, default=500, help="steps of a training whose speed is measured")
    parser.add_argument(
        "--long", type=int, default=0, help="steps of one more training of each network, for its error"
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("DP_INTRA_OP_PARALLELISM_THREADS", "1")
    os.environ.setdefault("DP_INTER_OP_PARALLELISM_THREADS", "1")
    cases: list[tuple[str, int, int | str, int]] = [
        (network, copies, batch, options.steps)
        for network in NETWORKS
        for copies, batch in ((1, 1), (1, 16), (2, 16))
    ]
    if options.long:
        cases += [(network, 1, 1, options.long) for network in NETWORKS]
    rows: list[dict[str, Any]] = []
    for case in cases:
        rows.append({"label": options.label, "backend": options.backend, **one(*case, options.backend)})
        there = json.loads(options.out.read_text()) if options.out.exists() else []
        kept = [row for row in there if row["label"] != options.label]
        options.out.write_text(json.dumps([*kept, *rows], indent=1) + "\n")
        if "failed" in rows[-1]:
            msg = f"{case}: {rows[-1]['failed']}"
            sys.exit(msg)


if __name__ == "__main__":
    main()
