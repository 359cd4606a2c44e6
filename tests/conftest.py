"""Where the real samples are, and one thread per test so that two runs do not fight."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import settings

# The same examples every time: a change is judged by what it changed. Other ones are searched for
# with `--hypothesis-profile default`.
settings.register_profile("fixed", derandomize=True)
settings.load_profile("fixed")

# Before torch is imported: two processes of two threads each are slower than one after the other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Container images set it; each of the hundreds of processes that the tests start would then compile
# the 3,700 sources behind `import torch` again, for twelve seconds on a plain processor.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the real samples; the test is skipped where there is none."""
    folder = Path(os.environ.get("LICO_BENCH_DATA") or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip("no real samples: set LICO_BENCH_DATA to the folder that holds the datasets")
    return folder


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that makes a folder once for all processes of the session."""
    base = tmp_path_factory.getbasetemp()
    # Processes of pytest-xdist have folders of their own in a common one.
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "made_once"
    shared.mkdir(exist_ok=True)

    def make(name: str, build: Callable[[Path], object]) -> Path:
        with FileLock(shared / f"{name}.lock"):
            if not (shared / f"{name}.done").exists():
                build(shared / name)
                (shared / f"{name}.done").touch()
        return shared / name

    return make


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test in an empty folder and without the caller's data root."""
    monkeypatch.delenv("LICO_BENCH_DATA", raising=False)
    monkeypatch.chdir(tmp_path)


DRAWN: dict[str, Any] = {}


@pytest.fixture(autouse=True)
def _scenes_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the stand-ins between tests: drawing takes seconds. Tests of the data draw them anew."""
    from lico_bench.data import loading

    draw_scenes = loading.draw_scenes

    def draw(*args: Any, **options: Any) -> Any:
        key = repr((args, options))
        if key not in DRAWN:
            DRAWN[key] = draw_scenes(*args, **options)
        return DRAWN[key]

    monkeypatch.setattr(loading, "draw_scenes", draw)
