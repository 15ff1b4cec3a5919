"""Faults, made on purpose: callers that misbehave, and servers that are slow, flapping or lying."""
