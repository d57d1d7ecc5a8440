# Frequency and energy: what a unit needs only if its board.toml has [clock] or [power].
