"""Identifiers of page elements that numbers link to: protocols, metrics and trained models.

Identifiers are numbered, not derived from names, because a name may contain any character.
"""

from __future__ import annotations

from dataclasses import dataclass

from lico_bench.report.content import SETTING, ReportContent


@dataclass(frozen=True)
class Anchors:
    """Identifiers of page elements.

    Attributes:
        protocols: identifier of each protocol's rules.
        scores: identifier of each metric's definition.
        settings: number of each dataset, source, backbone and label budget.
        arms: number of each arm.
    """

    protocols: dict[str, str]
    scores: dict[str, str]
    settings: dict[tuple[str, ...], int]
    arms: dict[str, int]

    def rules(self, protocol: str, metric: str) -> str:
        """Return the identifier of a score's protocol, or of its metric if it has no protocol."""
        return self.protocols.get(protocol) or self.scores.get(metric) or "provenance"

    def models(self, setting: tuple[str, ...], arm: str | None = None) -> str:
        """Return the identifier of the trained models of a setting, or of one arm in it."""
        if setting not in self.settings:
            return "models"
        name = f"models-{self.settings[setting]}"
        return name if arm is None or arm not in self.arms else f"{name}-{self.arms[arm]}"


def anchor_ids(content: ReportContent) -> Anchors:
    """Return the identifiers of all link targets of the content."""
    protocols = sorted(str(name) for name in content.rows["protocol"].unique() if name)
    return Anchors(
        protocols={name: f"protocol-{number}" for number, name in enumerate(protocols)},
        scores={name: f"score-{number}" for number, name in enumerate(content.specs)},
        settings={
            tuple(getattr(block, name) for name in SETTING): number
            for number, block in enumerate(content.blocks)
        },
        arms={arm: number for number, arm in enumerate(content.arms)},
    )
