"""UARTs of an emulated RP2040."""

import functools
from collections.abc import Mapping, Sequence

from bitnet_cli.emulation.pico import Device, Pico
from rp2040py.peripherals.uart import RPUART
from rp2040py.rp2040 import RP2040


class QuietUarts:
    """A pico.Device without which machine.UART hangs: the emulator's UARTs ask to be filled without end.

    A real one's interrupt comes once, when its FIFO runs empty (4.2.6.3); the emulator's FIFO always is.
    """

    def attach(self, rp2040: RP2040) -> None:
        for uart in rp2040.uart:
            uart.check_interrupts = functools.partial(self._interrupt, uart)

    @staticmethod
    def _interrupt(uart: RPUART) -> None:
        uart.rp2040.set_interrupt(uart.irq, bool(uart._interrupt_status & uart._interrupt_mask))


class UartPico(Pico):
    """Sends and receives over UART 0, not over USB."""

    def __init__(self, flash: Mapping[int, bytes], devices: Sequence[Device]) -> None:
        super().__init__(flash, [*devices, QuietUarts()])
        self._uart = self.chip.uart[0]
        self._uart.on_byte = self.received.append
        self._to_uart = bytearray()

    @property
    def is_idle(self) -> bool:
        return super().is_idle and not self._to_uart

    def send(self, data: bytes) -> None:
        self._to_uart += data

    def run(self) -> bool:
        while self._to_uart and not self._uart.rx_fifo.full:
            self._uart.feed_byte(self._to_uart.pop(0))
        return super().run()
