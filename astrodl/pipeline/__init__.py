"""The verbs of the pipeline, a file each."""
