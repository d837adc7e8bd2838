"""What the stand-in writes besides vasprun.xml: stdout, OSZICAR, OUTCAR, XDATCAR, CONTCAR, in VASP's own formats."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tests.standin.dynamics import Ions
    from tests.standin.vasp import Job, Step

VERSION = "6.4.3"
BANNER = f"vasp.{VERSION} stand-in (made for tests, no electrons inside) complex"
RULE = "-" * 104
BOX = " " + "-" * 77


def fortran(value: float, width: int, digits: int) -> str:
    """Number as Fortran's ``Ew.d`` writes it: ``-0.28386226E+02``."""
    if not math.isfinite(value):
        return "NaN".rjust(width)
    mantissa, _, exponent = f"{value:.{digits - 1}E}".partition("E")
    if value == 0:
        return f"0.{'0' * digits}E+00".rjust(width)
    sign, figures = ("-", mantissa[1:]) if mantissa[0] == "-" else ("", mantissa)
    return f"{sign}0.{figures.replace('.', '')}E{int(exponent) + 1:+03d}".rjust(width)


def fixed(value: float, width: int, digits: int) -> str:
    """Number as Fortran's ``Fw.d`` writes it; one that is too wide is stars."""
    text = f"{value:{width}.{digits}f}" if math.isfinite(value) else "NaN".rjust(width)
    return text if len(text) <= width else "*" * width


def rows(array: np.ndarray, width: int, digits: int, indent: str = "") -> str:
    """Lines of an array, one for each row."""
    return "".join(indent + "".join(fixed(x, width, digits) for x in row) + "\n" for row in array)


def sciences(array: np.ndarray) -> str:
    """Lines of an array in ``3E16.8``."""
    return "".join("".join(fortran(x, 16, 8) for x in row) + "\n" for row in array)


def boxed(kind: str, lines: list[str]) -> str:
    """A message of VASP 6 in its box."""
    inner = "".join(f"|     {line:<72}|\n" for line in [kind, "", *lines])
    return f"{BOX}\n{inner}{BOX}\n"


def lattice_block(cell: np.ndarray) -> str:
    """Direct and reciprocal lattice vectors of OUTCAR."""
    both = np.hstack([cell, np.linalg.inv(cell).T])
    lengths = [*np.linalg.norm(cell, axis=1), *np.linalg.norm(both[:, 3:], axis=1)]
    vectors = "".join(
        "  "
        + "".join(fixed(x, 14, 9) for x in row[:3])
        + "  "
        + "".join(fixed(x, 14, 9) for x in row[3:])
        + "\n"
        for row in both
    )
    return (
        f"  energy-cutoff  :      400.00\n  volume of cell :{fixed(abs(np.linalg.det(cell)), 12, 2)}\n"
        "      direct lattice vectors                 reciprocal lattice vectors\n"
        f"{vectors}\n  length of vectors\n  {''.join(fixed(x, 14, 9) for x in lengths)}\n\n\n"
    )


