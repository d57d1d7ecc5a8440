# Sensor to answer: says whether somebody is in the room, by a light sensor on GPIO 26.
# It needs another model: `bitnet-cli deploy --model device/models/occupancy.bitnet`.

import time

import machine
from bitnet import Session, load
from bitnet.features import Features

FULL_SCALE = 1_000_000  # thousandths of lux, as the model wants them, at the voltage of 3.3 V

session = Session(load())
features = Features(session.model.metadata()["features"])
sensor = machine.ADC(26)
for _ in range(10):
    features.push("light", sensor.read_u16() * FULL_SCALE // 65535, time.ticks_ms())
    time.sleep_ms(200)
answer = session.infer("Is anyone in the office?", features.tokens())
print(answer.intent, answer.confidence)
