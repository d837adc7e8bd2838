"""A real Slurm on this machine, for the tests: munge, controller and one node in a folder of their own."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import time
from pathlib import Path

from tests.programs import program

PARTITIONS = ("cpu", "gpu")
_DAEMONS = ("munged", "slurmctld", "slurmd")
PROGRAMS = (*_DAEMONS, "sbatch", "squeue")
_START = 60.0  # s


class Slurm:
    """A cluster of one node with two partitions.

    Parameters
    ----------
    root : pathlib.Path
        Folder for its files.
    cpus : int
        CPUs that the node says it has; more jobs than there are cores may run.
    """

    def __init__(self, root: Path, cpus: int = 4) -> None:
        self.root = root
        self.root.mkdir(mode=0o755, parents=True)
        self.conf = root / "slurm.conf"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        for name in ("state", "spool", "munge"):
            (root / name).mkdir(mode=0o755 if name == "munge" else 0o700)
        key = root / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        user, host = _user(), socket.gethostname().partition(".")[0]
        control, node = _free_port(), _free_port()
        partitions = "\n".join(
            f"PartitionName={name} Nodes=ALL Default={'YES' if name == PARTITIONS[0] else 'NO'} State=UP MaxTime=INFINITE"
            for name in PARTITIONS
        )
        self.conf.write_text(f"""
ClusterName=laoc
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={control}
SlurmdPort={node}
AuthType=auth/munge
AuthInfo=socket={root}/munge/socket
CryptoType=crypto/munge
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
SlurmctldTimeout=30
SlurmdTimeout=30
KillWait=2
MinJobAge=5
SchedulerParameters=sched_interval=2,sched_min_interval=100000
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=4000 State=UNKNOWN
{partitions}
""")

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which the commands of Slurm find this cluster."""
        return {"SLURM_CONF": str(self.conf)}

    def start(self) -> None:
        """Start all daemons, and wait until the node takes jobs."""
        for name in _DAEMONS:
            self.start_daemon(name)
        deadline = time.monotonic() + _START
        while True:
            done = self.ask("sinfo", "-h", "-o", "%T")
            if done.returncode == 0 and "idle" in done.stdout.split():
                return
            if time.monotonic() > deadline:
                logs = "\n".join(
                    f"{path.name}: {path.read_text(errors='replace')[-800:]}"
                    for path in self.root.glob("*.log")
                )
                msg = f"Slurm does not come up: {done.stdout}{done.stderr}\n{logs}"
                raise RuntimeError(msg)
            time.sleep(0.2)

    def start_daemon(self, name: str) -> None:
        """Start one of the daemons."""
        path = program(name)
        assert path is not None, f"{name} is not installed"
        commands = {
            "munged": [
                "--foreground", "--force", f"--key-file={self.root}/munge.key", f"--socket={self.root}/munge/socket",
                f"--pid-file={self.root}/munge/pid", f"--log-file={self.root}/munged.log", f"--seed-file={self.root}/munge/seed",
            ],
            "slurmctld": ["-D", "-f", str(self.conf)],
            "slurmd": ["-D", "-f", str(self.conf)],
        }  # fmt: skip
        with (self.root / f"{name}.out").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [path, *commands[name]],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **self.environment},
                start_new_session=True,
            )
        if name == "munged":
            deadline = time.monotonic() + _START
            while not (self.root / "munge" / "socket").exists() and time.monotonic() < deadline:
                time.sleep(0.05)

    def runs(self, name: str) -> bool:
        """Whether one of the daemons runs."""
        process = self._processes.get(name)
        return process is not None and process.poll() is None

    def kill_daemon(self, name: str) -> None:
        """End one of the daemons with SIGKILL."""
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    def ask(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command of Slurm."""
        return subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, **self.environment}
        )

    def jobs(self) -> dict[str, str]:
        """Numbers of the jobs and their states."""
        rows = self.ask("squeue", "-h", "-o", "%A %T").stdout.splitlines()
        return dict(row.split() for row in rows)

    def stop(self) -> None:
        """End everything: first the jobs, then the daemons."""
        self.ask("scancel", "--user", _user())
        time.sleep(0.5)
        for name in reversed(_DAEMONS):
            process = self._processes.pop(name, None)
            if process is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()


def _user() -> str:
    import pwd

    return pwd.getpwuid(os.getuid()).pw_name


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