def header(job: Job, ions: Ions) -> str:
    """OUTCAR up to the first iteration."""
    incar, kinds = job.incar, job.potentials
    titles = "".join(f" POTCAR:    {p.title}\n" for p in kinds)
    headers = "".join(f" POTCAR:    {p.title}\n{p.header}\n" for p in kinds)
    fractional = ions.fractional
    seed = " ".join(str(x) for x in job.seed)
    friction = " ".join(f"{x:8.3f}" for x in incar.get("LANGEVIN_GAMMA", []))
    tags = "".join(f"   {tag} = {value}\n" for tag, value in incar.items())
    return (
        f" {BANNER}\n  \n executed on             LinuxGNU date 2026.01.01  00:00:00\n running on    1 total cores\n"
        f" distrk:  each k-point on    1 cores,    1 groups\n\n\n{RULE}\n\n\n INCAR:\n{tags}{titles}{headers}\n\n"
        f" POSCAR: {job.poscar.comment[:40]}\n  positions in direct lattice\n\n{RULE}\n\n"
        " Dimension of arrays:\n"
        "   k-points           NKPTS =      1   k-points in BZ     NKDIM =      1"
        f"   number of bands    NBANDS= {job.n_bands:6d}\n"
        f"   number of dos      NEDOS =    301   number of ions     NIONS = {len(fractional):6d}\n"
        "   non local maximal  LDIM  =      4   non local SUM 2l+1 LMDIM =      8\n"
        "   total plane-waves  NPLWV =  46656\n"
        "   dimension x,y,z NGX =    36 NGY =   36 NGZ =   36\n"
        f"   ions per type =            {''.join(f'{n:4d}' for n in job.counts)}\n\n"
        f" SYSTEM =  {str(incar.get('SYSTEM', 'unknown system'))[:40]}\n POSCAR =  {job.poscar.comment[:40]}\n\n"
        " Startparameter for this run:\n"
        "   NWRITE =      2    write-flag & timer\n"
        f"   PREC   = {str(incar.tag('PREC')).lower():<8}  normal or accurate (medium, high low for compatibility)\n"
        f"   ISTART = {incar.integer('ISTART'):6d}    job   : 0-new  1-cont  2-samecut\n"
        f"   ISPIN  = {incar.integer('ISPIN'):6d}    spin polarized calculation?\n\n"
        " Electronic Relaxation 1\n"
        f"   ENCUT  ={fixed(job.encut, 7, 1)} eV\n"
        f"   NELM   = {incar.integer('NELM'):6d};   NELMIN= {incar.integer('NELMIN'):2d}; NELMDL=  0     # of ELM steps\n"
        f"   EDIFF  ={fortran(incar.number('EDIFF'), 8, 1)}   stopping-criterion for ELM\n"
        f"   LREAL  = {'T' if incar.tag('LREAL') else 'F':>6}    real-space projection\n"
        " Ionic relaxation\n"
        f"   NSW    = {incar.integer('NSW'):6d}    number of steps for IOM\n"
        f"   NBLOCK = {incar.integer('NBLOCK'):6d};   KBLOCK = {incar.integer('KBLOCK'):6d}    inner block; outer block\n"
        f"   IBRION = {incar.integer('IBRION'):6d}    ionic relax: 0-MD 1-quasi-New 2-CG\n"
        f"   ISIF   = {incar.integer('ISIF'):6d}    stress and relaxation\n"
        f"   ISYM   = {incar.integer('ISYM'):6d}    0-nonsym 1-usesym 2-fastsym\n"
        f"   POTIM  = {incar.number('POTIM'):6.4f}    time-step for ionic-motion\n"
        f"   TEBEG  ={fixed(incar.number('TEBEG'), 7, 1)};   TEEND  ={fixed(incar.number('TEEND'), 7, 1)}"
        " temperature during run\n"
        f"   SMASS  ={fixed(incar.number('SMASS'), 7, 2)}    Nose mass-parameter (am)\n"
        f"   PSTRESS={fixed(incar.number('PSTRESS'), 7, 1)} pullay stress\n\n"
        f"  Mass of Ions in am\n   POMASS ={''.join(fixed(p.mass, 7, 2) for p in kinds)}\n"
        f"  Ionic Valenz\n   ZVAL   ={''.join(fixed(p.valence, 7, 2) for p in kinds)}\n"
        f"   NELECT ={fixed(job.n_electrons, 13, 4)}    total number of electrons\n\n"
        f"   ISMEAR = {incar.integer('ISMEAR'):6d};   SIGMA  ={fixed(incar.number('SIGMA'), 7, 2)}"
        "  broadening in eV -4-tet -1-fermi 0-gaus\n"
        f"   MDALGO = {incar.integer('MDALGO'):6d}\n   LANGEVIN_GAMMA = {friction}\n"
        f"   IVDW   = {incar.integer('IVDW'):6d}\n   RANDOM_SEED = {seed}\n\n{RULE}\n\n"
        f"{lattice_block(ions.cell)}"
        " k-points in units of 2pi/SCALE and weight: Gamma\n   0.00000000  0.00000000  0.00000000       1.000\n\n"
        " k-points in reciprocal lattice and weights: Gamma\n   0.00000000  0.00000000  0.00000000       1.000\n\n"
        f" position of ions in fractional coordinates (direct lattice)\n{rows(fractional, 13, 8)}\n"
        f" position of ions in cartesian coordinates  (Angst):\n{rows(fractional @ ions.cell, 13, 8)}\n\n\n{RULE}\n\n\n"
        " k-point   1 :   0.0000 0.0000 0.0000  plane waves:    5138\n\n"
        " maximum and minimum number of plane-waves per node :      5138     5138\n\n"
        " maximum number of plane-waves:      5138\n\n\n"
    )


