"""What all scripts share: the folders, and errors without a traceback."""

from collections.abc import Callable
import pathlib
import sys

from absl import app, flags

_DATA = flags.DEFINE_string("data_root", "data", "Folder of the tables.")
_FEATURES = flags.DEFINE_string("features_root", "features", "Folder of the features.")
_RUNS = flags.DEFINE_string("runs_root", "runs", "Folder of the runs.")


def roots():
    """The folders, as the package takes them."""
    from jser.roots import Roots

    return Roots(
        data=pathlib.Path(_DATA.value),
        features=pathlib.Path(_FEATURES.value),
        runs=pathlib.Path(_RUNS.value),
    )


def run(main: Callable[[], None]) -> None:
    """Runs `main`; what a user can mend ends in one line and exit status 1."""

    def guarded(argv: list[str]) -> None:
        if len(argv) > 1:
            raise app.UsageError(f"unexpected arguments: {argv[1:]}")
        from jser import console
        from jser.features.extract import TooManyFailures

        console.quiet()
        try:
            main()
        except (ValueError, OSError, FloatingPointError, TooManyFailures) as e:
            sys.exit(f"error: {e}")

    app.run(guarded)
