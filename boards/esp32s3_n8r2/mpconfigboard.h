// ESP32-S3 module N8R2. The flash layout is partitions.csv's.
#define MICROPY_HW_BOARD_NAME "ESP32-S3 N8R2 with bitnet"
#define MICROPY_HW_MCU_NAME "ESP32S3"
#define MICROPY_VFS_ROM (1)
#define MICROPY_HW_ENABLE_UART_REPL (1)
// Records of cloud sync go compressed, for 1.3 KB of code.
#define MICROPY_PY_DEFLATE_COMPRESS (1)
