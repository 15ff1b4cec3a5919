"""Known vulnerabilities in what is locked: Python packages by pip-audit, Go programs by govulncheck."""
