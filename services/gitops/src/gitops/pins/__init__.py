"""What runs where: read, check and edit the pins in envs/."""
