"""Files that are cut short or have other bytes."""

import random
from collections.abc import Iterator

__all__ = ["damage"]


def damage(content: bytes, n_copies: int) -> Iterator[bytes]:
    """Yield copies of a file of which each third is cut short, has other bytes anywhere, or among the first 4,000."""
    rng = random.Random(0)
    for number in range(n_copies):
        damaged = bytearray(content)
        if number % 3 == 0:
            del damaged[rng.randrange(len(damaged)) :]
        else:
            region = len(damaged) if number % 3 == 1 else 4000
            for _ in range(rng.choice((1, 20))):
                damaged[rng.randrange(min(region, len(damaged)))] = rng.randrange(256)
        yield bytes(damaged)
