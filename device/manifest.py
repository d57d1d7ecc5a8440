# Freezes the package into firmware. The native module stays a file: it must match the board's architecture.
package("bitnet")  # noqa: F821
