"""The page as HTML: one document, complete in itself, that may run nothing and load nothing."""

import base64
import functools
import hashlib
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from drift.service.page.chart import HEIGHT, WIDTH
from drift.service.page.content import Content

__all__ = ["PAGE_POLICY", "render"]

_HERE: Final = Path(__file__).parent
#: Put into the page as it is: it is ours, and its digest stands in the policy.
_STYLE: Final = (_HERE / "page.css").read_text(encoding="utf-8")
_STYLE_DIGEST: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
#: Nothing runs, nothing is loaded; our style, the icon in the page, and the button that evaluates are allowed.
PAGE_POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_DIGEST}'; img-src data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)


def render(content: Content, *, refreshing: bool) -> str:
    """Return the page; with `refreshing` it loads itself anew each minute."""
    page: str = (
        _template_environment()
        .get_template("page.html.j2")
        .render(
            page=content,
            refreshing=refreshing,
            style=Markup(_STYLE),  # noqa: S704 - our own file
            width=WIDTH,
            height=HEIGHT,
        )
    )
    return page


@functools.cache
def _template_environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
