"""The stand-in for VASP: its physics against finite differences, its files against the parsers of four projects."""

import os
import subprocess
import warnings

import dpdata
import numpy as np
import pytest
from ase import units
from ase.io import read
from ase.stress import full_3x3_to_voigt_6_stress
from pymatgen.core import SETTINGS, Structure
from pymatgen.io.vasp.inputs import Incar, Kpoints, Poscar, Potcar, PotcarSingle
from pymatgen.io.vasp.outputs import Oszicar, Outcar, UnconvergedVASPWarning, Vasprun, Xdatcar

from tests.standin import install, model
from tests.standin.faults import FAULTS
from tests.standin.matrix import CASES, frame

LABEL = {
    "ALGO": "Normal", "EDIFF": 1e-6, "ENCUT": 520, "IBRION": -1, "ISIF": 2, "ISMEAR": 0, "ISYM": 0, "IVDW": 12,
    "LREAL": False, "NELM": 60, "NSW": 0, "PREC": "Accurate", "SIGMA": 0.05,
}  # fmt: skip
DYNAMICS = {
    **LABEL, "EDIFF": 1e-5, "ENCUT": 400, "IBRION": 0, "MDALGO": 0, "NSW": 10, "POTIM": 1.0, "PREC": "Normal",
    "RANDOM_SEED": "3 0 0", "SMASS": 0.0, "TEBEG": 600.0, "TEEND": 600.0,
}  # fmt: skip
POTCARS = {"Li": "Li_sv", "Al": "Al", "O": "O", "Cl": "Cl"}
KBAR = 0.1 * units.GPa

pytestmark = pytest.mark.filterwarnings("ignore::pymatgen.io.vasp.inputs.UnknownPotcarWarning")


