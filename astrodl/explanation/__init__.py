"""Explanations of predictions: attribution to pixels, tests of the maps, and what units of a network look for."""
