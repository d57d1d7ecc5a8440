# What the boards have in common. ROMFS_ADDRESS and MICROPY_HEAP_SIZE come from the command line.
BOARDS := $(abspath $(BOARD_DIR)/..)

CFLAGS += -I$(BOARDS) -DMP_CONFIGFILE='<mpconfig.h>' -DBOARD_ROMFS_ADDRESS=$(ROMFS_ADDRESS)
SRC_C += hal.c
vpath hal.c $(BOARDS)
# hal.c has its own of these.
LDFLAGS += -Wl,--wrap=main,--wrap=mp_hal_stdin_rx_chr,--wrap=mp_hal_stdio_poll

FROZEN_MANIFEST = $(BOARDS)/manifest.py
# Of micropython-lib nothing is frozen, and Debian's source is without: the build only looks for a README.md.
MPY_LIB_DIR = $(TOP)
