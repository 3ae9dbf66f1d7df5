"""Settings of a real survey: catalogue, images and what goes with them."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from astrodl.config.section import Fraction, Name, PluginName, Section
from astrodl.config.templates import Template, template_fields

__all__ = [
    "LAYOUTS",
    "BandSettings",
    "DataSettings",
    "LabelSettings",
    "MaskSettings",
    "NoiseSettings",
    "PlaneSettings",
    "PsfSettings",
]

LAYOUTS = ("extensions", "files", "cube", "rgb", "arrays", "mosaic", "table")
"""Layouts of the input: of images, or `table` without any; other packages add entry points of `astrodl.layouts`."""

_PHOTOMETRY = ("magnitude", "flux", "error", "extinction")
_OF_BAND_IMAGES = ("extension", "plane", "path", "background")
_OF_IMAGES: tuple[str, ...] = (
    "path",
    "extension",
    "x_column",
    "y_column",
    "index_column",
    "labels",
    "noise",
    "masks",
    "psf",
    "size",
)
_OF_IMAGES += ("reference_band", "rebin", "pixel_scale_arcsec", "zero_is_missing", "background")


class BandSettings(Section):
    """One band of a survey: where its pixels are and how they are calibrated."""

    name: Name
    """Name of the band."""
    extension: Template | int | None = None
    """Extension of the FITS file or array (name or number, `{column}` is filled in); by default the band's name where
    files hold several bands, the survey's `extension`, or the first image."""
    plane: Annotated[int, Field(ge=0)] | None = None
    """Plane of a cube or channel of an RGB image; by default the position of the band in the list."""
    path: Template | None = None
    """Path template of this band's file, instead of the survey's."""
    zero_point: Annotated[float, Field(ge=-60, le=45)] | None = None
    """AB magnitude of one count per pixel; without it the header's, else fluxes stay relative."""
    background: float = 0.0
    """Constant to subtract from every pixel, in the counts of the file."""
    magnitude: str | None = None
    """Column of the AB magnitude; layout `table`. 99 and the like: not detected; -99 and the like, 0: not observed."""
    flux: str | None = None
    """Column of the flux, instead of the magnitude; its unit is that of the column, or `zero_point` gives it."""
    error: str | None = None
    """Column of the error of magnitude or flux; for objects that are not detected, that of the limiting magnitude."""
    extinction: str | Annotated[float, Field(ge=0, le=20)] | None = None
    """Galactic extinction to correct for: a column in magnitudes, or A / E(B-V) for the reddening in `ebv_column`."""


class PlaneSettings(Section):
    """Planes that belong to the images, on the same pixel grid."""

    path: Template | None = None
    """Path template, `{band}` and `{column}` are filled in; by default the file of the band."""
    replace: tuple[str, str] | None = None
    """Instead of a path: a text in the path of the band's image, and what stands there in that of the plane."""
    extension: Template | int | None = None
    """Extension of the FITS file or array, `{band}` and `{column}` are filled in; by default the first image."""
    plane: Annotated[int, Field(ge=0)] | None = None
    """Plane of a cube; by default the position of the band in the list."""

    @model_validator(mode="after")
    def _one_path(self) -> "PlaneSettings":
        if self.path is not None and self.replace is not None:
            raise ValueError("give `path` or `replace`, not both")
        return self

    def template(self, of_image: str) -> str:
        """Return the path template of the plane for that of its image."""
        return self.path if self.path is not None else of_image.replace(*(self.replace or ("", "")))


class NoiseSettings(PlaneSettings):
    """Noise of each pixel."""

    kind: Literal["variance", "sigma", "weight"] = "variance"
    """Content of the pixels: variance, its square root, or its inverse (weight 0: no data)."""


class MaskSettings(PlaneSettings):
    """Pixels that must not be used."""

    bits: tuple[Annotated[int, Field(ge=0, lt=31)], ...] | None = None
    """Bit numbers that mask a pixel, from 0."""
    values: tuple[int, ...] | None = None
    """Values that mask a pixel; with neither bits nor values every value but zero does."""

    @model_validator(mode="after")
    def _one_kind(self) -> "MaskSettings":
        if self.bits is not None and self.values is not None:
            raise ValueError("give `bits` or `values`, not both")
        return self


class PsfSettings(PlaneSettings):
    """Point-spread function of each object and band, centred on its pixel n // 2."""

    size: Annotated[int, Field(ge=3, le=1024)] | None = None
    """Side in pixels of the stored PSF: central crop, or pad with zeros; by default that of the first object."""


class LabelSettings(Section):
    """Pixel labels: one FITS file per object with an extension per label."""

    path: Template
    """Path template of the label file."""
    extensions: dict[Name, str | int]
    """Label name -> extension (name or number)."""


