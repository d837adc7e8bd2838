"""What a transport coefficient would be in an infinite cell."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import scipy
from pydantic import Field

from laoc_flows.analysis.trajectories.frame import Result
from laoc_flows.errors import InputError

EWALD_CUBIC = 2.837297
"""Ewald constant of a cubic cell in the correction of Yeh and Hummer."""

_MIN_SIZES = 3


class FiniteSizeResult(Result):
    """Extrapolation of a quantity to an infinite cell."""

    status: Literal["ok", "insufficient", "inconsistent", "empty"] = Field(
        description="'insufficient' with fewer than three different sizes; 'inconsistent' when a line in 1/L does not "
        "describe the values."
    )
    reason: str = Field(description="Why the status is what it is.")
    unit: str = Field(description="Unit of the quantity.")
    value: float | None = Field(description="Quantity in an infinite cell, in `unit`; None unless 'ok'.")
    standard_error: float | None = Field(description="Standard error of the value, in `unit`.")
    interval: tuple[float, float] | None = Field(description="95 % interval of the value, in `unit`.")
    slope: float | None = Field(
        description="d quantity / d (1/L) [`unit` A]; negative when it grows with the cell."
    )
    slope_error: float | None = Field(description="Standard error of the slope [`unit` A].")
    size_dependent: bool | None = Field(
        description="Whether the 95 % interval of the slope excludes zero; if not, `mean` is as good as `value`."
    )
    mean: float | None = Field(description="Weighted mean of all sizes, in `unit`.")
    mean_error: float | None = Field(description="Standard error of the mean, in `unit`.")
    chi_squared: float | None = Field(
        description="Weighted squared residuals of the line; None without errors."
    )
    p_value: float | None = Field(description="Probability of a larger `chi_squared`; None without errors.")
    viscosity: float | None = Field(
        description="Viscosity that the slope stands for [mPa s]; None when no temperature is given, the quantity is not "
        "in cm^2/s, or it does not grow with the cell beyond doubt."
    )
    n_values: int = Field(description="Number of values.", ge=0)
    n_sizes: int = Field(description="Number of different sizes.", ge=0)


def finite_size(
    box_lengths: npt.ArrayLike,
    values: npt.ArrayLike,
    errors: npt.ArrayLike | None = None,
    *,
    unit: str = "cm^2/s",
    temperature: float | None = None,
    min_p_value: float = 0.05,
    ewald_constant: float = EWALD_CUBIC,
) -> FiniteSizeResult:
    """Extrapolate a quantity to an infinite cell, along a line in 1/L.

    Parameters
    ----------
    box_lengths : array_like, shape (n,)
        Length L of the cells, the cube root of the volume where they are not cubic [A].
    values : array_like, shape (n,)
        The quantity in each, in `unit`. Several values of one size are welcome.
    errors : array_like, shape (n,), optional
        Standard errors, in `unit`. Without them all values weigh the same and the scatter about the line gives the
        error.
    unit : str, default "cm^2/s"
        Unit of the values.
    temperature : float, optional
        Temperature [K], for the viscosity.
    min_p_value : float, default 0.05
        A line with a smaller p-value is refused.
    ewald_constant : float, default 2.837297
        Of the shape of the cell; the default is that of a cubic one.

    Returns
    -------
    FiniteSizeResult
        The line at 1/L = 0.

    Raises
    ------
    InputError
        When lengths disagree, a number is not finite, a length or an error is not positive, or the temperature is not.

    Notes
    -----
    In a liquid the drag of a particle's own images makes D(L) = D - k_B T xi / (6 pi eta L): Yeh and Hummer, J. Phys.
    Chem. B 108, 15873 (2004). In a glass whose framework carries no flow there is no such drag, and the line is an
    empirical one: cells that are too small for the chains, or for concerted motion, may shift D either way. Then a
    slope whose interval contains zero is the expected answer, `mean` the better number, and the viscosity is not one.

    Examples
    --------
    >>> result = finite_size([10, 20, 40], [0.9e-7, 0.95e-7, 0.975e-7], [1e-9, 1e-9, 1e-9])
    >>> result.status, f"{result.value:.2e}"
    ('ok', '1.00e-07')
    """
    x, y = np.asarray(box_lengths, dtype=np.float64), np.asarray(values, dtype=np.float64)
    s = None if errors is None else np.asarray(errors, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape or (s is not None and s.shape != y.shape):
        message = "lengths, values and errors do not have the same length"
        raise InputError(message)
    if not (np.isfinite(x).all() and np.isfinite(y).all()) or (x <= 0).any():
        message = "a value is not finite, or a length is not a positive number"
        raise InputError(message)
    if s is not None and (not np.isfinite(s).all() or (s <= 0).any()):
        message = "an error is not a positive number"
        raise InputError(message, remedy="leave errors out when they are unknown")
    if temperature is not None and not (np.isfinite(temperature) and temperature > 0):
        message = f"the temperature is {temperature} K"
        raise InputError(message)
    n, sizes = x.size, np.unique(x).size
    if sizes < _MIN_SIZES:
        return FiniteSizeResult(
            status="insufficient" if n else "empty",
            reason=f"{sizes} different sizes cannot test a line; {_MIN_SIZES} are needed"
            if n
            else "there are no values",
            unit=unit,
            n_values=n,
            n_sizes=sizes,
            **dict.fromkeys(_NUMBERS),
        )
    weights = np.ones(n) if s is None else s**-2.0
    center = float(weights @ (1 / x) / weights.sum())
    mean = float(weights @ y / weights.sum())
    u = 1 / x - center
    slope = float(weights @ (u * y) / (weights @ u**2))
    value = mean - slope * center
    chi_squared = float(weights @ (y - mean - slope * u) ** 2)
    # Without errors the unit of weight is what the scatter about the line says.
    scale = 1.0 if s is not None else chi_squared / (n - 2)
    slope_error = float(np.sqrt(scale / (weights @ u**2)))
    mean_error = float(np.sqrt(scale / weights.sum()))
    error = float(np.hypot(mean_error, slope_error * center))
    reach = float(scipy.stats.norm.ppf(0.975) if s is not None else scipy.stats.t.ppf(0.975, n - 2))
    p_value = None if s is None else float(scipy.stats.chi2.sf(chi_squared, n - 2))
    refused = p_value is not None and p_value < min_p_value
    grows = slope < -reach * slope_error
    viscosity = None
    if temperature is not None and unit == "cm^2/s" and grows and not refused:
        # cm^2/s A = 1e-14 m^3/s, and 1 Pa s = 1000 mPa s.
        drag = scipy.constants.k * temperature * ewald_constant / (6 * np.pi)
        viscosity = float(1e3 * drag / (-slope * 1e-14))
    return FiniteSizeResult(
        status="inconsistent" if refused else "ok",
        reason=f"chi^2 = {chi_squared:.3g} for {n - 2} degrees of freedom"
        if s is not None
        else "the errors come from the scatter about the line, which is not tested",
        unit=unit,
        value=None if refused else value,
        standard_error=None if refused else error,
        interval=None if refused else (value - reach * error, value + reach * error),
        slope=slope,
        slope_error=slope_error,
        size_dependent=abs(slope) > reach * slope_error,
        mean=mean,
        mean_error=mean_error,
        chi_squared=None if s is None else chi_squared,
        p_value=p_value,
        viscosity=viscosity,
        n_values=n,
        n_sizes=sizes,
    )


_NUMBERS = (
    "value",
    "standard_error",
    "interval",
    "slope",
    "slope_error",
    "size_dependent",
    "mean",
    "mean_error",
    "chi_squared",
    "p_value",
    "viscosity",
)
