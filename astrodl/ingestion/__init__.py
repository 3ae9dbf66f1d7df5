"""Ingestion: from a catalogue and images to a store."""
