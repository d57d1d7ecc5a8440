# A PSRAM chip of 8 MB on pins of an RP2040, which cannot map it into memory: an APS6404L, LY68L6400 or the
# like. PIO and DMA read and write it, four bits at a clock (QPI).
#
# The chip refreshes itself only while CS is high, and must do so every 8 us, above 85 °C every 4 us. CS is
# low for a burst of 32 bytes, which takes 162 cycles at most; that is below 4 us from 41 MHz on. Bursts lie
# at multiples of their size, so none crosses a page of the chip, at whose end it would wrap around.
#
# Names in the programs are those of PIO's assembler, which is not Python:
# mypy: disable-error-code="name-defined,call-overload"

import struct
import time

import machine
import rp2
from micropython import const
from rp2 import PIO, asm_pio

_READER = const(6)  # state machines: the last two of eight, because other programs take the first ones
_WRITER = const(7)
_PIO = const(1)
_PIO_BASE = const(0x50300000)
_FDEBUG = const(0x08)  # RP2040 datasheet, 3.7
_INPUT_SYNC_BYPASS = const(0x38)
_TX_STALL = const(24)
_TX_REQUESTS = const(8)  # of PIO 1: RP2040 datasheet, 2.5.3.1
_RX_REQUESTS = const(12)

# Commands of the chip; reading, 0xEB, is in the program.
_RESET_ENABLE = const(0x66)
_RESET = const(0x99)
_READ_ID = const(0x9F)
_ENTER_QPI = const(0x35)
_EXIT_QPI = const(0xF5)
_WRITE = const(0x38)

_POWER_UP_US = const(150)
_SLOW_HZ = const(62_500_000)  # two cycles are a clock, and the chip tells its ID up to 33 MHz
_ID_SIZE = const(4)  # of eight bytes, because CS must not be low for longer
_KNOWN_GOOD_DIE = const(0x5D)
_BURST = const(32)
_CHUNK = const(992)  # bytes at once, which are at most 1024 with whole bursts at both ends
_PATTERN = const(251)  # a prime, so that no two rows of cells get the same
_FRAME = const(8)  # bytes before the data of a burst: a count of nibbles, command and address


# Of what side() sets, bit 0 is CS and bit 1 the clock: 1 is idle; 0 and then 2 make a clock.


@asm_pio(out_init=PIO.OUT_LOW, set_init=PIO.IN_LOW, sideset_init=[PIO.OUT_HIGH, PIO.OUT_LOW], autopush=True)
def _spi():
    # One bit at a clock. Two words say how many bits to send, less 1, and to receive; and what to send.
    pull().side(1)
    out(x, 16).side(1)
    out(y, 16).side(1)
    pull().side(1)
    label("send")
    out(pins, 1).side(0)
    jmp(x_dec, "send").side(2)
    jmp("more").side(0)
    label("receive")
    nop().side(2)
    in_(pins, 1).side(0)
    label("more")
    jmp(y_dec, "receive").side(0)


@asm_pio(
    out_init=[PIO.OUT_LOW] * 4,
    set_init=[PIO.OUT_LOW] * 4,
    sideset_init=[PIO.OUT_HIGH, PIO.OUT_LOW],
    autopull=True,
)
def _writing():
    # A word has the count of nibbles, less 1; these follow. The pull drops what is left of the last word.
    pull().side(1)[1]
    out(x, 32).side(1)
    set(pindirs, 0b1111).side(1)
    label("send")
    out(pins, 4).side(0)
    jmp(x_dec, "send").side(2)
    nop().side(0)[1]


@asm_pio(
    out_init=[PIO.OUT_LOW] * 4,
    set_init=[PIO.OUT_LOW] * 4,
    sideset_init=[PIO.OUT_HIGH, PIO.OUT_LOW],
    autopush=True,
)
def _reading():
    # A word that is 0 asks for the burst after the last one. Any other word is the number of the next burst,
    # inverted, because x can only be counted down.
    label("number")
    mov(x, osr).side(1)
    wrap_target()
    pull().side(1)
    mov(y, osr).side(1)
    jmp(y_dec, "number").side(1)
    mov(osr, invert(x)).side(1)
    out(null, 13).side(1)  # what is left are 19 bits, then zeros: the address
    jmp(x_dec, "command").side(1)
    label("command")
    set(pindirs, 0b1111).side(1)
    set(pins, 0xE).side(0)
    set(y, 5).side(2)
    set(pins, 0xB).side(0)
    nop().side(2)
    label("address")
    out(pins, 4).side(0)
    jmp(y_dec, "address").side(2)
    # Six clocks to wait and one to begin with.
    set(pindirs, 0).side(0)
    set(y, 5).side(2)
    label("wait")
    nop().side(0)
    jmp(y_dec, "wait").side(2)
    # What the chip puts out when the clock falls is read when it falls again, two cycles later, because the
    # way through the pads and back takes longer than one cycle at 133 MHz.
    set(y, 31).side(2)
    label("data")
    in_(pins, 4).side(0)
    nop().side(2)
    in_(pins, 4).side(0)
    jmp(y_dec, "data").side(2)
    nop().side(0)[1]
    wrap()


