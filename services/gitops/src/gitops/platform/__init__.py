"""What platform.yaml says: where this fork lives, its environments, services and clusters, and the names that follow."""
