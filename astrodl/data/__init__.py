"""From a store or arrays to batches on a device: normalisation, augmentation, canonical views."""
