"""Which certificates clients trust, and how addresses are shown."""

import re
import ssl

import httpx


def usual_trust(url: str) -> ssl.SSLContext:
    """Return the TLS context for an address: httpx's default authorities.

    For plain HTTP it trusts nobody, because it is not used there and reading the authorities takes longer than a
    request.

    Raises:
        OSError: SSL_CERT_FILE or SSL_CERT_DIR names no certificates that can be read.
    """
    plain = url.lower().startswith("http:")
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if plain else httpx.create_ssl_context()


def shown(url: str) -> str:
    """Return an address without its user name and password."""
    return re.sub(r"(?<=//)[^/?#]*@", "", url)