class DataSettings(Section):
    """A real survey: a catalogue and images."""

    root: str = "."
    """Folder of catalogue and images (environment variables are expanded); no path may leave it."""
    catalog: str
    """Table that astropy reads (FITS, ECSV, CSV, VOTable), relative to `root`."""
    layout: Annotated[str, PluginName("astrodl.layouts", LAYOUTS)]
    """Per object one FITS with an extension per band, one FITS (or one extension) per band, a cube, a JPEG or PNG; or
    for all objects an array (objects, bands, y, x) in an HDF5 or NPZ file; or images of the sky to cut from; or no
    images: magnitudes or fluxes in the columns of the catalogue."""
    path: Template | None = None
    """Path template relative to `root`; `{column}` stands for a catalogue column, `{band}` for the band's name."""
    bands: Annotated[tuple[BandSettings, ...], Field(min_length=1)]
    """Bands in the order of the store."""
    extension: Template | int | None = None
    """Extension or array of all bands that name none."""
    id_column: str | None = "object_id"
    """Catalogue column with the unique identifier; null, in layout `table`: the number of the row, from 1."""
    ra_column: str | None = None
    """Right ascension in degrees; with `dec_column` it decides the splits."""
    dec_column: str | None = None
    """Declination in degrees."""
    x_column: str | None = None
    """Column of the mosaic, in pixels, instead of the right ascension; layout `mosaic`."""
    y_column: str | None = None
    """Row of the mosaic, in pixels."""
    pixel_origin: Literal[0, 1] = 0
    """Coordinate of the first pixel's centre in `x_column` and `y_column`."""
    index_column: str | None = None
    """Column with the object's place in the array, from 0; by default its row in the catalogue; layout `arrays`."""
    ebv_column: str | None = None
    """Galactic reddening E(B-V) in magnitudes, for the photometric redshifts."""
    split_column: str | None = None
    """Column with the split of each object, instead of a division by `split`: `train`, `validation`, `test`, or empty
    for an object that is predicted only."""
    fold_column: str | None = None
    """Column with the cross-validation fold of each training and validation object, from 0 to `split.folds` - 1; with
    `split_column`."""
    columns: dict[Name, str] = Field(default={})
    """Columns to keep: name in the store -> catalogue column (for example `z: z_spec`)."""
    replace: dict[Name, dict[str, str]] = Field(default={})
    """Per kept text column: values to rename."""
    missing: dict[Name, tuple[float | str, ...]] = Field(default={})
    """Per kept column, `ra`, `dec`, `x`, `y`, `ebv` or photometry (`g.flux`): values that stand for a missing one,
    instead of the usual placeholders (-99, 9999, 1e20, N/A ...); an empty list keeps all."""
    labels: LabelSettings | None = None
    """Pixel labels, where there are any."""
    noise: NoiseSettings | None = None
    """Variance, sigma or weight planes, where there are any."""
    masks: tuple[MaskSettings, ...] = ()
    """Mask planes; a pixel that one of them masks is not used."""
    psf: PsfSettings | None = None
    """Point-spread functions, where there are any."""
    error_kind: Literal["sigma", "variance", "weight"] = "sigma"
    """Content of the columns of errors of fluxes: sigma, its square, or the inverse of its square; layout `table`."""
    reference_band: Name | None = None
    """Band whose pixel grid the others of a mosaic are brought to; by default the first."""
    size: Annotated[int, Field(ge=16, le=4096, multiple_of=8)] = 64
    """Side of the stored cutout in pixels: central crop, or pad with NaN."""
    rebin: Annotated[int, Field(ge=1, le=256)] = 1
    """Sum blocks of this many pixels on a side before cropping."""
    pixel_scale_arcsec: Annotated[float, Field(gt=0)] | None = None
    """Pixel scale of the stored cutout; by default from the first WCS."""
    zero_is_missing: bool = False
    """Treat pixels that are exactly zero as not observed, in connected regions at the border of the image."""
    background: Literal["none", "border"] = "none"
    """Subtract nothing, or the sigma-clipped median of the cutout's border."""
    max_bad_fraction: Fraction = 0.1
    """Stop when more than this fraction of the objects is quarantined."""

    def template(self, band: BandSettings) -> str:
        """Return the path template of a band: its own, or that of the survey."""
        template = band.path if band.path is not None else self.path
        assert template is not None
        return template

    @property
    def has_images(self) -> bool:
        """Whether the survey has images, and not the columns of a catalogue alone."""
        return self.layout != "table"

    @property
    def photometry_columns(self) -> dict[str, str]:
        """Catalogue columns of the photometry of a survey without images, by band and kind (``r.magnitude``)."""
        columns = {f"{band.name}.{kind}": getattr(band, kind) for band in self.bands for kind in _PHOTOMETRY}
        return {role: name for role, name in columns.items() if isinstance(name, str)}

    @property
    def template_columns(self) -> set[str]:
        """Catalogue columns in path and extension templates."""
        planes = [plane for plane in (self.noise, self.psf, *self.masks) if plane is not None]
        templates = [section.extension for section in (self, *self.bands, *planes)]
        templates += [self.path, *(band.path for band in self.bands), self.labels.path if self.labels else None]
        templates += [plane.template(band.path or self.path or "") for plane in planes for band in self.bands]
        fields = (template_fields(template) for template in templates if isinstance(template, str))
        return set().union(*fields) - {"band"}

    def _sources(self) -> list[tuple[object, ...]]:
        """Return what tells the image of each band from others: templates, plane, and name if a template has it."""
        sources: list[tuple[object, ...]] = []
        for position, band in enumerate(self.bands):
            by_name = band.name if self.layout == "extensions" else None
            extension = next((one for one in (band.extension, self.extension, by_name) if one is not None), None)
            plane = position if band.plane is None and self.layout not in ("extensions", "files") else band.plane
            path = band.path or self.path
            sources.append((path, extension, plane, band.name if "{band" in f"{path}{extension}" else ""))
        return sources

    @field_validator("bands")
    @classmethod
    def _distinct(cls, bands: tuple[BandSettings, ...]) -> tuple[BandSettings, ...]:
        names = [band.name for band in bands]
        if len(set(names)) < len(names):
            raise ValueError(f"a band is named twice in {names}")
        return bands

    def _check_table(self) -> None:
        """Check the settings of a survey without images, and that no other has columns of photometry."""
        for band in self.bands:
            given = [kind for kind in _PHOTOMETRY if getattr(band, kind) is not None]
            if self.has_images and given:
                raise ValueError(f"`{given[0]}` of band {band.name} belongs to layout table; remove it")
            if not self.has_images and (band.magnitude is None) == (band.flux is None):
                raise ValueError(f"layout table: give band {band.name} a `magnitude` or a `flux` column")
            if band.magnitude is not None and band.zero_point is not None:
                raise ValueError(f"`zero_point` of band {band.name} goes with `flux`; a `magnitude` is AB")
            if isinstance(band.extinction, float) and self.ebv_column is None:
                raise ValueError(f"`extinction` of band {band.name} is A / E(B-V), which needs `ebv_column`")
        if self.has_images and (self.error_kind != "sigma" or self.id_column is None):
            raise ValueError("`error_kind` and `id_column: null` belong to layout table; correct them")
        if not self.has_images:
            bands = [(f"bands.{n}.{key}", key, band) for n, band in enumerate(self.bands) for key in _OF_BAND_IMAGES]
            places = [*bands, *((key, key, self) for key in _OF_IMAGES)]
            unused = [
                place
                for place, key, section in places
                if getattr(section, key) != type(section).model_fields[key].get_default()
            ]
            if unused:
                raise ValueError(f"`{unused[0]}` belongs to images, layout table has none; remove it")
            columns = [band.magnitude or band.flux for band in self.bands]
            if len(set(columns)) < len(columns):
                raise ValueError(f"two bands have the same column in {columns}")

    @model_validator(mode="after")
    def _complete(self) -> "DataSettings":
        self._check_table()
        if self.has_images and self.path is None and any(band.path is None for band in self.bands):
            raise ValueError("give `path`, or a `path` for each band")
        sources = self._sources() if self.has_images else []
        for number, source in enumerate(sources):
            if source in sources[:number]:
                same = f"bands {self.bands[sources.index(source)].name} and {self.bands[number].name}"
                raise ValueError(f"{same} are the same image; give each its `path`, `extension` or `plane`")
        if (self.ra_column is None) != (self.dec_column is None):
            raise ValueError("give both `ra_column` and `dec_column`, or neither")
        if (self.x_column is None) != (self.y_column is None):
            raise ValueError("give both `x_column` and `y_column`, or neither")
        if self.fold_column is not None and self.split_column is None:
            raise ValueError("`fold_column` goes with a `split_column`; give both, or neither")
        if self.layout == "mosaic" and self.x_column is None and self.ra_column is None:
            raise ValueError("layout mosaic needs `ra_column` and `dec_column`, or `x_column` and `y_column`")
        images = [band.path or self.path or "" for band in self.bands]
        for plane in (self.noise, self.psf, *self.masks):
            if plane is not None and plane.replace and not all(plane.replace[0] in image for image in images):
                raise ValueError(f"the text '{plane.replace[0]}' to replace is not in the path of every band")
        self.template_columns  # noqa: B018  raises if `replace` makes a template that is not valid
        if self.layout == "mosaic" and self.labels is not None:
            raise ValueError("layout mosaic has no `labels`")
        if self.layout == "rgb" and (self.noise is not None or self.psf is not None or self.masks):
            raise ValueError("layout rgb has no `noise`, `masks` or `psf`: pictures are scaled for display")
        for key, known in (
            ("replace", {*self.columns}),
            ("missing", {*self.columns, "ra", "dec", "x", "y", "ebv", *self.photometry_columns}),
        ):
            if unknown := sorted(getattr(self, key).keys() - known):
                raise ValueError(
                    f"`{key}` names '{unknown[0]}', which is none of {', '.join(sorted(known)) or 'no columns'}"
                )
        if self.reference_band is not None and self.reference_band not in [band.name for band in self.bands]:
            raise ValueError(f"`reference_band` {self.reference_band} is not among the bands")
        return self
