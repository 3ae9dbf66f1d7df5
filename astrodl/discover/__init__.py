"""Draft a configuration for a new survey from its catalogue and a few images."""

from astrodl.discover.init import init

__all__ = ["init"]
