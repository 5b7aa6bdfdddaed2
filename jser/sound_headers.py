"""How much sound the header or the last page of a file states; nothing is decoded.

libsndfile reads a file that was cut as a shorter one without a word, so we look
ourselves: whether the bytes of sound that are stated are there. Other sizes that are
off, such as RIFF's own, harm nobody.
"""

from collections.abc import Iterator
import dataclasses
import io
import pathlib
import re
from typing import BinaryIO, Literal
import zlib

_MPEG_TAG = re.compile(rb"(?:Xing|Info)...[\1\3\5\7\x09\x0b\r\x0f](?!\0{4})|VBRI", re.S)
_NIST_FIELD = re.compile(rb"^(\w+) -i (\d+)", re.M)
_NIST_PLAIN = re.compile(rb"^sample_coding -s\d+ (pcm|ulaw|alaw)\s*$", re.M)
_NEAR = 4096  # Programs that write to a pipe state so much less than a power of two.
_LAST_PAGE = 65_536  # No page of Ogg is longer.


@dataclasses.dataclass(frozen=True)
class _Chunks:
    """How a format writes its chunks: name, size, content."""

    first: int  # Where the first begins.
    name: int  # Bytes of a name, and of a size.
    size: int
    order: Literal["little", "big"]
    align: int
    counts_itself: bool  # Whether a size counts name and size.
    sound: bytes  # Name of the chunk that holds the samples.


@dataclasses.dataclass(frozen=True)
class _Stated:
    """The sound of a file as its header has it, in bytes."""

    start: int
    size: int
    frame: int  # One sample of every channel, or one block of a codec.
    unknown: tuple[int, ...]  # Powers of two near which a size is none.


_GUID = bytes.fromhex("f3acd3118cd100c04f8edb8a")
_RIFF = _Chunks(12, 4, 4, "little", 2, False, b"data")
_AIFF = dataclasses.replace(_RIFF, order="big", sound=b"SSND")
_W64 = _Chunks(40, 16, 8, "little", 8, True, b"data" + _GUID)
_CAF = _Chunks(8, 4, 8, "big", 1, False, b"data")
_AU_BYTES = {3: 2, 4: 3, 5: 4, 6: 4, 7: 8}  # Of a sample; 1 in all other codings.
_SIZE_BEFORE_SOUND = {b"RIFF": 0, b".snd": 8}  # Where; 0 for right before.
_CHUNKS = {
    (b"RIFF", b"WAVE"): _RIFF,
    (b"RF64", b"WAVE"): _RIFF,
    (b"BW64", b"WAVE"): _RIFF,
    (b"RIFX", b"WAVE"): dataclasses.replace(_RIFF, order="big"),
    (b"FORM", b"AIFF"): _AIFF,
    (b"FORM", b"AIFC"): _AIFF,
}


def missing(path: pathlib.Path) -> str:
    """What a file lacks of the sound that it states, or ""; for people to read.

    One frame and a pad byte may lack: some programs count what they do not write.
    Nothing is said of a size that is 0 or about the largest that the field can hold,
    as in files written to a pipe, nor where a format states none.
    """
    with path.open("rb") as f:
        head = f.read(12)
        if head[:4] == b"OggS":
            return _missing_of_ogg(f)
        stated = _stated(f, head)
        there = f.seek(0, 2)
    if stated is None or _is_unknown(stated.size, stated.unknown):
        return ""
    there = max(0, there - stated.start)
    if stated.size - there <= stated.frame + 1:
        return ""
    return f"{there} of {stated.size} bytes of sound are there"


def for_libsndfile(path: pathlib.Path) -> pathlib.Path | io.BytesIO:
    """The file, or its content with another size where libsndfile would see no sound.

    A WAV or AU whose recorder was killed or wrote to a pipe may state 0 bytes of sound.
    """
    with path.open("rb") as f:
        head = f.read(12)
        stated = _stated(f, head)
        if stated is None or stated.size or head[:4] not in _SIZE_BEFORE_SOUND:
            return path
        whole = int.from_bytes(head[4:8], "little")  # Of a WAV, as all that follows.
        said = head[:4] == b"RIFF" and not _is_unknown(whole, (31, 32))
        if said and whole + 8 > stated.start:  # Other chunks follow, and no sound.
            return path
        f.seek(0)
        content = bytearray(f.read())
    place = _SIZE_BEFORE_SOUND[head[:4]] or stated.start - 4
    content[place : place + 4] = b"\xff" * 4
    return io.BytesIO(content)


