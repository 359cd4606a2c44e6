"""Render HTML from the templates of this package; the only module that imports Jinja.

Every value is escaped. Style sheet and script are embedded in the page, so a page loads nothing
from elsewhere.
"""

from __future__ import annotations

import base64
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"


def fill_template(name: str, **values: Any) -> str:
    """Render the template `name` with `values`, all of them escaped.

    `asset("style.css")` inserts a file of the template folder without escaping.
    """
    return _environment().get_template(name).render(**values)


def data_uri(image: bytes, kind: str = "png") -> str:
    """Return an encoded image as a data URI; `kind` is `png` or `jpeg`."""
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # `tojson` escapes <, > and & for a script element; other characters need no escaping.
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}
    environment.globals["asset"] = _asset
    return environment


def _asset(name: str) -> Markup:
    # Safe without escaping: a file of this package, without content of a run.
    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))
