"""The HTTP side: only modules in here use ASGI or Litestar."""
