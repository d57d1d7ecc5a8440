include("$(MPY_DIR)/extmod/asyncio")  # noqa: F821
