"""The page in a real browser: what people click, type, slide, print and see on a phone."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace

import pytest

from lico_bench.claims import Claim, ClaimVerdict, Evidence
from lico_bench.report.gathering import gather
from lico_bench.report.page import render_page
from tests.report.fake_run import make_run

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
PDFTOTEXT = shutil.which("pdftotext")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to open the page in")
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
A4_PX = {"width": 703, "height": 1000}  # 210 mm less two margins of 12 mm, at 96 px an inch


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """The page of a run of three arms, two datasets, with a claim, as a file."""
    folder = tmp_path_factory.mktemp("page")
    run = make_run(folder / "run", seeds=1, arms=("baseline", "lico", "lico_mm"), num_test=60,
                   num_explained=24)  # fmt: skip
    claim = Claim("one", "One claim", "It helps.", "a paper", "lico", "baseline", "insertion",
                  "better", 0.01)  # fmt: skip
    evidence = Evidence("cifar10", "real", "wrn_10_2", "full", "grad_cam", "improvement",
                        "Reason one.", gain=0.03, low=0.02, high=0.04, p_value=0.001,
                        p_corrected=0.002, p_equivalent=0.9, num_images=40, num_seeds=1,
                        protocol="lico_bench_1@1a2b3c4d")  # fmt: skip
    message = ClaimVerdict(claim, "improvement", "It is so.", (evidence,))
    page = folder / "report.html"
    page.write_text(render_page(replace(gather(run), claims=(message,)), [], []))
    return page


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="module")
def tab(browser, path):
    """One tab for all tests, and what it complained of or asked a network for."""
    tab = browser.new_page(viewport=DESK)
    tab.faults = []
    tab.on("console", lambda message: tab.faults.append(message.text))
    tab.on("pageerror", lambda error: tab.faults.append(str(error)))
    tab.on("request", lambda request: tab.faults.append(request.url)
           if not request.url.startswith(("file:", "data:", "blob:")) else None)  # fmt: skip
    tab.goto(path.as_uri())
    yield tab
    assert tab.faults == []


@pytest.fixture
def page(tab):
    """The tab at the size of a desk, nothing typed."""
    tab.set_viewport_size(DESK)
    tab.locator("#reset").click()
    return tab


def column(page, key):
    """The texts of a column of the table of all numbers, in the order in which they stand."""
    return page.locator(f"#numbers td[data-key={key}]").all_text_contents()


def number(text):
    return float(text.replace("−", "-"))


def test_a_click_on_a_heading_sorts_and_says_so(page):
    # Of one score, whose differences are all in one unit.
    page.locator("#choose-score").select_option(label="Insertion ↑")
    head = page.locator("#numbers th[data-key=difference]")
    before = [number(text) for text in column(page, "difference")]
    head.get_by_role("button").click()
    rising = [number(text) for text in column(page, "difference")]
    assert head.get_attribute("aria-sort") == "ascending"
    assert rising == sorted(before) != before
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert [number(text) for text in column(page, "difference")] == rising[::-1]
    assert page.locator("#numbers th[aria-sort]").count() == 1


def test_shares_and_probabilities_sort_on_one_scale(page):
    page.locator("#numbers th[data-key=mean]").get_by_role("button").click()
    means = [text.replace("−", "-") for text in column(page, "mean")]
    values = [float(text[:-2]) / 100 if text.endswith("%") else float(text) for text in means]
    assert any(text.endswith("%") for text in means)
    assert values == sorted(values)


def test_typed_words_and_choices_narrow_the_rows_and_are_counted(page):
    message = page.locator("#shown")
    whole = message.text_content()
    page.locator("#filter").fill("random pointing lico_mm")
    assert set(column(page, "method")) == {"Random map"}
    assert column(page, "arm") == ["lico_mm"] * 2
    assert message.text_content().startswith("2 of ")
    page.locator("#choose-subset").select_option(label="both correct")
    assert message.text_content().startswith("1 of ")
    page.locator("#filter").fill("no such words")
    assert column(page, "method") == []
    page.locator("#reset").click()
    assert message.text_content() == whole


def test_details_of_the_numbers_are_shown_when_asked_for(page):
    hidden = page.locator("#numbers th[data-key=seed_part]")
    assert not hidden.is_visible()
    page.locator("#details").check()
    assert hidden.is_visible()
    page.locator("#details").uncheck()


def test_arrow_keys_move_the_slider_and_fade_the_maps(page):
    slider = page.locator("#opacity")
    slider.focus()
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    assert page.locator("#opacity-shown").text_content() == "70 %"
    opacity = page.locator("img.heat").first.evaluate("one => getComputedStyle(one).opacity")
    assert float(opacity) == pytest.approx(0.7)


def test_two_chosen_arms_stand_side_by_side(page):
    first = page.locator(".image").first
    assert first.locator("figure[data-arm]:visible").count() == 2
    page.locator("#right-arm").select_option(label="lico_mm")
    shown = first.locator("figure[data-arm]:visible").all_text_contents()
    assert [text.split(":")[0].strip() for text in shown] == ["Baseline", "lico_mm"]


def test_one_album_is_shown_at_a_time(page):
    assert page.locator(".album:visible h3").all_text_contents() == ["REAL CIFAR-10: Grad-CAM"]
    page.locator("#album").select_option(index=1)
    (shown,) = page.locator(".album:visible h3").all_text_contents()
    assert "CUB-200-2011 stand-in" in shown


def test_evidence_opens_by_keyboard(page):
    evidence = page.locator(".claim table").first
    assert not evidence.is_visible()
    page.locator(".claim summary").first.focus()
    page.keyboard.press("Enter")
    assert evidence.is_visible()
    page.keyboard.press("Enter")
    assert not evidence.is_visible()


def test_the_first_tab_stop_skips_to_the_verdicts_and_can_be_seen(page, path):
    page.goto("about:blank")
    page.goto(path.as_uri())
    page.keyboard.press("Tab")
    focused = page.locator(":focus")
    assert focused.get_attribute("href") == "#claims"
    box = focused.bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_every_anchor_of_the_drawn_page_leads_somewhere(page):
    lost = page.evaluate(
        "[...document.querySelectorAll('a[href^=\"#\"]')].map(one => one.getAttribute('href'))"
        ".filter(one => !document.getElementById(one.slice(1)))"
    )
    assert lost == []


def test_a_row_leads_to_its_rules_and_to_its_models(page):
    page.locator("#filter").fill("insertion")
    for key, message in (("protocol", "blur sigma frac"), ("models", "seed 0")):
        page.locator(f"#numbers td[data-key={key}] a").first.click()
        target = page.locator(":target")
        assert target.is_visible()
        assert message in target.inner_text()


@pytest.mark.parametrize("size", [PHONE, {"width": 320, "height": 700}], ids=["390", "320"])
def test_nothing_sticks_out_of_a_phone(page, size):
    page.set_viewport_size(size)
    page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    page.locator("details").evaluate_all("all => all.forEach(one => { one.open = false; })")


def test_rows_stay_rows_of_a_table_when_they_are_cards(page):
    page.set_viewport_size(PHONE)
    results = page.locator("#results table").first
    assert (
        results.locator("tbody tr").nth(1).evaluate("one => getComputedStyle(one).display")
        == "grid"
    )
    assert results.get_by_role("row").count() > 3
    assert results.get_by_role("rowheader").count() > 3


def test_tables_are_not_cut_on_paper(page):
    page.emulate_media(media="print")
    page.set_viewport_size(A4_PX)
    cut = page.evaluate(
        "[...document.querySelectorAll('table')].filter(one => !one.closest('.broad')"
        " && one.getBoundingClientRect().right > innerWidth + 1).map(one => one.innerText)"
    )
    page.emulate_media(media="null")
    assert cut == []


@pytest.mark.slow
def test_it_prints_with_the_evidence_opened_and_closes_it_again(page):
    before = page.locator("details[open]").count()
    assert before < page.locator("details").count()
    pdf = page.pdf(prefer_css_page_size=True, page_ranges="1")
    assert pdf.startswith(b"%PDF")
    assert page.locator("details[open]").count() == before
    if PDFTOTEXT is not None:
        message = subprocess.run([PDFTOTEXT, "-", "-"], input=pdf, capture_output=True, check=True)
        assert b"Reason one." in message.stdout


@pytest.mark.slow
def test_without_scripts_results_and_images_are_there(browser, path):
    bare = browser.new_page(java_script_enabled=False)
    bare.goto(path.as_uri())
    assert bare.locator("noscript .alarm").is_visible()
    assert bare.locator("#results tbody tr:visible").count() > 10
    assert bare.locator(".album:visible").count() == 2
    bare.close()