def is_mpeg_of_unknown_length(path: pathlib.Path) -> bool:
    """Whether an MP3 has no tag with its number of frames, so that it can be guessed.

    By the size of the first frame: up to half of a sound is lost by that.
    """
    with path.open("rb") as f:
        head = f.read(10)
        start = 0
        if head[:3] == b"ID3":
            a, b, c, d = (byte & 0x7F for byte in head[6:10].ljust(4, b"\0"))
            start = 10 + (a << 21 | b << 14 | c << 7 | d)
        f.seek(start)
        frame = f.read(256)
    is_frame = frame[:1] == b"\xff" and frame[1:2] >= b"\xe0"
    return is_frame and not _MPEG_TAG.search(frame)


def _is_unknown(size: int, powers: tuple[int, ...]) -> bool:
    return not size or any(abs(size - 2**power) <= _NEAR for power in powers)


def _stated(f: BinaryIO, head: bytes) -> _Stated | None:
    if head[:4] == b".snd":
        fields = head + f.read(12)
        _, start, size, coding, _, channels = (
            int.from_bytes(fields[i : i + 4], "big") for i in range(0, 24, 4)
        )
        return _Stated(start, size, channels * _AU_BYTES.get(coding, 1), (31, 32))
    if head[:7] == b"NIST_1A":
        return _stated_by_nist(f)
    if head[:4] == b"caff":
        layout = _CAF
    elif head[:4] == b"riff":
        layout = _W64
    else:
        layout = _CHUNKS.get((head[:4], head[8:12]))
    return layout and _stated_by_chunks(f, layout)


def _stated_by_chunks(f: BinaryIO, layout: _Chunks) -> _Stated | None:
    """None if there is no chunk of sound."""

    def number(content: bytes, start: int, size: int) -> int:
        return int.from_bytes(content[start : start + size], layout.order)

    frame, long_size = 1, 0
    for name, start, size in _walk(f, layout):
        content = f.read(40)
        if name[:4] == b"fmt ":
            frame = number(content, 12, 2)
        elif name == b"COMM":
            frame = number(content, 0, 2) * -(-number(content, 6, 2) // 8)
        elif name == b"desc":
            frame = number(content, 16, 4)
        elif name == b"ds64":
            long_size = number(content, 8, 8)
        elif name == layout.sound:
            bits = (31, 32) if layout.size == 4 else (63, 64)
            if long_size and size == 0xFFFFFFFF:
                size, bits = long_size, (63, 64)
            return _Stated(start, size, frame, bits)
    return None


def _walk(f: BinaryIO, layout: _Chunks) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and size of each chunk's content; `f` stands at the content."""
    place, header = layout.first, layout.name + layout.size
    while True:
        f.seek(place)
        read = f.read(header)
        if len(read) < header:
            return
        size = int.from_bytes(read[layout.name :], layout.order)
        size -= header if layout.counts_itself else 0
        yield read[: layout.name], place + header, size
        place += header + max(0, size)
        place += -place % layout.align


def _stated_by_nist(f: BinaryIO) -> _Stated | None:
    """None where the samples are compressed: their count tells nothing of bytes."""
    f.seek(0)
    head = f.read(1024)
    fields = {k: int(v) for k, v in _NIST_FIELD.findall(head)}
    if b"sample_coding" in head and not _NIST_PLAIN.search(head):
        return None
    frame = fields.get(b"channel_count", 1) * fields.get(b"sample_n_bytes", 0)
    start = int(head[8:16])
    return _Stated(start, fields.get(b"sample_count", 0) * frame, frame, (31, 32))


def _missing_of_ogg(f: BinaryIO) -> str:
    """Only the last page of a stream that was written to its end has a mark."""
    f.seek(max(0, f.seek(0, 2) - _LAST_PAGE))
    tail = f.read()
    page = tail[tail.rfind(b"OggS") :]
    segments = page[27 : 27 + page[26]] if len(page) > 26 else b""
    size = 27 + len(segments) + sum(segments)
    if len(page) < max(28, size) or _crc_of_ogg(page[:size]) != page[22:26]:
        return "its last page is cut or damaged"
    return "" if page[5] & 4 else "its last page does not end the stream"


def _crc_of_ogg(page: bytes) -> bytes:
    """The CRC-32 that a page must bear: zlib's with the bits of each byte reversed."""
    turned = (page[:22] + bytes(4) + page[26:]).translate(_REVERSED)
    crc = zlib.crc32(turned, 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{crc:032b}"[::-1], 2).to_bytes(4, "little")


_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
