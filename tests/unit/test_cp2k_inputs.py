"""Inputs, restart files, the ladder and the readers of CP2K, without CP2K; and what is wrong upstream."""

import os
import re
import subprocess
import sys
from pathlib import Path

import custodian.cp2k.jobs as upstream_jobs
import numpy as np
import pytest
from ase import Atoms, units
from custodian.cp2k.handlers import StdErrHandler, UnconvergedScfErrorHandler
from custodian.cp2k.jobs import Cp2kJob
from custodian.cp2k.validators import Cp2kOutputValidator
from pymatgen.core import Lattice, Structure
from pymatgen.io.cp2k.inputs import Cp2kInput
from pymatgen.io.cp2k.sets import DftSet

from laoc_flows.engines.cp2k import Cp2kEngine
from laoc_flows.engines.cp2k_inputs import INPUT_FILE, motion_input, physics_of, single_point_input
from laoc_flows.engines.cp2k_motion import stairs
from laoc_flows.engines.cp2k_outputs import OUTPUT_FILE, read_report, read_single_point, read_steps
from laoc_flows.engines.cp2k_recipe import LADDER, Dynamics, Leg, Physics, Scf
from laoc_flows.engines.cp2k_restart import holds, read_restart, write_positions, write_restart
from laoc_flows.engines.cp2k_runs import Cp2kRun, FrozenHandler, LadderHandler
from laoc_flows.engines.dynamics import Segment
from laoc_flows.errors import EngineUnavailableError

PBE = Physics("PBE", "d3bj", "DZVP-MOLOPT-SR-GTH", 400.0, 40.0, 1e-6, 1e-12)
CONVERGED = " SCF WAVEFUNCTION OPTIMIZATION\n  *** SCF run converged in    12 steps ***\n"
UNCONVERGED = " SCF WAVEFUNCTION OPTIMIZATION\n *** WARNING in qs_scf.F:601 :: SCF run NOT converged ***\n"
STOPPED = " SCF WAVEFUNCTION OPTIMIZATION\n *** SCF run terminated - exceeded requested execution time: 9 s\n"
END = "  **** **** ******  **  PROGRAM ENDED AT                 2026-11-22 22:45:37.395\n"


@pytest.fixture
def atoms():
    """A skewed cell of interleaved species with momenta, one atom far outside."""
    rng = np.random.default_rng(3)
    found = Atoms(
        "ClLiAlClOLi",
        positions=rng.uniform(-3, 9, (6, 3)),
        cell=[[6.0, 0.0, 0.0], [0.7, 6.5, 0.0], [0.1, -0.4, 7.0]],
        pbc=True,
    )
    found.set_momenta(rng.normal(size=(6, 3)))
    return found


def md_input(atoms, ensemble="nvt", thermostat="sample", wavefunction=""):
    return motion_input(
        atoms,
        Segment(ensemble, 9, 1.5, 900.0, 600.0, 0.5, 3, 12345678901, thermostat),
        Leg(9, 600.0),
        PBE,
        Scf(20, 6),
        Dynamics("CSVR", 50.0, 1000.0, 400.0),
        data_dir=Path("/data"),
        project="run0",
        walltime=1000.5,
        wavefunction=wavefunction,
    )


def value(tree, path):
    *sections, keyword = path.split("/")
    section = tree.by_path("/".join(sections))
    return section[keyword].values[0]


def test_the_input_says_the_physics(atoms):
    tree = single_point_input(atoms, PBE, Scf(20, 6), data_dir=Path("/data"), project="run0", walltime=60)
    assert value(tree, "FORCE_EVAL/DFT/MGRID/CUTOFF") == 400.0
    assert (
        value(tree, "FORCE_EVAL/DFT/SCF/EPS_SCF")
        == value(tree, "FORCE_EVAL/DFT/SCF/OUTER_SCF/EPS_SCF")
        == 1e-6
    )
    assert value(tree, "FORCE_EVAL/DFT/XC/VDW_POTENTIAL/PAIR_POTENTIAL/TYPE") == "DFTD3(BJ)"
    kinds = tree["FORCE_EVAL"]["SUBSYS"]
    assert kinds["KIND Cl"]["BASIS_SET"].values == ("DZVP-MOLOPT-SR-GTH-q7",)
    assert kinds["KIND Li"]["POTENTIAL"].values == ("GTH-PBE-q3",)
    text = str(tree)
    assert "KPOINTS" not in text
    assert "&COORD" not in text
    assert [float(word) for word in re.search(r"\tB (.*)", text)[1].split()] == [0.7, 6.5, 0.0]


