"""What the tests ask of a model, in words that every client can say."""

import base64
import struct
import zlib

from pydantic import BaseModel

KEY = "sk-test-of-the-caller"
QUESTION = "Which city is the capital of Norway, and how many people live there?"


class City(BaseModel):
    name: str
    people: int


def _chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(side):
    rows = b"".join(b"\0" + b"\x20\x60\xa0" * side for _ in range(side))
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")


PNG_BASE64 = base64.b64encode(_png(64)).decode()
PNG_URL = f"data:image/png;base64,{PNG_BASE64}"

PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}},
    "required": ["city", "unit"],
    "additionalProperties": False,
}
CHAT_TOOL = {
    "type": "function",
    "function": {"name": "weather", "description": "The weather of a city.", "parameters": PARAMETERS},
}
RESPONSES_TOOL = {"type": "function", "name": "weather", "strict": True, "parameters": PARAMETERS}
MESSAGES_TOOL = {"name": "weather", "description": "The weather of a city.", "input_schema": PARAMETERS}
