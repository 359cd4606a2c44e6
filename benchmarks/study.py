"""The tables of the published study in README.md and BENCHMARK.md, from `results/reference`.

Each stands between `<!-- study: NAME -->` and `<!-- end -->`. Their numbers are those of
`results/reference/report`, which `lico-bench report results/reference` makes of the published rows,
and, for the rules of other parties, of the rows under `results/reference/protocols`.

    uv run python benchmarks/study.py            # write them
    uv run python benchmarks/study.py --check    # exit 1 where they are not what the rows say
    uv run python benchmarks/study.py --figure   # draw the README's figure again, too
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from study_rows import MAIN, PRIMARY, PRIMARY_MAP
from study_tables import tables

from lico_bench.report.content import gather
from lico_bench.report.figures.canvas import drawing
from lico_bench.report.figures.forest import draw_forests
from lico_bench.store import RunFolder

REPOSITORY = Path(__file__).parent.parent
REFERENCE = REPOSITORY / "results" / "reference"
DOCUMENTS = ("README.md", "BENCHMARK.md")
FIGURE = REFERENCE / "first_study.png"


def figure(folder: Path) -> bytes:
    """The arms' differences on the primary dataset in one number, as PNG."""
    content = gather(RunFolder(folder))
    shown = replace(
        content,
        blocks=tuple(block for block in content.blocks if block.dataset == PRIMARY),
        specs={MAIN: content.specs[MAIN]},
    )
    with drawing():
        plots = {plot.name: plot for plot in draw_forests(shown)}
    return plots[f"forest_{PRIMARY_MAP}"].png


def put_in(text: str, found: Mapping[str, str]) -> str:
    """The document with each of its tables replaced.

    Raises:
        KeyError: for a table that the study does not have.
    """
    return re.sub(
        r"<!-- study: (\w+) -->\n.*?<!-- end -->",
        lambda place: f"<!-- study: {place[1]} -->\n{found[place[1]]}\n<!-- end -->",
        text,
        flags=re.DOTALL,
    )


def main() -> int:
    """Write the tables, or compare them with what is written."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    parser.add_argument("--figure", action="store_true", help="draw the README's figure, too")
    requested = parser.parse_args()
    is_check = requested.check
    if requested.figure:
        FIGURE.write_bytes(figure(REFERENCE))
    found, is_same = tables(REFERENCE), True
    for name in DOCUMENTS:
        path = REPOSITORY / name
        before = path.read_text(encoding="utf-8")
        after = put_in(before, found)
        is_same &= before == after
        if before != after:
            print(f"{name}: {'not what the rows say' if is_check else 'written'}")
            if not is_check:
                path.write_text(after, encoding="utf-8")
    return 0 if is_same or not is_check else 1


if __name__ == "__main__":
    sys.exit(main())
