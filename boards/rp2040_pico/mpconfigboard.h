// Raspberry Pi Pico, or any RP2040 with 2 MB of flash and without PSRAM. The flash layout is board.toml's.
#define MICROPY_HW_BOARD_NAME "Raspberry Pi Pico with bitnet"
#define MICROPY_HW_ROMFS_BYTES (1024 * 1024)
#define MICROPY_HW_FLASH_STORAGE_BYTES (640 * 1024)
