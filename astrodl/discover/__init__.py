"""First contact with a survey: look at its catalogue and a few images, say what is seen, draft a configuration."""

from astrodl.discover.draft import Draft
from astrodl.discover.init import init

__all__ = ["Draft", "init"]
