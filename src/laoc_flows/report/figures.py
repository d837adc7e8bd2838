"""All figures of an analysis, and their files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from matplotlib.figure import Figure

from laoc_flows.errors import InputError
from laoc_flows.report.figure_amorphisation import amorphisation_series
from laoc_flows.report.figure_calibration import calibration, strata
from laoc_flows.report.figure_chains import chain_length_time, chain_lengths
from laoc_flows.report.figure_hops import hop_classes, survival
from laoc_flows.report.figure_learning import learning_progress
from laoc_flows.report.figure_melt_quench import melt_quench
from laoc_flows.report.figure_msd import msd, msd_comparison
from laoc_flows.report.figure_network import amorphisation, angles, network
from laoc_flows.report.figure_pairs import pair_correlations, scattering
from laoc_flows.report.figure_rotations import rotations
from laoc_flows.report.figure_training import parity, training_curves
from laoc_flows.report.figure_types import enrichment, tetrahedra_time
from laoc_flows.report.style import FORMATS, Analyses, named, write
from laoc_flows.schemas.glass import StructureDocument
from laoc_flows.store.learning import LearningRun

__all__ = [
    "FIGURES",
    "LEARNING_FIGURES",
    "RUN_FIGURES",
    "Analyses",
    "amorphisation",
    "amorphisation_series",
    "angles",
    "calibration",
    "chain_length_time",
    "chain_lengths",
    "enrichment",
    "hop_classes",
    "learning_progress",
    "melt_quench",
    "msd",
    "msd_comparison",
    "network",
    "pair_correlations",
    "parity",
    "rotations",
    "scattering",
    "strata",
    "survival",
    "tetrahedra_time",
    "training_curves",
    "write_figures",
    "write_learning_figures",
    "write_run_figures",
]

_Draw: TypeAlias = Callable[[Analyses], Figure | None]
Profile: TypeAlias = Mapping[str, Sequence[Any]]
"""A run over time, columns by name, as the blob of a structure document holds it."""

FIGURES: dict[str, _Draw] = {
    "chain_lengths": chain_lengths,
    "chain_length_time": chain_length_time,
    "tetrahedra_time": tetrahedra_time,
    "network": network,
    "angles": angles,
    "pair_correlations": pair_correlations,
    "scattering": scattering,
    "msd": msd,
    "msd_comparison": lambda analyses: msd_comparison(named(analyses)),
    "hop_classes": hop_classes,
    "enrichment": enrichment,
    "survival": survival,
    "rotations": rotations,
    "amorphisation": amorphisation,
    "amorphisation_series": amorphisation_series,
}
"""Name of every figure, which is also that of its file, to the function that draws it."""

RUN_FIGURES: dict[str, Callable[[StructureDocument, Profile], Figure | None]] = {"melt_quench": melt_quench}
"""Name of every figure of how a cell was made, which is also how the name of its file begins."""

LEARNING_FIGURES: dict[str, Callable[[LearningRun], Figure | None]] = {
    "learning_progress": learning_progress,
    "calibration": calibration,
    "strata": strata,
    "parity": parity,
    "training_curves": training_curves,
}
"""Name of every figure of a learning loop, which is also how the name of its file begins."""


def write_figures(
    analyses: Analyses, directory: str | Path, formats: Sequence[str] = ("png", "pdf")
) -> list[Path]:
    """Draw and write every figure that the analysis allows.

    Parameters
    ----------
    analyses : Analysis or mapping of str to Analysis
        One analysis, or several by label, drawn side by side.
    directory : str or Path
        Where to; made if it is not there.
    formats : sequence of {"png", "pdf", "svg"}, default ("png", "pdf")
        Formats of the files.

    Returns
    -------
    list of Path
        The files, named as in `FIGURES`. The same analysis gives the same bytes.

    Raises
    ------
    InputError
        When a format is unknown.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from ase.build import bulk
    >>> from laoc_flows.analysis import analyze
    >>> from laoc_flows.analysis import Trajectory
    >>> run = Trajectory.from_ase([bulk("LiCl", "rocksalt", a=5.13, cubic=True)], time_step=1.0)
    >>> with TemporaryDirectory() as directory:
    ...     [path.name for path in write_figures(analyze(run, parts=("pairs",)), directory, ["png"])]
    ['pair_correlations.png']
    """
    drawn = ((name, draw(analyses)) for name, draw in FIGURES.items())
    return _written(drawn, Path(directory), formats)


def write_run_figures(
    structure: StructureDocument,
    profile: Profile,
    directory: str | Path,
    formats: Sequence[str] = ("png", "pdf"),
) -> list[Path]:
    """Draw and write the figures of how a cell was made.

    Parameters
    ----------
    structure : StructureDocument
        What became of the run.
    profile : mapping of str to sequence
        The run over time, as the blob `structure.profile` holds it.
    directory : str or Path
        Where to; made if it is not there.
    formats : sequence of {"png", "pdf", "svg"}, default ("png", "pdf")
        Formats of the files.

    Returns
    -------
    list of Path
        The files: name of the figure, composition, stage, replica and the beginning of the document's key.

    Raises
    ------
    InputError
        When a format is unknown.
    """
    place = structure.provenance
    tag = f"{place.composition_id}-{place.stage}-r{place.replica}-{structure.key[:8]}"
    drawn = ((f"{name}-{tag}", draw(structure, profile)) for name, draw in RUN_FIGURES.items())
    return _written(drawn, Path(directory), formats)


def write_learning_figures(
    run: LearningRun, directory: str | Path, formats: Sequence[str] = ("png", "pdf")
) -> list[Path]:
    """Draw and write every figure that a learning loop allows.

    Parameters
    ----------
    run : LearningRun
        The learning loop, with all that its documents point at.
    directory : str or Path
        Where to; made if it is not there.
    formats : sequence of {"png", "pdf", "svg"}, default ("png", "pdf")
        Formats of the files.

    Returns
    -------
    list of Path
        The files: name of the figure and id of the campaign. The same run gives the same bytes.

    Raises
    ------
    InputError
        When a format is unknown.
    """
    drawn = ((f"{name}-{run.campaign_id}", draw(run)) for name, draw in LEARNING_FIGURES.items())
    return _written(drawn, Path(directory), formats)


def _written(
    drawn: Iterable[tuple[str, Figure | None]], directory: Path, formats: Sequence[str]
) -> list[Path]:
    unknown = [kind for kind in formats if kind not in FORMATS]
    if unknown:
        message = f"there is no figure format {', '.join(map(repr, unknown))}"
        raise InputError(message, remedy=f"formats: {', '.join(FORMATS)}")
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for name, figure in drawn:
        if figure is None:
            continue
        for kind in formats:
            path = directory / f"{name}.{kind}"
            write(figure, path, kind)
            written.append(path)
    return written