def iteration(job: Job, step: Step, index: int) -> str:
    """One electronic step of OUTCAR."""
    energy, entropy = step.scf[index], step.entropy
    change = energy - (step.scf[index - 1] if index else 0.0)
    return (
        f"\n--------------------------------------- Iteration {step.number:6d}({index + 1:4d})"
        "  ---------------------------------------\n\n\n"
        "    --------------------------------------------\n      LOOP:  cpu time    0.0010: real time    0.0010\n\n"
        f" eigenvalue-minimisations  : {2 * job.n_bands:5d}\n"
        f" total energy-change (2. order) :{fortran(change, 14, 7)}  ({fortran(change, 14, 7)})\n"
        f" number of electron  {fixed(job.n_electrons, 15, 7)} magnetization\n\n"
        " Free energy of the ion-electron system (eV)\n  ---------------------------------------------------\n"
        f"  entropy T*S    EENTRO =   {fixed(-entropy, 16, 8)}\n"
        f"  eigenvalues    EBANDS =   {fixed(energy, 16, 8)}\n  ---------------------------------------------------\n"
        f"  free energy    TOTEN  =   {fixed(energy, 16, 8)} eV\n\n"
        f"  energy without entropy =  {fixed(energy + entropy, 16, 8)}"
        f"  energy(sigma->0) =  {fixed(energy + 0.5 * entropy, 16, 8)}\n\n\n{RULE}\n\n\n"
    )


