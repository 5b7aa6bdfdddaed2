"""Fit: from labelled sounds to a model, as the commands of all stages. docs/fit.md.

No stage is done here: `jser fit` runs the commands, and anyone can type them.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
import dataclasses
import os
import pathlib

from absl import logging

from jser import overrides, recipes
from jser.config import Ensemble
from jser.corpora import prepare, spelling, splits, tables
from jser.corpora.tables import Table
from jser.corpora.transcript_csv import add_transcripts
from jser.corpora.utterances import Utterance
from jser.encoders import hub
from jser.feature_names import FeatureName
from jser.features import frontends
from jser.front_end_table import PRETRAINED
from jser.recognizer import bundle
from jser.roots import Roots

CONFIG = "ensemble_fit"
TUNED = "ensemble_fit_lora"
FOLDS = 5
# Two folds are held out at a time, and what is left must know every emotion.
_FEWEST_FOLDS = 3
_FEWEST_UTTERANCES = 5  # Of an emotion.
_MOST_ALONE = 6  # Speakers of whom each is a fold of its own.
_ENCODER = "whisper_base"
_TUNED_FRAMES = f"{_ENCODER}@2-4.trimmed.pooled"  # As the configs of `TUNED` have it.
_SOUND = "waveform.trimmed"
_COMPARED = ("utt_id", "file", "emotion", "speaker", "split", "fold")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fit:
    """What is to be fitted; each property is a command without the word `jser`.

    Attributes:
      corpus: One of `prepare.IMPORTERS`.
      source: Its folder, or the CSV.
      name: Of the corpus, below data/ and features/.
      out: Folder of the model; runs are named as it is.
      streams: Stream to features; of the frozen network where an encoder learns.
      policy: How the utterances are divided (`splits.POLICIES`).
      rows: The utterances, divided.
      transcripts: A CSV of them, if there is one.
      weights: Checkpoints by front end, where they are not the hub's.
      roots: Where tables, features and runs lie.
      tunes: Whether an encoder learns.
    """

    corpus: str
    source: pathlib.Path
    name: str
    out: pathlib.Path
    streams: Mapping[str, str]
    policy: str
    rows: Sequence[Utterance]
    transcripts: pathlib.Path | None
    weights: Mapping[str, str]
    roots: Roots
    tunes: bool = False

    @property
    def table(self) -> pathlib.Path:
        """Folder of the table."""
        return self.roots.data / self.name

    @property
    def prepare(self) -> list[str]:
        """Makes the table."""
        arguments = ["prepare", "--corpus", self.corpus, "--source", str(self.source)]
        arguments += ["--out", str(self.table), "--split", self.policy]
        if self.transcripts:
            arguments += ["--transcripts", str(self.transcripts)]
        return arguments

    @property
    def extract(self) -> list[str]:
        """Makes the features."""
        names = ",".join([*self.streams.values(), *([_SOUND] if self.tunes else [])])
        arguments = ["extract", "--table", str(self.table), "--frontend", names]
        return arguments + self._weights + self.roots.arguments()

    @property
    def run(self) -> list[str]:
        """Trains, stacks and reports."""
        arguments = ["run", *self._config, "--together"]
        weights = self._weights if self.tunes else []
        return arguments + weights + self.roots.arguments()

    @property
    def bundle(self) -> list[str]:
        """Makes the model."""
        arguments = ["bundle", *self._config, "--out", str(self.out)]
        return arguments + self._weights + self.roots.arguments()

    @property
    def ensemble(self) -> Ensemble:
        """What `run` and `bundle` read."""
        return overrides.apply(recipes.load_ensemble(self._base), self._fields).check()

    @property
    def _base(self) -> str:
        return TUNED if self.tunes else CONFIG

    @property
    def _config(self) -> list[str]:
        return ["--config", self._base, *(f"--config.{f}" for f in self._fields)]

    @property
    def _fields(self) -> list[str]:
        streams = ",".join(f"{s}={f}" for s, f in self.streams.items())
        scaled = {"speech", *recipes.scaled(self.streams)} & self.streams.keys()
        fields = [
            f"name={self.out.resolve().name}",
            f"data.corpus={self.name}",
        ]
        if not self.tunes:  # Its members read different things.
            fields += [
                f"data.streams={streams}",
                f"data.standardize={','.join(s for s in self.streams if s in scaled)}",
            ]
        if self.rows[0].split != tables.CROSS_VALIDATED:
            fields += ["data.train_split=train", "data.dev_split=dev"]
        return fields

    @property
    def _weights(self) -> list[str]:
        return dataclasses.replace(self.roots, weights=self.weights).weights_arguments()

    def is_prepared(self) -> bool:
        """Whether the table is there.

        Raises:
          ValueError: if one of other utterances is.
        """
        if not (self.table / "table.json").is_file():
            return False
        made = _compared(tables.read(self.table).utterances, bool(self.transcripts))
        if odd := made ^ _compared(self.rows, bool(self.transcripts)):
            raise ValueError(
                f"{self.table}: not the table of {self.source} as it is now: they"
                f" differ in {len(odd)} rows, e.g. {min(str(u[0]) for u in odd)!r}."
                " Give another --name and another --out."
            )
        return True

    def is_bundled(self, table: Table) -> bool:
        """Whether the model is there, made of this table by this recipe."""
        if not (self.out / bundle.CONFIG).is_file():
            return False
        made, wanted = bundle.load(self.out), self.ensemble
        members = tuple(m.experiment for m in made.members)
        kind = made.stacker.kind if made.stacker else "average"
        return (made.about["table"], members, kind) == (
            *(table.fingerprint, wanted.members),
            wanted.stacker,
        )

    def refuse_wordless(self, table: Table) -> None:
        """Raises ValueError where words are to be read and nobody has written any."""
        if "text" in self.streams and not any(u.transcript for u in table.utterances):
            raise ValueError(
                f"{self.table}: without transcripts, which {self.streams['text']}"
                f" reads. Write them by jser transcribe --table {self.table} --weights"
                " openai/whisper-small, and run this again; or give a CSV of them by"
                " --transcripts, with another --name."
            )


def of(
    source: pathlib.Path,
    out: pathlib.Path,
    *,
    corpus: str | None = None,
    name: str | None = None,
    front_ends: Sequence[str] = (),
    transcripts: pathlib.Path | None = None,
    weights: Mapping[str, str] | None = None,
    roots: Roots | None = None,
    tunes: bool = False,
) -> Fit:
    """Reads what there is, and decides how it is divided.

    Args:
      source: A folder with a subfolder for each emotion, a CSV, or what `corpus` is.
      out: Folder of the model.
      corpus: One of `prepare.IMPORTERS`; "csv" or "folder" when None.
      name: Of the corpus; as the source when None.
      front_ends: One that reads sound, one that reads words, or both; an encoder's
        bare name stands for all of its layers, trimmed and pooled.
      transcripts: A CSV of them.
      weights: Checkpoints by front end, where they are not the hub's.
      roots: Where tables, features and runs lie.
      tunes: Whether Whisper base learns, too; then it is the front end.

    Raises:
      ValueError: if no model can be made of that, with what is needed.
    """
    source = pathlib.Path(os.path.normpath(source))
    corpus = corpus or ("folder" if source.is_dir() else "csv")
    draft, weights = prepare.read(corpus, source), weights or {}
    rows: Sequence[Utterance] = draft.rows
    if not rows:
        raise ValueError(f"{source}: no utterances in it.")
    if transcripts:
        rows = add_transcripts(rows, transcripts)
    policy = _policy(rows, source)
    rows = splits.assign(rows, policy, folds=FOLDS, seed=0)
    _refuse_few(rows, source)
    if tunes and (front_ends or transcripts):
        raise ValueError(
            f"--tune: {_ENCODER} learns from sound, without --frontend and"
            f" --transcripts. For another encoder copy configs/{TUNED}.py."
        )
    whole = [_TUNED_FRAMES] if tunes else front_ends or [_default(weights)]
    streams = _streams(whole)
    _refuse_occupied(out)
    plain = source.resolve()
    return Fit(
        corpus=corpus,
        source=source,
        name=name or (plain.name if plain.is_dir() else plain.stem),
        out=out,
        streams=streams,
        policy=policy,
        rows=rows,
        transcripts=transcripts,
        weights=weights,
        roots=roots or Roots(),
        tunes=tunes,
    )


def _refuse_occupied(out: pathlib.Path) -> None:
    """Raises FileExistsError where a model cannot be written."""
    free = not out.exists() or (
        out.is_dir() and (bundle.is_bundle(out) or not any(out.iterdir()))
    )
    if not free:
        raise FileExistsError(f"{out}: something else is there. Give another --out.")


def _policy(rows: Sequence[Utterance], source: pathlib.Path) -> str:
    """How the utterances are divided, by what is known of them."""
    for field in ("split", "speaker"):
        bare = [u.utt_id for u in rows if not getattr(u, field)]
        if 0 < len(bare) < len(rows):
            raise ValueError(
                f"{source}: {len(bare)} of {len(rows)} utterances have no {field}, e.g."
                f" {bare[0]!r}. Give each one, or none."
            )
    if rows[0].split or any(u.fold is not None for u in rows):
        return "given"
    if bare := [u.utt_id for u in rows if not u.emotion]:
        raise ValueError(
            f"{source}: {len(bare)} of {len(rows)} utterances have no emotion, e.g."
            f" {bare[0]!r}. Write one for each, or leave them out."
        )
    speakers = {u.speaker for u in rows}
    if speakers == {""}:
        logging.warning(
            "%s: nobody says who speaks, so that a voice that is tested may be one that"
            " was learned from, and figures flatter. A CSV with a column speaker mends"
            " that.",
            source,
        )
        return "stratified"
    if len(speakers) < _FEWEST_FOLDS:
        raise ValueError(
            f"{source}: {len(speakers)} speakers, {_FEWEST_FOLDS} at least: each is"
            " tested by models that have not heard them. Record others, or leave the"
            " column speaker empty: then the model is of these voices, and figures"
            " flatter."
        )
    return "loso" if len(speakers) <= _MOST_ALONE else "kfold"


def _refuse_few(rows: Sequence[Utterance], source: pathlib.Path) -> None:
    """Raises ValueError if an emotion is too rare for models to learn and be tested."""
    names = {u.split for u in rows}
    if tables.CROSS_VALIDATED not in names and not {"train", "dev"} <= names:
        raise ValueError(
            f"{source}: its splits are {', '.join(sorted(names))}; train and dev are"
            " needed, or no column split at all."
        )
    learned = [u for u in rows if u.split in (tables.CROSS_VALIDATED, "train")]
    count, places = Counter(u.emotion for u in learned), defaultdict(set)
    for u in learned:
        places[u.emotion].add(u.fold)
    if len(count) < 2:
        raise ValueError(
            f"{source}: {', '.join(count)} is the only emotion to learn; there must be"
            " two at least. In a folder, each has a subfolder."
        )
    if alike := spelling.merges(count):
        pairs = ", ".join(f"{a!r} and {b!r}" for a, b in alike.items())
        raise ValueError(f"{source}: {pairs} look like one emotion. Write them alike.")
    for emotion, n in sorted(count.items()):
        if n < _FEWEST_UTTERANCES:
            raise ValueError(
                f"{source}: {n} utterances of {emotion!r} to learn from,"
                f" {_FEWEST_UTTERANCES} at least, and better 30. Add some, or leave it"
                " out."
            )
        if len(places[emotion]) < _FEWEST_FOLDS:
            speakers = {u.speaker for u in learned if u.emotion == emotion}
            raise ValueError(
                f"{source}: {emotion!r} is in {len(places[emotion])} of"
                f" {len({u.fold for u in learned})} folds, by {len(speakers)} speakers;"
                f" {_FEWEST_FOLDS} folds at least, so that whoever is held out, it is"
                " learned from others. Add speakers, or leave it out."
            )


def _default(weights: Mapping[str, str]) -> str:
    """The better front end where it is here, and the one that needs no download."""
    if _ENCODER in weights or hub.is_here(PRETRAINED[_ENCODER].hub):
        return _ENCODER
    logging.info(
        "functionals, which need no download; --frontend %s fetches %s and is mostly"
        " far better.",
        *(_ENCODER, PRETRAINED[_ENCODER].hub),
    )
    return "functionals"


def _streams(names: Sequence[str]) -> dict[str, str]:
    """Stream, named by what it reads, to features."""
    streams: dict[str, str] = {}
    for name in map(_whole, names):
        entry = PRETRAINED.get(FeatureName.parse(name).front_end)
        kind = entry.kind if entry else frontends.get(name).spec.kind
        if kind in streams:
            raise ValueError(
                f"--frontend: {streams[kind]} and {name} both read {kind}; give one for"
                " sound (speech), one for words (text), or one of each."
            )
        streams[kind] = name
    return {kind: streams[kind] for kind in sorted(streams)}


def _whole(name: str) -> str:
    """An encoder of sound by its bare name: all of its layers, trimmed and pooled."""
    entry = PRETRAINED.get(name)
    if entry is None or entry.kind == "text":
        return name
    return f"{name}@all.trimmed.pooled"


def _compared(rows: Sequence[Utterance], words: bool) -> set[tuple[object, ...]]:
    """What a table must have in common with its source."""
    fields = (*_COMPARED, "transcript") if words else _COMPARED
    return {tuple(getattr(u, f) for f in fields) for u in map(tables.stripped, rows)}
