"""Sound files as bytes: good ones, and what people and attackers send instead."""

import io
import struct

import numpy as np
import soundfile


def tones(*levels: float, seconds: float = 3.0, rate_hz: int = 16_000) -> np.ndarray:
    """A tone of 220 Hz at each level in turn, [n] float32."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    parts = [level * np.sin(2 * np.pi * 220 * t) for level in levels]
    return np.concatenate(parts).astype(np.float32)


def content(
    samples: np.ndarray, form: str = "WAV", *, rate_hz: int = 16_000, **how: str
) -> bytes:
    """A whole file in a format of libsndfile."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format=form, **how)
    return file.getvalue()


def hostile() -> dict[str, bytes]:
    """Content that is no sound that can be used, by what is wrong with it."""
    tone = tones(0.5, seconds=1.0)
    wav, flac, ogg = (content(tone, form) for form in ("WAV", "FLAC", "OGG"))
    bad = tone.copy()
    bad[5_000] = np.nan
    rate = struct.pack("<I", 4_000_000_000)
    return {
        "nothing": b"",
        "one byte": b"R",
        "zeros": bytes(10_000),
        "text": b"angry" * 1000,
        "a page": b"<html><script>alert(1)</script></html>",
        "a picture": b"\x89PNG\r\n\x1a\n" + bytes(1000),
        "a playlist": b"#EXTM3U\nfile:///etc/passwd\nhttp://127.0.0.1:1/x\n",
        "an archive": b"PK\x03\x04" + bytes(1000),
        "a broken MP4": b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + b"\xff" * 1000,
        "a broken MP3": b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + b"\xff\xfb\x90" * 400,
        "a cut WAV": wav[: len(wav) // 2],
        "the head of a WAV": wav[:20],
        "a cut FLAC": flac[: len(flac) // 2],
        "a cut OGG": ogg[: len(ogg) // 2],
        "a FLAC called WAV": wav[:12] + flac,
        "NaN": content(bad, subtype="FLOAT"),
        "infinity": content(np.full(16_000, np.inf), subtype="FLOAT"),
        "too short": content(tone[:100]),
        "no samples": content(tone[:0]),
        "a rate without end": wav[:24] + rate + wav[28:],
        "two hours of zeros": content(np.zeros(7_200_000), "FLAC", rate_hz=1_000),
    }