def ionic_step(job: Job, step: Step, ions: Ions) -> str:
    """Results of one ionic step of OUTCAR."""
    virial = step.virial
    six = [virial[0, 0], virial[1, 1], virial[2, 2], virial[0, 1], virial[1, 2], virial[2, 0]]
    kbar = np.array(six) / ions.volume * 1602.1766
    ideal = 2.0 * ions.kinetic / (3.0 * ions.volume) * 1602.1766 if job.is_dynamics else 0.0
    reached = "because EDIFF is reached" if step.converged else "EDIFF was not reached (unconverged)"
    if step.is_aborted:
        reached = "because hard stop was set"
    bands = "".join(f"   {n + 1:4d}  {e:10.4f}     {f:8.5f}\n" for n, (e, f) in enumerate(job.bands()))
    table = np.hstack([ions.fractional @ ions.cell, step.forces])
    positions = "".join(
        "".join(fixed(x, 13, 5) for x in row[:3]) + "   " + "".join(fixed(x, 14, 6) for x in row[3:]) + "\n"
        for row in table
    )
    enthalpy = ""
    if step.pv:
        enthalpy = f"  enthalpy is  TOTEN    =   {fixed(step.free_energy + step.pv, 16, 8)} eV   P V={fixed(step.pv, 17, 8)}\n\n"
    names = ["Alpha Z", "Ewald", "Hartree", "E(xc)", "Local", "n-local", "augment", "Kinetic", "Fock"]
    # Nothing of it is computed, but readers count the lines.
    parts = "".join(f"  {name:<8}{'     0.00000' * 6}\n" for name in names)
    dispersion = f"\n  Edisp (eV){fixed(step.dispersion, 14, 5)}\n" if job.incar.tag("IVDW") else ""
    return (
        f" E-fermi :   0.0000     XC(G=0):  -9.0000     alpha+bet : -8.0000\n\n"
        f" k-point     1 :       0.0000    0.0000    0.0000\n  band No.  band energies     occupation \n{bands}\n\n{RULE}\n\n\n"
        f"----------------------- aborting loop {reached} {'-' * 40}\n\n{dispersion}\n"
        "  FORCE on cell =-STRESS in cart. coord.  units (eV):\n"
        "  Direction    XX          YY          ZZ          XY          YZ          ZX\n"
        f"  {'-' * 86}\n{parts}"
        f"  {'-' * 86}\n  Total   {''.join(fixed(x, 12, 5) for x in six)}\n"
        f"  in kB   {''.join(fixed(x, 12, 5) for x in kbar)}\n"
        f"  external pressure = {fixed(kbar[:3].mean() - job.incar.number('PSTRESS'), 11, 2)} kB"
        f"  Pullay stress = {fixed(job.incar.number('PSTRESS'), 11, 2)} kB\n\n"
        f"  kinetic pressure (ideal gas correction) ={fixed(ideal, 10, 2)} kB\n"
        f"  total pressure  ={fixed(kbar[:3].mean() + ideal, 10, 2)} kB\n\n"
        f" VOLUME and BASIS-vectors are now :\n {'-' * 77}\n{lattice_block(ions.cell)}"
        f" POSITION                                       TOTAL-FORCE (eV/Angst)\n {'-' * 83}\n{positions} {'-' * 83}\n"
        f"    total drift:                         {''.join(fixed(x, 14, 6) for x in step.forces.sum(axis=0))}\n\n\n{RULE}\n\n\n"
        "  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)\n  ---------------------------------------------------\n"
        f"  free  energy   TOTEN  =   {fixed(step.free_energy, 16, 8)} eV\n\n"
        f"  energy  without entropy=  {fixed(step.free_energy + step.entropy, 16, 8)}"
        f"  energy(sigma->0) =  {fixed(step.free_energy + 0.5 * step.entropy, 16, 8)}\n{enthalpy}\n\n"
    )


def dynamics_step(job: Job, step: Step, ions: Ions) -> str:
    """Energies of the ions and the thermostat in OUTCAR."""
    return (
        f"           RANDOM_SEED = {''.join(f'{x:17d}' for x in job.seed)}\n"
        "  ENERGY OF THE ELECTRON-ION-THERMOSTAT SYSTEM (eV)\n  ---------------------------------------------------\n"
        f"% ion-electron   TOTEN  = {fixed(step.free_energy, 16, 6)}  see above\n"
        f"  kinetic energy EKIN   = {fixed(ions.kinetic, 16, 6)}\n"
        f"  kin. lattice  EKIN_LAT= {fixed(step.lattice_kinetic, 16, 6)}  (temperature {fixed(ions.temperature, 7, 2)} K)\n"
        f"  nose potential ES     = {fixed(step.nose[0], 16, 6)}\n"
        f"  nose kinetic   EPS    = {fixed(step.nose[1], 16, 6)}\n"
        "  ---------------------------------------------------\n"
        f"  total energy   ETOTAL = {fixed(step.total(ions), 16, 6)} eV\n\n"
    )


def loop_time(seconds: float) -> str:
    """Time of an ionic step in OUTCAR, which custodian reads."""
    return f"     LOOP+:  cpu time{fixed(seconds, 10, 4)}: real time{fixed(seconds, 10, 4)}\n\n\n"


