"""The pictures of the README, drawn from output of the project's own commands and servers."""
