"""The pictures of the README, drawn from what the project's own commands and servers say."""