def test_a_change_of_the_physics_is_seen_and_a_change_of_the_way_is_not(atoms):
    kwargs = {"data_dir": Path("/data"), "project": "run0", "walltime": 60}
    written = str(single_point_input(atoms, PBE, Scf(20, 6), **kwargs))
    again = str(Cp2kInput.from_str(written))
    assert physics_of(again) == physics_of(written)
    assert physics_of(str(single_point_input(atoms, PBE, Scf(40, 3, 2), **kwargs))) == physics_of(written)
    assert physics_of(str(md_input(atoms, wavefunction="a.wfn"))) == physics_of(written)
    for change in (
        {"QS": {"EPS_DEFAULT": 1e-14}},
        {"QS": {"EPS_PGF_ORB": 1e-20}},
        {"SCF": {"ADDED_MOS": 10}},
        {"SCF": {"SMEAR": {"METHOD": "FERMI_DIRAC"}}},
        {"SCF": {"EPS_SCF": 1e-5}},
        {"XC": {"XC_GRID": {"USE_FINER_GRID": True}}},
        {"MGRID": {"CUTOFF": 300}},
    ):
        other = Cp2kInput.from_str(written)
        other.update({"FORCE_EVAL": {"DFT": change}})
        assert physics_of(str(other)) != physics_of(written), change


def test_identity_names_every_setting_of_the_physics():
    engine = Cp2kEngine()
    assert engine.level_of_theory == (
        "cp2k/PBE/d3bj/DZVP-MOLOPT-SR-GTH/cutoff=500Ry/rel=50Ry/eps_scf=1e-06/eps_default=1e-12/r1"
    )
    assert engine.harvests
    assert not Cp2kEngine(md_cutoff=300).harvests
    changes = {
        "dispersion": "none",
        "basis": "SZV-MOLOPT-SR-GTH",
        "cutoff": 510,
        "rel_cutoff": 60,
        "eps_scf": 2e-6,
        "eps_default": 1e-13,
    }
    names = {Cp2kEngine(**{key: changed}).level_of_theory for key, changed in changes.items()}
    assert len(names | {engine.level_of_theory}) == len(changes) + 1
    assert Cp2kEngine(minimizer="CG", max_scf=7).level_of_theory == engine.level_of_theory


def test_the_dynamics_are_those_of_the_segment(atoms):
    tree = md_input(atoms, "npt", "measure")
    assert value(tree, "MOTION/MD/ENSEMBLE") == "NPT_I"
    assert value(tree, "MOTION/MD/TIMESTEP") == 1.5
    assert value(tree, "MOTION/MD/BAROSTAT/PRESSURE") == pytest.approx(0.5 * units.GPa / units.bar)
    assert value(tree, "MOTION/MD/THERMOSTAT/CSVR/TIMECON") == 1000.0
    assert value(md_input(atoms), "MOTION/MD/THERMOSTAT/CSVR/TIMECON") == 50.0
    assert 0 < value(tree, "GLOBAL/SEED") < 2**31
    relax = md_input(atoms, "relax")
    assert value(relax, "MOTION/GEO_OPT/MAX_ITER") == 9
    assert not relax.check("EXT_RESTART")


def test_a_ramp_is_a_staircase_that_ends_at_its_end():
    ramp = Segment("nvt", 1000, 1.0, 1500.0, 300.0, 0.0, 1, 0)
    legs = stairs(ramp, 50.0)
    assert len(legs) == 24
    assert sum(leg.n_steps for leg in legs) == 1000
    assert {leg.n_steps for leg in legs} == {41, 42}
    assert legs[-1].temperature == 300.0
    assert max(abs(np.diff([1500.0, *(leg.temperature for leg in legs)]))) <= 50.0
    short = stairs(Segment("nvt", 3, 1.0, 300.0, 1500.0, 0.0, 1, 0), 50.0)
    assert short == [Leg(1, 700.0), Leg(1, 1100.0), Leg(1, 1500.0)]
    assert stairs(Segment("relax", 30, 1.0, 0.0, 900.0, 0.0, 1, 0), 50.0)[0].n_steps == 30


