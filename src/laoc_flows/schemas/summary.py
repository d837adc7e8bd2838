"""Summaries: what a campaign knows of one composition, in one small document."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from laoc_flows.blobs import digest_json
from laoc_flows.schemas.base import Document, Measured, Model


class CompositionStatus(StrEnum):
    """How far a composition of a campaign has come."""

    COMPLETE = "complete"
    IN_PROGRESS = "in progress"
    REFUSED = "refused"
    IMPORTED = "imported"


class RateSummary(Model):
    """Glasses of one composition that were quenched at one rate."""

    quench_rate: float | None = Field(description="rate that was asked for [K/ps]")
    n_glasses: int = Field(ge=0, description="production cells that are glasses")
    n_refused: int = Field(ge=0, description="production cells that are refused")
    density: Measured | None = Field(None, description="mass density [g/cm^3]")
    isolated_share: Measured | None = Field(None, description="share of Al in chains of one, distance rule")
    li_status: str | None = Field(None, description="MSD status of Li, the weakest among the glasses")
    li_diffusion: Measured | None = Field(
        None, description="D of Li [cm^2/s]; only where every glass is diffusive"
    )


class CompositionSummary(Document):
    """One composition of a campaign: its glasses, the potential that made them, and how far both are trusted.

    The glasses are those of production; where they were quenched at several rates, those of the slowest. With
    several glasses a number is the mean over glasses with the standard error between them; with one glass it is
    the glass's own. Runs of the reference engine itself are counted by themselves and are in no other number.
    """

    schema_name: str = "composition"
    schema_version: int = Field(2, description="version of the document's layout")
    composition_id: str = Field(description="canonical composition id, for example 'x1.000-y0.750'")
    status: CompositionStatus = Field(
        description="complete (at least one glass), refused (every production cell so far), imported (labels of other "
        "programs: nothing more will come), or in progress"
    )
    x: float = Field(description="Li per Al")
    y: float = Field(description="O per Al")
    o_to_cl: float | None = Field(description="O per Cl; None without Cl")
    li_to_al: float = Field(description="Li per Al")
    formula: str | None = Field(None, description="formula of the production cell")
    n_atoms: int | None = Field(None, description="atoms in the production cell")
    n_glasses: int = Field(0, ge=0, description="production cells that are glasses")
    n_refused: int = Field(0, ge=0, description="production cells that are refused")
    refusals: tuple[str, ...] = Field((), description="status and reason of refused cells")
    quench_rate: float | None = Field(
        None, description="quench rate that was asked for, the slowest of several [K/ps]"
    )
    by_rate: tuple[RateSummary, ...] = Field(
        (),
        description="glasses by the quench rate that was asked for, where there are several, slowest first",
    )
    density: Measured | None = Field(None, description="mass density [g/cm^3]")
    links_expected: float = Field(description="lambda = 1 - x + y, links per Al of the ideal network")
    links_found: Measured | None = Field(None, description="links per Al found")
    isolated_share: Measured | None = Field(
        None, description="Al_iso: share of Al in chains of one, distance rule"
    )
    tetrahedra: dict[str, Measured] = Field(
        default_factory=dict, description="share of Al by type, over all Al"
    )
    potential_key: str | None = Field(
        None, description="newest potential; the final one once the loop has ended"
    )
    force_rmse: Measured | None = Field(
        None, description="force RMSE on held-out trajectories [eV/A]; n_independent counts the trajectories"
    )
    zero_force_rmse: float | None = Field(
        None, description="the same if all forces were zero, the baseline [eV/A]"
    )
    force_ratio: float | None = Field(None, description="force RMSE over its baseline [1]")
    energy_rmse: float | None = Field(None, description="energy RMSE on held-out trajectories [eV/atom]")
    iterations: int = Field(0, ge=0, description="iterations of the learning loop that were decided")
    verdict: str | None = Field(None, description="'converged' or 'not converged', of the last iteration")
    verdict_reason: str = Field("", description="what is not converged")
    deviation: float | None = Field(
        None, description="median model deviation of the last exploration at its coldest temperature [eV/A]"
    )
    deviation_temperature: float | None = Field(None, description="that temperature [K]")
    max_deviation: float | None = Field(
        None, description="largest model deviation of the last exploration, all temperatures [eV/A]"
    )
    n_labels_train: int = Field(0, ge=0, description="converged labels to train on")
    n_labels_test: int = Field(0, ge=0, description="converged labels of held-out trajectories")
    li_status: str | None = Field(
        None,
        description="MSD status of Li, of several glasses the weakest: insufficient, subdiffusive, diffusive",
    )
    cl_status: str | None = Field(None, description="MSD status of Cl")
    li_last_msd: Measured | None = Field(None, description="MSD of Li at the longest lag [A^2]")
    li_last_lag: float | None = Field(None, description="longest lag, the shortest among the glasses [ps]")
    li_diffusion: Measured | None = Field(
        None,
        description="D of Li [cm^2/s]; only where every glass is diffusive, its error holds all components",
    )
    li_diffusion_between: float | None = Field(None, description="its spread between glasses [cm^2/s]")
    li_diffusion_within: float | None = Field(None, description="its error within runs [cm^2/s]")
    li_diffusion_bound: float | None = Field(
        None, description="where there is no D: the largest upper bound among the glasses [cm^2/s]"
    )
    conductivity: Measured | None = Field(None, description="Nernst-Einstein conductivity [mS/cm]")
    collective_conductivity: Measured | None = Field(None, description="conductivity of all charges [mS/cm]")
    haven_ratio: Measured | None = Field(None, description="D of Li over D of the charge")
    n_hops: int = Field(0, ge=0, description="hops of Li in all glasses")
    hop_rate: Measured | None = Field(None, description="hops per Li and time [1/ns]")
    hop_shares: dict[str, float] = Field(
        default_factory=dict, description="share of hops by class, all glasses pooled"
    )
    cl_rotation_rate: Measured | None = Field(None, description="rotations per Cl and time [1/ns]")
    n_reference: int = Field(0, ge=0, description="cells run with the reference engine that are glasses")
    n_reference_refused: int = Field(
        0, ge=0, description="cells run with the reference engine that are refused"
    )
    reference_isolated_share: Measured | None = Field(None, description="their Al_iso, distance rule")
    reference_li_status: str | None = Field(None, description="their MSD status of Li, the weakest")
    reference_li_last_msd: Measured | None = Field(
        None, description="their MSD of Li at the longest lag [A^2]"
    )
    reference_li_last_lag: float | None = Field(None, description="their longest lag, the shortest [ps]")
    sources: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="keys of the documents behind this one, by collection"
    )
    uuids: tuple[str, ...] = Field((), description="jobs behind those documents")

    @staticmethod
    def key_of(campaign_id: str, composition_id: str) -> str:
        """Key of the summary of a composition in a campaign."""
        return digest_json([campaign_id, composition_id])
