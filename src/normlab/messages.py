"""What an exception says, in one line."""


def first_line(error: BaseException) -> str:
    """The first line of the message of an exception; of an empty one, its class."""
    lines = str(error).strip().splitlines()
    line = lines[0] if lines else type(error).__name__
    return line.rstrip(":")


def with_class(error: BaseException) -> str:
    """The class of an exception, and the first line of its message if it has one."""
    name = type(error).__name__
    line = first_line(error)
    return name if line == name else f"{name}: {line}"
