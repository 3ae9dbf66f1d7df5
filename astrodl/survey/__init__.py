"""The sky side: simulating, reading, measuring and splitting surveys (no torch)."""
