"""The git repository, its main branch at the remote, and edits as commits."""
