"""The names of features: the front end's, and which of its frames are stored.

    whisper_base                    the encoder's last states
    whisper_base@3                  those after its third block
    whisper_base@2-4                of three layers; @1+3+6 of others, @all of all
    whisper_base@all.trimmed        of the sound without the silence at its ends
    whisper_base@all.pooled         their mean and standard deviation over time
    logmel.every5                   means of five frames each
    hubert-german@9                 by weights of one's own, told apart by a tag

It is what `--frontend` takes and what streams are given in a config; features lie in a
folder of that name.
"""

import dataclasses
import re

_NAME = re.compile(
    r"(?P<front_end>\w+)(-(?P<tag>\w+))?(@(?P<layer>\w+([+-]\w+)*))?"
    r"(?P<trimmed>\.trimmed)?(\.(?P<pooling>pooled|every[1-9]\d*))?"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeatureName:
    """A name of features in its pieces."""

    front_end: str
    tag: str = ""  # Tells features apart that differ in what the rest does not say.
    layer: str = "last"
    trimmed: bool = False  # Whether silence at both ends of a sound is cut.
    pooling: str = ""  # Over time: "pooled", "every5", or none.

    @classmethod
    def parse(cls, text: str) -> "FeatureName":
        """The pieces of a name.

        Raises:
          ValueError: if it is no name of features.
        """
        if (match := _NAME.fullmatch(text)) is None:
            raise ValueError(
                f"front end {text!r} does not read as name-tag@layer.trimmed.pooled, of"
                " which all but the name may be left out; .every5 may stand for"
                " .pooled."
            )
        return cls(
            front_end=match["front_end"],
            tag=match["tag"] or "",
            layer=match["layer"] or "last",
            trimmed=bool(match["trimmed"]),
            pooling=match["pooling"] or "",
        )

    def __str__(self) -> str:
        tag = f"-{self.tag}" if self.tag else ""
        layer = f"@{self.layer}" if self.layer != "last" else ""
        trimmed = ".trimmed" if self.trimmed else ""
        pooling = f".{self.pooling}" if self.pooling else ""
        return f"{self.front_end}{tag}{layer}{trimmed}{pooling}"
