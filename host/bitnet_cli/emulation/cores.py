"""Runs the core's machine code, function by function, on emulated processors, and counts what it costs.

The code is that of the native modules: the object files that `bitnet-cli build` links into `_bitnet.mpy`,
linked once more to a fixed place, because a module has no symbols to call.
"""

import shutil
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import capstone
import unicorn
from elftools.elf.elffile import ELFFile
from unicorn import arm_const, riscv_const, x86_const

from ..errors import BitnetError
from ..natmod.build import XTENSA, find_tools, make, prepare, text_size

_LINKER_SCRIPT = Path(__file__).with_name("flat.ld")
_CODE_SIZE, _RETURN = 0x40000, 0x8000
_STACK, _STACK_SIZE = 0x20000000, 4096  # half of what MicroPython has on an RP2040
_HEAP, _HEAP_SIZE = 0x30000000, 16 << 20


@dataclass(frozen=True)
class Program:
    """The core of one architecture, linked to a fixed place, and the module of the same object files."""

    architecture: str
    segments: list[tuple[int, bytes]]
    functions: dict[str, int]
    """Function name → address."""
    module: bytes
    text_size: int


def link(architecture: str, source: Path, folder: Path, extra: Path | None = None) -> Program:
    """Compile the module against this MicroPython source, and the C files of a folder with the same flags.

    folder: an empty one, to work in. Raises BitnetError if a tool is missing or fails.
    """
    native = prepare(folder, source)
    output = make(native, architecture, "all")
    module = native / "mpy" / "_bitnet.mpy"
    objects = [path for path in sorted(module.parent.glob("build/**/*.o")) if path.stem != "bitnet_mpy"]
    if extra:
        shutil.copytree(extra, native / "extra")
        names = [f"build/{path.stem}.o" for path in sorted(extra.glob("*.c"))]
        make(native, architecture, "VPATH=../core:../extra", *names)
        objects += [module.parent / name for name in names]
        objects += _runtime(architecture)
    program = folder / "core.elf"
    options: list[str | Path] = [
        *_linker_options(architecture),
        "-T",
        _LINKER_SCRIPT,
        "-o",
        program,
        *objects,
    ]
    find_tools(architecture).run("ld", options, f"linking for {architecture}")
    return Program(architecture, *_read_elf(program), module.read_bytes(), text_size(output))


def _runtime(architecture: str) -> list[Path]:
    """Return the compiler's library, for 64-bit products where there are none; the core needs no library."""
    if architecture != "armv6m":
        return []
    arguments = ["-mthumb", "-mcpu=cortex-m0", "-print-libgcc-file-name"]
    return [Path(find_tools(architecture).run("gcc", arguments, "finding libgcc").strip())]


def _linker_options(architecture: str) -> list[str]:
    if architecture == XTENSA:
        # MicroPython's linker relaxes nothing either.
        return ["--no-relax"]
    return ["-m", "elf32lriscv"] if architecture.startswith("rv32") else []


def _read_elf(path: Path) -> tuple[list[tuple[int, bytes]], dict[str, int]]:
    with path.open("rb") as file:
        elf = ELFFile(file)
        segments = [(s["p_vaddr"], s.data()) for s in elf.iter_segments() if s["p_type"] == "PT_LOAD"]
        symbols = elf.get_section_by_name(".symtab").iter_symbols()
        functions = {s.name: s["st_value"] for s in symbols if s["st_info"]["type"] == "STT_FUNC"}
    return segments, functions


@dataclass(frozen=True)
class Processor:
    """What Unicorn needs to know about a processor, and how a C function is called on it."""

    architecture: str
    """The architecture of the native modules that it runs."""
    machine: tuple[int, int]
    decoder: tuple[int, int]
    """Architecture and mode for Capstone, as `machine` has them for Unicorn."""
    model: int | None
    arguments: tuple[int, ...]
    """The registers that hold the first arguments; the others are on the stack."""
    stack_pointer: int
    result: int
    link: int | None
    """The register that holds the return address; None if that is on the stack."""
    pointer_size: int = 4
    thumb: bool = False


def _registers(module: object, names: str) -> tuple[int, ...]:
    return tuple(getattr(module, name) for name in names.split())


