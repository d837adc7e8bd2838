"""Labels that come from elsewhere: the same numbers, whole trajectories, nothing twice, and no bad frame unnoticed."""

import gzip
import json
import subprocess
import warnings

import dpdata
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.io import write
from jobflow import JobStore
from maggma.stores import MemoryStore
from pymatgen.core import SETTINGS, Structure
from pymatgen.io.vasp.inputs import Incar, Kpoints, Poscar, Potcar
from typer.testing import CliRunner

from laoc_flows.blobs import digest_json, get_blob
from laoc_flows.cli.main import app
from laoc_flows.composition import Cell, Composition
from laoc_flows.errors import InputError
from laoc_flows.flows.imports import run_import
from laoc_flows.frames import decode_frames, geometry_key
from laoc_flows.schemas.base import SPECIES
from laoc_flows.schemas.label import LabelBatch
from laoc_flows.store import imports
from laoc_flows.store.exports import export_labels
from laoc_flows.store.import_reading import read_import
from laoc_flows.store.import_sources import FORMATS
from laoc_flows.store.imports import find_import, imported_batches, order_import
from laoc_flows.store.laoc_store import LaocStore
from laoc_flows.store.stored import plain
from tests.standin import install
from tests.standin.matrix import frame as standin_frame

A, B = "x1.000-y0.750", "x0.500-y0.750"
THEORY = "vasp/PBE-D3/520eV/r1"
PARTS = {"train": [(A, 3), (B, 2), (A, 2)], "test": [(A, 2), (B, 1)]}


def a_frame(composition_id, seed, *, length=0.0, shuffled=False):
    """Made-up results, all numbers different, in a cell without symmetry."""
    rng = np.random.default_rng(seed)
    cell = Cell(Composition.from_id(composition_id), 4)
    symbols = list(rng.permutation(cell.symbols)) if shuffled else list(cell.symbols)
    edge = cell.start_length + 14.0 + length
    lattice = np.diag([edge, edge + 1, edge + 2]) + np.triu(rng.normal(scale=0.4, size=(3, 3)), 1).T
    # On a lattice of points, so that no two atoms are close.
    points = np.stack(np.meshgrid(*[np.arange(6)] * 3, indexing="ij"), axis=-1).reshape(-1, 3) / 6
    fractions = points[: len(symbols)] + rng.uniform(0, 0.02, (len(symbols), 3))
    atoms = Atoms(symbols, scaled_positions=fractions, cell=lattice, pbc=True)
    atoms.calc = SinglePointCalculator(
        atoms,
        energy=-5.0 * len(symbols) + rng.normal(),
        forces=rng.normal(size=(len(symbols), 3)),
        stress=rng.normal(scale=0.01, size=6),
    )
    return atoms


def trajectory(composition_id, n_frames, seed, **more):
    return [a_frame(composition_id, 100 * seed + index, **more) for index in range(n_frames)]


def as_extxyz(path, frames):
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, frames, format="extxyz", write_results=True)
    return path


def as_system(frames, sign=-1.0):
    """What DeePMD-kit calls a virial is -dE/d(strain), the stress of ASE its opposite by volume."""
    symbols = frames[0].get_chemical_symbols()
    types = [SPECIES.index(symbol) for symbol in symbols]
    return dpdata.LabeledSystem(
        data={
            "atom_names": list(SPECIES),
            "atom_numbs": [types.count(index) for index in range(len(SPECIES))],
            "atom_types": np.array(types),
            "cells": np.array([atoms.cell.array for atoms in frames]),
            "coords": np.array([atoms.positions for atoms in frames]),
            "energies": np.array([atoms.get_potential_energy() for atoms in frames]),
            "forces": np.array([atoms.get_forces() for atoms in frames]),
            "virials": np.array(
                [sign * atoms.get_volume() * atoms.get_stress(voigt=False) for atoms in frames]
            ),
            "orig": np.zeros(3),
        }
    )


@pytest.fixture
def store():
    found = JobStore(MemoryStore(), additional_stores={"data": MemoryStore(key="blob_uuid")})
    found.connect()
    return found


