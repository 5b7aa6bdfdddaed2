"""What README and docs/ say is true: links, names, every block and every command."""

import ast
from collections.abc import Iterator
from dataclasses import replace
import pathlib
import re
import shlex
import shutil

import numpy as np
import pytest

import jser
from jser import console, levers, overrides, recipes
from jser.commands import command_line
from jser.config import Data, Experiment
from jser.corpora import prepare
from jser.features.extract import extract
from tests.helpers import tiny_checkpoints, tiny_corpus
from tests.helpers.paths import ROOT

# In the order in which a reader meets them: later pages go on from what the README did.
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OTHERS = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "jser/encoders/README.md")
LINKED = [*PAGES, *(ROOT / page for page in OTHERS)]
# Commands that have another word of these among theirs do not run here. Their flags and
# configs are read all the same: they end for want of a file, not of a flag.
NOT_RUN = {
    "data/msp_podcast": "needs MSP-Podcast, which is not free to copy",
    "runs/msp_logmel_words": "needs MSP-Podcast",
    "whisper_roberta": "needs MSP-Podcast, and hours",
    "whisper_roberta_sml": "needs MSP-Podcast, and hours",
    "whisper_roberta_deep": "needs MSP-Podcast, and hours",
    "whisper_roberta_deep_balanced": "needs MSP-Podcast, and hours",
    "runs/whisper_roberta_deep_balanced": "needs MSP-Podcast, and hours",
    "wavlm_finetune": "needs MSP-Podcast, and hours",
    "runs/whisper_roberta_sml": "needs MSP-Podcast, and hours",
    "ensemble_paper": "needs MSP-Podcast, and days",
    "runs/ensemble_paper/predictions/test3.csv": "needs MSP-Podcast, and days",
    "runs/whisper_roberta_deep/logits/test3.npz": "needs MSP-Podcast, and hours",
    "data/emodb": "needs EMO-DB",
    "lora": "needs Whisper's weights",
    "peft": "needs a model whose encoder learned",
    "ensemble_emodb": "needs EMO-DB, and 220 trainings",
    "ensemble_emodb_whisper": "needs EMO-DB, and Whisper base",
    "emodb_whisper_fusion": "needs EMO-DB, and Whisper base",
    "data/urdu": "needs URDU",
    "roberta_large": "needs a checkpoint of the hub",
    "serve": "goes on until it is ended",
    "openai/whisper-large-v3": "needs a checkpoint of the hub",
}
_LINK = re.compile(r"\]\((?!\w+:)([^)#\s]*)#?([^)\s]*)\)")


def blocks(page: pathlib.Path) -> Iterator[tuple[str, str, str]]:
    """Place, language and text of every fenced block."""
    language, start, held = None, 0, []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if not line.startswith("```"):
            held.append(line)
        elif language is None:
            language, start, held = line.removeprefix("```"), number + 1, []
        else:
            where = f"{page.relative_to(ROOT)}:{start}"
            yield where, language, "\n".join(held) + "\n"
            language = None
        if language is None:
            bare = line.startswith(("    jser ", "    python scripts/"))
            assert not bare, f"{page}:{number}: a command belongs between ```"
    assert language is None, f"{page}:{start}: a block without end"


def commands(text: str) -> Iterator[list[str]]:
    """What a block would have `jser` do: verb and flags of each of its commands."""
    for line in text.replace("\\\n", " ").splitlines():
        if line.startswith("jser "):
            yield shlex.split(line, comments=True)[1:]
        elif line.startswith("python scripts/"):
            _, script, *rest = shlex.split(line, comments=True)
            yield [pathlib.Path(script).stem, *rest]


def reason(argv: list[str]) -> str | None:
    """The entry of `NOT_RUN` that a command has among its words, None if it runs."""
    return next((entry for entry in NOT_RUN if entry in argv), None)


ALL = [
    c for p in PAGES for _, lang, text in blocks(p) if not lang for c in commands(text)
]


