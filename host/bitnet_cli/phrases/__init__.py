"""Phrases to train and test on: rows of JSONL and CSV, and sentence templates."""
