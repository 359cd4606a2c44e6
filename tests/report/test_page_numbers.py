"""Tables of results and of all numbers on the page."""

from __future__ import annotations

import re

from lico_bench.report import formatting
from tests.report.page_outline import columns_of, numbers_of


def test_every_difference_is_on_the_page_with_all_that_belongs_to_it(page, content):
    lines = columns_of(page)
    wanted = [
        (content.method_title(row["method"]), formatting.title_with_arrow(spec),
         *formatting.difference(row["difference"], row["low"], row["high"], spec),
         formatting.effect(row["low"], row["high"], spec, row["q_value"]),
         formatting.p_value(row["q_value"]), row["num_images"], row["num_seeds"])
        for block in content.blocks
        for _, row in block.differences.iterrows()
        for spec in [content.specs[row["metric"]]]
    ]  # fmt: skip
    keys = ("method", "score", "difference", "interval", "effect", "q_value", "num_images",
            "num_seeds")  # fmt: skip
    found = [tuple(line[key] for key in keys) for line in lines if line["subset"] == "all"]
    assert sorted(found) == sorted(wanted)


def test_lines_of_the_table_lead_to_rules_and_models(page, outline):
    data = numbers_of(page)
    for key in ("score", "protocol", "models"):
        assert data["names"][key]
        for entry in data["names"][key]:
            assert entry["href"][1:] in outline.ids


def test_bold_and_signs_stand_where_the_corrected_p_value_is_small_and_nowhere_else(page, content):
    results = page[page.index('id="results"') : page.index('id="papers"')]
    p_values = [p for block in content.blocks for p in block.differences["q_value"]]
    significant = sum(formatting.is_significant(p) for p in p_values)
    assert 0 < significant < len(p_values)
    assert results.count('class="significant"') == significant
    assert len(re.findall('class="(better|worse)"', results)) == significant