class PsramError(Exception):
    """There is no chip, or it is faulty, or too small for what is asked; the text says which."""


class Psram:
    """A chip of `size` bytes. It is reset, which leaves its content. id: the beginning of its ID.

    The pins: cs; sck, which must be the one after it; data, the first of four. Raises PsramError if no chip
    answers; OSError or ValueError if the memory or the last two state machines of PIO 1 are taken, or all DMA
    channels.
    """

    def __init__(self, cs: int, sck: int, data: int, size: int = 8 << 20) -> None:
        if sck != cs + 1:
            raise PsramError("sck must be the pin after cs")
        self.size = size
        self._cs, self._data, self._so = machine.Pin(cs), machine.Pin(data), machine.Pin(data + 1)
        self._chunk = memoryview(bytearray(_CHUNK + _BURST))
        self._frames = bytearray((_FRAME + _BURST) * (_CHUNK // _BURST + 1))
        self._zero = bytes(4)
        self._programs: list = []
        self._machines: list = []
        self._channels: list = []
        try:
            self._claim_channels()
            # The data come with our own clock, so they need no synchronizer, which costs two cycles.
            machine.mem32[_PIO_BASE + _INPUT_SYNC_BYPASS] |= 0b1111 << data
            slow = min(machine.freq(), _SLOW_HZ)
            self._writer = self._claim(_WRITER, _writing, slow)
            self._reset(slow)
            self._reader = self._claim(_READER, _reading)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give up PIO and DMA; the chip keeps its content. It may be called again."""
        for state_machine in self._machines:
            state_machine.active(0)
        for program in self._programs:
            PIO(_PIO).remove_program(program)
        for channel in self._channels:
            channel.close()
        self._machines, self._programs, self._channels = [], [], []

    def write(self, address: int, data) -> None:
        """Write any number of bytes from an address on. Raises PsramError if they do not fit."""
        self._check(address, len(data))
        data = memoryview(data)
        self._reader.active(0)
        self._writer.active(1)
        for start in range(0, len(data), _CHUNK):
            self._write_some(address + start, data[start : start + _CHUNK])
        self._writer.active(0)

    def readinto(self, address: int, buffer) -> None:
        """Fill a buffer with the bytes from an address on. Raises PsramError if there are not as many."""
        self._check(address, len(buffer))
        buffer = memoryview(buffer)
        self._reader.active(1)
        for start in range(0, len(buffer), _CHUNK):
            self._read_some(address + start, buffer[start : start + _CHUNK])
        self._reader.active(0)

    def open_stream(self) -> tuple:
        """Let the native module read by itself, until another method is called.

        Returns the DMA channel that takes the data, the one that asks for bursts, and the state machine.
        """
        self._reader.active(1)
        return self._receive.channel, self._request.channel, _READER

    def self_test(self, start: int = 0, size: int | None = None) -> None:
        """Test the pins, and the cells from start up to start + size; what these hold is lost.

        size: None for all up to the end. 8 MB take about a minute. Raises PsramError with the first address
        that is wrong, and what was read there.
        """
        end = self.size if size is None else start + size
        self._check(start, end - start)
        self._test_addresses()
        for flip in (0x00, 0xFF):
            line = bytes(89 * i & 0xFF ^ flip for i in range(_PATTERN))
            pattern = memoryview(line * (_CHUNK // _PATTERN + 2))
            for do in (self.write, self._verify):
                for address in range(start, end, _CHUNK):
                    shift = address % _PATTERN
                    do(address, pattern[shift : shift + min(_CHUNK, end - address)])

    def _test_addresses(self) -> None:
        """Write and read a byte of its own at each power of two, which fails if a pin is faulty."""
        addresses = [0]
        while 1 << len(addresses) - 1 < self.size:
            addresses.append(1 << len(addresses) - 1)
        for do in (self.write, self._verify):
            for i, address in enumerate(addresses):
                do(address, bytes((i * 37 + 85 & 0xFF,)))

    def _verify(self, address: int, expected) -> None:
        found = bytearray(len(expected))
        self.readinto(address, found)
        if found == expected:
            return
        i = next(i for i in range(len(found)) if found[i] != expected[i])
        raise PsramError(
            f"PSRAM is faulty at {address + i:#x}: {found[i]:#04x} instead of {expected[i]:#04x}"
        )

    def _check(self, address: int, size: int) -> None:
        if address < 0 or size < 0 or address > self.size or size > self.size - address:
            raise PsramError(f"{size} bytes at {address:#x} do not fit into {self.size:#x}")

    # --- programs and channels ---

    def _claim_channels(self) -> None:
        for _ in range(2):
            self._channels.append(rp2.DMA())
        self._request, self._receive = self._channels
        pack = self._request.pack_ctrl
        self._write_control = pack(inc_write=False, bswap=True, treq_sel=_TX_REQUESTS + _WRITER % 4)
        self._request_control = pack(inc_read=False, inc_write=False, treq_sel=_TX_REQUESTS + _READER % 4)
        self._read_control = self._receive.pack_ctrl(
            inc_read=False, bswap=True, treq_sel=_RX_REQUESTS + _READER % 4
        )

    def _claim(self, number: int, program, hz: int = -1):
        """Claim a state machine, and put a program for our pins into it; it does not run yet."""
        in_base = set_base = self._so if program is _spi else self._data
        state_machine = rp2.StateMachine(
            number,
            program,
            freq=hz,
            in_base=in_base,
            out_base=self._data,
            set_base=set_base,
            sideset_base=self._cs,
        )
        self._programs.append(program)
        self._machines.append(state_machine)
        return state_machine

    def _release(self, state_machine) -> None:
        """Give up the state machine that was claimed last: its memory and its number are needed again."""
        state_machine.active(0)
        self._machines.pop()
        PIO(_PIO).remove_program(self._programs.pop())

    # --- commands ---

    def _reset(self, hz: int) -> None:
        """Bring the chip from SPI or QPI into QPI, and read its ID on the way."""
        time.sleep_us(_POWER_UP_US)
        # In SPI mode these two clocks are no command, and do nothing.
        struct.pack_into(">IB", self._frames, 0, 1, _EXIT_QPI)
        self._writer.active(1)
        self._send_frames(8)
        self._writer.active(0)
        spi = self._claim(_READER, _spi, hz)
        spi.active(1)
        for command in (_RESET_ENABLE, _RESET):
            self._command(spi, command)
        self.id = self._read_id(spi)
        if self.id[1] != _KNOWN_GOOD_DIE:
            raise PsramError(f"no PSRAM at its pins: the ID reads {self.id.hex()}")
        self._command(spi, _ENTER_QPI)
        self._release(spi)

    def _command(self, spi, command: int) -> None:
        spi.put(7 << 16)
        spi.put(command << 24)
        _wait_until_sent(_READER)

    def _read_id(self, spi) -> bytes:
        spi.put(31 << 16 | 8 * _ID_SIZE)
        spi.put(_READ_ID << 24)
        return struct.pack(">I", spi.get())

    # --- bursts ---

    def _write_some(self, address: int, data) -> None:
        """Write at most _CHUNK bytes."""
        frames, end, at = self._frames, 0, 0
        while at < len(data):
            size = min(_BURST - address % _BURST, len(data) - at)
            struct.pack_into(">II", frames, end, 2 * (4 + size) - 1, _WRITE << 24 | address)
            end += _FRAME
            frames[end : end + size] = data[at : at + size]
            end += size + 3 & ~3
            at += size
            address += size
        self._send_frames(end)

    def _send_frames(self, size: int) -> None:
        self._request.config(
            read=self._frames, write=self._writer, count=size >> 2, ctrl=self._write_control, trigger=True
        )
        while self._request.active():
            pass
        _wait_until_sent(_WRITER)

    def _read_some(self, address: int, buffer) -> None:
        """Read at most _CHUNK bytes."""
        skip, size = address % _BURST, len(buffer)
        bursts = (skip + size + _BURST - 1) // _BURST
        self._reader.put(~(address // _BURST))
        self._receive.config(
            read=self._reader,
            write=self._chunk,
            count=bursts * (_BURST // 4),
            ctrl=self._read_control,
            trigger=True,
        )
        self._request.config(
            read=self._zero, write=self._reader, count=bursts, ctrl=self._request_control, trigger=True
        )
        while self._receive.active():
            pass
        buffer[:] = self._chunk[skip : skip + size]


def _wait_until_sent(number: int) -> None:
    """Wait until a state machine of PIO 1 has nothing more to send; CS is high then."""
    register, waits = _PIO_BASE + _FDEBUG, 1 << _TX_STALL + number % 4
    machine.mem32[register] = waits  # clears what it has noted of earlier waits
    while not machine.mem32[register] & waits:
        pass
