"""The content of platform.yaml (a fork's addresses, environments, services, clusters), and what follows from it."""
