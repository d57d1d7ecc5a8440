# What the host writes onto a board from its board.toml, for type checkers. A board may do without.

WEIGHTS: str
MODEL_FLASH: tuple[int, int]  # start and size, in bytes from the beginning of flash
UART: tuple[int, int, int, int]  # number, baudrate, tx and rx pins
PSRAM: dict[str, int]  # its size, and its pins: cs, sck, and data, the first of four
CLOCK: tuple[int, int, int]  # the processor's frequencies in Hz: default, least, most
# picojoules_per_cycle; with an INA226 also i2c, sda, scl, address, shunt_milliohms and max_milliamperes
POWER: dict[str, int]
