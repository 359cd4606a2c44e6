"""The picture of the layers of the package."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def draw_layers(lines: Sequence[Sequence[str]], without_torch: Collection[str]) -> str:
    """Return an SVG with a row of boxes per layer, the lowest layer first."""
    height, gap, box = 34, 10, 150
    width = 50 + max(len(names) for names in lines) * (box + gap)
    parts = []
    for level, names in enumerate(lines):
        top = 20 + level * (height + gap)
        left = (width - 40 - len(names) * box - (len(names) - 1) * gap) / 2
        for place, name in enumerate(names):
            x = left + place * (box + gap)
            kind = "rows" if name in without_torch else "torch"
            parts.append(
                f'<rect class="{kind}" x="{x:g}" y="{top}" width="{box}" height="{height}" rx="5"/>'
            )
            parts.append(f'<text x="{x + box / 2:g}" y="{top + 22}">{name}</text>')
    bottom = 20 + len(lines) * (height + gap)
    total = bottom + 40
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {total}" role="img">
<title>Layers of lico_bench: a package imports only packages above its own line</title>
<style>
text {{ font: 15px sans-serif; text-anchor: middle; fill: #1b2733 }}
rect {{ stroke: #5b6b7b }}
.page {{ fill: #fff; stroke: none }} .torch {{ fill: #ffe2c2 }} .rows {{ fill: #d5e8f8 }}
path {{ stroke: #5b6b7b; stroke-width: 2; fill: none }}
</style>
<rect class="page" width="{width}" height="{total}"/>
{chr(10).join(parts)}
<path d="M {width - 30} {bottom - 12} V 24 m -6 10 l 6 -10 l 6 10"/>
<text transform="translate({width - 12} {bottom / 2:g}) rotate(-90)">may import</text>
<rect class="torch" x="150" y="{bottom + 8}" width="16" height="16"/>
<text x="225" y="{bottom + 21}">may use torch</text>
<rect class="rows" x="310" y="{bottom + 8}" width="16" height="16"/>
<text x="388" y="{bottom + 21}">without torch</text>
</svg>
"""
