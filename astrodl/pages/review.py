"""The review of objects by eye as a page: a key per label, and a file of the labels."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from astrodl.pages.document import document, encode_columns, sprite_data
from astrodl.pages.sprites import Sprites
from astrodl.plots.style import PALETTE
from astrodl.products import Column

__all__ = ["KEYS", "review_page"]

KEYS = "123456789qwertyiopasdfghjklxcvbnm"
"""Keys of the classes, in their order; `u` and `z` take a label back."""
_COLOURS = ("green", "sky", "vermillion", "yellow", "purple", "orange", "blue")
_BODY = """<main><div id="stage"><div id="object"></div><div id="keys" class="row"></div>
<div id="film" class="tiles"></div></div></main>
<aside>
<h1 id="title"></h1><p id="about"></p>
<h2>Progress</h2><div id="progress"><div></div></div><p id="done"></p><table id="counts"></table>
<h2>Labels</h2><p>They are kept in this browser. Save them as a CSV file with the columns object_id and label.</p>
<p id="note"></p><div class="row"><button id="csv">Save CSV</button></div>
<h2>Keys</h2><p>A key gives the label and goes on. <kbd>&larr;</kbd> <kbd>&rarr;</kbd> move, <kbd>u</kbd> takes the last
step back, <kbd>&#9003;</kbd> removes the label of the object.</p>
</aside>"""


def review_page(
    object_id: ArrayLike,
    classes: Sequence[str],
    columns: Sequence[Column],
    sprites: Sprites | None = None,
    *,
    title: str,
    key: str,
    about: str = "",
    why: Sequence[str] = (),
    labels: Mapping[str, str] | None = None,
    brief: Sequence[str] = (),
    file_name: str = "labels.csv",
) -> str:
    """Return a page on which objects are labelled with the keyboard, as HTML.

    Parameters
    ----------
    object_id : (N,) array
        Identifiers, in the order in which the objects are shown; at least one.
    classes : sequence of str
        Labels, at most 33; the keys are `KEYS`.
    columns : sequence of Column
        What is known of each object.
    sprites : Sprites, optional
        Images of the objects.
    title, about : str
        Heading, and a sentence below it.
    key : str
        Where the browser keeps the labels: pages of the same key share them.
    why : sequence of N str, optional
        Why each object is shown.
    labels : mapping, optional
        Labels given before, by identifier, also of objects that are not on the page; they are part of the CSV file.
    brief : sequence of str
        Columns to show first.
    file_name : str
        Proposed name of the CSV file.

    Raises
    ------
    ValueError
        More classes than keys.
    """
    if len(classes) > len(KEYS):
        raise ValueError(f"{len(classes)} classes, at most {len(KEYS)} have a key")
    encoded = encode_columns(columns)
    names = [column["name"] for column in encoded]
    keys = zip(classes, KEYS, strict=False)
    data = {
        "title": title,
        "about": about,
        "key": key,
        "file": file_name,
        "ids": np.asarray(object_id).astype(str).tolist(),
        "classes": [
            {"name": name, "key": letter, "colour": PALETTE[_COLOURS[number % len(_COLOURS)]]}
            for number, (name, letter) in enumerate(keys)
        ],
        "columns": encoded,
        "brief": [names.index(name) for name in brief if name in names],
        "why": list(why) or None,
        "labels": [list(pair) for pair in (labels or {}).items()],
        "sprites": sprite_data(sprites),
    }
    return document(title, _BODY, data, script="review.js")
