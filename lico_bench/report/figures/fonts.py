"""A subset of the plots' font, with which saving a PDF takes a third of the time.

For every PDF, matplotlib parses the whole font (750 kB) to embed the used glyphs. The subset of
DejaVu has the same outlines for Latin, Greek and mathematical characters; other characters fall
back to the full font. The subset is renamed because the font's licence requires it for modified
versions.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

FULL_FONT, SUBSET_FONT = "DejaVu Sans", "Plot Sans"
CODE_POINTS = (
    range(0x20, 0x250),  # Latin
    range(0x370, 0x400),  # Greek
    range(0x2000, 0x2300),  # dashes, quotes, arrows, mathematical operators
)

_folder: tempfile.TemporaryDirectory[str] | None = None  # kept until the process ends


def write_font_subset(full_path: Path) -> Path:
    """Write the subset of a font file to a temporary folder that exists until the process ends."""
    from fontTools.subset import Options, Subsetter
    from fontTools.ttLib import TTFont

    global _folder
    _folder = _folder or tempfile.TemporaryDirectory(prefix="lico-bench-fonts-")
    font = TTFont(full_path, recalcTimestamp=False)  # equal figures must give equal PDFs
    # Keep kerning and ligatures, so that text looks the same as with the full font.
    options = Options(layout_features=["*"], name_IDs=["*"], glyph_names=True)
    options.drop_tables += ["FFTM"]  # holds the date at which the font was built
    subsetter = Subsetter(options)
    subsetter.populate(unicodes=[code for codes in CODE_POINTS for code in codes])
    subsetter.subset(font)
    for record in font["name"].names:
        record.string = (
            record.toUnicode().replace(FULL_FONT, SUBSET_FONT).replace("DejaVuSans", "PlotSans")
        )
    path = Path(_folder.name) / full_path.name
    font.save(path)
    return path
