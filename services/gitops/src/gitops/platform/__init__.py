"""What platform.yaml says: where this fork lives, its environments, services and clusters, and what follows."""
