"""``jf laoc ...``: the commands as a plugin of jobflow-remote."""

from __future__ import annotations


def setup_jf_plugin() -> None:
    """Add the commands to ``jf``; each is imported when it is called, as those of ``laoc`` are."""
    from jobflow_remote.cli.jf import app as jf

    from laoc_flows.cli.main import app

    if "laoc" not in {group.name for group in jf.registered_groups}:
        jf.add_typer(app, name="laoc")
