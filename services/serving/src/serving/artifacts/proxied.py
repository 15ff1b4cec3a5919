"""Artifacts that MLflow proxies (`mlflow-artifacts:/path`), through its documented REST API."""

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import httpx
import msgspec

from serving.answers import AnswerRefusedError, chunks, read, send, why
from serving.artifacts.base import MAX_FILES, BoundedWriter, RemoteFile, safe_path
from serving.errors import MALFORMED, ModelUnusableError, StoreUnavailableError

_API = "/api/2.0/mlflow-artifacts/artifacts"
_MAX_DEPTH = 8


class _Entry(msgspec.Struct):
    path: str
    is_dir: bool = False
    file_size: int = 0


class _Listing(msgspec.Struct):
    files: list[_Entry] = []


class ProxiedStore:
    """Reads `mlflow-artifacts:` addresses through the tracking server that `client` is connected to."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    def files(self, uri: str) -> AsyncIterator[RemoteFile]:
        """List the files below the address, folder by folder."""
        return self._walk(self._root(uri))

    async def _walk(self, root: str) -> AsyncIterator[RemoteFile]:
        folders = [""]
        for below in folders:  # the loop appends to it
            for entry in await self._listing("/".join(part for part in (root, below) if part)):
                path = f"{below}/{entry.path}" if below else entry.path
                if not entry.is_dir:
                    yield RemoteFile(path, entry.file_size)
                    continue
                if len(safe_path(path).parts) > _MAX_DEPTH:
                    raise ModelUnusableError(f"its folders are nested more than {_MAX_DEPTH} deep")
                if len(folders) > MAX_FILES:
                    raise ModelUnusableError(f"it has more than {MAX_FILES} folders")
                folders.append(path)

    async def _listing(self, path: str) -> list[_Entry]:
        try:
            response = await send(self._client, self._client.build_request("GET", _API, params={"path": path}))
            try:
                _check(response)
                return msgspec.json.decode(await read(response), type=_Listing).files
            finally:
                await response.aclose()
        except httpx.HTTPError as error:
            raise StoreUnavailableError(f"MLflow does not list its files ({why(error)})") from error
        except AnswerRefusedError as error:
            raise StoreUnavailableError(f"MLflow's list of its files is refused: {error}") from error
        except MALFORMED as error:
            raise StoreUnavailableError("MLflow's list of its files does not follow its API") from error

    async def fetch(self, uri: str, path: str, target: Path, limit: int) -> None:
        """Download one file."""
        address = f"{_API}/{quote(self._root(uri))}/{quote(path)}"
        try:
            response = await send(self._client, self._client.build_request("GET", address))
            try:
                _check(response)
                with BoundedWriter(target, limit) as writer:
                    # One byte more than the limit, so that the writer reports a file that is too large.
                    async for chunk in chunks(response, limit + 1):
                        writer.write(chunk)
            finally:
                await response.aclose()
        except httpx.HTTPError as error:
            raise StoreUnavailableError(f"MLflow does not return its files ({why(error)})") from error
        except AnswerRefusedError as error:
            raise StoreUnavailableError(f"the download from MLflow is refused: {error}") from error

    def _root(self, uri: str) -> str:
        parts = urlsplit(uri)
        if parts.netloc and parts.netloc != self._client.base_url.netloc.decode():
            raise ModelUnusableError(
                f"its files are at another MLflow server ({parts.netloc}) than MLFLOW_TRACKING_URI names"
            )
        return unquote(parts.path).strip("/")


def _check(response: httpx.Response) -> None:
    if response.status_code == httpx.codes.NOT_FOUND:
        raise ModelUnusableError("one of its files is not in MLflow's artifact store")
    if response.is_error:
        raise StoreUnavailableError(f"MLflow answers {response.status_code} to the request for its files")
