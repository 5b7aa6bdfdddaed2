"""Sounds as requests bring them: read, decoded and heard, one at a time.

The event loop only reads, waits and answers; one thread decodes and computes.
"""

import asyncio
from collections.abc import Callable
from concurrent import futures
import dataclasses
import io
from typing import TypeVar

import soundfile
from starlette import exceptions, requests

from jser import audio

_A_SECOND = 2 * 48_000  # Samples of all channels that a second has where it is large.
Answer = TypeVar("Answer")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """What requests may take."""

    body_bytes: int = 32 << 20  # Of a sound as it is sent.
    sound_s: float = 1800.0  # Of a sound when it is decoded; `_share` of it.
    upload_s: float = 60.0  # Until all of it has arrived.
    held: int = 32  # Sounds that are here at a time; more are sent away.


class Sounds:
    """The sounds that are here now.

    Attributes:
      held: How many: being read, waiting or heard.
      heard_s: How long those were that are heard already.
    """

    def __init__(self, limits: Limits):
        self._limits = limits
        self._thread = futures.ThreadPoolExecutor(1, "model")
        self.held = 0
        self.heard_s = 0.0

    async def hear(
        self, request: requests.Request, ask: Callable[[audio.Stream], Answer]
    ) -> Answer:
        """Reads what a request brings, and asks about it when it is its turn.

        Raises:
          HTTPException: if there is no room, or no sound that can be used.
        """
        if self.held >= self._limits.held:
            told = f"{self.held} sounds are waiting already; try again in a moment."
            raise exceptions.HTTPException(503, told, {"Retry-After": "2"})
        self.held += 1
        try:
            content = await self._body(request)
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, self._heard, content, ask)
        except ValueError as e:
            too_long = isinstance(e, audio.AudioError) and e.reason == "too long"
            raise exceptions.HTTPException(413 if too_long else 422, str(e)) from e
        finally:
            self.held -= 1

    def close(self) -> None:
        """Lets the thread go; sounds that wait are not heard."""
        self._thread.shutdown(cancel_futures=True)

    def _heard(self, content: bytes, ask: Callable[[audio.Stream], Answer]) -> Answer:
        file = io.BytesIO(content)
        hours = self._limits.sound_s * _share(content) / 3600
        with audio.Stream(file, name="sound", max_hours=hours) as sound:
            self.heard_s += sound.samples / audio.SAMPLE_RATE_HZ
            return ask(sound)

    async def _body(self, request: requests.Request) -> bytes:
        """What a request brings.

        Raises:
          HTTPException: if it is too large, too slow or cut.
        """
        most, content = self._limits.body_bytes, bytearray()
        too_large = f"A file of more than {most / (1 << 20):g} MB is not taken."
        if int(request.headers.get("content-length", 0)) > most:
            raise exceptions.HTTPException(413, too_large)
        try:
            async with asyncio.timeout(self._limits.upload_s):
                async for chunk in request.stream():
                    content += chunk
                    if len(content) > most:
                        raise exceptions.HTTPException(413, too_large)
        except TimeoutError:
            told = f"The file did not arrive within {self._limits.upload_s:g} s."
            raise exceptions.HTTPException(408, told, {"Connection": "close"}) from None
        except requests.ClientDisconnect:
            raise exceptions.HTTPException(400, "The upload was cut.") from None
        return bytes(content)


def _share(content: bytes) -> float:
    """Of the longest length, what a sound may have: less if its seconds are large.

    A megabyte of FLAC can hold hours of 8 channels at 192 kHz, decoded in minutes.
    """
    try:
        info = soundfile.info(io.BytesIO(content))
    except soundfile.LibsndfileError:  # Nothing is said yet; the decoder does.
        return 1.0
    return min(1.0, _A_SECOND / max(1, info.samplerate * info.channels))