def bring(store, name, paths, **options):
    options.setdefault("level_of_theory", THEORY)
    read = read_import(name, paths, **options)
    return run_import(store, order_import(store, read), find_import(store, name))


def labels(store, dataset):
    """Labels of a data set by geometry."""
    return {
        geometry_key(atoms, dataset.level_of_theory): (member, atoms)
        for member in dataset.members
        for atoms in decode_frames(get_blob(store, member.shard))
    }


def assert_same_labels(store, document, frames, held_out=None):
    found = labels(store, document.dataset)
    assert len(found) == len(frames)
    for atoms in frames:
        member, label = found[geometry_key(atoms, document.level_of_theory)]
        assert held_out in {None, member.held_out}
        assert label.get_potential_energy() == pytest.approx(atoms.get_potential_energy(), abs=1e-6)
        np.testing.assert_allclose(label.get_forces(), atoms.get_forces(), atol=1e-6)
        np.testing.assert_allclose(label.get_stress(), atoms.get_stress(), atol=1e-6)


def n_documents(store):
    return store.docs_store.count(), store.additional_stores["data"].count()


# -- the numbers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fmt", FORMATS[:3])
def test_files_of_each_format_give_the_numbers_that_were_written(store, tmp_path, fmt):
    one, two = trajectory(A, 3, 1), trajectory(B, 2, 2)
    if fmt == "extxyz":
        paths = [as_extxyz(tmp_path / "one.extxyz", one), as_extxyz(tmp_path / "two.xyz", two)]
    elif fmt == "deepmd/npy":
        for name, frames in (("one", one), ("two", two)):
            as_system(frames).to(fmt, str(tmp_path / "set" / name), set_size=2, prec=np.float64)
        paths = [tmp_path / "set"]
    else:
        systems = dpdata.MultiSystems(as_system(one), as_system(two), type_map=list(SPECIES))
        systems.to(fmt, str(tmp_path / "set"))
        paths = [tmp_path / "set"]
    document = bring(store, "mine", paths, license_name="CC0")
    assert_same_labels(store, document, [*one, *two], held_out=False)
    assert (document.campaign_id, document.name, document.license) == ("import-mine", "mine", "CC0")
    assert (document.dataset.n_train, document.dataset.n_test, document.facts.n_read) == (5, 0, 5)
    assert document.level_of_theory == THEORY
    assert {(m.composition_id, m.trajectory_id) for m in document.dataset.members} == {
        (each, f"import-mine/import/{each}/i0/r0") for each in (A, B)
    }
    assert bring(store, "again", paths, fmt=fmt).dataset.n_train == 5
    with pytest.raises(InputError):
        bring(store, "other", paths, fmt=next(each for each in FORMATS[1:3] if each != fmt))


def test_a_virial_of_the_other_sign_would_be_another_stress(store, tmp_path):
    frames = trajectory(A, 1, 1)
    as_system(frames, sign=1.0).to("deepmd/npy", str(tmp_path / "set"), prec=np.float64)
    found = labels(store, bring(store, "mine", [tmp_path / "set"]).dataset)
    ((_, label),) = found.values()
    np.testing.assert_allclose(label.get_stress(), -frames[0].get_stress(), atol=1e-6)


def test_forces_on_fixed_atoms_are_kept_and_the_free_energy_is_taken(store, tmp_path):
    atoms = a_frame(A, 1)
    results = {**atoms.calc.results, "free_energy": atoms.get_potential_energy() - 0.25}
    moving = atoms.copy()
    moving.calc = SinglePointCalculator(moving, **results)
    moving.set_constraint(FixAtoms([0, 1, 2]))
    write(
        tmp_path / "a.extxyz",
        moving,
        columns=["symbols", "positions", "move_mask", "forces"],
        write_results=True,
    )
    ((_, label),) = labels(store, bring(store, "mine", [tmp_path / "a.extxyz"]).dataset).values()
    np.testing.assert_allclose(label.get_forces(), results["forces"], atol=1e-6)
    assert label.get_potential_energy() == pytest.approx(results["free_energy"], abs=1e-6)


