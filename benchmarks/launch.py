"""What launching costs: time of a trivial job through each launcher against the bare one, and a large store.

    python benchmarks/launch.py            # some ten minutes on two cores; writes results/launch.json
    python benchmarks/launch.py --quick    # a look: few jobs, a small store, nothing is written

Overhead. The same chain of trivial jobs, in turns, in one workspace with a MongoDB of its own:
through FireWorks as `laoc submit --to fireworks` puts it there, worked off by `rlaunch rapidfire`, against jobflow's own
`flow_to_workflow` and `add_wf` with the same rlaunch; by the worker of `laoc run`, against that and against jobflow's `run_locally`; and
through jf as `laoc submit --to jf` does it, against jf's own `submit_flow` with the same project, runner and worker.
With FireWorks times are those from the begin of the first job to the end of the last, over the jobs: what starts once is not in them. With jf they
are those that its runner takes until all have ended, its waiting between two looks included, which is the same on both sides.

Store. Outputs of jobs made by the real schemas, as 10,000 compositions with ten labels, a glass and its transport each would leave them; the
collections are built from them, and asked what users ask. Times are medians of several calls.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import rich.progress
from jobflow import Flow, Job, job, run_locally
from jobflow.managers.fireworks import flow_to_workflow

from laoc_flows.blobs import BlobRef, digest_json
from laoc_flows.campaign.queues.fireworks import FireworksQueue
from laoc_flows.campaign.queues.fireworks_files import write_files
from laoc_flows.campaign.queues.jf import JfQueue
from laoc_flows.campaign.queues.jf_project import jf_environment, write_project
from laoc_flows.campaign.repair import campaign_query
from laoc_flows.composition import Composition
from laoc_flows.jobs import stamp
from laoc_flows.schemas.base import Measured, Provenance
from laoc_flows.schemas.glass import GlassStatus, ProductionResult, StructureDocument
from laoc_flows.schemas.label import LabelBatch, LabelRecord, LabelStatus
from laoc_flows.schemas.transport import Estimate, SpeciesTransport, TransportDocument
from laoc_flows.store.builders import build_all
from laoc_flows.store.incremental import handle, index_outputs
from laoc_flows.store.laoc_store import LaocStore
from laoc_flows.store.workspace import Workspace, environment

RESULTS = Path(__file__).parent / "results" / "launch.json"
BIN = Path(os.path.abspath(sys.executable)).parent  # noqa: PTH100 -- the link in a virtual environment is what makes it one
THEORY = "tblite/GFN1-xTB/accuracy=1/Te=300K/r1"
PACKAGES = ("laoc-flows", "jobflow", "jobflow-remote", "fireworks", "maggma", "pymongo")
LABELS_EACH = 10
trivial = job(math.hypot)


def chain(n: int) -> Flow:
    """Jobs that need nothing but each other."""
    jobs: list[Job] = []
    for _ in range(n):
        jobs.append(trivial(1.0, jobs[-1].output if jobs else 1.0))
    return Flow(jobs)


def labeled(flow: Flow, campaign: str) -> Flow:
    """The same as jobs of a campaign."""
    stamp(flow, campaign=campaign, stage="seed", step="trivial", composition="")
    return flow


# -- overhead --------------------------------------------------------------------------------------------------


class Overhead:
    """Launchers on one workspace.

    Parameters
    ----------
    workspace : Workspace
        Workspace.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.pad = workspace.launchpad()
        self.fireworks = FireworksQueue(self.pad, workspace.settings)
        self.fireworks.ensure_indexes()
        write_files(workspace)
        write_project(workspace)
        self.jf = JfQueue(workspace)
        self.store = workspace.job_store()
        index_outputs(self.store.docs_store)
        self.number = 0

    def _empty(self) -> str:
        for name in ("fireworks", "launches", "workflows"):
            getattr(self.pad, name).delete_many({})
        for name in ("jobs", "flows"):
            getattr(self.jf.controller, name).delete_many({})
        self.number += 1
        return f"c-{self.number}"

    def _span(self, n: int) -> float:
        """Begin of the first launch to the end of the last, over the jobs [s]."""
        launches = list(self.pad.launches.find({"state": "COMPLETED"}))
        assert len(launches) == n, f"{len(launches)} of {n} jobs have ended"
        when = {"RUNNING": [], "COMPLETED": []}
        for launch in launches:
            for entry in launch["state_history"]:
                if entry["state"] in when:
                    when[entry["state"]].append(datetime.fromisoformat(str(entry["created_on"])))
        return (max(when["COMPLETED"]) - min(when["RUNNING"])).total_seconds() / n

    def _rlaunch(self, *worker: str) -> None:
        place = self.workspace.launches / f"bench-{self.number}"
        place.mkdir(parents=True)
        command = [
            BIN / "rlaunch",
            "-s",
            "-l",
            self.workspace.launchpad_file,
            *worker,
            "rapidfire",
            "--nlaunches",
            "0",
        ]
        subprocess.run(list(map(str, command)), cwd=place, check=True, capture_output=True)

    def locally(self, n: int) -> float:
        """As jobflow's `run_locally` does it, without any queue."""
        flow = chain(n)
        begin = time.perf_counter()
        run_locally(flow, store=self.store, log=False, ensure_success=True)
        return (time.perf_counter() - begin) / n

    def bare_fireworks(self, n: int) -> float:
        """FireWorks as jobflow uses it."""
        self._empty()
        self.pad.add_wf(flow_to_workflow(chain(n)))
        self._rlaunch()
        return self._span(n)

    def our_fireworks(self, n: int) -> float:
        """FireWorks as `laoc submit` uses it, with a worker of its files."""
        campaign = self._empty()
        self.fireworks.add(labeled(chain(n), campaign), campaign, "bench", "xtb")
        self._rlaunch("-w", str(self.workspace.path / "fireworks" / "light.fworker.yaml"))
        return self._span(n)

    def our_run(self, n: int) -> float:
        """The worker of `laoc run`."""
        campaign = self._empty()
        (self.workspace.launches / campaign).mkdir(parents=True)
        self.fireworks.add(labeled(chain(n), campaign), campaign, "bench", "xtb")
        worker = subprocess.Popen(
            [sys.executable, "-m", "laoc_flows.campaign.worker", campaign, "0"], stderr=subprocess.DEVNULL
        )
        query = {**campaign_query(campaign), "state": {"$ne": "COMPLETED"}}
        while self.pad.fireworks.count_documents(query):
            assert worker.poll() is None, "the worker has ended"
            time.sleep(0.5)
        worker.terminate()
        worker.wait()
        return self._span(n)

    def _jf(self, n: int) -> float:
        # Imported here: its settings are read when it is imported.
        from jobflow_remote.jobs.runner import Runner

        begin = time.perf_counter()
        Runner(project_name=self.jf.project.name).run_all_jobs(max_seconds=60 * n)
        taken = time.perf_counter() - begin
        done = self.jf.controller.jobs.count_documents({"state": "COMPLETED"})
        assert done == n, f"{done} of {n} jobs have ended"
        return taken / n

    def bare_jf(self, n: int) -> float:
        """As jf does it."""
        from jobflow_remote import submit_flow

        self._empty()
        submit_flow(chain(n), worker="here", project=self.jf.project.name)
        return self._jf(n)

    def our_jf(self, n: int) -> float:
        """As `laoc submit --to jf` does it."""
        campaign = self._empty()
        self.jf.add(labeled(chain(n), campaign), campaign, "bench", "xtb")
        return self._jf(n)


