"""Tidal tails and bridges from restricted three-body encounters (Toomre & Toomre 1972), shells from radial infall.

Two galaxies, softened point masses, pass each other on a parabola. Their disks are test particles on circular orbits. A
small fixed set of encounters is computed once, and each merger of the survey is a snapshot of one of them from a random
line of sight. Tails are therefore lopsided, warped and broken as in N-body simulations.

Units: gravitational constant, mass of the first galaxy and radius of its disk are one.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["Snapshot", "encounter_snapshots", "project", "project_shells", "shell_snapshots"]

_N_ENCOUNTERS = 16
_N_PARTICLES = 1200
"""Test particles per galaxy."""
_SOFTENING = 0.15
_TIME_STEP = 0.03
_FRICTION = 0.4
"""Rate at which overlapping galaxies lose velocity; they merge within about two more passages."""
_SNAPSHOT_TIMES = (1.0, 1.8, 2.7, 3.6)
"""Times after the pericentre; the orbital period at the edge of the disk is 6.4."""
_START = -4.0
_N_SHELLS = 10
"""Number of infalls of a small galaxy into a large one."""
_SHELL_TIMES = (14.0, 30.0)
"""First and last time of the shells; the free fall from the start takes about 4."""


@dataclass(frozen=True)
class Snapshot:
    """An encounter at one time.

    Attributes
    ----------
    nuclei
        Positions of the two galaxies, (2, 3).
    particles
        Positions of the test particles, those of the first galaxy first, (n, 3).
    mass_ratio
        Mass of the second galaxy over that of the first, at most one.
    """

    nuclei: NDArray[np.float64]
    particles: NDArray[np.float64]
    mass_ratio: float


@cache
def encounter_snapshots() -> tuple[Snapshot, ...]:
    """Compute the encounters at several times after the pericentre (the same on every call)."""
    rng = np.random.default_rng(1972)
    ratios = rng.uniform(0.3, 1.0, _N_ENCOUNTERS)
    pericentres = rng.uniform(0.6, 1.4, _N_ENCOUNTERS)
    nuclei, velocities = _parabolic_orbit(ratios, pericentres, _START)
    particles, particle_velocities = _draw_disks(rng, nuclei, velocities, ratios)
    snapshots: list[Snapshot] = []
    time = _START
    for target in _SNAPSHOT_TIMES:
        steps = round((target - time) / _TIME_STEP)
        for _ in range(steps):
            velocities = (velocities + _TIME_STEP * _acceleration(nuclei, nuclei, ratios)) * _friction_factor(nuclei)
            nuclei = nuclei + _TIME_STEP * velocities
            particle_velocities += _TIME_STEP * _acceleration(particles, nuclei, ratios)
            particles += _TIME_STEP * particle_velocities
        time = target
        snapshots += [Snapshot(nuclei[e].copy(), particles[e].copy(), float(ratios[e])) for e in range(_N_ENCOUNTERS)]
    return tuple(snapshots)


def _friction_factor(nuclei: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the factor that slows overlapping galaxies, so that they merge (approximates dynamical friction)."""
    separation = np.linalg.norm(nuclei[:, 0] - nuclei[:, 1], axis=-1)[:, None, None]
    return np.exp(-_FRICTION * _TIME_STEP / (1 + separation**3))


