"""What a test records as the property `summary` is printed when all is done, from whichever process it ran in."""

import hypothesis
import pytest

# How long an example takes depends on what else the machine does, so no test asserts it.
hypothesis.settings.register_profile("project", deadline=None)
hypothesis.settings.load_profile("project")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the sentences that passed tests recorded, each under the name of its test."""
    for report in terminalreporter.getreports("passed"):
        for name, sentence in report.user_properties:
            if name == "summary":
                terminalreporter.write_line(f"{report.nodeid.rpartition('::')[2]}: {sentence}")
