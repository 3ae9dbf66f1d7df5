"""Configuration sections shared by all tasks: frozen, typed, unknown keys refused.

The sections of the tasks live with the tasks; `astrodl.schema` composes all of them into the root configuration.
"""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from astrodl.errors import ConfigError

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$")]


class Section(BaseModel):
    """Base of every configuration section."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class InstrumentSettings(Section):
    """A band of a simulated survey: changes to a known one, or a new one."""

    throughput: str | None = None
    """Table of wavelength and throughput: its name among GalSim's band-passes, or the path of a text file."""
    wave_type: Literal["nm", "Angstrom"] | None = None
    """Unit of the wavelengths in the table."""
    zero_point: float | None = None
    """AB magnitude of one electron per second; by default from throughput and collecting area of a known band."""
    psf: Literal["hst", "kolmogorov", "moffat", "gaussian"] | None = None
    """Kind of point-spread function; `hst` is diffraction at HST's aperture convolved with a Gaussian."""
    fwhm_arcsec: Annotated[float, Field(gt=0)] | None = None
    """Full width at half maximum of the point-spread function, without the pixel."""
    depth: float | None = None
    """AB magnitude of a 5-sigma detection, which sets the noise of the sky."""
    aperture_arcsec: Annotated[float, Field(gt=0)] | None = None
    """Radius of the aperture for which `depth` holds; without it `depth` is that of a point source."""
    sky: Annotated[float, Field(gt=0)] | None = None
    """Instead of `depth`: sky level in electrons / s / arcsec^2, read noise and dark current included."""
    exposure_s: Annotated[float, Field(gt=0)] | None = None
    """Exposure in seconds: photon noise of the galaxies, and of the sky where `sky` is given (new bands: 1000)."""
    native_pixel_arcsec: Annotated[float, Field(gt=0)] | None = None
    """Side of a detector pixel, for `correlated_noise`; by default that of the cutouts."""

    @model_validator(mode="after")
    def _one_noise(self) -> "InstrumentSettings":
        if self.depth is not None and self.sky is not None:
            raise ValueError("give `depth` or `sky`, not both")
        return self


SURVEY_DEFAULTS: dict[str, dict[str, Any]] = {
    "candels": {
        "bands": ("F435W", "F606W", "F775W", "F850LP", "F160W"),
        "pixel_scale_arcsec": 0.06,
        "magnitude_limit": 24.0,
    },
    "lsst": {"bands": ("u", "g", "r", "i", "z", "y"), "pixel_scale_arcsec": 0.2, "magnitude_limit": 24.0},
    "hst": {"bands": ("F606W", "F814W"), "pixel_scale_arcsec": 0.06, "magnitude_limit": 24.0},
}
"""What a survey's name sets where the configuration is silent; `astrodl.survey.surveys` describes the bands."""


