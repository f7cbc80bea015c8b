"""What Evidently's page may do in a browser."""

import base64
import functools
import hashlib
import re

__all__ = ["report_policy"]


@functools.lru_cache(maxsize=1)
def report_policy(html: bytes) -> str:
    """Allow the scripts that the page has, by their digests, and nothing from anywhere: it holds foreign labels."""
    digests = {
        hashlib.sha256(script).digest() for script in re.findall(rb"<script>(.*?)</script>", html, re.DOTALL)
    }
    scripts = " ".join(sorted(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests))
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; "
        "img-src data: blob:; font-src data:; base-uri 'none'; form-action 'none'"
    )
