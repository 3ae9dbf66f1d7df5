"""Tasks, networks and input layouts of other packages, found by entry points.

========================  ===============================================================================
group                     object
========================  ===============================================================================
`astrodl.tasks`           subclass of `astrodl.tasks.base.Task`
`astrodl.networks`        `build(in_channels, size)`, which returns an `astrodl.models.blocks.ImageNetwork`
`astrodl.layouts`         `open(data, templates, entry)`, which returns the
                          `astrodl.ingestion.object_images.ObjectImages` of one object
========================  ===============================================================================
"""

from functools import cache
from importlib.metadata import EntryPoint, entry_points

__all__ = ["find_plugins"]


@cache
def find_plugins(group: str) -> dict[str, EntryPoint]:
    """Return the entry points of a group by name, in alphabetical order."""
    return {point.name: point for point in sorted(entry_points(group=group), key=lambda point: point.name)}