def _parabolic_orbit(
    ratios: NDArray[np.float64], pericentres: NDArray[np.float64], time: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return positions and velocities of both galaxies on a parabolic orbit at a time (Barker's equation)."""
    mass = 1 + ratios
    mean = 1.5 * time * np.sqrt(mass / (2 * pericentres**3))
    root = np.cbrt(mean + np.sqrt(mean**2 + 1))
    half = root - 1 / root
    position = pericentres[:, None] * np.stack([1 - half**2, 2 * half, 0 * half], axis=1)
    speed = np.sqrt(2 * mass / pericentres) / (1 + half**2)
    velocity = speed[:, None] * np.stack([-half, np.ones_like(half), 0 * half], axis=1)
    share = np.stack([-ratios / mass, 1 / mass], axis=1)[:, :, None]
    return share * position[:, None], share * velocity[:, None]


def _draw_disks(
    rng: np.random.Generator,
    nuclei: NDArray[np.float64],
    velocities: NDArray[np.float64],
    ratios: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw exponential disks of particles on circular orbits around both galaxies, with random tilts."""
    positions, particle_velocities = [], []
    for galaxy, mass in enumerate((np.ones_like(ratios), ratios)):
        size = np.sqrt(mass)[:, None]
        # The radii of an exponential disk follow a gamma distribution of shape two. The outskirts, which form the
        # tails, get some more particles.
        radius = rng.gamma(2.0, 0.27, (_N_ENCOUNTERS, _N_PARTICLES))
        radius = size * np.where(radius > 1.1, rng.uniform(0.5, 1.1, radius.shape), radius)
        angle = rng.uniform(0, 2 * np.pi, radius.shape)
        speed = np.sqrt(mass[:, None] * radius**2 / (radius**2 + _SOFTENING**2) ** 1.5)
        zero = np.zeros_like(radius)
        position = np.stack([radius * np.cos(angle), radius * np.sin(angle), zero], axis=2)
        velocity = np.stack([-speed * np.sin(angle), speed * np.cos(angle), zero], axis=2)
        # Prograde disks with small tilts form tails; retrograde ones hardly react.
        tilt = _rotation(rng.uniform(-1.0, 1.0, _N_ENCOUNTERS), rng.uniform(0, 2 * np.pi, _N_ENCOUNTERS))
        positions.append(np.einsum("eij,epj->epi", tilt, position) + nuclei[:, galaxy, None])
        particle_velocities.append(np.einsum("eij,epj->epi", tilt, velocity) + velocities[:, galaxy, None])
    return np.concatenate(positions, axis=1), np.concatenate(particle_velocities, axis=1)


def _rotation(tilt: NDArray[np.float64], node: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the matrices that rotate about x by the tilt, then about z by the node, (n, 3, 3)."""
    ct, st, cn, sn, zero = np.cos(tilt), np.sin(tilt), np.cos(node), np.sin(node), np.zeros_like(tilt)
    rows = [[cn, -sn * ct, sn * st], [sn, cn * ct, -cn * st], [zero, st, ct]]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def _acceleration(
    positions: NDArray[np.float64], nuclei: NDArray[np.float64], ratios: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the acceleration by both galaxies at positions, (encounters, positions, 3)."""
    total = np.zeros_like(positions)
    for galaxy, mass in enumerate((np.ones((1, 1, 1)), ratios[:, None, None])):
        offset = nuclei[:, galaxy, None] - positions
        square = np.einsum("epi,epi->ep", offset, offset)[..., None] + _SOFTENING**2
        total += mass * offset / (square * np.sqrt(square))
    return total


def project(snapshot: Snapshot, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Project a snapshot along a random line of sight.

    Returns
    -------
    nuclei, particles
        Sky positions relative to the centre of mass of the nuclei, (2, 2) and (n, 2).
    """
    frame, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    centre = (snapshot.nuclei[0] + snapshot.mass_ratio * snapshot.nuclei[1]) / (1 + snapshot.mass_ratio)
    return (snapshot.nuclei - centre) @ frame[:, :2], (snapshot.particles - centre) @ frame[:, :2]


@cache
def shell_snapshots() -> tuple[NDArray[np.float64], ...]:
    """Compute infalls of a small, cold galaxy on nearly radial orbits (the same on every call).

    Its stars accumulate at the turning points of their orbits, which form shells (Quinn 1984). The large galaxy is a
    Hernquist (1990) sphere of unit mass and unit projected half-light radius, which is 1.82 scale lengths.

    Returns
    -------
    tuple of ndarray
        Positions of the stars in half-light radii of the large galaxy, (n, 3) each.
    """
    rng = np.random.default_rng(1984)
    core, step = 1 / 1.82, 0.02
    positions = np.zeros((_N_SHELLS, _N_PARTICLES, 3))
    positions[..., 0] = rng.uniform(2.0, 3.2, (_N_SHELLS, 1))
    # Elongated along the orbit by tides; narrower streams form narrower fans.
    positions += rng.normal(0, 1, positions.shape) * (0.4, 0.06, 0.06)
    velocities = rng.normal(0, 1, positions.shape) * (0.1, 0.02, 0.02)
    velocities[..., 1] += rng.uniform(0.0, 0.06, (_N_SHELLS, 1))
    times = np.linspace(*_SHELL_TIMES, _N_SHELLS)
    snapshots: list[NDArray[np.float64]] = []
    for number in range(round(_SHELL_TIMES[1] / step) + 1):
        if len(snapshots) < _N_SHELLS and number * step >= times[len(snapshots)] - 1e-9:
            snapshots.append(positions[len(snapshots)].copy())
        radius = np.linalg.norm(positions, axis=-1, keepdims=True)
        velocities -= step * positions / (np.maximum(radius, 1e-3) * (radius + core) ** 2)
        positions = positions + step * velocities
    return tuple(snapshots)


def project_shells(rng: np.random.Generator) -> NDArray[np.float64]:
    """Project one of the shell systems from a direction roughly across the infall; return sky positions, (n, 2)."""
    stars = shell_snapshots()[int(rng.integers(_N_SHELLS))]
    frame, _ = np.linalg.qr(rng.standard_normal((3, 3)) + np.diag([2.0, 0.0, 0.0]))
    turn = rng.uniform(0, 2 * np.pi)
    flat = stars @ frame[:, :2]
    return flat @ np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
