"""Fallback rules: patterns learned from phrases, for a unit whose model does not answer."""
