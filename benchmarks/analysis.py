"""Speed of the analysis suite against its peers, against the size of the run, and as a whole.

    python benchmarks/analysis.py --long

prints tables and writes benchmarks/results/analysis.json and analysis.png. Nothing is asserted; README.md says what is
compared with what.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from analysis_inputs import INTERVAL, TEMPERATURE, VIBRATION, WALK, copies, copies_file, source_run
from analysis_peers import PACKAGES, Case, Sizes
from analysis_peers_motion import msd_cases, msd_cases_of_structures
from analysis_peers_structure import CHAINS, chain_cases, rdf_cases
from analysis_report import plot, tables
from rich.console import Console

from laoc_flows.analysis import Trajectory, msd
from laoc_flows.analysis.events.bond_history import bond_history
from laoc_flows.analysis.events.hops import hops
from laoc_flows.analysis.structure.rdf import rdfs
from laoc_flows.analysis.structure.survey import survey

HERE = Path(__file__).parent
WIDTH = 170
KERNELS = "kernels"
"""Compiled by the first process of all, used by the others."""
THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)
CELLS = ((1, 1, 1), (2, 2, 1), (2, 2, 2), (3, 3, 3))
BIG = CELLS[-1]

PARTS_OF_SCALING: dict[str, Callable[[Trajectory], object]] = {
    "msd (Li)": lambda run: msd(run, "Li"),
    "rdfs (all pairs, 8 A)": rdfs,
    "survey": survey,
    "hops": hops,
    "bond_history": bond_history,
}

console = Console(stderr=True, width=WIDTH, log_path=False)


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    source: int
    small: Sizes
    large: Sizes
    repeats: int
    seconds: float
    """Time after which a case is not repeated again [s]."""
    atoms_frames: int
    frames: tuple[int, ...]
    suite: int
    streaming: int


FULL = Plan(
    source=4000,
    small=Sizes(msd=4000, structures=1000, rdf=1000, loop=1000),
    large=Sizes(msd=2000, structures=50, rdf=50, loop=50),
    repeats=7,
    seconds=40.0,
    atoms_frames=200,
    frames=(250, 500, 1000, 2000, 4000),
    suite=10_000,
    streaming=100_000,
)
QUICK = Plan(
    source=500,
    small=Sizes(msd=500, structures=100, rdf=100, loop=100),
    large=Sizes(msd=100, structures=10, rdf=5, loop=5),
    repeats=3,
    seconds=3.0,
    atoms_frames=30,
    frames=(60, 125, 250, 500),
    suite=300,
    streaming=2000,
)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few frames and repeats: a look, no result")
    parser.add_argument(
        "--long", action="store_true", help="also 100,000 frames from a file of 3 GB (7 GB of disk)"
    )
    parser.add_argument("--data", type=Path, help="folder that keeps the runs; a temporary one by default")
    parser.add_argument(
        "--out", type=Path, help="default: results/analysis.json beside this file, or none for --quick"
    )
    given = parser.parse_args()
    _one_core()
    plan = QUICK if given.quick else FULL
    out = given.out or (None if given.quick else HERE / "results" / "analysis.json")
    with _folder(given.data) as folder:
        found = measure(plan, folder, long=given.long)
    Console(width=WIDTH).print(*tables(found), sep="\n")
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        plot(found, out.with_suffix(".png"))
        print(f"{out} and {out.with_suffix('.png').name} written")


def _one_core() -> None:
    """Start again with one thread for every library, on one core."""
    if any(os.environ.get(name) != "1" for name in THREADS):
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | dict.fromkeys(THREADS, "1"))  # noqa: S606
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    import freud

    freud.parallel.set_num_threads(1)
    warnings.filterwarnings("ignore")


@contextmanager
def _folder(kept: Path | None) -> Iterator[Path]:
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="laoc-bench-") as name:
        yield Path(name)


def measure(plan: Plan, folder: Path, *, long: bool) -> dict[str, Any]:
    """Run all parts of the benchmark.

    Parameters
    ----------
    plan : Plan
        How much is measured.
    folder : Path
        Where the runs are kept.
    long : bool
        Whether the streaming of a long file is measured too.
    """
    began = time.perf_counter()
    console.log(f"model glass: 96 atoms, {plan.source} frames")
    small = source_run(folder, plan.source)
    brief = small.block(0, 60).write(folder / "brief.h5md")
    shutil.rmtree(folder / KERNELS, ignore_errors=True)
    warm = _worker("warm-up", brief, folder)
    found: dict[str, Any] = {"about": _about(plan), "warm_up": warm, "comparisons": []}
    n_large = max(plan.large.msd, plan.large.structures, plan.large.rdf, plan.large.loop)
    for repeats, n_frames, sizes, r_max in (((1, 1, 1), 0, plan.small, 6.9), (BIG, n_large, plan.large, 8.0)):
        run = copies(small, repeats, n_frames) if n_frames else small
        found["comparisons"] += [_compare(case, run.n_atoms, plan) for case in _cases(run, sizes, r_max)]
    found["ratios"] = {
        f"{c['quantity']} / {c['peer']} / {c['n_atoms']} atoms": c["ratio"] for c in found["comparisons"]
    }
    found["scaling"] = _scaling(small, plan)
    console.log(f"whole suite: 2592 atoms, {plan.suite} frames")
    large = copies_file(folder, small, BIG, plan.suite)
    found["suite"] = _worker("suite", brief, folder, large)
    found["suite"]["file_MiB"] = large.stat().st_size // 2**20
    found["kinisi"] = _worker("kinisi", brief, folder, large)
    if long:
        console.log(f"streaming: 2592 atoms, {plan.streaming} frames")
        began_writing = time.perf_counter()
        path = copies_file(folder, small, BIG, plan.streaming)
        console.log(f"file written in {time.perf_counter() - began_writing:.0f} s")
        found["streaming"] = _worker("streaming", brief, folder, path)
        found["streaming"]["file_MiB"] = path.stat().st_size // 2**20
        path.unlink()
    found["aims"] = _aims(found)
    found["about"]["benchmark_took_s"] = round(time.perf_counter() - began)
    return found


def _about(plan: Plan) -> dict[str, Any]:
    cpu = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "ratios_mean": "throughput of ours over throughput of the peer (frames per second of CPU time): above 1 ours is faster",
        "clock": "CPU time of the process, all threads together",
        "cpu": cpu,
        "cores": {"machine": os.cpu_count(), "used": 1},
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "without_counterpart": "GEMDAT, kinisi, MDAnalysis, tidynamics and pymatgen-analysis-diffusion have nothing for "
        "tetrahedra and chains",
        "inputs": {
            "96 atoms": f"Li16Al16Cl64, a model glass (LAMMPS, model_glass.py) at {TEMPERATURE:g} K, {plan.source} frames, "
            f"{INTERVAL} ps apart",
            "more atoms": "copies of it side by side, 3 x 3 x 3 for 2592, played forth and back; every atom of a copy is "
            f"displaced by {VIBRATION} A per axis at random in every frame, and every Li of a copy takes a random walk "
            f"with steps of {WALK} A per axis",
        },
    }


def _cases(run: Trajectory, sizes: Sizes, r_max: float) -> Iterator[Case]:
    yield from msd_cases(run.block(0, sizes.msd))
    yield from msd_cases_of_structures(run.block(0, sizes.structures))
    yield from rdf_cases(run.block(0, sizes.rdf), r_max)
    yield from chain_cases(run.block(0, sizes.loop))


def _cpu_time(work: Callable[[], object]) -> tuple[float, Any]:
    """Time one call; as in timeit, the collection of old garbage is not part of it."""
    gc.collect()
    gc.disable()
    began = time.process_time()
    result = work()
    seconds = time.process_time() - began
    gc.enable()
    return seconds, result


def _compare(case: Case, n_atoms: int, plan: Plan) -> dict[str, Any]:
    """Time both sides in turn, first one of them, then the other."""
    warm, ours = _cpu_time(case.ours)
    _, theirs = _cpu_time(case.theirs)
    difference = case.difference(ours, theirs)
    times: list[tuple[float, float]] = []
    began = time.perf_counter()
    while len(times) < plan.repeats and (len(times) < 3 or time.perf_counter() - began < plan.seconds):
        order = (case.ours, case.theirs) if len(times) % 2 == 0 else (case.theirs, case.ours)
        pair = [_cpu_time(side)[0] for side in order]
        times.append((pair[0], pair[1]) if len(times) % 2 == 0 else (pair[1], pair[0]))
    ratios = [b / a for a, b in times]
    ours_s, theirs_s = (statistics.median(column) for column in zip(*times, strict=True))
    row = {
        "quantity": case.quantity,
        "peer": case.peer,
        "n_atoms": n_atoms,
        "n_frames": case.n_frames,
        "ours_frames_per_s": _digits(case.n_frames / ours_s),
        "peer_frames_per_s": _digits(case.n_frames / theirs_s),
        "ratio": _digits(statistics.median(ratios)),
        "ratio_range": [_digits(min(ratios)), _digits(max(ratios))],
        "repeats": len(times),
        "first_call_s": _digits(warm),
        "difference": _digits(difference),
        "tolerance": case.tolerance,
        "agrees": bool(difference <= case.tolerance),
        "note": case.note,
    }
    console.log(f"{n_atoms} atoms, {case.quantity}, {case.peer}: {row['ratio']}")
    return row


def _scaling(small: Trajectory, plan: Plan) -> dict[str, Any]:
    """Time our own functions against the number of atoms and of frames."""
    by_atoms: dict[str, list[list[float]]] = {name: [] for name in PARTS_OF_SCALING}
    by_frames: dict[str, list[list[float]]] = {name: [] for name in PARTS_OF_SCALING}
    for repeats in CELLS:
        run = copies(small, repeats, plan.atoms_frames)
        console.log(f"scaling: {run.n_atoms} atoms")
        for name, part in PARTS_OF_SCALING.items():
            by_atoms[name].append([run.n_atoms, _best(part, run, run.n_frames)])
    for n_frames in plan.frames:
        console.log(f"scaling: {n_frames} frames")
        for name, part in PARTS_OF_SCALING.items():
            by_frames[name].append([n_frames, _best(part, small, n_frames)])
    return {
        "atoms": {
            "n_frames": plan.atoms_frames,
            "seconds": by_atoms,
            "exponents": {k: _exponent(v) for k, v in by_atoms.items()},
        },
        "frames": {
            "n_atoms": small.n_atoms,
            "seconds": by_frames,
            "exponents": {k: _exponent(v) for k, v in by_frames.items()},
        },
    }


def _best(part: Callable[[Trajectory], object], run: Trajectory, n_frames: int) -> float:
    """Return the least CPU time of five on a run of which nothing is known yet [s]."""
    return _digits(min(_cpu_time(lambda: part(run.block(0, n_frames)))[0] for _ in range(5)))


def _exponent(points: list[list[float]]) -> dict[str, float]:
    """Fit the power of n that the time grows with, over all points and over the last two."""
    x, y = np.log(np.array(points).T)
    return {
        "all": round(float(np.polyfit(x, y, 1)[0]), 3),
        "last_two": round(float((y[-1] - y[-2]) / (x[-1] - x[-2])), 3),
    }


def _worker(job: str, brief: Path, folder: Path, large: Path | None = None) -> dict[str, Any]:
    """Do a job of analysis_suite.py in a process of its own, and watch the memory that it cannot give back."""
    console.log(f"process: {job}")
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        environment = os.environ | {"TMPDIR": scratch, "NUMBA_CACHE_DIR": str(folder / KERNELS)}
        stride = ["--stride", "10"] if job == "streaming" else []
        files = [str(path) for path in (brief, large) if path is not None]
        command = [sys.executable, str(HERE / "analysis_suite.py"), job, *files, *stride]
        anonymous = 0
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
            while process.poll() is None:
                anonymous = max(anonymous, _anonymous_memory(process.pid))
                time.sleep(0.05)
            text = process.stdout.read() if process.stdout is not None else ""
    if process.returncode:
        message = f"the job {job} failed"
        raise SystemExit(message)
    found: dict[str, Any] = json.loads(text)
    steps = {k: v for k, v in found["steps"].items() if k != "import" and "call" not in k}
    found["total"] = {key: round(sum(step[key] for step in steps.values()), 2) for key in ("wall_s", "cpu_s")}
    return found | {"peak_anonymous_MiB": anonymous // 1024}


def _anonymous_memory(pid: int) -> int:
    """Return the memory that is no copy of a file [kiB]; 0 where the system does not tell."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)