def test_a_restart_file_keeps_the_last_bit(atoms, tmp_path):
    write_restart(atoms, tmp_path, seed=1, thermostat="CSVR")
    data = (tmp_path / "start.restart").read_bytes()
    back = read_restart(atoms, data)
    assert np.array_equal(back.positions, atoms.positions)
    assert np.array_equal(back.cell.array, atoms.cell.array)
    assert np.allclose(back.get_momenta(), atoms.get_momenta(), rtol=1e-14, atol=0)
    with pytest.raises(ValueError, match="another order"):
        read_restart(atoms[::-1], data)


def test_the_noise_of_the_thermostat_comes_from_the_seed(atoms, tmp_path):
    texts = []
    for seed in (1, 1, 2):
        write_restart(atoms, tmp_path, seed=seed, thermostat="CSVR")
        texts.append((tmp_path / "start.restart").read_text())
    assert texts[0] == texts[1] != texts[2]
    thermostat, barostat = re.findall(r"^Wiener.*$", texts[0], re.MULTILINE)
    assert thermostat != barostat
    # CP2K's format (A40,I2,3L2,ES25.16,18F20.1), and the moduli of the generator.
    assert len(thermostat) == 40 + 2 + 6 + 25 + 18 * 20
    state = np.array(thermostat[73:].split(), dtype=float).reshape(3, 6)
    assert (state > 0).all()
    assert (state[:, :3] < 4294967087).all()
    assert (state[:, 3:] < 4294944443).all()


def test_a_restart_file_of_another_ensemble_does_not_hold():
    nvt = b"&MD\n&THERMOSTAT\n&CSVR\n"
    npt = b"&MD\n&BAROSTAT\n&THERMOSTAT\n&CSVR\n"
    assert [holds(nvt, ensemble, "CSVR") for ensemble in ("nvt", "npt")] == [True, False]
    assert [holds(npt, ensemble, "CSVR") for ensemble in ("nvt", "npt")] == [False, True]
    assert not holds(nvt, "nvt", "NOSE")
    assert not holds(b"", "nvt", "CSVR")


@pytest.mark.parametrize(
    ("text", "good", "unconverged", "ended", "out_of_time"),
    [
        (CONVERGED * 3 + END, None, False, True, False),
        (CONVERGED * 3 + UNCONVERGED + CONVERGED + END, 2, True, True, False),
        (UNCONVERGED, -1, True, False, False),
        (CONVERGED + "OPTIMIZATION STEP:      1\n" + CONVERGED * 2 + UNCONVERGED, 0, True, False, False),
        (CONVERGED * 2 + STOPPED + UNCONVERGED.splitlines()[1] + END, 1, False, True, True),
        ("", None, False, False, False),
    ],
)
def test_the_first_unconverged_step_is_found(tmp_path, text, good, unconverged, ended, out_of_time):
    path = tmp_path / OUTPUT_FILE
    path.write_text(text)
    report = read_report(path)
    assert (report.good_steps, report.unconverged) == (good, unconverged)
    assert (report.ended, report.out_of_time) == (ended, out_of_time)
    assert report.converged == ("run converged" in text)


def test_an_abort_is_told_in_its_own_words(tmp_path):
    path = tmp_path / OUTPUT_FILE
    path.write_text(
        r"""
 *******************************************************************************
 *   ___                                                                       *
 *  /   \                                                                      *
 * [ABORT]                                                                     *
 *  \___/        found an unknown keyword NDIGITS in section STRESS_TENSOR     *
 *    |                                                                        *
 *  O/|                                                                        *
 * /| |                                                                        *
 * / \                                               input/input_parsing.F:246 *
 *******************************************************************************
"""
    )
    message = read_report(path).message
    assert message == "found an unknown keyword NDIGITS in section STRESS_TENSOR input/input_parsing.F:246"