def overhead(workspace: Workspace, jobs: int, jf_jobs: int, turns: int) -> dict[str, Any]:
    """Times of a trivial job by launcher, in turns, and their ratios."""
    launchers = Overhead(workspace)
    ways: dict[str, tuple[Callable[[int], float], int]] = {
        "jobflow run_locally": (launchers.locally, jobs),
        "rlaunch": (launchers.bare_fireworks, jobs),
        "laoc submit --to fireworks, rlaunch": (launchers.our_fireworks, jobs),
        "laoc run": (launchers.our_run, jobs),
        "jf": (launchers.bare_jf, jf_jobs),
        "laoc submit --to jf": (launchers.our_jf, jf_jobs),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in rich.progress.track(range(turns + 1), "launchers", console=rich.console.Console(stderr=True)):
        # In turn forth and back: none of them is always the first; the first turn of all is for warming up.
        for name in list(ways) if turn % 2 else list(ways)[::-1]:
            way, n = ways[name]
            taken = way(n)
            if turn:
                times[name].append(taken)
    medians = {name: statistics.median(each) for name, each in times.items()}

    def ratio(ours: str, theirs: str) -> dict[str, float]:
        each = [a / b for a, b in zip(times[ours], times[theirs], strict=True)]
        return {"median": statistics.median(each), "least": min(each), "most": max(each)}

    return {
        "jobs": jobs,
        "jf_jobs": jf_jobs,
        "turns": turns,
        "seconds_per_job": medians,
        "all_seconds_per_job": times,
        "ratios": {
            "laoc submit --to fireworks / rlaunch": ratio("laoc submit --to fireworks, rlaunch", "rlaunch"),
            "laoc run / rlaunch": ratio("laoc run", "rlaunch"),
            "laoc run / jobflow run_locally": ratio("laoc run", "jobflow run_locally"),
            "laoc submit --to jf / jf": ratio("laoc submit --to jf", "jf"),
        },
    }


# -- store -----------------------------------------------------------------------------------------------------


def _blob(seed: int) -> BlobRef:
    return BlobRef(sha256=digest_json(seed), size=20_000, media_type="chemical/x-extxyz")


def _number(value: float, unit: str = "1") -> Measured:
    return Measured(value=value, standard_error=0.01 * abs(value) + 0.001, unit=unit, n_independent=8)


def compositions(n: int) -> Iterator[Composition]:
    """Different compositions."""
    width = math.ceil(math.sqrt(n))
    for number in range(n):
        x, y = divmod(number, width)
        yield Composition(f"{50 + x}/100", f"{y}/{2 * width}")


def outputs(number: int, composition: Composition) -> Iterator[dict[str, Any]]:
    """What the jobs of one composition have returned: a batch of labels, a glass with its transport."""
    provenance = Provenance(
        campaign_id="large",
        campaign_seed=1,
        composition_id=composition.id,
        stage="seed",
        replica=0,
        iteration=0,
    )
    formula, n_atoms = f"composition {number}", 40
    records = tuple(
        LabelRecord(
            key=digest_json([number, index]),
            status=LabelStatus.CRASHED if (number + index) % 50 == 0 else LabelStatus.CONVERGED,
            reason="no SCF" if (number + index) % 50 == 0 else "",
            n_atoms=n_atoms,
            energy=None if (number + index) % 50 == 0 else -100.0 - index,
            max_force=1.0,
            pressure=0.1,
            temperature=900.0,
            index=index,
        )
        for index in range(LABELS_EACH)
    )
    yield LabelBatch(
        key=digest_json(["batch", number]),
        campaign_id="large",
        level_of_theory=THEORY,
        provenance=provenance,
        records=records,
        shard=_blob(number),
    ).model_dump(mode="json")
    x, y = float(composition.x), float(composition.y)
    glass = StructureDocument(
        key=digest_json(["glass", number]),
        campaign_id="large",
        provenance=provenance.model_copy(update={"stage": "production"}),
        status=GlassStatus.GLASS,
        reason="",
        level_of_theory=f"deepmd/{THEORY}",
        potential_key="p0",
        formula=formula,
        n_atoms=n_atoms,
        x=x,
        y=y,
        links_expected=float(composition.links_per_al),
        structure=_blob(number + 1),
        melt_displacement={"Al": 12.0, "Cl": 20.0},
        density=_number(1.6 + 0.2 * y, "g/cm^3"),
        links_found=_number(y),
        balance=None,
        tetrahedra={
            name: _number(share) for name, share in (("AlCl4", 0.5), ("AlOCl3", 0.3), ("AlO2Cl2", 0.2))
        },
        chains=(),
        curves=_blob(number + 2),
    )
    diffusion = Estimate(
        status="diffusive", reason="", value=1e-8 * (1 + number % 97), standard_error=1e-9, interval=None, upper_bound=None, unit="cm^2/s"
    )  # fmt: skip
    one = SpeciesTransport(
        status="diffusive", reason="", exponent=1.0, n_eff=50.0, last_lag=10.0, last_msd=30.0, n_windows=2, diffusion=diffusion
    )  # fmt: skip
    transport = TransportDocument(
        key=digest_json(["transport", number]),
        campaign_id="large",
        provenance=glass.provenance,
        structure_key=glass.key,
        potential_key="p0",
        x=x,
        y=y,
        temperature=300.0,
        mean_temperature=_number(300.0, "K"),
        duration=20.0,
        drift="framework",
        species={"Li": one, "Cl": one},
        nernst_einstein=diffusion.model_copy(update={"value": 0.1 * (1 + number % 97), "unit": "mS/cm"}),
        curves=_blob(number + 3),
        trajectory=None,
    )
    yield ProductionResult(structure=glass, transport=transport).model_dump(mode="json")


def _median_time(ask: Callable[[], Any], calls: int) -> float:
    times = []
    for _ in range(calls):
        begin = time.perf_counter()
        ask()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def _rows(n: int) -> Iterator[dict[str, Any]]:
    begin = datetime.now(UTC) - timedelta(days=1)
    total = 0
    for number, composition in enumerate(compositions(n)):
        for output in outputs(number, composition):
            total += 1
            ended = (begin + timedelta(seconds=total)).isoformat()
            yield {
                "uuid": f"job-{total}", "index": 1, "name": "job", "output": output, "completed_at": ended,
                "metadata": {"laoc": {"campaign": "large"}}, "hosts": [],
            }  # fmt: skip


def large_store(workspace: Workspace, n: int, calls: int) -> dict[str, Any]:
    """Size of a store with so many compositions, and the time that its builders and queries take."""
    job_store = workspace.job_store()
    docs = handle(job_store.docs_store)
    database = docs.database
    index_outputs(job_store.docs_store)
    chunk: list[dict[str, Any]] = []
    console = rich.console.Console(stderr=True)
    for row in rich.progress.track(_rows(n), "outputs of jobs", total=2 * n, console=console):
        chunk.append(row)
        if len(chunk) == 1000:
            docs.insert_many(chunk)
            chunk = []
    if chunk:
        docs.insert_many(chunk)
    console.print("building the collections")
    begin = time.perf_counter()
    built = build_all(job_store)
    first = time.perf_counter() - begin
    nothing = _median_time(lambda: build_all(job_store), calls)
    (more,) = (dict(row) for row in docs.find({"output.schema_name": "label_batch"}).limit(1))
    begin = time.perf_counter()
    docs.insert_one({**more, "_id": None, "uuid": "one-more", "completed_at": datetime.now(UTC).isoformat()})
    build_all(job_store)
    one_more = time.perf_counter() - begin
    store = LaocStore(job_store)
    some = next(iter(compositions(n))).id
    questions: dict[str, Callable[[], Any]] = {
        "compositions, 0.9 <= x <= 1 and y >= 0.25, by density": lambda: store.query(
            "compositions", "0.9<=x<=1, y>=0.25", sort="-density"
        ),
        "all compositions, whole": lambda: store.query("compositions"),
        "all compositions, three columns": lambda: store.query("compositions", columns=["x", "y", "density"]),
        "structures of one composition": lambda: store.query("structures", {"composition_id": some}),
        "labels of one composition": lambda: store.query("labels", {"composition_id": some}),
        "failed labels": lambda: store.query("labels", "status=crashed", columns=["key", "reason"]),
        "ten best conductors": lambda: store.query(
            "transport", "y>0", sort="-nernst_einstein.value", limit=10
        ),
    }
    times = {name: _median_time(ask, calls) for name, ask in questions.items()}
    command = [
        *map(
            str,
            (BIN / "laoc", "query", "compositions", "--where", "x=1, y>=0.25", "--workspace", workspace.path),
        )
    ]
    times["laoc query compositions --where 'x=1, y>=0.25', with its start"] = _median_time(
        lambda: subprocess.run(command, check=True, capture_output=True), calls
    )
    sizes = {}
    for name in ("outputs", *built):
        stats = database.command("collStats", name)
        sizes[name] = {
            "documents": stats["count"],
            "mean_document_bytes": stats.get("avgObjSize", 0),
            "stored_MB": stats["storageSize"] / 1e6,
            "index_MB": stats["totalIndexSize"] / 1e6,
        }
    job_store.close()
    return {
        "compositions": n,
        "labels": sizes["labels"]["documents"],
        "seconds_to_build_all": first,
        "seconds_to_build_nothing": nothing,
        "seconds_to_build_one_batch_more": one_more,
        "query_seconds": times,
        "sizes": sizes,
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=30, help="jobs of a chain")
    parser.add_argument(
        "--jf-jobs", type=int, default=4, help="jobs of a chain through jf: each is a Python of its own"
    )
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--compositions", type=int, default=10_000)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    if options.quick:
        options.jobs, options.jf_jobs, options.turns, options.compositions = 5, 2, 1, 100
    root = Path(tempfile.mkdtemp(prefix="laoc-launch-"))
    workspace = Workspace.create(root / "ws")
    settings = workspace.path / "settings.yaml"
    settings.write_text("runner_delay: 1\nworkers: {here: {max_jobs: 2}}\n", encoding="utf-8")
    settings.chmod(0o600)
    workspace = Workspace(workspace.path)
    large = Workspace.create(root / "large")
    try:
        with environment({**workspace.environment(), **jf_environment(workspace)}):
            launch = overhead(workspace, options.jobs, options.jf_jobs, options.turns)
        store = large_store(large, options.compositions, 1 if options.quick else 5)
    finally:
        for each in (workspace, large):
            each.mongo.stop()
        shutil.rmtree(root, ignore_errors=True)
    found = {
        "overhead": launch,
        "ratios": {name: each["median"] for name, each in launch["ratios"].items()},
        "store": store,
        "versions": {name: version(name) for name in PACKAGES} | {"python": platform.python_version()},
        "machine": {"cores": len(os.sched_getaffinity(0)), "processor": platform.machine()},
    }
    print(json.dumps({key: found[key] for key in ("ratios", "store")}, indent=1))
    for name, seconds in launch["seconds_per_job"].items():
        print(f"{name:40} {seconds * 1e3:8.1f} ms for a job")
    if not options.quick:
        RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
