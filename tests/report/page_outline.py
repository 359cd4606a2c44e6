"""What a test reads of an HTML page: its tags, links and table of all numbers."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

VOID = {"meta", "link", "img", "input", "br", "rect", "path", "circle"}


class Outline(HTMLParser):
    """Tags that open and close, attributes that point somewhere, identifiers."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.faults: list[str] = []
        self.tags: list[str] = []
        self.unlabelled: list[str] = []
        self.labelled: list[str] = []

    def handle_starttag(self, tag, attrs):
        facts = dict(attrs)
        self.tags.append(tag)
        self.links += [facts[name] for name in ("href", "src") if facts.get(name)]
        self.ids += [facts["id"]] if "id" in facts else []
        self.labelled += [facts["for"]] if tag == "label" else []
        self.unlabelled += [facts.get("id")] if tag in ("input", "select") else []
        if tag not in VOID:
            self.open.append(tag)
        if tag == "img" and "alt" not in facts:
            self.faults.append("img without alt")

    def handle_endtag(self, tag):
        if tag not in VOID and (not self.open or self.open.pop() != tag):
            self.faults.append(f"</{tag}> out of place")


def outline_of(page):
    outline = Outline()
    outline.feed(page)
    return outline


def numbers_of(page):
    (found,) = re.findall(r'<script type="application/json" id="numbers-data">(.*?)</script>', page)
    return json.loads(found)


def columns_of(page):
    """Each line of the table of all numbers by column, names spelt out."""
    data = numbers_of(page)
    return [
        {
            column["key"]: data["names"][column["key"]][cell]["text"]
            if column["kind"] == "name"
            else cell
            for column, cell in zip(data["columns"], line, strict=True)
        }
        for line in data["lines"]
    ]
