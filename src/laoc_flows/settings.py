"""Settings of a workspace: where things are kept, which database, how many cores, which programs.

They come from ``<workspace>/settings.yaml``; environment variables with the prefix ``LAOC_`` override the file.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import yaml
from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

from laoc_flows.errors import EngineUnavailableError, InputError
from laoc_flows.workers import DEFAULT_WORKER, Name, Role, Route, Worker

SETTINGS_FILE = "settings.yaml"
DEFAULT_WORKSPACE = Path(".laoc")

_ENV_PREFIX = "LAOC_"
_SHOWN_CHARACTERS = 60
_OPEN_TO_OTHERS = 0o077
_SECRET = ("mongo_uri", "webhook")


class Settings(BaseSettings):
    """Settings of one workspace; see `Settings.load` for where they come from."""

    model_config = SettingsConfigDict(
        env_prefix=_ENV_PREFIX,
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        validate_default=True,
    )

    workspace: Path = Field(DEFAULT_WORKSPACE, description="directory that everything is kept in [path]")
    mongo_uri: SecretStr | None = Field(
        None, description="MongoDB connection string [URI]; none: the embedded MongoDB of the workspace"
    )
    database: str = Field(
        "laoc", pattern=r"^[A-Za-z0-9_-]{1,60}$", description="name of the MongoDB database [identifier]"
    )
    trajectory_root: str = Field(
        "trajectories",
        min_length=1,
        description="where trajectories are kept [fsspec URL, or path in the workspace]",
    )
    scratch: Path = Field(
        Path("scratch"), description="working directories of programs [path in the workspace]"
    )
    processes: int | None = Field(
        None, ge=1, description="jobs that run at once [processes]; none: the cores this process may use"
    )
    threads_per_job: int = Field(1, ge=1, description="threads of one job [threads]")
    lmp_command: str | None = Field(None, description="how to start LAMMPS [shell words]; none: 'lmp'")
    packmol_command: str | None = Field(
        None, description="how to start packmol [shell words]; none: 'packmol'"
    )
    vasp_command: str | None = Field(
        None, description="how to start VASP, with its mpirun [shell words]; none: 'vasp_std'"
    )
    vasp_gamma_command: str | None = Field(
        None, description="how to start VASP's Gamma-only build [shell words]; none: vasp_command"
    )
    vasp_potcar_dir: Path | None = Field(
        None,
        description="POTCAR library: POT_PAW_PBE_64/..., as pymatgen lays it out [path]; none: pymatgen's own setting",
    )
    cp2k_command: str | None = Field(
        None, description="how to start CP2K, with its mpirun [shell words]; none: 'cp2k.psmp'"
    )
    cp2k_data_dir: Path | None = Field(
        None,
        description="CP2K's basis sets and potentials [path]; none: CP2K_DATA_DIR, or the package's /usr/share/cp2k",
    )
    deepmd_python: Path | None = Field(
        None,
        description="Python of an environment that has DeePMD-kit with PyTorch [path]; none: the one that runs this",
    )
    job_walltime: float | None = Field(
        None,
        gt=60,
        description=(
            "time after which a program is asked to stop and its run goes on in another job [s]; none: the end of the "
            "Slurm allocation, or 4 hours for a run and a day for a label"
        ),
    )

    blob_root: str | None = Field(
        None,
        description=(
            "where models and frames are kept instead of in the database, for workers that do not reach it [fsspec URL, "
            "or path in the workspace]"
        ),
    )
    workers: dict[Name, Worker] = Field(
        default_factory=lambda: {DEFAULT_WORKER: Worker()},
        min_length=1,
        description="places that submitted jobs run in [workers by name]; none: this machine",
    )
    roles: dict[Role, Route] = Field(
        default_factory=dict,
        description="where jobs run [routes by role: dft, train, md, light]; none: the first worker",
    )
    runner_delay: float = Field(
        10.0, ge=1, le=3600, description="time between two looks of the jf runner at its jobs [s]"
    )
    webhook: SecretStr | None = Field(
        None,
        description="where a JSON of every event of a campaign is sent to [URL, http or https]; none: nowhere",
    )
    notify_command: str | None = Field(
        None, description="program that gets the JSON on its standard input [shell words]; none: no program"
    )

    _commands: ClassVar[dict[str, str]] = {
        "lmp": "lmp_command",
        "packmol": "packmol_command",
        "vasp_std": "vasp_command",
        "vasp_gam": "vasp_gamma_command",
        "cp2k.psmp": "cp2k_command",
    }

    @field_validator("workspace")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().resolve()

    @field_validator("scratch")
    @classmethod
    def _in_workspace(cls, value: Path, info: ValidationInfo) -> Path:
        return Path(_below(str(value), info))

    @field_validator("trajectory_root", "blob_root")
    @classmethod
    def _url_or_path(cls, value: str | None, info: ValidationInfo) -> str | None:
        return value if value is None or "://" in value else _below(value, info)

    @field_validator("webhook")
    @classmethod
    def _web_address(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.match(r"https?://[^\s/]+", value.get_secret_value()):
            msg = "must begin with http:// or https://"
            raise ValueError(msg)
        return value

    @field_validator("workers")
    @classmethod
    def _blobs_have_a_place(cls, value: dict[str, Worker], info: ValidationInfo) -> dict[str, Worker]:
        without = [name for name, worker in value.items() if not worker.database]
        if without and "blob_root" in info.data and info.data["blob_root"] is None:
            msg = f"{without[0]} does not reach the database: its models and frames need blob_root"
            raise ValueError(msg)
        return value

    @field_validator("roles")
    @classmethod
    def _known_workers(cls, value: dict[Role, Route], info: ValidationInfo) -> dict[Role, Route]:
        # Missing only where it is in error itself.
        known = info.data.get("workers")
        for role, route in value.items():
            if known is not None and route.worker is not None and route.worker not in known:
                msg = f"{role.value} goes to the worker {route.worker!r}, which is not one of {', '.join(known)}"
                raise ValueError(msg)
        return value

    @field_validator("mongo_uri")
    @classmethod
    def _mongo_scheme(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.match(r"mongodb(\+srv)?://.", value.get_secret_value()):
            msg = "must begin with mongodb:// or mongodb+srv://"
            raise ValueError(msg)
        return value

    @field_validator("vasp_potcar_dir", "cp2k_data_dir")
    @classmethod
    def _expanded(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser().resolve()

    @field_validator("deepmd_python")
    @classmethod
    def _python(cls, value: Path | None) -> Path | None:
        # Not resolved: the link in a virtual environment is what makes it one.
        return None if value is None else value.expanduser().absolute()

    @field_validator(
        "lmp_command",
        "packmol_command",
        "vasp_command",
        "vasp_gamma_command",
        "cp2k_command",
        "notify_command",
    )
    @classmethod
    def _shell_words(cls, value: str | None) -> str | None:
        if value is not None and not shlex.split(value):
            msg = "must name a program"
            raise ValueError(msg)
        return value

    @classmethod
    def load(cls, workspace: Path | None = None) -> Self:
        """Read the settings of a workspace.

        Parameters
        ----------
        workspace : pathlib.Path, optional
            Directory of the workspace. By default ``LAOC_WORKSPACE``, or ``.laoc`` below the current directory.

        Returns
        -------
        Settings
            Values of ``settings.yaml``, overridden by the environment.

        Raises
        ------
        InputError
            If the file or an environment variable cannot be used; the message names file, key, value and remedy.
        """
        from_environment = set(EnvSettingsSource(cls)())
        directory = workspace or Path(os.environ.get(f"{_ENV_PREFIX}WORKSPACE") or DEFAULT_WORKSPACE)
        path = directory.expanduser().resolve() / SETTINGS_FILE
        from_file = _read(path)
        values = {key: value for key, value in from_file.items() if key not in from_environment}
        try:
            return cls(**{**values, "workspace": directory})
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            key, *inner = (str(part) for part in first["loc"])
            where, value = f"{path}: {'.'.join((key, *inner))}", _inside(from_file.get(key), inner)
            if key in from_environment:
                where, value = f"{_ENV_PREFIX}{key.upper()}", os.environ.get(f"{_ENV_PREFIX}{key.upper()}")
            raise InputError(
                _sentence(first["type"], first["msg"]),
                where=f"{where} = {_shown(key, value)}",
                remedy=_remedy(key),
            ) from None

    @property
    def cores(self) -> int:
        """Number of jobs that run at once: `processes`, or the number of cores this process may use."""
        return self.processes or len(os.sched_getaffinity(0))

    def command(self, name: str) -> list[str]:
        """Command line that starts a program.

        The program is looked for next to the running Python interpreter first, then on ``PATH``.

        Parameters
        ----------
        name : str
            ``"lmp"`` and ``"packmol"`` can be set; any other program is only looked for.

        Returns
        -------
        list of str
            The program's absolute path and the arguments it was set with.

        Raises
        ------
        EngineUnavailableError
            If there is no such program.
        """
        key = self._commands.get(name)
        configured: str | None = getattr(self, key) if key else None
        program, *arguments = shlex.split(configured) if configured else [name]
        # Not resolved: the interpreter of a virtual environment is a link to one that lives elsewhere.
        beside = os.path.dirname(os.path.abspath(sys.executable))  # noqa: PTH100, PTH120
        found = shutil.which(program, path=beside) or shutil.which(program)
        if found is None:
            remedy = "install it, or put it on PATH"
            if key:
                remedy = f"{remedy}, or set {key} in {self.workspace / SETTINGS_FILE}"
            msg = f"the program {program!r} was found neither in {beside} nor on PATH"
            raise EngineUnavailableError(msg, where=key, remedy=remedy)
        return [os.path.abspath(found), *arguments]  # noqa: PTH100

    def thread_environment(self) -> dict[str, str]:
        """Environment variables that hold every numerical library to `threads_per_job` threads."""
        threads = str(self.threads_per_job)
        return {
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "OPENBLAS_NUM_THREADS": threads,
            "TF_INTRA_OP_PARALLELISM_THREADS": threads,
            "TF_INTER_OP_PARALLELISM_THREADS": "1",
            "DP_INTRA_OP_PARALLELISM_THREADS": threads,
            "DP_INTER_OP_PARALLELISM_THREADS": "1",
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read; it appears whole, or not at all.

    Parameters
    ----------
    path : pathlib.Path
        File to make or replace.
    text : str
        Its content.
    """
    # mkstemp makes the file with mode 0600: there is no moment at which others could open it.
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _below(value: str, info: ValidationInfo) -> str:
    # Absolute paths stay as they are; the workspace is missing only when it is itself in error.
    return str(Path(info.data.get("workspace", "."), Path(value).expanduser()))


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        msg = f"the settings cannot be read ({reason})"
        raise InputError(msg, where=str(path), remedy="make it a readable text file") from None
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        # The text of the error quotes the file, which may hold a password: only the place is told.
        mark = getattr(error, "problem_mark", None)
        place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        msg = f"the settings are not valid YAML{place}"
        raise InputError(msg, where=str(path), remedy="write one 'key: value' per line") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        msg = f"the settings are a {type(content).__name__}, not a mapping"
        raise InputError(msg, where=str(path), remedy="write one 'key: value' per line")
    settings = {str(key): value for key, value in content.items()}
    if "workspace" in settings:
        msg = "the workspace is the directory of this file and cannot be set in it"
        where = f"{path}: workspace = {_shown('workspace', settings['workspace'])}"
        raise InputError(msg, where=where, remedy=f"remove the key; set {_ENV_PREFIX}WORKSPACE instead")
    secret = next((key for key in _SECRET if settings.get(key)), None)
    if secret and path.stat().st_mode & _OPEN_TO_OTHERS:
        msg = f"other users may read this file, which holds a secret ({secret})"
        raise InputError(msg, where=str(path), remedy=f"run: chmod 600 {path}")
    return settings


def _inside(value: Any, path: Sequence[str]) -> Any:
    """Value below a path of keys; None where there is none."""
    for part in path:
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def _shown(key: str, value: Any) -> str:
    if key in _SECRET:
        return "(hidden)"
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."


def _sentence(kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return "unknown setting"
    return message.removeprefix("Value error, ")


def _remedy(key: str) -> str:
    field = Settings.model_fields.get(key)
    if field is None:
        known = ", ".join(name for name in Settings.model_fields if name != "workspace")
        return f"remove it or use one of: {known}"
    return f"expected: {field.description}"
