"""The Version Manager: which versions this deployment serves, and which of them is `latest`."""
