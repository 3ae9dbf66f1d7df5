"""Training loop, checkpoints, optimizers, memory estimate and diagnosis of learning curves."""
