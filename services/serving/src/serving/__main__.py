"""The command `serving`: it runs the server, tests a running server (smoke), and scores files."""

import argparse
import asyncio
import gc
import os
import sys
from collections.abc import Mapping

import msgspec

from serving import logs
from serving.batch.settings import ScoreSettings
from serving.environment import SettingsError, read, variables
from serving.settings import Settings, SmokeSettings

_AWS = """read by botocore for s3:// artifacts:
  AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, and whatever else it knows (roles, web identities)"""

_MODEL = """variables of `serving run` name the model and how it runs, if --release does not:
  MODEL_NAME, MODEL_VERSION, MODEL_DIGEST, MODEL_URI, MODEL_RELEASE, S3_ENDPOINT_URL, RUNTIME and the others;
keys to the store are AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status: 0, 1 if the smoke test or a file failed, 2 for wrong settings."""
    given = sys.argv[1:] if arguments is None else arguments
    known = {"run", "smoke", "score", "-h", "--help"}
    options = _parser().parse_args(given if given and given[0] in known else ["run", *given])
    flags = {name: value for name, value in vars(options).items() if name != "command" and value is not None}
    environ = {**os.environ, **flags}
    try:
        if options.command == "smoke":
            return _smoke(read(SmokeSettings, environ))
        if options.command == "score":
            return _score(environ)
        return _run(read(Settings, environ))
    except SettingsError as error:
        print(f"serving: {error}", file=sys.stderr)
        return 2


def _run(settings: Settings) -> int:
    logs.configure(settings.log_level, settings.log_format)
    # Imported modules stay in memory, so looking for garbage while they load finds nothing. It would take a seventh of
    # the time.
    gc.disable()
    from serving.server import serve  # noqa: PLC0415  (so that --help and errors in settings are reported at once)

    gc.enable()
    serve(settings)
    return 0


def _smoke(settings: SmokeSettings) -> int:
    from serving.smoke import SmokeError, smoke  # noqa: PLC0415  (as above)

    try:
        print(asyncio.run(smoke(settings)))
    except SmokeError as error:
        print(f"serving smoke: {error}", file=sys.stderr)
        return 1
    return 0


def _score(environ: Mapping[str, str]) -> int:
    settings = read(ScoreSettings, environ)
    logs.configure(settings.log_level, settings.log_format)
    try:
        from serving.batch.command import score  # noqa: PLC0415  (as above, and it needs an extra)
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"files cannot be scored without {error.name}: install serving with its extra `batch`, or use the image "
            "built with `--target batch`"
        ) from None
    return score(settings, environ)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="serving",
        description="Serve a scikit-learn model from an MLflow registry over HTTP.",
        epilog="Without a command it runs the server. Settings come from the environment; flags override them."
        "\n`serving run --help`, `serving smoke --help` and `serving score --help` list them all.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", metavar="run | smoke | score")
    _command(commands, "run", Settings, "run the server (the default)", _AWS)
    _command(commands, "smoke", SmokeSettings, "request a prediction from a running server and check its version", "")
    _command(commands, "score", ScoreSettings, "answer the rows of files with a pinned model", _MODEL, prefix="score-")
    return parser


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    settings: type[msgspec.Struct],
    summary: str,
    epilog: str,
    *,
    prefix: str = "",
) -> None:
    parser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for variable in variables(settings):
        default = f"default: {variable.default}" if variable.default else "not set by default"
        parser.add_argument(
            "--" + variable.name.lower().replace("_", "-").removeprefix(prefix),
            dest=variable.name,
            metavar="|".join(variable.choices) or variable.name,
            help=f"{variable.description} ({default})".replace("%", "%%"),
        )


if __name__ == "__main__":
    sys.exit(main())
