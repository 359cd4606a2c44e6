"""Make the plots' fonts in `lico_bench/report/figures/plot_fonts/` from matplotlib's DejaVu Sans.

A PDF embeds the glyphs that it shows. To find them, matplotlib parses the whole font, 750 kB, for
every PDF. These fonts hold Latin, Greek and mathematical signs only, with the same outlines, hints,
kerning and ligatures; other signs fall back to the whole font. They have another name, as the
licence requires of a changed font (LICENSE_DEJAVU beside them).
"""

from __future__ import annotations

import shutil
from pathlib import Path

import matplotlib as mpl
from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont

SOURCE = Path(mpl.get_data_path()) / "fonts" / "ttf"
FOLDER = Path(__file__).parents[1] / "lico_bench" / "report" / "figures" / "plot_fonts"
SIGNS = (
    range(0x20, 0x250),  # Latin
    range(0x370, 0x400),  # Greek
    range(0x2000, 0x2300),  # dashes, quotes, arrows, mathematical operators
)


def make_light(whole: Path, path: Path) -> None:
    """Write the light form of the font file `whole`."""
    font = TTFont(whole, recalcTimestamp=False)
    # Kerning and ligatures stay, or texts would look different.
    options = Options(layout_features=["*"], name_IDs=["*"], glyph_names=True)
    options.drop_tables += ["FFTM"]  # dates of the font's making
    subsetter = Subsetter(options)
    subsetter.populate(unicodes=[sign for signs in SIGNS for sign in signs])
    subsetter.subset(font)
    for record in font["name"].names:
        text = record.toUnicode()
        record.string = text.replace("DejaVu Sans", "Plot Sans").replace("DejaVuSans", "PlotSans")
    font.save(path)


def main() -> None:
    """Write both weights and the licence."""
    FOLDER.mkdir(exist_ok=True)
    for weight in ("", "-Bold"):
        make_light(SOURCE / f"DejaVuSans{weight}.ttf", FOLDER / f"PlotSans{weight}.ttf")
    shutil.copy(SOURCE / "LICENSE_DEJAVU", FOLDER)


if __name__ == "__main__":
    main()
