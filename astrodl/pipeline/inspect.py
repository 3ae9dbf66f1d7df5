"""The verb inspect: the content of a store as text and as a contact sheet."""

import math
import os
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astrodl.errors import StoreError
from astrodl.plots.images import sheet_of_rows
from astrodl.plots.splits import SPLIT_COLORS
from astrodl.plots.style import save
from astrodl.store import BAND_FLAGS, FLAGS, SPLITS, Reader, open_store
from astrodl.tasks.colour import colour

__all__ = ["FLAG_WORDS", "aperture", "depth", "inspect"]

FLAG_WORDS = {
    "missing_band": "without a band",
    "partial_coverage": "with pixels without data",
    "padded": "padded at the edge",
    "not_detected": "not detected",
    "masked_pixels": "with masked pixels",
    "band_not_detected": "not detected in one of the bands",
    "reprojected": "with a band from another pixel grid",
}
_FINE_PIXELS_ARCSEC = 0.15
_MICROJANSKY = 23.9
_BLOCK_BYTES = 64 << 20
_MOST_CLASSES = 30
_N_COLUMNS = 10
_N_ROWS = {"train": 3, "validation": 1, "test": 2, "rest": 2}
_LONGEST_NAME = 10


def inspect(store: str | os.PathLike[str], out: str | os.PathLike[str] | None = None) -> str:
    """Describe a store, and draw a contact sheet of it where a file is given.

    Parameters
    ----------
    store
        `store.h5` of a survey.
    out
        Contact sheet to write (PNG): objects of each split, evenly over the store, titled by class or identifier,
        redshift and flags; none by default.

    Returns
    -------
    str
        Survey, bands with depths, objects per split and fold, labels, flags and the reasons of the quarantine.

    Raises
    ------
    StoreError
        Not a store, or damaged.

    Examples
    --------
    >>> print(astrodl.inspect("results/demo/store.h5", "sheet.png"))  # doctest: +SKIP
    """
    if out is not None:
        _draw_sheet(store, out)
    path = Path(store)
    with open_store(path) as reader:
        described = (_survey, _bands, _splits, _flags, _catalogue)
        sections = [*(describe(reader) for describe in described), _quarantine(path)]
    return "\n".join(line for section in sections for line in section)


def _draw_sheet(store: str | os.PathLike[str], out: str | os.PathLike[str]) -> None:
    with open_store(store) as reader:
        if not reader.has_images:
            print(f"{store}: has no images, so that no contact sheet is drawn", file=sys.stderr)
            return
        rows, labels = _rows(reader)
        chosen = np.array(sorted(k for row in rows for k in row), np.int64)
        place = {k: position for position, k in enumerate(chosen.tolist())}
        titles = _titles(reader, chosen)
        frames = [SPLIT_COLORS[SPLITS[part]] for part in reader.split[chosen]]
        heading = f"{reader.survey}: {len(chosen):,} of {reader.n_objects:,} objects in {', '.join(reader.bands)}"
        sheet = sheet_of_rows(
            colour(reader, chosen),
            [[place[k] for k in row] for row in rows],
            labels,
            title=titles.__getitem__,
            frame=frames.__getitem__,
            n_columns=_N_COLUMNS,
            heading=heading,
        )
        save(sheet, out)


def _rows(store: Reader) -> tuple[list[list[int]], list[str]]:
    """Choose objects spread evenly over each split, in rows labelled with its name."""
    rows: list[list[int]] = []
    labels: list[str] = []
    parts = store.split
    for name, n_rows in _shown(parts, _N_ROWS).items():
        inside = np.flatnonzero(parts == SPLITS.index(name))
        places = np.linspace(0, len(inside) - 1, min(len(inside), n_rows * _N_COLUMNS)).round().astype(int)
        chosen = inside[np.unique(places)].tolist()
        rows += [chosen[start : start + _N_COLUMNS] for start in range(0, max(len(chosen), 1), _N_COLUMNS)]
        labels += [name] + [""] * (len(rows) - len(labels) - 1)
    return rows, labels


def _shown(parts: NDArray[np.int8], of_splits: Mapping[str, Any]) -> dict[str, Any]:
    """Omit the split `rest` where it is empty, as in most surveys."""
    has_rest = bool((parts == SPLITS.index("rest")).any())
    return {name: value for name, value in of_splits.items() if has_rest or name != "rest"}


