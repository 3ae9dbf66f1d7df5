"""Pixel grids on the sky: positions in any celestial frame, with the distortions of the detector."""

import re
import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from astropy import units
from astropy.coordinates import ICRS, BaseCoordinateFrame, UnitSphericalRepresentation
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from astropy.wcs import WCS, DistortionLookupTable, NoConvergence, Sip
from astropy.wcs.utils import proj_plane_pixel_scales, wcs_to_celestial_frame
from numpy.typing import NDArray

from astrodl.fits import AUXILIARY_IMAGES, UnreadableError

__all__ = ["SkyGrid", "read_sky_grid"]

_ROUND_TRIP_PIXELS = 0.1
_SOLUTION = re.compile(
    r"WCSNAME|WCSAXES|C(TYPE|UNIT|RVAL|RPIX|DELT|ROTA)[12]|(CD|PC)[12]_[12]|P[VS][12]_\d+|(LON|LAT)POLE"
    r"|[AB]P?_(ORDER|DMAX|\d_\d)|RADESYS|RADECSYS|EQUINOX|EPOCH"
)
"""Keywords of a celestial WCS without lookup tables."""
_NUMBERS = re.compile(
    r"C(RVAL|RPIX|DELT|ROTA)[12]|(CD|PC)[12]_[12]|PV[12]_\d+|(LON|LAT)POLE|[AB]P?_(ORDER|\d_\d)|EQUINOX"
)
"""Those that hold numbers; wcslib takes the default, such as 0, for anything else."""
_EPOCHS = (1950.0, 2000.0)
"""Values of EPOCH that stand for an equinox; others are the date of the observation."""

_Pair = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class SkyGrid:
    """A pixel grid on the sky.

    Parameters
    ----------
    wcs
        Its celestial WCS, with two axes in any order.
    """

    wcs: WCS

    @cached_property
    def frame(self) -> BaseCoordinateFrame:
        """Celestial frame of the header, with its equinox.

        Raises
        ------
        UnreadableError
            If astropy does not know it.
        """
        try:
            return wcs_to_celestial_frame(self.wcs)
        except ValueError:
            system = f"CTYPE {', '.join(self.wcs.wcs.ctype)}, RADESYS {self.wcs.wcs.radesys or 'not given'}"
            raise UnreadableError(f"the frame of the celestial coordinates is not known ({system})") from None

    @property
    def pixel_scale_arcsec(self) -> float | None:
        """Geometric mean of the pixel scales of both axes at the reference pixel; None if it is not a length."""
        scale = float(np.sqrt(np.prod(proj_plane_pixel_scales(self.wcs))) * 3600)
        return scale if np.isfinite(scale) and scale > 0 else None

    def to_pixel(self, longitude: Any, latitude: Any, frame: BaseCoordinateFrame | None = None) -> _Pair:
        """Convert sky positions to pixels, as `astropy.wcs.WCS.world_to_pixel` does.

        Parameters
        ----------
        longitude, latitude
            Positions in degrees.
        frame
            Their frame, by default ICRS.

        Returns
        -------
        column, row
            From 0; NaN where the projection or the distortion has no solution.
        """
        sky = _transform(longitude, latitude, frame, self.frame)
        x, y = self.to_undistorted_pixel(*sky, self.frame)
        known = np.isfinite(x) & np.isfinite(y)
        if self.wcs.has_distortion and known.any():
            try:
                x[known], y[known] = self.wcs.all_world2pix(*self._in_order([axis[known] for axis in sky]), 0)
            except NoConvergence as error:
                x[known], y[known] = np.array(error.best_solution, float).T
        # The iteration can fail, and projections can have more than one position for a pixel.
        longitude, latitude = self.to_sky(x, y)
        with np.errstate(invalid="ignore"):
            turn = (longitude - sky[0] + 180) % 360 - 180
            off = np.hypot(turn * np.cos(np.radians(sky[1])), latitude - sky[1])
        lost = ~(off <= _ROUND_TRIP_PIXELS * (self.pixel_scale_arcsec or np.nan) / 3600)
        return np.where(lost, np.nan, x), np.where(lost, np.nan, y)

    def to_undistorted_pixel(self, longitude: Any, latitude: Any, frame: BaseCoordinateFrame | None = None) -> _Pair:
        """Convert sky positions to pixels without the distortions, which are only known within the image."""
        sky = _transform(longitude, latitude, frame, self.frame)
        with np.errstate(all="ignore"):
            x, y = self.wcs.wcs_world2pix(*self._in_order(sky), 0)
        return x, y

    def to_sky(self, x: Any, y: Any) -> _Pair:
        """Convert columns and rows, from 0, to longitude and latitude in degrees in the frame of the grid."""
        with np.errstate(all="ignore"):
            longitude, latitude = self._in_order(self.wcs.all_pix2world(x, y, 0))
        return longitude, latitude

    def shifted(self, top: float, left: float) -> WCS:
        """Return the WCS of a box that begins at a pixel, which may lie outside the image (slices must not)."""
        shifted = self.wcs.deepcopy()
        offset = np.array([left, top])
        shifted.wcs.crpix = shifted.wcs.crpix - offset
        if shifted.sip is not None:
            sip = shifted.sip
            shifted.sip = Sip(sip.a, sip.b, sip.ap, sip.bp, sip.crpix - offset)
        for name in ("cpdis1", "cpdis2", "det2im1", "det2im2"):
            table = getattr(shifted, name)
            if table is not None:
                moved = DistortionLookupTable(table.data, table.crpix, table.crval - offset, table.cdelt)
                setattr(shifted, name, moved)
        return shifted

    def _in_order(self, pair: Any) -> _Pair:
        """Swap longitude and latitude, or first and second axis, if the header has the latitude first."""
        first, second = pair
        return (second, first) if self.wcs.wcs.lng == 1 else (first, second)


