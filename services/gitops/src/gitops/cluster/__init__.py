"""What gitops does to and reads from a cluster."""