def footer(seconds: float) -> str:
    """End of OUTCAR."""
    return (
        "  \n General timing and accounting informations for this job:\n ========================================================\n"
        f"  \n                  Total CPU time used (sec): {fixed(seconds, 12, 3)}\n"
        f"                            User time (sec): {fixed(seconds, 12, 3)}\n"
        "                          System time (sec):        0.001\n"
        f"                         Elapsed time (sec): {fixed(seconds, 12, 3)}\n  \n"
        "                   Maximum memory used (kb):       50000.\n                   Average memory used (kb):          N/A\n"
        "  \n                          Minor page faults:            1\n                          Major page faults:            0\n"
        "                 Voluntary context switches:            1\n"
    )


def scf_line(step: Step, index: int, n_bands: int) -> str:
    """One electronic step of OSZICAR and stdout."""
    energy = step.scf[index]
    change = energy - (step.scf[index - 1] if index else 0.0)
    return (
        f"DAV: {index + 1:3d}    {fortran(energy, 18, 12)}   {fortran(change, 12, 5)}   {fortran(change, 12, 5)}"
        f"{2 * n_bands:6d}   {fortran(abs(change) * 0.1, 9, 3)}\n"
    )


def ionic_line(job: Job, step: Step, ions: Ions) -> str:
    """Summary of an ionic step of OSZICAR and stdout."""
    free, zero = step.free_energy, step.free_energy + 0.5 * step.entropy
    if job.is_dynamics:
        return (
            f"{step.number:7d} T={ions.temperature:6.0f}. E= {fortran(step.total(ions), 15, 8)}"
            f" F= {fortran(free, 15, 8)} E0= {fortran(zero, 15, 8)}  EK= {fortran(ions.kinetic, 12, 5)}"
            f" SP= {fortran(step.nose[0], 9, 2)} SK= {fortran(step.nose[1], 9, 2)}\n"
        )
    return f"{step.number:4d} F= {fortran(free, 15, 8)} E0= {fortran(zero, 15, 8)}  d E ={fortran(step.change, 14, 6)}\n"


def xdatcar_head(job: Job, cell: np.ndarray) -> str:
    """Head of XDATCAR."""
    return (
        f"{job.poscar.comment}\n           1\n{rows(cell, 13, 6)}  {'   '.join(job.elements)}\n"
        f"{''.join(f'{n:6d}' for n in job.counts)}\n"
    )


def contcar(job: Job, ions: Ions) -> str:
    """CONTCAR: where the ions go from here, and everything that the next run needs."""
    text = (
        f"{job.poscar.comment}\n   1.00000000000000\n{rows(ions.cell, 22, 16, ' ')}   {'   '.join(job.elements)}\n"
        f"{''.join(f'{n:6d}' for n in job.counts)}\nDirect\n{rows(ions.fractional, 20, 16)}"
    )
    velocities = ions.velocities if job.is_dynamics else np.zeros_like(ions.velocities)
    if ions.kick is not None:
        velocities = velocities + ions.kick
    if job.dynamics is not None and job.incar.tag("ISIF") == 3:
        flow = ions.flow + (ions.flow_kick if ions.flow_kick is not None else 0.0)
        text += f"Lattice velocities and vectors\n  1\n{sciences(ions.cell @ flow)}{sciences(ions.cell)}"
    text += f"\n{sciences(velocities)}"
    if job.dynamics is not None and job.dynamics.is_predictor_corrector and ions.kick is not None:
        potim = job.incar.number("POTIM")
        nose = "".join(fortran(x, 16, 8) for x in [*ions.nose, 0.0, 0.0])
        text += f"\n           1\n  {potim:18.14f}\n{nose}\n{sciences(ions.fractional)}"
        text += f"{sciences(potim * ions.kick)}{sciences(np.zeros_like(ions.kick))}"
    return text


def write_now(path: Path, text: str) -> None:
    """Replace a file at once."""
    path.write_text(text)


def say(text: str) -> None:
    """Write to stdout as it comes."""
    sys.stdout.write(text)
    sys.stdout.flush()
