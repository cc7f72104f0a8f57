"""Mutations: an input out of seeds, changed at random, so that most of it is still sound and the rest is not.

What a checksum guards is changed beneath it: a PNG's chunks get right sums, messages and JSON are changed by fields.
"""

import json
import random
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from styleserve.v1 import style_transfer_pb2
from support.damage import mutated

Mutation: TypeAlias = Callable[[bytes, random.Random], bytes]

ODD_NUMBERS = (0, 1, -1, 2**31 - 1, -(2**31), 2**32, 2**63 - 1, -(2**63), 0.5, 1e308, float("nan"), float("inf"))
ODD_TEXTS = ("", "\0", "x" * 5000, "\U0001f600" * 300, "../../x", "%s{}", "styles/mosaic@", "\r\n", "NaN", "-0")
ODD_VALUES = (None, True, [], {}, [1], {"a": 1}, "succeeded", 10**400, "\ud800")
_WORDS = (
    b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\xff\xda", b"\xff\xd9", b"IDAT", b"iCCP",
    b"eXIf", b"acTL", b"tRNS", b"VP8X", b"ANMF", b": ", b"\n- ", b"&a ", b"*a", b"!!int ", b"{", b"]", b'"',
    b"null", b"1e999", b"NaN",
)  # fmt: skip


_CHUNKS = (b"tRNS", b"PLTE", b"iCCP", b"eXIf", b"zTXt", b"iTXt", b"acTL", b"fcTL", b"gAMA", b"sBIT")


def make_input(target: str, seeds: Sequence[bytes], chance: random.Random) -> bytes:
    """One input of the target."""
    data = chance.choice(seeds)
    own = _OF_TARGETS.get(target)
    if own is not None and chance.random() < 0.6:
        data = own(data, chance)
        if chance.random() < 0.6:
            return data
    for _ in range(chance.choice((0, 1, 1, 1, 2, 5))):
        if data:
            data = chance.choice((mutated, mutated, _overwrite, _truncate))(data, chance)
    if chance.random() < 0.05:
        other = chance.choice(seeds)
        data = data[: chance.randrange(len(data) + 1)] + other[chance.randrange(len(other) + 1) :]
    return data


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG, with its sum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _overwrite(data: bytes, chance: random.Random) -> bytes:
    word, start = chance.choice(_WORDS), chance.randrange(len(data))
    end = start + (len(word) if chance.random() < 0.7 else 0)
    return data[:start] + word + data[end:]


def _truncate(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data))]


def _change_chunk(data: bytes, chance: random.Random) -> bytes:
    """A PNG with one chunk's content changed, left out, doubled or moved, and every sum right."""
    if not data.startswith(b"\x89PNG"):
        return data
    chunks, position = [], 8
    while position + 12 <= len(data):
        (length,) = struct.unpack(">I", data[position : position + 4])
        chunks.append((data[position + 4 : position + 8], data[position + 8 : position + 8 + length]))
        position += 12 + length
    number = chance.randrange(len(chunks))
    kind, content = chunks[number]
    match chance.randrange(6):
        case 0 | 1 | 2 if content:
            chunks[number] = kind, mutated(content, chance)
        case 3:
            chunks.insert(chance.randrange(len(chunks)), (kind, content))
        case 4:
            kind = chance.choice(
                (b"tRNS", b"PLTE", b"iCCP", b"eXIf", b"zTXt", b"iTXt", b"acTL", b"fcTL", b"gAMA", b"sBIT")
            )
            text = b"key\0\0" + zlib.compress(bytes(chance.choice((10, 10**5, 10**7))))
            chunks.insert(1, (kind, chance.choice((text, chance.randbytes(chance.randrange(300))))))
        case _:
            chance.shuffle(chunks)
    framed = (
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )
    return data[:8] + b"".join(framed)


def _change_request(data: bytes, chance: random.Random) -> bytes:
    request = style_transfer_pb2.StylizeRequest.FromString(data)
    for _ in range(chance.choice((1, 1, 2, 10))):
        _change_message(request, chance)
    return request.SerializeToString(deterministic=True)


def _change_message(message: Message, chance: random.Random) -> None:
    """Set one field, here or further in, to a value that its type allows and nobody expects."""
    field = chance.choice(message.DESCRIPTOR.fields)
    value = getattr(message, field.name)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        value[chance.choice(ODD_TEXTS)] = chance.choice(ODD_TEXTS)
    elif field.message_type is not None:
        if field.is_repeated:
            value.add() if not value or chance.random() < 0.2 else None
            value = chance.choice(value)
        else:
            value.SetInParent()
        _change_message(value, chance)
    elif chance.random() < 0.1:
        message.ClearField(field.name)
    else:
        _set_scalar(message, field, chance)


def _set_scalar(message: Message, field: FieldDescriptor, chance: random.Random) -> None:
    made: object
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING:
            made = chance.choice(ODD_TEXTS)
            made = made.encode() if field.type == FieldDescriptor.TYPE_BYTES else made
        case FieldDescriptor.CPPTYPE_BOOL:
            made = chance.random() < 0.5
        case FieldDescriptor.CPPTYPE_DOUBLE | FieldDescriptor.CPPTYPE_FLOAT:
            made = float(chance.choice(ODD_NUMBERS))
        case _:
            made = chance.choice([number for number in ODD_NUMBERS if isinstance(number, int)])
    try:
        setattr(message, field.name, made)
    except (ValueError, TypeError):  # beyond the field's type
        message.ClearField(field.name)


def _change_json(data: bytes, chance: random.Random) -> bytes:
    """One value of a record made another."""
    record = json.loads(data)
    place = record
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            break
        key = chance.choice(keys)
        if not isinstance(place[key], dict | list) or not place[key] or chance.random() < 0.1:
            place[key] = chance.choice(
                (*ODD_NUMBERS, *ODD_TEXTS, None, True, [], {}, [1], {"a": 1}, "succeeded", 10**400)
            )
            break
        place = place[key]
    return json.dumps(record).encode()


_OF_TARGETS: Mapping[str, Mutation] = {
    "images": _change_chunk,
    "requests": _change_request,
    "records": _change_json,
}
