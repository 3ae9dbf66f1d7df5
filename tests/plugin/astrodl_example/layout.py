"""An input layout of another package: one NPY file (bands, y, x) per object."""

import hashlib
import io
from pathlib import Path

import numpy as np

from astrodl.config import BandSettings, DataSettings
from astrodl.ingestion.band_image import BandImage
from astrodl.ingestion.objects import ObjectEntry
from astrodl.ingestion.templates import Templates


class NpyImages:
    """The images of one object."""

    def __init__(self, data: DataSettings, templates: Templates, entry: ObjectEntry) -> None:
        self.data, self.templates = data, templates
        self._bytes = (Path(templates.root) / self.path(data.bands[0])).read_bytes()

    def band(self, position: int, *, with_scale: bool = False) -> BandImage | None:
        pixels = np.load(io.BytesIO(self._bytes), allow_pickle=False)[position]
        return BandImage(pixels.astype(np.float32), self.data.bands[position].zero_point, self.data.pixel_scale_arcsec)

    def label(self, name: str, extension: str | int) -> BandImage | None:
        return None

    def path(self, band: BandSettings) -> str:
        return self.templates.path(self.data.template(band), band.name)

    def extensions(self, band: BandSettings) -> list[str]:
        return []

    def describe_missing(self) -> str:
        return "the file has no bands"

    @property
    def checksum(self) -> bytes:
        return hashlib.sha256(self._bytes).digest()
