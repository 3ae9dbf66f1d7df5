"""The images of one object: what files of its own, arrays of all objects and mosaics have in common."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from astrodl.config import BandSettings, DataSettings, PlaneSettings
from astrodl.errors import DataError
from astrodl.fits import UnreadableError
from astrodl.ingestion.band_image import BandImage, RefusedError
from astrodl.ingestion.templates import Templates

__all__ = ["ObjectImages", "companion_error"]


@dataclass
class ObjectImages(ABC):
    """The images of one object.

    Parameters
    ----------
    data
        Settings of the survey.
    templates
        Path and extension templates of the object.
    """

    data: DataSettings
    templates: Templates

    @abstractmethod
    def band(self, position: int, *, with_scale: bool = False) -> BandImage | None:
        """Read a band with its noise, mask and PSF.

        Parameters
        ----------
        position
            Position of the band in the settings.
        with_scale
            Read the pixel scale, too.

        Returns
        -------
        BandImage or None
            None if the file or extension is missing or does not cover the object.

        Raises
        ------
        RefusedError
            If the object has no position, a path leaves the root, or a file cannot be used.
        """

    @abstractmethod
    def label(self, name: str, extension: str | int) -> BandImage | None:
        """Read a pixel label; None if its file or extension is missing.

        Raises
        ------
        RefusedError
            If the path leaves the root, or the file cannot be used.
        """

    @abstractmethod
    def extensions(self, band: BandSettings) -> list[str]:
        """Return the names of the images in the file of a band, if it lacks that of the band, for a message."""

    @abstractmethod
    def describe_missing(self) -> str:
        """Return the reason why no band was found."""

    @property
    @abstractmethod
    def checksum(self) -> bytes:
        """SHA-256 of everything that was read."""

    @property
    def root(self) -> str:
        """The folder that no path may leave."""
        return self.templates.root

    def path(self, band: BandSettings) -> str:
        """Return the path of a band, relative to the root."""
        return self.templates.path(self.data.template(band), band.name)

    def extension(self, band: BandSettings) -> str | int | None:
        """Return the extension of a band; None stands for the first image."""
        extension = band.extension if band.extension is not None else self.data.extension
        if extension is None and self.data.layout == "extensions":
            return band.name
        return self.templates.extension(extension, band.name)

    def require_own_image(self, band: BandSettings) -> None:
        """Check that no other band is read from the same image with two axes.

        Raises
        ------
        UnreadableError
            If another band is.
        """
        for other in self.data.bands:
            if other.name == band.name or other.plane is not None:
                continue
            if (self.path(other), self.extension(other)) == (self.path(band), self.extension(band)):
                raise UnreadableError(
                    f"bands {band.name} and {other.name} would be the same image, which has a single plane; give each "
                    "an `extension`"
                )


def companion_error(name: str, band: BandSettings, settings: PlaneSettings, error: DataError) -> RefusedError:
    """Return the error for a noise, mask or PSF plane that cannot be used."""
    role = type(settings).__name__.removesuffix("Settings").lower()
    return RefusedError(name, band.name, f"{role} plane: {error}")