@pytest.mark.parametrize("fmt", FORMATS[:3])
def test_what_is_exported_comes_back(store, tmp_path, fmt):
    """Export, import, export again: the digest of the card is that of the content, the split is kept."""
    files = {
        part: [
            as_extxyz(tmp_path / f"{part}-{i}.xyz", trajectory(each, n, 10 * i + (part == "test")))
            for i, (each, n) in enumerate(members)
        ]
        for part, members in PARTS.items()
    }
    first = bring(store, "first", files["train"], test=files["test"], license_name="CC0")
    assert (first.dataset.n_train, first.dataset.n_test) == (7, 3)
    source = LaocStore(store)
    source.build()
    card = export_labels(source, tmp_path / "set", fmt=fmt, license_name="CC0")

    other = JobStore(MemoryStore(), additional_stores={"data": MemoryStore(key="blob_uuid")})
    other.connect()
    document = bring(other, "second", [tmp_path / "set"], level_of_theory=None)
    assert (document.level_of_theory, document.license) == (THEORY, "CC0")
    before, after = labels(store, first.dataset), labels(other, document.dataset)
    assert before.keys() == after.keys()
    assert {key: member.held_out for key, (member, _) in before.items()} == {
        key: member.held_out for key, (member, _) in after.items()
    }
    assert_same_labels(other, document, [atoms for _, atoms in before.values()])
    if fmt == "extxyz":
        # Its frames name their trajectories.
        assert len({m.trajectory_id for m in document.dataset.members}) == sum(card["trajectories"].values())
    target = LaocStore(other)
    target.build()
    again = export_labels(target, tmp_path / "again", fmt=fmt)
    assert (again["digest"], again["counts"]) == (card["digest"], card["counts"])
    assert {row["campaign_id"] for row in target.query("labels")} == {"import-second"}

    # The folder as a whole may be held out, but nobody else says which of its trajectories are.
    assert bring(other, "held", files["train"][:1], test=[tmp_path / "set"]).dataset.n_train == 0
    with pytest.raises(InputError, match="an export says itself what is held out"):
        bring(other, "third", [tmp_path / "set"], hold_out=2)
    with pytest.raises(InputError, match=r"card\.json: the card says that the labels are of 'vasp/PBE-D3"):
        bring(other, "third", [tmp_path / "set"], level_of_theory="vasp/PBE")
    with pytest.raises(InputError, match="the level of theory of the labels is not known"):
        bring(other, "third", [tmp_path / "set", files["train"][0]], level_of_theory=None)
    with pytest.raises(InputError, match=f"card says that the labels are {fmt}, not vasp/xml"):
        bring(other, "third", [tmp_path / "set"], fmt="vasp/xml")
    content = json.loads((tmp_path / "set" / "card.json").read_text())
    content["counts"]["test"] = 4
    (tmp_path / "set" / "card.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="counts 4 labels in test, the files hold 3"):
        bring(other, "third", [tmp_path / "set"])
    assert find_import(other, "third") is None


def test_frames_of_an_export_by_themselves_say_level_and_split(store, tmp_path):
    frames = trajectory(A, 4, 1)
    for index, atoms in enumerate(frames):
        atoms.info.update(
            trajectory_id=f"seed/r{index % 2}", held_out=bool(index % 2), level_of_theory=THEORY
        )
    path = as_extxyz(tmp_path / "labels.extxyz", frames)
    document = bring(store, "mine", [path])
    assert [(m.n_labels, m.held_out) for m in document.dataset.members] == [(2, False), (2, True)]
    with pytest.raises(
        InputError, match=r"labels\.extxyz: frame 0: the file says that the label is of 'vasp/PBE-D3"
    ):
        bring(store, "other", [path], level_of_theory="xtb")


# -- VASP -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run_of_vasp(tmp_path_factory):
    """Five steps of dynamics of the stand-in."""
    place = tmp_path_factory.mktemp("vasp")
    variables = install(place / "program")
    directory = place / "run"
    directory.mkdir()
    atoms = standin_frame()
    structure = Structure(atoms.cell.array, atoms.get_chemical_symbols(), atoms.get_scaled_positions())
    structure = structure.get_sorted_structure(key=lambda site: list(SPECIES).index(site.specie.symbol))
    kinds = list(dict.fromkeys(site.specie.symbol for site in structure))
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.setitem(SETTINGS, "PMG_VASP_PSP_DIR", variables["LAOC_VASP_POTCAR_DIR"])
        Potcar([{"Li": "Li_sv"}.get(kind, kind) for kind in kinds], functional="PBE_64").write_file(
            directory / "POTCAR"
        )
    Poscar(structure).write_file(directory / "POSCAR")
    Kpoints().write_file(directory / "KPOINTS")
    incar = {
        "ALGO": "Normal", "EDIFF": 1e-5, "ENCUT": 400, "IBRION": 0, "ISIF": 2, "ISMEAR": 0, "ISYM": 0, "LREAL": False,
        "MDALGO": 0, "NELM": 60, "NSW": 5, "POTIM": 1.0, "PREC": "Normal", "RANDOM_SEED": "3 0 0", "SIGMA": 0.05,
        "SMASS": 0.0, "TEBEG": 600.0, "TEEND": 600.0,
    }  # fmt: skip
    Incar(incar).write_file(directory / "INCAR")
    done = subprocess.run(
        [variables["LAOC_VASP_COMMAND"]], cwd=directory, env=variables | {"PATH": "/usr/bin:/bin"}, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return directory


def test_a_vasprun_and_an_outcar_say_what_dpdata_reads_in_them(store, tmp_path, run_of_vasp):
    by_xml = bring(store, "xml", [run_of_vasp / "vasprun.xml"])
    by_outcar = bring(store, "outcar", [run_of_vasp / "OUTCAR"])
    system = dpdata.LabeledSystem(str(run_of_vasp / "vasprun.xml"), fmt="vasp/xml")
    for document, tolerance in ((by_xml, 1e-6), (by_outcar, 2e-4)):
        (member,) = document.dataset.members
        frames = decode_frames(get_blob(store, member.shard))
        assert len(frames) == 5
        for index, atoms in enumerate(frames):
            assert atoms.get_potential_energy() == pytest.approx(system["energies"][index], abs=1e-4)
            np.testing.assert_allclose(atoms.get_forces(), system["forces"][index], atol=tolerance)
            virial = -atoms.get_stress(voigt=False) * atoms.get_volume()
            np.testing.assert_allclose(virial, system["virials"][index], atol=5e-3)
    with gzip.open(tmp_path / "vasprun.xml.gz", "wb") as packed:
        packed.write((run_of_vasp / "vasprun.xml").read_bytes())
    packed_xml = bring(store, "packed", [tmp_path / "vasprun.xml.gz"])
    assert [m.shard for m in packed_xml.dataset.members] == [m.shard for m in by_xml.dataset.members]


def test_steps_of_vasp_that_are_no_results_are_noticed(store, tmp_path, run_of_vasp):
    text = (run_of_vasp / "vasprun.xml").read_text()
    last = text.rindex("<calculation>")
    short = tmp_path / "vasprun_short.xml"
    short.write_text(text[: last + 400])
    with pytest.raises(
        InputError, match=r"vasprun_short\.xml: frame 4: the file breaks off here \(1 of 5 frames"
    ):
        bring(store, "mine", [short])
    assert bring(store, "short", [short], skip_bad=True).dataset.n_train == 4
    # Another NELM, and no step counts as converged.
    never = tmp_path / "vasprun_never.xml"
    never.write_text(text.replace('name="NELM">    60<', 'name="NELM">     2<'))
    assert never.read_text() != text
    with pytest.raises(InputError, match=r"the SCF has not converged \(5 of 5 frames"):
        bring(store, "mine", [never])
    outcar = (run_of_vasp / "OUTCAR").read_text()
    (tmp_path / "OUTCAR_never").write_text(
        outcar.replace("NELM   =     60", "NELM   =      2").replace("NELM = 60", "NELM = 2")
    )
    assert (tmp_path / "OUTCAR_never").read_text() != outcar
    with pytest.raises(InputError, match=r"the SCF has not converged \(5 of 5 frames"):
        bring(store, "mine", [tmp_path / "OUTCAR_never"])
    with pytest.raises(InputError, match="none of the 5 frames is a label: 5 'the SCF has not converged'"):
        bring(store, "mine", [tmp_path / "OUTCAR_never"], skip_bad=True)
    (tmp_path / "vasprun.xml.gz").write_bytes(gzip.compress(text.encode())[:-20])
    with pytest.raises(InputError, match="not a whole gzip file"):
        bring(store, "mine", [tmp_path / "vasprun.xml.gz"])


# -- trajectories ---------------------------------------------------------------------------------------------------


def test_whole_trajectories_are_held_out_and_counted_by_composition(store, tmp_path):
    runs = [
        trajectory(A, 2, 1),
        trajectory(B, 1, 2),
        trajectory(A, 3, 3),
        trajectory(A, 1, 4, length=1.0),
        trajectory(B, 2, 5),
    ]
    path = as_extxyz(tmp_path / "runs.extxyz", [*runs[0], *runs[1], *runs[2], *runs[1 + 3]])
    other = as_extxyz(tmp_path / "more.extxyz", runs[3])
    document = bring(store, "mine", [path, other], hold_out=2)
    expected = [(A, 0, False, 2), (B, 0, True, 1), (A, 1, False, 3), (B, 1, True, 2), (A, 2, False, 1)]
    assert [
        (m.composition_id, m.trajectory_id, m.held_out, m.n_labels) for m in document.dataset.members
    ] == [(each, f"import-mine/import/{each}/i0/r{replica}", out, n) for each, replica, out, n in expected]
    named = bring(store, "named", [path], test=[other])
    assert (named.dataset.n_train, named.dataset.n_test) == (8, 1)
    assert named.facts.files == ("runs.extxyz", "more.extxyz")
    with pytest.raises(InputError, match="there are only 5 trajectories"):
        bring(store, "none", [path, other], hold_out=6)


def test_a_label_in_two_files_is_imported_once_and_rather_held_out(store, tmp_path):
    frames = trajectory(A, 4, 1)
    train = as_extxyz(tmp_path / "train.extxyz", [*frames, frames[0]])
    moved = frames[3].copy()
    moved.positions += moved.cell.array.sum(axis=0)
    moved.calc = frames[3].calc
    test = as_extxyz(tmp_path / "test.extxyz", [moved])
    document = bring(store, "mine", [train], test=[test])
    assert (document.dataset.n_train, document.dataset.n_test, document.facts.n_duplicates) == (3, 1, 2)
    assert_same_labels(store, document, frames)


def test_a_geometry_with_two_energies_is_refused(store, tmp_path):
    one, two = a_frame(A, 1), a_frame(A, 1)
    two.calc.results["energy"] += 1.0
    path = as_extxyz(tmp_path / "a.extxyz", [one, two])
    with pytest.raises(
        InputError, match=r"a\.extxyz: frame 1: its energy is .* that of the same geometry in .*frame 0"
    ):
        bring(store, "mine", [path])


def test_another_energy_than_the_store_has_is_refused(store, tmp_path):
    frames = trajectory(A, 2, 1)
    bring(store, "mine", [as_extxyz(tmp_path / "a.extxyz", frames)])
    before = n_documents(store)
    frames[1].calc.results["energy"] += 1.0
    other = as_extxyz(tmp_path / "b.extxyz", frames)
    with pytest.raises(
        InputError, match=r"b\.extxyz: frame 1: its energy is .* in the store, at 'vasp/PBE-D3"
    ):
        bring(store, "yours", [other])
    assert n_documents(store) == before
    # At another level of theory it is another label.
    assert bring(store, "yours", [other], level_of_theory="vasp/other").dataset.n_train == 2


def test_long_trajectories_are_several_batches_of_one_trajectory(store, tmp_path, monkeypatch):
    monkeypatch.setattr(imports, "BATCH_SIZE", 2)
    path = as_extxyz(tmp_path / "a.extxyz", trajectory(A, 5, 1))
    document = bring(store, "mine", [path])
    assert [member.n_labels for member in document.dataset.members] == [2, 2, 1]
    assert len({member.trajectory_id for member in document.dataset.members}) == 1


# -- what is there already ------------------------------------------------------------------------------------------


def test_importing_again_writes_nothing_and_more_content_extends(store, tmp_path):
    one = as_extxyz(tmp_path / "one.extxyz", trajectory(A, 3, 1))
    first = bring(store, "mine", [one])
    before = n_documents(store)
    assert bring(store, "mine", [one]) == first
    assert n_documents(store) == before

    # The same file has grown, and there is another one.
    grown = trajectory(A, 5, 1)
    as_extxyz(one, grown)
    two = as_extxyz(tmp_path / "two.extxyz", trajectory(A, 1, 2))
    second = bring(store, "mine", [one, two])
    assert second.dataset.members[:1] == first.dataset.members
    assert [(m.trajectory_id[-2:], m.n_labels) for m in second.dataset.members] == [
        ("r0", 3),
        ("r0", 2),
        ("r1", 1),
    ]
    assert find_import(store, "mine") == second
    assert find_import(store, "yours") is None
    assert len(imported_batches(store, "mine")) == 3

    before = n_documents(store)
    with pytest.raises(InputError, match="'mine' was imported with other content: 5 of its 6 labels are not"):
        bring(store, "mine", [two])
    with pytest.raises(InputError, match="would now be held out, which it is not in 'mine'"):
        bring(store, "mine", [one], test=[two])
    with pytest.raises(InputError, match="'mine' holds labels of 'vasp/PBE-D3"):
        bring(store, "mine", [one, two], level_of_theory="xtb")
    grown[0].calc.results["energy"] += 1.0
    with pytest.raises(InputError, match=r"frame 0: its energy is .* in 'mine'"):
        bring(store, "mine", [as_extxyz(one, grown), two])
    assert n_documents(store) == before


def test_an_import_that_was_cut_short_goes_on(store, tmp_path):
    paths = [as_extxyz(tmp_path / f"{i}.extxyz", trajectory(A, 2, i)) for i in range(3)]
    whole = bring(store, "mine", paths)
    # As if the process had been killed before the last two jobs.
    names = {row["name"] for row in store.docs_store.query({}, ["name"])}
    assert names == {f"import {A} r0", f"import {A} r1", f"import {A} r2", "import mine"}
    store.docs_store.remove_docs({"name": {"$in": ["import mine", f"import {A} r2"]}})
    assert find_import(store, "mine") is None
    again = bring(store, "mine", paths)
    assert again.dataset.digest == whole.dataset.digest
    assert store.docs_store.count() == 4


def test_the_same_labels_under_another_name_may_be_split_otherwise(store, tmp_path):
    paths = [as_extxyz(tmp_path / f"{i}.extxyz", trajectory(A, 2, i)) for i in range(2)]
    bring(store, "one", paths)
    n_blobs = n_documents(store)[1]
    assert bring(store, "two", paths, hold_out=2).dataset.n_test == 2
    assert n_documents(store)[1] == n_blobs


def test_the_store_says_where_the_labels_come_from(store, tmp_path):
    path = as_extxyz(tmp_path / "a.extxyz", trajectory(A, 2, 1))
    bring(store, "mine", [path])
    for row in store.docs_store.query():
        about = row["metadata"]["laoc"]
        assert (about["campaign"], about["stage"]) == ("import-mine", "import")
    (batch,) = imported_batches(store, "mine")
    assert batch.provenance.trajectory_id == f"import/{A}/i0/r0"
    found = LaocStore(store)
    found.build()
    rows = found.query("labels", "campaign_id = import-mine and status = converged")
    assert {row["key"] for row in rows} == {record.key for record in batch.records}
    assert {row["level_of_theory"] for row in rows} == {THEORY}


# -- what is refused ------------------------------------------------------------------------------------------------


def changed(kind):
    atoms = a_frame(A, 7)
    if kind == "charged":
        atoms.symbols[atoms.get_chemical_symbols().index("Cl")] = "O"
    elif kind == "foreign":
        atoms.symbols[0] = "Na"
    elif kind in {"energy", "forces", "stress"}:
        del atoms.calc.results[kind]
    elif kind == "isolated":
        atoms.pbc = False
    elif kind == "flat":
        atoms.cell[2] = 0.0
    elif kind == "positions":
        atoms.positions[0, 0] = np.nan
    results = atoms.calc.results
    if kind.startswith("nan "):
        name = kind.split()[1]
        results[name] = results[name] * np.nan
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("charged", "are no neutral cell with Al: the charge is -1 e"),
        ("foreign", "it holds Na, not only Li, Al, O and Cl"),
        ("energy", "it has no energy"),
        ("forces", "it has no forces"),
        ("stress", "it has no stress"),
        ("isolated", "it is not periodic in three directions"),
        ("flat", "it is not periodic in three directions"),
        ("positions", "positions or cell are not finite numbers"),
        ("nan energy", "its energy is not a finite number"),
        ("nan forces", "its forces are not finite numbers"),
        ("nan stress", "its stress is not finite"),
    ],
)
def test_a_frame_that_is_no_label_is_named_and_nothing_is_written(store, tmp_path, kind, told):
    good = trajectory(A, 3, 1)
    path = as_extxyz(tmp_path / "a.extxyz", [*good[:2], changed(kind), good[2]])
    with pytest.raises(InputError, match=r"a\.extxyz: frame 2: .*1 of 4 frames cannot be imported") as caught:
        bring(store, "mine", [path])
    assert told in caught.value.line
    assert n_documents(store) == (0, 0)
    document = bring(store, "mine", [path], skip_bad=True)
    assert_same_labels(store, document, good)
    assert len(document.dataset.members) == 1
    assert sum(document.facts.left_out.values()) == 1


