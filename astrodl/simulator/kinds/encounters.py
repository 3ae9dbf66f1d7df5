"""Tidal tails and bridges from restricted three-body encounters (Toomre & Toomre 1972), shells from radial falls.

Two galaxies, softened point masses, pass each other on a parabola; their disks are test particles on circular orbits.
A small fixed library of encounters is computed once; each merger of the survey is one snapshot of it, seen from a
random direction, so that tails are as lopsided, warped and broken as gravity makes them.

Units: gravitational constant, mass of the first galaxy and radius of its disk are one.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

N_ENCOUNTERS = 16
N_PARTICLES = 1200
"""Test particles per galaxy."""
_SOFTENING = 0.15
_TIME_STEP = 0.03
_FRICTION = 0.4
"""Rate at which touching galaxies lose speed; they merge within about two more passages."""
_SNAPSHOT_TIMES = (1.0, 1.8, 2.7, 3.6)
"""Times after the pericentre; a circular orbit at the disk's edge takes 6.4."""
_START = -4.0


@dataclass(frozen=True)
class Snapshot:
    """One moment of an encounter.

    Attributes
    ----------
    nuclei
        (2, 3) positions of the two galaxies.
    particles
        (n, 3) positions of the test particles, those of the first galaxy first.
    mass_ratio
        Mass of the second galaxy over that of the first, at most one.
    """

    nuclei: NDArray[np.float64]
    particles: NDArray[np.float64]
    mass_ratio: float


@cache
def library() -> tuple[Snapshot, ...]:
    """Compute the encounters, each at several times after the pericentre (the same on every call)."""
    rng = np.random.default_rng(1972)
    ratios = rng.uniform(0.3, 1.0, N_ENCOUNTERS)
    pericentres = rng.uniform(0.6, 1.4, N_ENCOUNTERS)
    nuclei, velocities = _parabola(ratios, pericentres, _START)
    particles, particle_velocities = _disks(rng, nuclei, velocities, ratios)
    snapshots: list[Snapshot] = []
    time = _START
    for target in _SNAPSHOT_TIMES:
        steps = round((target - time) / _TIME_STEP)
        for _ in range(steps):
            velocities = (velocities + _TIME_STEP * _pull(nuclei, nuclei, ratios)) * _friction(nuclei)
            nuclei = nuclei + _TIME_STEP * velocities
            particle_velocities += _TIME_STEP * _pull(particles, nuclei, ratios)
            particles += _TIME_STEP * particle_velocities
        time = target
        snapshots += [Snapshot(nuclei[e].copy(), particles[e].copy(), float(ratios[e])) for e in range(N_ENCOUNTERS)]
    return tuple(snapshots)


