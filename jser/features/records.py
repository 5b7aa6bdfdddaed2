"""The records of feature shards: TFDS's examples, read without copying the frames.

TFDS's own parser copies them twice and keeps all other threads from running meanwhile;
frames are most of what a batch costs. A record is a `tf.train.Example`, in protobuf's
wire format, whose two features are bytes.
"""

from collections.abc import Iterator

import numpy as np

_BYTES = 2  # Wire type of what has its length before it; all else is foreign here.


def decode(record: bytes, shape: tuple[int, ...]) -> tuple[str, np.ndarray]:
    """The utterance's id and its frames, float16, a view of the record.

    Args:
      record: As TFDS wrote it, of features `utt_id` and `frames`.
      shape: Of a frame, [D] or [L, D].

    Raises:
      ValueError, KeyError: if it is none.
    """
    found = {}
    for features in _values(memoryview(record), 1):
        for entry in _values(features, 1):
            (key,), (feature,) = _values(entry, 1), _values(entry, 2)
            (values,) = _values(feature, 1)  # A bytes_list.
            (found[bytes(key).decode()],) = _values(values, 1)
    frames = np.frombuffer(found["frames"], np.float16)
    return bytes(found["utt_id"]).decode(), frames.reshape(-1, *shape)


def _values(message: memoryview, number: int) -> list[memoryview]:
    """The values of a field, in order."""
    return [value for n, value in _fields(message) if n == number]


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        size, at = _varint(message, at)
        if tag & 7 != _BYTES or at + size > len(message):
            raise ValueError("not a record of frames")
        yield tag >> 3, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A number in sevens of bits, the lowest first, and where it ends."""
    number = shift = 0
    while True:
        if at == len(message) or shift > 63:
            raise ValueError("a record that breaks off")
        byte, at = message[at], at + 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7
