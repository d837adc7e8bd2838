"""Trajectory files of other programs: what each format tells, and what is refused."""

import bz2
import gzip
import lzma

import h5py
import numpy as np
import pytest
from ase import Atoms
from ase.io import write
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure
from pymatgen.core.trajectory import Trajectory as PymatgenTrajectory

from laoc_flows.analysis import Trajectory
from laoc_flows.errors import InputError, TrajectoryError

SPECIES = ("Li", "Li", "Al", "O", "Cl", "Cl")
N_ATOMS, N_FRAMES = len(SPECIES), 12
CELL = np.array([[6.0, 0.0, 0.0], [1.5, 5.0, 0.0], [-1.0, 2.0, 7.0]])
BOX = np.diag([6.0, 5.0, 7.0])
TYPES = ("Li", "Al", "O", "Cl")


def walk(cell=CELL, n_frames=N_FRAMES, seed=0):
    """Unwrapped fractional coordinates of a random walk that leaves the cell."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(0.02, 0.08, (n_frames, N_ATOMS, 3)).clip(-0.3, 0.3)
    return rng.random((N_ATOMS, 3)) + np.cumsum(steps, axis=0), np.broadcast_to(cell, (n_frames, 3, 3))


def breathing(n_frames=N_FRAMES):
    fractional, cells = walk(n_frames=n_frames)
    return fractional, cells * np.linspace(1, 1.1, n_frames)[:, None, None]


def box_bounds(cell, corner):
    """The header of a dump, after the LAMMPS manual."""
    low, high = corner.copy(), corner + np.diag(cell)
    xy, xz, yz = cell[1, 0], cell[2, 0], cell[2, 1]
    if not np.any([xy, xz, yz]):
        return "ITEM: BOX BOUNDS pp pp pp", [
            f"{a!r} {b!r}" for a, b in zip(low.tolist(), high.tolist(), strict=True)
        ]
    low[0] += min(0.0, xy, xz, xy + xz)
    high[0] += max(0.0, xy, xz, xy + xz)
    low[1] += min(0.0, yz)
    high[1] += max(0.0, yz)
    rows = [[low[0], high[0], xy], [low[1], high[1], xz], [low[2], high[2], yz]]
    return "ITEM: BOX BOUNDS xy xz yz pp pp pp", [" ".join(repr(float(v)) for v in row) for row in rows]


def dump(path, fractional, cells, columns, steps=None, corner=(-1.0, 2.0, 0.5), shuffle=True, head=()):
    """A LAMMPS dump of the walk with the columns asked for."""
    rng = np.random.default_rng(7)
    corner = np.array(corner)
    steps = range(0, 100 * len(fractional), 100) if steps is None else steps
    with path.open("w") as file:
        for s, cell, step in zip(fractional, cells, steps, strict=True):
            turns = np.floor(s)
            table = {
                "id": np.arange(1, N_ATOMS + 1) * 3,
                "type": [TYPES.index(symbol) + 1 for symbol in SPECIES],
                "element": SPECIES,
                "q": np.zeros(N_ATOMS),
            }
            for axis in range(3):
                name = "xyz"[axis]
                table |= {
                    name: ((s - turns) @ cell + corner)[:, axis],
                    f"{name}s": (s - turns)[:, axis],
                    f"{name}u": (s @ cell + corner)[:, axis],
                    f"{name}su": s[:, axis],
                    f"i{name}": turns[:, axis].astype(int),
                }
            label, rows = box_bounds(cell, corner)
            lines = [*head, "ITEM: TIMESTEP", str(step), "ITEM: NUMBER OF ATOMS", str(N_ATOMS), label, *rows]
            lines.append(f"ITEM: ATOMS {columns}")
            order = rng.permutation(N_ATOMS) if shuffle else range(N_ATOMS)
            lines += [" ".join(str(table[c][k]) for c in columns.split()) for k in order]
            file.write("\n".join(lines) + "\n")
    return path


def xdatcar(
    path, fractional, cells, *, numbers=None, repeat=False, scale=1.0, symbols="Li Al O Cl", mode="w"
):
    numbers = range(1, len(fractional) + 1) if numbers is None else numbers
    with path.open(mode) as file:
        for k, (s, cell, number) in enumerate(zip(fractional, cells, numbers, strict=True)):
            if k == 0 or repeat:
                factor = scale if scale > 0 else (-scale / np.linalg.det(cell)) ** (1 / 3)
                rows = "".join(" ".join(f"{v:.12f}" for v in row) + "\n" for row in cell / factor)
                file.write(f"a glass\n {scale}\n{rows}  {symbols}\n  2 1 1 2\n")
            file.write(f"Direct configuration={number!s:>6}\n")
            file.writelines(" ".join(f"{v:.10f}" for v in row) + "\n" for row in s - np.floor(s))
    return path


STEP = """ <calculation>
{scsteps}  <structure>
   <crystal><varray name="basis">{basis}</varray><varray name="rec_basis">{basis}</varray></crystal>
   <varray name="positions">{positions}</varray>
  </structure>
  <varray name="forces">{positions}</varray>
 </calculation>
