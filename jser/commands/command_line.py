"""The command `jser <verb>`: verbs, flags, help, and errors of one line.

A verb is a module of this folder: its docstring is the help, `FLAGS` what it takes, and
`main` what it does. What it needs is imported in `main`, so that help comes at once.
"""

from collections.abc import Iterator, Sequence
import importlib
import os
import sys
import textwrap

from absl import flags

import jser
from jser import config_files, console, processes
from jser.commands.verb_flags import FIELD

# In the order of the road from sounds to a report.
VERBS = (
    *("prepare", "transcribe", "extract", "train", "predict", "stack"),
    *("evaluate", "report", "run", "ablate", "sweep", "submission", "convert"),
    *("bundle", "fit", "recognize", "serve", "export"),
)
_HELP = ("--help", "-h", "--helpfull", "-help", "--helpshort")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `jser` with what was typed after it; returns the exit status."""
    verb, *rest = (sys.argv[1:] if argv is None else argv) or _HELP
    if verb in VERBS:
        return run(verb, rest)
    if verb == "--version":
        print(f"jser {jser.__version__}")
    elif verb in _HELP:
        print(overview())
    else:
        return _tell(f"no verb {verb!r}{config_files.near(verb, VERBS)}", 2)
    return 0


def run(verb: str, argv: Sequence[str]) -> int:
    """Runs a verb with its flags.

    Returns:
      The exit status: 0; after one line on stderr 1 for what a user can mend, 2 for
      flags that cannot be read. When cut, the process ends here, with 130; when
      stopped, with 143.
    """
    module = importlib.import_module(f"jser.commands.{verb}")
    if not set(argv).isdisjoint(_HELP):
        print(help_of(verb))
        return 0
    try:
        _parse(module.FLAGS, argv)
    except flags.Error as e:
        return _tell(f"{e} `jser {verb} --help` shows how.", 2)
    flags.FLAGS.mark_as_parsed()  # absl's own; its logging waits for them.
    console.quiet()
    try:
        with processes.listening("stopped; run it again to go on"):
            module.main()
    except KeyboardInterrupt:
        print("cut; run it again to go on", file=sys.stderr, flush=True)
        sys.stdout.flush()
        os._exit(130)  # Threads that compile crash an exit that waits for nobody.
    except Exception as e:
        if not _is_mendable(e):
            raise
        return _tell(str(e), 1)
    return 0


def perform(verb: str, argv: Sequence[str]) -> None:
    """Runs a verb inside of another one, which is told of its errors.

    Raises:
      ValueError: for what a user can mend, and other errors as the verb's `main`.
    """
    module = importlib.import_module(f"jser.commands.{verb}")
    _parse(module.FLAGS, argv)
    module.main()


def overview() -> str:
    """What `jser --help` prints: the verbs, a line each."""
    width = max(map(len, VERBS))
    lines = [f"  {v:{width}}  {_docstring(v).splitlines()[0]}" for v in VERBS]
    return "\n".join(
        [
            *("Speech emotion recognition: jser <verb> --flag=value ...", ""),
            *lines,
            *("", "`jser <verb> --help` gives its flags and an example."),
        ]
    )


def help_of(verb: str) -> str:
    """What `jser <verb> --help` prints: the docstring and every flag."""
    known = importlib.import_module(f"jser.commands.{verb}").FLAGS
    lines = [f"jser {verb}: {_docstring(verb)}".rstrip(), "", "Flags:"]
    for name in known:
        flag = known[name]
        if name == flag.short_name:
            continue
        told = " ".join(flag.help.split())
        if not flag.boolean and flag.default not in (None, "", []):
            told += f" Default: {flag.default}."
        lines.append(
            textwrap.fill(
                told,
                width=88,
                initial_indent=f"  {_shown(known, name)} ".ljust(20),
                subsequent_indent=" " * 20,
            )
        )
    return "\n".join(lines)


def _shown(known: flags.FlagValues, name: str) -> str:
    """A flag as it is typed."""
    if name == known.__dict__.get("positional"):
        return name.upper()
    short = known[name].short_name
    shown = "config.<field>" if name == FIELD else name
    return f"-{short}, --{shown}" if short else f"--{shown}"


def _docstring(verb: str) -> str:
    return importlib.import_module(f"jser.commands.{verb}").__doc__ or ""


def _parse(known: flags.FlagValues, argv: Sequence[str]) -> None:
    """Reads flags.

    Raises:
      flags.Error: if one is not known, lacks its value or cannot be read.
    """
    for name in known:
        known[name].unparse()  # Of an earlier call in this process.
    try:
        known(["jser", *_with_values(known, argv)])
    except flags.IllegalFlagValueError as e:
        given, _, why = str(e).removeprefix("flag ").partition(": ")
        if why.startswith("Flag --"):  # As absl says of one that is required.
            raise flags.Error(f"{given.removesuffix('=None')} is needed.") from None
        if why.startswith("invalid literal"):
            why = "it must be a whole number"
        raise flags.Error(f"{given}: {why.rstrip('.')}.") from None


def _with_values(known: flags.FlagValues, argv: Sequence[str]) -> Iterator[str]:
    """Each flag as `--name=value`, so that none takes the next one for its value."""
    left = list(argv)
    positional = known.__dict__.get("positional")
    while left:
        token = left.pop(0)
        name, equals, value = token.lstrip("-").partition("=")
        if not token.startswith("-") or not name:
            if not positional:
                raise flags.Error(f"{token!r}: flags begin with --.")
            yield f"--{positional}={token}"
            continue
        is_field = name.startswith(FIELD) and FIELD in known
        if not is_field and _is_switch(known, name):
            yield token
            continue
        if not is_field and name not in known:
            raise flags.Error(f"no flag --{name}{_near(name, known)}")
        if not equals and left and not left[0].startswith("--"):
            equals, value = "=", left.pop(0)
        if is_field:
            yield f"--{FIELD}={name.removeprefix(FIELD)}{equals}{value}"
        elif equals:
            yield f"--{name}={value}"
        else:
            raise flags.Error(f"--{name} needs a value.")


def _is_switch(known: flags.FlagValues, name: str) -> bool:
    """Whether a flag is a bool, which needs no value, or the `--no...` of one."""
    return any(n in known and known[n].boolean for n in (name, name.removeprefix("no")))


def _near(name: str, known: flags.FlagValues) -> str:
    names = [*(n for n in known if n != FIELD), "help"]
    return config_files.near(name, names, prefix="--")


def _is_mendable(error: Exception) -> bool:
    if isinstance(error, ValueError | OSError | FloatingPointError):
        return True
    from jser.features.extract import TooManyFailures

    return isinstance(error, TooManyFailures)


def _tell(told: str, status: int) -> int:
    print(f"error: {told}", file=sys.stderr)
    return status
