"""Where labels of other programs are: files, systems of DeePMD-kit, and folders that were exported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final, NamedTuple

from laoc_flows.errors import InputError
from laoc_flows.store.exports import CARD

AUTO: Final = "auto"
FORMATS: Final = ("extxyz", "deepmd/npy", "deepmd/npy/mixed", "vasp/xml", "vasp/outcar")
_SPELLED = "give it with --format"


class Card(NamedTuple):
    """What an export says of itself.

    Attributes
    ----------
    folder : pathlib.Path
        Where it is.
    level_of_theory, fmt, license : str
        As in the card.
    counts : dict of str to int
        Labels in ``train`` and ``test``.
    """

    folder: Path
    level_of_theory: str
    fmt: str
    license: str
    counts: dict[str, int]


class Source(NamedTuple):
    """A file, or one system of DeePMD-kit.

    Attributes
    ----------
    path : pathlib.Path
        File or folder.
    fmt : str
        One of `FORMATS`.
    held_out : bool
        Whether all of it is for testing.
    card : Card or None
        Card of the export that it belongs to.
    """

    path: Path
    fmt: str
    held_out: bool
    card: Card | None = None


def find_sources(path: Path, fmt: str = AUTO, *, held_out: bool = False) -> list[Source]:
    """Find what is to be read at a path.

    Parameters
    ----------
    path : pathlib.Path
        File, system of DeePMD-kit, folder of such systems, or folder that ``laoc data export`` wrote.
    fmt : str
        One of `FORMATS`, or ``auto``.
    held_out : bool
        Whether all of it is for testing; of an export the folder ``test`` always is.

    Returns
    -------
    list of Source
        In a fixed order.

    Raises
    ------
    InputError
        If there is nothing, or its format is not known.
    """
    if not path.exists():
        msg = "there is no such file or folder"
        raise InputError(msg, where=str(path), remedy="check the path")
    card = _card(path)
    if card is not None:
        if fmt not in {AUTO, card.fmt}:
            msg = f"the card says that the labels are {card.fmt}, not {fmt}"
            raise InputError(msg, where=str(path / CARD), remedy="leave --format out")
        return _of_export(path, card, held_out=held_out)
    if path.is_dir():
        return [Source(each, kind, held_out) for each, kind in _systems(path, fmt)]
    kind = _named_like(path.name) if fmt == AUTO else fmt
    if kind is None:
        msg = "the name of this file does not say its format"
        raise InputError(msg, where=str(path), remedy=f"{_SPELLED}: {', '.join(FORMATS)}")
    if kind.startswith("deepmd"):
        msg = f"{kind} is a folder, not a file"
        raise InputError(msg, where=str(path), remedy="give the folder with type.raw in it")
    return [Source(path, kind, held_out)]


def _card(folder: Path) -> Card | None:
    path = folder / CARD
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        card = Card(
            folder,
            str(content["level_of_theory"]),
            str(content["format"]),
            str(content.get("license", "not stated")),
            {name: int(n) for name, n in content["counts"].items()},
        )
    except json.JSONDecodeError as error:
        msg = f"this is no JSON (line {error.lineno}: {error.msg})"
        raise InputError(msg, where=str(path), remedy="copy or export it again") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        msg = "this is not the card of exported labels"
        raise InputError(
            msg, where=str(path), remedy="give the files themselves, with --level-of-theory"
        ) from None
    if card.fmt not in FORMATS:
        msg = f"the card names an unknown format, {card.fmt!r:.60}"
        raise InputError(msg, where=str(path), remedy=f"known are {', '.join(FORMATS)}")
    return card


def _of_export(folder: Path, card: Card, *, held_out: bool) -> list[Source]:
    found: list[Source] = []
    for part in ("train", "test"):
        place = folder / part
        if not place.is_dir():
            continue
        out = held_out or part == "test"
        if card.fmt == "extxyz":
            found += [Source(each, card.fmt, out, card) for each in sorted(place.glob("*.extxyz"))]
        else:
            found += [Source(each, card.fmt, out, card) for each, _ in _systems(place, card.fmt)]
    if not found:
        msg = f"there are no labels in {folder.name}/train or {folder.name}/test"
        raise InputError(msg, where=str(folder), remedy="export them again")
    return found


def _systems(folder: Path, fmt: str) -> list[tuple[Path, str]]:
    if fmt != AUTO and not fmt.startswith("deepmd"):
        msg = f"{fmt} is a file, not a folder"
        raise InputError(msg, where=str(folder), remedy="give the files themselves")
    paths = sorted({each.parent for each in folder.rglob("type.raw")})
    if not paths:
        msg = f"there is neither a {CARD} of exported labels nor a system of DeePMD-kit (type.raw) in this folder"
        raise InputError(msg, where=str(folder), remedy="give the files themselves")
    mixed = {each: any(each.glob("set.*/real_atom_types.npy")) for each in paths}
    kinds = {each: "deepmd/npy/mixed" if mixed[each] else "deepmd/npy" for each in paths}
    for each, kind in kinds.items():
        if fmt not in {AUTO, kind}:
            msg = f"this system is {kind}, not {fmt}"
            raise InputError(msg, where=str(each), remedy="leave --format out")
    return list(kinds.items())


def _named_like(name: str) -> str | None:
    lower = name.lower()
    if lower.endswith((".xyz", ".extxyz", ".xyz.gz", ".extxyz.gz")):
        return "extxyz"
    if lower.startswith("vasprun") and lower.endswith((".xml", ".xml.gz")):
        return "vasp/xml"
    return "vasp/outcar" if lower.startswith("outcar") else None
