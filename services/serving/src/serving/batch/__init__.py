"""Scores whole files with a pinned model, as the API would score their rows. Needs the extra `serving[batch]`."""
