"""HTML from the templates of this room; the one file that loads Jinja.

Every value is escaped. What a page carries inside itself, its look and its script, comes whole from
the files beside the templates: nothing that a page shows is loaded from anywhere.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"


def fill_template(name: str, **values: Any) -> str:
    """The template `name` with `values` in it, all of them escaped.

    A template may ask for `asset("style.css")`, the text of a file of ours as it is.
    """
    return _environment().get_template(name).render(**values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # `tojson` escapes <, > and & for a script element; letters beyond ASCII may stay.
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}
    environment.globals["asset"] = _asset
    return environment


def _asset(name: str) -> Markup:
    # Written by us, holding nothing of a run: the one text that is not escaped.
    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))
