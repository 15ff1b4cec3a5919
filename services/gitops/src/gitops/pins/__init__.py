"""What runs where: the pins in envs/, read, checked and edited."""
