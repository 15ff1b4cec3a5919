"""Everything that gitops does in a cluster and reads from it."""
