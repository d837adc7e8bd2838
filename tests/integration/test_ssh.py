"""A worker on another machine: jobs through SSH, with a workspace of their own there, on the database of this one."""

import subprocess
import sys
from pathlib import Path

import pytest
from jobflow import Flow

from laoc_flows.blobs import get_blob
from laoc_flows.campaign.doctor import Doctor
from laoc_flows.campaign.queues.base import State
from laoc_flows.campaign.queues.jf import JfQueue
from laoc_flows.campaign.queues.jf_project import jf_environment, write_project
from laoc_flows.flows.seeds import PackedCell, PackMaker
from laoc_flows.frames import decode_frames
from laoc_flows.jobs import stamp
from laoc_flows.schemas.base import Provenance
from laoc_flows.store.stored import plain
from laoc_flows.store.workspace import Workspace, environment
from tests.integration.test_doctor import ALL, BIN, jf_shell
from tests.programs import missing
from tests.ssh import PROGRAMS, SshServer

CAMPAIGN = "c-1"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    assert not missing(PROGRAMS), "an SSH server is not installed: .ci/run does that"
    found = SshServer(tmp_path_factory.mktemp("ssh") / "server")
    yield found
    found.stop()


@pytest.fixture(scope="module")
def places(tmp_path_factory, server):
    """The workspace here, and the one that its worker has on the other machine."""
    root = tmp_path_factory.mktemp("ssh-places")
    here, there = Workspace.create(root / "here"), Workspace.create(root / "there")
    try:
        settings = f"mongo_uri: {here.database_uri().get_secret_value()}\n"
        written(there, settings)
        subprocess.run(
            [BIN / "laoc", "init", "--no-check", "--workspace", there.path], check=True, capture_output=True
        )
        worker = {
            "host": "127.0.0.1",
            "port": server.port,
            "key_file": str(server.key),
            "python": str(BIN / "python"),
        }
        lines = "".join(f"    {name}: {value}\n" for name, value in worker.items())
        written(here, f"runner_delay: 1\nworkers:\n  far:\n{lines}    workspace: {there.path}\n")
        here, there = Workspace(here.path), Workspace(there.path)
        with environment(here.environment()):
            write_project(here)
            yield here, there
    finally:
        here.mongo.stop()


def written(workspace, text):
    file = workspace.path / "settings.yaml"
    file.write_text(text)
    file.chmod(0o600)


def test_the_doctor_asks_the_machine_as_the_runner_would(places):
    here, _ = places
    doctor = Doctor(here, lambda _: None)
    assert list(doctor.worker("far", here.settings.workers["far"])) == []
    wrong = here.settings.workers["far"].model_copy(update={"python": "/usr/bin/false"})
    (trouble,) = doctor.worker("far", wrong)
    assert "/usr/bin/false" in trouble.remedy


def test_a_machine_that_is_away_is_told_in_one_line(places):
    here, _ = places
    away = here.settings.workers["far"].model_copy(update={"port": 9})
    (trouble,) = Doctor(here, lambda _: None).worker("away", away)
    assert "cannot be reached" in trouble.line
    assert "ssh -p 9" in trouble.remedy
    assert "\n" not in trouble.line


@pytest.mark.timeout(600)
def test_a_job_runs_there_and_its_result_is_here(places):
    here, there = places
    queue = JfQueue(here)
    queue.ensure_indexes()
    provenance = Provenance(
        campaign_id=CAMPAIGN, campaign_seed=1, composition_id="x1.000-y0.500", stage="seed"
    )
    packing = PackMaker("x1.000-y0.500", 2).make(provenance)
    flow = Flow([packing])
    stamp(flow, campaign=CAMPAIGN, stage="seed", step="pack", composition="x1.000-y0.500")
    queue.add(flow, CAMPAIGN, "c", "xtb")
    shell = {**jf_shell(here), **jf_environment(here)}
    done = subprocess.run([sys.executable, "-c", ALL], env=shell, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (job,) = queue.jobs(CAMPAIGN)
    assert job.state is State.DONE, job.trace
    assert Path(job.directory).is_relative_to(there.path)
    script = (Path(job.directory) / "submit.sh").read_text()
    assert f"LAOC_WORKSPACE={there.path}" in script
    store = here.job_store()
    packed = PackedCell.model_validate(plain(store.get_output(packing.uuid)))
    (frame,) = decode_frames(get_blob(store, packed.frame))
    assert frame.get_chemical_formula() == "Al2Cl6Li2O"
    store.close()
    queue.controller.close()
    assert any((there.path / "launches" / "jf" / "far").iterdir())
