"""Labels and potentials as files: what other programs read in them is what is in the store."""

import hashlib
import json
from pathlib import Path

import dpdata
import numpy as np
import pytest
from ase import units
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read
from typer.testing import CliRunner

from laoc_flows.blobs import put_blob
from laoc_flows.cli.main import app
from laoc_flows.errors import InputError, QueryError
from laoc_flows.frames import MEDIA_TYPE, encode_frames
from laoc_flows.schemas.base import SPECIES
from laoc_flows.store.exports import export_labels, export_potential
from laoc_flows.store.laoc_store import LaocStore
from tests.integration.test_store import THEORY, A, B, batch, cell, job_store, potential, run, workspace

__all__ = ["job_store", "workspace"]


def with_stress(store, made, seed):
    """The same labels with a stress, so that signs and units can be told."""
    rng = np.random.default_rng(seed)
    frames = []
    composition_id = made.provenance.composition_id
    for record in made.records:
        atoms = cell(composition_id, record.max_force)
        stress = rng.normal(scale=0.01, size=6)
        forces = rng.normal(size=(len(atoms), 3))
        atoms.calc = SinglePointCalculator(atoms, energy=record.energy, forces=forces, stress=stress)
        frames.append(atoms)
    return made.model_copy(update={"shard": put_blob(store, encode_frames(frames), MEDIA_TYPE)})


@pytest.fixture
def store(job_store):
    documents = [
        with_stress(job_store, batch(job_store, A, [0.1, 0.2, 0.3]), 1),
        with_stress(job_store, batch(job_store, B, [0.1, 0.2], replica=1), 2),
        with_stress(job_store, batch(job_store, A, [0.5, 0.6], held_out=True, replica=2), 3),
        potential(job_store),
        potential(job_store, 1, rmse=0.1),
    ]
    run(job_store, documents)
    found = LaocStore(job_store)
    found.build()
    return found


@pytest.mark.parametrize("fmt", ["extxyz", "deepmd/npy", "deepmd/npy/mixed"])
def test_what_is_read_is_what_was_computed(store, tmp_path, fmt):
    folder = tmp_path / "deep" / "set"
    card = export_labels(store, folder, fmt=fmt, license_name="CC-BY-4.0")
    assert json.loads((folder / "card.json").read_text()) == card
    assert card["counts"] == {"train": 5, "test": 2}
    assert card["compositions"] == {"train": {A: 3, B: 2}, "test": {A: 2}}
    assert card["trajectories"] == {"train": 2, "test": 1}
    assert (card["level_of_theory"], card["license"], card["format"]) == (THEORY, "CC-BY-4.0", fmt)
    for part, held_out in (("train", False), ("test", True)):
        wanted = {
            round(float(atoms.get_potential_energy()), 6): atoms
            for atoms in store.labels({"held_out": held_out, "composition_id": A})
        }
        found = {}
        if fmt == "extxyz":
            for atoms in read(folder / part / "labels.extxyz", index=":"):
                assert atoms.info["level_of_theory"] == THEORY
                if atoms.info["composition_id"] == A:
                    found[round(float(atoms.get_potential_energy()), 6)] = (
                        atoms.get_chemical_symbols(), atoms.positions, atoms.get_forces(), -atoms.get_stress(voigt=False) * atoms.get_volume(),
                    )  # fmt: skip
        else:
            for system in _systems(folder / part, fmt):
                data = system.data
                symbols = [data["atom_names"][index] for index in data["atom_types"]]
                if symbols.count("Li") != symbols.count("Al"):
                    continue
                for i, energy in enumerate(data["energies"]):
                    found[round(float(energy), 6)] = (symbols, data["coords"][i], data["forces"][i], data["virials"][i])  # fmt: skip
        assert len(found) == len(wanted) > 0
        for energy, (symbols, positions, forces, virial) in found.items():
            atoms = wanted[energy]
            order = np.argsort([SPECIES.index(s) for s in atoms.get_chemical_symbols()], kind="stable")
            theirs = np.argsort([SPECIES.index(s) for s in symbols], kind="stable")
            np.testing.assert_allclose(positions[theirs], atoms.positions[order], atol=1e-6)
            np.testing.assert_allclose(forces[theirs], atoms.get_forces()[order], atol=1e-6)
            stress = atoms.get_stress(voigt=False) * atoms.get_volume()
            np.testing.assert_allclose(virial, -stress, atol=1e-5)


