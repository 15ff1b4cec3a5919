"""Taking in a fitted model that was made elsewhere: opened in a confined process, judged, and registered."""
