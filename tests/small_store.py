"""A small store with known truth, drawn without the simulator so that tests of networks do not depend on it."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from astrodl.photometry.features import measure
from astrodl.store import Writer

BANDS = ("g", "r", "i")
SIZE = 32
N_OBJECTS = 90


def _draw_galaxies(random: np.random.Generator, n_objects: int) -> dict[str, np.ndarray]:
    """Draw red round bulges and blue flat disks, with one clump in every second galaxy."""
    axis = np.arange(SIZE) - (SIZE - 1) / 2
    y, x = axis[:, None], axis[None, :]
    bt = random.uniform(0.05, 0.95, n_objects)
    z = random.uniform(0.1, 1.0, n_objects)
    flux = 10 ** random.uniform(1.5, 2.5, n_objects)
    maps = {"bulge": [], "disk": [], "clump": []}
    for i in range(n_objects):
        angle = random.uniform(0, np.pi)
        u, v = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
        bulge = np.exp(-0.5 * (x**2 + y**2) / 1.8**2)
        disk = np.exp(-np.hypot(u, v / 0.5) / 3.5)
        clump = np.exp(-0.5 * ((x - 5 * np.cos(angle)) ** 2 + (y - 5 * np.sin(angle)) ** 2)) * (i % 2)
        maps["bulge"].append(flux[i] * bt[i] * bulge / bulge.sum())
        maps["disk"].append(flux[i] * (1 - bt[i]) * disk / disk.sum())
        maps["clump"].append(0.15 * flux[i] * clump / max(clump.sum(), 1e-9))
    planes = {name: np.array(values, np.float32) for name, values in maps.items()}
    red = np.stack([0.5 + 0 * z, 1.0 + 0 * z, 1.2 + z], axis=1)
    blue = np.stack([1.0 + 0 * z, 1.0 + 0 * z, 0.8 + z], axis=1)
    images = red[..., None, None] * planes["bulge"][:, None]
    images = images + blue[..., None, None] * (planes["disk"] + planes["clump"])[:, None]
    images = images + 0.2 * random.standard_normal(images.shape)
    return {"image": images.astype(np.float32), "z": z, "bt": bt, "flux": flux, **planes}


def write_store(
    path: Path,
    n_objects: int = N_OBJECTS,
    *,
    survey: str = "tiny",
    order: Sequence[int] = (0, 1, 2),
    noise: Sequence[float] = (0.2, 0.2, 0.2),
    scale: float | None = 0.1,
    all_test: bool = False,
    without: Sequence[str] = (),
    label_bands: Sequence[str] = (),
    **options: Any,
) -> Path:
    """Write the store; the first object has no data in the first band.

    The bands are those of `order`, and the datasets `without` are left out.
    `label_bands` have labels of their own, in which bulges have half the light. `options` are of
    `astrodl.store.Writer`.
    """
    galaxies = _draw_galaxies(np.random.default_rng(0), n_objects)
    galaxies["image"][0, 0] = np.nan
    galaxies["image"] = galaxies["image"][:, order]
    bands = [BANDS[number] for number in order]
    sky = np.array([[noise[number] for number in order]] * n_objects, np.float32)
    features, names = measure(galaxies["image"], sky_sigma=sky, pixel_scale_arcsec=scale, bands=bands)
    split = np.arange(n_objects) % 10
    split = np.where(split < 6, 0, np.where(split < 7, 1, 2)).astype(np.int8)
    split = np.full_like(split, 2) if all_test else split
    oddity = np.where(np.arange(n_objects) % 15 == 9, "ring", "")
    checksum = hashlib.sha256(galaxies["image"].tobytes()).hexdigest()
    attributes = {"bands": bands, "size": SIZE, "feature_names": names, "pixel_scale_arcsec": scale, "unit": "uJy"}
    attributes |= options
    with Writer(path, n_objects=n_objects, survey=survey, source_checksum=checksum, **attributes) as writer:
        rows = {
            "image": galaxies["image"],
            "object_id": np.array([f"T{i:03d}" for i in range(n_objects)]),
            "features": features,
            "sky_sigma": sky,
            "background": np.zeros_like(sky),
            "flags": np.zeros(n_objects, np.int32),
            "band_flags": np.zeros(sky.shape, np.uint8),
            "split": split,
            "fold": np.where(split == 2, -1, 0).astype(np.int16),
            "catalog/z": galaxies["z"],
            "catalog/class": np.where(galaxies["bt"] > 0.5, "early", "late"),
            "catalog/votes_early": np.round(20 * galaxies["bt"]),
            "catalog/votes_late": 20 - np.round(20 * galaxies["bt"]),
            "catalog/bt": galaxies["bt"],
            "catalog/sersic_index": 1 + 3 * galaxies["bt"],
            "catalog/magnitude": 23.9 - 2.5 * np.log10(galaxies["flux"]),
            "catalog/oddity": oddity,
            "catalog/ra": np.linspace(149, 150, n_objects),
            "catalog/dec": np.linspace(1, 2, n_objects),
            "label/bulge": galaxies["bulge"],
            "label/disk": galaxies["disk"],
            "label/clump": galaxies["clump"],
        }
        for band in label_bands:
            factors = {"bulge": np.float32(0.5), "disk": np.float32(1), "clump": np.float32(1)}
            rows |= {f"label/{name}_{band}": factor * galaxies[name] for name, factor in factors.items()}
        writer.write_block(0, {name: values for name, values in rows.items() if name not in without})
    return path
