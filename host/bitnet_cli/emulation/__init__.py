"""Boards and processors that run on a PC."""
