"""Makes the figures of the pages on the analysis: model glasses, a crystal with disorder by hand, made-up numbers.

Nothing of it is a result on a material. From scratch it takes LAMMPS and some twenty minutes; trajectories that are in
the folder of runs already are used again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from pymatgen.core import Lattice, Structure

from laoc_flows.analysis import Analysis, FiniteSizeResult, Trajectory, analyze, finite_size, glass_transition
from laoc_flows.report.figures import FIGURES, write_figures
from laoc_flows.report.style import DARK, LIGHT, Row, compose, write

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from model_glass import model_glass

FOLDER = Path(__file__).parent / "analysis" / "figures"
N_AL = 32


class Model(NamedTuple):
    """A model run: O per Al, temperature [K], duration [ps]."""

    y: str
    temperature: float
    duration: float


GLASSES = {"y = 0": Model("0", 600, 500), "y = 0.75": Model("0.75", 600, 500)}
MELT = {"y = 0, melt at 900 K": Model("0", 900, 300)}
COLORS = 96
"""Colors of a picture: lines and bars need no more, and a palette takes a third of the bytes."""


def model_runs(models: Mapping[str, Model], folder: Path, **options: Any) -> dict[str, Analysis]:
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for label, model in models.items():
        path = folder / f"model-y{model.y}-{model.temperature:g}K.h5"
        if not path.exists():
            made = model_glass("1", model.y, N_AL, model.temperature, model.duration, interval=0.1)
            made.write(path)
        found[label] = analyze(Trajectory.read(path), model.temperature, **options)
    return found


def disordered_crystals() -> dict[str, Analysis]:
    # LiAlCl4: Mairesse, Barbier and Vignacourt, Cryst. Struct. Commun. 6, 15 (1977); COD 1004036.
    cell = Lattice.monoclinic(7.007, 6.504, 12.995, 93.32)
    sites = [
        [0.15688, 0.98308, 0.36658],
        [0.70588, 0.32198, 0.89924],
        [0.69400, 0.18329, 0.04695],
        [0.80902, 0.62835, 0.92849],
        [0.92580, 0.18160, 0.81372],
        [0.43947, 0.31364, 0.81280],
    ]
    crystal = Structure.from_spacegroup("P2_1/c", cell, ["Li", "Al", *["Cl"] * 4], sites).make_supercell(
        [3, 3, 2]
    )
    species = [site.specie.symbol for site in crystal]
    random = np.random.default_rng(0)

    def run(share: float) -> Trajectory:
        wild = random.permutation(len(species))[: round(share * len(species))]
        rest = crystal.cart_coords.copy()
        rest[wild] = random.uniform(size=(wild.size, 3)) @ crystal.lattice.matrix
        moves = random.normal(0, 0.2, (20, *rest.shape))
        return Trajectory(species, rest + moves, crystal.lattice.matrix, time_step=1.0)

    reference, parts = run(0), ("amorphisation",)
    return {f"p = {p:.0%}": analyze(run(p), crystal=reference, parts=parts) for p in (0, 0.5, 1)}


def transition() -> Figure:
    t = np.linspace(300, 1000, 36)
    volume = 1500 + 0.3 * (t - 600) + 0.15 * np.abs(t - 600) + np.random.default_rng(0).normal(0, 2, t.size)
    result = glass_transition(t, volume)

    def panel(axes: Axes) -> None:
        axes.axvspan(*result.interval, color=LIGHT, label="95 % interval")
        axes.plot(result.temperatures, result.volumes, "o", color="#0072b2", label="volumes")
        axes.plot(result.temperatures, result.fit, color=DARK, label="fit")
        label = f"T$_g$ = {result.t_g.value:.0f} ± {result.t_g.standard_error:.0f} K"
        axes.plot(result.t_g.value, result.volume, "s", color="#d55e00", label=label)
        axes.set(xlabel="temperature (K)", ylabel="volume (Å³)")
        axes.legend()

    return compose([Row("", [panel])])


def sizes() -> Figure:
    random = np.random.default_rng(0)
    errors = np.full(5, 0.02)
    series = {"a liquid": (1.0, 4.2), "a glass": (0.6, 0.0)}
    lengths = np.array([12.0, 16.0, 24.0, 32.0, 48.0])

    def panel(axes: Axes) -> None:
        for (name, (infinite, slope)), color in zip(series.items(), ("#0072b2", "#d55e00"), strict=True):
            values = infinite - slope / lengths + random.normal(0, errors)
            _size(axes, name, color, lengths, values, errors, finite_size(lengths, values, errors))
        axes.set(xlabel="1/L (Å⁻¹)", ylabel="D (arbitrary unit)", ylim=(0, None))
        axes.legend()

    return compose([Row("", [panel])])


def _size(
    axes: Axes,
    name: str,
    color: str,
    lengths: np.ndarray,
    values: np.ndarray,
    errors: np.ndarray,
    result: FiniteSizeResult,
) -> None:
    about = "size dependent" if result.size_dependent else "not size dependent"
    axes.errorbar(1 / lengths, values, 1.96 * errors, fmt="o", color=color, label=f"{name}: {about}")
    x = np.array([0, 1 / lengths[0]])
    axes.plot(x, result.value + result.slope * x, color=color)
    low, high = result.interval
    axes.errorbar(0, result.value, [[result.value - low], [high - result.value]], fmt="s", color=color)


def reduce(folder: Path) -> None:
    for path in sorted(folder.glob("*.png")):
        with Image.open(path) as picture:
            small = picture.convert("RGB").quantize(COLORS, dither=Image.Dither.NONE)
        small.save(path, optimize=True)


def main(runs: Path, folder: Path) -> None:
    glasses = model_runs(GLASSES, runs)
    melt = model_runs(MELT, runs, parts=("msd", "diffusion"))
    write_figures(glasses, folder, ["png"])
    others: Mapping[str, Figure] = {
        "msd": FIGURES["msd"]({"y = 0.75": glasses["y = 0.75"], **melt}),
        "msd_comparison": FIGURES["msd_comparison"]({**glasses, **melt}),
        "amorphisation": FIGURES["amorphisation"](disordered_crystals()),
        "glass_transition": transition(),
        "finite_size": sizes(),
    }
    for name, figure in others.items():
        write(figure, folder / f"{name}.png", "png")
    reduce(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "runs", type=Path, help="folder of the model trajectories, made where they are missing"
    )
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the pictures")
    given = parser.parse_args()
    main(given.runs, given.out)
