"""Labels and potentials as files that other programs read, each with a card that says what they are."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, get_args

import dpdata
import numpy as np
from ase import Atoms, units
from ase.io import write

from laoc_flows.blobs import digest, digest_json
from laoc_flows.engines.lammps import interaction
from laoc_flows.errors import InputError, QueryError
from laoc_flows.learning.data import as_dpdata, write_systems
from laoc_flows.schemas.base import SPECIES
from laoc_flows.schemas.potential import MODEL_SUFFIXES, PotentialDocument
from laoc_flows.schemas.protocol import SoftCore
from laoc_flows.store.laoc_store import LaocStore
from laoc_flows.store.learning import document_of

LabelFormat = Literal["extxyz", "deepmd/npy", "deepmd/npy/mixed"]
CARD = "card.json"


def export_labels(
    store: LaocStore,
    folder: Path,
    where: str = "",
    fmt: LabelFormat = "extxyz",
    *,
    license_name: str = "not stated",
) -> dict[str, Any]:
    """Write converged labels of one level of theory into a new folder, held-out trajectories apart.

    Parameters
    ----------
    store : LaocStore
        Where they are.
    folder : pathlib.Path
        Folder to be made; ``train`` and ``test`` are in it, and ``card.json``.
    where : str
        Conditions on ``labels``.
    fmt : {"extxyz", "deepmd/npy", "deepmd/npy/mixed"}
        Format: extended XYZ with energy [eV], forces [eV/A] and stress [eV/A^3] as ASE writes them, or systems of
        DeePMD-kit with virials [eV], one for each list of species or with mixed types.
    license_name : str
        License of the data, for the card.

    Returns
    -------
    dict
        The card: level of theory, counts, ranges, license and digest.

    Raises
    ------
    QueryError
        If no label fits, or labels of several levels of theory do.
    InputError
        If the folder is there and not empty, or the format is unknown.
    """
    if fmt not in get_args(LabelFormat):
        msg = f"there is no format {fmt!r}"
        raise InputError(msg, remedy=f"choose one of: {', '.join(get_args(LabelFormat))}")
    frames = store.labels(where or None)
    if not frames:
        msg = "no converged label fits"
        raise QueryError(msg, where=where or None, remedy="look with 'laoc query labels'")
    levels = Counter(atoms.info["level_of_theory"] for atoms in frames)
    if len(levels) > 1:
        names = ", ".join(f"{n} of {level!r}" for level, n in sorted(levels.items()))
        msg = f"labels of different levels of theory never go together: {names}"
        raise QueryError(msg, remedy="name one with --where \"level_of_theory = '...'\"")
    for atoms in frames:
        # Campaigns number their trajectories alike.
        atoms.info["trajectory_id"] = f"{atoms.info.pop('campaign_id')}/{atoms.info['trajectory_id']}"
    parts = {
        "train": [atoms for atoms in frames if not atoms.info["held_out"]],
        "test": [atoms for atoms in frames if atoms.info["held_out"]],
    }
    card = _label_card(parts, next(iter(levels)), fmt, license_name)
    with _new_folder(folder) as made:
        for name, members in parts.items():
            if members:
                _WRITERS[fmt](members, made / name)
        (made / CARD).write_text(json.dumps(card, indent=1) + "\n")
    return card


def _label_card(
    parts: Mapping[str, Sequence[Atoms]], level: str, fmt: str, license_name: str
) -> dict[str, Any]:
    frames = [atoms for members in parts.values() for atoms in members]
    keys = sorted(atoms.info["key"] for atoms in frames)
    pressures = [-np.trace(atoms.get_stress(voigt=False)) / 3 / units.GPa for atoms in frames]
    return {
        "what": "energies, forces and stresses of Li-Al-O-Cl cells",
        "level_of_theory": level,
        "format": fmt,
        "units": "eV, angstrom, eV/angstrom; stress eV/angstrom^3 as in ASE, virial eV",
        "digest": digest_json([level, keys]),
        "license": license_name,
        "made_by": f"laoc-flows {version('laoc-flows')}",
        "counts": {name: len(members) for name, members in parts.items()},
        "compositions": {
            name: dict(sorted(Counter(atoms.info["composition_id"] for atoms in members).items()))
            for name, members in parts.items()
        },
        "trajectories": {
            name: len({atoms.info["trajectory_id"] for atoms in members}) for name, members in parts.items()
        },
        "ranges": {
            "atoms": _range([len(atoms) for atoms in frames]),
            "energy_eV_per_atom": _range([atoms.get_potential_energy() / len(atoms) for atoms in frames]),
            "largest_force_component_eV_per_angstrom": _range(
                [np.abs(atoms.get_forces()).max() for atoms in frames]
            ),
            "volume_angstrom3_per_atom": _range([atoms.get_volume() / len(atoms) for atoms in frames]),
            "potential_pressure_GPa": _range(pressures),
        },
    }


def _range(values: Sequence[float]) -> list[float]:
    return [round(float(min(values)), 6), round(float(max(values)), 6)]


def _write_extxyz(frames: Sequence[Atoms], folder: Path) -> None:
    folder.mkdir()
    write(folder / "labels.extxyz", list(frames), format="extxyz", write_results=True)


def _write_npy(frames: Sequence[Atoms], folder: Path) -> None:
    write_systems(frames, folder)


def _write_mixed(frames: Sequence[Atoms], folder: Path) -> None:
    groups: dict[tuple[str, ...], list[Atoms]] = {}
    for atoms in frames:
        groups.setdefault(tuple(atoms.get_chemical_symbols()), []).append(atoms)
    systems = dpdata.MultiSystems(type_map=list(SPECIES))
    for _, members in sorted(groups.items()):
        systems.append(dpdata.LabeledSystem(data=as_dpdata(members)))
    systems.to("deepmd/npy/mixed", str(folder))


_WRITERS: dict[str, Callable[[Sequence[Atoms], Path], None]] = {
    "extxyz": _write_extxyz,
    "deepmd/npy": _write_npy,
    "deepmd/npy/mixed": _write_mixed,
}


def export_potential(store: LaocStore, key: str, folder: Path) -> dict[str, Any]:
    """Write the models of a potential into a new folder, with a card and how LAMMPS takes them.

    Parameters
    ----------
    store : LaocStore
        Where it is.
    key : str
        Key of the potential, or its beginning.
    folder : pathlib.Path
        Folder to be made: ``model-0.pb``, ..., ``in.potential`` and ``card.json``.

    Returns
    -------
    dict
        The card: lineage, data, errors by composition, digests of the models.

    Raises
    ------
    QueryError
        If there is no such potential, or more than one begins so.
    InputError
        If the folder is there and not empty.
    ServiceError
        If a model is missing or was altered.
    """
    potential = find_potential(store, key)
    suffixes = [MODEL_SUFFIXES.get(m["model"]["media_type"], ".pb") for m in potential["models"]]
    models = {f"model-{i}{suffix}": store.model(potential, i) for i, suffix in enumerate(suffixes)}
    core = SoftCore.model_validate(potential["soft_core"])
    card = {
        "what": "committee of DeePMD models; each is to be used with the soft core, see in.potential",
        "units": "force RMSE eV/angstrom; energies of held_out eV/atom; stress GPa; soft_core: prefactor eV, radii angstrom",
        "held_out_is_of": "the first model with the soft core: the one that runs production",
        **{name: potential[name] for name in ("key", "level_of_theory", "iteration", "parent")},
        "campaign_ids": potential.get("campaign_ids", []),
        "dataset_digest": potential["dataset_digest"],
        "counts": {"train": potential["n_train"], "test": potential["n_test"]},
        "verdict": potential.get("verdict"),
        "held_out": potential["held_out"],
        "soft_core": potential["soft_core"],
        "validity": potential.get("validity"),
        "models": {
            name: {
                "sha256": digest(data),
                "size": len(data),
                "seed": model["seed"],
                "versions": model["versions"],
            }
            for (name, data), model in zip(models.items(), potential["models"], strict=True)
        },
        "made_by": f"laoc-flows {version('laoc-flows')}",
    }
    with _new_folder(folder) as made:
        for name, data in models.items():
            (made / name).write_bytes(data)
        lines = [
            f"# units metal, atom_style atomic; types 1 to {len(SPECIES)}: {' '.join(SPECIES)}",
            "# To be included after read_data, in this folder: the model is named relative to it.",
            "# The first model with the soft core; for the deviation of the committee name all models.",
            *interaction([Path(next(iter(models)))], core),
        ]
        (made / "in.potential").write_text("\n".join(lines) + "\n")
        (made / CARD).write_text(json.dumps(card, indent=1, default=str) + "\n")
    return card


def find_potential(store: LaocStore, key: str) -> dict[str, Any]:
    """Potential whose key begins so.

    Parameters
    ----------
    store : LaocStore
        Where it is.
    key : str
        Beginning of its key.

    Raises
    ------
    QueryError
        If there is none, or more than one.
    ServiceError
        If it is no whole document of a potential.
    """
    rows = store.query("potentials")
    found = [row for row in rows if key and str(row["key"]).startswith(key)]
    if len(found) == 1:
        document_of(PotentialDocument, found[0])  # refused here, if it is anything else
        return found[0]
    msg = f"{len(found) or 'no'} potentials begin with {key!r}"
    raise QueryError(msg, remedy="'laoc potential list' shows all")


def _empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """Folder that appears whole, or not at all."""
    folder = folder.resolve()
    if folder == Path.cwd() or folder.is_mount() or (folder.exists() and not _empty(folder)):
        msg = "is there already"
        raise InputError(msg, where=str(folder), remedy="give a folder that is new or empty")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        msg = f"cannot be made ({error.strerror})"
        raise InputError(msg, where=str(folder), remedy="give a folder that you may write to") from None
    try:
        yield made
        made.chmod(0o755)
        made.replace(folder)
    except OSError as error:
        msg = f"cannot be written ({error.strerror})"
        raise InputError(msg, where=str(folder), remedy="look at the disk") from None
    finally:
        shutil.rmtree(made, ignore_errors=True)
