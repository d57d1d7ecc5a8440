freeze("$(PORT_DIR)/modules")  # noqa: F821
include("$(MPY_DIR)/extmod/asyncio")  # noqa: F821
include("$(BOARD_DIR)/../../device/manifest.py")  # noqa: F821
