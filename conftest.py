"""What holds for all tests, those in docstrings included."""

import os
from pathlib import Path

# Workers that compile the same kernel at once do not meet in one cache. Set before anything imports numba; the programs
# that tests start inherit it.
_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")
os.environ["NUMBA_CACHE_DIR"] = str(Path(__file__).parent / ".pytest_cache" / f"numba-{_WORKER}")
