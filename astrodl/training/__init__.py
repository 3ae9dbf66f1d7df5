"""The training loop, optimizers, memory estimate and diagnosis of learning curves."""
