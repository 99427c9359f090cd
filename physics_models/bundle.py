"""The index of a TensorFlow checkpoint, read and checked in Python before TensorFlow's own reader may have it.

That reader is C++ and trusts what it reads: a damaged index can end the whole process. The file `.index` is a table
in LevelDB's format: blocks of sorted keys, each followed by its checksum, and a footer that says where they are. A
key is a variable's name, its value a `BundleEntryProto`: type, shape, and place in the file `.data-…`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError, Message
from tensorflow.core.protobuf import tensor_bundle_pb2

FOOTER_BYTES = 48
MAGIC = bytes.fromhex("57fb808b247547db")
TRAILER_BYTES = 5  # of a block: its kind of compression, and a checksum
MAX_INDEX_BYTES = 2**26
MAX_SHARDS = 1000


class DamagedError(ValueError):
    """What is wrong with a file, in a few words."""


class Entry(NamedTuple):
    """One array of a checkpoint; `dtype` is None for what NumPy has no numbers for (strings)."""

    dtype: np.dtype | None
    shape: tuple[int, ...]


def read_index(path: str) -> dict[str, Entry]:
    """What the checkpoint `path` (without its endings) holds, by the names in the file.

    Raises `DamagedError` for an index that is not whole, or that does not fit the data beside it.
    """
    table = dict(read_table(read_file(Path(f"{path}.index"))))
    header = parse(tensor_bundle_pb2.BundleHeaderProto, table.pop(b"", b""))
    if not 1 <= header.num_shards <= MAX_SHARDS or header.endianness != header.LITTLE:
        raise DamagedError(f"its header speaks of {header.num_shards} data files")
    sizes = []
    for shard in range(header.num_shards):
        data = Path(f"{path}.data-{shard:05d}-of-{header.num_shards:05d}")
        if not data.is_file():
            raise DamagedError(f"{data.name} is missing")
        sizes.append(data.stat().st_size)
    entries = {}
    for key, value in table.items():
        try:
            name = key.decode()
        except UnicodeDecodeError:
            raise DamagedError("a name in the index is no text") from None
        entries[name] = check_entry(name, parse(tensor_bundle_pb2.BundleEntryProto, value), sizes)
    return entries


def check_entry(name: str, entry: Message, sizes: list[int]) -> Entry:
    """The `Entry` of a variable; it must lie within the data files of these `sizes`."""
    if not 0 <= entry.shard_id < len(sizes):
        raise DamagedError(f"{name} is said to lie in data file {entry.shard_id} of {len(sizes)}")
    if entry.offset < 0 or entry.size < 0 or entry.offset + entry.size > sizes[entry.shard_id]:
        raise DamagedError(f"{name} is said to lie beyond the end of the data")
    shape = tuple(dim.size for dim in entry.shape.dim)
    if entry.slices or entry.shape.unknown_rank or len(shape) > 8 or any(side < 0 for side in shape):
        raise DamagedError(f"{name} has no shape to read")
    try:
        dtype = tf.dtypes.as_dtype(entry.dtype)
    except TypeError:
        raise DamagedError(f"{name} is of the unknown type {entry.dtype}") from None
    if dtype == tf.string:
        if math.prod(shape) > entry.size:
            raise DamagedError(f"{name} is said to hold {math.prod(shape)} strings")
        return Entry(None, shape)
    if not (dtype.is_floating or dtype.is_integer or dtype.is_bool):
        raise DamagedError(f"{name} is of the type {dtype.name}")
    numpy_type = np.dtype(dtype.as_numpy_dtype)
    if math.prod(shape) * numpy_type.itemsize != entry.size:
        raise DamagedError(f"{name} has shape {list(shape)}, but {entry.size} bytes")
    return Entry(numpy_type, shape)


def read_file(path: Path) -> bytes:
    """The bytes of an index; `DamagedError` if there are too many to be one."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_INDEX_BYTES + 1)
    except OSError as error:
        raise DamagedError(f"{path.name} cannot be read: {error.strerror}") from error
    if len(data) > MAX_INDEX_BYTES:
        raise DamagedError(f"{path.name} is larger than {MAX_INDEX_BYTES >> 20} MB")
    return data


def read_table(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a table, the keys in rising order."""
    footer = data[-FOOTER_BYTES:]
    if len(footer) < FOOTER_BYTES or footer[-8:] != MAGIC:
        raise DamagedError("it does not end like an index")
    _, _, at = read_handle(footer, 0)
    offset, size, _ = read_handle(footer, at)
    last = None
    for _, handle in read_block(data, offset, size):
        offset, size, _ = read_handle(handle, 0)
        for key, value in read_block(data, offset, size):
            if last is not None and key <= last:
                raise DamagedError("its names are out of order")
            last = key
            yield key, value


def read_block(data: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of one block, whose checksum must be right."""
    end = offset + size
    if end + TRAILER_BYTES > len(data):
        raise DamagedError("a block lies beyond its end")
    if data[end] != 0:
        raise DamagedError("a block is compressed")
    if int.from_bytes(data[end + 1 : end + 5], "little") != masked_checksum(data[offset : end + 1]):
        raise DamagedError("a block's checksum is wrong")
    block = data[offset:end]
    restarts = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 * (restarts + 1)
    if end < 0:
        raise DamagedError("a block is shorter than it says")
    starts = np.frombuffer(block[end:-4], "<u4")
    if (starts > end).any():
        raise DamagedError("a name is said to begin beyond its block")
    at, key = 0, b""
    while at < end:
        shared, at = read_varint(block, at)
        added, at = read_varint(block, at)
        length, at = read_varint(block, at)
        if shared > len(key) or at + added + length > end:
            raise DamagedError("a name reaches beyond its block")
        key = key[:shared] + block[at : at + added]
        at += added
        yield key, block[at : at + length]
        at += length


def read_handle(data: bytes, at: int) -> tuple[int, int, int]:
    """Where a block begins, how long it is, and where `data` goes on."""
    offset, at = read_varint(data, at)
    size, at = read_varint(data, at)
    return offset, size, at


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where `data` goes on."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise DamagedError("a number has no end")


def parse(kind: type[Message], data: bytes) -> Message:
    """The message of `kind` in `data`."""
    try:
        return kind.FromString(data)
    except DecodeError:
        raise DamagedError("an entry is no entry") from None


@functools.cache
def checksum_table() -> list[int]:
    """CRC-32C of each byte."""
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


def masked_checksum(data: bytes) -> int:
    """CRC-32C of `data`, turned and shifted as LevelDB stores it."""
    table, crc = checksum_table(), 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 255]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
