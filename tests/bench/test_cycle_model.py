"""Our cycle model of Cortex-M0+ against an emulated RP2040 that keeps cycles of its own."""

import pytest
from bitnet_cli.emulation.cores import Program, link
from bitnet_cli.measure.kernel_bench import BASELINES, Bench
from bitnet_cli.model.packing import BINARY, TERNARY
from bitnet_cli.natmod.build import micropython_source
from support.rp2040_machine import Rp2040Machine

pytestmark = [pytest.mark.emulated, pytest.mark.toolchain]

TARGET = "cortex-m0plus"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    return link("armv6m", micropython_source(print), tmp_path_factory.mktemp("bench"), BASELINES)


@pytest.mark.parametrize("tokens", [1, 2])
@pytest.mark.parametrize("weight_type", [BINARY, TERNARY])
def test_products_take_the_cycles_of_an_rp2040(program: Program, weight_type: int, tokens: int) -> None:
    ours = Bench(TARGET, program).product(256, weight_type, 8, tokens)
    theirs = Bench(TARGET, program, Rp2040Machine(program)).product(256, weight_type, 8, tokens)
    assert ours == theirs


def test_int8_takes_the_cycles_of_an_rp2040(program: Program) -> None:
    ours, theirs = (
        [(r.kernel, r.count) for r in bench.baselines(128)]
        for bench in (Bench(TARGET, program), Bench(TARGET, program, Rp2040Machine(program)))
    )
    assert ours == theirs
