"""From a catalogue and images to a store."""
