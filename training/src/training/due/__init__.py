"""Whether a model should be trained again, and why."""