class SimulateSettings(Section):
    """A simulated survey with known truth."""

    survey: Literal["candels", "lsst", "hst"] = "candels"
    """Whose bands, depths and point-spread functions, and the defaults of `bands`, `pixel_scale_arcsec` and
    `magnitude_limit`: HST's CANDELS, ten years of Rubin's LSST, or one orbit of HST in any band."""
    n_objects: Annotated[int, Field(ge=1)] = 3000
    """Number of galaxies."""
    size: Annotated[int, Field(ge=16, multiple_of=8)] = 64
    """Side of a cutout in pixels."""
    pixel_scale_arcsec: Annotated[float, Field(gt=0)] = 0.06
    """Pixel scale in arcsec; 0.2 for `lsst`."""
    bands: Annotated[tuple[Name, ...], Field(min_length=1)] = ("F435W", "F606W", "F775W", "F850LP", "F160W")
    """Band-passes, blue to red: of the survey, of the library in `astrodl.survey.bands`, or of `instruments`;
    u, g, r, i, z, y for `lsst`."""
    instruments: dict[Name, InstrumentSettings] = {}
    """Bands by name that differ from the survey's, or that it does not have."""
    truth_band: Name | None = None
    """Band of the bulge, disk and clump truth maps; by default the middle band."""
    magnitude_limit: Annotated[float, Field(gt=15, lt=30)] = 24.0
    """Faintest AB magnitude in the truth band."""
    count_slope: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Slope d log10 N / dm of the number counts; by default that of the luminosity functions. A flatter one gives more
    bright galaxies."""
    balance: Annotated[float, Field(ge=0, le=1)] = 0.7
    """How far the shares of the classes are moved from those of a flux-limited survey (0) to equal ones (1)."""
    template_scatter: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Deviation of real spectra from the templates, in magnitudes at optical wavelengths at rest; 0: none."""
    isophote: Annotated[float, Field(gt=15, lt=35)] = 26.0
    """Surface brightness in mag / arcsec^2 of the truth band down to which the truth's segmentation reaches."""
    neighbours_per_arcmin2: Annotated[float, Field(ge=0)] | None = None
    """Density of other galaxies of the population on the sky, anywhere in the stamp; by default a few fainter ones
    beside the galaxy."""
    correlated_noise: bool = False
    """Let neighbouring pixels share noise as drizzling does; the variance stays."""
    variance: bool = False
    """Write the variance of each pixel as extensions `VAR_{band}`, which the ingestion then reads."""
    votes: Annotated[int, Field(ge=0)] = 0
    """Number of volunteers who vote on the class of each galaxy, in columns `votes_{class}`."""
    oddity_fraction: Fraction = 0.05
    """Fraction of objects that carry an injected oddity."""
    seed: Annotated[int, Field(ge=0)] = 1
    """Seed of the whole survey."""

    @model_validator(mode="before")
    @classmethod
    def _survey_defaults(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        return {**SURVEY_DEFAULTS.get(str(given.get("survey")), {}), **given}


class BandSettings(Section):
    """One band of a survey: where its pixels are and how they are calibrated."""

    name: Name
    """Name of the band."""
    extension: str | int | None = None
    """Extension of the FITS file or array (name or number, `{column}` is filled in); by default the band's name where
    files hold several bands, the survey's `extension`, or the first image."""
    plane: Annotated[int, Field(ge=0)] | None = None
    """Plane of a cube or channel of an RGB image; by default the position of the band in the list."""
    path: str | None = None
    """Path template of this band's file, instead of the survey's."""
    zero_point: float | None = None
    """AB magnitude of one count per pixel; without it the header's, else fluxes stay relative."""
    background: float = 0.0
    """Constant to subtract from every pixel, in the counts of the file."""


class PlaneSettings(Section):
    """Where the planes that go with the images are; pixels match those of the image."""

    path: str | None = None
    """Path template, `{band}` and `{column}` are filled in; by default the file of the band."""
    replace: tuple[str, str] | None = None
    """Instead of a path: a text in the path of the band's image, and what stands there in that of the plane."""
    extension: str | int | None = None
    """Extension of the FITS file or array, `{band}` and `{column}` are filled in; by default the first image."""
    plane: Annotated[int, Field(ge=0)] | None = None
    """Plane of a cube; by default the position of the band in the list."""

    @model_validator(mode="after")
    def _one_path(self) -> "PlaneSettings":
        if self.path is not None and self.replace is not None:
            raise ValueError("give `path` or `replace`, not both")
        return self

    def template(self, of_image: str) -> str:
        """Give the path template of the plane from that of the image it goes with."""
        return self.path if self.path is not None else of_image.replace(*(self.replace or ("", "")))


class NoiseSettings(PlaneSettings):
    """Noise of each pixel."""

    kind: Literal["variance", "sigma", "weight"] = "variance"
    """What the pixels are: variance, its root, or its inverse (weight 0: no data)."""


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

    size: Annotated[int, Field(ge=3)] | None = None
    """Side in pixels of the stored PSF: central crop, or pad with zeros; by default that of the first object."""


class LabelSettings(Section):
    """Pixel labels: one FITS file per object with an extension per label."""

    path: str
    """Path template of the label file."""
    extensions: dict[Name, str | int]
    """Label name -> extension (name or number)."""


class DataSettings(Section):
    """A real survey: a catalogue and images."""

    root: str = "."
    """Folder of catalogue and images (environment variables are expanded); no path may leave it."""
    catalog: str
    """Table that astropy reads (FITS, ECSV, CSV, VOTable), relative to `root`."""
    layout: Literal["extensions", "files", "cube", "rgb", "arrays", "mosaic"]
    """Per object one FITS with an extension per band, one FITS (or one extension) per band, a cube, a JPEG or PNG; or
    for all objects an array (objects, bands, y, x) in an HDF5 or NPZ file; or images of the sky to cut from."""
    path: str | None = None
    """Path template relative to `root`; `{column}` stands for a catalogue column, `{band}` for the band's name."""
    bands: Annotated[tuple[BandSettings, ...], Field(min_length=1)]
    """Bands in the order of the store."""
    extension: str | int | None = None
    """Extension or array of all bands that name none."""
    id_column: str = "object_id"
    """Catalogue column with the unique identifier."""
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
    columns: dict[Name, str] = {}
    """Columns to keep: name in the store -> catalogue column (for example `z: z_spec`)."""
    replace: dict[Name, dict[str, str]] = {}
    """Per kept text column: values to rename."""
    labels: LabelSettings | None = None
    """Pixel labels, where there are any."""
    noise: NoiseSettings | None = None
    """Variance, sigma or weight planes, where there are any."""
    masks: tuple[MaskSettings, ...] = ()
    """Mask planes; a pixel that one of them masks is not used."""
    psf: PsfSettings | None = None
    """Point-spread functions, where there are any."""
    reference_band: Name | None = None
    """Band whose pixel grid the others of a mosaic are brought to; by default the first."""
    size: Annotated[int, Field(ge=16, multiple_of=8)] = 64
    """Side of the stored cutout in pixels: central crop, or pad with NaN."""
    rebin: Annotated[int, Field(ge=1)] = 1
    """Sum blocks of this many pixels on a side before cropping."""
    pixel_scale_arcsec: Annotated[float, Field(gt=0)] | None = None
    """Pixel scale of the stored cutout; by default from the first WCS."""
    zero_is_missing: bool = False
    """Treat pixels that are exactly zero as not observed."""
    background: Literal["none", "border"] = "none"
    """Subtract nothing, or the sigma-clipped median of the cutout's border."""
    max_bad_fraction: Fraction = 0.1
    """Stop when more than this fraction of the objects is quarantined."""

    @field_validator("bands")
    @classmethod
    def _distinct(cls, bands: tuple[BandSettings, ...]) -> tuple[BandSettings, ...]:
        names = [band.name for band in bands]
        if len(set(names)) < len(names):
            raise ValueError(f"a band is named twice in {names}")
        return bands

    @model_validator(mode="after")
    def _complete(self) -> "DataSettings":
        if self.path is None and any(band.path is None for band in self.bands):
            raise ValueError("give `path`, or a `path` for each band")
        if (self.ra_column is None) != (self.dec_column is None):
            raise ValueError("give both `ra_column` and `dec_column`, or neither")
        if (self.x_column is None) != (self.y_column is None):
            raise ValueError("give both `x_column` and `y_column`, or neither")
        if self.layout == "mosaic" and self.x_column is None and self.ra_column is None:
            raise ValueError("layout mosaic needs `ra_column` and `dec_column`, or `x_column` and `y_column`")
        images = [band.path or self.path or "" for band in self.bands]
        for plane in (self.noise, self.psf, *self.masks):
            if plane is not None and plane.replace and not all(plane.replace[0] in image for image in images):
                raise ValueError(f"the text '{plane.replace[0]}' to replace is not in the path of every band")
        if self.layout == "mosaic" and self.labels is not None:
            raise ValueError("layout mosaic has no `labels`")
        if self.reference_band is not None and self.reference_band not in [band.name for band in self.bands]:
            raise ValueError(f"`reference_band` {self.reference_band} is not among the bands")
        return self


class SplitSettings(Section):
    """How objects are divided into training, validation and test."""

    validation: Fraction = 0.1
    """Fraction of objects for validation (with one fold)."""
    test: Annotated[float, Field(ge=0.0, le=1.0)] = 0.2
    """Fraction of objects for the test split; 1: all of them, for a survey on which nothing is trained."""
    folds: Annotated[int, Field(ge=1)] = 1
    """Number of cross-validation folds of what is not test."""
    nside: Annotated[int, Field(ge=1)] = 1024
    """HEALPix resolution of the cells that stay together (a power of two)."""
    separation_arcsec: Annotated[float, Field(ge=0, le=3600)] = 5.0
    """Objects closer than this stay together, in chains and across the borders of cells; 0: cells alone."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the split."""

    @model_validator(mode="after")
    def _sane(self) -> "SplitSettings":
        if self.validation + self.test >= 1 and (self.test < 1 or self.validation > 0):
            raise ValueError(
                f"validation + test is {self.validation + self.test:g}, must stay below 1 (or test 1 and validation 0)"
            )
        if self.nside & (self.nside - 1):
            raise ValueError(f"nside is {self.nside}, must be a power of two")
        return self


class IngestSettings(Section):
    """What `astrodl ingest` needs: the data and how to split it."""

    survey: Name = "demo"
    """Name of the survey, recorded in the store."""
    data: DataSettings
    split: SplitSettings = SplitSettings()


class TrainSettings(Section):
    """The training loop; a task overrides defaults in a subclass."""

    epochs: Annotated[int, Field(ge=1)] = 20
    """Passes over the training split."""
    batch_size: Annotated[int, Field(ge=2)] = 64
    """Objects per update."""
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    """Optimizer of every phase."""
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    """Peak learning rate."""
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    """Decoupled weight decay (AdamW) or L2 penalty (the others)."""
    betas: tuple[Fraction, Fraction] = (0.9, 0.99)
    """Moment decay rates of Adam and AdamW; the first is the momentum of SGD."""
    schedule: Literal["cosine", "plateau", "constant"] = "cosine"
    """Learning-rate schedule after the warm-up."""
    warmup: Fraction = 0.05
    """Fraction of all updates over which the learning rate rises linearly."""
    clip: Annotated[float, Field(gt=0)] | None = 5.0
    """Largest gradient norm; null: no clipping."""
    ema: Fraction = 0.0
    """Decay of the moving average of the weights that is validated and saved; 0: the weights themselves."""
    patience: Annotated[int, Field(ge=1)] | None = None
    """Stop after this many epochs without improvement of the validation loss; null: never."""
    validate_every: Annotated[int, Field(ge=1)] = 1
    """Validate after every so many epochs (and the last)."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Autocast while training: auto is bfloat16 where the device has it natively (CUDA, AVX512-BF16), else float32."""
    compile: bool = False
    """Pass the network through `torch.compile`."""


class TaskSettings(Section):
    """Base of the tasks' sections."""

    folds: Annotated[tuple[int, ...], Field(min_length=1)] = (0,)
    """Folds to train; each is a job."""
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0,)
    """Seeds to train; each is a job, predictions average over them."""
    train: TrainSettings = TrainSettings()