def test_another_campaign_with_the_same_labels_changes_neither_split_nor_trajectory(
    store, job_store, tmp_path
):
    before = export_labels(store, tmp_path / "before")
    # What tests the one is training data of the other, and the other way round.
    run(
        job_store,
        [
            with_stress(job_store, batch(job_store, A, [0.5, 0.6], campaign="two", replica=7), 3),
            with_stress(job_store, batch(job_store, B, [0.1], campaign="two", held_out=True, replica=8), 2),
        ],
        "two",
    )
    store.build()
    after = export_labels(store, tmp_path / "after", "campaign_id = one")
    assert before["counts"] == {"train": 5, "test": 2}
    assert after["counts"] == {"train": 4, "test": 3}
    assert after["digest"] == before["digest"]
    held_out = read(tmp_path / "after" / "test" / "labels.extxyz", index=":")
    assert {atoms.info["trajectory_id"] for atoms in held_out} == {
        f"one/seed/{A}/i0/r2",
        f"one/seed/{B}/i0/r1",
    }
    # Also where all of it is built anew.
    store.build(rebuild=True)
    assert export_labels(store, tmp_path / "anew", "campaign_id = one") == after


def test_trajectories_of_two_campaigns_are_two(store, job_store, tmp_path):
    run(job_store, [with_stress(job_store, batch(job_store, A, [0.8], campaign="two"), 4)], "two")
    store.build()
    assert export_labels(store, tmp_path / "set")["trajectories"] == {"train": 3, "test": 1}


def test_the_same_numbers_under_two_levels_of_theory_do_not_go_together(store, job_store, tmp_path):
    there = with_stress(job_store, batch(job_store, A, [0.1, 0.2, 0.3]), 1)
    records = tuple(each.model_copy(update={"key": f"other-{each.key}"}) for each in there.records)
    other = there.model_copy(
        update={"key": "other", "campaign_id": "two", "level_of_theory": "other/r1", "records": records}
    )
    run(job_store, [other], "two")
    store.build()
    with pytest.raises(QueryError, match=f"3 of 'other/r1', 7 of '{THEORY}'"):
        export_labels(store, tmp_path / "set")
    assert not (tmp_path / "set").exists()
    assert len({id(atoms) for atoms in store.labels()}) == 10


def _systems(folder, fmt):
    if fmt == "deepmd/npy/mixed":
        return list(dpdata.MultiSystems().load_systems_from_file(str(folder), fmt=fmt))
    return [dpdata.LabeledSystem(str(path), fmt=fmt) for path in sorted(folder.iterdir())]


def test_the_ranges_of_the_card_are_those_of_the_labels(store, tmp_path):
    card = export_labels(store, tmp_path / "set", f"composition_id = {A}")
    frames = store.labels({"composition_id": A})
    pressure = [-atoms.get_stress()[:3].mean() / units.GPa for atoms in frames]
    np.testing.assert_allclose(
        card["ranges"]["potential_pressure_GPa"], [min(pressure), max(pressure)], atol=1e-6
    )
    assert card["ranges"]["atoms"] == [len(cell(A))] * 2
    # The content is the digest: another format is the same data, one label fewer is not.
    same = export_labels(store, tmp_path / "npy", f"composition_id = {A}", "deepmd/npy")
    assert same["digest"] == card["digest"]
    fewer = export_labels(store, tmp_path / "few", f"composition_id = {A} and held_out = false")
    assert fewer["digest"] != card["digest"]
    assert not (tmp_path / "few" / "test").exists()


