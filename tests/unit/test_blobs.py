"""Blobs, files, frames and seeds: addressed by content, verified on the way back."""

import gzip

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from hypothesis import given
from hypothesis import strategies as st
from jobflow import JobStore
from maggma.stores import MemoryStore

from laoc_flows.blobs import (
    BlobFolder,
    derive_seed,
    digest,
    digest_json,
    fetch_file,
    get_blob,
    keep_blobs_in,
    publish_file,
    put_blob,
)
from laoc_flows.errors import ServiceError
from laoc_flows.frames import decode_frames, encode_frames, geometry_key


@pytest.fixture
def store():
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore(key="blob_uuid")})
    store.connect()
    return store


def labeled(seed=0, n=6):
    rng = np.random.default_rng(seed)
    atoms = Atoms(
        ["Li", "Al", "O", "Cl", "Cl", "Cl"][:n],
        rng.uniform(0, 6, (n, 3)),
        cell=np.diag([6.0, 7, 8]) + 0.3,
        pbc=True,
    )
    stress = rng.normal(size=6)
    atoms.calc = SinglePointCalculator(
        atoms, energy=float(rng.normal() * 1000), forces=rng.normal(size=(n, 3)), stress=stress
    )
    return atoms


def test_blob_comes_back_and_is_stored_once(store):
    blob = put_blob(store, b"abc", "text/plain")
    assert put_blob(store, b"abc", "text/plain") == blob
    assert blob.sha256 == digest(b"abc")
    assert get_blob(store, blob) == b"abc"
    assert store.additional_stores["data"].count() == 1


def test_altered_and_missing_blobs_are_refused(store):
    blob = put_blob(store, b"abc", "text/plain")
    data = store.additional_stores["data"]
    data.update([{"blob_uuid": blob.sha256, "encoding": "base64", "data": "eHl6"}], key="blob_uuid")
    with pytest.raises(ServiceError, match="does not have the content"):
        get_blob(store, blob)
    data.remove_docs({})
    with pytest.raises(ServiceError, match="is not in the additional store"):
        get_blob(store, blob)


def test_published_file_comes_back_or_is_refused(tmp_path):
    source = tmp_path / "a"
    source.write_bytes(b"12345")
    ref = publish_file(source, str(tmp_path / "root"), "x/y.h5")
    assert ref.size == 5
    assert ref.uri.startswith("file://")
    assert fetch_file(ref, tmp_path / "b").read_bytes() == b"12345"
    (tmp_path / "root/x/y.h5").write_bytes(b"other")
    with pytest.raises(ServiceError, match="digest"):
        fetch_file(ref, tmp_path / "c")
    (tmp_path / "root/x/y.h5").unlink()
    with pytest.raises(ServiceError, match="gone"):
        fetch_file(ref, tmp_path / "d")


def test_frames_keep_their_results_and_equal_frames_give_equal_bytes():
    frames = [labeled(1), labeled(2)]
    data = encode_frames(frames)
    assert data == encode_frames([labeled(1), labeled(2)])
    for before, after in zip(frames, decode_frames(data), strict=True):
        assert after.get_chemical_symbols() == before.get_chemical_symbols()
        np.testing.assert_allclose(after.positions, before.positions, atol=2e-8)
        np.testing.assert_allclose(after.cell.array, before.cell.array, atol=2e-8)
        assert after.get_potential_energy() == pytest.approx(before.get_potential_energy(), abs=1e-8)
        np.testing.assert_allclose(after.get_forces(), before.get_forces(), atol=2e-8)
        np.testing.assert_allclose(after.get_stress(), before.get_stress(), atol=2e-8)
    assert decode_frames(encode_frames([])) == []
    assert gzip.decompress(data).startswith(b"6\n")


def test_geometry_key_knows_what_is_the_same_label():
    atoms = labeled()
    key = geometry_key(atoms, "a")
    shifted = atoms.copy()
    shifted.positions += shifted.cell.array[0] * 2 - shifted.cell.array[2]
    assert geometry_key(shifted, "a") == key
    assert geometry_key(atoms, "b") != key
    moved = atoms.copy()
    moved.positions[0, 0] += 1e-4
    assert geometry_key(moved, "a") != key
    swapped = atoms.copy()
    swapped.symbols[0] = "Na"
    assert geometry_key(swapped, "a") != key


@given(
    st.lists(st.one_of(st.integers(), st.text()), max_size=4),
    st.lists(st.one_of(st.integers(), st.text()), max_size=4),
)
def test_seeds_derive_from_identity(a, b):
    assert 1 <= derive_seed(*a) <= 2**31 - 2
    assert derive_seed(*a) == derive_seed(*a)
    if [str(x) for x in a] != [str(x) for x in b]:
        assert derive_seed(*a) != derive_seed(*b)


def test_json_digest_ignores_order_of_keys_only():
    assert digest_json({"a": 1, "b": [1, 2]}) == digest_json({"b": [1, 2], "a": 1})
    assert digest_json([1, 2]) != digest_json([2, 1])
    with pytest.raises(TypeError):
        digest_json(object())


def test_blobs_below_a_root_are_files_and_the_store_stays_as_it_is(store, tmp_path):
    other = keep_blobs_in(store, str(tmp_path / "blobs"))
    blob = put_blob(other, b"abc", "text/plain")
    assert get_blob(other, blob) == b"abc"
    assert put_blob(other, b"abc", "text/plain") == blob
    (path,) = [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]
    assert path.name == digest(b"abc")
    assert path.read_bytes() == b"abc"
    assert store.additional_stores["data"].count() == 0
    assert other.docs_store is store.docs_store
    with pytest.raises(ServiceError, match="blob_root"):
        get_blob(store, blob)
    path.write_bytes(b"abd")
    with pytest.raises(ServiceError, match="does not have the content"):
        get_blob(other, blob)
    assert keep_blobs_in(store, None) is store


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "x" * 64, "A" * 64])
def test_only_digests_are_names_of_files(tmp_path, name):
    assert BlobFolder(str(tmp_path)).query_one({"blob_uuid": name}) is None
