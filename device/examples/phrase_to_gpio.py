# Phrase to GPIO: switches what hangs on GPIO 15 as phrases say. Run it with `mpremote run phrase_to_gpio.py`.

import time

import machine
from bitnet import Session, load

LEVELS = {"light_on": 1, "light_off": 0}  # of the stock model's intents

session = Session(load())
lamp = machine.Pin(15, machine.Pin.OUT, value=0)
for phrase in ("Turn on the lights", "Who won the game last night?", "Switch off the lights, please"):
    answer = session.infer(phrase)
    if answer.intent in LEVELS:
        lamp.value(LEVELS[answer.intent])
    print(phrase, "->", answer.intent)
    time.sleep(1)
