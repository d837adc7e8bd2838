"""Documents of production: the glass, and what one production job returns."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from laoc_flows.blobs import BlobRef
from laoc_flows.schemas.base import Document, Measured, Model, Provenance
from laoc_flows.schemas.label import MeltRecord, StageRecord
from laoc_flows.schemas.transport import TransportDocument


class GlassStatus(StrEnum):
    """Whether a cell may be called a glass."""

    GLASS = "glass"
    REACTED = "refused: reacted"
    COLLAPSED = "refused: collapsed"
    NOT_MELTED = "refused: not melted"
    STOPPED = "refused: run stopped"
    SUM_RULE = "refused: sum rule violated"


class LinkBalance(Model):
    """Both sides of the link sum rule, exact for any structure (per cell)."""

    links: int = Field(description="sum over anions of max(c_a - 1, 0), c_a the Al bonded to anion a")
    coordination_minus_bound: int = Field(description="sum of Al coordination numbers minus bound anions")
    n_free_anions: int = Field(description="anions bonded to no Al")

    @property
    def closes(self) -> bool:
        """Whether both sides agree."""
        return self.links == self.coordination_minus_bound


class ChainSummary(Model):
    """Al chains of one rule, averaged over the analyzed frames."""

    rule: str = Field(description="'distance' (Al-Al < cutoff) or 'bridge' (a shared anion)")
    cutoff: float | None = Field(description="Al-Al cutoff of the distance rule [A]")
    isolated_share: Measured = Field(description="share of Al in components of one")
    number_weighted: dict[str, float] = Field(description="n_N / sum n_N by chain length N, all frames")
    al_weighted: dict[str, float] = Field(description="N n_N / N_Al by chain length N, all frames")
    max_dimension: int = Field(ge=0, le=3, description="largest periodic dimension of a component")
    number_average: Measured | None = Field(None, description="Al per chain, sum N n_N / sum n_N")
    weight_average: Measured | None = Field(None, description="Al-weighted length, sum N^2 n_N / N_Al")
    percolating_share: Measured | None = Field(None, description="share of Al in percolating chains")


class PairCorrelation(Model):
    """First peak and coordination of one g(r), with the curve itself as a blob."""

    peak: float | None = Field(description="position of the first peak [A]")
    minimum: float | None = Field(description="position of the first minimum after it [A]")
    coordination: float | None = Field(description="neighbors up to the bond cutoff (4.2 A for Al-Al) [1]")
    cutoff: float = Field(description="distance up to which they are counted [A]")


class StructureDocument(Document):
    """A cell that was melted and quenched: a glass, or the reason why it is not one."""

    schema_name: str = "structure"
    provenance: Provenance = Field(description="composition, stage and replica")
    status: GlassStatus = Field(description="glass, or why it is refused")
    reason: str = Field("", description="numbers behind a refusal")
    level_of_theory: str = Field(description="identity of the engine or potential that made it")
    potential_key: str | None = Field(description="potential that made it, None for the reference engine")
    formula: str = Field(description="cell formula, for example 'Li16Al16O12Cl40'")
    n_atoms: int = Field(ge=1, description="atoms in the cell")
    x: float = Field(description="Li per Al")
    y: float = Field(description="O per Al")
    links_expected: float = Field(description="lambda = 1 - x + y, links per Al of the ideal network")
    structure: BlobRef = Field(description="last frame, extended XYZ")
    melt_displacement: dict[str, float] = Field(description="mean squared displacement in the melt [A^2]")
    melt: MeltRecord | None = Field(None, description="state before the quench; None where there was no melt")
    quench_rate: Measured | None = Field(None, description="cooling rate really achieved")
    stages: tuple[StageRecord, ...] = Field((), description="what each stage of the run has really done")
    profile: BlobRef | None = Field(
        None,
        description="JSON of the run over time: time [ps], temperature [K], pressure [GPa], volume [A^3]",
    )
    warnings: tuple[str, ...] = Field(
        (),
        description="what does not refuse the cell and has to be known: a pressure that was not reached, ...",
    )
    density: Measured | None = Field(None, description="mass density of the constant-pressure run")
    pressure: Measured | None = Field(None, description="total pressure of the constant-volume run")
    links_found: Measured | None = Field(None, description="links per Al found")
    balance: LinkBalance | None = Field(None, description="link sum rule of the last frame")
    tetrahedra: dict[str, Measured] = Field(
        default_factory=dict, description="share of Al by type, over all Al"
    )
    coordination: dict[str, Measured] = Field(
        default_factory=dict,
        description="bonds of an Al with O and with Cl, and Q0, Q1, ...: shares of Al by bridges",
    )
    links_by_kind: dict[str, int] = Field(
        default_factory=dict, description="corner, edge and face links of the last frame"
    )
    rings: dict[str, int] = Field(default_factory=dict, description="rings of the last frame by number of Al")
    bridge_angle: float | None = Field(None, description="mean Al-X-Al angle of the last frame [deg]")
    mixing: Measured | None = Field(
        None, description="order of isolated and chain Al within 8 A: 0 for chance, 1 for segregation"
    )
    chains: tuple[ChainSummary, ...] = Field((), description="Al chains by both rules")
    pair_correlations: dict[str, PairCorrelation] = Field(
        default_factory=dict, description="by pair, 'Al-Cl'"
    )
    curves: BlobRef | None = Field(None, description="g(r) curves, JSON: r [A], g by pair")


class ProductionResult(Model):
    """What one production job returns."""

    structure: StructureDocument
    transport: TransportDocument | None