def _cortex_m(architecture: str, model: int) -> Processor:
    """Describe a Cortex-M; its model decides what it lacks (M0: unaligned access, division, Thumb-2)."""
    # UC_MODE_MCLASS would overrule the model and make it a Cortex-M33.
    return Processor(
        architecture,
        (unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB),
        (capstone.CS_ARCH_ARM, capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS),
        model,
        tuple(arm_const.UC_ARM_REG_R0 + i for i in range(4)),
        arm_const.UC_ARM_REG_SP,
        arm_const.UC_ARM_REG_R0,
        arm_const.UC_ARM_REG_LR,
        thumb=True,
    )


PROCESSORS = {
    "cortex-m0plus": _cortex_m("armv6m", arm_const.UC_CPU_ARM_CORTEX_M0),
    "cortex-m7": _cortex_m("armv7emdp", arm_const.UC_CPU_ARM_CORTEX_M7),
    "rv32imc": Processor(
        "rv32imc",
        (unicorn.UC_ARCH_RISCV, unicorn.UC_MODE_RISCV32),
        (capstone.CS_ARCH_RISCV, capstone.CS_MODE_RISCV32 | capstone.CS_MODE_RISCVC),
        None,
        tuple(riscv_const.UC_RISCV_REG_A0 + i for i in range(8)),
        riscv_const.UC_RISCV_REG_SP,
        riscv_const.UC_RISCV_REG_A0,
        riscv_const.UC_RISCV_REG_RA,
    ),
    "x86-64": Processor(
        "x64",
        (unicorn.UC_ARCH_X86, unicorn.UC_MODE_64),
        (capstone.CS_ARCH_X86, capstone.CS_MODE_64),
        None,
        _registers(
            x86_const,
            "UC_X86_REG_RDI UC_X86_REG_RSI UC_X86_REG_RDX UC_X86_REG_RCX UC_X86_REG_R8 UC_X86_REG_R9",
        ),
        x86_const.UC_X86_REG_RSP,
        x86_const.UC_X86_REG_RAX,
        None,
        pointer_size=8,
    ),
}


class Meter(ABC):
    """Says what instructions cost."""

    @abstractmethod
    def cost(self, code: bytes) -> int:
        """Return what one instruction costs; a branch is not taken."""

    @abstractmethod
    def taken(self, code: bytes) -> int:
        """Return what an instruction costs more if the next one in memory does not follow."""


class Instructions(Meter):
    """Counts instructions: one each."""

    def cost(self, code: bytes) -> int:
        return 1

    def taken(self, code: bytes) -> int:
        return 0


class CortexM0PlusCycles(Meter):
    """Cycles as in the Cortex-M0+ Technical Reference Manual (section 3.3), with no wait states and a
    multiplier of one cycle.
    """

    def cost(self, code: bytes) -> int:
        return cortex_m0plus_cycles(int.from_bytes(code[:2], "little"))

    def taken(self, code: bytes) -> int:
        return int(len(code) == 2 and 0xD0 <= code[1] < 0xDE)


def cortex_m0plus_cycles(half: int) -> int:  # noqa: PLR0911  (a table)
    """Return the cycles of an instruction by its first halfword; a conditional branch is not taken."""
    if 0x4800 <= half < 0xA000:  # ldr, str and their like
        return 2
    if 0xC000 <= half < 0xD000:  # ldm, stm
        return 1 + (half & 0xFF).bit_count()
    if half >> 9 == 0xB4 >> 1:  # push, with lr or without
        return 1 + (half & 0x1FF).bit_count()
    if half >> 9 == 0xBC >> 1:  # pop
        return (3 if half & 0x100 else 1) + (half & 0x1FF).bit_count()
    if half & 0xFF87 == 0x4687 or half >> 8 == 0x47 or 0xE000 <= half < 0xE800:  # mov pc; bx, blx; b
        return 2
    if half >= 0xE800:  # bl, barriers, special registers
        return 3
    return 1


@dataclass(frozen=True)
class Measured:
    """What a call returned and what it cost, in all and by function."""

    result: int
    cost: int
    by_function: dict[str, int]


@dataclass(frozen=True)
class _Block:
    """Instructions that run in a row, and their cost; `taken` is added if `end` does not follow."""

    start: int
    end: int
    cost: int
    taken: int


