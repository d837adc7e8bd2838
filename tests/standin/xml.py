"""vasprun.xml of the stand-in, element by element as VASP 6 writes it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

import numpy as np

from tests.standin.outputs import VERSION, fixed

if TYPE_CHECKING:
    from tests.standin.dynamics import Ions
    from tests.standin.vasp import Job, Step


def _item(name: str, value: object) -> str:
    if isinstance(value, bool):
        return f'<i type="logical" name="{name}"> {"T" if value else "F"}  </i>\n'
    if isinstance(value, int):
        return f'<i type="int" name="{name}">{value:6d}</i>\n'
    if isinstance(value, float):
        return f'<i name="{name}">{fixed(value, 16, 8)}</i>\n'
    if isinstance(value, list):
        if all(isinstance(x, int) for x in value):
            return f'<v type="int" name="{name}">{"".join(f"{x:12d}" for x in value)}</v>\n'
        return f'<v name="{name}">{"".join(fixed(x, 16, 8) for x in value)}</v>\n'
    return f'<i type="string" name="{name}">{escape(str(value))}</i>\n'


def _varray(name: str, array: np.ndarray) -> str:
    lines = "".join(f"<v>{''.join(' ' + fixed(x, 16, 8) for x in row)} </v>\n" for row in array)
    return f'<varray name="{name}" >\n{lines}</varray>\n'


def _structure(
    ions: Ions, fractional: np.ndarray, name: str = "", velocities: np.ndarray | None = None
) -> str:
    label = f' name="{name}" ' if name else ""
    moving = "" if velocities is None else _varray("velocities", velocities)
    return (
        f"<structure{label}>\n<crystal>\n{_varray('basis', ions.cell)}"
        f'<i name="volume">{fixed(ions.volume, 16, 8)} </i>\n{_varray("rec_basis", np.linalg.inv(ions.cell).T)}'
        f"</crystal>\n{_varray('positions', fractional)}{moving}</structure>\n"
    )


def _separator(name: str, *items: str) -> str:
    return f'<separator name="{name}" >\n{"".join(items)}</separator>\n'


def _parameters(job: Job) -> str:
    incar = job.incar

    def tag(name: str) -> str:
        return _item(name, incar.tag(name))

    smearing = _separator("electronic smearing", tag("ISMEAR"), tag("SIGMA"))
    projectors = _separator("electronic projectors", _item("LREAL", bool(incar.tag("LREAL"))), tag("LMAXMIX"))
    startup = _separator("electronic startup", tag("ISTART"), tag("ICHARG"))
    spin = _separator("electronic spin", tag("ISPIN"), _item("LNONCOLLINEAR", False), _item("LSORBIT", False))
    convergence = _separator("electronic convergence", tag("NELM"), tag("NELMDL"), tag("NELMIN"))
    mixer = _separator(
        "electronic mixer", *map(tag, ("AMIX", "BMIX", "AMIN", "AMIX_MAG", "BMIX_MAG", "IMIX", "MAXMIX"))
    )
    electronic = _separator(
        "electronic",
        tag("PREC"),
        _item("ENMAX", job.encut),
        tag("EDIFF"),
        _item("IALGO", {"n": 38, "v": 48, "f": 68, "a": 58, "c": 58, "d": 53}.get(incar.algo, 38)),
        _item("NBANDS", job.n_bands),
        _item("NELECT", float(job.n_electrons)),
        smearing, projectors, startup, spin, convergence, mixer,
    )  # fmt: skip
    ionic = _separator(
        "ionic",
        *map(tag, ("NSW", "IBRION", "MDALGO", "ISIF", "PSTRESS", "EDIFFG", "NFREE", "POTIM", "SMASS")),
    )
    dynamics = _separator(
        "ionic md", *map(tag, ("TEBEG", "TEEND", "NBLOCK", "KBLOCK")), _item("RANDOM_SEED", job.seed)
    )
    rest = (
        _separator(
            "general", _item("SYSTEM", str(incar.get("SYSTEM", "unknown system"))), _item("LCOMPAT", False)
        )
        + electronic
        + _separator("grids", _item("NGX", 36), _item("NGY", 36), _item("NGZ", 36))
        + ionic
        + dynamics
        + _separator("symmetry", tag("ISYM"), tag("SYMPREC"))
        + _separator("dos", tag("LORBIT"), tag("NEDOS"))
        + _separator("writing", tag("NWRITE"), tag("LWAVE"), tag("LCHARG"))
        + _separator("performance", _item("NPAR", 1), tag("NCORE"), tag("KPAR"))
        + _separator(
            "electronic exchange-correlation",
            tag("LASPH"),
            tag("GGA"),
            tag("METAGGA"),
            tag("LHFCALC"),
            _item("AEXX", 0.0),
            _item("HFSCREEN", 0.0),
        )
        + _separator("vdW DFT", _item("LUSE_VDW", False))
        + _separator("linear response parameters", _item("LEPSILON", False), _item("LRPA", False))
        + _separator("orbital magnetization", _item("LCHIMAG", False))
        + tag("LDAU")
        + tag("IVDW")
    )
    return f"<parameters>\n{rest}</parameters>\n"


def _atominfo(job: Job) -> str:
    atoms = "".join(
        f"<rc><c>{element:2s}</c><c>{kind + 1:4d}</c></rc>\n"
        for kind, (element, count) in enumerate(zip(job.elements, job.counts, strict=True))
        for _ in range(count)
    )
    kinds = "".join(
        f"<rc><c>{count:4d}</c><c>{p.element:2s}</c><c>{p.mass:16.8f}</c><c>{p.valence:16.8f}</c><c>  {p.title:<38s}</c></rc>\n"
        for p, count in zip(job.potentials, job.counts, strict=True)
    )
    return (
        f"<atominfo>\n<atoms>{sum(job.counts):8d} </atoms>\n<types>{len(job.counts):8d} </types>\n"
        '<array name="atoms" >\n<dimension dim="1">ion</dimension>\n<field type="string">element</field>\n'
        f'<field type="int">atomtype</field>\n<set>\n{atoms}</set>\n</array>\n'
        '<array name="atomtypes" >\n<dimension dim="1">type</dimension>\n<field type="int">atomspertype</field>\n'
        '<field type="string">element</field>\n<field>mass</field>\n<field>valence</field>\n'
        f'<field type="string">pseudopotential</field>\n<set>\n{kinds}</set>\n</array>\n</atominfo>\n'
    )


def preamble(job: Job, ions: Ions) -> str:
    """Everything before the first ionic step."""
    echo = "".join(_item(name, value) for name, value in job.incar.items())
    n1, n2, n3 = job.kpoints.divisions
    kpoints = (
        f'<kpoints>\n<generation param="{job.kpoints.style}">\n'
        f'<v type="int" name="divisions">{n1:8d}{n2:8d}{n3:8d} </v>\n'
        f'<v name="usershift">{"".join(fixed(0.0, 16, 8) for _ in range(3))} </v>\n'
        f"{''.join(_item(f'genvec{i + 1}', [float(x) for x in np.eye(3)[i]]) for i in range(3))}"
        f'<v name="shift">{"".join(fixed(0.0, 16, 8) for _ in range(3))} </v>\n</generation>\n'
        f"{_varray('kpointlist', np.zeros((1, 3)))}{_varray('weights', np.ones((1, 1)))}</kpoints>\n"
    )
    moving = (
        ions.velocities * job.incar.number("POTIM") @ np.linalg.inv(ions.cell) if job.is_dynamics else None
    )
    return (
        '<?xml version="1.0" encoding="ISO-8859-1"?>\n<modeling>\n<generator>\n'
        f'<i name="program" type="string">vasp </i>\n<i name="version" type="string">{VERSION}  </i>\n'
        '<i name="subversion" type="string">stand-in, made for tests, no electrons inside </i>\n'
        '<i name="platform" type="string">LinuxGNU </i>\n<i name="date" type="string">2026 01 01 </i>\n'
        f'<i name="time" type="string">00:00:00 </i>\n</generator>\n<incar>\n{echo}</incar>\n'
        f"{_structure(ions, ions.fractional, 'primitive_cell')}{kpoints}{_parameters(job)}{_atominfo(job)}"
        f"{_structure(ions, ions.fractional, 'initialpos', moving)}"
    )


def _energies(free: float, entropy: float) -> str:
    return (
        f'<i name="e_fr_energy">{fixed(free, 16, 8)} </i>\n<i name="e_wo_entrp">{fixed(free + entropy, 16, 8)} </i>\n'
        f'<i name="e_0_energy">{fixed(free + 0.5 * entropy, 16, 8)} </i>\n'
    )


def calculation(job: Job, step: Step, ions: Ions) -> str:
    """One ionic step. As VASP does: no dispersion in the electronic steps, and P V in the energy under PSTRESS."""
    electronic = "".join(
        '<scstep>\n<time name="total">    0.00    0.00</time>\n<energy>\n'
        f"{_energies(energy, step.entropy)}</energy>\n</scstep>\n"
        for energy in step.scf
    )
    stress = step.virial / ions.volume * 1602.1766
    moving = ""
    if job.is_dynamics:
        moving = (
            f'<i name="kinetic">{fixed(ions.kinetic, 16, 8)} </i>\n'
            f'<i name="lattice kinetic">{fixed(step.lattice_kinetic, 16, 8)} </i>\n'
            f'<i name="nosepot">{fixed(step.nose[0], 16, 8)} </i>\n'
            f'<i name="nosekinetic">{fixed(step.nose[1], 16, 8)} </i>\n'
            f'<i name="total">{fixed(step.total(ions), 16, 8)} </i>\n'
        )
    return (
        f"<calculation>\n{electronic}{_structure(ions, ions.fractional)}{_varray('forces', step.forces)}"
        f"{_varray('stress', stress)}<energy>\n{_energies(step.free_energy + step.pv, step.entropy)}{moving}</energy>\n"
        '<time name="totalsc">    0.01    0.01</time>\n'
    )


def end_of_calculation(job: Job, *, last: bool) -> str:
    """End of an ionic step; bands and density of states follow the last one."""
    if not last:
        return "</calculation>\n"
    bands = "".join(f"<r>{e:11.4f}{f:11.4f} </r>\n" for e, f in job.bands())
    density = "".join(f"<r>{e:13.4f}{f:13.4f}{f:13.4f} </r>\n" for e, f in job.bands())
    return (
        '<eigenvalues>\n<array>\n<dimension dim="1">band</dimension>\n<dimension dim="2">kpoint</dimension>\n'
        '<dimension dim="3">spin</dimension>\n<field>eigene</field>\n<field>occ</field>\n<set>\n<set comment="spin 1">\n'
        f'<set comment="kpoint 1">\n{bands}</set>\n</set>\n</set>\n</array>\n</eigenvalues>\n'
        '<dos>\n<i name="efermi">      0.00000000 </i>\n<total>\n<array>\n<dimension dim="1">gridpoints</dimension>\n'
        '<dimension dim="2">spin</dimension>\n<field>energy</field>\n<field>total</field>\n<field>integrated</field>\n'
        f'<set>\n<set comment="spin 1">\n{density}</set>\n</set>\n</array>\n</total>\n</dos>\n</calculation>\n'
    )


def closing(job: Job, ions: Ions) -> str:
    """End of the file."""
    moving = (
        ions.velocities * job.incar.number("POTIM") @ np.linalg.inv(ions.cell) if job.is_dynamics else None
    )
    return f"{_structure(ions, ions.fractional, 'finalpos', moving)}</modeling>\n"
