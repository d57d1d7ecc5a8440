"""How long tests wait for what should happen."""

PATIENCE = 600.0
"""Seconds: tests wait for events, so that only a hang reaches it, however busy the machine is."""
