"""Other programs: how they end, and what a full disk makes of them."""

import errno
import os
import sys

import pytest

from laoc_flows import process
from laoc_flows.process import run_program


def python(code, directory):
    return run_program([sys.executable, "-c", code], directory=directory, log="log")


def test_a_failure_says_its_last_words(tmp_path):
    done = python("print('one'); print(); print('two'); raise SystemExit(3)", tmp_path)
    assert (done.returncode, done.tail(), done.timed_out) == (3, "one | two", False)
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_a_folder_that_is_gone_does_not_hide_the_failure(tmp_path):
    place = tmp_path / "gone"
    place.mkdir()
    assert python(f"import shutil; shutil.rmtree({str(place)!r}); raise SystemExit(4)", place).returncode == 4


def test_a_failure_on_a_full_disk_is_the_disks(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(process.os, "fsync", full)
    assert python("print('well')", tmp_path).returncode == 0
    for failure in ("raise SystemExit(1)", "import os; os.abort()"):
        with pytest.raises(OSError, match=r"\[Errno 28\] No space left on device: .*" + tmp_path.name):
            python(failure, tmp_path)
