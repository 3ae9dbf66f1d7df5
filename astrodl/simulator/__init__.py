"""The simulated survey: population, galaxies, images, noise and truth (uses GalSim)."""
