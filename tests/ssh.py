"""A real SSH server on this machine, for the tests: its own keys, on a port of its own, for the user who runs them."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

from tests.programs import program

PROGRAMS = ("sshd", "ssh-keygen")
_START = 30.0  # s


class SshServer:
    """A server that lets in whoever has its key.

    Parameters
    ----------
    root : pathlib.Path
        Folder for its files.
    """

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True)
        self.key = root / "key"
        for path in (self.key, root / "host_key"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
            subprocess.run(command, check=True)
        shutil.copyfile(f"{self.key}.pub", root / "authorized_keys")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.log = root / "log"
        (root / "sshd_config").write_text(f"""
ListenAddress 127.0.0.1
Port {self.port}
HostKey {root}/host_key
AuthorizedKeysFile {root}/authorized_keys
PidFile none
StrictModes no
PermitRootLogin yes
PasswordAuthentication no
Subsystem sftp internal-sftp
""")
        if os.geteuid() == 0:
            # sshd of root wants this empty folder for its unprivileged part.
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        sshd = program("sshd")
        assert sshd is not None, "sshd is not installed"
        command = [sshd, "-D", "-e", "-f", str(root / "sshd_config")]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise

    def _wait(self) -> None:
        deadline = time.monotonic() + _START
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    msg = f"sshd does not start: {self.log.read_text(errors='replace')}"
                    raise RuntimeError(msg) from None
                time.sleep(0.1)
            else:
                return

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()
