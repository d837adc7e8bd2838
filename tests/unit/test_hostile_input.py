"""Campaign files and settings from an enemy: refused in a line, and nothing happens."""

import random
from pathlib import Path

import pytest
import yaml

from laoc_flows.campaign.file import CampaignFile
from laoc_flows.campaign.submissions import _submission
from laoc_flows.errors import InputError
from laoc_flows.settings import Settings
from tests.hostile import TEXTS, mutated, nothing_happens

TINY = Path(__file__).parents[1] / "data" / "tiny.yaml"
SETTINGS = {
    "processes": 2,
    "database": "laoc",
    "trajectory_root": "trajectories",
    "workers": {
        "cpu": {
            "scheduler": "slurm",
            "resources": {"partition": "cpu", "nodes": 1, "options": {"constraint": "x"}},
        },
        "far": {
            "host": "h",
            "user": "u",
            "python": "/p",
            "workspace": "/w",
            "setup": {"environment": {"A": "1"}},
        },
    },
    "roles": {"dft": {"worker": "cpu", "engines": {"vasp": {"resources": {"processes": 4}}}}},
    "notify_command": "true",
}


def cases(content, count, seed):
    rng = random.Random(seed)
    for number in range(count):
        found = content
        for _ in range(1 + number % 3):
            found = mutated(found, rng)
        yield yaml.safe_dump(found, allow_unicode=True)
    lines = yaml.safe_dump(content).splitlines()
    for text in TEXTS:
        for at in range(0, len(lines), max(1, len(lines) // 6)):
            line = lines[at]
            key = line.partition(":")[0]
            yield "\n".join([*lines[:at], f"{key}: {text}", *lines[at + 1 :]])
            yield "\n".join([*lines[:at], text, *lines[at:]])


def refused_clearly(read, path, text):
    """Whether it was refused; each line of the refusal names the file."""
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    try:
        read()
    except InputError as error:
        for line in getattr(error, "lines", None) or [error.line]:
            assert str(path) in line, line
            assert "\n" not in line
            assert len(line) < 2000
        return True
    return False


def test_campaign_files(tmp_path):
    path = tmp_path / "campaign.yaml"
    path.touch()
    content = yaml.safe_load(TINY.read_text())
    with nothing_happens(tmp_path):
        outcomes = [
            refused_clearly(lambda: CampaignFile.load(path), path, text)
            for text in cases(content, 1000, seed=1)
        ]
    assert len(outcomes) > 1200
    # Most are refused; some only say the same in another way, or change what may be changed.
    assert 0.7 < sum(outcomes) / len(outcomes) < 1


def test_settings(tmp_path):
    path = tmp_path / "settings.yaml"
    path.touch()
    with nothing_happens(tmp_path):
        outcomes = [
            refused_clearly(lambda: Settings.load(tmp_path), path, text)
            for text in cases(SETTINGS, 600, seed=2)
        ]
    assert len(outcomes) > 700
    assert 0.6 < sum(outcomes) / len(outcomes) < 1


def test_submissions(tmp_path):
    """What the database says of a submission is read, or its file counts as unreadable."""
    from datetime import UTC, datetime

    file = CampaignFile.load(TINY)
    row = {
        "_id": file.campaign_id, "name": "tiny", "queue": "jf", "state": "submitted", "at": datetime.now(UTC), "by": {},
        "file": file.model_dump(mode="json"),
    }  # fmt: skip
    rng = random.Random(3)
    read = 0
    with nothing_happens(tmp_path):
        for _ in range(400):
            found = _submission({**row, "file": mutated(row["file"], rng)})
            read += found.file is not None
    assert 0 < read < 200


@pytest.mark.parametrize("text", TEXTS)
def test_no_file_at_all(tmp_path, text):
    path = tmp_path / "campaign.yaml"
    path.touch()
    with nothing_happens(tmp_path):
        assert refused_clearly(lambda: CampaignFile.load(path), path, text)
