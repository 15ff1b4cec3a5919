"""What each column adds to an answer (`POST /explain`), away from the hot path."""
