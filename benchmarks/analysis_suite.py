"""The whole suite on one long run, in a process of its own: what it takes and how much memory.

Called by analysis.py; prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_KINISI = ("diffusion", "conductivity")


class Stopwatch:
    """Wall and CPU time of named steps [s]."""

    def __init__(self) -> None:
        self.steps: dict[str, dict[str, float]] = {}
        self._name = ""
        self._began = (0.0, 0.0)

    def next(self, name: str) -> None:
        """End the step that runs and begin another; none for an empty name."""
        now = (time.perf_counter(), time.process_time())
        if self._name:
            wall, cpu = (b - a for a, b in zip(self._began, now, strict=True))
            self.steps[self._name] = {"wall_s": round(wall, 3), "cpu_s": round(cpu, 3)}
            print(f"  {self._name}: {wall:.1f} s", file=sys.stderr, flush=True)
        self._name, self._began = name, (time.perf_counter(), time.process_time())

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time what is done inside."""
        self.next(name)
        yield
        self.next("")


def main() -> None:
    """Do one job and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job", choices=("warm-up", "suite", "kinisi", "streaming"))
    parser.add_argument("small", type=Path, help="a short run, for the warm-up")
    parser.add_argument("large", type=Path, nargs="?", help="the run")
    parser.add_argument("--temperature", type=float, default=500.0, help="[K]")
    parser.add_argument("--stride", type=int, default=1, help="of structure in the job 'streaming'")
    given = parser.parse_args()
    watch = Stopwatch()
    with watch.step("import"):
        from laoc_flows.analysis.suite import PARTS, analyze
        from laoc_flows.analysis.trajectories.trajectory import Trajectory
    others = [part for part in PARTS if part not in _KINISI]
    with watch.step("first call of everything"):
        analyze(Trajectory.read(given.small), given.temperature, parts=others)
    about: dict[str, Any] = {}
    if given.job == "warm-up":
        with watch.step("second call of everything"):
            analyze(Trajectory.read(given.small), given.temperature, parts=others)
    else:
        _work(given, others, watch, about)
    about["steps"] = watch.steps
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    about["peak_rss_MiB"] = next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))
    print(json.dumps(about))


def _work(given: argparse.Namespace, others: list[Any], watch: Stopwatch, about: dict[str, Any]) -> None:
    from analysis_inputs import crystal_supercell

    from laoc_flows.analysis.structure.rdf import rdfs
    from laoc_flows.analysis.structure.survey import survey
    from laoc_flows.analysis.suite import analyze
    from laoc_flows.analysis.trajectories.trajectory import Trajectory
    from laoc_flows.analysis.transport.msd import msd

    with watch.step("open"):
        run = Trajectory.open(given.large)
    about |= {"n_atoms": run.n_atoms, "n_frames": run.n_frames}
    if given.job == "streaming":
        about["stride"] = given.stride
        with watch.step("survey"):
            survey(run, stride=given.stride)
        with watch.step("pairs"):
            rdfs(run, stride=given.stride)
        with watch.step("paths"):
            run.paths()
        with watch.step("msd of Li"):
            msd(run, "Li")
        return
    with watch.step("paths"):
        run.paths()
    parts: Any = others if given.job == "suite" else _KINISI
    crystal = crystal_supercell() if given.job == "suite" else None
    found = analyze(
        run,
        given.temperature,
        crystal=crystal,
        parts=parts,
        progress=lambda part, done, total: watch.next(part if done < total else ""),
    )
    about["missing"] = found.missing
    if found.hops is not None:
        about["n_hops"] = found.hops.n_hops
    about["n_rotations"] = {ligand: result.n_events for ligand, result in found.rotations.items()}


if __name__ == "__main__":
    main()
