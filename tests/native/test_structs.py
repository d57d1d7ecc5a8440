"""The structures that the host writes into an emulated memory are those of the C compiler."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from bitnet_cli.emulation import structs
from bitnet_cli.emulation.structs import Struct
from bitnet_cli.measure.kernel_bench import BASELINES
from bitnet_cli.paths import NATIVE

pytestmark = pytest.mark.toolchain

STRUCTS = [value for value in vars(structs).values() if isinstance(value, Struct)]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, int]]:
    """Offset of each field by type, and `sizeof` as the field "", of this machine's compiler."""
    lines = ["#include <stddef.h>", "#include <stdio.h>", '#include "core.h"', '#include "baselines.h"']
    lines += ["int main(void) {", 'printf("{\\"none\\": {}");']
    for one in STRUCTS:
        lines.append(f'printf(", \\"{one.c_type}\\": {{\\"\\": %zu", sizeof({one.c_type}));')
        for name in one.fields:
            member = re.sub(r"_(\d)$", r"[\1]", name)
            lines.append(f'printf(", \\"{name}\\": %zu", offsetof({one.c_type}, {member}));')
        lines.append('printf("}");')
    lines += ['printf("}");', "return 0;", "}"]
    folder = tmp_path_factory.mktemp("structs")
    (folder / "offsets.c").write_text("\n".join(lines))
    program = folder / "offsets"
    includes = (f"-I{NATIVE / 'core'}", f"-I{BASELINES}")
    subprocess.run(["gcc", *includes, folder / "offsets.c", "-o", program], check=True)
    found: dict[str, dict[str, int]] = json.loads(
        subprocess.run([program], capture_output=True, check=True).stdout
    )
    return found


def test_there_are_structures() -> None:
    assert len(STRUCTS) >= 7


@pytest.mark.parametrize("one", STRUCTS, ids=lambda one: one.c_type)
def test_offsets_are_the_compilers(one: Struct, compiled: dict[str, dict[str, int]]) -> None:
    expected = compiled[one.c_type]
    size = expected.pop("")
    assert one.offsets(pointer_size=8) == expected
    assert 0 <= size - len(one.pack(pointer_size=8)) < 8  # but for padding at the end


def test_values_lie_at_their_offsets() -> None:
    data = structs.PRODUCT.pack(matrix=1, out_0=2, out_1=3, rows=4, wanted=5)
    assert data == bytes(byte for value in (1, 2, 3, 4, 5) for byte in (value, 0, 0, 0))
    assert structs.SCALE.pack(m=1, e=-1) == b"\1\0\0\0\xff\xff\xff\xff"
    with pytest.raises(TypeError, match="bn_scale_t has no x"):
        structs.SCALE.pack(x=1)


def test_all_fields_are_named() -> None:
    """A field of C that the host does not know would show as a gap, or at the end as a larger size."""
    header = (NATIVE / "core" / "core.h").read_text() + (Path(BASELINES) / "baselines.h").read_text()
    for one in STRUCTS:
        (body,) = re.findall(r"typedef struct \{([^}]*)\} " + one.c_type, header)
        code = re.sub(r"//[^\n]*", "", body)
        names = re.findall(r"\b(\w+)(?:\[(\d)\])?(?=[,;])", code)
        members = [f"{name}_{i}" for name, count in names for i in range(int(count or 0))]
        members += [name for name, count in names if not count]
        assert sorted(members) == sorted(one.fields)