def test_both_formats_of_the_forces_are_read(tmp_path):
    head = " ENERGY| Total FORCE_EVAL ( QS ) energy {unit}              -69.477191474543901\n"
    stress = (
        " STRESS| Analytical stress tensor [{unit}]\n STRESS|          x          y          z\n"
        " STRESS|      x        8.0E+00  -3.0E+00   2.0E+00\n STRESS|      y       -3.0E+00   6.0E+00  -5.0E+00\n"
        " STRESS|      z        2.0E+00  -5.0E+00   9.0E+00\n STRESS| 1/3 Trace       7.7E+00\n"
    )
    old = (
        head.format(unit="[a.u.]:")
        + " # Atom   Kind   Element          X                  Y                  Z\n"
        + "      1      1      Li          0.011754924200     0.013610923566    -0.015590151167\n"
        + "      2      2      Al         -0.061042088216     0.084716046706    -0.057781765710\n"
        + " SUM OF ATOMIC FORCES           0.001098944982     0.000868059055    -0.000939643866     0.001686456994\n"
        + stress.format(unit="GPa")
    )
    new = (
        head.format(unit="[hartree]")
        + " FORCES|   Atom     x               y               z               |f|\n"
        + " FORCES|      1  1.1754924200E-02  1.3610923566E-02 -1.5590151167E-02  2.378E-02\n"
        + " FORCES|      2 -6.1042088216E-02  8.4716046706E-02 -5.7781765710E-02  1.193E-01\n"
        + " FORCES| Sum     -4.928E-02  9.832E-02 -7.337E-02  1.3E-01\n"
        + stress.format(unit="bar")
    )
    results = []
    for text in (old, new):
        (tmp_path / OUTPUT_FILE).write_text(text)
        results.append(read_single_point(tmp_path / OUTPUT_FILE, ["Li", "Al"]))
    assert results[0][0] == results[1][0] == pytest.approx(-69.477191474543901 * 27.2113860)
    assert np.allclose(results[0][1], results[1][1], rtol=1e-9)
    assert results[0][1][1, 1] == pytest.approx(0.084716046706 * 51.4220670)
    assert np.allclose(results[0][2] / units.GPa, [-8, -6, -9, 5, -2, 3])
    assert np.allclose(results[1][2] / units.bar, [-8, -6, -9, 5, -2, 3])
    (tmp_path / OUTPUT_FILE).write_text(old)
    with pytest.raises(ValueError, match="other atoms"):
        read_single_point(tmp_path / OUTPUT_FILE, ["Al", "Li"])


def test_a_trajectory_that_a_kill_has_cut_off_is_read_to_its_last_whole_step(atoms, tmp_path):
    frame = "       6\n i =        {i}, time =        1.000, E =       -69.{i}\n" + 6 * " Li 1.0 2.0 3.0\n"
    for name in ("pos", "frc", "vel"):
        (tmp_path / f"run0-{name}-1.xyz").write_text("".join(frame.format(i=i) for i in range(4)))
    whole = (tmp_path / "run0-frc-1.xyz").read_text()
    (tmp_path / "run0-frc-1.xyz").write_text(whole[:-4])
    cell = " ".join(f"{x:.10f}" for x in atoms.cell.array.ravel())
    for name, row in (
        ("stress", 9 * " 1000.0"),
        ("cell", f" {cell} 273.0"),
        ("ener", " 0.1 900.0 -69.0 -69.0 1.0"),
    ):
        rows = "".join(f" {i} {float(i)} {row}\n" for i in range(4))
        (tmp_path / f"run0-1.{name}").write_text("# header\n" + rows)
    for i in range(1, 4):
        (tmp_path / f"run0-1_{i}.restart").write_text("")
    steps = read_steps(tmp_path, "run0", atoms)
    assert list(steps) == [1, 2]
    assert list(read_steps(tmp_path, "run0", atoms, 1)) == [1]
    assert steps[2].atoms.get_potential_energy() == pytest.approx(-69.2 * units.Hartree)
    assert steps[2].temperature == 900.0
    # The kinetic part goes out of the stress; what is left and N k T / V are the pressure.
    atoms_2 = steps[2].atoms
    kinetic = np.einsum(
        "i,ia,ib->ab", atoms_2.get_masses(), atoms_2.get_velocities(), atoms_2.get_velocities()
    )
    expected = (1000.0 * units.bar - kinetic[0, 0] / atoms_2.get_volume()) / units.GPa
    assert -atoms_2.get_stress()[0] / units.GPa == pytest.approx(expected)


