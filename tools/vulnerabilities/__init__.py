"""Known vulnerabilities of locked dependencies: Python packages with pip-audit, Go programs with govulncheck."""
