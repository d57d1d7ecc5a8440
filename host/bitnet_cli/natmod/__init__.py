"""The native module for each architecture, and the compilers it takes."""
