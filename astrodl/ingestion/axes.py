"""Find out which axis of a cube counts its bands."""

from collections.abc import Sequence

from astrodl.fits import UnreadableError

__all__ = ["find_band_axis"]


def find_band_axis(shape: Sequence[int], n_bands: int | None = None, default: int | None = None) -> int:
    """Find the axis of a cube that counts its bands: 0 for (bands, y, x), 2 for (y, x, bands).

    The two axes of the image are usually equal, and longer than that of the bands. Where lengths do not tell, the
    number of bands decides.

    Parameters
    ----------
    shape
        Lengths of the three axes, slowest first.
    n_bands
        Number of bands that the cube should have; None if it may have others, too.
    default
        Axis to return if neither lengths nor number tell, for example that of the images for their masks.

    Raises
    ------
    UnreadableError
        If the bands lie on the middle axis, if lengths and number of bands contradict each other, or if neither tells.
    """
    by_length, by_number = _axis_by_length(*shape), _axis_by_number(shape, n_bands)
    if by_length == 1:
        raise UnreadableError(_message(shape, "the shortest axis is in the middle"))
    if by_length is None and by_number is None and default is None:
        raise UnreadableError(_message(shape, "their lengths do not tell which axis counts the bands"))
    if by_length is not None and by_number not in (None, by_length):
        what = f"they look like {shape[by_length]} bands, the settings list {n_bands}"
        raise UnreadableError(_message(shape, what))
    return next(axis for axis in (by_length, by_number, default) if axis is not None)


def _axis_by_length(first: int, second: int, third: int) -> int | None:
    if first == second == third:
        return None
    if second == third or first < min(second, third):
        return 0
    if 2 * third <= min(first, second) or (first == second and third < first):
        return 2
    return 1 if first == third or 2 * second <= min(first, third) else None


def _axis_by_number(shape: Sequence[int], n_bands: int | None) -> int | None:
    ends = [axis for axis in (0, 2) if shape[axis] == n_bands]
    return ends[0] if len(ends) == 1 else None


def _message(shape: Sequence[int], what: str) -> str:
    lengths = ", ".join(map(str, shape))
    return f"cube with axes ({lengths}), slowest first: {what}; accepted are (bands, y, x) and (y, x, bands)"
