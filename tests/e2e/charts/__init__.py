"""The charts on a real cluster."""
