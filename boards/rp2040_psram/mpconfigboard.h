// RP2040 with 16 MB of flash and PSRAM on pins. The flash layout is board.toml's.
#define MICROPY_HW_BOARD_NAME "RP2040 with PSRAM and bitnet"
#define MICROPY_HW_ROMFS_BYTES (3712 * 1024)
#define MICROPY_HW_FLASH_STORAGE_BYTES (12 * 1024 * 1024)
