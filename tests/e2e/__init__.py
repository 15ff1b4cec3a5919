"""The project on a real cluster."""
