"""The findings on each question, and the verdict that follows from them."""

from typing import Literal

from msgspec import Struct

Question = Literal["version", "age", "alerts", "data", "settings"]
# `not asked`: nobody wants to know, or this version has no record of it. `unknown`: a service did not answer.
Answer = Literal["due", "not due", "unknown", "not asked"]
DUE, OUTAGE, NOT_DUE = 0, 1, 3
# MLflow's limit for a tag is 8000 characters. A person who reads a pull request wants fewer.
_LONGEST = 500


class Finding(Struct, frozen=True):
    """The answer to one question, with a sentence that says why."""

    question: Question
    answer: Answer
    says: str


class Verdict(Struct, frozen=True, kw_only=True):
    """Whether a model should be trained again.

    Attributes:
        name: The registered model.
        folder: Where its training.yaml is.
        version: The number of its newest version that passed the gate; null where there is none.
        champion: The number of the version that new ones are compared with; null where there is none.
        findings: The answers.
        due: Whether a finding says that it is due.
        reason: The reason, which the new version will record; empty if it is not due.
    """

    name: str
    folder: str
    version: str | None
    champion: str | None
    findings: tuple[Finding, ...]
    due: bool
    reason: str

    @property
    def unknown(self) -> tuple[Finding, ...]:
        """The findings of questions that got no answer."""
        return tuple(finding for finding in self.findings if finding.answer == "unknown")

    @property
    def exit_code(self) -> int:
        """0 for due, 3 for not due, 1 if an unknown answer could be a reason."""
        if self.due:
            return DUE
        return OUTAGE if self.unknown else NOT_DUE


def reason_of(findings: tuple[Finding, ...]) -> str:
    """Return the sentences of the findings that are reasons, in one line that is short enough for a pull request."""
    said = " ".join(" ".join(finding.says.split()) for finding in findings if finding.answer == "due")
    return said if len(said) <= _LONGEST else f"{said[: _LONGEST - 3]}..."
