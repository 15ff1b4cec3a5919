"""One check of the gate, and its result."""

from typing import Literal

from msgspec import Struct

Relation = Literal["at least", "at most"]


class Check(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """One check: `figure` is compared with `bound`; a check without figures says everything in its detail.

    `warning` marks a finding that is not refused: the model passes, and a person should look at it.
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
        """The result in one word."""
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
    """Return a check that passes if the figure reaches the bound."""
    return Check(name=name, passed=figure >= bound, figure=figure, relation="at least", bound=bound, detail=detail)


def at_most(name: str, figure: float, bound: float, detail: str = "") -> Check:
    """Return a check that passes if the figure does not exceed the bound."""
    return Check(name=name, passed=figure <= bound, figure=figure, relation="at most", bound=bound, detail=detail)
