"""The emulated processors by name, whatever emulates them."""

from typing import Protocol

from ..natmod.build import XTENSA
from .cores import PROCESSORS, CortexM0PlusCycles, Emulator, Measured, Program
from .xtensa.machine import XtensaMachine

MACHINES = (*PROCESSORS, "xtensa")


class Machine(Protocol):
    """A processor with the core in its memory."""

    def reset(self) -> None: ...

    def allocate(self, data: bytes) -> int: ...

    def read(self, address: int, size: int) -> bytes: ...

    def call(self, name: str, *arguments: int) -> int: ...

    def measure(self, name: str, *arguments: int) -> Measured: ...


def architecture_of(name: str) -> str:
    """Return the architecture of the native modules that a processor runs."""
    return PROCESSORS[name].architecture if name in PROCESSORS else XTENSA


def pointer_size_of(name: str) -> int:
    """Return a processor's pointer size in bytes."""
    return PROCESSORS[name].pointer_size if name in PROCESSORS else 4


def machine(name: str, program: Program) -> Machine:
    """Make a machine that counts cycles on Cortex-M0+, and instructions elsewhere."""
    if name not in PROCESSORS:
        return XtensaMachine(program)
    meter = CortexM0PlusCycles() if name == "cortex-m0plus" else None
    return Emulator(PROCESSORS[name], program, meter)
