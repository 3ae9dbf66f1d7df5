"""The skeleton of a page: data, style and script in one HTML file that asks for nothing else.

Text of a survey (identifiers, names of classes) is data in JSON, which the scripts show as text and never as markup. A
content security policy allows no other script than the page's own, and no connection.
"""

import base64
import hashlib
import html
import json
import math
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astrodl.pages.sprites import Sprites
from astrodl.products import Column

__all__ = ["MAX_BYTES", "document", "encode_columns", "encode_numbers", "sprite_data"]

MAX_BYTES = 10_000_000
"""Largest size of a page."""
_MAX_CLASSES = 100
"""Text with more different values is shown, but gives no colours."""


def document(title: str, body: str, data: Mapping[str, Any], *, script: str) -> str:
    """Return an HTML page.

    Parameters
    ----------
    title : str
        Title, as text.
    body : str
        Markup of the body, without text of a survey.
    data : mapping
        What the script reads, as JSON; numbers that are not finite become null.
    script : str
        Name of the script of the page beside `page.js`.
    """
    code = "".join(_read(name) for name in ("page.js", script))
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<style>{_read("page.css")}</style>
</head>
<body>
{body}
<script type="application/json" id="data">{_embed(data)}</script>
<script>{code}</script>
</body>
</html>
"""


def _read(name: str) -> str:
    return files("astrodl.pages").joinpath(name).read_text("utf-8")


def _embed(data: Mapping[str, Any]) -> str:
    """Return JSON that no text can end: without <, > and &, and without half characters, which UTF-8 cannot hold."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def sprite_data(sprites: Sprites | None) -> dict[str, Any] | None:
    """Return what the scripts need of a sprite sheet."""
    return None if sprites is None else {"uri": sprites.uri, "side": sprites.side, "columns": sprites.columns}


def encode_numbers(values: ArrayLike) -> str:
    """Return numbers as base64 of little-endian float32."""
    return base64.b64encode(np.ascontiguousarray(values, "<f4").tobytes()).decode()


def encode_columns(columns: Sequence[Column]) -> list[dict[str, Any]]:
    """Return columns with one value per object as the scripts read them; other columns are left out.

    A column of numbers has `values`, null where there is none. A column of text or booleans has `names`, the most
    frequent first, and in `values` the index of each object's name, -1 where there is none.
    """
    encoded = []
    for column in columns:
        values: np.ma.MaskedArray[Any, Any] = np.ma.asarray(column.values)
        if values.ndim != 1:
            continue
        kind = _text(values) if values.dtype.kind in "USOb" else _numbers(values)
        encoded.append({"name": column.name, "unit": column.unit or "", "about": column.description, **kind})
    return encoded


def _numbers(values: np.ma.MaskedArray[Any, Any]) -> dict[str, Any]:
    missing = np.ma.getmaskarray(values)
    digits = 5 if values.dtype == np.float32 else 9
    shown: list[float | int | None] = []
    for value, is_missing in zip(values.data.tolist(), missing, strict=True):
        if is_missing or not math.isfinite(value):
            shown.append(None)
        else:
            shown.append(value if isinstance(value, int) else float(f"{value:.{digits}g}"))
    return {"kind": "number", "values": shown}


def _text(values: np.ma.MaskedArray[Any, Any]) -> dict[str, Any]:
    texts = _to_text(values)
    names, codes, counts = np.unique(texts, return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    order = order[names[order] != ""]
    position = np.full(len(names), -1)
    position[order] = np.arange(len(order))
    kind = "class" if len(order) <= _MAX_CLASSES else "text"
    return {"kind": kind, "names": names[order].tolist(), "values": position[codes].tolist()}


def _to_text(values: np.ma.MaskedArray[Any, Any]) -> NDArray[np.str_]:
    plain = np.asarray(values.data)
    if plain.dtype.kind == "b":
        plain = np.where(plain, "yes", "no")
    elif plain.dtype.kind == "S":
        plain = np.char.decode(plain, "utf-8", "replace")
    return np.where(np.ma.getmaskarray(values), "", plain.astype(str))
