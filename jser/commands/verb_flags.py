"""The flags of one verb; every verb has its own, so that all fit in one process."""

from collections.abc import Sequence

from absl import flags
from absl.flags import FlagHolder

FIELD = "config."  # Holds what every --config.<field> of a command line says.


class VerbFlags(flags.FlagValues):
    """absl's flags, defined in a line each. A value is there once they are parsed."""

    def arguments(self, name: str, help_string: str) -> FlagHolder[list[str]]:
        """What is typed without a flag, as `jser recognize a.wav b.wav`."""
        self.__dict__["positional"] = name
        holder = flags.DEFINE_multi_string(name, [], help_string, flag_values=self)
        self[name].help = help_string  # absl adds that it may be repeated.
        return holder

    def required(self, name: str, help_string: str) -> FlagHolder[str]:
        """A string that must be given."""
        return flags.DEFINE_string(
            name, None, help_string, flag_values=self, required=True
        )

    def optional(
        self, name: str, help_string: str, short_name: str | None = None
    ) -> FlagHolder[str | None]:
        """A string that may be left out."""
        return flags.DEFINE_string(
            name, None, help_string, flag_values=self, short_name=short_name
        )

    def string(self, name: str, default: str, help_string: str) -> FlagHolder[str]:
        """A string with a default."""
        return flags.DEFINE_string(name, default, help_string, flag_values=self)

    def integer(
        self, name: str, default: int, help_string: str, lower_bound: int = 0
    ) -> FlagHolder[int]:
        """A whole number with a default."""
        return flags.DEFINE_integer(
            name, default, help_string, lower_bound, flag_values=self
        )

    def choice(
        self,
        name: str,
        allowed: Sequence[str],
        help_string: str,
        short_name: str | None = None,
    ) -> FlagHolder[str | None]:
        """One of several names; none unless given."""
        return flags.DEFINE_enum(
            name,
            None,
            list(allowed),
            help_string,
            flag_values=self,
            short_name=short_name,
        )

    def switch(self, name: str, help_string: str) -> FlagHolder[bool]:
        """A bool that is off unless given."""
        return flags.DEFINE_bool(name, False, help_string, flag_values=self)

    def strings(self, name: str, help_string: str) -> FlagHolder[list[str]]:
        """Strings between commas; none unless given."""
        return flags.DEFINE_list(name, [], help_string, flag_values=self)

    def fields(self, help_string: str) -> FlagHolder[list[str]]:
        """All `--config.<field>=<value>`, as `<field>=<value>`."""
        holder = flags.DEFINE_multi_string(FIELD, [], help_string, flag_values=self)
        self[FIELD].help = help_string  # absl adds that it may be repeated.
        return holder

    def given(self, *names: str) -> list[str]:
        """The flags that were given, to be typed again: all, or these."""
        arguments = []
        for name in self:
            flag = self[name]
            if flag.present and name in (names or self):
                if name == FIELD:
                    arguments += [f"--{FIELD}{field}" for field in flag.value or ()]
                elif flag.boolean:
                    arguments.append(flag.serialize())
                else:
                    arguments += flag.serialize().split("=", 1)
        return arguments
