"""Where on the page the rules and the trained models behind a number are told.

Identifiers are counted, never made of names: a name may hold anything.
"""

from __future__ import annotations

from dataclasses import dataclass

from lico_bench.report.content import SETTING, ReportContent


@dataclass(frozen=True)
class Anchors:
    """Identifiers of the parts of the page.

    Attributes:
        protocols: of each protocol's rules.
        scores: of each metric's definition.
        settings: number of each dataset, source, backbone and label budget.
        arms: number of each arm.
    """

    protocols: dict[str, str]
    scores: dict[str, str]
    settings: dict[tuple[str, ...], int]
    arms: dict[str, int]

    def rules(self, protocol: str, metric: str) -> str:
        """What decides a number: its protocol, or where it has none the metric's definition."""
        return self.protocols.get(protocol) or self.scores.get(metric) or "provenance"

    def models(self, setting: tuple[str, ...], arm: str | None = None) -> str:
        """The trained models of a setting, or those of one arm in it."""
        if setting not in self.settings:
            return "models"
        name = f"models-{self.settings[setting]}"
        return name if arm is None or arm not in self.arms else f"{name}-{self.arms[arm]}"


def anchor_ids(content: ReportContent) -> Anchors:
    """The identifiers of everything that a number of the content may point at."""
    found = sorted(str(name) for name in content.rows["protocol"].unique() if name)
    return Anchors(
        protocols={name: f"protocol-{number}" for number, name in enumerate(found)},
        scores={name: f"score-{number}" for number, name in enumerate(content.specs)},
        settings={
            tuple(getattr(block, name) for name in SETTING): number
            for number, block in enumerate(content.blocks)
        },
        arms={arm: number for number, arm in enumerate(content.arms)},
    )
