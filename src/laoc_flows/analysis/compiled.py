"""Compilation of the loops that Python is too slow for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from numba import njit


def compiled(
    function: Callable[..., Any] | None = None, *, fastmath: bool | set[str] = False
) -> Callable[..., Any]:
    """Compile a function at its first call, and keep the result for the next process where there is a place for it.

    Parameters
    ----------
    function : callable
        Written out in loops over arrays.
    fastmath : bool or set of str, default False
        Liberties of LLVM with the order of sums.

    Returns
    -------
    callable
        The same function, compiled. Where neither the installation nor the user's cache folder can be written, it is
        compiled anew in every process.
    """
    if function is None:
        return partial(compiled, fastmath=fastmath)
    try:
        return njit(cache=True, fastmath=fastmath)(function)
    except RuntimeError:
        return njit(fastmath=fastmath)(function)