"""


def vasprun(path, fractional, cells, *, potim=2.0, ibrion=0, n_electronic=5, more=""):
    def rows(matrix):
        return "".join("<v>" + " ".join(f"{v:.10f}" for v in row) + "</v>" for row in matrix)

    atoms = "".join(f"<rc><c>{symbol}</c><c>1</c></rc>" for symbol in SPECIES)
    steps = "".join(
        STEP.format(scsteps="<scstep/>" * n_electronic, basis=rows(cell), positions=rows(s - np.floor(s)))
        for s, cell in zip(fractional, cells, strict=True)
    )
    path.write_text(
        f'<?xml version="1.0" encoding="ISO-8859-1"?>\n<modeling>\n <incar>{more}<i name="POTIM">{potim}</i></incar>\n'
        f' <parameters><separator name="electronic"><i type="int" name="NELM">60</i></separator>'
        f'<separator name="ionic"><i type="int" name="IBRION">{ibrion}</i><i name="POTIM">{potim}</i></separator>'
        f'</parameters>\n <atominfo><array name="atoms"><set>{atoms}</set></array></atominfo>\n'
        f' <structure name="initialpos"><varray name="positions">{rows(fractional[0])}</varray></structure>\n'
        f"{steps}</modeling>\n"
    )
    return path


def cp2k(path, fractional, cells, steps=None, labels=SPECIES, md_step=0.5):
    """Positions and cells as CP2K prints them; returns the path of the cells."""
    steps = range(len(fractional)) if steps is None else steps
    rows = []
    with path.open("w") as file:
        for s, cell, step in zip(fractional, cells, steps, strict=True):
            time = step * md_step
            file.write(f"{N_ATOMS:8d}\n i = {step:8d}, time = {time:12.3f}, E = {-123.4:20.10f}\n")
            file.writelines(
                f"{label:>3} " + " ".join(f"{v:20.10f}" for v in r) + "\n"
                for label, r in zip(labels, s @ cell, strict=True)
            )
            numbers = " ".join(f"{v:.10f}" for v in cell.reshape(-1))
            rows.append(f"{step} {time:.3f} {numbers} {np.linalg.det(cell):.10f}\n")
    other = path.with_name("glass-1.cell")
    other.write_text(
        "#   Step   Time [fs]   Ax [Angstrom] ... Cz [Angstrom]   Volume [Angstrom^3]\n" + "".join(rows)
    )
    return other


def atoms_of(fractional, cells):
    return [
        Atoms(SPECIES, positions=(s - np.floor(s)) @ cell, cell=cell, pbc=True)
        for s, cell in zip(fractional, cells, strict=True)
    ]


def same(trajectory, fractional, cells, atol=1e-6):
    """Whether the trajectory holds this walk, wrapped or not."""
    assert trajectory.species == SPECIES
    assert np.allclose(trajectory.cells, cells, atol=atol)
    found = np.matmul(trajectory.positions, np.linalg.inv(trajectory.cells)) - fractional
    if trajectory.continuous:
        return np.abs(found).max() < atol
    return np.abs(found - np.rint(found)).max() < atol


def structures(fractional, cells):
    return [
        Structure(Lattice(cell), SPECIES, s, to_unit_cell=True)
        for s, cell in zip(fractional, cells, strict=True)
    ]


def test_from_pymatgen():
    fractional, cells = breathing()
    made = structures(fractional, cells)
    trajectory = Trajectory.from_pymatgen(made, 0.5, 3.0)
    assert same(trajectory, fractional, cells)
    assert (trajectory.time_step, trajectory.start_time) == (0.5, 3.0)
    with pytest.raises(TrajectoryError, match="how far apart"):
        Trajectory.from_pymatgen(made)
    with pytest.raises(TrajectoryError, match="frame 1 holds other atoms"):
        Trajectory.from_pymatgen([made[0], made[1].copy().replace_species({"Li": "Na"})], 1.0)
    with pytest.raises(TrajectoryError, match="no frames"):
        Trajectory.from_pymatgen([], 1.0)


@pytest.mark.parametrize("displacements", [False, True])
def test_from_a_pymatgen_trajectory(displacements):
    fractional, cells = walk()
    source = PymatgenTrajectory.from_structures(structures(fractional, cells), time_step=2.0)
    if displacements:
        source.to_displacements()
    trajectory = Trajectory.from_pymatgen(source)
    assert same(trajectory, fractional, cells)
    assert trajectory.time_step == pytest.approx(0.002)
    assert Trajectory.from_pymatgen(source, 0.002).n_frames == N_FRAMES
    with pytest.raises(TrajectoryError, match=r"says 0\.002 ps"):
        Trajectory.from_pymatgen(source, 2.0)


@pytest.mark.parametrize("suffix", ["", ".gz", ".bz2", ".xz"])
def test_extended_xyz_also_compressed(tmp_path, suffix):
    fractional, cells = breathing()
    frames = atoms_of(fractional, cells)
    for atoms in frames:
        atoms.set_velocities(np.ones((N_ATOMS, 3)))
    write(tmp_path / "run.extxyz", frames)
    text = (tmp_path / "run.extxyz").read_bytes()
    path = tmp_path / f"other.xyz{suffix}"
    packed = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}.get(suffix, bytes)(text)
    path.write_bytes(packed)
    trajectory = Trajectory.read(path, 0.5)
    assert same(trajectory, fractional, cells)
    assert (trajectory.time_step, trajectory.continuous) == (0.5, False)
    with pytest.raises(TrajectoryError, match="how far apart"):
        Trajectory.read(path)
    with pytest.raises(TrajectoryError, match="holds its own cells"):
        Trajectory.read(path, 0.5, cell=CELL)
    if suffix:
        path.write_bytes(packed[: len(packed) // 2])
        with pytest.raises(TrajectoryError, match=str(path)):
            Trajectory.read(path, 0.5)


def test_extended_xyz_with_columns_in_another_order_and_open_boundaries(tmp_path):
    text = '2\nLattice="6 0 0 1 5 0 0 2 7" Properties=id:I:1:pos:R:3:species:S:1 pbc="{}"\n1 1 2 3 Li\n2 4 5 6 Cl\n'
    path = tmp_path / "run.xyz"
    path.write_text(text.format("T T T"))
    trajectory = Trajectory.read(path, 1.0)
    assert trajectory.species == ("Li", "Cl")
    assert trajectory.positions[0].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert trajectory.cells[0].tolist() == [[6, 0, 0], [1, 5, 0], [0, 2, 7]]
    path.write_text(text.format("T T F"))
    with pytest.raises(TrajectoryError, match="not periodic"):
        Trajectory.read(path, 1.0)


def test_plain_xyz_needs_a_cell_and_may_be_wrapped(tmp_path):
    fractional, cells = walk()
    write(tmp_path / "run.xyz", atoms_of(fractional, cells), format="xyz", fmt="%.10f")
    trajectory = Trajectory.read(tmp_path / "run.xyz", 0.5, cell=CELL)
    assert same(trajectory, fractional, cells)
    assert not trajectory.continuous
    with pytest.raises(TrajectoryError, match="no cell -- give cell="):
        Trajectory.read(tmp_path / "run.xyz", 0.5)
    with pytest.raises(TrajectoryError, match="shape"):
        Trajectory.read(tmp_path / "run.xyz", 0.5, cell=[6.0, 5.0, 7.0])
    cells_file = cp2k(tmp_path / "glass-pos-1.xyz", *breathing())
    with pytest.raises(TrajectoryError, match="holds no cell of step None"):
        Trajectory.read(tmp_path / "run.xyz", 0.5, cell=cells_file)


@pytest.mark.parametrize("make", [walk, breathing])
def test_cp2k_positions_are_continuous_and_hold_the_time(tmp_path, make):
    fractional, cells = make()
    path = tmp_path / "glass-pos-1.xyz"
    labels = ("Li", "Li1", "Al_a", "O", "Cl", "Cl2")
    cell_file = cp2k(path, fractional, cells, range(40, 40 + 5 * N_FRAMES, 5), labels)
    trajectory = Trajectory.read(path, cell=cell_file)
    assert trajectory.continuous
    assert same(trajectory, fractional, cells)
    assert trajectory.time_step == pytest.approx(0.0025)
    assert trajectory.start_time == pytest.approx(0.02)
    assert np.allclose(trajectory.unwrapped("none"), trajectory.positions, atol=1e-9)
    with pytest.raises(TrajectoryError, match=r"time_step = 0\.001 ps, but the file says 0\.0025 ps"):
        Trajectory.read(path, 0.001, cell=cell_file)


def test_cp2k_times_are_rounded_in_the_file_but_not_here(tmp_path):
    cell_file = cp2k(tmp_path / "glass-pos-1.xyz", *walk(n_frames=400), md_step=0.48377)
    trajectory = Trajectory.read(tmp_path / "glass-pos-1.xyz", cell=cell_file)
    assert trajectory.time_step == pytest.approx(0.48377e-3, rel=1e-5)


def test_cp2k_cells_printed_less_often_serve_only_when_constant(tmp_path):
    path = tmp_path / "glass-pos-1.xyz"
    for make, fine in ((walk, True), (breathing, False)):
        cell_file = cp2k(path, *make())
        lines = cell_file.read_text().splitlines()
        cell_file.write_text("\n".join(lines[:1] + lines[1::3]) + "\n")
        if fine:
            assert same(Trajectory.read(path, cell=cell_file), *make())
        else:
            with pytest.raises(TrajectoryError, match="holds no cell of step 1"):
                Trajectory.read(path, cell=cell_file)
    with pytest.raises(TrajectoryError, match="is not a cell file"):
        Trajectory.read(path, cell=tmp_path / "absent.cell")


def test_cp2k_restart_and_a_changed_time_step(tmp_path):
    fractional, cells = walk()
    path = tmp_path / "glass-pos-1.xyz"
    order = [0, 1, 2, 3, 4, 2, 3, 4, 5]
    cell_file = cp2k(path, fractional[order], cells[order], steps=order)
    trajectory = Trajectory.read(path, cell=cell_file)
    assert same(trajectory, fractional[:6], cells[:6])
    text = path.read_text().replace("time =        2.500", "time =        4.500")
    path.write_text(text)
    with pytest.raises(TrajectoryError, match=r"4 and 5 are 0\.0025 ps apart"):
        Trajectory.read(path, cell=cell_file)


@pytest.mark.parametrize("make", [walk, breathing])
def test_xdatcar_at_constant_and_varying_cell(tmp_path, make):
    fractional, cells = make()
    path = xdatcar(
        tmp_path / "XDATCAR", fractional, cells, repeat=make is breathing, symbols="Li_sv Al O/3a Cl"
    )
    trajectory = Trajectory.read(path, 0.002)
    assert same(trajectory, fractional, cells)
    assert trajectory.constant_cell == (make is walk)
    with pytest.raises(TrajectoryError, match=r"give time_step in ps$"):
        Trajectory.read(path)
    renamed = path.rename(tmp_path / "run.txt")
    assert same(Trajectory.read(renamed, 0.002), fractional, cells)
    packed = tmp_path / "XDATCAR.gz"
    packed.write_bytes(gzip.compress(renamed.read_bytes()))
    assert same(Trajectory.read(packed, 0.002), fractional, cells)


@pytest.mark.parametrize("scale", [2.5, -210.0])
def test_xdatcar_scale_is_a_factor_or_a_volume(tmp_path, scale):
    fractional, cells = walk()
    assert same(
        Trajectory.read(xdatcar(tmp_path / "XDATCAR", fractional, cells, scale=scale), 1.0), fractional, cells
    )


def test_xdatcars_joined_after_a_restart(tmp_path):
    fractional, cells = walk()
    path = xdatcar(tmp_path / "XDATCAR", fractional[:7], cells[:7])
    xdatcar(path, fractional[6:], cells[6:], mode="a")
    assert same(Trajectory.read(path, 1.0), fractional, cells)
    # Numbers that are too long are printed as stars.
    xdatcar(path, fractional, cells, numbers=["******"] * N_FRAMES)
    assert same(Trajectory.read(path, 1.0), fractional, cells)
    xdatcar(path, fractional, cells, numbers=[10, 20, 30, 50, *range(60, 140, 10)])
    with pytest.raises(TrajectoryError, match="frames 2 and 3 are configurations 30 and 50, 20 apart"):
        Trajectory.read(path, 1.0)


def test_vasprun_tells_the_time_step(tmp_path):
    fractional, cells = breathing()
    path = vasprun(tmp_path / "vasprun.xml", fractional, cells)
    trajectory = Trajectory.read(path)
    assert same(trajectory, fractional, cells)
    assert trajectory.time_step == pytest.approx(0.002)
    assert Trajectory.read(path, 0.002).time_step == 0.002
    with pytest.raises(TrajectoryError, match=r"time_step = 0\.001 ps, but the file says 0\.002 ps"):
        Trajectory.read(path, 0.001)
    packed = tmp_path / "vasprun.xml.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert same(Trajectory.read(packed), fractional, cells)


def test_vasprun_refusals(tmp_path):
    fractional, cells = walk()
    path = vasprun(tmp_path / "vasprun.xml", fractional, cells, n_electronic=60)
    with pytest.raises(TrajectoryError, match="electrons of ionic step 0 did not converge in 60 steps"):
        Trajectory.read(path)
    for kind in ({"ibrion": 2}, {"more": '<i type="int" name="ML_OUTBLOCK">    10</i>'}):
        vasprun(path, fractional, cells, **kind)
        with pytest.raises(TrajectoryError, match="give time_step"):
            Trajectory.read(path)
        assert Trajectory.read(path, 0.02).time_step == 0.02
    text = vasprun(path, fractional, cells).read_text()
    path.write_text(text[: int(len(text) * 0.7)])
    with pytest.raises(TrajectoryError, match=r"after \d complete ionic steps .* -- let VASP finish"):
        Trajectory.read(path)
    path.write_text("<?xml version='1.0'?><modeling></modeling>")
    with pytest.raises(TrajectoryError, match="no frames"):
        Trajectory.read(path)


@pytest.mark.parametrize(
    ("columns", "continuous"),
    [
        ("id element x y z", False),
        ("element q xs ys zs id", False),
        ("id type xu yu zu", True),
        ("id element xsu ysu zsu", True),
        ("iz iy ix id type z y x", True),
        ("id type xs ys zs ix iy iz", True),
        ("id element x y z xu yu zu", True),
    ],
)
@pytest.mark.parametrize("cell", [CELL, BOX], ids=["triclinic", "orthogonal"])
def test_lammps_columns(tmp_path, columns, continuous, cell):
    fractional, cells = walk(cell)
    cells = cells * np.linspace(1, 1.1, N_FRAMES)[:, None, None]
    path = dump(tmp_path / "run.dump", fractional, cells, columns)
    elements = TYPES if "type" in columns else None
    trajectory = Trajectory.read(path, 0.2, elements=elements)
    assert trajectory.continuous == continuous
    assert same(trajectory, fractional, cells, 1e-9)
    unwrapped = np.matmul(trajectory.unwrapped("none"), np.linalg.inv(cells))
    assert np.allclose(unwrapped - unwrapped[0], fractional - fractional[0], atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(tilts=st.tuples(*[st.floats(-3, 3)] * 3), corner=st.tuples(*[st.floats(-20, 20)] * 3))
def test_lammps_boxes_of_any_tilt(tmp_path_factory, tilts, corner):
    cell = BOX.copy()
    cell[1, 0], cell[2, 0], cell[2, 1] = tilts
    fractional, cells = walk(cell, n_frames=2)
    path = dump(
        tmp_path_factory.mktemp("dump") / "a", fractional, cells, "id element x y z ix iy iz", corner=corner
    )
    assert same(Trajectory.read(path, 1.0), fractional, cells, 1e-8)


def test_lammps_general_triclinic_box(tmp_path):
    cell = np.array([[4.0, 3.0, 0.5], [-2.0, 5.0, 1.0], [0.3, -1.0, 6.0]])
    rows = "\n".join(" ".join(map(str, [*row, c])) for row, c in zip(cell, (1.0, 2.0, 3.0), strict=True))
    position = np.array([0.25, 0.5, 0.75]) @ cell + [1.0, 2.0, 3.0]
    path = tmp_path / "run.lammpstrj"
    path.write_text(
        f"ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n1\nITEM: BOX BOUNDS abc origin pp pp pp\n{rows}\n"
        f"ITEM: ATOMS id element x y z\n1 Li {' '.join(map(str, position))}\n"
    )
    trajectory = Trajectory.read(path, 1.0)
    assert np.array_equal(trajectory.cells[0], cell)
    assert np.allclose(trajectory.positions[0] @ np.linalg.inv(cell), [0.25, 0.5, 0.75])


def test_lammps_time_axis(tmp_path):
    fractional, cells = walk()
    path = dump(
        tmp_path / "a.dump", fractional, cells, "id element x y z", range(500, 500 + 50 * N_FRAMES, 50)
    )
    for told in ({"time_step": 0.1}, {"md_step": 0.002}, {"time_step": 0.1, "md_step": 0.002}):
        trajectory = Trajectory.read(path, **told)
        assert trajectory.time_step == pytest.approx(0.1)
        assert trajectory.start_time == pytest.approx(1.0)
    with pytest.raises(TrajectoryError, match="give time_step in ps, or md_step"):
        Trajectory.read(path)
    with pytest.raises(TrajectoryError, match=r"time_step = 0\.2 ps, but the file says 0\.1 ps"):
        Trajectory.read(path, 0.2, md_step=0.002)
    dump(path, fractional, cells, "id element x y z", [*range(11), 12])
    with pytest.raises(
        TrajectoryError, match=r"10 and 11 are 2 steps apart, the first two 1 \(steps 10 and 12\)"
    ):
        Trajectory.read(path, 0.1)


def test_lammps_units_and_times_of_the_dump(tmp_path):
    fractional, cells = walk(n_frames=2)
    one = dump(tmp_path / "a.dump", fractional[:1], cells[:1], "id element x y z", [0]).read_text()
    two = dump(tmp_path / "a.dump", fractional[1:], cells[1:], "id element x y z", [100]).read_text()
    for units, time_step in (("metal", 50.0), ("real", 0.05)):
        (tmp_path / "a.dump").write_text(f"ITEM: UNITS\n{units}\nITEM: TIME\n0\n{one}ITEM: TIME\n50.0\n{two}")
        trajectory = Trajectory.read(tmp_path / "a.dump")
        assert same(trajectory, fractional, cells)
        assert trajectory.time_step == pytest.approx(time_step)
    (tmp_path / "a.dump").write_text(f"ITEM: UNITS\nlj\n{one}")
    with pytest.raises(TrajectoryError, match="in lj units"):
        Trajectory.read(tmp_path / "a.dump", 1.0)


def test_lammps_restarts(tmp_path):
    fractional, cells = walk()
    order = [0, 0, 1, 2, 3, 4, 3, 4, 5]
    path = dump(
        tmp_path / "a.dump", fractional[order], cells[order], "id element x y z", np.array(order) * 100
    )
    trajectory = Trajectory.read(path, 0.2)
    assert same(trajectory, fractional[:6], cells[:6])
    # The restart went on differently from where the checkpoint was: its frames are the ones that count.
    other = fractional[order].copy()
    other[4:6] += 0.1
    dump(path, other, cells[order], "id element x y z", np.array(order) * 100)
    assert same(Trajectory.read(path, 0.2), fractional[:6], cells[:6])
    dump(path, fractional[:6], cells[:6], "id element x y z", [0, 100, 200, 0, 100, 200])
    with pytest.raises(TrajectoryError, match="after 3 frames the file goes back to its beginning"):
        Trajectory.read(path, 0.2)


def test_lammps_refusals(tmp_path):
    fractional, cells = walk()
    path = dump(tmp_path / "a.dump", fractional, cells, "id type x y z")
    text = path.read_text()
    with pytest.raises(TrajectoryError, match="names types, not elements -- give elements="):
        Trajectory.read(path, 1.0)
    with pytest.raises(TrajectoryError, match="does not say which element '4' is"):
        Trajectory.read(path, 1.0, elements=("Li", "Al", "O"))
    for change, message in {
        ("ITEM: ATOMS id", "ITEM: ATOMS mol"): "lacks ids or positions",
        ("pp pp pp", "pp pp ff"): "not periodic",
        ("ITEM: NUMBER OF ATOMS\n6", "ITEM: NUMBER OF ATOMS\n5"): "not part of a text dump",
        (
            "ITEM: NUMBER OF ATOMS\n6",
            "ITEM: NUMBER OF ATOMS\n7",
        ): "does not hold the expected numbers in frame 0",
        ("ITEM: TIMESTEP\n300\n", "300\n"): "not part of a text dump",
        ("\n3 ", "\n6 "): "other ids than frame 0, or one twice",
    }.items():
        path.write_text(text.replace(*change))
        with pytest.raises(TrajectoryError, match=message):
            Trajectory.read(path, 1.0, elements=TYPES)
    path.write_text("\n".join(text.splitlines()[:-3]) + "\n")
    with pytest.raises(
        TrajectoryError, match=r"ends within frame 11.*first 165 lines hold 11 complete frames"
    ):
        Trajectory.read(path, 1.0, elements=TYPES)
    cut = "\n".join(text.splitlines()[:165]) + "\n"
    path.write_text(cut)
    assert same(Trajectory.read(path, 1.0, elements=TYPES), fractional[:-1], cells[:-1])
    changed = text.replace("\n3 1 ", "\n3 2 ").replace("\n3 2 ", "\n3 1 ", 1)
    path.write_text(changed)
    with pytest.raises(TrajectoryError, match="frame 1 holds other atoms"):
        Trajectory.read(path, 1.0, elements=TYPES)
    mixed = (
        dump(tmp_path / "b.dump", fractional[:1], cells[:1], "id type xu yu zu", [-100]).read_text() + text
    )
    path.write_text(mixed)
    with pytest.raises(TrajectoryError, match="not wrapped alike"):
        Trajectory.read(path, 1.0, elements=TYPES)


def test_elements_by_label(tmp_path):
    path = tmp_path / "run.xyz"
    path.write_text("2\n\nXa 0 0 0\nLi 1 1 1\n")
    with pytest.raises(TrajectoryError, match="does not say which element 'Xa' is -- give elements="):
        Trajectory.read(path, 1.0, cell=BOX)
    assert Trajectory.read(path, 1.0, cell=BOX, elements={"Xa": "Al"}).species == ("Al", "Li")
    assert Trajectory.read(path, 1.0, cell=BOX, elements={"Xa": "Al", "Li": "Na"}).species == ("Al", "Na")


@pytest.mark.parametrize("make", ["xyz", "xdatcar"])
def test_blank_lines_hide_nothing(tmp_path, make):
    fractional, cells = walk()
    path = tmp_path / "XDATCAR"
    if make == "xyz":
        path = tmp_path / "run.xyz"
        write(path, atoms_of(fractional, cells), format="extxyz")
        lines = path.read_text().splitlines()
        n_lines = 6 * (N_ATOMS + 2)
    else:
        lines = xdatcar(path, fractional, cells, repeat=True).read_text().splitlines()
        n_lines = 6 * (N_ATOMS + 8)
    path.write_text("\n".join([*lines[:n_lines], "", "", *lines[n_lines:], "", ""]) + "\n")
    assert same(Trajectory.read(path, 1.0), fractional, cells)


@pytest.mark.parametrize("make", ["xyz", "xdatcar"])
def test_an_incomplete_last_frame_is_an_error_that_says_where_to_cut(tmp_path, make):
    fractional, cells = walk()
    path = tmp_path / ("run.xyz" if make == "xyz" else "XDATCAR")
    if make == "xyz":
        write(path, atoms_of(fractional, cells), format="extxyz")
    else:
        xdatcar(path, fractional, cells)
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-2]) + "\n")
    with pytest.raises(
        TrajectoryError, match=f"{path}: .* within frame 11.*hold 11 complete frames"
    ) as caught:
        Trajectory.read(path, 1.0)
    n_lines = int(caught.value.remedy.split()[2])
    path.write_text("\n".join(lines[:n_lines]) + "\n")
    assert same(Trajectory.read(path, 1.0), fractional[:-1], cells[:-1])
    lines[20] = "garbled"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(TrajectoryError, match=str(path)):
        Trajectory.read(path, 1.0)


def test_ase_trajectories_and_formats_by_hand(tmp_path):
    fractional, cells = breathing()
    frames = atoms_of(fractional, cells)
    write(tmp_path / "run.traj", [*frames[:5], frames[4], *frames[5:]])
    assert same(Trajectory.read(tmp_path / "run.traj", 0.5), fractional, cells, 1e-12)
    write(tmp_path / "run.extxyz", frames)
    by_ase = Trajectory.read(tmp_path / "run.extxyz", 0.5, format="ase")
    ours = Trajectory.read(tmp_path / "run.extxyz", 0.5)
    assert np.array_equal(by_ase.positions, ours.positions)
    assert np.array_equal(by_ase.cells, ours.cells)
    xdatcar(tmp_path / "run@0.txt", fractional, cells, repeat=True)
    assert same(Trajectory.read(tmp_path / "run@0.txt", 0.5, format="xdatcar"), fractional, cells)
    for atoms in frames:
        atoms.pbc = (True, True, False)
    write(tmp_path / "slab.traj", frames)
    with pytest.raises(InputError, match="not periodic"):
        Trajectory.read(tmp_path / "slab.traj", 0.5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"format": "dcd"}, "format = 'dcd' is not one of h5md"),
        ({"time_step": -1.0}, "time_step = -1.0 ps is no time"),
        ({"time_step": float("nan")}, "is no time"),
        ({"md_step": 0.001}, "md_step cannot be used with ase files"),
        ({"elements": TYPES, "cell": CELL}, "cell and elements cannot be used with ase files"),
        ({"time_step": 1.0}, "ASE cannot read it"),
        ({"time_step": 1.0, "format": "lammps"}, "not part of a text dump"),
        ({"time_step": 1.0, "format": "xdatcar"}, "not a readable xdatcar file"),
        ({"time_step": 1.0, "format": "vasprun"}, "breaks after 0 complete ionic steps"),
        ({"time_step": 1.0, "format": "xyz", "cell": CELL}, "line 1 is not a number of atoms: 'nonsense'"),
        ({"time_step": 1.0, "format": "h5md"}, "not a readable H5MD file"),
    ],
)
def test_what_cannot_be_read(tmp_path, given, message):
    path = tmp_path / "file.dat"
    path.write_text("nonsense\n")
    with pytest.raises(TrajectoryError, match=f"{path}: .*{message}"):
        Trajectory.read(path, **given)


@pytest.mark.parametrize("name", ["empty.xyz", "XDATCAR", "vasprun.xml", "empty.traj", "a.gz"])
def test_empty_files(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(TrajectoryError, match=name):
        Trajectory.read(tmp_path / name, 1.0)
    with pytest.raises(TrajectoryError, match="no such file"):
        Trajectory.read(tmp_path, 1.0)


def foreign(path, fractional, cells, *, unit="nm", **more):
    """H5MD as other programs write it: nm, fixed interval, no enumeration of species."""
    with h5py.File(path, "w") as file:
        file.create_group("h5md").attrs["version"] = [1, 1]
        group = file.create_group("particles/atoms")
        factor = 0.1 if unit == "nm" else 1.0
        value = group.create_dataset("position/value", data=np.matmul(fractional, cells) * factor)
        value.attrs["unit"] = np.bytes_(unit)
        group["position/step"] = 10
        group["position/time"] = 20.0
        group["position/time"].attrs["unit"] = "fs"
        group["position/time"].attrs["offset"] = 100.0
        group["species"] = more.get("species", [3, 3, 13, 8, 17, 17])
        edges = group.create_dataset("box/edges", data=cells[0] * factor)
        edges.attrs["unit"] = unit
        group["box"].attrs["boundary"] = more.get("boundary", [b"periodic"] * 3)
        if "image" in more:
            group["image/value"] = more["image"]
        if "times" in more:
            del group["position/time"]
            group["position/time"] = more["times"]
            group["position/time"].attrs["unit"] = "ps"
    return path


def test_foreign_h5md(tmp_path):
    fractional, cells = walk()
    path = foreign(tmp_path / "a.h5", fractional - np.floor(fractional), cells)
    trajectory = Trajectory.read(path)
    assert same(trajectory, fractional, cells)
    assert (trajectory.time_step, trajectory.start_time) == (pytest.approx(0.02), pytest.approx(0.1))
    assert not trajectory.continuous
    path = foreign(
        tmp_path / "b.h5", fractional - np.floor(fractional), cells, image=np.floor(fractional).astype(int)
    )
    trajectory = Trajectory.read(path)
    assert trajectory.continuous
    assert same(trajectory, fractional, cells)
    with pytest.raises(TrajectoryError, match=r"time_step = 0\.01 ps, but the file says 0\.02"):
        Trajectory.read(path, 0.01)


def test_foreign_h5md_without_a_time_or_with_types(tmp_path):
    fractional, cells = walk()
    path = foreign(tmp_path / "a.h5", fractional, cells, species=np.tile([1, 1, 2, 3, 4, 4], (N_FRAMES, 1)))
    with h5py.File(path, "r+") as file:
        del file["particles/atoms/position/time"]
        del file["particles/atoms/species"]
        file["particles/atoms/species/value"] = np.tile([1, 1, 2, 3, 4, 4], (N_FRAMES, 1))
    with pytest.raises(TrajectoryError, match="how far apart"):
        Trajectory.read(path, elements=TYPES)
    trajectory = Trajectory.read(path, 0.02, elements=TYPES)
    assert same(trajectory, fractional, cells)
    assert trajectory.time_step == pytest.approx(0.02)
    with h5py.File(path, "r+") as file:
        file["particles/atoms/species/value"][3] = [1, 2, 1, 3, 4, 4]
    with pytest.raises(TrajectoryError, match="species change"):
        Trajectory.read(path, 0.02, elements=TYPES)


def test_foreign_h5md_refusals(tmp_path):
    fractional, cells = walk()
    path = foreign(tmp_path / "a.h5", fractional, cells, boundary=[b"periodic", b"periodic", b"none"])
    with pytest.raises(TrajectoryError, match="not periodic"):
        Trajectory.read(path)
    foreign(path, fractional, cells, image=np.zeros((3, N_ATOMS, 3)))
    with pytest.raises(TrajectoryError, match="not stored together"):
        Trajectory.read(path)
    times = np.arange(N_FRAMES) * 0.02
    times[5:] += 0.01
    foreign(path, fractional, cells, times=times)
    with pytest.raises(TrajectoryError, match=r"4 and 5 are 0\.03 ps apart, the time step is 0\.02 ps"):
        Trajectory.read(path)


@pytest.mark.parametrize("continuous", [False, True])
def test_continuity_survives_our_own_files(tmp_path, continuous):
    fractional, cells = walk()
    run = Trajectory(SPECIES, np.matmul(fractional, cells), cells, 0.5, 2.0, continuous=continuous)
    back = Trajectory.read(run.write(tmp_path / "run.h5md", dtype="float64"))
    assert back.continuous == continuous
    assert np.array_equal(back.positions, run.positions)
    assert back.window(3.0, 5.0).continuous == continuous
