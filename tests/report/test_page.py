from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from lico_bench.claims import Claim, ClaimVerdict, Evidence
from lico_bench.report.gathering import gather
from lico_bench.report.page import OUTCOMES, TEMPLATES, render_page
from lico_bench.store.run_records import ArmRecord
from tests.report.fake_run import make_run
from tests.report.page_outline import numbers_of, outline_of

ATTACK = '"><script>alert(1)</script><img src=x onerror=alert(1)>'
READABLE = 4.5  # to 1, WCAG 2.1 AA for text of any size
SECTIONS = ["claims", "results", "papers", "table", "figures", "gallery", "provenance"]


def test_the_head_tells_arms_apart(small):
    assert "arms: Baseline · LICO · lico_mm; started" in render_page(small, [], [])


def verdict(outcome, **changes):
    claim = Claim(
        id=f"claim_{outcome}", title=f"Title of {outcome}", statement="LICO classifies better.",
        source="NeurIPS 2023", arm="lico", reference_arm="baseline", metric="insertion",
        direction="better", smallest_effect=0.01,
    )  # fmt: skip
    evidence = Evidence(
        "cifar10", "real", "wrn_10_2", "full", "grad_cam", outcome, "because of it",
        gain=0.0321, low=0.021, high=0.043, p_value=0.0002, p_corrected=0.0004, p_equivalent=0.9,
        num_images=40, num_seeds=1, protocol="lico_bench_1@1a2b3c4d",
    )  # fmt: skip
    facts = {"sentence": f"the sentence of {outcome}", "evidence": (evidence,)} | changes
    return ClaimVerdict(claim, outcome, **facts)


def test_tags_nest_and_images_and_controls_have_names(outline):
    assert outline.faults == []
    assert outline.open == []
    assert len(outline.ids) == len(set(outline.ids))
    assert set(outline.unlabelled) <= set(outline.labelled)


def test_nothing_is_loaded_from_outside_and_every_link_leads_somewhere(page, outline, report):
    for link in outline.links:
        if link.startswith("data:"):
            continue
        if link.startswith("#"):
            assert link[1:] in outline.ids
        else:
            assert (report.folder / link).is_file(), link
    assert not re.search(r"https?://|@import|url\((?!data:image/)", page)


def test_verdicts_come_first_and_every_section_can_be_reached(page, outline):
    sections = re.findall(r'<section id="(\w+)"', page)
    assert sections == SECTIONS
    assert {f"#{name}" for name in SECTIONS} <= set(outline.links)


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_a_verdict_is_told_in_word_sign_and_sentence_with_its_evidence(small, outcome):
    page = render_page(replace(small, claims=(verdict(outcome),)), [], [])
    claims = page[page.index('id="claims"') : page.index('id="results"')]
    sign, word = OUTCOMES[outcome]
    for message in (
        sign,
        word,
        f"Title of {outcome}",
        "Because of it.",
        "+0.032",
        "[+0.021, +0.043]",
    ):
        assert message in claims
    for message in ("&lt; 0.001", "0.900", "40 × 1", "lico_bench_1@1a2b3c4d", "CIFAR-10", "REAL"):
        assert message in claims
    assert "1 " + word.lower() in claims


def test_evidence_of_a_metric_that_the_run_lacks_is_told_without_numbers(small):
    lacking = replace(
        verdict("not_tested").evidence[0], gain=None, low=None, high=None, p_value=None,
        p_corrected=None, p_equivalent=None, num_images=0, num_seeds=0, protocol="",
    )  # fmt: skip
    message = verdict(
        "not_tested", evidence=(lacking,), sentence="not tested: run `lico-bench run`"
    )
    message = replace(
        message, claim=replace(message.claim, metric="no_such_metric", arm="lico_unknown")
    )
    page = render_page(replace(small, claims=(message,)), [], [])
    claims = page[page.index('id="claims"') : page.index('id="results"')]
    assert "Run <code>lico-bench run</code>." in claims
    assert "lico_unknown against Baseline on no such metric" in claims
    assert not re.search(r"\bnan\b|None", claims)
    assert outline_of(page).faults == []


def test_standins_are_called_so_before_any_number(page):
    body = page[page.index("<body>") :]
    assert body.index("STAND-IN") < body.index("<table")
    assert "<strong>synthetic</strong>" in body
    assert body.count('<span class="tag">STAND-IN</span>') > 5
    standins = [one for one in numbers_of(page)["names"]["dataset"] if "stand-in" in one["text"]]
    assert standins
    assert all(one["tag"] == "STAND-IN" for one in standins)


