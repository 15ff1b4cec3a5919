"""How much each column contributes to an answer (`POST /explain`), away from the hot path."""
