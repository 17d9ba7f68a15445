"""Messages about arguments of functions, in the words of a command line."""

import re
from collections.abc import Mapping


def with_option_names(message: str, options: Mapping[str, str]) -> str:
    """Replace arguments of Python in a message by the options of a command line.

    An argument is recognized at the head of the message, where `by must name` becomes
    `--by must name`, and between backquotes.

    Args:
        message: what a function says about its arguments.
        options: the option for each argument, such as `--by` for `by`.
    """
    names = "|".join(options)
    argument = re.compile(rf"^({names})(?= must )|`({names})`")
    return argument.sub(lambda match: options[match[1] or match[2]], message)
