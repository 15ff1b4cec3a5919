"""The documentation's site: the Markdown of this repository, made into pages by MkDocs (mkdocs.yml)."""
