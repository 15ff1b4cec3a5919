"""The six charts on a real cluster."""