class Emulator:
    """An emulated processor with the core in its memory.

    There are 16 MB of RAM, which allocate() gives out until reset(); functions run on a stack of 4 KB.
    """

    def __init__(self, processor: Processor, program: Program, meter: Meter | None = None) -> None:
        self.processor = processor
        self._program = program
        self._meter = meter or Instructions()
        self._decoder = capstone.Cs(*processor.decoder)
        self._blocks: dict[tuple[int, int], _Block] = {}
        self.cost = 0
        """Of the call that is being measured, so far."""
        self._last: _Block | None = None
        self._by_address: Counter[int] = Counter()
        starts = sorted((address & ~1, name) for name, address in program.functions.items())
        self._starts, self._names = zip(*starts, strict=True)
        self.reset()

    def reset(self) -> None:
        """Bring the memory back to how it was at the start."""
        self.uc = unicorn.Uc(*self.processor.machine, self.processor.model)
        self.uc.mem_map(0, _CODE_SIZE)
        self.uc.mem_map(_STACK, _STACK_SIZE)
        self.uc.mem_map(_HEAP, _HEAP_SIZE)
        for address, data in self._program.segments:
            self.uc.mem_write(address, data)
        self._next = _HEAP

    def allocate(self, data: bytes) -> int:
        """Copy data into RAM, at a multiple of 16; return its address."""
        address = self._next
        self.uc.mem_write(address, data)
        self._next += (len(data) + 15) & ~15
        return address

    def read(self, address: int, size: int) -> bytes:
        """Return `size` bytes of memory."""
        return bytes(self.uc.mem_read(address, size))

    def call(self, name: str, *arguments: int) -> int:
        """Run a function; returns its int."""
        processor, registers = self.processor, len(self.processor.arguments)
        self._set_stack(arguments[registers:])
        for register, value in zip(processor.arguments, arguments[:registers], strict=False):
            self.uc.reg_write(register, value & ((1 << 8 * processor.pointer_size) - 1))
        self.uc.emu_start(self._program.functions[name] | processor.thumb, _RETURN)
        result = int(self.uc.reg_read(processor.result)) & 0xFFFFFFFF
        return result - (1 << 32) if result >> 31 else result

    def _set_stack(self, arguments: Sequence[int]) -> None:
        processor = self.processor
        words = list(arguments)
        top = _STACK + _STACK_SIZE - 64
        if processor.link is None:
            words.insert(0, _RETURN)
            top -= processor.pointer_size
        else:
            self.uc.reg_write(processor.link, _RETURN | processor.thumb)
        self.uc.mem_write(top, b"".join(word.to_bytes(processor.pointer_size, "little") for word in words))
        self.uc.reg_write(processor.stack_pointer, top)

    def measure(self, name: str, *arguments: int) -> Measured:
        """Run a function and add up its cost."""
        self._by_address.clear()
        self.cost, self._last = 0, None
        hooks = self._begin_measuring()
        # What has been translated already would go on without the hooks.
        self.uc.ctl_flush_tb()
        try:
            result = self.call(name, *arguments)
        finally:
            for hook in hooks:
                self.uc.hook_del(hook)
            self.uc.ctl_flush_tb()
        return Measured(result, self.cost, self._per_function())

    def _begin_measuring(self) -> list[int]:
        return [self.uc.hook_add(unicorn.UC_HOOK_BLOCK, self._enter)]

    def _enter(self, _uc: unicorn.Uc, address: int, size: int, _data: object) -> None:
        """Charge a run of instructions, up to a branch, as it begins."""
        if self._last is not None and self._last.end != address:
            self.wait(self._last.taken)
        if (address, size) not in self._blocks:
            self._blocks[address, size] = self._decode(address, size)
        self._last = self._blocks[address, size]
        self.wait(self._last.cost)

    def _decode(self, address: int, size: int) -> _Block:
        code = self.read(address, size)
        instructions = [bytes(i.bytes) for i in self._decoder.disasm(code, address)]
        if b"".join(instructions) != code:
            raise BitnetError(f"the emulated code at {address:#x} has an instruction that is not known")
        cost = sum(map(self._meter.cost, instructions))
        return _Block(address, address + size, cost, self._meter.taken(instructions[-1]))

    def wait(self, cost: int) -> None:
        """Charge the instructions that run."""
        assert self._last is not None
        self.cost += cost
        self._by_address[self._last.start] += cost

    def _per_function(self) -> dict[str, int]:
        costs: Counter[str] = Counter()
        for address, cost in self._by_address.items():
            costs[self._names[bisect_right(self._starts, address) - 1]] += cost
        return dict(costs.most_common())
