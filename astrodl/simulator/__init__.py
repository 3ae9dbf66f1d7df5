"""The simulated survey (GalSim): population, kinds of galaxies, light, noise, truth."""
