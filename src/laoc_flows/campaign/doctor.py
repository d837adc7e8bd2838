"""Finding what is stuck, and what to do about it."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import fsspec

from laoc_flows.campaign.queues.base import Queue, QueuedJob, State, Trouble
from laoc_flows.campaign.queues.jf_project import ask_remote
from laoc_flows.campaign.submissions import Submission, Submissions
from laoc_flows.campaign.submit import open_queue
from laoc_flows.errors import LaocError
from laoc_flows.store.workspace import Workspace, environment
from laoc_flows.workers import Worker

_LEAST_FREE = 5_000_000_000
"""Less free space than that is a trouble [B]."""
_TIMEOUT = 60.0  # s
_SCHEDULERS = {"slurm": ("sbatch", "squeue"), "pbs": ("qsub", "qstat"), "sge": ("qsub", "qstat")}
_CODE = (
    "import json, laoc_flows, jobflow; from importlib.metadata import version; "
    "print(json.dumps({'laoc-flows': laoc_flows.__version__, 'jobflow': version('jobflow'), "
    "'deepmd-kit': version('deepmd-kit')}))"
)


class Doctor:
    """Looks for stuck states of a workspace and its campaigns.

    Parameters
    ----------
    workspace : Workspace
        Workspace.
    say : callable
        Called with one-line messages on what is looked at.
    """

    def __init__(self, workspace: Workspace, say: Callable[[str], None]) -> None:
        self.workspace = workspace
        self.settings = workspace.settings
        self._say = say
        self._queues: dict[str, Queue] = {}

    def examine(self) -> list[Trouble]:
        """Look at everything.

        Returns
        -------
        list of Trouble
            What is wrong, the store first: without it nothing else can be looked at.
        """
        self._say("disks")
        found = [*self._disks()]
        self._say("database")
        try:
            store = self.workspace.job_store()
        except LaocError as error:
            remedy = error.remedy or "check the settings"
            return [*found, Trouble("unreachable store", error.where or "database", error.message, remedy)]
        try:
            submissions = Submissions(store)
            found += self._submissions(submissions)
            self._say("workers")
            for name, worker in self.settings.workers.items():
                found += self.worker(name, worker)
            for name in dict.fromkeys(each.queue for each in submissions.all()):
                self._say(f"queue of {name}")
                queue = self._queue(name)
                for trouble in queue.diagnose():
                    trouble.data["queue"] = name
                    found.append(trouble)
                found += self._not_in_slurm(queue)
        finally:
            store.close()
        return found

    def fix(self, trouble: Trouble) -> str:
        """Settle what can be settled safely; what was done, in words.

        Parameters
        ----------
        trouble : Trouble
            One whose `fix` is not empty.
        """
        if trouble.fix == "release claim":
            store = self.workspace.job_store()
            Submissions(store).release(trouble.data["campaign_id"], trouble.data["token"])
            store.close()
            return "released"
        queue = self._queue(trouble.data["queue"])
        if trouble.fix == "rerun job":
            job = next((j for j in queue.jobs(trouble.data["campaign"]) if j.id == trouble.data["id"]), None)
            if job is None or job.state is not State.RUNNING:
                return "has moved on meanwhile"
            return "runs again" if queue.rerun([job]) else "did not run again"
        return queue.fix(trouble)

    def _queue(self, name: str) -> Queue:
        if name not in self._queues:
            self._queues[name] = open_queue(name, self.workspace)
        return self._queues[name]

    def _disks(self) -> Iterator[Trouble]:
        places = {"workspace": self.workspace.path, "scratch": self.settings.scratch}
        for key, root in (
            ("trajectory_root", self.settings.trajectory_root),
            ("blob_root", self.settings.blob_root),
        ):
            if root is not None and (path := _local(root)) is not None:
                places[key] = path
        for key, path in places.items():
            there = next(parent for parent in (path, *path.parents) if parent.exists())
            free = shutil.disk_usage(there).free
            if free < _LEAST_FREE:
                yield Trouble(
                    "full disk",
                    f"{key} {path}",
                    f"has {free / 1e9:.1f} GB left",
                    f"free some, or set {key} to another disk in {self.workspace.path / 'settings.yaml'}",
                )

    def _submissions(self, submissions: Submissions) -> Iterator[Trouble]:
        here = version("laoc-flows")
        for submission in submissions.all():
            claim = submissions.abandoned(submission)
            if claim is not None:
                yield Trouble(
                    "submission not ended",
                    f"campaign {submission.campaign_id}",
                    f"was being submitted by a process on {submission.by['host']} that has ended",
                    "submit it again, or laoc doctor --fix",
                    fix="release claim",
                    data={"campaign_id": submission.campaign_id, "token": claim},
                )
            by = submission.by.get("laoc_flows")
            if by is not None and by != here and self._is_open(submission):
                yield Trouble(
                    "version",
                    f"campaign {submission.campaign_id}",
                    f"was submitted by laoc-flows {by}, and this is {here}",
                    "run its workers with that version to its end",
                )
            yield from self._engine(submission)

    def _is_open(self, submission: Submission) -> bool:
        queue = self._queue(submission.queue)
        return any(job.state is not State.DONE for job in queue.jobs(submission.campaign_id))

    def _engine(self, submission: Submission) -> Iterator[Trouble]:
        """Engines that cannot run here, where the jobs that need them do."""
        if submission.file is None or any(worker.host for worker in self.settings.workers.values()):
            return
        if not self._is_open(submission):
            return
        try:
            # Engines look for their programs where the settings of the workspace say.
            with environment({"LAOC_WORKSPACE": str(self.workspace.path)}):
                submission.file.engine.check_available()
        except LaocError as error:
            about = f"campaign {submission.campaign_id}"
            yield Trouble(
                "engine", about, f"needs {submission.file.engine.name}: {error.message}", error.remedy or ""
            )

    def worker(self, name: str, worker: Worker) -> Iterator[Trouble]:
        """What keeps a worker from being used."""
        about = f"worker {name}"
        if worker.host is None:
            for program in _SCHEDULERS.get(worker.scheduler, ()):
                if shutil.which(program) is None:
                    yield Trouble(
                        "scheduler",
                        about,
                        f"the program {program!r} is not on PATH",
                        "load it, or change the worker",
                    )
                    return
        if worker.scheduler == "slurm" and worker.host is None:
            yield from self._partitions(name, worker)
        if worker.host is not None:
            yield from self._remote(name, worker)

    def _partitions(self, name: str, worker: Worker) -> Iterator[Trouble]:
        done = _ask(["sinfo", "-h", "-o", "%R %a"])
        if done is None:
            yield Trouble(
                "scheduler",
                f"worker {name}",
                "Slurm does not answer",
                "see whether slurmctld runs: scontrol ping",
            )
            return
        known = dict(line.split(maxsplit=1) for line in done.splitlines() if " " in line)
        asked = {worker.resources.partition}
        for route in self.settings.roles.values():
            if (route.worker or next(iter(self.settings.workers))) == name:
                asked |= {route.resources.partition, *(n.resources.partition for n in route.engines.values())}
        for partition in sorted(name for name in asked if name is not None and name not in known):
            yield Trouble(
                "partition",
                f"worker {name}",
                f"Slurm has no partition {partition!r}",
                f"choose one of {', '.join(sorted(known))} in the settings",
            )

    def _remote(self, name: str, worker: Worker) -> Iterator[Trouble]:
        # As the runner of jf connects, not as the ssh of this shell does.
        try:
            answer = ask_remote(
                self.workspace, name, worker, f"{shlex.quote(str(worker.python))} -c {shlex.quote(_CODE)}"
            )
            there = json.loads(answer.strip().splitlines()[-1])
        except (LaocError, ValueError, IndexError) as error:
            target = f"{worker.user}@{worker.host}" if worker.user else str(worker.host)
            port = f" -p {worker.port}" if worker.port else ""
            key = f" -i {shlex.quote(worker.key_file)}" if worker.key_file else ""
            why = error.message if isinstance(error, LaocError) else "does not answer as laoc-flows does"
            yield Trouble(
                "worker",
                f"worker {name}",
                f"{target}: {why}",
                f"try: ssh{port}{key} {target} {worker.python} -c \"'import laoc_flows'\"",
            )
            return
        here = {package: version(package) for package in there}
        for package, mine in here.items():
            if there.get(package) != mine:
                yield Trouble(
                    "version",
                    f"worker {name}",
                    f"has {package} {there.get(package)}, and here it is {mine}",
                    f"install the same there: {worker.python} -m pip install {package}=={mine}",
                )

    def _not_in_slurm(self, queue: Queue) -> Iterator[Trouble]:
        """Jobs that FireWorks has as running, and Slurm does not know; the runner of jf looks for itself."""
        if queue.name != "fireworks":
            return
        running: list[tuple[str, QueuedJob]] = [
            (campaign, job)
            for campaign in queue.campaigns()
            for job in queue.jobs(campaign)
            if job.state is State.RUNNING and job.queue_id.isdigit()
        ]
        listed = _ask(["squeue", "-h", "-o", "%A"]) if running else None
        if listed is None:
            return
        known = set(listed.split())
        for campaign, job in running:
            if job.queue_id not in known:
                yield Trouble(
                    "lost job",
                    f"job {job.id} ({job.name})",
                    f"is {job.native}, but Slurm does not know its allocation {job.queue_id} any more",
                    f"lpad rerun_fws -i {job.id}",
                    fix="rerun job",
                    data={"queue": queue.name, "campaign": campaign, "id": job.id},
                )


def checks(workspace: Workspace) -> list[Trouble]:
    """What keeps the workers of a workspace from being used.

    Parameters
    ----------
    workspace : Workspace
        Workspace.
    """
    doctor = Doctor(workspace, lambda _: None)
    found: list[Trouble] = []
    for name, worker in workspace.settings.workers.items():
        found += doctor.worker(name, worker)
    return found


def _local(root: str) -> Path | None:
    filesystem, path = fsspec.core.url_to_fs(root)
    protocols = filesystem.protocol if isinstance(filesystem.protocol, tuple) else (filesystem.protocol,)
    return Path(path) if "file" in protocols else None


def _ask(command: list[str]) -> str | None:
    """What a program prints; None if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
