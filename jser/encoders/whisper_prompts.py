"""How a Whisper checkpoint wants text made: prompt, languages, what is forbidden."""

from collections.abc import Sequence
import dataclasses
import pathlib
from typing import Any

from absl import logging
from jaxtyping import Int
import numpy as np

from jser import files
from jser.encoders import weights, whisper

_NOT_GREEDY = {
    "num_beams": 1,
    "do_sample": False,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rules:
    """What generation_config.json says of how tokens become a transcript.

    As `generate(task="transcribe")` reads it: after the start token come the language,
    the task and the token that switches time stamps off. Checkpoints without tasks
    (English alone) have their `forced_decoder_ids` there.
    """

    prompt: tuple[int, ...]  # Without the language.
    languages: dict[str, int]  # Code ("en") to token; empty if there is no choice.
    language: str  # Code of the one to write where none is asked for; empty: detect.
    end: int
    no_speech: int | None  # Likely after the start where nobody speaks.
    suppress: tuple[int, ...]  # Tokens that are never chosen,
    suppress_first: tuple[int, ...]  # nor these right after the prompt.
    limit: int  # Most tokens of a window, prompt included.

    @classmethod
    def read(cls, folder: pathlib.Path) -> "Rules":
        """Reads a checkpoint folder.

        Raises:
          FileNotFoundError: if generation_config.json or config.json is missing.
          ValueError: if what is needed is not in them.
        """
        whisper.Config.read(folder)  # Is it a Whisper?
        config, where = weights.read_config(folder), folder / "generation_config.json"
        g = weights.read_config(folder, where.name)
        odd = [k for k, greedy in _NOT_GREEDY.items() if g.get(k) not in (None, greedy)]
        if odd:
            logging.warning("%s: %s not used; decoding is greedy", where, odd)
        try:
            start, end = int(g["decoder_start_token_id"]), int(g["eos_token_id"])
        except (KeyError, TypeError, ValueError, OverflowError) as e:
            raise ValueError(f"{where}: no single start and end token ({e}).") from e
        with files.reading(where, weights.FETCH):
            rules = cls._made(config, g, start, end)
            rules._refuse_other_tokens(config)
        if rules.languages and g.get("language"):
            with files.reading(where, weights.FETCH, "language is none of its own"):
                code = rules.code(g["language"])
            rules = dataclasses.replace(rules, language=code)
        return rules

    @classmethod
    def _made(
        cls, config: dict[str, Any], g: dict[str, Any], start: int, end: int
    ) -> "Rules":
        positions = config.get("max_target_positions", 448)
        choice = g.get("is_multilingual", True)
        languages = (g.get("lang_to_id") or {}) if choice else {}
        tasks = (g.get("task_to_id") or {}) if choice else {}
        prompt: list[int]
        if "transcribe" in tasks:
            prompt = [start, tasks["transcribe"]]
        else:
            forced = g.get("forced_decoder_ids")
            if forced is None:
                forced = config.get("forced_decoder_ids")
            prompt = [start, *(i for _, i in forced or () if i is not None)]
        no_times = g.get("no_timestamps_token_id")
        if no_times is not None and prompt[-1] != no_times:
            prompt.append(no_times)
        given = len(prompt) + bool(languages)
        longest = g.get("max_new_tokens") or g.get("max_length") or positions
        return cls(
            prompt=tuple(prompt),
            languages={_code(name): i for name, i in languages.items()},
            language="",
            end=end,
            no_speech=no_times - 1 if no_times else None,  # As `generate` finds it.
            suppress=tuple(g.get("suppress_tokens") or ()),
            suppress_first=tuple(g.get("begin_suppress_tokens") or ()),
            limit=min(longest + given, positions),
        )

    def _refuse_other_tokens(self, config: dict[str, Any]) -> None:
        """Raises ValueError if a token is none of the checkpoint's."""
        most = config.get("vocab_size", 1 << 24)
        ids = (*self.prompt, *self.languages.values(), self.end)
        for i in (*ids, *self.suppress, *self.suppress_first):
            if type(i) is not int or not -1 <= i < most:
                raise ValueError(f"{str(i)[:40]!r} is no token of {most}")
        if not isinstance(self.limit, int) or self.limit <= len(self.prompt):
            raise ValueError(f"{str(self.limit)[:40]!r} is no number of tokens")

    def code(self, language: str) -> str:
        """The code of a language given as "en", "<|en|>" or "English".

        Raises:
          ValueError: if the checkpoint does not know it, with those it knows.
        """
        if not self.languages:
            raise ValueError(
                f"language {language!r}: this checkpoint has no choice of languages"
                " (English alone?). Leave the language out."
            )
        from transformers.models.whisper import tokenization_whisper as names

        plain = _code(language.lower())
        code = names.TO_LANGUAGE_CODE.get(plain, plain)
        if code not in self.languages:
            raise ValueError(
                f"language {language!r} is not one of"
                f" {', '.join(sorted(self.languages))}."
            )
        return code

    def prompts(self, languages: Sequence[int]) -> Int[np.ndarray, "B P"]:
        """The prompts of a batch, from its tokens of languages where there are any."""
        start, *rest = self.prompt
        rows = [[start, *([i] if self.languages else []), *rest] for i in languages]
        return np.array(rows, np.int32)


def _code(name: str) -> str:
    return name.removeprefix("<|").removesuffix("|>")
