"""The same run in every format, against the codes that write and read them."""

import os
import subprocess
from pathlib import Path

import MDAnalysis
import numpy as np
import pytest
from ase import Atoms, units
from ase.calculators.lj import LennardJones
from ase.io import read, write
from ase.md.langevin import Langevin
from pymatgen.core import Lattice, Structure
from pymatgen.io.vasp.outputs import Xdatcar

from laoc_flows.analysis import Trajectory, msd
from laoc_flows.engines.lammps import lammps_environment, lammps_program
from laoc_flows.errors import TrajectoryError

ELEMENTS = ("Li", "Cl")
MD_STEP = 0.002
INPUT = """
units metal
boundary p p p
region box prism -1.0 9.0 2.0 11.0 0.5 8.5 1.5 -1.0 2.0
create_box 2 box
create_atoms 1 random 20 12345 NULL overlap 1.8 maxtry 500
create_atoms 2 random 20 54321 NULL overlap 1.8 maxtry 500
mass 1 6.94
mass 2 35.45
pair_style lj/cut 5.0
pair_coeff * * 0.02 2.4
minimize 0 1e-3 200 1000
reset_timestep 0
velocity all create 900 4928
fix 1 all nvt temp 900 900 0.05
{deform}
timestep 0.002
dump x all custom 10 x.dump id type element x y z ix iy iz
dump wrapped all custom 10 wrapped.dump id element x y z
dump xs all custom 10 xs.dump id type xs ys zs
dump xu all custom 10 xu.dump element id xu yu zu
dump xsu all custom 10 xsu.dump id type xsu ysu zsu vx
dump_modify x element Li Cl format float %20.15g
dump_modify wrapped element Li Cl format float %20.15g
dump_modify xu element Li Cl format float %20.15g
dump_modify xs format float %20.15g
dump_modify xsu format float %20.15g units yes time yes
run 3000
"""
DUMPS = {
    "x": {"md_step": MD_STEP},
    "wrapped": {"md_step": MD_STEP},
    "xs": {"elements": ELEMENTS, "md_step": MD_STEP},
    "xu": {"time_step": 10 * MD_STEP},
    "xsu": {"elements": {1: "Li", 2: "Cl"}},
}


@pytest.fixture(scope="module", params=["constant", "deforming"])
def dumps(request, tmp_path_factory):
    """A run of LAMMPS itself in a triclinic box, at rest or stretched along x and squeezed along z."""
    folder = tmp_path_factory.mktemp(request.param)
    deform = "fix 2 all deform 1 x scale 1.1 z scale 0.95 remap x" if request.param == "deforming" else ""
    (folder / "in.lj").write_text(INPUT.format(deform=deform))
    environment = {**os.environ, **lammps_environment(plugin=False)}
    command = [*lammps_program(), "-in", "in.lj", "-log", "none"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, env=environment)
    return folder


def test_every_kind_of_lammps_dump_holds_the_same_run(dumps):
    runs = {name: Trajectory.read(dumps / f"{name}.dump", **given) for name, given in DUMPS.items()}
    exact = runs["x"]
    assert exact.n_frames == 301
    assert exact.species == ("Li",) * 20 + ("Cl",) * 20
    moved = np.ptp(np.matmul(exact.positions, np.linalg.inv(exact.cells)), axis=0)
    assert moved.max() > 1.5, "no atom has left the box far enough to test the images"
    for name, run in runs.items():
        assert run.time_step == pytest.approx(0.02)
        assert run.continuous == (name in {"x", "xu", "xsu"})
        assert np.allclose(run.cells, exact.cells, atol=1e-12)
        # Wrapped dumps are unwrapped by minimum images: the first frame apart, this restores the flags.
        images = np.matmul(run.unwrapped("none") - exact.positions, np.linalg.inv(exact.cells))
        assert np.allclose(images, np.rint(images[:1]), atol=1e-9)
        assert np.allclose(images[0], 0, atol=1e-9) or not run.continuous
        with Trajectory.open(dumps / f"{name}.dump", **DUMPS[name]) as file:
            assert np.array_equal(file.block(100, 120).positions, run.positions[100:120])
            assert np.array_equal(file.cells, run.cells)


