"""Whom clients trust. Reading the certificates of all authorities takes 1 MB a client, for nothing where it is http."""

import ssl

import httpx


def trusted(url: str) -> ssl.SSLContext:
    """Makes what a client that only asks `url` checks certificates with.

    For https these are the authorities that are usually trusted, or those of SSL_CERT_FILE or SSL_CERT_DIR; else there
    are none, so that every certificate is refused.
    """
    if url.lower().startswith("https:"):
        return httpx.create_ssl_context()
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
