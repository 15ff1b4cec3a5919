"""Render several applications at the same time: each one is a separate Helm process."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from gitops.errors import GitopsError
from gitops.rendering.applications import Application
from gitops.rendering.render import Rendered, Renderer

# Each process keeps a processor busy, so more would only wait.
_MOST = 8


def render_each(renderer: Renderer, applications: Sequence[Application]) -> Iterator[Rendered | GitopsError]:
    """Yield for each application, in their order, its manifests or its error."""

    def attempt(application: Application) -> Rendered | GitopsError:
        try:
            return renderer.render(application)
        except GitopsError as error:
            return error

    with ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, _MOST)) as pool:
        try:
            yield from pool.map(attempt, applications)
        finally:
            # If the caller stops, as after Ctrl-C, wait only for running processes.
            pool.shutdown(wait=False, cancel_futures=True)


def render_all(renderer: Renderer, applications: Sequence[Application]) -> list[Rendered]:
    """Return the same as `render_each`, but raise the first error.

    Raises:
        GitopsError: The first application that failed.
    """
    rendered = []
    for outcome in render_each(renderer, applications):
        if isinstance(outcome, GitopsError):
            raise outcome
        rendered.append(outcome)
    return rendered
