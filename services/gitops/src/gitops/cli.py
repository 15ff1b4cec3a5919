"""The command `gitops`: registers the commands, and turns their result into an exit code."""

import signal
import sys
from collections.abc import Sequence
from importlib.metadata import version

from cyclopts import App, CycloptsError

from gitops.commands import (
    checking,
    cluster,
    forges,
    fork,
    holds,
    looking,
    migration,
    promotion,
    releases,
    removing,
    scaffold,
    shadowing,
    stores,
    targets,
)
from gitops.errors import BadInputError, GitopsError
from gitops.terminal import Terminal

_INTERRUPTED = 130

app = App(
    name="gitops",
    help="Adopt a fork, install the platform, and show and change what runs where.",
    help_epilogue="Exit codes: 0 done, 1 down or not started, 2 unusable input, 3 not allowed now, 130 interrupted.",
    version=lambda: version("gitops"),
    suppress_keyboard_interrupt=False,
)
for command in (
    fork.adopt,
    cluster.bootstrap,
    cluster.rotate_keys,
    stores.move_store,
    cluster.teardown,
    looking.status,
    looking.history,
    targets.targets,
    releases.bump,
    shadowing.shadow,
    promotion.promote,
    promotion.verify,
    promotion.review,
    holds.rollback,
    holds.watch,
    holds.hold,
    holds.unhold,
    forges.pulls,
    forges.dispatch,
    forges.branch_protection,
    forges.doctor,
):
    app.command(command)
app.command(checking.check)
app.command(migration.migrate)
app.command(scaffold.app)
app.command(removing.app)
app.command(looking.render, usage="Usage: gitops render [OPTIONS] TARGET [APPS...]")
app.command(looking.diff, usage="Usage: gitops diff [OPTIONS] TARGET [APPS...]")


def execute(arguments: Sequence[str]) -> int:
    """Run one command line.

    Returns:
        The exit code. On failure, the reason is already on the error stream.
    """
    try:
        code = app(list(arguments), exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        Terminal().error(str(error))
        return BadInputError.exit_code
    except GitopsError as error:
        Terminal().error(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        Terminal().error("interrupted; run the same command again to continue.")
        return _INTERRUPTED
    return code if isinstance(code, int) else 0


def main() -> None:
    """Run `gitops` as a program."""
    # Handle SIGTERM like Ctrl-C, so that temporary files and port-forwards are cleaned up.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # A shell starts the background jobs of a script with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(execute(sys.argv[1:]))
