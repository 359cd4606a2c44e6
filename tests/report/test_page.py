from __future__ import annotations

import html
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest
from fake_run import make_run

from lico_bench.report import wording
from lico_bench.report.content import gather
from lico_bench.report.page import render_page
from lico_bench.store import write_json

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
VOID = {"meta", "link", "img", "input", "br", "line", "circle"}


class Outline(HTMLParser):
    """Tags that open and close, attributes that point somewhere, identifiers."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.faults: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag, attrs):
        facts = dict(attrs)
        self.tags.append(tag)
        self.links += [facts[name] for name in ("href", "src") if facts.get(name)]
        self.ids += [facts["id"]] if "id" in facts else []
        if tag not in VOID:
            self.open.append(tag)
        if tag == "img" and "alt" not in facts:
            self.faults.append("img without alt")

    def handle_endtag(self, tag):
        if tag not in VOID and (not self.open or self.open.pop() != tag):
            self.faults.append(f"</{tag}> out of place")


@pytest.fixture(scope="module")
def page(report):
    return report.html.read_text()


def outline_of(page):
    outline = Outline()
    outline.feed(page)
    return outline


def page_of(run):
    return render_page(gather(run), [], [])


def test_tags_nest_and_every_picture_has_a_description(page):
    outline = outline_of(page)
    assert outline.faults == []
    assert outline.open == []
    assert len(outline.ids) == len(set(outline.ids))


def test_nothing_is_loaded_from_outside_and_every_link_leads_somewhere(page, report):
    outline = outline_of(page)
    for link in outline.links:
        if link.startswith("data:"):
            continue
        if link.startswith("#"):
            assert link[1:] in outline.ids
        else:
            assert (report.folder / link).is_file(), link
    assert not re.search(r"https?://|@import|url\(", page)


def test_every_difference_is_on_the_page_with_its_interval(page, content):
    plain = html.unescape(page)
    for block in content.blocks:
        for _, row in block.differences.iterrows():
            spec = content.specs[row["metric"]]
            told = wording.difference(row["difference"], row["low"], row["high"], spec)
            assert all(one in plain for one in told)


def test_standins_are_called_so_before_any_number(page):
    body = page[page.index("<body>") :]
    assert body.index("STAND-IN") < body.index("<table>")
    assert "drawn scenes" in body
    assert body.count('<span class="tag">STAND-IN</span>') > 10


def test_page_of_real_data_carries_no_such_label(tmp_path):
    run = make_run(tmp_path / "run", datasets={"cifar10": "real"}, seeds=1)
    assert "STAND-IN" not in page_of(run)


def test_names_cannot_become_markup(tmp_path):
    run = make_run(tmp_path / "run", datasets={"cifar10": "real"}, seeds=1)
    attack = '"><script>alert(1)</script><img src=x onerror=alert(1)>'
    manifest = run.manifest()
    manifest["suite"]["name"] = attack
    manifest["datasets"]["cifar10"]["title"] = attack
    manifest["arms"]["lico"]["title"] = attack
    manifest["methods"]["grad_cam"]["title"] = attack
    write_json(run.manifest_path, manifest)
    page = page_of(run)
    assert attack not in page
    assert html.escape(attack, quote=False)[:20] in page.replace("&#34;", '"')
    assert outline_of(page).tags.count("script") == 1


def test_page_tells_protocol_versions_and_recipes(page):
    for words in ("lico_bench_1@1a2b3c4d", "torch 2.15.0", "learning_rate = 0.3", "encoder.sha256"):
        assert words in page


def test_page_of_one_arm_shows_means(tmp_path):
    run = make_run(tmp_path / "run", arms=("lico",), datasets={"cifar10": "real"})
    page = page_of(run)
    assert outline_of(page).faults == []
    assert "One arm" in page
    assert "Difference" not in page


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to open the page in")
def test_sorting_filter_and_slider_work_in_a_browser(page, tmp_path):
    script = """<script>
    window.addEventListener("error", function (e) { document.title = "ERROR " + e.message; });
    window.addEventListener("load", function () {
      var table = document.getElementById("numbers"), heads = table.tHead.rows[0].cells, at = -1;
      for (var k = 0; k < heads.length; k++) {
        if (heads[k].textContent.trim() === "Difference") { at = k; }
      }
      function column() {
        return Array.prototype.map.call(table.tBodies[0].rows, function (row) {
          return Number(row.cells[at].getAttribute("data-sort"));
        });
      }
      function sorted(list, sign) {
        return list.every(function (x, k) { return k === 0 || sign * (x - list[k - 1]) >= 0; });
      }
      var button = heads[at].querySelector("button"), out = [];
      out.push(sorted(column(), 1)); button.click(); out.push(sorted(column(), 1));
      button.click(); out.push(sorted(column(), -1)); out.push(heads[at].getAttribute("aria-sort"));
      var filter = document.getElementById("filter");
      filter.value = "random pointing correct"; filter.dispatchEvent(new Event("input"));
      out.push(document.getElementById("shown").textContent);
      var slider = document.getElementById("opacity");
      slider.value = 20; slider.dispatchEvent(new Event("input"));
      out.push(getComputedStyle(document.querySelector("img.heat")).opacity);
      out.push(document.documentElement.scrollWidth <= window.innerWidth);
      var broken = Array.prototype.filter.call(document.images, function (image) {
        return image.loading !== "lazy" && image.naturalWidth === 0;
      });
      out.push(broken.length);
      document.body.setAttribute("data-found", out.join("|"));
    });
    </script></body>"""
    path = tmp_path / "page.html"
    path.write_text(page.replace("</body>", script))
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
        "--no-first-run", "--disable-background-networking", "--disable-component-update",
        "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}", "--window-size=420,900",
        "--virtual-time-budget=4000", "--dump-dom", path.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, check=True, timeout=90)
    dom = done.stdout.decode()
    assert "<title>ERROR" not in dom
    (found,) = re.findall(r'data-found="([^"]*)"', dom)
    assert found == "false|true|true|descending|1 of 32 rows|0.2|true|0"


def test_the_words_of_the_learned_context_stand_with_their_model(page):
    trained = page[page.index("Trained models") :]
    shown = re.findall(r"<li>(&lt;word \d&gt; \(0\.25\))</li>", trained)
    assert len(shown) == 3 * trained.count("learned context token")
    assert shown
