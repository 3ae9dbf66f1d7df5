"""Training, validation and test splits: assignment by cell of the sky, groups of neighbours, the split report."""
