"""Pages, images and the notebook of the repository that the site shows as well, for mkdocs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter

REPOSITORY = Path(__file__).parent.parent
FROM_REPOSITORY = {
    "BENCHMARK.md": "protocol.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "examples/quickstart.ipynb": "notebook.md",
    "results/reference/first_study.png": "first_study.png",
    "benchmarks/screenshots/verdicts.png": "verdicts.png",
    "benchmarks/screenshots/results.png": "results.png",
    "benchmarks/screenshots/gallery.png": "gallery.png",
}


def on_files(files: Files, *, config: Any) -> Files:
    """Add the files of the repository."""
    for source, name in FROM_REPOSITORY.items():
        path = REPOSITORY / source
        if path.suffix == ".md":
            text = path.read_text(encoding="utf-8").replace("](docs/", "](")
            files.append(File.generated(config, name, content=text))
        elif path.suffix == ".ipynb":
            for part, content in notebook_files(path, name):
                files.append(File.generated(config, part, content=content))
        else:
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def notebook_files(path: Path, name: str) -> Iterator[tuple[str, str | bytes]]:
    """Yield name and content of the page of a notebook, as it was run last, and of its images."""
    text, resources = MarkdownExporter().from_filename(str(path))
    text = re.sub(r"<style.*?</style>\n", "", text, flags=re.DOTALL)
    text = text.replace(' border="1" class="dataframe"', "").replace("](../docs/", "](")
    yield name, text
    yield from resources["outputs"].items()


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Turn links to these files, which lead out of `docs/`, into links within the site."""
    up = "../" * page.file.src_uri.count("/")
    for source, name in FROM_REPOSITORY.items():
        markdown = markdown.replace(f"](../{up}{source}", f"]({up}{name}")
    return markdown
