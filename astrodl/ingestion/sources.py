"""Where the pixels of an object come from: files of its own, arrays of all objects, or mosaics."""

from typing import TYPE_CHECKING, Protocol

from astrodl.config import BandSettings, DataSettings
from astrodl.ingestion.containers import Shelf
from astrodl.ingestion.object_files import ObjectFiles
from astrodl.ingestion.planes import Plane
from astrodl.ingestion.table import Source
from astrodl.ingestion.templates import Templates

if TYPE_CHECKING:
    from astrodl.ingestion.sky_cut import Gallery


class Files(Protocol):
    """What gives the planes of one object."""

    data: DataSettings

    def band(self, position: int, *, with_scale: bool = False) -> Plane | None:
        """Read a band; None where it was not observed."""

    def label(self, name: str, extension: str | int) -> Plane | None:
        """Read a pixel label; None where it is absent."""

    def path(self, band: BandSettings) -> str:
        """Give the file of a band, relative to the root."""

    def extensions(self, band: BandSettings) -> list[str]:
        """List the images in the file of a band."""

    def nothing(self) -> str:
        """Say why none of the bands could be found."""

    @property
    def checksum(self) -> bytes:
        """SHA-256 of all that was read."""


class Sources:
    """Opens the sources of objects one after the other; files that objects share stay open.

    Parameters
    ----------
    data, root
        Settings of the survey, and the resolved folder that no path may leave.
    """

    def __init__(self, data: DataSettings, root: str) -> None:
        self.data, self.root = data, root
        self._shelf = Shelf()
        self._gallery: Gallery | None = None

    def of(self, source: Source) -> Files:
        """Give the files of one object."""
        templates = Templates(self.root, source.fields)
        if self.data.layout == "mosaic":
            # A third of the time that a worker takes to start is coordinates, which only mosaics need.
            from astrodl.ingestion.sky_cut import Gallery, SkyCut

            self._gallery = self._gallery or Gallery()
            return SkyCut(self.data, templates, source.position, source.pixel, self._gallery)
        index = source.index if self.data.layout == "arrays" else None
        return ObjectFiles(self.data, templates, index, self._shelf)
