"""Update the tables of the published study in README.md and docs/study.md.

Each table is between `<!-- study: NAME -->` and `<!-- end -->`. The numbers are from
`results/reference/report`, which `lico-bench report results/reference` computes from the published
rows, and, for other protocols, from the rows under `results/reference/protocols`.

    uv run python benchmarks/study.py            # write the tables
    uv run python benchmarks/study.py --check    # exit 1 if a table differs from the rows
    uv run python benchmarks/study.py --figure   # also draw the README's figure
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

from lico_bench.report.figures.canvas import plot_style
from lico_bench.report.figures.forest import draw_forests
from lico_bench.report.gathering import gather
from lico_bench.store import RunFolder

REPOSITORY = Path(__file__).parent.parent
REFERENCE = REPOSITORY / "results" / "reference"
DOCUMENTS = ("README.md", "docs/study.md")
FIGURE = REFERENCE / "first_study.png"


def figure(folder: Path) -> bytes:
    """Draw the differences of the arms on the primary dataset in the main metric, as PNG."""
    content = gather(RunFolder(folder))
    shown = replace(
        content,
        blocks=tuple(block for block in content.blocks if block.dataset == PRIMARY),
        specs={MAIN: content.specs[MAIN]},
    )
    with plot_style():
        plots = {plot.name: plot for plot in draw_forests(shown)}
    return plots[f"forest_{PRIMARY_MAP}"].png


def replace_tables(text: str, found: Mapping[str, str]) -> str:
    """Return the document with all tables replaced.

    Raises:
        KeyError: for a table that the study does not have.
    """
    return re.sub(
        r"<!-- study: (\w+) -->\n.*?<!-- end -->",
        lambda match: f"<!-- study: {match[1]} -->\n{found[match[1]]}\n<!-- end -->",
        text,
        flags=re.DOTALL,
    )


def documents(found: Mapping[str, str]) -> dict[str, str]:
    """Return the documents by name, with all tables replaced.

    Raises:
        KeyError: for a table that the study does not have.
        ValueError: for a table that no document shows.
    """
    texts = {
        name: replace_tables((REPOSITORY / name).read_text(encoding="utf-8"), found)
        for name in DOCUMENTS
    }
    shown = set(re.findall(r"<!-- study: (\w+) -->", "".join(texts.values())))
    if missing := sorted(set(found) - shown):
        raise ValueError(f"no document shows {', '.join(missing)}; add <!-- study: NAME -->")
    return texts


def main() -> int:
    """Write the tables, or compare them with the documents."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    parser.add_argument("--figure", action="store_true", help="also draw the README's figure")
    args = parser.parse_args()
    is_check = args.check
    if args.figure:
        FIGURE.write_bytes(figure(REFERENCE))
    is_same = True
    for name, after in documents(tables(REFERENCE)).items():
        path = REPOSITORY / name
        before = path.read_text(encoding="utf-8")
        is_same &= before == after
        if before != after:
            print(f"{name}: {'differs from the rows' if is_check else 'written'}")
            if not is_check:
                path.write_text(after, encoding="utf-8")
    return 0 if is_same or not is_check else 1


if __name__ == "__main__":
    sys.exit(main())
