"""The page at `/`, in one direction: `content` says what stands there, `render` makes HTML of it.

`content` asks `headline`, `scopes`, `columns` and `figures` for its parts; these write by `wording` and draw by
`chart`. Everything is made here: no script, no font, no picture comes from anywhere else.
"""

from drift.service.page.content import content_of
from drift.service.page.render import PAGE_POLICY, render

__all__ = ["PAGE_POLICY", "content_of", "render"]
