"""Makes the models that come along, from the sounds of EMO-DB on.

  python -m benchmarks.models --work work --emodb DIR --whisper DIR --urdu DIR

Each of the commands is printed and can be typed by hand. What is done in --work is not
done again. `--only emodb-functionals` needs no weights, `--urdu` only the table of the
card: without it the figures of the card that lies there are kept.
"""

import argparse
import dataclasses
import os
import pathlib
import shlex
import subprocess
import sys

from benchmarks import foreign
from jser.recognizer import bundle, model_card, models

CAUTION = (
    "trained on ten German actors: on recordings by others it is right far less often"
    " ({}; see the card). Show it some of yours, unlabelled: jser recognize FILES"
    " --adapt FOLDER"
)
MORE = """\
## Recordings by others

UAR on other corpora, among the emotions that they share with the model, by `python -m
benchmarks.foreign`. Adapted is without labels, to a number of their recordings, drawn
five times (`jser recognize --adapt`). Nothing was chosen by these figures; they were
looked at once for this recipe.

"""
PREPARED = {
    "emodb": ("--corpus", "emodb", "--split", "loso"),
    "urdu": (
        *("--corpus", "csv", "--split", "kfold"),
        *("--merge", "anger=angry,happiness=happy,sadness=sad"),
    ),
}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a model is made."""

    config: str
    front_ends: tuple[str, ...]
    weights: bool


RECIPES = {
    "emodb-functionals": Recipe(
        "ensemble_emodb_functionals", ("functionals.trimmed",), weights=False
    ),
    "emodb-whisper-base": Recipe(
        "ensemble_emodb_whisper",
        ("whisper_base@2-4.trimmed.pooled", "whisper_base@all.trimmed.pooled"),
        weights=True,
    ),
}
assert set(RECIPES) == set(models.NAMES)


def make(
    name: str, work: pathlib.Path, sources: dict[str, str], whisper: str | None
) -> pathlib.Path:
    """One model, in a folder of `work`; returns the folder."""
    recipe, out = RECIPES[name], work / name
    weights = ("--weights", f"whisper_base={whisper}") if recipe.weights else ()
    for corpus, source in sources.items():
        if not (work / "data" / corpus / "table.json").exists():
            path = source if corpus == "emodb" else f"{source}/labels.csv"
            flags = PREPARED[corpus]
            _run(work, "prepare", *flags, "--source", path, "--out", f"data/{corpus}")
        for front_end in recipe.front_ends:
            table = ("--table", f"data/{corpus}", "--frontend", front_end)
            _run(work, "extract", *table, *weights)
    _run(work, "run", "--config", recipe.config, "--together")
    flags = ("--config", recipe.config, "--license", "cc0-1.0", "--language", "de")
    _run(work, "bundle", *flags, *weights, "--out", name)
    return out


def _run(work: pathlib.Path, *arguments: str) -> None:
    print(shlex.join(["jser", *arguments]), flush=True)
    subprocess.run([sys.executable, "-m", "jser", *arguments], check=True, cwd=work)


def told(
    made: bundle.Bundle, name: str, work: pathlib.Path, measured: bool
) -> bundle.Bundle:
    """The model with its caution and the table of other corpora."""
    if measured:
        folders, features = [work / "data" / "urdu"], work / "features"
        shared, found = foreign.uar_by_recordings(made, folders[0], features)
        as_it_is = found["as it is"][0]
        chance = 1 / len(shared)
        about = {
            "caution": CAUTION.format(
                f"UAR {as_it_is:.2f} on Urdu talk shows, where chance is {chance:.2f}"
            ),
            "more": MORE + foreign.table_of(made, folders, features),
        }
    else:
        before = bundle.load(models.find(name)).about
        about = {key: before[key] for key in ("caution", "more")}
    made = dataclasses.replace(made, about={**made.about, **about})
    return dataclasses.replace(made, card=model_card.of(made))


def main() -> None:
    """Makes the models."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--emodb", required=True, help="Folder of EMO-DB.")
    parser.add_argument("--urdu", help="Folder of the Urdu corpus.")
    parser.add_argument("--whisper", help="Folder of Whisper base.")
    parser.add_argument("--only", choices=sorted(RECIPES))
    parser.add_argument("--out", type=pathlib.Path, help="In place of the package.")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    # The commands run in --work, where other relative paths lead nowhere.
    absolute = lambda path: path and os.path.abspath(path)
    emodb, urdu, whisper = map(absolute, (given.emodb, given.urdu, given.whisper))
    sources = {"emodb": emodb} | ({"urdu": urdu} if urdu else {})
    for name in [given.only] if given.only else RECIPES:
        if RECIPES[name].weights and not given.whisper:
            raise SystemExit(f"{name}: give --whisper, the folder of Whisper base.")
        made = bundle.load(make(name, given.work, sources, whisper))
        made = told(made, name, given.work, bool(given.urdu))
        out = given.out / name if given.out else models.find(name)
        made.save(out)
        print(f"{out}: digest {made.digest}")


if __name__ == "__main__":
    main()
