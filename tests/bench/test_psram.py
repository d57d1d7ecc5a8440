"""Weights from PSRAM cost hardly more than weights in RAM: they are fetched while others are computed."""

import struct

import pytest
from bitnet_cli.emulation.cores import PROCESSORS, link
from bitnet_cli.emulation.rp2040 import CYCLES_PER_BURST, Rp2040
from bitnet_cli.model.modelfile import PSRAM_BURST, ModelConfig, split
from bitnet_cli.model.oracle import Oracle
from bitnet_cli.model.packing import BINARY, TERNARY
from bitnet_cli.model.random_model import random_model
from bitnet_cli.natmod.build import micropython_source

pytestmark = [pytest.mark.emulated, pytest.mark.toolchain]

COPIED, STREAMED, NO_DMA = 1, 2, 0xFFFFFFFF
DMA_CHANNEL, REQUEST_CHANNEL, STATE_MACHINE = 3, 4, 6
WARM_UP, MEASURED = [5, 17, 3, 99], [42]
LAYERS_DIFFER = -13
LAYERS = 5

# Of the cycles that fetching takes, how many may be waited for.
NOT_HIDDEN = 0.02


@pytest.fixture(scope="module")
def rp2040(tmp_path_factory: pytest.TempPathFactory) -> Rp2040:
    program = link("armv6m", micropython_source(print), tmp_path_factory.mktemp("program"))
    return Rp2040(PROCESSORS["cortex-m0plus"], program)


class Session:
    """A model whose layers are in RAM, or in PSRAM if `layers` are given."""

    def __init__(self, machine: Rp2040, model: bytes, layers: bytes | None = None) -> None:
        machine.reset()
        self._machine = machine
        self._at = machine.allocate(model)
        placement = COPIED if layers is None else STREAMED
        size = machine.call("bn_state_size", self._at, len(model), 0)
        size += machine.call("bn_placement_size", self._at, len(model), placement)
        self._state = machine.allocate(bytes(size))
        assert machine.call("bn_init", self._state, size, self._at, len(model), 0) == 0
        if layers is None:
            self.placed = machine.call("bn_place", self._state, size, self._at, placement, NO_DMA)
        else:
            machine.psram = layers
            ports = DMA_CHANNEL, REQUEST_CHANNEL, STATE_MACHINE
            self.placed = machine.call("bn_place_psram", self._state, size, self._at, *ports)
        self._vocab_size = machine.call("bn_vocab_size", self._at)

    def feed(self, tokens: list[int]) -> int:
        """Returns the cycles."""
        ids = self._machine.allocate(struct.pack(f"<{len(tokens)}H", *tokens))
        return self._machine.measure("bn_feed", self._state, self._at, ids, len(tokens), 0).cost

    def logits(self) -> bytes:
        out = self._machine.allocate(bytes(4 * self._vocab_size))
        assert self._machine.call("bn_logits", self._state, self._at, out) == 0
        return self._machine.read(out, 4 * self._vocab_size)


def model_1m(weight_type: int) -> bytes:
    """The larger shape of the benches, 85 KB or 136 KB of layers."""
    config = ModelConfig(512, 128, 352, LAYERS, 8, 4, 16, weight_type=weight_type, head_type=weight_type)
    return random_model(config, 1)


@pytest.mark.parametrize("weight_type", [BINARY, TERNARY], ids=["binary", "ternary"])
def test_fetching_is_hidden_behind_computing(rp2040: Rp2040, weight_type: int) -> None:
    model = model_1m(weight_type)
    resident, layers = split(model)
    oracle = Oracle(model)
    oracle.feed(WARM_UP + MEASURED)
    logits = oracle.logits().astype("<i4").tobytes()

    session = Session(rp2040, model)
    session.feed(WARM_UP)
    in_ram = session.feed(MEASURED)
    assert session.logits() == logits

    session = Session(rp2040, resident, layers)
    assert session.placed == 0
    session.feed(WARM_UP)
    bursts = rp2040.bursts
    streamed = session.feed(MEASURED)
    bursts = rp2040.bursts - bursts
    assert session.logits() == logits

    # What is fetched ahead belongs to the next token, and is not as much after each.
    assert abs(PSRAM_BURST * bursts - len(layers)) < len(layers) // LAYERS
    fetching = len(layers) // PSRAM_BURST * CYCLES_PER_BURST
    print(f"in RAM {in_ram}, streamed {streamed}, fetching {fetching}")
    assert in_ram < streamed < in_ram + NOT_HIDDEN * fetching


def test_layers_in_psram_are_checked(rp2040: Rp2040) -> None:
    resident, layers = split(model_1m(TERNARY))
    damaged = bytearray(layers)
    damaged[len(layers) // 2] ^= 1
    for content in (b"", layers[:-1], bytes(damaged)):
        assert Session(rp2040, resident, content).placed == LAYERS_DIFFER
    assert Session(rp2040, resident, layers).placed == 0