def test_the_ladder_carries_a_motion_on_from_its_last_good_step(atoms, tmp_path):
    md_input(atoms).write_file(INPUT_FILE, tmp_path)
    write_positions(atoms, tmp_path)
    (tmp_path / OUTPUT_FILE).write_text(CONVERGED * 3 + UNCONVERGED + CONVERGED)
    for step in range(1, 5):
        (tmp_path / f"run0-1_{step}.restart").write_text("")
    handler = LadderHandler(0, 20)
    assert handler.check(str(tmp_path))
    actions = handler.correct(str(tmp_path))
    assert actions["errors"] == ["SCF run NOT converged"]
    written = Cp2kInput.from_file(tmp_path / INPUT_FILE)
    assert value(written, "EXT_RESTART/RESTART_FILE_NAME") == "run0-1_2.restart"
    assert value(written, "MOTION/MD/STEPS") == 7
    assert value(written, "GLOBAL/PROJECT_NAME") == "run1"
    assert value(written, "FORCE_EVAL/DFT/SCF/OT/MINIMIZER") == "CG"
    assert value(written, "FORCE_EVAL/DFT/SCF/MAX_SCF") == 20 * LADDER[1].patience
    assert (tmp_path / "run0.out").read_text().count("NOT") == 1
    assert physics_of(str(written)) == physics_of(str(md_input(atoms)))
    handler.correct(str(tmp_path))
    assert handler.correct(str(tmp_path))["actions"] == []


def test_a_failed_preconditioner_takes_the_next_rung_and_other_aborts_do_not(atoms, tmp_path):
    md_input(atoms).write_file(INPUT_FILE, tmp_path)
    banner = " * [ABORT]\n *  \\___/        {}     *\n *{}\n"
    for text, expected in (("Cholesky decomposition failed. Matrix ill", True), ("out of memory", False)):
        (tmp_path / OUTPUT_FILE).write_text(banner.format(text, "*" * 70))
        assert LadderHandler(0, 20).check(str(tmp_path)) is expected


def test_silence_is_found(tmp_path):
    path = tmp_path / OUTPUT_FILE
    path.write_text("")
    handler = FrozenHandler(100.0)
    assert not handler.check(str(tmp_path))
    now = path.stat().st_mtime
    os.utime(path, (now - 200, now - 200))
    assert handler.check(str(tmp_path))
    assert handler.correct(str(tmp_path)) == {"errors": ["no output for 100 s"], "actions": []}


def test_only_our_own_process_is_terminated(tmp_path):
    (tmp_path / INPUT_FILE).write_text("import time; print('up', flush=True); time.sleep(600)")
    # "-i FILE" makes Python run the file as CP2K would.
    mine, other = (Cp2kRun([sys.executable]) for _ in range(2))
    processes = [run.run(str(tmp_path)) for run in (mine, other)]
    mine.terminate()
    assert processes[0].poll() == -15
    assert processes[1].poll() is None
    other.terminate()
    assert processes[1].poll() == -15


def test_what_is_missing_is_named_with_a_remedy(monkeypatch, tmp_path):
    monkeypatch.setenv("LAOC_WORKSPACE", str(tmp_path))
    monkeypatch.setenv("LAOC_CP2K_COMMAND", "cp2k.not-there")
    with pytest.raises(EngineUnavailableError, match="apt-get install cp2k"):
        Cp2kEngine().check_available()
    monkeypatch.setenv("LAOC_CP2K_COMMAND", sys.executable)
    monkeypatch.setenv("LAOC_CP2K_DATA_DIR", str(tmp_path))
    with pytest.raises(EngineUnavailableError, match=r"BASIS_MOLOPT, GTH_POTENTIALS, dftd3\.dat not found"):
        Cp2kEngine().check_available()
    with pytest.raises(EngineUnavailableError, match=r"BASIS_MOLOPT, GTH_POTENTIALS not found"):
        Cp2kEngine(dispersion="none").check_available()