def read_sky_grid(header: fits.Header, file: fits.HDUList) -> SkyGrid | None:
    """Read the pixel grid of an image.

    Parameters
    ----------
    header
        The header of the image.
    file
        Its file, which holds the lookup tables of distortions and the primary header.

    Returns
    -------
    SkyGrid or None
        None if the header has no celestial coordinates.

    Raises
    ------
    UnreadableError
        If the header has celestial coordinates that cannot be used.
    """
    # wcslib can hang on a header with two NAXIS, and its memory grows with the number of axes.
    if header.count("NAXIS") != 1 or header.get("WCSAXES", 2) not in range(10):
        return None
    header = _inherit(header, file)
    _require_numbers(header)
    has_tables = any(f"{card}{axis}" in header for card in ("CPDIS", "D2IMDIS") for axis in (1, 2))
    if has_tables and any(hdu.name in AUXILIARY_IMAGES and isinstance(hdu, fits.CompImageHDU) for hdu in file):
        raise UnreadableError("the lookup tables of the distortion are tile-compressed; unpack the file with funpack")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyWarning)  # cards that astropy fixes
            wcs = WCS(header, file, naxis=2)  # which deletes cards
            grid = SkyGrid(wcs) if wcs.has_celestial else None
            if grid is not None:
                grid.to_pixel(0.0, 0.0)
    except Exception as error:  # astropy and wcslib raise many types for damaged headers
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise UnreadableError(f"the celestial coordinates (WCS) of the header cannot be used ({reason})") from None
    return grid


def _require_numbers(header: fits.Header) -> None:
    """Check that cards of the solution hold numbers; an equinox such as J2000 becomes one.

    Raises
    ------
    UnreadableError
        The first card that does not, in a header with celestial axes.
    """
    if isinstance(text := header.get("EQUINOX"), str) and (match := re.fullmatch(r" *[JB]?(\d{4}(\.\d*)?) *", text)):
        header["EQUINOX"] = float(match[1])
    if not any(re.match(r"RA--|DEC-|[A-Z]{1,2}L(ON|AT|N|T)-", str(header.get(f"CTYPE{axis}"))) for axis in (1, 2)):
        return
    for key, value in header.items():
        if _NUMBERS.fullmatch(key) and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise UnreadableError(
                f"the celestial coordinates (WCS) of the header cannot be used ({key} is {value!r:.40}, not a number)"
            )


def _inherit(header: fits.Header, file: fits.HDUList) -> fits.Header:
    """Return a copy of a header, with what it lacks of the celestial WCS taken from the primary header.

    An extension with a solution of its own inherits the frame, RADESYS and EQUINOX, unless INHERIT is F. One without
    any card of a solution inherits all of it if INHERIT is T, or if it is the only image of the file.

    Raises
    ------
    UnreadableError
        The frame would be made of two that contradict each other.
    """
    completed, primary = header.copy(), file[0].header
    if primary is header or header.get("INHERIT") is False or primary.count("NAXIS") != 1:
        return completed
    cards = {key: value for key, value in primary.items() if _SOLUTION.fullmatch(key)}
    if not any(re.fullmatch(r"C(TYPE|RVAL|RPIX|DELT)\d|(CD|PC)\d_\d", key) for key in header):
        images = [hdu for hdu in file if hdu.is_image and hdu.header.get("NAXIS", 0) >= 2]
        if header.get("INHERIT") is True or len(images) == 1:
            completed.update({key: value for key, value in cards.items() if key not in header})
        return completed
    own, other = _frame_cards(header), _frame_cards(primary)
    if own.get("RADESYS") in ("ICRS", "GALACTIC"):
        return completed  # which have no equinox
    if set(other) - set(own) and any(own[key] != other[key] for key in set(own) & set(other)):
        frames = [", ".join(f"{key} {value}" for key, value in frame.items()) for frame in (own, other)]
        raise UnreadableError(
            f"the extension has {frames[0]}, the primary header {frames[1]}: which frame is meant cannot be told; "
            "write RADESYS and EQUINOX into the extension"
        )
    completed.update({key: value for key, value in other.items() if key not in own})
    return completed


def _frame_cards(header: fits.Header) -> dict[str, str | float]:
    """Return the frame of a header by its present names, RADESYS and EQUINOX."""
    frame: dict[str, str | float] = {}
    system = header.get("RADESYS", header.get("RADECSYS"))
    equinox = header.get("EQUINOX", header.get("EPOCH") if header.get("EPOCH") in _EPOCHS else None)
    if isinstance(system, str) and system.strip():
        frame["RADESYS"] = system.strip().upper()
    if isinstance(equinox, int | float) and not isinstance(equinox, bool):
        frame["EQUINOX"] = float(equinox)
    return frame


def _transform(longitude: Any, latitude: Any, source: BaseCoordinateFrame | None, target: BaseCoordinateFrame) -> _Pair:
    """Convert positions in degrees from one frame, by default ICRS, to another."""
    source = ICRS() if source is None else source  # a frame without positions counts as false
    longitude, latitude = np.atleast_1d(longitude), np.atleast_1d(latitude)
    if source.is_equivalent_frame(target):
        return longitude, latitude
    sky = source.realize_frame(UnitSphericalRepresentation(longitude * units.deg, latitude * units.deg))
    moved = sky.transform_to(target).represent_as(UnitSphericalRepresentation)
    return moved.lon.deg, moved.lat.deg
