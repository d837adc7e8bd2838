"""What holds for all tests, those in docstrings included."""

import os
from pathlib import Path

import pytest

# Workers that compile the same kernel at once do not meet in one cache. Set before anything imports numba; the programs
# that tests start inherit it.
_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")
os.environ["NUMBA_CACHE_DIR"] = str(Path(__file__).parent / ".pytest_cache" / f"numba-{_WORKER}")

# Each worker has a core to itself. Programs that take all cores wait for each other: a relaxation with CHGNet takes ten times as
# long beside another test. Also before anything is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def lialcl4():
    """Unit cell of LiAlCl4, P2_1/c (Mairesse 1977, COD 1004036): four AlCl4, every Al isolated, no link."""
    from laoc_flows.flows.crystals import lialcl4

    return lialcl4()
