# The AT command service: parser.py knows the syntax, table.py the commands; service.py answers.

from .service import Service

__all__ = ("Service",)
