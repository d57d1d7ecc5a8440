"""Marks the fast tests, and prints the bit-exact matrix at the end of a run."""

import pytest

_NOT_FAST = ("emulated", "toolchain", "slow")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as `fast` what has none of the other marks, so that a new test is in the inner loop."""
    for item in items:
        if not any(item.get_closest_marker(name) for name in _NOT_FAST):
            item.add_marker(pytest.mark.fast)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Collect what tests recorded as `bit_exact`: = if every logit equals the oracle's, X if one does not."""
    matrix: dict[str, dict[str, str]] = {}
    for outcome, mark in (("passed", "="), ("failed", "X")):
        for report in terminalreporter.getreports(outcome):
            for name, (row, target) in report.user_properties if report.when == "call" else ():
                if name == "bit_exact":
                    matrix.setdefault(row, {})[target] = mark
    if not matrix:
        return
    targets = sorted({target for row in matrix.values() for target in row})
    terminalreporter.section("logits equal to the NumPy oracle's, byte for byte (=)")
    terminalreporter.line(" " * 24 + "  ".join(targets))
    for row in sorted(matrix):
        marks = (matrix[row].get(target, " ").center(len(target)) for target in targets)
        terminalreporter.line(f"{row:24}" + "  ".join(marks))