def depth(sigma: float, pixel_scale_arcsec: float | None) -> float:
    """Compute the 5-sigma depth in an aperture with uncorrelated noise, as AB magnitude.

    m = 23.9 - 2.5 log10(5 sigma sqrt(n)) with sigma the noise of a pixel in microjansky, n the pixels of the aperture.

    Parameters
    ----------
    sigma
        Noise of a pixel in microjansky.
    pixel_scale_arcsec
        Side of a pixel; None if unknown.
    """
    n_pixels = math.pi / 4 * aperture(pixel_scale_arcsec)[0] ** 2
    return _MICROJANSKY - 2.5 * math.log10(5 * sigma * math.sqrt(n_pixels))


def aperture(pixel_scale_arcsec: float | None) -> tuple[float, str]:
    """Choose the aperture of the depth: 2 arcsec, as usual from the ground, or 0.4 arcsec for the fine pixels of space.

    Returns
    -------
    diameter in pixels, diameter in words
    """
    if pixel_scale_arcsec is None:
        return 10.0, "10 pixels"
    arcsec = 0.4 if pixel_scale_arcsec < _FINE_PIXELS_ARCSEC else 2.0
    return arcsec / pixel_scale_arcsec, f"{arcsec:g} arcsec"


# -- text --------------------------------------------------------------------------------------------------------------


def _survey(store: Reader) -> list[str]:
    scale = f"{store.pixel_scale_arcsec:.4g} arcsec/pixel" if store.pixel_scale_arcsec else "pixel scale not known"
    unit = "microjansky" if store.unit == "uJy" else "relative fluxes (not calibrated)"
    pixels = f"{store.size} x {store.size} pixels, {scale}" if store.has_images else "no images, photometry of a table"
    size, n_bands = store.path.stat().st_size, len(store.bands)
    return [
        f"{store.path}: survey {store.survey}, {store.n_objects:,} objects, {_bytes(size)}, by astrodl {store.version}",
        f"  {n_bands} band{'' if n_bands == 1 else 's'}, {pixels}, {unit}",
    ]


def _bands(store: Reader) -> list[str]:
    if not store.has_images:
        return _photometry(store)
    nan_share = _nan_shares(store)
    known = [_median(column) for column in store.sky_sigma.T]
    not_observed = (store.band_flags & BAND_FLAGS["not_observed"] > 0).sum(axis=0)
    title = f"5-sigma depth in {aperture(store.pixel_scale_arcsec)[1]}"
    rows = [["band", "zero point", "no data", "not observed", "sky noise/pixel", title]]
    for k, band in enumerate(store.bands):
        zero = store.zero_points[k]
        rows.append(
            [
                band,
                f"{zero:.6g}" if np.isfinite(zero) else "-",
                f"{float(f'{100 * nan_share[k]:.2g}'):g} %",
                f"{not_observed[k]:,}",
                f"{known[k]:.3g}",
                _depth(store, known[k]),
            ]
        )
    told = [k for k in range(len(rows[0])) if any(row[k] != "-" for row in rows[1:])]
    return _table([[row[k] for k in told] for row in rows])


def _photometry(store: Reader) -> list[str]:
    """Describe the bands of a survey without images: what was measured, its range, and the depth by its errors."""
    flags, sigma = store.band_flags, store.sky_sigma
    rows = [["band", "not observed", "not detected", "median magnitude", "1 % to 99 %", "5-sigma depth (median error)"]]
    for k, band in enumerate(store.bands):
        magnitude = store.features([f"magnitude_{band}_total"])[:, 0]
        known, error = magnitude[np.isfinite(magnitude)], _median(sigma[:, k])
        counts = [int((flags[:, k] & BAND_FLAGS[name] > 0).sum()) for name in ("not_observed", "not_detected")]
        ends = [f"{value:.2f}" for value in np.quantile(known, [0.5, 0.01, 0.99])] if len(known) else ["-"] * 3
        depth_of = f"{_MICROJANSKY - 2.5 * math.log10(5 * error):.2f} AB" if store.unit == "uJy" and error > 0 else "-"
        rows.append([band, *(f"{count:,}" for count in counts), ends[0], f"{ends[1]} to {ends[2]}", depth_of])
    return _table(rows)


def _depth(store: Reader, sigma: float) -> str:
    if store.unit != "uJy" or not sigma > 0:
        return "-"
    return f"{depth(sigma, store.pixel_scale_arcsec):.2f} AB"


def _median(values: NDArray[np.float32]) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else np.nan


