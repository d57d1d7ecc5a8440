"""The PC side of bitnet-cli: train, export, build, simulate."""
