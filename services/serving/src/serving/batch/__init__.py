"""Whole files answered by a pinned model, as the API would answer their rows. Needs the extra `serving[batch]`."""