def _nan_shares(store: Reader) -> NDArray[np.float64]:
    """Count pixels without data per band, block by block."""
    n_bands = len(store.bands)
    missing = np.zeros(n_bands)
    step = max(_BLOCK_BYTES // (4 * n_bands * store.size**2), 1)
    for start in range(0, store.n_objects, step):
        rows = np.arange(start, min(start + step, store.n_objects))
        missing += np.isnan(store.images(rows)).sum(axis=(0, 2, 3))
    return missing / max(store.n_objects * store.size**2, 1)


def _splits(store: Reader) -> list[str]:
    parts, folds = store.split, store.fold
    z = store.column("z") if store.has_column("z") else None
    classes = store.column("class").astype(str) if store.has_column("class") else None
    head = ["split", "objects"]
    rows = [head + ["redshift"] * (z is not None) + ["classes"] * (classes is not None)]
    for name, number in _shown(parts, {name: number for number, name in enumerate(SPLITS)}).items():
        inside = parts == number
        row = [name, f"{inside.sum():,}"]
        if z is not None:
            row.append(_redshifts(z[inside]))
        if classes is not None:
            row.append(_classes(classes[inside]))
        rows.append(row)
    lines = _table(rows)
    n_folds = int(folds.max(initial=-1)) + 1
    if n_folds > 1:
        counts = ", ".join(f"{(folds == k).sum():,}" for k in range(n_folds))
        lines.append(f"  {n_folds} folds of {counts} objects")
    return lines


def _redshifts(z: NDArray[np.float64]) -> str:
    known = z[np.isfinite(z) & (z >= 0)]
    return f"{known.min():.3f} to {known.max():.3f} ({len(known):,})" if len(known) else "none"


def _classes(classes: NDArray[np.str_]) -> str:
    counts = Counter(name or "(none)" for name in classes.tolist()).most_common(_MOST_CLASSES)
    return ", ".join(f"{name} {count:,}" for name, count in counts) or "-"


def _flags(store: Reader) -> list[str]:
    flags = store.flags
    counts = {name: int((flags & bit > 0).sum()) for name, bit in FLAGS.items()}
    found = [f"{count:,} {FLAG_WORDS[name]}" for name, count in counts.items() if count]
    return [f"  flags: {'; '.join(found)}" if found else "  flags: none of the objects has one"]


def _catalogue(store: Reader) -> list[str]:
    lines = [f"  columns: {', '.join(store.column_names) or 'none'}"]
    if store.label_names:
        lines.append(f"  pixel labels: {', '.join(store.label_names)}")
    if store.planes:
        lines.append(f"  planes: {', '.join(store.planes)}")
    return lines


def _quarantine(path: Path) -> list[str]:
    """Count the reasons for which objects were refused, from the list beside the store."""
    listed = path.with_name("quarantine.ecsv")
    if not listed.is_file():
        return []
    from astropy.table import Table

    try:
        reasons = Counter(str(reason) for reason in Table.read(listed, format="ascii.ecsv")["reason"])
    except (ValueError, KeyError, OSError) as error:
        raise StoreError(f"{listed}: cannot be read ({str(error).splitlines()[0]:.80}); ingest again") from None
    if not reasons:
        return ["  quarantine: empty"]
    lines = [f"  quarantine: {reasons.total():,} objects refused"]
    return lines + [f"    {count:,} times: {reason}" for reason, count in reasons.most_common(5)]


def _table(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = ([cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows)
    return ["  " + "  ".join(cells).rstrip() for cells in padded]


def _bytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


# -- sheet -------------------------------------------------------------------------------------------------------------


def _titles(store: Reader, chosen: NDArray[np.int64]) -> list[str]:
    """Title objects by class, or identifier, and redshift; and by what they lack."""
    names = store.column("class", chosen).astype(str) if store.has_column("class") else store.object_id[chosen]
    titles = [_shortened(name) or "(none)" for name in names.tolist()]
    if store.has_column("z"):
        z = store.column("z", chosen)
        titles = [
            f"{title}\nz {value:.2f}" if np.isfinite(value) and value >= 0 else f"{title}\nno z"
            for title, value in zip(titles, z, strict=True)
        ]
    lacks = store.flags[chosen] & FLAGS["missing_band"] > 0
    return [f"{title}\nlacks a band" if lack else title for title, lack in zip(titles, lacks, strict=True)]


def _shortened(name: str) -> str:
    """Shorten a long identifier in the middle."""
    half = _LONGEST_NAME // 2 - 1
    return name if len(name) <= _LONGEST_NAME else f"{name[:half]}…{name[-half:]}"
