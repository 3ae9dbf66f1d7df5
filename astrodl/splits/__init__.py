"""Training, validation and test: assignment by cell of the sky, groups of neighbours, the report."""
