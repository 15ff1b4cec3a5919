"""Register a fitted model that was made elsewhere: open it in a confined process, check it, and register it."""
