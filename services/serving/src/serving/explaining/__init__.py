"""How much each column contributes to an answer (`POST /explain`), outside the hot path."""
