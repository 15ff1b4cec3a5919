"""Whom connections to servers trust, and what is shown of their addresses."""

import re
import ssl

import httpx


def usual_trust(url: str) -> ssl.SSLContext:
    """What a client of an address checks certificates with: httpx's usual authorities.

    Reading them takes longer than a request, and over plain HTTP nothing is checked: there it trusts nobody.

    Raises:
        OSError: SSL_CERT_FILE or SSL_CERT_DIR names no certificates that can be read.
    """
    plain = url.lower().startswith("http:")
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if plain else httpx.create_ssl_context()


def shown(url: str) -> str:
    """An address as everybody may see it: without a name and a password that may stand in it."""
    return re.sub(r"(?<=//)[^/?#]*@", "", url)
