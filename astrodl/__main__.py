"""Run the command line as `python -m astrodl`."""

import sys

from astrodl.cli import main

sys.exit(main())
