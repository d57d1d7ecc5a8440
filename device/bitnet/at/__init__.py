# The AT command service; parser.py knows the syntax, service.py the commands.

from .service import Service

__all__ = ("Service",)