def test_page_of_real_data_carries_no_such_label(small):
    page = render_page(small, [], [])
    body = page[page.index("<body>") :]
    assert '<span class="tag">' not in body
    assert {one["tag"] for one in numbers_of(page)["names"]["dataset"]} == {""}


def test_names_cannot_become_markup(small, small_run, tmp_path):
    whole = small.manifest
    names = {"title": ATTACK, "class_names": (ATTACK,), "notes": (ATTACK,), "fingerprint": ATTACK}
    cell = whole.cells[0]
    manifest = replace(
        whole,
        suite=replace(whole.suite, name=ATTACK),
        datasets=whole.datasets | {"cifar10": replace(whole.datasets["cifar10"], **names)},
        arms=whole.arms | {"lico": ArmRecord(title=ATTACK, summary=ATTACK, source=ATTACK)},
        methods=whole.methods | {"grad_cam": replace(whole.methods["grad_cam"], title=ATTACK)},
        versions={ATTACK: ATTACK},
        cells=(replace(cell, recipe=replace(cell.recipe, labels=ATTACK)), *whole.cells[1:]),
    )
    hostile = replace(
        small,
        manifest=manifest,
        blocks=tuple(replace(block, title=ATTACK, data=ATTACK) for block in small.blocks),
        notes=(ATTACK,),
        claims=(verdict("improvement", sentence=ATTACK),),
    )
    page = render_page(hostile, [], [])
    assert ATTACK not in page
    assert "<script>alert" not in page
    outline = outline_of(page)
    assert outline.faults == []
    assert outline.tags.count("script") == 2
    assert "x" not in outline.links
    assert numbers_of(page)["names"]["dataset"][0]["text"] == ATTACK


def test_hostile_class_names_of_the_gallery_are_text(page):
    assert "<b>bird</b>" not in page
    assert "50% &lt;b&gt;bird&lt;/b&gt;" in page


def test_page_tells_protocol_versions_and_recipes(page):
    plain = re.sub(r"<[^>]+>", " ", page)
    for words in (
        "lico_bench_1@1a2b3c4d", "torch 2.15.0", "learning_rate  0.3", "1,234,567 parameters",
        "encoder.sha256 = 53aa"
    ):  # fmt: skip
        assert words in plain


def test_page_of_one_arm_shows_means(tmp_path):
    run = make_run(tmp_path / "run", arms=("lico",), datasets={"cifar10": "real"})
    page = render_page(gather(run), [], [])
    assert outline_of(page).faults == []
    assert "One arm" in page
    assert "Difference," not in page
    assert {column["key"] for column in numbers_of(page)["columns"]}.isdisjoint(
        {"difference", "reference", "q_value", "effect"}
    )


def test_several_arms_stand_side_by_side_and_can_be_chosen_in_the_gallery(small):
    page = render_page(small, [], [])
    results = page[page.index('id="results"') : page.index('id="papers"')]
    assert results.count('="LICO, difference"') == results.count('="lico_mm, difference"') > 4
    assert 'id="left-arm"' in page
    assert 'id="right-arm"' in page


def test_each_image_is_carried_once_though_every_arm_shows_it(small):
    page = render_page(small, [], [])
    images = re.findall(r"url\((data:image/[^)]+)\)", page)
    assert len(images) == len(set(images)) > 3
    used = set(re.findall(r'class="image (p\d+)"', page))
    assert len(used) == len(images)
    assert page.count('class="heat"') == 3 * len(images)


def test_the_words_of_the_learned_context_stand_with_their_model(page):
    trained = page[page.index('id="models"') :]
    shown = re.findall(r"<li>(&lt;word \d&gt; \(0\.25\))</li>", trained)
    assert len(shown) == 3 * trained.count("learned context token")
    assert shown


def luminance(colour):
    """Relative luminance of `#rrggbb` (WCAG 2.1)."""
    parts = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_colours_of_text_can_be_read_on_their_ground(scheme):
    css = (TEMPLATES / "style.css").read_text()
    declared = re.findall(r":root \{(.*?)\}", css, re.DOTALL)[scheme]
    palette = dict(re.findall(r"--([\w-]+): (#\w{6})", declared))
    pairs = [("ink", "paper"), ("soft", "paper"), ("link", "paper"), ("good", "paper"),
             ("bad", "paper"), ("ink", "wash"), ("soft", "wash"), ("ink", "alarm"),
             ("tag-ink", "tag"), ("real-ink", "real"), ("ink", "same-wash"),
             ("soft", "none-wash")]  # fmt: skip
    pairs += [(name, f"{name}-wash") for name in ("good", "bad", "same", "open", "none")]
    for text, ground in pairs:
        light, dark = sorted((luminance(palette[text]), luminance(palette[ground])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= READABLE, (text, ground)
