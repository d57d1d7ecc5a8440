"""Figures: accuracy, kernels, latency of a board, and whether a board computes what the host does."""
