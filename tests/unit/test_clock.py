"""How long a job may go on: the settings, the queue, or neither."""

import time
from types import SimpleNamespace

import pytest

from laoc_flows.engines import clock
from laoc_flows.engines.clock import JobClock
from laoc_flows.errors import ServiceError
from laoc_flows.settings import Settings


@pytest.fixture
def now(monkeypatch):
    """Clock of the machine, moved by hand [s]."""
    hands = SimpleNamespace(monotonic=100.0, time=1.7e9)
    fake = SimpleNamespace(monotonic=lambda: hands.monotonic, time=lambda: hands.time)
    monkeypatch.setattr(clock, "time", fake)
    return hands


def pass_time(now, seconds):
    now.monotonic += seconds
    now.time += seconds


def test_without_a_limit_it_is_what_the_caller_says(now, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_END_TIME", raising=False)
    running = JobClock(Settings())
    pass_time(now, 5000)
    assert running.left(86400.0) == 86400.0
    assert running.elapsed == 5000


def test_the_walltime_counts_from_the_begin_of_the_job(now, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_END_TIME", raising=False)
    running = JobClock(Settings(job_walltime=3600))
    pass_time(now, 600)
    assert running.left(86400.0) == 3000
    pass_time(now, 3600)
    assert running.left(86400.0) == -600


def test_the_second_job_of_an_allocation_has_what_the_first_has_left(now, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(now.time) + 7200))
    first = JobClock(Settings(job_walltime=6000))
    assert first.left(1.0) == 6000
    pass_time(now, 5000)
    second = JobClock(Settings(job_walltime=6000))
    # Less what is kept to store what was made.
    assert second.left(1.0) == 2200 - 60


def test_what_could_only_fail_is_not_begun(now, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(now.time) + 100))
    with pytest.raises(ServiceError, match="ends in 100 s: the job was not begun"):
        JobClock(Settings()).check_begin()
    # An end that is past is no end: the allocation was extended.
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(now.time) - 100))
    extended = JobClock(Settings())
    extended.check_begin()
    assert extended.left(7.0) == 7.0


def test_the_real_clock_goes_forward():
    running = JobClock(Settings(job_walltime=3600))
    before = running.left(1.0)
    deadline = time.monotonic() + 5
    while running.left(1.0) == before and time.monotonic() < deadline:
        pass
    assert running.left(1.0) < before
