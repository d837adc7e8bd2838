"""Numbers that carry their uncertainty."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from laoc_flows.errors import InputError
from laoc_flows.schemas.base import Measured

__all__ = ["Measured", "block_average"]


def block_average(series: npt.ArrayLike, unit: str, n_blocks: int = 5) -> Measured:
    """Average a time series and estimate its error from the means of consecutive blocks.

    Parameters
    ----------
    series : array_like, shape (n,)
        Samples in time order, in `unit`. The first ``n % n_blocks`` blocks are one sample longer.
    unit : str
        Unit of the samples; ``"1"`` for a pure number.
    n_blocks : int, default 5
        Number of blocks; fewer when there are fewer samples. Blocks must be longer than the correlation time.

    Returns
    -------
    Measured
        Mean of all samples; the standard error is None for a single sample.

    Raises
    ------
    InputError
        When the series is empty, not one-dimensional or not finite, or when `n_blocks` is below 2.

    Notes
    -----
    Flyvbjerg and Petersen, J. Chem. Phys. 91, 461 (1989), with a fixed number of blocks.

    Examples
    --------
    >>> mean = block_average([1.0, 3.0, 2.0, 4.0], "g/cm^3", n_blocks=2)
    >>> mean.value, mean.standard_error
    (2.5, 0.5)
    """
    values = np.asarray(series, dtype=np.float64)
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
        message = (
            f"a series of shape {values.shape} cannot be averaged: it must be flat, finite and not empty"
        )
        raise InputError(message)
    if n_blocks < 2:  # noqa: PLR2004 - the variance of one number is undefined
        message = f"n_blocks is {n_blocks}, not at least 2"
        raise InputError(message)
    n_used = min(n_blocks, values.size)
    error = None
    if n_used > 1:
        means = np.array([block.mean() for block in np.array_split(values, n_used)])
        error = float(means.std(ddof=1) / np.sqrt(n_used))
    return Measured(value=float(values.mean()), standard_error=error, unit=unit, n_independent=n_used)
