"""Compilation of the loops that Python is too slow for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, update_wrapper
from typing import Any


class _Compiled:
    """A function that is compiled at its first call: importing numba takes longer than most commands."""

    def __init__(self, function: Callable[..., Any], fastmath: bool | set[str]) -> None:
        update_wrapper(self, function)
        self._function, self._fastmath = function, fastmath
        self._made: Callable[..., Any] | None = None

    def __call__(self, *arguments: Any) -> Any:
        return (self._made or self.make())(*arguments)

    def make(self) -> Callable[..., Any]:
        """What numba makes of it, and first of the compiled functions that it calls."""
        if self._made is None:
            from numba import njit

            names: dict[str, Any] = self._function.__globals__
            for name in self._function.__code__.co_names:
                called = names.get(name)
                if isinstance(called, _Compiled) and called is not self:
                    # Numba knows its own functions only.
                    names[name] = called.make()
            try:
                self._made = njit(cache=True, fastmath=self._fastmath)(self._function)
            except RuntimeError:
                self._made = njit(fastmath=self._fastmath)(self._function)
        return self._made


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
    return _Compiled(function, fastmath)
