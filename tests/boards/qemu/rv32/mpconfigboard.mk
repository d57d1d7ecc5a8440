# The port's machine; Debian's libraries have no rv32imac_zicsr, and ISA 2.2 had CSRs in every RISC-V.
RV32_ARCH = rv32imac -misa-spec=2.2

include boards/VIRT_RV32/mpconfigboard.mk
include $(BOARD_DIR)/../common.mk
