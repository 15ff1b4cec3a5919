"""The parts on a real cluster."""