@pytest.mark.parametrize("array", ["energy", "force", "virial"])
def test_a_system_without_an_array_is_refused(store, tmp_path, array):
    as_system(trajectory(A, 2, 1)).to("deepmd/npy", str(tmp_path / "set"), prec=np.float64)
    (tmp_path / "set" / "set.000" / f"{array}.npy").unlink()
    name = {"energy": "energy", "force": "forces", "virial": "stress"}[array]
    with pytest.raises(InputError, match=rf"set: frame 0: it has no {name} \(2 of 2 frames"):
        bring(store, "mine", [tmp_path / "set"])


def test_a_system_without_a_type_map_or_a_box_is_refused(store, tmp_path):
    as_system(trajectory(A, 1, 1)).to("deepmd/npy", str(tmp_path / "set"), prec=np.float64)
    (tmp_path / "set" / "nopbc").touch()
    with pytest.raises(InputError, match="it is not periodic in three directions"):
        bring(store, "mine", [tmp_path / "set"])
    (tmp_path / "set" / "type_map.raw").unlink()
    with pytest.raises(InputError, match=r"its types have no names: a type_map\.raw"):
        bring(store, "mine", [tmp_path / "set"])


def test_labels_beyond_the_limits_stay_as_typed_outcomes(store, tmp_path):
    frames = trajectory(A, 9, 1)
    frames[1].calc.results["forces"][0, 0] = 60.0
    frames[2].calc.results["energy"] = 3.0
    frames[4].positions[1] = frames[4].positions[0] + [0.5, 0, 0]
    frames[5].calc.results["energy"] -= 3.0 * len(frames[5])
    results = frames[4].calc.results
    frames[4].calc = SinglePointCalculator(frames[4], **results)
    document = bring(store, "mine", [as_extxyz(tmp_path / "a.extxyz", frames)])
    assert document.dataset.n_train == 5
    assert document.rejected == {
        "rejected: distance": 1,
        "rejected: energy": 2,
        "rejected: force": 1,
    }
    row = store.docs_store.query_one({"output.schema_name": "label_batch"})
    batch = LabelBatch.model_validate(plain(row["output"]))
    assert [record.index for record in batch.records] == [0, None, None, 1, None, None, 2, 3, 4]
    before = n_documents(store)
    assert bring(store, "mine", [tmp_path / "a.extxyz"]) == document
    assert n_documents(store) == before


