"""Reading FITS files that may be damaged or hostile: file, header, tiles, units, bytes."""