@pytest.fixture
def vasp(tmp_path, monkeypatch):
    """Run the stand-in in a new directory: INCAR, then options."""
    variables = install(tmp_path / "program")
    library = variables["LAOC_VASP_POTCAR_DIR"]
    monkeypatch.setitem(SETTINGS, "PMG_VASP_PSP_DIR", library)
    sorted_frame = frame()
    structure = Structure(
        sorted_frame.cell.array,
        sorted_frame.get_chemical_symbols(),
        sorted_frame.get_scaled_positions(),
    ).get_sorted_structure(key=lambda site: list(POTCARS).index(site.specie.symbol))
    count = iter(range(1000))

    def run(incar, *, poscar=None, kinds=tuple(POTCARS), stopcar=None, returncode=0, **environment):
        directory = tmp_path / f"run-{next(count)}"
        directory.mkdir()
        if poscar is None:
            Poscar(structure).write_file(directory / "POSCAR")
        else:
            (directory / "POSCAR").write_bytes(poscar)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Potcar([POTCARS[kind] for kind in kinds], functional="PBE_64").write_file(directory / "POTCAR")
        Kpoints().write_file(directory / "KPOINTS")
        Incar(incar).write_file(directory / "INCAR")
        if stopcar:
            (directory / "STOPCAR").write_text(stopcar)
        done = subprocess.run(
            [variables["LAOC_VASP_COMMAND"]],
            cwd=directory,
            env={**os.environ, **variables, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        (directory / "vasp.out").write_text(done.stdout)
        (directory / "std_err.txt").write_text(done.stderr)
        assert done.returncode == returncode, done.stdout + done.stderr
        return directory

    return run


def wrapped(difference):
    return np.abs(difference - np.round(difference)).max()


@pytest.mark.parametrize("dispersion", [False, True])
def test_forces_and_virial_are_derivatives_of_the_energy(dispersion):
    atoms = frame()
    symbols, positions, cell = atoms.get_chemical_symbols(), atoms.positions, atoms.cell.array

    def energy(places, vectors):
        return model.pair_model(symbols, places, vectors, dispersion=dispersion).energy

    found = model.pair_model(symbols, positions, cell, dispersion=dispersion)
    step = 1e-4
    for atom in (0, 7, 22):
        for axis in range(3):
            move = np.zeros_like(positions)
            move[atom, axis] = step
            slope = (energy(positions + move, cell) - energy(positions - move, cell)) / (2 * step)
            assert found.forces[atom, axis] == pytest.approx(-slope, abs=2e-6)
    for row in range(3):
        for column in range(3):
            strain = np.zeros((3, 3))
            strain[row, column] = 1e-5
            there, back = np.eye(3) + strain, np.eye(3) - strain
            slope = (energy(positions @ there, cell @ there) - energy(positions @ back, cell @ back)) / 2e-5
            assert found.virial[row, column] == pytest.approx(-slope, abs=2e-5)


def test_the_pair_model_is_smooth_at_its_cutoff_and_blind_to_the_choice_of_image():
    cell = 30.0 * np.eye(3)
    values = []
    for distance in model.CUTOFF + np.array([-1e-3, 1e-3]):
        places = np.array([[0.0, 0.0, 0.0], [distance, 0.0, 0.0]])
        values.append(model.pair_model(["Li", "Cl"], places, cell, dispersion=True))
    # Value, slope and curvature of the switch vanish there: the energy with the third power of the distance.
    assert abs(values[0].energy - values[1].energy) < 1e-8
    assert np.abs(values[0].forces - values[1].forces).max() < 1e-5
    atoms = frame()
    there = model.pair_model(atoms.get_chemical_symbols(), atoms.positions, atoms.cell.array, dispersion=True)
    shifts = np.random.default_rng(1).integers(-3, 4, size=(len(atoms), 3)) @ atoms.cell.array
    image = model.pair_model(
        atoms.get_chemical_symbols(), atoms.positions + shifts, atoms.cell.array, dispersion=True
    )
    assert image.energy == pytest.approx(there.energy, abs=1e-9)
    np.testing.assert_allclose(image.forces, there.forces, atol=1e-9)


def test_pymatgen_ase_and_dpdata_read_the_same_label(vasp):
    directory = vasp(LABEL)
    vasprun, outcar = Vasprun(directory / "vasprun.xml"), Outcar(directory / "OUTCAR")
    structure = vasprun.final_structure
    expected = model.pair_model(
        [site.specie.symbol for site in structure],
        structure.cart_coords,
        structure.lattice.matrix,
        dispersion=True,
    )
    forces, stress = vasprun.ionic_steps[-1]["forces"], np.array(vasprun.ionic_steps[-1]["stress"])
    np.testing.assert_allclose(forces, expected.forces, atol=1e-5)
    # Positive under compression, in kB.
    np.testing.assert_allclose(stress * KBAR * structure.volume, expected.virial, atol=1e-4)
    energy = vasprun.ionic_steps[-1]["e_fr_energy"]
    assert outcar.final_fr_energy == pytest.approx(energy, abs=1e-8)
    # The settings may move the energy, by as much as they differ from convergence.
    assert 0 < energy - expected.energy < 0.1

    from_xml, from_outcar = read(directory / "vasprun.xml"), read(directory / "OUTCAR")
    for atoms, digits in ((from_xml, 1e-7), (from_outcar, 1e-5)):
        assert atoms.get_chemical_symbols() == [site.specie.symbol for site in structure]
        assert atoms.get_potential_energy(force_consistent=True) == pytest.approx(energy, abs=2e-8)
        np.testing.assert_allclose(atoms.get_forces(), forces, atol=digits)
        np.testing.assert_allclose(
            atoms.get_stress(), full_3x3_to_voigt_6_stress(-stress * KBAR), atol=digits * KBAR
        )
    for name, style, digits in (("vasprun.xml", "vasp/xml", 1e-6), ("OUTCAR", "vasp/outcar", 2e-5)):
        system = dpdata.LabeledSystem(str(directory / name), fmt=style)
        assert [system["atom_names"][kind] for kind in system["atom_types"]] == [
            site.specie.symbol for site in structure
        ]
        assert system["energies"][0] == pytest.approx(energy, abs=2e-8)
        # dpdata turns the cell; the lengths of the forces and the trace of the virial stay.
        np.testing.assert_allclose(
            np.linalg.norm(system["forces"][0], axis=1), np.linalg.norm(forces, axis=1), atol=3 * digits
        )
        assert np.trace(system["virials"][0]) == pytest.approx(np.trace(expected.virial), abs=2e-3)


def test_every_reader_finds_the_same_run(vasp):
    directory = vasp({**DYNAMICS, "NSW": 6})
    vasprun, oszicar = Vasprun(directory / "vasprun.xml"), Oszicar(directory / "OSZICAR")
    assert vasprun.md_n_steps == vasprun.parameters["NSW"] == 6
    assert vasprun.converged
    frames = read(directory / "vasprun.xml", index=":")
    assert len(read(directory / "OUTCAR", index=":")) == len(frames) == len(oszicar.ionic_steps) == 6
    for structure, atoms, dat in zip(
        vasprun.structures, frames, Xdatcar(directory / "XDATCAR").structures, strict=True
    ):
        assert wrapped(structure.frac_coords - atoms.get_scaled_positions()) < 1e-8
        assert wrapped(structure.frac_coords - dat.frac_coords) < 1e-8
    for step, summary in zip(vasprun.ionic_steps, oszicar.ionic_steps, strict=True):
        assert summary["EK"] == pytest.approx(step["kinetic"], rel=1e-4)
        assert summary["E"] == pytest.approx(step["total"], rel=1e-7)
        degrees = 3 * len(frames[0]) - 3
        assert summary["T"] == pytest.approx(2 * step["kinetic"] / (degrees * units.kB), abs=0.6)
    # What VASP starts from is its first step; CONTCAR is one ahead of the last.
    first, last = Poscar.from_file(directory / "POSCAR"), Poscar.from_file(directory / "CONTCAR")
    assert wrapped(first.structure.frac_coords - vasprun.structures[0].frac_coords) < 1e-8
    ahead = last.structure.frac_coords - vasprun.structures[-1].frac_coords
    moved = (ahead - np.round(ahead)) @ last.structure.lattice.matrix
    np.testing.assert_allclose(moved, last.velocities, atol=2e-3)
    assert 1e-3 < np.abs(moved).max() < 0.1


def test_custodian_has_nothing_to_say_and_atomate2_reads_a_whole_calculation(vasp, monkeypatch):
    from atomate2.vasp.run import DEFAULT_HANDLERS
    from custodian.vasp.validators import VaspFilesValidator, VasprunXMLValidator
    from emmet.core.tasks import TaskDoc

    for incar in (LABEL, DYNAMICS):
        directory = vasp(incar)
        monkeypatch.chdir(directory)
        for handler in DEFAULT_HANDLERS:
            assert not handler.check(str(directory)), type(handler).__name__
        for validator in (VasprunXMLValidator(), VaspFilesValidator()):
            assert not validator.check(str(directory))
        document = TaskDoc.from_directory(directory)
        assert document.state.value == "successful"
        assert document.calcs_reversed[0].vasp_version == "6.4.3"
        assert document.input.potcar_spec[0].titel == "PAW_PBE Li_sv 10Sep2004"
        assert "stand-in" in (directory / "OUTCAR").read_text().splitlines()[0]


def test_energy_is_conserved_and_a_larger_step_costs_its_square(vasp):
    swings = []
    for step, n_steps in ((0.5, 120), (1.0, 60)):
        directory = vasp({**DYNAMICS, "SMASS": -3.0, "POTIM": step, "NSW": n_steps})
        totals = np.array([s["total"] for s in Vasprun(directory / "vasprun.xml").ionic_steps])
        kinetic = np.array([s["kinetic"] for s in Vasprun(directory / "vasprun.xml").ionic_steps])
        assert np.ptp(totals) < 2e-2 * np.ptp(kinetic)
        swings.append(totals.std())
    assert swings[1] / swings[0] == pytest.approx(4.0, rel=0.3)


def test_nose_conserves_its_own_energy_and_holds_the_temperature(vasp):
    directory = vasp({**DYNAMICS, "POTIM": 2.0, "NSW": 200, "TEBEG": 900.0, "TEEND": 900.0})
    steps = Vasprun(directory / "vasprun.xml").ionic_steps
    totals = np.array([step["total"] for step in steps])
    assert np.ptp(totals) < 0.05 * np.ptp([step["nosepot"] for step in steps])
    temperatures = [step["T"] for step in Oszicar(directory / "OSZICAR").ionic_steps]
    assert np.mean(temperatures[80:]) == pytest.approx(900.0, abs=90.0)


@pytest.mark.parametrize("smass", [-3.0, 0.0])
def test_two_runs_are_one_when_the_state_is_carried(vasp, smass):
    incar = {**DYNAMICS, "SMASS": smass}
    first = vasp(incar)
    second = vasp(incar, poscar=(first / "CONTCAR").read_bytes())
    whole = vasp({**incar, "NSW": 20})
    one, other = (Poscar.from_file(d / "CONTCAR") for d in (second, whole))
    # The eight digits of the velocities.
    assert wrapped(one.structure.frac_coords - other.structure.frac_coords) < 1e-8
    np.testing.assert_allclose(one.velocities, other.velocities, atol=1e-8)
    whole_steps = Vasprun(whole / "vasprun.xml").ionic_steps
    for step, expected in zip(Vasprun(second / "vasprun.xml").ionic_steps, whole_steps[10:], strict=True):
        assert step["total"] == pytest.approx(expected["total"], abs=1e-5)


def test_two_runs_are_not_one_when_the_thermostat_is_dropped(vasp):
    first = vasp(DYNAMICS)
    head, _, _ = (first / "CONTCAR").read_text().rpartition("\n           1\n")
    second = vasp(DYNAMICS, poscar=head.encode())
    whole = vasp({**DYNAMICS, "NSW": 20})
    one, other = (Poscar.from_file(d / "CONTCAR").structure.frac_coords for d in (second, whole))
    assert wrapped(one - other) > 1e-5


def test_langevin_repeats_with_its_seed_and_only_with_it(vasp):
    langevin = {**DYNAMICS, "MDALGO": 3, "LANGEVIN_GAMMA": [10.0] * 4, "NSW": 5}
    ends = [
        Poscar.from_file(vasp({**langevin, "RANDOM_SEED": seed}) / "CONTCAR").structure.frac_coords
        for seed in ("3 0 0", "3 0 0", "4 0 0")
    ]
    assert wrapped(ends[0] - ends[1]) == 0.0
    assert wrapped(ends[0] - ends[2]) > 1e-5


def test_the_barostat_finds_its_pressure_and_its_energy_has_the_pv_term(vasp):
    target = 20.0
    npt = {
        **DYNAMICS, "MDALGO": 3, "ISIF": 3, "LANGEVIN_GAMMA": [10.0] * 4, "LANGEVIN_GAMMA_L": 10.0, "PMASS": 100.0,
        "PSTRESS": target, "NSW": 500, "POTIM": 2.0, "TEBEG": 300.0, "TEEND": 300.0,
    }  # fmt: skip
    directory = vasp(npt)
    steps = Vasprun(directory / "vasprun.xml").ionic_steps
    volumes = np.array([step["structure"].volume for step in steps])
    pressures = [
        np.trace(step["stress"]) / 3 + 2 * step["kinetic"] / (3 * volume) / KBAR
        for step, volume in zip(steps, volumes, strict=True)
    ]
    assert np.mean(pressures[:5]) < target - 20.0
    assert np.mean(pressures[250:]) == pytest.approx(target, abs=3.0)
    assert volumes[:60].min() < volumes[0] - 1.0
    # As in VASP: with PSTRESS, e_fr_energy of vasprun.xml is an enthalpy, TOTEN of OUTCAR is not; ASE takes P V out again.
    enthalpy = steps[-1]["e_fr_energy"]
    energy = Outcar(directory / "OUTCAR").final_fr_energy
    assert enthalpy - energy == pytest.approx(target * KBAR * volumes[-1], rel=1e-4)
    assert read(directory / "vasprun.xml").get_potential_energy(force_consistent=True) == pytest.approx(
        energy, abs=1e-3
    )
    contcar = Poscar.from_file(directory / "CONTCAR")
    assert np.abs(np.array(contcar.lattice_velocities[:3])).max() > 0
    np.testing.assert_allclose(contcar.lattice_velocities[3:], contcar.structure.lattice.matrix, atol=1e-6)


def test_a_ramp_goes_from_tebeg_to_teend(vasp):
    friction = {"MDALGO": 3, "LANGEVIN_GAMMA": [500.0] * 4}
    directory = vasp({**DYNAMICS, **friction, "NSW": 300, "TEBEG": 400.0, "TEEND": 1200.0})
    temperatures = [step["T"] for step in Oszicar(directory / "OSZICAR").ionic_steps]
    slope, start = np.polyfit(np.arange(1, 301) / 300, temperatures, 1)
    assert start == pytest.approx(400.0, abs=60.0)
    assert start + slope == pytest.approx(1200.0, abs=100.0)


def test_a_relaxation_goes_down_at_constant_cell(vasp):
    directory = vasp({**LABEL, "IBRION": 2, "NSW": 60, "EDIFFG": -0.4, "POTIM": 0.2})
    vasprun = Vasprun(directory / "vasprun.xml")
    assert vasprun.converged
    assert np.linalg.norm(vasprun.ionic_steps[-1]["forces"], axis=1).max() < 0.4
    assert vasprun.ionic_steps[-1]["e_fr_energy"] < vasprun.ionic_steps[0]["e_fr_energy"] - 0.5
    assert vasprun.final_structure.lattice == vasprun.initial_structure.lattice
    contcar = Poscar.from_file(directory / "CONTCAR").structure
    assert wrapped(contcar.frac_coords - vasprun.structures[-1].frac_coords) < 1e-8


def test_settings_that_change_the_physics_change_the_energy(vasp):
    def energy(**changes):
        return Vasprun(vasp({**LABEL, **changes}) / "vasprun.xml").ionic_steps[-1]["e_fr_energy"]

    reference = energy()
    for change in ({"ENCUT": 400}, {"LREAL": "Auto"}, {"PREC": "Normal"}, {"SIGMA": 0.2}, {"IVDW": 0}):
        assert abs(energy(**change) - reference) > 1e-5, change
    for change in ({"ALGO": "All"}, {"IMIX": 1}, {"NELMIN": 8}, {"NBANDS": 200}):
        assert energy(**change) == reference, change
    # An SCF that may not take the steps that it needs ends elsewhere, and says so.
    with pytest.warns(UnconvergedVASPWarning):
        short = Vasprun(vasp({**LABEL, "NELM": 6}) / "vasprun.xml")
    assert not short.converged_electronic
    assert abs(short.ionic_steps[-1]["e_fr_energy"] - reference) > 1e-3


def test_stopcar_ends_a_run_after_a_step_and_an_scf_in_its_middle(vasp):
    directory = vasp(DYNAMICS, stopcar="LSTOP = .TRUE.\n")
    assert len(Vasprun(directory / "vasprun.xml").ionic_steps) == 1
    assert Outcar(directory / "OUTCAR").is_stopped
    assert not (directory / "STOPCAR").exists()
    directory = vasp(LABEL, stopcar="LABORT = .TRUE.\n")
    assert len(Vasprun(directory / "vasprun.xml").ionic_steps[0]["electronic_steps"]) == 3
    assert "aborting loop because hard stop was set" in (directory / "OUTCAR").read_text()


def test_potcar_goes_before_poscar_and_a_missing_kind_stops(vasp):
    wrong = vasp(LABEL, kinds=("Al", "Li", "O", "Cl"))
    # VASP only warns, and computes something else.
    assert "type information on POSCAR and POTCAR are incompatible" in (wrong / "vasp.out").read_text()
    assert Vasprun(wrong / "vasprun.xml").atomic_symbols[:4] == ["Al"] * 4
    stopped = vasp(LABEL, kinds=("Li", "Al", "Cl"), returncode=1)
    assert "number of potentials on File POTCAR incompatible" in (stopped / "vasp.out").read_text()
    unread = vasp({**DYNAMICS, "LANGEVIN_GAMMA": [10.0], "MDALGO": 3}, returncode=1)
    assert "LANGEVIN_GAMMA" in (unread / "vasp.out").read_text()


def test_the_potcars_are_read_by_pymatgen(tmp_path, monkeypatch):
    monkeypatch.setitem(SETTINGS, "PMG_VASP_PSP_DIR", install(tmp_path)["LAOC_VASP_POTCAR_DIR"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for functional in ("PBE", "PBE_54", "PBE_64"):
            for element, name in POTCARS.items():
                potcar = PotcarSingle.from_symbol_and_functional(name, functional)
                assert (potcar.element, potcar.functional, potcar.symbol) == (element, "PBE", name)
                assert potcar.zval == {"Li": 3, "Al": 3, "O": 6, "Cl": 7}[element]


def test_gfn1_xtb_computes_in_the_same_files(vasp):
    from ase import Atoms
    from tblite.ase import TBLite

    directory = vasp({**LABEL, "IVDW": 0}, STANDIN_VASP_CALCULATOR="xtb")
    step = Vasprun(directory / "vasprun.xml").ionic_steps[-1]
    structure = step["structure"]
    atoms = Atoms(
        [site.specie.symbol for site in structure],
        positions=structure.cart_coords,
        cell=structure.lattice.matrix,
        pbc=True,
        calculator=TBLite(method="GFN1-xTB", verbosity=0),
    )
    np.testing.assert_allclose(step["forces"], atoms.get_forces(), atol=1e-4)
    np.testing.assert_allclose(
        full_3x3_to_voigt_6_stress(-np.array(step["stress"]) * KBAR), atoms.get_stress(), atol=1e-5
    )


def test_a_fault_that_does_not_exist_is_refused_and_every_one_is_tested(tmp_path):
    with pytest.raises(ValueError, match="no such fault: eddav; known: edddav"):
        install(tmp_path, fault="eddav")
    assert {case.fault for case in CASES} == set(FAULTS)
