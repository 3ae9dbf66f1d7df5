"""Pure networks: `nn.Module`s with plain arguments, knowing nothing of training, devices or files."""
