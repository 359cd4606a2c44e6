"""The plots' font without the scripts that plots rarely hold: PDFs take a third of the time.

A PDF embeds the glyphs that it shows, for which all of a font is read and taken apart, 750 kB of it
and for every file anew. What is made of DejaVu here has the same outlines for Latin, Greek and
mathematical signs; any other sign falls back to the whole font. It has a name of its own, as the
font's licence asks of what is changed.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

WHOLE, LIGHT = "DejaVu Sans", "Plot Sans"
SIGNS = (
    range(0x20, 0x250),  # Latin
    range(0x370, 0x400),  # Greek
    range(0x2000, 0x2300),  # dashes, quotes, arrows, mathematical operators
)

_folder: tempfile.TemporaryDirectory[str] | None = None  # read from as long as the process draws


def write_light(whole: Path) -> Path:
    """The light form of the font file `whole`, in a place that is there until the process ends."""
    from fontTools.subset import Options, Subsetter
    from fontTools.ttLib import TTFont

    global _folder
    _folder = _folder or tempfile.TemporaryDirectory(prefix="lico-bench-fonts-")
    font = TTFont(whole, recalcTimestamp=False)  # or no two PDFs would be equal
    # Kerning and ligatures stay, or texts would be set otherwise.
    options = Options(layout_features=["*"], name_IDs=["*"], glyph_names=True)
    options.drop_tables += ["FFTM"]  # dates of the font's making
    subsetter = Subsetter(options)
    subsetter.populate(unicodes=[sign for signs in SIGNS for sign in signs])
    subsetter.subset(font)
    for record in font["name"].names:
        record.string = record.toUnicode().replace(WHOLE, LIGHT).replace("DejaVuSans", "PlotSans")
    path = Path(_folder.name) / whole.name
    font.save(path)
    return path
