"""Labels of other programs, read and checked as a whole: levels of theory, what is held out, and copies."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ase import Atoms

from laoc_flows.errors import InputError
from laoc_flows.frames import geometry_key
from laoc_flows.schemas.imported import NAME_PATTERN, ImportFacts
from laoc_flows.store.exports import CARD
from laoc_flows.store.import_frames import FileFrame, Show, read_source
from laoc_flows.store.import_sources import AUTO, FORMATS, Source, find_sources

_SAME_ENERGY = 1e-3  # eV/atom; energies of one geometry that differ by more are not of one level of theory
_MAX_LEVEL = 300
_LEAST_HOLD_OUT = 2


class Found(NamedTuple):
    """A label that was read.

    Attributes
    ----------
    key : str
        Its content address: geometry and level of theory.
    where : str
        Which frame of which file.
    atoms : ase.Atoms
        Frame with energy [eV], forces [eV/A] and stress [eV/A^3].
    """

    key: str
    where: str
    atoms: Atoms

    @property
    def energy(self) -> float:
        """Potential energy of the cell [eV]."""
        return float(self.atoms.get_potential_energy())


class ImportTrajectory(NamedTuple):
    """Frames that are trained on together, or held out together.

    Attributes
    ----------
    composition_id : str
        Canonical composition id.
    held_out : bool
        Whether it is for testing.
    labels : list of Found
        Its labels, each of them once in the import.
    """

    composition_id: str
    held_out: bool
    labels: list[Found]


class ReadImport(NamedTuple):
    """What was read, checked, and may be imported.

    Attributes
    ----------
    facts : ImportFacts
        What is known besides the labels.
    trajectories : list of ImportTrajectory
        In the order of the files, none of them empty.
    """

    facts: ImportFacts
    trajectories: list[ImportTrajectory]


class _Part(NamedTuple):
    composition_id: str
    held_out: bool
    frames: list[FileFrame]


def read_import(
    name: str,
    paths: Sequence[Path],
    *,
    level_of_theory: str | None = None,
    fmt: str = AUTO,
    test: Sequence[Path] = (),
    hold_out: int | None = None,
    skip_bad: bool = False,
    license_name: str | None = None,
    show: Show | None = None,
) -> ReadImport:
    """Read labels of other programs and check every frame; nothing is written.

    Parameters
    ----------
    name : str
        Name of the import: lower-case letters, digits and hyphens.
    paths : sequence of pathlib.Path
        Files and folders.
    level_of_theory : str, optional
        Identity of what computed them; only exports with a card need none.
    fmt : str
        Format, or ``auto``.
    test : sequence of pathlib.Path
        Files and folders that are held out as a whole.
    hold_out : int, optional
        Hold out every so many-th trajectory of `paths` instead.
    skip_bad : bool
        Whether frames that are no labels are left out, and not an error.
    license_name : str, optional
        License of the data; by default the one that the card states.
    show : callable, optional
        Called with the name of a file and the number of its frames read so far.

    Returns
    -------
    ReadImport
        What may be imported.

    Raises
    ------
    InputError
        If a name, a path, a card or a frame cannot be used.
    """
    _check_options(name, paths, fmt, test, hold_out)
    sources = [each for path in paths for each in find_sources(path, fmt)]
    sources += [each for path in test for each in find_sources(path, fmt, held_out=True)]
    level = _level(sources, level_of_theory)
    if hold_out is not None and any(each.held_out for each in sources):
        msg = "an export says itself what is held out"
        raise InputError(msg, where=f"--hold-out {hold_out}", remedy="leave --hold-out out")
    parts, bad = _read(sources, level, show)
    n_read = len(bad) + sum(len(part.frames) for part in parts)
    trajectories, n_duplicates = _once(_held_out(parts, hold_out), level, bad)
    left_out = Counter(frame.problem for frame in bad)
    if bad and not skip_bad:
        raise _refusal(bad, left_out, n_read)
    if not trajectories:
        msg = f"none of the {n_read} frames is a label: {_counted(left_out)}"
        raise InputError(msg, remedy="look at the files")
    licenses = sorted({each.card.license for each in sources if each.card is not None})
    facts = ImportFacts(
        name=name,
        level_of_theory=level,
        license=license_name or "; ".join(licenses) or "not stated",
        files=tuple(dict.fromkeys(each.path.name for each in sources)),
        n_read=n_read,
        n_duplicates=n_duplicates,
        left_out=dict(sorted(left_out.items())),
    )
    return ReadImport(facts, trajectories)


def _check_options(
    name: str, paths: Sequence[Path], fmt: str, test: Sequence[Path], hold_out: int | None
) -> None:
    if re.fullmatch(NAME_PATTERN, name) is None:
        msg = "this is no name for an import"
        raise InputError(
            msg, where=f"{name!r:.60}", remedy="use lower-case letters, digits and hyphens, at most 41"
        )
    if fmt not in {AUTO, *FORMATS}:
        msg = f"there is no format {fmt!r:.60}"
        raise InputError(msg, remedy=f"choose one of: {AUTO}, {', '.join(FORMATS)}")
    if not paths:
        msg = "there is nothing to import"
        raise InputError(msg, remedy="give files or folders")
    if hold_out is not None and test:
        msg = "--test and --hold-out both say what is held out"
        raise InputError(msg, remedy="give one of them")
    if hold_out is not None and hold_out < _LEAST_HOLD_OUT:
        msg = "it holds out every so many-th trajectory, and not all of them"
        raise InputError(msg, where=f"--hold-out {hold_out}", remedy="give a number of at least 2")


def _level(sources: Sequence[Source], stated: str | None) -> str:
    cards = {each.card.folder: each.card for each in sources if each.card is not None}
    levels = sorted({card.level_of_theory for card in cards.values()})
    if len(levels) > 1:
        msg = f"labels of different levels of theory never go together: {', '.join(map(repr, levels))}"
        raise InputError(msg, remedy="import them under different names")
    if stated is None:
        if not levels or any(each.card is None for each in sources):
            msg = "the level of theory of the labels is not known"
            raise InputError(msg, remedy="name it with --level-of-theory, as 'laoc plan' prints it")
        return levels[0]
    if levels and stated != levels[0]:
        folder = next(iter(cards))
        msg = f"the card says that the labels are of {levels[0]!r}, not of {stated!r:.300}"
        raise InputError(msg, where=str(folder / CARD), remedy="leave --level-of-theory out")
    if stated != " ".join(stated.split()) or not 0 < len(stated) <= _MAX_LEVEL:
        msg = "this is no level of theory"
        raise InputError(
            msg,
            where=f"--level-of-theory {stated!r:.60}",
            remedy=f"give one line of at most {_MAX_LEVEL} characters without spaces at its ends",
        )
    return stated


def _read(sources: Sequence[Source], level: str, show: Show | None) -> tuple[list[_Part], list[FileFrame]]:
    """Trajectories without what is no label, and what is none."""
    parts: list[_Part] = []
    bad: list[FileFrame] = []
    counts: Counter[tuple[Path, str]] = Counter()
    cards = {each.card.folder: each.card for each in sources if each.card is not None}
    for source in sources:
        for frames in read_source(source, show):
            _agree(frames, level)
            if source.card is not None:
                part = "test" if "test" in source.path.relative_to(source.card.folder).parts[:1] else "train"
                counts[source.card.folder, part] += len(frames)
            good = [frame for frame in frames if frame.atoms is not None]
            bad += [frame for frame in frames if frame.atoms is None]
            if good:
                out = source.held_out or any(bool(frame.info.get("held_out", False)) for frame in good)
                parts.append(_Part(good[0].composition_id, out, good))
    for folder, card in cards.items():
        for part, n in card.counts.items():
            if counts[folder, part] != n:
                msg = f"the card counts {n} labels in {part}, the files hold {counts[folder, part]}"
                raise InputError(msg, where=str(folder / CARD), remedy="copy or export them again")
    return parts, bad


def _agree(frames: Sequence[FileFrame], level: str) -> None:
    for frame in frames:
        told = frame.info.get("level_of_theory")
        if told is not None and str(told) != level:
            msg = f"the file says that the label is of {str(told)!r:.200}, not of {level!r}"
            remedy = "labels of different levels of theory never go together: name the file's, or import it by another name"
            raise InputError(msg, where=frame.where, remedy=remedy)


def _held_out(parts: list[_Part], every: int | None) -> list[_Part]:
    if every is None:
        return parts
    free = [index for index, part in enumerate(parts) if not part.held_out]
    if len(free) < every:
        msg = f"there are only {len(free)} trajectories"
        raise InputError(
            msg, where=f"--hold-out {every}", remedy="give a smaller number, or files for testing with --test"
        )
    chosen = set(free[every - 1 :: every])
    return [part._replace(held_out=part.held_out or index in chosen) for index, part in enumerate(parts)]


def _once(parts: list[_Part], level: str, bad: list[FileFrame]) -> tuple[list[ImportTrajectory], int]:
    """Each label once; a copy with another energy is no label. What is held out is never trained on as well."""
    first: dict[str, Found] = {}
    found: dict[int, list[Found]] = {}
    n_duplicates = 0
    for index in sorted(range(len(parts)), key=lambda index: (not parts[index].held_out, index)):
        labels = found.setdefault(index, [])
        for frame in parts[index].frames:
            if frame.atoms is None:
                continue
            label = Found(geometry_key(frame.atoms, level), frame.where, frame.atoms)
            other = first.setdefault(label.key, label)
            if other is label:
                labels.append(label)
            elif energies_differ(label.energy, other.energy, len(label.atoms)):
                reason = f"its energy is {label.energy:.4f} eV, that of the same geometry in {other.where} {other.energy:.4f} eV"
                bad.append(
                    frame._replace(atoms=None, problem="one geometry with two energies", reason=reason)
                )
            else:
                n_duplicates += 1
    made = [
        ImportTrajectory(part.composition_id, part.held_out, found[index]) for index, part in enumerate(parts)
    ]
    return [each for each in made if each.labels], n_duplicates


def energies_differ(energy: float, other: float, n_atoms: int) -> bool:
    """Whether two energies of one geometry cannot be of one level of theory.

    Parameters
    ----------
    energy, other : float
        Energies of the cell [eV]; two that are no numbers are the same failure.
    n_atoms : int
        Number of atoms.
    """
    return abs(energy - other) > _SAME_ENERGY * n_atoms


def _counted(problems: Counter[str]) -> str:
    return ", ".join(f"{n} {problem!r}" for problem, n in problems.most_common())


def _refusal(bad: Sequence[FileFrame], problems: Counter[str], n_read: int) -> InputError:
    count = f"{len(bad)} of {n_read} frames cannot be imported: {_counted(problems)}"
    return InputError(
        f"{bad[0].reason} ({count})",
        where=bad[0].where,
        remedy="mend the files, or leave such frames out with --skip-bad",
    )
