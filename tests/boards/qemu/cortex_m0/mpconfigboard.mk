# The port's BBC micro:bit, which has 1 MB of flash and 256 KB of RAM there.
include boards/MICROBIT/mpconfigboard.mk
include $(BOARD_DIR)/../common.mk

MPY_CROSS_FLAGS = -march=armv6m
