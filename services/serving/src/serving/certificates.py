"""Whom clients of MLflow and S3 trust: the usual authorities, or those in the file that SSL_CERT_FILE names."""

import os
import ssl
from typing import Any

import certifi

from serving.environment import SettingsError


class Trust(ssl.SSLContext):
    """What a client checks certificates with.

    The certificates of all authorities take 1 MB a client, and are read when the first connection needs them: never,
    where everything is http.
    """

    _loaded = False

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        """Begins TLS on a connection."""
        if not self._loaded:
            self.load_verify_locations(**_usual())
            self._loaded = True
        return super().wrap_bio(*args, **kwargs)


def trusted(file: str = "") -> Trust:
    """Makes what a client checks certificates with: by the authorities in `file`, or else by the usual ones.

    Raises:
        SettingsError: when the file holds no certificates that can be read.
    """
    context = Trust(ssl.PROTOCOL_TLS_CLIENT)
    if file:
        try:
            context.load_verify_locations(file)
            context._loaded = True
        except (OSError, ssl.SSLError) as error:
            reason = getattr(error, "strerror", "") or type(error).__name__
            raise SettingsError(
                f"SSL_CERT_FILE is {file!r}, but no certificates can be read from there ({reason}); "
                "it takes a file with one or more of them in PEM form"
            ) from None
    return context


def _usual() -> dict[str, str]:
    """The authorities in the folder that OpenSSL's own variable names, or else those that browsers trust."""
    folder = os.environ.get("SSL_CERT_DIR", "")
    return {"capath": folder} if folder else {"cafile": certifi.where()}
