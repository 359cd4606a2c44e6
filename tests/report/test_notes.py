"""What a report says before any number."""

from __future__ import annotations

import io

import pandas as pd
import pytest
from fake_run import make_run
from rich.console import Console

from lico_bench.report import gather, show_summary
from lico_bench.report.page.render import render_page
from lico_bench.store import read_parquet, write_parquet
from tests.manifests import change_manifest


def with_cosines(run, cosines: dict[str, float]):
    """The run with these channel cosines in the last epoch, by arm; in the first all are low."""
    for cell in run.manifest().cells:
        path = run.cell(cell.key).table("history")
        rows = [(1, 0.2), (15, cosines[cell.recipe.arm])]
        added = pd.DataFrame(
            {"epoch": epoch, "quantity": "channel_cosine", "value": value, "cell": cell.key}
            for epoch, value in rows
        )
        write_parquet(path, pd.concat([read_parquet(path), added], ignore_index=True))
    return run


def with_manifest(run, change):
    change_manifest(run, change)
    return run


def printed(content) -> str:
    console = Console(width=400, file=io.StringIO())
    console.print(show_summary(content))
    return console.file.getvalue()


def test_collapsed_channels_are_the_first_line_with_the_option_that_prevents_it(tmp_path):
    run = with_cosines(make_run(tmp_path / "run"), {"baseline": 0.33, "lico": 0.96})
    content = gather(run)
    first = printed(content).splitlines()[0]
    assert first == content.headlines[0]
    assert first.startswith("Transport collapsed the channels of LICO on cifar10 (cosine 0.96")
    assert "cub200 (cosine 0.96 against 0.33" in first
    assert "--set objective.beta=0.1" in first
    assert first.replace(">", "&gt;") in render_page(content, [], [])


@pytest.mark.slow
def test_a_smaller_weight_than_the_one_that_was_used_is_named(tmp_path):
    def weaken(manifest):
        for cell in manifest["cells"]:
            cell["options"] = {"beta": 0.1 if cell["recipe"]["arm"] == "lico" else 0.0}

    run = with_cosines(make_run(tmp_path / "run"), {"baseline": 0.33, "lico": 0.96})
    with_manifest(run, weaken)
    assert "--set objective.beta=0.01" in gather(run).headlines[0]


@pytest.mark.parametrize(
    "cosines", [{"baseline": 0.33, "lico": 0.5}, {"baseline": 0.6, "lico": 0.7}]
)
@pytest.mark.slow
def test_channels_that_stay_apart_are_not_told(tmp_path, cosines):
    assert not gather(with_cosines(make_run(tmp_path / "run"), cosines)).headlines


def test_an_arm_without_transport_is_not_told(tmp_path):
    run = with_cosines(make_run(tmp_path / "run"), {"baseline": 0.3, "lico": 0.95})

    def no_transport(manifest):
        for cell in manifest["cells"]:
            cell["options"] = {"beta": 0.0}

    assert not gather(with_manifest(run, no_transport)).headlines


def test_a_run_as_published_says_so(tmp_path):
    def published(manifest):
        manifest["suite"]["as_published"] = True

    content = gather(with_manifest(make_run(tmp_path / "run"), published))
    assert content.headlines == ("Weights of the losses: as published (--as-published).",)


@pytest.mark.slow
def test_options_that_are_not_the_arms_own_are_named(tmp_path):
    def tuned(manifest):
        for cell in manifest["cells"]:
            if cell["recipe"]["arm"] == "lico":
                cell["recipe"]["objective"] = [["beta", 0.1], ["text_every", 4]]

    (message,) = gather(with_manifest(make_run(tmp_path / "run"), tuned)).headlines
    assert "LICO beta 0.1, text_every 4" in message
    assert "--as-published" in message
