"""Open the images of the objects of a survey."""

from typing import TYPE_CHECKING

from astrodl.config import LAYOUTS, DataSettings
from astrodl.ingestion.image_files import ImageFileCache
from astrodl.ingestion.object_files import ObjectFiles
from astrodl.ingestion.object_images import ObjectImages
from astrodl.ingestion.objects import ObjectEntry
from astrodl.ingestion.templates import Templates
from astrodl.plugins import find_plugins

if TYPE_CHECKING:
    from astrodl.ingestion.mosaic import MosaicCache

__all__ = ["SurveyImages"]


class SurveyImages:
    """Open the images of objects one after the other; files that objects share stay open.

    Parameters
    ----------
    data, root
        Settings of the survey, and the resolved folder that no path may leave.
    """

    def __init__(self, data: DataSettings, root: str) -> None:
        self.data, self.root = data, root
        self._files = ImageFileCache()
        self._mosaics: MosaicCache | None = None

    def open(self, entry: ObjectEntry) -> ObjectImages:
        """Return the images of one object."""
        templates = Templates(self.root, entry.fields)
        if self.data.layout == "mosaic":
            # Only mosaics need astropy.wcs, whose import takes a third of the start time of a worker.
            from astrodl.ingestion.mosaic import MosaicCache
            from astrodl.ingestion.mosaic_cutout import MosaicCutout

            self._mosaics = self._mosaics or MosaicCache()
            return MosaicCutout(self.data, templates, entry.position, entry.pixel, self._mosaics)
        if self.data.layout not in LAYOUTS:
            images: ObjectImages = find_plugins("astrodl.layouts")[self.data.layout].load()(self.data, templates, entry)
            return images
        index = entry.index if self.data.layout == "arrays" else None
        return ObjectFiles(self.data, templates, index, self._files)