class TestUpstream:
    """Each of these fails when upstream is mended: then the correction can go."""

    def test_reading_an_input_reorders_the_atoms(self):
        rows = ["Cl 0 0 1", "Li 0 0 2", "Cl 0 0 3", "Li 0 0 4", "Cl 0 0 5"]
        read = str(Cp2kInput.from_str("\n".join(["&COORD", *rows, "&END COORD"])))
        assert [line.split() for line in read.splitlines()[1:-1]] == [
            row.split() for row in ("Cl 0 0 3", "Cl 0 0 1", "Cl 0 0 5", "Li 0 0 4", "Li 0 0 2")
        ]

    def test_the_thermostat_of_md_is_no_keyword(self):
        structure = Structure(Lattice.cubic(6), ["Li", "Cl"], [[0, 0, 0], [0.5, 0, 0]])
        kinds = {
            name: {"basis": f"SZV-MOLOPT-SR-GTH-q{electrons}", "potential": f"GTH-PBE-q{electrons}"}
            for name, electrons in (("Li", 3), ("Cl", 7))
        }
        off = dict.fromkeys(
            ("print_dos", "print_pdos", "print_mo_cubes", "print_v_hartree", "print_e_density"), False
        )
        files = {"basis_filenames": ["BASIS_MOLOPT"], "potential_filename": "GTH_POTENTIALS"}
        made = DftSet(
            structure,
            basis_and_potential={**kinds, **files},
            xc_functionals="PBE",
            cutoff=200,
            run_type="MD",
            **off,
        )
        # What atomate2's MDSetGenerator calls.
        made.activate_motion(ensemble="NVT", temperature=300, timestep=2, nsteps=10, thermostat="NOSE")
        with pytest.raises(AttributeError, match="get_str"):
            str(made)

    def test_the_settings_of_one_input_set_leak_into_the_next(self, tmp_path):
        # In a process of its own: the leak would reach the other tests.
        script = """
from pymatgen.core import Lattice, Structure
from atomate2.cp2k.sets.core import StaticSetGenerator
structure = Structure(Lattice.cubic(6), ["Li", "Cl"], [[0, 0, 0], [0.5, 0, 0]])
first = StaticSetGenerator(user_input_settings={"basis_and_potential": {"Li": {"basis": "leaked"}}})
try:
    first.get_input_set(structure, optional_files=False)
except Exception:
    pass
print(StaticSetGenerator().config_dict["cp2k_input"]["basis_and_potential"]["Li"]["basis"])
"""
        environment = {**os.environ, "HOME": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", script],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
        )
        assert done.stdout.strip() == "leaked"

    def test_terminating_a_job_kills_every_cp2k(self, monkeypatch):
        commands = []
        monkeypatch.setattr(upstream_jobs.os, "system", commands.append)
        Cp2kJob(["/usr/bin/cp2k.psmp"]).terminate()
        assert commands == ["killall /usr/bin/cp2k.psmp"]

    def test_one_scf_of_a_run_is_looked_at(self, tmp_path):
        (tmp_path / INPUT_FILE).write_text("&FORCE_EVAL\n&END FORCE_EVAL\n")
        head = " CP2K| Input file name                  cp2k.inp\n GLOBAL| Run_type      MD\n"
        (tmp_path / OUTPUT_FILE).write_text(head + UNCONVERGED + CONVERGED + END)
        assert not UnconvergedScfErrorHandler().check(str(tmp_path))
        (tmp_path / OUTPUT_FILE).write_text(head + CONVERGED + UNCONVERGED + END)
        assert not Cp2kOutputValidator().check(str(tmp_path))

    def test_the_errors_are_looked_for_in_the_current_directory(self, tmp_path, monkeypatch):
        (tmp_path / "there").mkdir()
        (tmp_path / "there" / "std_err.txt").write_text("SIGSEGV")
        monkeypatch.chdir(tmp_path)
        with pytest.raises(FileNotFoundError):
            StdErrHandler().check(str(tmp_path / "there"))
