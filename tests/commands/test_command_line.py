"""What `jser` says: help, and errors of one line."""

import re
import subprocess
import sys

import pytest

from tests.helpers.paths import ROOT

ROOTS = ("data_root", "features_root", "runs_root")
CONFIG = ("config", "config.<field>")
# Every flag of every verb; whoever adds one shows it here.
FLAGS = {
    "prepare": (
        *("corpus", "source", "out", "split", "folds", "seed", "audio_root"),
        *("transcripts", "merge", "keep", "skip_missing", "allow_shared_speakers"),
        "keep_no_agreement",
    ),
    "transcribe": (
        *("table", "weights", "language", "all", "batch_size", "dtype", "context"),
        *("cut", "frontend", "max_failures", *ROOTS),
    ),
    "extract": (
        *("table", "frontend", "weights", "layer", "dtype", "backend", "compat"),
        *(
            *("context", "source", "name", "kind"),
            "shard",
            "workers",
            "beam",
            "max_failures",
            "max_hours",
            "verify",
            *ROOTS,
        ),
    ),
    "train": (
        *(*CONFIG, "workdir", "init_from", "coordinator", "processes", "process_id"),
        *("resident", "weights", *ROOTS),
    ),
    "predict": (
        *(
            "workdir",
            "split",
            "batch_size",
            "table",
            "merge",
            "adapt",
            "weights",
            *ROOTS,
        ),
    ),
    "stack": (*CONFIG, "seeds", *ROOTS),
    "evaluate": (
        *(*CONFIG, "seeds", "workdir", "table", "adapt", "target_prior", *ROOTS),
        *("compare", "split", "out"),
    ),
    "report": (
        *(*CONFIG, "seeds", "workdir", "table", "adapt", "target_prior", *ROOTS),
    ),
    "run": (*CONFIG, "seeds", "jobs", "together", "resident", "weights", *ROOTS),
    "ablate": (
        *(*CONFIG, "levers", "seeds", "split", "folds", "jobs", "together", "resident"),
        *("weights", *ROOTS),
    ),
    "sweep": (*(*CONFIG, "space", "trials", "holdout", "jobs", "weights", *ROOTS),),
    "submission": ("predictions", "out", "task", "sample"),
    "convert": (*CONFIG, "checkpoint", "workdir", "out", *ROOTS),
    "bundle": (
        *(*CONFIG, "seeds", "workdir", "out", "weights", "license", "language"),
        *("caution", "push", *ROOTS),
    ),
    "fit": (
        *("out", "corpus", "name", "frontend", "transcripts", "tune", "weights"),
        *ROOTS,
    ),
    "recognize": (
        *("model", "revision", "format", "out", "timeline", "segments", "transcript"),
        *("transcriber", "coverage", "adapt", "profile", "weights"),
    ),
    "serve": (
        *("model", "revision", "profile", "weights", "host", "port", "hosts", "token"),
        *("max_mb", "max_minutes"),
    ),
    "export": ("to", "out", "weights"),
}


def test_verbs_are_listed_in_the_order_of_the_road(jser):
    assert jser("--help") == jser()
    status, shown, _ = jser("--help")
    lines = [line.split() for line in shown.splitlines() if line.startswith("  ")]
    assert [verb for verb, *_ in lines] == list(FLAGS)
    assert all(len(line) > 3 for line in lines)
    assert status == 0


@pytest.mark.parametrize("verb", FLAGS)
def test_help_shows_every_flag_and_an_example(jser, verb):
    status, shown, _ = jser(verb, "--help")
    assert status == 0
    assert re.search(rf"^  +jser {verb} \S|^jser {verb} --", shown, re.MULTILINE)
    flags = shown.partition("\nFlags:\n")[2].splitlines()
    named = [re.match(r"  (?:-\w, )?--(\S+)", line) for line in flags]
    assert tuple(name[1] for name in named if name) == FLAGS[verb]
    assert max(map(len, flags)) <= 88
    assert jser(verb, "--out", "x", "-h")[1] == shown