def test_options_and_paths_that_cannot_be_used_are_refused(store, tmp_path):
    path = as_extxyz(tmp_path / "a.extxyz", trajectory(A, 2, 1))
    (tmp_path / "empty").mkdir()
    (tmp_path / "b.extxyz").write_text("nonsense\n")
    (tmp_path / "c.dat").write_text("")
    (tmp_path / "potential").mkdir()
    (tmp_path / "potential" / "card.json").write_text('{"what": "committee of DeePMD models"}')
    wrong = [
        ("Mine", [path], {}, "no name for an import"),
        ("a" * 42, [path], {}, "no name for an import"),
        ("mine", [], {}, "there is nothing to import"),
        ("mine", [path], {"level_of_theory": None}, "the level of theory of the labels is not known"),
        ("mine", [path], {"level_of_theory": " "}, "this is no level of theory"),
        ("mine", [path], {"hold_out": 1}, "every so many-th trajectory"),
        ("mine", [path], {"hold_out": 2, "test": [path]}, "--test and --hold-out"),
        ("mine", [path], {"fmt": "cif"}, "there is no format 'cif'"),
        ("mine", [path], {"fmt": "deepmd/npy"}, "deepmd/npy is a folder, not a file"),
        ("mine", [tmp_path / "gone"], {}, "there is no such file or folder"),
        ("mine", [tmp_path / "empty"], {}, "nor a system of DeePMD-kit"),
        ("mine", [tmp_path / "empty"], {"fmt": "extxyz"}, "extxyz is a file, not a folder"),
        ("mine", [tmp_path / "potential"], {}, "not the card of exported labels"),
        ("mine", [tmp_path / "b.extxyz"], {}, "cannot be read as extxyz"),
        ("mine", [tmp_path / "c.dat"], {}, "does not say its format"),
        ("mine", [path], {"fmt": "vasp/xml"}, "cannot be read as vasp/xml"),
        ("mine", [path], {"fmt": "vasp/outcar"}, "cannot be read as vasp/outcar"),
    ]
    for name, paths, options, told in wrong:
        with pytest.raises(InputError) as caught:
            bring(store, name, paths, **options)
        assert told in caught.value.line, caught.value.line
    assert n_documents(store) == (0, 0)


def test_the_command_refuses_in_one_line_and_makes_no_workspace(tmp_path):
    path = as_extxyz(tmp_path / "a.extxyz", [changed("charged")])
    arguments = ["data", "import", "mine", str(path), "--workspace", str(tmp_path / "work")]
    for more, told in (
        ([], "name it with --level-of-theory, as 'laoc plan' prints it"),
        (["--level-of-theory", THEORY], "a.extxyz: frame 0: "),
    ):
        done = CliRunner().invoke(app, [*arguments, *more])
        assert done.exit_code == 2
        assert len(done.stderr.splitlines()) == 1
        assert told in done.stderr
    assert not (tmp_path / "work").exists()


def test_the_key_of_an_import_is_its_content(store, tmp_path):
    paths = [as_extxyz(tmp_path / f"{i}.extxyz", trajectory(A, 1, i)) for i in range(2)]
    document = bring(store, "mine", paths)
    batches = sorted(batch.key for batch in imported_batches(store, "mine"))
    assert document.key == digest_json(["mine", THEORY, batches, "import/r1"])
