"""Prints the bit-exact matrix at the end of a test run: targets × shapes × weight types."""

import pytest


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
