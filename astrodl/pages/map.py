"""The map of a survey as a page: galaxies in the latent plane, to look at, colour and select."""

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import to_hex
from numpy.typing import ArrayLike

from astrodl.pages.document import document, encode_columns, encode_numbers, sprite_data
from astrodl.pages.sprites import Sprites
from astrodl.plots.style import PALETTE, SEQUENTIAL
from astrodl.products import Column

__all__ = ["map_page"]

_RAMP = np.linspace(0.15, 1, 64)
"""Levels of the colour map; its darkest colours do not show on the dark ground."""
_COLOURS = ("sky", "orange", "green", "purple", "yellow", "vermillion", "blue")
"""Colours of classes, the brightest first."""
_BODY = """<main>
<canvas id="map" tabindex="0" aria-label="map of the galaxies"></canvas>
<div id="tip" hidden></div>
<div id="help">drag to move &middot; wheel to zoom &middot; click for the nearest neighbours &middot; shift and drag for
a lasso &middot; <kbd>0</kbd> all &middot; <kbd>Esc</kbd> clear</div>
</main>
<aside>
<h1 id="title"></h1><p id="about"></p>
<div class="row"><button id="lasso" aria-pressed="false">Lasso</button><button id="reset">Show all</button>
<label title="images in place of dots where few objects are in view"><input type="checkbox" id="images" checked>
images</label></div>
<div class="row"><input id="find" class="grow" placeholder="find an object by its identifier"
aria-label="find an object"></div>
<h2><label for="colour">Colour</label></h2>
<div class="row"><select id="colour" class="grow"></select></div><div id="legend"></div>
<h2>Selection</h2><p id="count"></p><textarea id="ids" readonly aria-label="selected identifiers"></textarea>
<div class="row"><button id="copy">Copy</button><button id="csv">Save CSV</button><button id="clear">Clear</button>
</div>
<section id="chosen" hidden><h2>Nearest neighbours in the latent space</h2>
<div id="neighbours" class="tiles"></div><h2>Object</h2><div id="details"></div></section>
</aside>"""


def map_page(
    object_id: ArrayLike,
    position: ArrayLike,
    vectors: ArrayLike,
    columns: Sequence[Column],
    sprites: Sprites | None = None,
    *,
    title: str,
    about: str = "",
    colour: Sequence[str] = (),
    brief: Sequence[str] = (),
) -> str:
    """Return the map of a survey as an HTML page.

    Parameters
    ----------
    object_id : (N,) array
        Identifiers.
    position : (N, 2) array
        Place of each object on the map, finite.
    vectors : (N, d) array
        Vectors whose Euclidean distance tells the nearest neighbours.
    columns : sequence of Column
        What is known of each object: numbers, booleans or text, one value per object. At least one.
    sprites : Sprites, optional
        Images of the objects, in the same order.
    title, about : str
        Heading, and a sentence below it.
    colour : sequence of str
        Names of columns; the first that exists and has a value colours the map at first.
    brief : sequence of str
        Columns that are shown beside an object under the pointer, where they exist.

    Returns
    -------
    str
        The page.
    """
    points = np.asarray(position, np.float64)
    encoded = encode_columns(columns)
    names = [column["name"] for column in encoded if column["kind"] != "text"]
    first = next((name for name in colour if name in names), names[0])
    every = [column["name"] for column in encoded]
    low, high = np.percentile(points, [0.5, 99.5], axis=0)
    data = {
        "title": title,
        "about": about,
        "ids": np.asarray(object_id).astype(str).tolist(),
        "position": encode_numbers(points),
        "vectors": encode_numbers(vectors),
        "centre": ((low + high) / 2).tolist(),
        "extent": float(1.15 * max((high - low).max(), 1e-6)),
        "columns": encoded,
        "colour": every.index(first),
        "brief": [every.index(name) for name in brief if name in every],
        "ramp": [to_hex(SEQUENTIAL(level)) for level in _RAMP],
        "palette": [PALETTE[name] for name in _COLOURS],
        "sprites": sprite_data(sprites),
    }
    return document(title, _BODY, data, script="map.js")
