"""Prepare a release: the section of the changelog, and the version numbers in all files."""
