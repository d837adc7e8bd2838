"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from laoc_flows.campaign.file import CampaignFile
from laoc_flows.settings import DEFAULT_WORKSPACE
from laoc_flows.store.workspace import Workspace

WorkspaceOption = Annotated[
    Path | None,
    typer.Option(
        "--workspace",
        "-w",
        envvar="LAOC_WORKSPACE",
        help="Directory of the workspace.",
        show_default=str(DEFAULT_WORKSPACE),
    ),
]

_CAMPAIGN = "Campaign: its file, its id or the beginning of it, or its name"

CampaignReference = Annotated[
    str, typer.Argument(metavar="CAMPAIGN", help=f"{_CAMPAIGN}.", show_default=False)
]
AnyCampaign = Annotated[
    str | None,
    typer.Argument(metavar="CAMPAIGN", help=f"{_CAMPAIGN}; without one all of them.", show_default=False),
]


def open_workspace(path: Path | None, campaign: CampaignFile | None = None, *, create: bool) -> Workspace:
    """Workspace at a path, with the overrides that a campaign file makes.

    Parameters
    ----------
    path : pathlib.Path or None
        Directory; ``.laoc`` by default.
    campaign : CampaignFile, optional
        Campaign whose ``workers`` and ``store`` override the workspace's settings.
    create : bool
        Whether to make the workspace if there is none.
    """
    directory = path or DEFAULT_WORKSPACE
    workspace = Workspace.create(directory) if create else Workspace(directory)
    if campaign is not None:
        workspace.override(**campaign.settings_overrides())
    return workspace
