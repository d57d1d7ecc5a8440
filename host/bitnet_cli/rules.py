"""Fallback rules, which answer when the model cannot: made from the phrases that the model is trained on."""

_QUOTES = (b"'", "’".encode())
_INNER = b".,:"


def normalize(text: str) -> tuple[bytes, list[int]]:
    """A phrase as rules see it, in UTF-8, and where in the text's UTF-8 each of its bytes is from.

    device/bitnet/rules.py says what is kept of a phrase.
    """
    data = text.encode()
    phrase, places = bytearray(b" "), [0]
    at = 0
    while at < len(data):
        quote = next((quote for quote in _QUOTES if data.startswith(quote, at)), b"")
        if quote:
            at += len(quote)
            continue
        byte = data[at : at + 1].lower()
        if not _is_kept(data, at):
            byte = b" "
        elif phrase[-1:].isdigit() and not byte.isdigit() and byte not in b" -.,:":
            phrase += b" "
            places.append(at)
        if byte != b" " or phrase[-1:] != b" ":
            phrase += byte
            places.append(at)
        at += 1
    if phrase[-1:] != b" ":
        phrase += b" "
        places.append(len(data) - 1)
    return bytes(phrase), places


def _is_kept(data: bytes, at: int) -> bool:
    byte, before, after = data[at : at + 1], data[at - 1 : at] if at else b"", data[at + 1 : at + 2]
    if byte.isalnum() or byte >= b"\x80" or byte == b"%":
        return True
    if byte == b"-":
        return after.isdigit() and before in (b"", b" ")
    return byte in _INNER and before.isdigit() and after.isdigit()
