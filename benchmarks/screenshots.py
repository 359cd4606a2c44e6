"""Take screenshots of a report for the README.

    uv run python benchmarks/screenshots.py RUN --out FOLDER

opens RUN/report/report.html in the system's Chromium, at the width of a desktop and of a phone. The
images are stored with a palette, which halves their size without visible change.
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from playwright.sync_api import Page, sync_playwright

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
DESK, PHONE = 1200, 390


class Shot(NamedTuple):
    """A screenshot: file name, id of the element at its top, width and height."""

    name: str
    top: str
    width: int
    height: int


SHOTS = (
    Shot("verdicts", "claims", DESK, 820),
    Shot("results", "results-0", DESK, 640),
    Shot("published", "papers", DESK, 720),
    Shot("numbers", "table", DESK, 720),
    Shot("gallery", "gallery", DESK, 820),
    Shot("phone", "results-0", PHONE, 820),
)


def take_shots(html: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the file name and PNG of each screenshot."""
    executable = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if executable is None:
        sys.exit(f"no Chromium found (looked for {', '.join(CHROMIUM)}); install one")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(html.resolve().as_uri())
        for shot in SHOTS:
            yield f"{shot.name}.png", _few_colours(_take(page, shot))
        browser.close()


def _take(page: Page, shot: Shot) -> bytes:
    page.set_viewport_size({"width": shot.width, "height": shot.height})
    page.evaluate("name => document.getElementById(name).scrollIntoView()", shot.top)
    # Images are loaded lazily when they become visible.
    page.wait_for_timeout(300)
    return page.screenshot()


def _few_colours(png: bytes) -> bytes:
    stream = io.BytesIO()
    with Image.open(io.BytesIO(png)) as opened:
        opened.convert("RGB").quantize(method=Image.Quantize.FASTOCTREE).save(
            stream, format="PNG", optimize=True
        )
    return stream.getvalue()


def main() -> None:
    """Take the screenshots of a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    html = args.run / "report" / "report.html"
    if not html.is_file():
        sys.exit(f"{html} is not there; make it with `lico-bench report {args.run}`")
    args.out.mkdir(parents=True, exist_ok=True)
    for name, png in take_shots(html):
        (args.out / name).write_bytes(png)
        print(f"{args.out / name}  {len(png) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
