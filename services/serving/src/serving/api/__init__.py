"""The HTTP side: everything here speaks ASGI or Litestar, and nothing outside does."""
