"""The compiler for Xtensa: where it is found, and that it uses nothing that ESP32, -S2 or -S3 lacks."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from bitnet_cli.errors import BitnetError
from bitnet_cli.natmod import build, debian, xtensa

pytestmark = [pytest.mark.emulated, pytest.mark.toolchain]

# What all three chips have, by option of the processor (Xtensa Instruction Set Architecture, chapter 4). The
# S2 has no loops, MAC16, S32C1I, booleans and floating point.
INSTRUCTIONS = {
    *"add addi addmi addx2 addx4 addx8 and extui movi neg or sub subx2 subx4 subx8 xor abs nop".split(),
    *"sll slli sra srai src srl srli ssai ssl ssr ssa8l".split(),
    *"l8ui l16si l16ui l32i l32r s8i s16i s32i memw".split(),
    *"moveqz movnez movltz movgez call0 j jx".split(),
    *"ball bany bbc bbci bbs bbsi beq beqi beqz bge bgei bgeu bgeui bgez".split(),
    *"blt blti bltu bltui bltz bnall bne bnei bnez bnone".split(),
    # code density
    *"add.n addi.n beqz.n bnez.n l32i.n mov.n movi.n nop.n ret.n retw.n s32i.n".split(),
    # register windows
    *"call4 call8 call12 callx4 callx8 callx12 entry retw movsp".split(),
    # min/max, clamps, sign extension, leading zeros; multiplication and division
    *"max maxu min minu clamps sext nsa nsau".split(),
    *"mul16s mul16u mull muluh mulsh quos quou rems remu".split(),
}
# Between functions and in front of aligned loops.
PADDING = {"ill", ".byte", ".short"}


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The module's object files."""
    native = build.prepare(tmp_path_factory.mktemp("xtensa"), build.micropython_source(print))
    build.make(native, build.XTENSA, "all")
    return sorted((native / "mpy" / "build").rglob("*.o"))


def disassemble(path: Path) -> list[str]:
    """Mnemonics."""
    tools = build.find_tools(build.XTENSA)
    command = [tools.prefix + "objdump", "--disassemble", "--section=.text", str(path)]
    environment = os.environ | tools.environment
    listed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    return re.findall(r"^ *[0-9a-f]+:\t[0-9a-f ]+\t(\S+)", listed, re.MULTILINE)


def test_only_instructions_of_all_chips_occur(objects: list[Path]) -> None:
    # One by one: objdump takes the literals of one file for those of the next.
    found = [mnemonic for path in objects for mnemonic in disassemble(path)]
    assert len(found) > 3000
    assert set(found) - PADDING <= INSTRUCTIONS


def test_an_instruction_of_some_chips_would_be_seen(tmp_path: Path) -> None:
    tools = build.find_tools(build.XTENSA)
    code = tmp_path / "code.S"
    code.write_text("entry a1, 16\nloop a2, end\nnop\nend: mula.dd.ll m0, m2\nadd.s f0, f1, f2\nretw\n")
    command = [tools.prefix + "gcc", "-c", str(code), "-o", str(tmp_path / "code.o")]
    subprocess.run(command, env=os.environ | tools.environment, check=True)
    unknown = set(disassemble(tmp_path / "code.o")) - PADDING - INSTRUCTIONS
    assert unknown == {"loop", "mula.dd.ll", "add.s"}


# --- where the compiler comes from ---


def executable(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_espressifs_compiler_is_preferred(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    executable(tmp_path / "bin" / "xtensa-esp-elf-gcc")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(BitnetError, match="xtensa-esp32s2-elf-gcc"):
        xtensa.find(print)

    plugin = executable(tmp_path / "lib" / "xtensa_esp32s2.so")
    found = xtensa.find(print)
    assert found.prefix == f"{tmp_path}/bin/xtensa-esp-elf-"
    assert found.environment == {"XTENSA_GNU_CONFIG": str(plugin)}

    executable(tmp_path / "bin" / "xtensa-esp32s2-elf-gcc")
    found = xtensa.find(print)
    assert (found.prefix, found.environment) == (f"{tmp_path}/bin/xtensa-esp32s2-elf-", {})


def test_a_failed_fetch_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(debian, "mirror", lambda instead: f"file://{tmp_path}/nothing")
    with pytest.raises(BitnetError, match="put Espressif's xtensa-esp-elf toolchain on PATH"):
        xtensa.find(print)
    assert not list((tmp_path / "bitnet-cli").iterdir())


def test_without_apt_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BitnetError, match=r"no apt-get .* put Espressif's"):
        xtensa.find(print)