def anchors(page: pathlib.Path) -> set[str]:
    """What can be linked to in a page: its headings, as GitHub names them."""
    lines = page.read_text(encoding="utf-8").splitlines()
    titles = [line.lstrip("#").strip().lower() for line in lines if line[:1] == "#"]
    return {re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", LINKED, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target, anchor in _LINK.findall(page.read_text(encoding="utf-8")):
        there = (page.parent / target).resolve() if target else page
        assert there.exists(), f"{page}: no {target}"
        assert not anchor or anchor in anchors(there), f"{page}: {target}#{anchor}"


@pytest.mark.parametrize("page", LINKED, ids=lambda p: str(p.relative_to(ROOT)))
def test_verbs_exist(page):
    told = re.findall(r"`jser (\w+)", page.read_text(encoding="utf-8"))
    assert set(told) <= set(command_line.VERBS)


def test_levers_page_has_every_lever_with_what_is_off():
    text = (ROOT / "docs" / "levers.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:3] for line in text.splitlines() if line[:3] == "| `"]
    names = {lever.name for lever in levers.LEVERS}
    off = {name.strip(" `"): fields for name, fields in rows}
    assert names <= set(off)
    told = [f for name in names for f in re.findall(r"`([\w.]+=[^`]*)`", off[name])]
    usual = Experiment(name="usual", data=Data(streams={"speech": "logmel"}))
    for field in told:
        assert overrides.apply(usual, [field]) == usual, field
    set_by = {f.partition("=")[0] for lever in levers.LEVERS for f in lever.fields}
    assert set_by - {f.partition("=")[0] for f in told} == {
        "optim.lr",
        "optim.final_lr",
    }


def test_citation_is_of_this_version():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {jser.__version__}\n" in text


def test_python_page_has_every_public_name_and_no_other():
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    told = set(re.findall(r"`jser\.(\w+)[`(]", text))
    assert told == set(jser._PUBLIC)
    for name in told:
        assert getattr(jser, name)


def test_type_checkers_and_users_are_told_the_same_names():
    tree = ast.parse((ROOT / "jser" / "__init__.py").read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    for_checkers = {
        alias.asname: f"{node.module}:{alias.name}"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert for_checkers == jser._PUBLIC


def test_every_reason_not_to_run_is_needed():
    unused = [entry for entry in NOT_RUN if not any(entry in argv for argv in ALL)]
    assert not unused, f"remove from NOT_RUN: {unused}"


@pytest.mark.parametrize("argv", [c for c in ALL if reason(c)], ids=shlex.join)
def test_commands_that_do_not_run_here_can_be_read(argv, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(console, "quiet", lambda: None)
    assert command_line.main(argv) == 1, capsys.readouterr().err
    told = capsys.readouterr().err
    assert re.search(r"not there|not exist|no such|no run there|No such file", told)


@pytest.fixture
def home(tmp_path, monkeypatch) -> pathlib.Path:
    """A working folder with tones in the place of what the pages take for granted.

    Sounds and a CSV of one's own, arrays, the demo corpus with its features, a
    checkpoint. The demo's configs train one epoch instead of fifteen.
    """
    source = tiny_corpus.make(tmp_path / "sounds")
    source = source.rename(source.with_name("mine.csv"))
    (tmp_path / "sounds" / "a").mkdir()
    for copy in ("sounds/a/001.wav", "my.wav"):
        shutil.copy(next(source.parent.glob("*.wav")), tmp_path / copy)
    demo = prepare.prepare("csv", source, tmp_path / "data" / "demo", folds=3)
    for front_end in ("logmel", "functionals", "prosody", "char_ngrams"):
        extract(demo, front_end, tmp_path / "features", workers=1)
    tiny_checkpoints.make("wavlm", tmp_path / "microsoft" / "wavlm-large")
    words = {u.utt_id: np.ones((2, 4), np.float32) for u in demo.utterances}
    np.savez(tmp_path / "words.npz", allow_pickle=False, **words)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(console, "quiet", lambda: None)
    demo_config = recipes.demo
    short = lambda name, **streams: replace(demo_config(name, **streams), epochs=1)
    monkeypatch.setattr(recipes, "demo", short)
    return tmp_path


@pytest.mark.slow
def test_what_the_pages_say_runs_in_their_order(home):
    for page in PAGES:
        names = {"__name__": page.stem}
        for where, language, text in blocks(page):
            if language == "python":
                lines = "\n" * int(where.rpartition(":")[2])  # For tracebacks.
                exec(compile(lines + text, str(page), "exec"), names)
            for argv in [] if language else commands(text):
                if not reason(argv):
                    status = command_line.main(argv)
                    assert status == 0, f"{where}: {shlex.join(argv)}: {status}"