SectionT = TypeVar("SectionT", bound=Section)


def parse(section: type[SectionT], values: Mapping[str, Any], source: str = "settings") -> SectionT:
    """Validate `values` as `section`.

    Raises
    ------
    ConfigError
        One line for the first key that is wrong: source, key, value, what is accepted.
    """
    try:
        return section.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(section, error, source)) from None


def _explain(section: type[Section], error: ValidationError, source: str) -> str:
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"]) or "(root)"
    more = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        known = ", ".join(_siblings(section, first["loc"]))
        return f"{source}: key '{key}' is not known; accepted here: {known}; correct or remove it{more}"
    if first["type"] == "missing":
        return f"{source}: key '{key}' is missing; add it{more}"
    message = first["msg"].removeprefix("Value error, ").replace("Input should", "must")
    return f"{source}: {key} = {first['input']!r:.80}: {message}; correct the value{more}"


def _siblings(section: type[Section], location: tuple[int | str, ...]) -> list[str]:
    """List the keys accepted beside the last part of `location`."""
    schema = node = section.model_json_schema()
    for part in location[:-1]:
        node = _resolve(node, schema)
        named = next(iter(node.get("patternProperties", {}).values()), None)
        options = (node.get("properties", {}).get(part), node.get("items"), named, node.get("additionalProperties"))
        node = next((option for option in options if isinstance(option, dict)), {})
    return sorted(_resolve(node, schema).get("properties", {}))


