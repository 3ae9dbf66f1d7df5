"""Networks: `nn.Module`s with plain arguments, independent of training, devices and files."""
