"""Render the manifests that Argo CD would apply, and compare renderings."""
