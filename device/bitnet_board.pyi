# What the host writes onto a board from its board.toml, for type checkers. A board may do without.

WEIGHTS: str
