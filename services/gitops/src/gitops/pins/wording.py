"""Pins, changes and durations as text for people."""

from collections.abc import Sequence
from textwrap import shorten

from gitops.pins.release import Change, Release

_DIGEST_SHOWN = 12
_SUBJECT = 100
# A separate line in the commit that pins a version says why it was trained; promotions look for it.
_TRAINED = "Trained because: "
_LONGEST_REASON = 500


def short(digest: str) -> str:
    """Return the beginning of a digest, enough to tell two apart."""
    return digest.partition(":")[2][:_DIGEST_SHOWN]


def words(value: object) -> str:
    """Return a pin as text for people."""
    return short(value) if isinstance(value, str) and value.startswith(("sha256:", "sha256-v2:")) else _whole(value)


def age(seconds: int) -> str:
    """Return a duration in its largest unit, such as `3 h`."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{max(0, seconds)} s"


def percent(share: float) -> str:
    """Return a share in percent; if it is less than 1, it is never rounded up to 100 %."""
    shown = f"{100 * share:.1f}"
    return "99.9 %" if shown == "100.0" and share < 1 else f"{shown} %"


def what_moved(changes: Sequence[Change], release: Release) -> str:
    """Return what changed, for the subject of a commit, such as `image 1.8.2, iris-classifier 7`."""
    moved = {change.pin.partition(".")[0].removesuffix("Digest") for change in changes}
    names = {
        "image": f"image {release.image.tag}",
        "model": f"{release.model.name} {release.model.version}",
        "chart": f"chart {release.release.chart}",
        "shadow": f"shadow {release.tried.version}" if release.tried else "no shadow",
    }
    if pins := [text for part, text in names.items() if part in moved]:
        return ", ".join(pins)
    if "hold" in moved:
        return "no hold" if release.held is None else "hold"
    return "metrics" if moved else "nothing"


def commit_message(subject: str, changes: Sequence[Change], reason: str = "") -> str:
    """Return a commit message: the subject, the reason if there is one, and a line for each change."""
    lines = [f"{change.pin}: {_whole(change.before)} -> {_whole(change.after)}" for change in changes]
    return "\n".join([shorten(subject, _SUBJECT), "", *([reason, ""] if reason else []), *lines, ""])


def trained_because(reason: str) -> str:
    """Return the line of a commit that says why a version was trained; empty without a reason.

    Args:
        reason: A tag of the registry. People who may not commit may write it, so it is shortened to one line.
    """
    said = shorten(reason, _LONGEST_REASON, placeholder=" ...")
    return f"{_TRAINED}{said}" if said else ""


def reason_in(message: str) -> str:
    """Return the reason of the training in a commit message; empty if there is none."""
    lines = (line.strip() for line in message.splitlines())
    return next((line.removeprefix(_TRAINED) for line in lines if line.startswith(_TRAINED)), "")


def _whole(value: object) -> str:
    if isinstance(value, dict):
        return str(value.get("reason", value))
    return "-" if value is None else str(value)
