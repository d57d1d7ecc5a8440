// RP2350B with 16 MB of flash and 8 MB of PSRAM, selected by GPIO 47, as on Pimoroni's Pico Plus 2. The flash
// layout is board.toml's.
#define MICROPY_HW_BOARD_NAME "RP2350 with PSRAM and bitnet"
#define MICROPY_HW_ROMFS_BYTES (1024 * 1024)
#define MICROPY_HW_FLASH_STORAGE_BYTES (14 * 1024 * 1024)
#define MICROPY_HW_ENABLE_PSRAM (1)
#define MICROPY_HW_PSRAM_CS_PIN (47)