def test_mdanalysis_reads_the_same_dumps(dumps):
    for name, convention in (("wrapped", "unscaled"), ("xs", "scaled"), ("xu", "unwrapped")):
        ours = Trajectory.read(dumps / f"{name}.dump", **DUMPS[name])
        universe = MDAnalysis.Universe.empty(ours.n_atoms, trajectory=True)
        universe.load_new(
            str(dumps / f"{name}.dump"),
            format="LAMMPSDUMP",
            lammps_coordinate_convention=convention,
            dt=MD_STEP,
        )
        assert len(universe.trajectory) == ours.n_frames
        for k, step in enumerate(universe.trajectory):
            assert step.time == pytest.approx(ours.times[k])
            # MDAnalysis moves scaled positions, which do not hold the corner of the box, by it all the same.
            origin = step.positions[0] - ours.positions[k, 0] if name == "xs" else np.zeros(3)
            assert np.allclose(step.positions - origin, ours.positions[k], atol=2e-5)
            assert step.dimensions == pytest.approx(Atoms(cell=ours.cells[k]).cell.cellpar(), abs=1e-4)


def test_mean_squared_displacements_do_not_depend_on_the_kind_of_dump(dumps):
    runs = [Trajectory.read(dumps / f"{name}.dump", **DUMPS[name]) for name in ("x", "wrapped")]
    if dumps.name.startswith("deforming"):
        for run in runs:
            with pytest.raises(TrajectoryError, match="cell"):
                msd(run, "Li")
    else:
        flagged, wrapped = (np.array(msd(run, "Li").value) for run in runs)
        assert np.allclose(wrapped, flagged, rtol=1e-9)
        assert flagged[-1] > 1.0


@pytest.fixture(scope="module")
def frames():
    """A little Langevin run of ASE in a triclinic cell."""
    rng = np.random.default_rng(3)
    cell = np.array([[11.0, 0.0, 0.0], [2.0, 10.0, 0.0], [-1.0, 1.5, 12.0]])
    grid = np.array([(i, j, k) for i in range(3) for j in range(3) for k in range(3)]) / 3 + 0.1
    atoms = Atoms("Li9Cl18", scaled_positions=grid, cell=cell, pbc=True)
    atoms.calc = LennardJones(sigma=2.8, epsilon=0.02, rc=6.0, smooth=True)
    dynamics = Langevin(atoms, 2 * units.fs, temperature_K=1500, friction=0.01 / units.fs, rng=rng)
    kept = []

    def keep():
        frame = atoms.copy()
        frame.wrap()
        kept.append(frame)

    dynamics.attach(keep, interval=5)
    dynamics.run(300)
    return kept


@pytest.mark.parametrize("name", ["run.extxyz", "run.extxyz.gz", "run.traj", "XDATCAR"])
def test_ase_writes_and_we_read_the_same(tmp_path, frames, name):
    write(tmp_path / name, frames, format="vasp-xdatcar" if name == "XDATCAR" else None)
    run = Trajectory.read(tmp_path / name, 0.01)
    peer = read(tmp_path / name, index=":", format="vasp-xdatcar" if name == "XDATCAR" else None)
    assert run.n_frames == len(peer) == len(frames) == 61
    assert run.species == tuple(frames[0].get_chemical_symbols())
    assert np.abs(run.positions - [atoms.positions for atoms in peer]).max() < 1e-12
    assert np.abs(run.positions - [atoms.positions for atoms in frames]).max() < 1e-6
    assert np.array_equal(run.cells, [atoms.cell[:] for atoms in peer])