def test_levels_of_theory_are_never_mixed_and_nothing_is_written_for_a_mistake(
    store, job_store, tmp_path, monkeypatch
):
    other = batch(job_store, B, [0.9])
    other = other.model_copy(
        update={
            "level_of_theory": "vasp/PBE",
            "key": "other",
            "records": tuple(r.model_copy(update={"key": "k"}) for r in other.records),
        }
    )
    run(job_store, [other])
    store.build()
    with pytest.raises(QueryError, match="1 of 'vasp/PBE'"):
        export_labels(store, tmp_path / "set")
    assert export_labels(store, tmp_path / "one", "level_of_theory ~ vasp")["counts"] == {
        "train": 1,
        "test": 0,
    }
    with pytest.raises(QueryError, match="no converged label fits"):
        export_labels(store, tmp_path / "set", "x > 5")
    with pytest.raises(InputError, match="is there already"):
        export_labels(store, tmp_path / "one", "level_of_theory ~ vasp")
    with pytest.raises(InputError, match="there is no format 'npy'"):
        export_labels(store, tmp_path / "set", fmt="npy")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(InputError, match=r"here: is there already -- give a folder that is new"):
        export_labels(store, Path(), "level_of_theory ~ vasp")
    (tmp_path / "here").rmdir()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be made"):
        export_labels(store, tmp_path / "file" / "set", "level_of_theory ~ vasp")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "one"]


def test_a_potential_is_its_models_and_how_lammps_takes_them(store, tmp_path):
    card = export_potential(store, "p1", tmp_path / "p")
    assert sorted(path.name for path in (tmp_path / "p").iterdir()) == [
        "card.json",
        "in.potential",
        "model-0.pb",
        "model-1.pb",
    ]
    for index in range(2):
        data = (tmp_path / "p" / f"model-{index}.pb").read_bytes()
        assert data == f"model 1 {index}".encode()
        assert card["models"][f"model-{index}.pb"]["sha256"] == hashlib.sha256(data).hexdigest()
    script = (tmp_path / "p" / "in.potential").read_text()
    assert "pair_style hybrid/overlay deepmd model-0.pb soft 2.5" in script
    assert "pair_coeff * * deepmd Li Al O Cl" in script
    assert script.count("mass ") == 4
    with pytest.raises(QueryError, match="2 potentials begin with 'p'"):
        export_potential(store, "p", tmp_path / "q")
    with pytest.raises(QueryError, match="no potentials begin with 'x'"):
        export_potential(store, "x", tmp_path / "q")


def test_the_commands(store, workspace, tmp_path, monkeypatch):
    del store
    monkeypatch.setenv("COLUMNS", "200")

    def laoc(*arguments):
        return CliRunner().invoke(app, [*map(str, arguments), "--workspace", str(workspace.path)])

    done = laoc(
        "data", "export", tmp_path / "set", "--format", "deepmd/npy", "--where", f"composition_id={A}"
    )
    assert done.exit_code == 0, done.output
    assert "wrote 3 labels to train on and 2 held out" in done.output
    listed = laoc("potential", "list")
    assert listed.exit_code == 0, listed.output
    assert listed.output.count(THEORY) == 2
    shown = laoc("potential", "show", "p1")
    assert "10 trained on, 4 held out" in shown.output
    assert f"{A}" in shown.output
    assert "0.1" in shown.output
    compared = laoc("potential", "compare", "p0", "p1")
    assert "force RMSE [eV/A]" in compared.output
    rows = [line.split() for line in compared.output.splitlines() if line.startswith("x")]
    assert [row[:3] for row in rows] == [
        [B, "p0", "0.300(20)"],
        [B, "p1", "0.200(20)"],
        [A, "p0", "0.200(20)"],
        [A, "p1", "0.100(20)"],
    ]
    assert laoc("potential", "export", "p1", tmp_path / "p").exit_code == 0
    wrong = laoc("potential", "show", "nothing")
    assert wrong.exit_code == 2
    assert "laoc: no potentials begin with 'nothing' -- 'laoc potential list' shows all" in wrong.output