def test_help_and_version_import_nothing_heavy():
    code = (
        "import sys\n"
        "from jser.commands import command_line\n"
        "command_line.main(['--version'])\n"
        "command_line.main(['--help'])\n"
        f"for verb in {list(FLAGS)}: command_line.run(verb, ['--help'])\n"
        "heavy = {'jax', 'numpy', 'sklearn', 'librosa', 'transformers'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr


TRAIN = ("train", "--config", "demo_logmel_words")


@pytest.mark.parametrize(
    ("argv", "status", "message"),
    [
        (["trian"], 2, "no verb 'trian'; did you mean train?"),
        (["zzz"], 2, "no verb 'zzz'; there are prepare, transcribe, extract,"),
        (["train", "--confg", "x"], 2, "no flag --confg; did you mean --config?"),
        (["train", "--hepl"], 2, "no flag --hepl; did you mean --help?"),
        (["train", "x"], 2, "'x': flags begin with --."),
        (["train"], 2, "--config is needed. `jser train --help` shows how."),
        (["train", "--config"], 2, "--config needs a value."),
        (["train", "--config", "--workdir", "x"], 2, "--config needs a value."),
        (["prepare", "--config.x=1"], 2, "no flag --config.x; there are --corpus"),
        (["prepare", "--folds=x"], 2, "--folds=x: it must be a whole number."),
        (["run", "--config", "x", "--jobs=0"], 2, "--jobs=0: 0 is not a positive"),
        (["report", "--target_prior=x"], 2, "--target_prior=x: value should be one"),
        (["evaluate"], 1, "give --config or --workdir."),
        (["evaluate", "--config=x", "--table=y"], 1, "--table: of a single run, which"),
        (["report", "--config=x", "--adapt=target"], 1, "--adapt: of a single run, wh"),
        (["predict", "--workdir=x", "--merge=a=b"], 1, "--merge: only emotions of ano"),
        (["predict", "--workdir=x", "--merge=a"], 1, "--merge: 'a' does not read one="),
        (
            ["predict", "--workdir=x", "--adapt=me"],
            2,
            "--adapt=me: value should be one",
        ),
        (
            ["evaluate", "--workdir=x", "--table=y", "--target_prior=uniform"],
            *(1, "--target_prior: it is fitted on labels"),
        ),
        (["train", "--config", "demo_logmel"], 1, "did you mean demo_logmel_words"),
        (["train", "--config", "x/y.py"], 1, "x/y.py: no such config file."),
        ([*TRAIN, "--config.optim.learning_rate=1"], 1, "mean --config.optim.lr?"),
        ([*TRAIN, "--config.epochs"], 1, "--config.epochs: give it a value"),
        ([*TRAIN, "--config.epochs=0"], 1, "epochs: 0 must be at least 1"),
        (["train", "--config=ensemble_demo"], 1, "an ensemble, which `jser run`"),
        (["run", *TRAIN[1:]], 1, "is one member; give two seeds or more"),
        (["stack", *TRAIN[1:]], 1, "is one member; give two seeds or more"),
        (["run", "--config=ensemble_demo", "--seeds=1,2"], 1, "is an ensemble"),
        (["ablate", *TRAIN[1:]], 2, "--levers is needed."),
        (["ablate", *TRAIN[1:], "--levers=x", "--seeds=a"], 1, "--seeds: a must read"),
        (["ablate", *TRAIN[1:], "--levers=x", "--seeds=1,1"], 1, "--seeds: 1,1 must"),
        (["sweep", *TRAIN[1:]], 2, "--space is needed."),
        (["sweep", *TRAIN[1:], "--space=x", "--holdout=a"], 1, "--holdout: a must"),
        (["prepare", "--corpus=x", "--source=.", "--out=o"], 1, "'x' is not one of"),
        (["extract", "--table=none", "--frontend=logmel"], 1, "prepare"),
        (["predict", "--workdir=none"], 1, "none/config.json: no run there"),
        ([*TRAIN, "--data_root=none"], 1, "none/demo/table.csv: not there."),
    ],
)
def test_a_slip_is_told_in_one_line(jser, argv, status, message):
    found, _, told = jser(*argv)
    assert found == status, told
    assert told.startswith("error: ")
    assert message in told
    assert told.count("\n") == 1


def test_flags_are_of_one_call(jser):
    """In one process, too, nothing stays of the call before."""
    assert "epochs: 0" in jser(*TRAIN, "--config.epochs=0")[2]
    assert "--config is needed" in jser("train", "--config.epochs=0")[2]
    assert "data/demo/table.csv: not there" in jser("extract", *EXTRACT)[2]
    assert "no/demo/table" in jser(*TRAIN, "--data_root", "no")[2]
    assert "data/demo/table" in jser(*TRAIN)[2]


EXTRACT = ("--table=data/demo", "--frontend=logmel")


def test_a_bool_takes_its_value_or_none(jser):
    for value in ("", "=true"):
        shown = jser(*TRAIN, f"--config.loss.soft_labels{value}")[1]
        assert '"soft_labels": true' in shown
    shown = jser(*TRAIN, "--config.model.mask_padding", "False")[1]
    assert '"mask_padding": false' in shown
    for switch in ("--verify", "--noverify", "--verify=false"):
        assert "not there" in jser("extract", *EXTRACT, switch)[2]


def test_what_no_user_can_mend_keeps_its_traceback(jser, monkeypatch):
    def fail():
        raise KeyError("x")

    monkeypatch.setattr("jser.commands.train.main", fail)
    with pytest.raises(KeyError):
        jser(*TRAIN)


def test_being_cut_is_one_line(tmp_path):
    (tmp_path / "cut.py").write_text("raise KeyboardInterrupt")
    found = subprocess.run(
        [sys.executable, "-m", "jser", "train", "--config", f"{tmp_path}/cut.py"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert found.stderr == "cut; run it again to go on\n"
    assert found.returncode == 130
