"""Batches on a device from a store or arrays: normalisation, augmentation, canonical views."""