def _resolve(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    node = next((option for option in node.get("anyOf", []) if option.get("type") != "null"), node)
    return schema["$defs"][node["$ref"].rsplit("/", 1)[1]] if "$ref" in node else node


def read_yaml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a YAML or JSON mapping from a file.

    Raises
    ------
    ConfigError
        Missing file, broken YAML, or something else than a mapping.
    """
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path}: cannot be read ({reason}); give an existing YAML file") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", error)
        raise ConfigError(f"{path}: not valid YAML{where} ({problem}); correct the file") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        kind = type(values).__name__
        raise ConfigError(f"{path}: holds a {kind}, must hold a mapping of keys to values; correct the file")
    return values


def read_settings(text: str | None) -> tuple[dict[str, Any], str]:
    """Read settings given on the command line: JSON text, the path of a YAML file, or nothing.

    Returns
    -------
    values, source
        The mapping and how to name it in messages.
    """
    if not text:
        return {}, "settings"
    if not text.lstrip().startswith("{"):
        return read_yaml(text), text
    try:
        return json.loads(text), "settings"
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"settings: not valid JSON at character {error.pos} ({error.msg}); correct the text"
        ) from None


def canonical_json(section: Section) -> str:
    """Give the one JSON text that equal sections share (sorted keys, no spaces)."""
    return json.dumps(section.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))


def expand(path: str) -> str:
    """Expand `~` and environment variables in a path.

    Raises
    ------
    ConfigError
        A variable is not set.
    """
    expanded = os.path.expanduser(os.path.expandvars(path))
    unset = re.findall(r"\$\{?(\w+)", expanded)
    if unset:
        raise ConfigError(
            f"path '{path}': the environment variable {unset[0]} is not set; set it or write the path itself"
        )
    return expanded