def _aims(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Set what was measured beside what was aimed at."""
    wanted = [
        ("MSD", "tidynamics", 1),
        ("MSD", "pymatgen-analysis-diffusion", 10),
        ("MSD of all elements", "pymatgen-analysis-diffusion", 10),
        ("MSD of structures", "pymatgen-analysis-diffusion", 10),
        *(
            (CHAINS, c["peer"], 100)
            for c in found["comparisons"]
            if c["quantity"] == CHAINS and "pymatgen" in c["peer"]
        ),
    ]
    rows = []
    for quantity, peer, aim in dict.fromkeys(wanted):
        for c in found["comparisons"]:
            if (c["quantity"], c["peer"]) == (quantity, peer):
                name = f"{quantity}, {c['n_atoms']} atoms: times {peer}"
                rows.append(
                    {"what": name, "aim": f">= {aim}", "measured": c["ratio"], "met": c["ratio"] >= aim}
                )
    suite = found["suite"]
    if suite["n_frames"] < FULL.suite:
        return rows
    seconds = suite["total"]["cpu_s"]
    name = f"suite without kinisi's posterior, {suite['n_atoms']} atoms x {suite['n_frames']} frames (s)"
    return [*rows, {"what": name, "aim": "<= 300", "measured": seconds, "met": seconds <= 300}]


def _digits(value: float) -> float:
    return float(f"{value:.4g}")


if __name__ == "__main__":
    main()