def _friction(nuclei: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slow the galaxies down while their halos overlap, so that they merge (a stand-in for dynamical friction)."""
    apart = np.linalg.norm(nuclei[:, 0] - nuclei[:, 1], axis=-1)[:, None, None]
    return np.exp(-_FRICTION * _TIME_STEP / (1 + apart**3))


def _parabola(
    ratios: NDArray[np.float64], pericentres: NDArray[np.float64], time: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Place both galaxies on a parabolic orbit at a time before the pericentre (Barker's equation)."""
    mass = 1 + ratios
    mean = 1.5 * time * np.sqrt(mass / (2 * pericentres**3))
    root = np.cbrt(mean + np.sqrt(mean**2 + 1))
    half = root - 1 / root
    position = pericentres[:, None] * np.stack([1 - half**2, 2 * half, 0 * half], axis=1)
    speed = np.sqrt(2 * mass / pericentres) / (1 + half**2)
    velocity = speed[:, None] * np.stack([-half, np.ones_like(half), 0 * half], axis=1)
    share = np.stack([-ratios / mass, 1 / mass], axis=1)[:, :, None]
    return share * position[:, None], share * velocity[:, None]


def _disks(
    rng: np.random.Generator,
    nuclei: NDArray[np.float64],
    velocities: NDArray[np.float64],
    ratios: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Put exponential disks of particles on circular orbits round both galaxies, tilted at random."""
    positions, speeds = [], []
    for galaxy, mass in enumerate((np.ones_like(ratios), ratios)):
        size = np.sqrt(mass)[:, None]
        # The radii of an exponential disk follow a gamma distribution of shape two; the outskirts are filled up a
        # little, because they make the tails.
        radius = rng.gamma(2.0, 0.27, (N_ENCOUNTERS, N_PARTICLES))
        radius = size * np.where(radius > 1.1, rng.uniform(0.5, 1.1, radius.shape), radius)
        angle = rng.uniform(0, 2 * np.pi, radius.shape)
        speed = np.sqrt(mass[:, None] * radius**2 / (radius**2 + _SOFTENING**2) ** 1.5)
        zero = np.zeros_like(radius)
        place = np.stack([radius * np.cos(angle), radius * np.sin(angle), zero], axis=2)
        motion = np.stack([-speed * np.sin(angle), speed * np.cos(angle), zero], axis=2)
        # Prograde and mildly tilted disks raise the tails; retrograde ones hardly react.
        tilt = _rotation(rng.uniform(-1.0, 1.0, N_ENCOUNTERS), rng.uniform(0, 2 * np.pi, N_ENCOUNTERS))
        positions.append(np.einsum("eij,epj->epi", tilt, place) + nuclei[:, galaxy, None])
        speeds.append(np.einsum("eij,epj->epi", tilt, motion) + velocities[:, galaxy, None])
    return np.concatenate(positions, axis=1), np.concatenate(speeds, axis=1)


def _rotation(tilt: NDArray[np.float64], node: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotate about x by the tilt, then about z by the node: (n, 3, 3)."""
    ct, st, cn, sn, zero = np.cos(tilt), np.sin(tilt), np.cos(node), np.sin(node), np.zeros_like(tilt)
    rows = [[cn, -sn * ct, sn * st], [sn, cn * ct, -cn * st], [zero, st, ct]]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def _pull(places: NDArray[np.float64], nuclei: NDArray[np.float64], ratios: NDArray[np.float64]) -> NDArray[np.float64]:
    """Acceleration at places by both galaxies: (encounters, places, 3)."""
    total = np.zeros_like(places)
    for galaxy, mass in enumerate((np.ones((1, 1, 1)), ratios[:, None, None])):
        apart = nuclei[:, galaxy, None] - places
        square = np.einsum("epi,epi->ep", apart, apart)[..., None] + _SOFTENING**2
        total += mass * apart / (square * np.sqrt(square))
    return total


def project(snapshot: Snapshot, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Look at a snapshot from a random direction.

    Returns
    -------
    nuclei, particles
        (2, 2) and (n, 2) sky positions relative to the centre of light of the nuclei.
    """
    frame, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    centre = (snapshot.nuclei[0] + snapshot.mass_ratio * snapshot.nuclei[1]) / (1 + snapshot.mass_ratio)
    return (snapshot.nuclei - centre) @ frame[:, :2], (snapshot.particles - centre) @ frame[:, :2]


N_SHELLS = 10
"""Falls of a small galaxy into a large one."""
_FALL_TIMES = (14.0, 30.0)
"""First and last moment of the shells; the free fall from where they start takes about 4."""


@cache
def shells() -> tuple[NDArray[np.float64], ...]:
    """Compute falls of a small, cold galaxy on a nearly radial orbit (the same on every call).

    Its stars turn round at ever different phases and pile up where they turn: shells (Quinn 1984). The large galaxy is
    a Hernquist (1990) sphere of unit mass and half-light radius, half of whose light lies within 1.82 scale lengths
    in projection.

    Returns
    -------
    tuple of ndarray
        (n, 3) positions of the stars in half-light radii of the large galaxy.
    """
    rng = np.random.default_rng(1984)
    core, step = 1 / 1.82, 0.02
    places = np.zeros((N_SHELLS, N_PARTICLES, 3))
    places[..., 0] = rng.uniform(2.0, 3.2, (N_SHELLS, 1))
    # Stretched along the fall by the tides; the narrower the stream, the narrower the fans that it opens into.
    places += rng.normal(0, 1, places.shape) * (0.4, 0.06, 0.06)
    motion = rng.normal(0, 1, places.shape) * (0.1, 0.02, 0.02)
    motion[..., 1] += rng.uniform(0.0, 0.06, (N_SHELLS, 1))
    moments = np.linspace(*_FALL_TIMES, N_SHELLS)
    found: list[NDArray[np.float64]] = []
    for number in range(round(_FALL_TIMES[1] / step) + 1):
        if len(found) < N_SHELLS and number * step >= moments[len(found)] - 1e-9:
            found.append(places[len(found)].copy())
        radius = np.linalg.norm(places, axis=-1, keepdims=True)
        motion -= step * places / (np.maximum(radius, 1e-3) * (radius + core) ** 2)
        places = places + step * motion
    return tuple(found)


def project_shells(rng: np.random.Generator) -> NDArray[np.float64]:
    """Look at one of the shells from a direction more or less across the fall: (n, 2) sky positions."""
    stars = shells()[int(rng.integers(N_SHELLS))]
    frame, _ = np.linalg.qr(rng.standard_normal((3, 3)) + np.diag([2.0, 0.0, 0.0]))
    turn = rng.uniform(0, 2 * np.pi)
    flat = stars @ frame[:, :2]
    return flat @ np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
