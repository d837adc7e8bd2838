"""What holds for all tests, those in docstrings included."""

import os
from pathlib import Path

import pytest

# Workers that compile the same kernel at once do not meet in one cache. Set before anything imports numba; the programs
# that tests start inherit it.
_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")
os.environ["NUMBA_CACHE_DIR"] = str(Path(__file__).parent / ".pytest_cache" / f"numba-{_WORKER}")


@pytest.fixture(scope="session")
def lialcl4():
    """Unit cell of LiAlCl4, P2_1/c (Mairesse 1977, COD 1004036): four AlCl4, every Al isolated, no link."""
    from ase.spacegroup import crystal

    return crystal(
        ["Li", "Al", "Cl", "Cl", "Cl", "Cl"],
        [
            (0.15688, 0.98308, 0.36658),
            (0.70588, 0.32198, 0.89924),
            (0.69400, 0.18329, 0.04695),
            (0.80902, 0.62835, 0.92849),
            (0.92580, 0.18160, 0.81372),
            (0.43947, 0.31364, 0.81280),
        ],
        spacegroup=14,
        cellpar=[7.007, 6.504, 12.995, 90, 93.32, 90],
    )
