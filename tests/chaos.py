# ruff: noqa: T201 -- it is a program
"""Chaos: one campaign in both queues on a real Slurm, while what clusters do to campaigns is done to it.

    python -m tests.chaos --events 20 --seed 1 --campaign tests/data/tiny.yaml

Jobs, runners, launchers, daemons of Slurm and databases are killed, allocations cancelled, the scratch disk filled, locks left behind by the
dead with a clock that is a day ahead. The only help is `laoc doctor --fix` and `laoc resume`. In the end both campaigns must be complete, with the
documents of a run that nobody has disturbed, and nothing that had ended may have been done again. Prints the events and the counts; exits with 1
where something differs. Needs Slurm, and a system that lets the user mount: root, or anybody in a namespace of their own, where it begins again by itself.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import psutil
from pymongo.errors import PyMongoError

from laoc_flows.campaign.file import CampaignFile
from laoc_flows.campaign.queues.base import Queue, State
from laoc_flows.campaign.submit import open_queue
from laoc_flows.store.workspace import Workspace
from tests.integration.test_campaign_run import COLLECTIONS, LAOC, documents, laoc, stop
from tests.integration.test_queues import BIN, SETTINGS, made, qlaunch, shell_environment
from tests.programs import missing
from tests.slurm import PROGRAMS, Slurm

QUEUES = ("jf", "fireworks")
KINDS = ("job", "runner", "rlaunch", "slurmd", "slurmctld", "scancel", "mongod", "disk", "lock")
VICTIMS = {"lmp": "a LAMMPS", "backend.py": "a training", "execution": "a job"}
"""Programs of jobs, and jobs themselves, by a word of their command lines."""
SCRATCH = "256m"
HELP_EVERY, LOOK_EVERY = 20.0, 1.0  # s
PATIENCE = 60.0  # s; for the victim of an event


@dataclass
class Side:
    """The campaign in one queue."""

    name: str
    path: Path
    queue: Queue
    campaign_id: str
    ended: dict[tuple[str, int], Any] = field(default_factory=dict)
    """When each output was made that was ever seen."""
    repeated: set[str] = field(default_factory=set)
    away_until: float = 0.0
    """When the database comes back, if it was taken away."""
    helped: Counter[str] = field(default_factory=Counter)
    crashes: list[str] = field(default_factory=list)
    """What has become of doctor and resume, where they fell over."""

    @property
    def database(self) -> Any:
        """Database, by the client of the queue."""
        queue: Any = self.queue
        return (queue.controller.jobs if self.name == "jf" else queue.launchpad.fireworks).database

    def look(self) -> bool:
        """Note what has ended; whether all has."""
        rows = self.database["outputs"].find({}, {"uuid": 1, "index": 1, "completed_at": 1, "name": 1})
        for row in rows:
            key = row["uuid"], row["index"]
            if self.ended.setdefault(key, row["completed_at"]) != row["completed_at"]:
                self.repeated.add(row["name"])
                self.ended[key] = row["completed_at"]
        jobs = self.queue.jobs(self.campaign_id)
        return bool(jobs) and all(job.state is State.DONE for job in jobs)

    def processes(self) -> Iterator[psutil.Process]:
        """Processes that work in this workspace, but for its database."""
        mark = f"LAOC_WORKSPACE={self.path}"
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                words = process.cmdline()
                inside = mark in Path(f"/proc/{process.pid}/environ").read_bytes().decode(
                    errors="replace"
                ).split("\0")
                if words and inside and "mongod" not in words[0]:
                    yield process


@dataclass
class Event:
    """What was done, when, and to whom."""

    at: float
    kind: str
    what: str


class Chaos:
    """Campaigns under attack.

    Parameters
    ----------
    root : pathlib.Path
        Folder for everything.
    campaign : pathlib.Path
        Campaign file.
    seed : int
        Seed of all that is drawn.
    pause : float
        Mean time between events [s].
    scratch : pathlib.Path, optional
        A small disk that is mounted already; by default one is mounted in `root`.
    """

    def __init__(
        self, root: Path, campaign: Path, seed: int, pause: float, scratch: Path | None = None
    ) -> None:
        self.root, self.campaign, self.mean_pause = root, campaign, pause
        self.random = random.Random(seed)
        self.events: list[Event] = []
        self.later: list[tuple[float, Callable[[], object]]] = []
        self.launchers: list[subprocess.Popen[bytes]] = []
        self.begin = time.monotonic()
        self.scratch, self.mounts = scratch or root / "scratch", scratch is None
        self.slurm = Slurm(root / "slurm")
        self.sides: dict[str, Side] = {}
        self.helper = threading.Thread()
        self.stopping = False
        self.missing = 0
        """Events that have not happened, since both campaigns had ended before."""

    def start(self) -> None:
        """Start Slurm, both queues and what works them off."""
        self.begin = time.monotonic()
        if self.mounts:
            self.scratch.mkdir()
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={SCRATCH}", "none", self.scratch], check=True
            )
        self.slurm.start()
        campaign_id = CampaignFile.load(self.campaign).campaign_id
        for name in QUEUES:
            path = made(self.root / name, self.slurm, f"{SETTINGS}scratch: {self.scratch}/{name}\n")
            laoc(path, "submit", self.campaign, "--to", name)
            self.sides[name] = Side(name, path, open_queue(name, Workspace(path)), campaign_id)
        jf = self.sides["jf"].path
        subprocess.run(
            [BIN / "jf", "runner", "start", "-s"], env=shell_environment(jf, self.slurm), check=True
        )
        self.launchers = list(qlaunch(self.sides["fireworks"].path, self.slurm))

    def stop(self) -> None:
        """End all of it, each part whatever becomes of the others."""
        self.stopping = True
        for step in (
            lambda: self.helper.join(300) if self.helper.is_alive() else None,
            *(action for _, action in self.later),
            *(launcher.kill for launcher in self.launchers),
            *(launcher.wait for launcher in self.launchers),
            lambda: self._runner_command("kill"),
            lambda: self._runner_command("shutdown"),
            self.slurm.stop,
            *(lambda side=side: self._kill_all(side) for side in self.sides.values()),
            *(lambda side=side: stop(side.path) for side in self.sides.values()),
            lambda: subprocess.run(["umount", "--lazy", self.scratch], check=True) if self.mounts else None,
        ):
            try:
                step()
            except Exception as error:  # noqa: BLE001 -- whatever it is, the others are still to be ended
                print(f"not ended: {error!r}")

    def _runner_command(self, command: str) -> None:
        environment = shell_environment(self.sides["jf"].path, self.slurm)
        subprocess.run([BIN / "jf", "runner", command], env=environment, check=False, capture_output=True)

    @staticmethod
    def _kill_all(side: Side) -> None:
        for process in list(side.processes()):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def pause(self) -> float:
        """Time to the next event [s]."""
        return self.mean_pause * self.random.uniform(0.5, 1.5)

    def run(self, events: int, limit: float) -> bool:
        """Let the campaigns run, disturbed; whether both have ended within a time [s]."""
        wanted: list[str] = []
        while len(wanted) < events:
            wanted += self.random.sample(KINDS, len(KINDS))
        del wanted[events:]
        next_event = self.now + self.pause()
        next_help = self.now + HELP_EVERY
        while self.now < limit:
            time.sleep(LOOK_EVERY)
            for due in [each for each in self.later if each[0] <= self.now]:
                self.later.remove(due)
                due[1]()
            if wanted and self.now >= next_event:
                if self.strike(wanted[0]):
                    del wanted[0]
                    next_event = self.now + self.pause()
                elif self.now > next_event + PATIENCE:
                    # No victim for long: another kind first.
                    wanted.append(wanted.pop(0))
                    next_event = self.now
            if not self.helper.is_alive() and self.now >= next_help:
                self.helper = threading.Thread(target=self.help_all, daemon=True)
                self.helper.start()
                next_help = self.now + HELP_EVERY
            done = [self.ended(side) for side in self.sides.values()]
            if all(done) and not self.later:
                self.missing = len(wanted)
                return True
        return False

    @property
    def now(self) -> float:
        """Time since the begin [s]."""
        return time.monotonic() - self.begin

    def ended(self, side: Side) -> bool:
        """Whether one side has ended; not, while its database is away."""
        if self.now < side.away_until:
            return False
        with contextlib.suppress(PyMongoError):
            return side.look()
        return False

    def help_all(self) -> None:
        """Help both sides, beside all that happens."""
        for side in self.sides.values():
            if not self.stopping:
                self.help(side)

    def help(self, side: Side) -> None:
        """All the help that there is."""
        if self.now < side.away_until:
            return
        for command in (("doctor", "--fix", "-q"), ("resume", side.campaign_id, "--now", "--tries", "50")):
            done = subprocess.run(
                [*LAOC, *command, "--workspace", str(side.path)],
                env={**os.environ, **self.slurm.environment},
                capture_output=True,
                text=True,
                check=False,
            )
            # Both find things to complain about here; what they must not do is to fall over.
            if done.returncode not in {0, 1} or "Traceback" in done.stderr:
                side.crashes.append(f"laoc {command[0]} ended with {done.returncode}: {done.stderr[-2000:]}")
            for line in (done.stdout + done.stderr).splitlines():
                # The disk of these tests is smaller than the doctor likes, when it is empty as well.
                if not line.endswith(("nothing is wrong", "nothing has failed")) and "full disk" not in line:
                    side.helped[command[0]] += 1
                    print(f"{self.now:6.0f} s  {side.name}: {line.removeprefix('laoc: ')}", flush=True)

    def strike(self, kind: str) -> bool:
        """Let one event happen; whether it has found a victim."""
        what = None
        with contextlib.suppress(psutil.Error, PyMongoError):
            what = getattr(self, f"_{kind}")()
        if what is None:
            return False
        self.events.append(Event(self.now, kind, what))
        print(f"{self.now:6.0f} s  EVENT {kind}: {what}", flush=True)
        return True

    def _pick(self, victims: list[Any]) -> Any:
        return self.random.choice(victims) if victims else None

    def _kill(self, side: Side, words: str, found: psutil.Process) -> str:
        found.send_signal(signal.SIGKILL)
        return f"kill -9 of {words} of {side.name}"

    def _job(self) -> str | None:
        """A program that a job runs, or the process of the job itself."""
        victims = [
            (side, name, process)
            for side in self.sides.values()
            for process in side.processes()
            for name in VICTIMS
            if any(Path(word).name == name for word in process.cmdline()[:6])
        ]
        victim = self._pick(victims)
        if victim is None:
            return None
        side, name, process = victim
        return self._kill(side, VICTIMS[name], process)

    def _rlaunch(self) -> str | None:
        side = self.sides["fireworks"]
        victims = [p for p in side.processes() if any(Path(w).name == "rlaunch" for w in p.cmdline()[:3])]
        victim = self._pick(victims)
        return None if victim is None else self._kill(side, "an rlaunch", victim)

    def _runner(self) -> str | None:
        """The runner of jf, and as often with what would start it again."""
        side = self.sides["jf"]
        daemons = [p for p in psutil.process_iter() if self._is_supervisor(p, side)]
        runners = [child for p in daemons for child in p.children(recursive=True)]
        if not runners:
            return None
        whole = self.random.random() < 0.5
        for process in [*daemons, *runners] if whole else runners:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        return f"kill -9 of the runner of jf{', and of its supervisord' if whole else ''}"

    @staticmethod
    def _is_supervisor(process: psutil.Process, side: Side) -> bool:
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            return any("supervisord" in word for word in words) and any(
                str(side.path) in word for word in words
            )
        return False

    def _daemon(self, name: str) -> str | None:
        if not self.slurm.runs(name):
            return None
        away = self.random.uniform(1, 20)
        self.slurm.kill_daemon(name)
        self.later.append((self.now + away, lambda: self.slurm.start_daemon(name)))
        return f"kill -9 of {name}, started again after {away:.0f} s"

    def _slurmd(self) -> str | None:
        return self._daemon("slurmd")

    def _slurmctld(self) -> str | None:
        return self._daemon("slurmctld")

    def _scancel(self) -> str | None:
        jobs = self.slurm.jobs()
        victim = self._pick(
            sorted(number for number, state in jobs.items() if state in {"RUNNING", "PENDING"})
        )
        if victim is None:
            return None
        self.slurm.ask("scancel", victim)
        return f"scancel {victim} ({jobs[victim].lower()})"

    def _mongod(self) -> str | None:
        side = self._pick([side for side in self.sides.values() if self.now >= side.away_until])
        if side is None:
            return None
        mongod = Workspace(side.path).mongo
        pid = mongod.status().pid
        if pid is None:
            return None
        away = self.random.uniform(1, 60)
        os.kill(pid, signal.SIGKILL)
        side.away_until = self.now + away

        def back() -> None:
            mongod.start()

        self.later.append((side.away_until, back))
        return f"kill -9 of the mongod of {side.name}, started again after {away:.0f} s"

    def _disk(self) -> str | None:
        """Fill the scratch disk for a while."""
        filler, lasts = self.scratch / "filler", self.random.uniform(5, 20)
        if filler.exists():
            return None
        with filler.open("wb", buffering=0) as handle, contextlib.suppress(OSError):
            while True:
                handle.write(b"\0" * 65536)
        self.later.append((self.now + lasts, filler.unlink))
        return f"scratch disk full for {lasts:.0f} s"

    def _lock(self) -> str | None:
        """A lock whose holder has died, on a machine whose clock was a day ahead."""
        ahead = datetime.now(UTC) + timedelta(days=1)
        side = self._pick([side for side in self.sides.values() if self.now >= side.away_until])
        if side is None:
            return None
        if side.name == "jf":
            place = self.random.choice(("jobs", "flows"))
            query = {"lock_id": None, "state": {"$nin": ["COMPLETED", "FAILED", "REMOTE_ERROR"]}}
            lock = {"lock_id": "the-dead", "lock_time": ahead}
            done = getattr(side.queue.controller, place).update_one(query, {"$set": lock})  # type: ignore[attr-defined]
            return f"lock of the dead on one of the {place} of jf" if done.modified_count else None
        done = side.queue.launchpad.workflows.update_one(  # type: ignore[attr-defined]
            {"locked": {"$exists": False}, "state": {"$ne": "COMPLETED"}},
            {"$set": {"locked": True, "updated_on": ahead}},
        )
        return "lock of the dead on the workflow of fireworks" if done.modified_count else None


def report(chaos: Chaos, reference: Path, *, complete: bool) -> bool:
    """Print events and counts; whether all is as it would be without any event."""
    print(f"\n{len(chaos.events)} events")
    for event in chaos.events:
        print(f"  {event.at:6.0f} s  {event.kind:10} {event.what}")
    good = complete and not chaos.missing
    if chaos.missing:
        print(
            f"{chaos.missing} more have not found the campaigns running: a longer campaign, or shorter pauses"
        )
    print(f"both campaigns complete: {'yes' if complete else 'NO'}")
    expected = documents(reference)
    for side in chaos.sides.values():
        laoc(side.path, "query", "compositions")
        jobs = side.queue.jobs(side.campaign_id)
        found = documents(side.path)
        outputs = [
            (row["uuid"], row["index"]) for row in side.database["outputs"].find({}, {"uuid": 1, "index": 1})
        ]
        states = Counter(job.state.value for job in jobs)
        print(f"{side.name}: {len(jobs)} jobs ({', '.join(f'{n} {state}' for state, n in states.items())}); {len(outputs)} outputs, "
              f"{len(outputs) - len(set(outputs))} doubled; done again after their end: {sorted(side.repeated) or 'none'}; "
              f"lines of doctor {side.helped['doctor']}, of resume {side.helped['resume']}")  # fmt: skip
        print(*side.crashes, sep="\n", end="\n" if side.crashes else "")
        good = good and len(outputs) == len(set(outputs)) and not side.repeated and not side.crashes
        for name in COLLECTIONS:
            mine = Counter(json.dumps(row, sort_keys=True, default=str) for row in found[name])
            theirs = Counter(json.dumps(row, sort_keys=True, default=str) for row in expected[name])
            lost, more = sum((theirs - mine).values()), sum((mine - theirs).values())
            doubled = sum(number - 1 for number in mine.values())
            print(
                f"  {name:12} {sum(mine.values()):4} documents; not as undisturbed: {more}, missing: {lost}, doubled: {doubled}"
            )
            good = good and not lost and not more
            for text in list((mine - theirs).elements())[:2] + list((theirs - mine).elements())[:2]:
                (chaos.root / "differences.txt").open("a").write(f"{side.name} {name} {text}\n")
    return good


def begin_with_a_disk() -> NoReturn:
    """Begin again with a small disk, in a namespace where anybody may mount; as oneself, since Slurm will not run as half a root."""
    disk = tempfile.mkdtemp(prefix="laoc-disk-")
    oneself = [f"--map-user={os.getuid()}", f"--map-group={os.getgid()}"]
    again = [sys.executable, "-m", "tests.chaos", *sys.argv[1:], "--scratch", disk]
    script = f'mount -t tmpfs -o size={SCRATCH} none "$0" && exec "$@"'
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, disk, "unshare", *oneself, *again]
    os.execvp(command[0], command)  # noqa: S606 -- no shell but for the line above


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--campaign", type=Path, default=Path(__file__).parent / "data" / "tiny.yaml")
    parser.add_argument(
        "--root",
        type=Path,
        help="folder for everything, made anew; none: one that is removed after a good end",
    )
    parser.add_argument(
        "--reference",
        type=Path,
        help="workspace in which the campaign has run undisturbed; none: it runs first",
    )
    parser.add_argument("--pause", type=float, default=20, help="mean time between events [s]")
    parser.add_argument("--limit", type=float, default=3600, help="longest time [s]")
    parser.add_argument("--scratch", type=Path, help="small disk, mounted already; none: one is mounted")
    options = parser.parse_args()
    if options.scratch is None and os.getuid() != 0:
        begin_with_a_disk()
    if gone := missing(PROGRAMS):
        sys.exit(f"not installed: {', '.join(gone)}")
    root = options.root.resolve() if options.root else Path(tempfile.mkdtemp(prefix="laoc-chaos-"))
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    reference = options.reference or root / "undisturbed"
    chaos = Chaos(root, options.campaign.resolve(), options.seed, options.pause, options.scratch)
    try:
        if options.reference is None:
            print("the campaign, undisturbed", flush=True)
            laoc(reference, "run", options.campaign)
        chaos.start()
        complete = chaos.run(options.events, options.limit)
        good = report(chaos, reference, complete=complete)
    finally:
        chaos.stop()
        if options.reference is None:
            stop(reference)
    if good and not options.root:
        shutil.rmtree(root, ignore_errors=True)
    print("as undisturbed" if good else f"NOT as undisturbed: see {root}")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
