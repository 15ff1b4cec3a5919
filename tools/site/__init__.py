"""The documentation site: MkDocs makes pages of this repository's Markdown (mkdocs.yml)."""
