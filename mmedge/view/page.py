"""The page itself: one document with its style and its script in it, which loads nothing from anywhere else."""

from base64 import b64encode
from hashlib import sha256
from importlib.resources import files

from mmedge.page.style import COLORS, LABELS, TEXT

__all__ = ["PAGE", "POLICY"]


def _part(name: str) -> str:
    return files("mmedge.view").joinpath(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


_LABELS = ":root { " + " ".join(f"--label-{i}: {color};" for i, (color, _) in enumerate(LABELS)) + " }\n"
_STYLE = COLORS + TEXT + _LABELS + _part("view.css")
_SCRIPT = _part("view.js")

PAGE = _part("view.html").replace("/*style*/", _STYLE).replace("/*script*/", _SCRIPT).encode()

POLICY = (
    f"default-src 'none'; script-src {_digest(_SCRIPT)}; style-src {_digest(_STYLE)}; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