@pytest.mark.parametrize("varying", [False, True])
def test_pymatgen_reads_the_same_xdatcar(tmp_path, frames, varying):
    if varying:
        frames = [atoms.copy() for atoms in frames]
        for k, atoms in enumerate(frames):
            atoms.set_cell(atoms.cell * (1 + 1e-3 * k), scale_atoms=True)
    made = [
        Structure(Lattice(atoms.cell[:]), atoms.get_chemical_symbols(), atoms.get_scaled_positions())
        for atoms in frames
    ]
    source = Xdatcar.__new__(Xdatcar)
    source.structures, source.comment = made, "a melt"
    text = source.get_str()
    if varying:
        # VASP repeats the header at every configuration of a varying cell.
        parts = [Xdatcar.__new__(Xdatcar) for _ in made]
        for part, structure in zip(parts, made, strict=True):
            part.structures, part.comment = [structure], "a melt"
        text = "".join(
            part.get_str().rstrip("\n").replace("configuration=     1", f"configuration={k:6d}") + "\n"
            for k, part in enumerate(parts, start=1)
        )
    (tmp_path / "XDATCAR").write_text(text)
    peer = Xdatcar(tmp_path / "XDATCAR").structures
    run = Trajectory.read(tmp_path / "XDATCAR", 0.01)
    assert len(peer) == run.n_frames == len(frames)
    assert run.constant_cell == (not varying)
    assert np.abs(run.positions - [s.cart_coords for s in peer]).max() < 1e-10
    assert np.abs(run.cells - [s.lattice.matrix for s in peer]).max() < 1e-10
    assert np.array_equal(Trajectory.from_pymatgen(peer, 0.01).species, run.species)


def test_ase_reads_the_same_step_of_a_real_vasprun():
    import ase.test

    folder = Path(ase.test.__file__).parent / "testdata/vasp"
    for name in ("vasprun_pstress.xml", "vasprun_dfpt.xml"):
        run = Trajectory.read(folder / name, 0.001)
        peer = read(folder / name, index=":")
        assert run.n_frames == len(peer)
        assert run.species == tuple(peer[0].get_chemical_symbols())
        assert np.abs(run.positions[0] - peer[0].positions).max() < 1e-12
        assert np.abs(run.cells[0] - peer[0].cell[:]).max() < 1e-12


def test_one_run_in_every_format_reads_to_the_same_numbers(tmp_path, frames):
    exact = Trajectory.from_ase(frames, 0.01)
    exact.write(tmp_path / "run.h5md", dtype="float64")
    for name, kind in (
        ("run.extxyz", None),
        ("run.traj", None),
        ("XDATCAR", "vasp-xdatcar"),
        ("run.xyz", "xyz"),
    ):
        write(tmp_path / name, frames, format=kind)
    unwrapped = exact.unwrapped()
    for path in sorted(tmp_path.iterdir()):
        given = {"cell": exact.cells[0]} if path.name == "run.xyz" else {}
        run = Trajectory.read(path, 0.01, **given)
        assert run.species == exact.species
        assert np.abs(run.unwrapped() - unwrapped).max() < 1e-6, path.name
        with Trajectory.open(path, 0.01, **given) as file:
            assert np.abs(file.paths().of() - unwrapped).max() < 1e-5, path.name


def test_mdanalysis_reads_our_h5md_of_any_run(tmp_path, frames):
    run = Trajectory.from_ase(frames, 0.01)
    with Trajectory.open(run.write(tmp_path / "a.h5md")) as file:
        path = file.write(tmp_path / "b.h5md")
    universe = MDAnalysis.Universe.empty(run.n_atoms, trajectory=True)
    universe.load_new(str(path), format="H5MD")
    assert len(universe.trajectory) == run.n_frames
    for k, step in enumerate(universe.trajectory):
        assert np.allclose(step.positions, run.positions[k], atol=1e-5)
        assert step.time == pytest.approx(0.01 * k)
