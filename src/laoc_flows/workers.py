"""Who does what: the kinds of jobs, the workers that run them, and what a job asks a queue for."""

from __future__ import annotations

from enum import StrEnum
from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,40}$"
# What ends up in a job script as a word of a directive: nothing that a shell or a second line could make of it.
_WORD = r"^[A-Za-z0-9][A-Za-z0-9_.,:+=@/-]{0,100}$"
Name = Annotated[str, StringConstraints(pattern=_NAME)]
Word = Annotated[str, StringConstraints(pattern=_WORD)]
Variable = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,60}$")]
_MINUTE = 60


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Role(StrEnum):
    """Kind of a job, by what it needs.

    ``dft`` labels frames and runs dynamics with the reference engine, ``train`` trains potentials and evaluates
    them, ``md`` runs LAMMPS with a potential, and ``light`` is everything else: minutes of one core.
    """

    DFT = "dft"
    TRAIN = "train"
    MD = "md"
    LIGHT = "light"


class Resources(_Model):
    """What one job asks a queue for; what is left out is left to the queue."""

    partition: Word | None = Field(None, description="partition or queue [name]")
    account: Word | None = Field(None, description="account to charge [name]")
    qos: Word | None = Field(None, description="quality of service [name]")
    nodes: int | None = Field(None, ge=1, le=100_000, description="nodes [1]")
    processes: int = Field(
        1, ge=1, le=1_000_000, description="MPI processes; of each node where nodes is given [1]"
    )
    threads: int = Field(1, ge=1, le=1024, description="threads, and cores, of each process [1]")
    gpus: int | None = Field(None, ge=1, le=100_000, description="GPUs of the whole job [1]")
    memory_per_core: int | None = Field(None, ge=1, description="memory of each core [MB]")
    time_limit: int | None = Field(
        None, ge=_MINUTE, description="time after which the queue ends the job [s]"
    )
    options: dict[Word, Word] = Field(
        default_factory=dict,
        description="further options of the queue by their names in a directive, for example 'constraint'",
    )

    @property
    def cores(self) -> int:
        """Cores of one job [1]."""
        return (self.nodes or 1) * self.processes * self.threads

    def over(self, other: Resources | None) -> Resources:
        """These, and of the others what these leave out."""
        if other is None:
            return self
        given = self.model_dump(exclude_unset=True)
        return Resources(**{**other.model_dump(exclude_unset=True), **given})


class Surroundings(_Model):
    """What is set up on a worker before a job runs."""

    modules: tuple[Word, ...] = Field((), description="modules to load")
    environment: dict[Variable, str] = Field(default_factory=dict, description="environment variables")
    commands: tuple[str, ...] = Field((), description="further lines of the shell, run as they stand")

    @field_validator("environment")
    @classmethod
    def _printable(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if not text.isprintable():
                msg = f"the value of {name} has characters that cannot be in a line"
                raise ValueError(msg)
        return value

    def over(self, other: Surroundings | None) -> Surroundings:
        """These after the others."""
        if other is None:
            return self
        return Surroundings(
            modules=(*other.modules, *self.modules),
            environment={**other.environment, **self.environment},
            commands=(*other.commands, *self.commands),
        )


class Needs(_Model):
    """What the jobs of a role need: of the queue, and set up."""

    resources: Resources = Field(default_factory=Resources, description="what a job asks its queue for")
    setup: Surroundings = Field(default_factory=Surroundings, description="what is set up before a job runs")


class Route(Needs):
    """Where the jobs of a role run, and with what."""

    worker: Name | None = Field(None, description="worker that runs them; none: the first [name]")
    priority: int = Field(0, ge=-1000, le=1000, description="jobs of a higher priority are taken first [1]")
    engines: dict[Name, Needs] = Field(
        default_factory=dict,
        description="what they need besides with a reference engine, by the engine's name",
    )

    def needs(self, engine: str) -> Needs:
        """What the jobs of the role need with a reference engine."""
        special = self.engines.get(engine)
        if special is None:
            return Needs(resources=self.resources, setup=self.setup)
        return Needs(resources=special.resources.over(self.resources), setup=special.setup.over(self.setup))


class Worker(_Model):
    """A place that jobs run in: this machine, its queue, or those of another machine."""

    scheduler: Literal["shell", "slurm", "pbs", "sge"] = Field(
        "shell", description="how jobs are started: as processes, or by a queue"
    )
    max_jobs: int = Field(4, ge=1, le=100_000, description="jobs that wait or run at once [1]")
    resources: Resources = Field(default_factory=Resources, description="what every job asks the queue for")
    setup: Surroundings = Field(default_factory=Surroundings, description="what is set up before every job")
    database: bool = Field(
        True,
        description="whether its jobs reach the database; if not, blob_root must be a place that they and the runner of jf see",
    )
    host: Word | None = Field(None, description="machine that is reached by SSH; none: this one [name]")
    user: Word | None = Field(None, description="user on that machine; none: as here [name]")
    port: int | None = Field(
        None, ge=1, le=65535, description="port of its SSH; none: that of SSH itself [1]"
    )
    key_file: str | None = Field(None, description="private key for SSH; none: those of SSH itself [path]")
    python: str | None = Field(
        None, description="Python that has laoc-flows on that machine [path]; none: the one that runs this"
    )
    workspace: str | None = Field(
        None, description="workspace on that machine [path]; none: this one, on a shared file system"
    )

    @field_validator("python", "workspace", "key_file")
    @classmethod
    def _absolute(cls, value: str | None) -> str | None:
        if value is not None and not PurePosixPath(value).is_absolute():
            msg = "must be an absolute path"
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.host is not None and (self.python is None or self.workspace is None):
            msg = "a worker with a host needs python and workspace, the paths there"
            raise ValueError(msg)
        if self.host is None and (self.user or self.port or self.key_file):
            msg = "user, port and key_file mean nothing without a host"
            raise ValueError(msg)
        return self


DEFAULT_WORKER = "here"
