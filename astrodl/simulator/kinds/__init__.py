"""The kinds of galaxies that the simulator draws, a file per family."""
