"""Several applications rendered at once: Helm is a separate process, so one runs while another's output is read."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from gitops.errors import GitopsError
from gitops.rendering.applications import Application
from gitops.rendering.render import Rendered, Renderer

# More would only wait for one another: each takes a processor to itself.
_MOST = 8


def render_each(renderer: Renderer, applications: Sequence[Application]) -> Iterator[Rendered | GitopsError]:
    """What each application comes to, in their order: its manifests, or why it has none."""

    def attempt(application: Application) -> Rendered | GitopsError:
        try:
            return renderer.render(application)
        except GitopsError as error:
            return error

    with ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, _MOST)) as pool:
        try:
            yield from pool.map(attempt, applications)
        finally:
            # Who stops listening, as after Ctrl-C, waits for what runs and for nothing more.
            pool.shutdown(wait=False, cancel_futures=True)


def render_all(renderer: Renderer, applications: Sequence[Application]) -> list[Rendered]:
    """As `render_each`, where one that has no manifests ends it.

    Raises:
        GitopsError: What is wrong with the first such one.
    """
    rendered = []
    for outcome in render_each(renderer, applications):
        if isinstance(outcome, GitopsError):
            raise outcome
        rendered.append(outcome)
    return rendered
