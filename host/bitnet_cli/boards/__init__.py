"""A board: its definition, firmware and flash image, and what is said to it over a serial line."""
