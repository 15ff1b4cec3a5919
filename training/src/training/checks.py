"""One thing that the gate looked at, and what was found."""

from typing import Literal

from msgspec import Struct

Relation = Literal["at least", "at most"]


class Check(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """One thing looked at: `figure` is held against `bound`; a check without figures speaks in its detail.

    `warning` says that something was found which is not refused: the model passes, and somebody should look.
    """

    name: str
    passed: bool
    figure: float | None = None
    relation: Relation | None = None
    bound: float | None = None
    detail: str = ""
    warning: bool = False

    @property
    def verdict(self) -> str:
        """Its result, in a word."""
        if not self.passed:
            return "FAILED"
        return "warning" if self.warning else "passed"

    def sentence(self) -> str:
        """Name, figure and bound in one line."""
        parts = []
        if self.figure is not None and self.bound is not None:
            parts.append(f"{self.figure:.6g}, must be {self.relation} {self.bound:.6g}")
        if self.detail:
            parts.append(f"({self.detail})" if parts else self.detail)
        return f"{self.name}: {' '.join(parts)}"


def at_least(name: str, figure: float, bound: float, detail: str = "") -> Check:
    """A check that passes where the figure reaches the bound."""
    return Check(name=name, passed=figure >= bound, figure=figure, relation="at least", bound=bound, detail=detail)


def at_most(name: str, figure: float, bound: float, detail: str = "") -> Check:
    """A check that passes where the figure does not exceed the bound."""
    return Check(name=name, passed=figure <= bound, figure=figure, relation="at most", bound=bound, detail=detail)
