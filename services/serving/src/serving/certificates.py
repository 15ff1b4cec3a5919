"""The certificate authorities of clients of MLflow and S3: the usual ones, or those in the file SSL_CERT_FILE."""

import os
import ssl
from typing import Any

import certifi

from serving.environment import SettingsError


class Trust(ssl.SSLContext):
    """The TLS settings of a client.

    The certificates of all authorities take 1 MB per client. They are read when the first connection needs them, which
    is never if all addresses are http.
    """

    _loaded = False

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        """Start TLS on a connection."""
        if not self._loaded:
            self.load_verify_locations(**_usual())
            self._loaded = True
        return super().wrap_bio(*args, **kwargs)


def trusted(file: str = "") -> Trust:
    """Return TLS settings that trust the authorities in `file`, or else the usual ones.

    Raises:
        SettingsError: if no certificates can be read from the file.
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
    """Return the authorities in the folder of OpenSSL's own variable, or else those that browsers trust."""
    folder = os.environ.get("SSL_CERT_DIR", "")
    return {"capath": folder} if folder else {"cafile": certifi.where()}
