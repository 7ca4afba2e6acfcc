"""Changes manifests behind torpor's back, and makes their checksums right again: what a newer version,
another machine or a clever enemy could have written. Knows the framing of docs/image-format.md and
protobuf's wire format; field numbers are those of proto/snapshot.proto."""

import ctypes
import pathlib
import struct

HEADER = struct.Struct("<8sIIQQ")  # magic, version, header size, body size, XXH3-64 of the body

# Manifest, Host
FORMAT_VERSION, HOST, COMPUTATION, FILES = 1, 6, 7, 8
MACHINE, CPU_MODEL, XFEATURES, XSAVE_SIZE, CPU_FEATURES, PAGE_SIZE = 2, 4, 5, 6, 7, 8


def xxh3(data: bytes) -> int:
    function = ctypes.CDLL("libxxhash.so.0").XXH3_64bits
    function.restype = ctypes.c_uint64
    function.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    return function(data, len(data))


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7f | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))


class Message:
    """A protobuf message as the list of its fields: [number, wire type, value]."""

    def __init__(self, data: bytes):
        self.fields: list[list] = []
        self.data, self.at = data, 0
        while self.at < len(data):
            key = self.take_varint()
            self.fields.append([key >> 3, key & 7, self.take_value(key & 7)])

    def take_varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 0x7f) << shift
            shift += 7
            if byte < 0x80:
                return value

    def take(self, size: int) -> bytes:
        self.at += size
        return self.data[self.at - size:self.at]

    def take_value(self, kind: int):
        if kind == 0:
            return self.take_varint()
        return self.take({1: 8, 5: 4}[kind] if kind != 2 else self.take_varint())

    def encode(self) -> bytes:
        out = b""
        for number, kind, value in self.fields:
            out += varint(number << 3 | kind)
            if kind == 0:
                out += varint(value)
            elif kind == 2:
                out += varint(len(value)) + value
            else:
                out += value
        return out

    def find(self, number: int) -> list:
        """The last field of that number, which is added if there is none."""
        found = [field for field in self.fields if field[0] == number]
        if not found:
            self.fields.append([number, 0, 0])
            found = self.fields[-1:]
        return found[-1]

    def set(self, number: int, value: int | str | bytes) -> None:
        field = self.find(number)
        if isinstance(value, int):
            field[1:] = [0, value]
        else:
            field[1:] = [2, value.encode() if isinstance(value, str) else value]

    def get(self, number: int):
        return self.find(number)[2]

    def add(self, number: int, value: str) -> None:
        self.fields.append([number, 2, value.encode()])

    def edit(self, number: int, change) -> None:
        """Calls `change` with the message that a field holds."""
        field = self.find(number)
        inner = Message(field[2] or b"")
        change(inner)
        field[1:] = [2, inner.encode()]


def edit_manifest(path: pathlib.Path, change, version: int | None = None) -> None:
    """Calls `change` with the manifest's Message; `version`: of the header, else as it is."""
    data = path.read_bytes()
    magic, old_version, size, _, _ = HEADER.unpack_from(data)
    message = Message(data[HEADER.size:])
    change(message)
    body = message.encode()
    header = HEADER.pack(magic, old_version if version is None else version, size, len(body),
                         xxh3(body))
    path.write_bytes(header + body)
