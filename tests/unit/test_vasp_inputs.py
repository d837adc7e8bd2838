"""What VASP is given, read back with other codes than the ones that wrote it."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.io import read
from atomate2.vasp.files import write_vasp_input_set
from pydantic import ValidationError

from laoc_flows.engines.dynamics import Segment
from laoc_flows.engines.registry import parse_engine
from laoc_flows.engines.vasp import VaspEngine
from laoc_flows.engines.vasp_inputs import (
    Ordered,
    dynamics_maker,
    relax_maker,
    static_maker,
)
from laoc_flows.engines.vasp_outputs import changed_settings
from laoc_flows.engines.vasp_potcar import potcar_library
from laoc_flows.errors import EngineUnavailableError
from tests.standin import potcar

SYMBOLS = ["Cl", "Li", "Al", "Cl", "O", "Li"]


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    path = tmp_path_factory.mktemp("library")
    potcar.write_library(path)
    return path


def interleaved() -> Atoms:
    rng = np.random.default_rng(7)
    cell = [[7.0, 0.0, 0.0], [0.8, 6.5, 0.0], [-0.4, 0.6, 6.0]]
    fractions = np.array([[i % 2, i // 2 % 2, i // 4] for i in range(6)]) / 2 + rng.uniform(0, 0.1, (6, 3))
    # Atoms of a long run are cells away from where they began.
    fractions[2] += [1, -2, 0]
    atoms = Atoms(SYMBOLS, scaled_positions=fractions, cell=cell, pbc=True)
    atoms.positions = fractions @ atoms.cell.array
    atoms.set_momenta(rng.normal(size=(6, 3)))
    return atoms


def segment(**changes) -> Segment:
    values = {
        "ensemble": "nvt",
        "n_steps": 40,
        "time_step": 1.5,
        "start_temperature": 1500.0,
        "end_temperature": 1200.0,
        "pressure": 0.2,
        "frame_every": 10,
        "seed": 2_000_000_123,
    }
    return Segment(**{**values, **changes})


def written(maker, ordered, library, folder, *, velocities=False):
    """Write the input as the Maker does."""
    structure = ordered.structure(velocities=velocities)
    with potcar_library(library):
        write_vasp_input_set(
            structure, maker.input_set_generator, directory=folder, **maker.write_input_set_kwargs
        )
        return maker.input_set_generator.get_input_set(structure)


COMMON = {"GGA": "Pe", "ISMEAR": 0, "ISPIN": 1, "ISYM": 0, "LCHARG": False, "LWAVE": False, "SIGMA": 0.05}
LABEL = COMMON | {
    "ALGO": "Normal",
    "EDIFF": 1e-6,
    "ENCUT": 520,
    "IBRION": -1,
    "ISIF": 2,
    "LREAL": False,
    "NELM": 120,
    "NSW": 0,
    "PREC": "Accurate",
}
CHEAP = COMMON | {"ALGO": "Fast", "EDIFF": 1e-5, "ENCUT": 400, "LREAL": "Auto", "NELM": 100, "PREC": "Normal"}
MD = CHEAP | {
    "IBRION": 0,
    "ISIF": 2,
    "KBLOCK": 1000,
    "MAXMIX": 40,
    "NBLOCK": 1,
    "NELMIN": 4,
    "NSW": 40,
    "POTIM": 1.5,
    "RANDOM_SEED": [200_000_123, 0, 0],
    "TEBEG": 1500,
    "TEEND": 1200,
}
NOSE = MD | {"MDALGO": 0, "SMASS": 0}
LANGEVIN = MD | {"MDALGO": 3, "LANGEVIN_GAMMA": [10, 10, 10, 10]}
NPT = LANGEVIN | {"ISIF": 3, "LANGEVIN_GAMMA_L": 1, "PMASS": 10, "PSTRESS": 2}
RELAX = CHEAP | {"EDIFFG": -0.05, "IBRION": 2, "ISIF": 2, "NSW": 40, "POTIM": 0.2}


@pytest.mark.parametrize(
    ("settings", "changes", "expected"),
    [
        ({}, None, LABEL | {"IVDW": 12}),
        ({"preset": "paper"}, None, LABEL),
        ({"preset": "paper", "dispersion": "d3bj"}, None, LABEL | {"IVDW": 12}),
        ({"dispersion": "none", "ncore": 4, "kpar": 1}, None, LABEL | {"NCORE": 4, "KPAR": 1}),
        ({"preset": "paper", "encut": 600, "ediff": 1e-7}, None, LABEL | {"ENCUT": 600, "EDIFF": 1e-7}),
        ({}, {}, NOSE | {"IVDW": 12}),
        ({"preset": "paper"}, {}, NOSE),
        ({"preset": "paper", "thermostat": "langevin"}, {}, LANGEVIN),
        ({"preset": "paper", "thermostat": "langevin"}, {"thermostat": "measure"}, NOSE),
        ({"preset": "paper"}, {"ensemble": "npt"}, NPT),
        ({"preset": "paper", "barostat_mass": 500}, {"ensemble": "npt"}, NPT | {"PMASS": 500}),
        ({"preset": "paper"}, {"ensemble": "relax"}, RELAX),
    ],
)
def test_the_incar_is_this_and_nothing_else(library, tmp_path, settings, changes, expected):
    engine = VaspEngine(**settings)
    ordered = Ordered.of(interleaved())
    if changes is None:
        maker = static_maker(engine)
    elif changes.get("ensemble") == "relax":
        maker = relax_maker(engine, segment(**changes))
    else:
        maker = dynamics_maker(engine, segment(**changes), ordered, b"", tmp_path / "restart")
    inputs = written(maker, ordered, library, tmp_path)
    assert dict(inputs["INCAR"]) == expected
    # As ASE's own parser reads the file.
    from ase.calculators.vasp import Vasp

    calculator = Vasp(directory=tmp_path)
    calculator.read_incar(tmp_path / "INCAR")
    assert calculator.float_params["encut"] == expected["ENCUT"]
    assert calculator.exp_params["ediff"] == expected["EDIFF"]
    assert calculator.int_params["isif"] == expected["ISIF"]
    assert calculator.int_params.get("ivdw") == expected.get("IVDW")
    assert calculator.float_params.get("teend") == expected.get("TEEND")
    assert (tmp_path / "KPOINTS").read_text().lower().splitlines()[1:4] == ["0", "gamma", "1 1 1"]


def test_poscar_is_sorted_like_the_potcar_and_the_way_back_is_known(library, tmp_path):
    atoms = interleaved()
    ordered = Ordered.of(atoms)
    inputs = written(static_maker(VaspEngine()), ordered, library, tmp_path)
    assert ordered.order.tolist() == [1, 5, 2, 4, 0, 3]
    sorted_atoms = read(tmp_path / "POSCAR")
    assert sorted_atoms.get_chemical_symbols() == ["Li", "Li", "Al", "O", "Cl", "Cl"]
    assert [single.symbol for single in inputs["POTCAR"]] == ["Li_sv", "Al", "O", "Cl"]
    titles = [line.split()[1] for line in (tmp_path / "POTCAR").read_text().splitlines() if "PAW_PBE" in line]
    assert titles[:1] == ["Li_sv"]
    back = ordered.back(sorted_atoms.get_scaled_positions(wrap=False))
    difference = back - atoms.get_scaled_positions(wrap=False)
    np.testing.assert_allclose(difference - np.round(difference), 0, atol=1e-14)
    assert [ordered.symbols[i] for i in np.argsort(ordered.order)] == SYMBOLS


def test_velocities_are_in_angstrom_per_femtosecond(library, tmp_path):
    atoms = interleaved()
    ordered = Ordered.of(atoms)
    maker = dynamics_maker(VaspEngine(), segment(), ordered, b"", tmp_path / "restart")
    written(maker, ordered, library, tmp_path, velocities=True)
    lines = (tmp_path / "POSCAR").read_text().split("\n\n")[1].split("\n")[:6]
    velocities = ordered.back(np.array([line.split() for line in lines], dtype=float))
    # A/fs = 1e5 m/s: the kinetic energy in SI.
    kinetic = 0.5 * (atoms.get_masses()[:, None] * units._amu * (velocities * 1e5) ** 2).sum() / units._e
    assert kinetic == pytest.approx(atoms.get_kinetic_energy(), rel=1e-6)
    assert kinetic > 0.01


def test_a_restart_file_becomes_poscar_as_it_is(library, tmp_path):
    ordered = Ordered.of(interleaved())
    restart = b"anything that VASP wrote\n  1.0\n"
    maker = dynamics_maker(VaspEngine(), segment(), ordered, restart, tmp_path / "restart")
    folder = tmp_path / "run"
    written(maker, ordered, library, folder, velocities=True)
    assert (folder / "POSCAR").read_bytes() == restart


def test_what_custodian_may_change(library, tmp_path):
    ordered = Ordered.of(interleaved())
    maker = static_maker(VaspEngine())
    inputs = written(maker, ordered, library, tmp_path)
    generator = maker.input_set_generator

    def changed(*, dynamics=False, **tags):
        incar = inputs["INCAR"].copy()
        incar.update({key: value for key, value in tags.items() if value is not None})
        for key in [key for key, value in tags.items() if value is None]:
            del incar[key]
        incar.write_file(tmp_path / "INCAR")
        return changed_settings(ordered, generator, tmp_path, dynamics=dynamics)

    assert changed() == ()
    assert changed(ALGO="All", ISEARCH=1, NELMIN=8, AMIX=0.1, BMIX=0.001, ISTART=1, NCORE=2) == ()
    assert changed(SIGMA=0.01) == ("SIGMA = 0.01 for 0.05",)
    assert changed(SIGMA=0.01, dynamics=True) == ()
    assert changed(SIGMA=0.2, dynamics=True) == ("SIGMA = 0.2 for 0.05",)
    assert changed(ENCUT=600, PREC="Normal") == ("ENCUT = 600.0 for 520.0", "PREC = Normal for Accurate")
    assert changed(IVDW=None) == ("IVDW = None for 12",)
    assert changed(IVDW=None, dynamics=True) == ("IVDW = None for 12",)
    assert changed(LREAL="Auto") == ("LREAL = Auto for False",)
    assert changed(ISMEAR=1, ISPIN=2) == ("ISMEAR = 1 for 0", "ISPIN = 2 for 1")
    assert changed(KSPACING=0.3) == ("KSPACING = 0.3 for None",)
    assert changed(POTIM=0.5, dynamics=True) == ("POTIM = 0.5 for None",)


def test_levels_of_theory_tell_methods_apart():
    engines = [
        VaspEngine(),
        VaspEngine(preset="paper"),
        VaspEngine(encut=600),
        VaspEngine(ediff=1e-7),
        VaspEngine(potcar={"Li": "Li"}),
        VaspEngine(potcar_functional="PBE_54"),
    ]
    assert len({engine.level_of_theory for engine in engines}) == len(engines)
    assert len({engine.md_level_of_theory for engine in engines}) == 4
    assert not any(engine.harvests for engine in engines)
    equal = VaspEngine(md_encut=520, md_ediff=1e-6)
    assert not equal.harvests
    assert VaspEngine().level_of_theory == "vasp/PBE/d3bj/PBE_64:Li_sv,Al,O,Cl/encut=520eV/ediff=1e-06eV/r2"
    assert VaspEngine(dispersion="d3bj").level_of_theory == VaspEngine().level_of_theory
    # How the work is shared is no part of the method.
    assert VaspEngine(ncore=8, steps_per_job=10).level_of_theory == VaspEngine().level_of_theory


def test_the_campaign_of_the_paper_stays_what_it_is():
    engine = parse_engine({"name": "vasp", "functional": "PBE", "dispersion": "none"})
    assert engine.level_of_theory == VaspEngine(preset="paper").level_of_theory
    assert engine.level_of_theory.startswith("vasp/PBE/none/")


@pytest.mark.parametrize("potcars", [{"Li": "Al"}, {"Na": "Na_pv"}, {"Cl": "C"}])
def test_a_potcar_of_another_element_is_refused(potcars):
    with pytest.raises(ValidationError, match="is no POTCAR of"):
        VaspEngine(potcar=potcars)


@pytest.fixture
def program(tmp_path, monkeypatch):
    path = tmp_path / "vasp_std"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAOC_VASP_COMMAND", str(path))
    return path


def refused(engine) -> str:
    with pytest.raises(EngineUnavailableError) as caught:
        engine.check_available()
    assert caught.value.exit_code == 2
    assert caught.value.remedy
    assert "\n" not in caught.value.line
    return caught.value.line


@pytest.mark.usefixtures("program")
def test_what_is_missing_is_said_before_anything_runs(library, tmp_path, monkeypatch):
    import pymatgen.core

    monkeypatch.delitem(pymatgen.core.SETTINGS, "PMG_VASP_PSP_DIR", raising=False)
    assert "vasp_potcar_dir: VASP needs a library of POTCARs" in refused(VaspEngine())
    monkeypatch.setenv("LAOC_VASP_POTCAR_DIR", str(tmp_path / "nowhere"))
    assert f"is not there: {tmp_path / 'nowhere'}" in refused(VaspEngine())
    monkeypatch.setenv("LAOC_VASP_POTCAR_DIR", str(library))
    VaspEngine().check_available()
    VaspEngine(potcar={"Li": "Li"}).check_available()
    line = refused(VaspEngine(potcar={"O": "O_s"}))
    assert line.startswith(f"engine.potcar.O = O_s: the library {library} has no POTCAR O_s of PBE_64")
    assert "POT_PAW_PBE_64/O_s/POTCAR" in line
    assert "no POTCAR Li_sv of PBE_54" in refused(VaspEngine(potcar_functional="PBE_54"))
    monkeypatch.setenv("LAOC_VASP_COMMAND", str(tmp_path / "not_here"))
    assert "not_here' was found neither" in refused(VaspEngine())
    assert pymatgen.core.SETTINGS.get("PMG_VASP_PSP_DIR") is None


@pytest.mark.usefixtures("program")
def test_pymatgens_own_library_is_used_where_none_is_set(library, monkeypatch):
    import pymatgen.core

    monkeypatch.delenv("LAOC_VASP_POTCAR_DIR", raising=False)
    monkeypatch.setitem(pymatgen.core.SETTINGS, "PMG_VASP_PSP_DIR", str(library))
    VaspEngine().check_available()


@pytest.mark.usefixtures("program")
def test_a_wrong_potcar_is_told_from_a_right_one(tmp_path, monkeypatch):
    monkeypatch.setenv("LAOC_VASP_POTCAR_DIR", str(tmp_path / "library"))
    potcar.write_library(tmp_path / "library")
    folder = tmp_path / "library" / "POT_PAW_PBE_64"
    for old in folder.glob("*"):
        if old.name in {"POTCAR.O.gz", "POTCAR.O"}:
            (folder / old.name.replace(".O", ".Cl")).write_bytes(old.read_bytes())
        if old.name == "O":
            (folder / "Cl" / "POTCAR").write_bytes((old / "POTCAR").read_bytes())
    assert "the POTCAR Cl in" in refused(VaspEngine())
    assert "is for O" in refused(VaspEngine())
