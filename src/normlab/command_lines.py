"""What the command lines about stored runs share: arguments, trust, mistakes."""

import argparse
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from normlab.option_names import with_option_names

USER_MISTAKE = 2  # exit code


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add the argument that names one stored run."""
    parser.add_argument(
        "run", type=Path, metavar="RUN", help="folder of a finished run"
    )


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Add the options about files and code of the user's own."""
    parser.add_argument(
        "--config-dir",
        type=Path,
        metavar="FOLDER",
        help="a folder of your own with the layout of conf/; trusted packages are "
        "looked for in it and beside it too (default: none)",
    )
    add_trusted_code(parser, "the run")


def add_trusted_code(parser: argparse.ArgumentParser, caller: str) -> None:
    """Add the option that names code of the user's own.

    Args:
        parser: of the command.
        caller: what may call the code, in words.
    """
    parser.add_argument(
        "--trust",
        nargs="+",
        default=[],
        metavar="CODE",
        help=f"code of your own that {caller} may call: names of packages, and norms "
        "as FILE.py:CLASS (default: none)",
    )


def load_trusted_code(options: argparse.Namespace) -> list[str]:
    """Load the norms in files that follow `--trust`, and make the packages importable.

    Packages are looked for in the working folder, in `--config-dir` and beside it.

    Args:
        options: with `trust` and `config_dir`.

    Returns:
        The names of the packages.

    Raises:
        ValueError: a file has no such norm, its code fails, or there is no such folder.
    """
    from normlab.config.composition import check_config_dir
    from normlab.config.own_code import find_own_code
    from normlab.norms.loading import is_file_reference
    from normlab.norms.own import offer_file

    packages = []
    for word in options.trust:
        if is_file_reference(word):
            offer_file(word)
        else:
            packages.append(word)
    folders = []
    if options.config_dir is not None:
        check_config_dir(options.config_dir)
        folders.append(options.config_dir)
    find_own_code(packages, folders)
    return packages


@contextmanager
def mistakes_end(options: Mapping[str, str]) -> Iterator[None]:
    """Within the block, a mistake of the user ends the command.

    One line says what is wrong, and the exit code is 2.

    Args:
        options: the option for each argument of a function that a message may name.
    """
    from normlab.mistakes import MISTAKES, explain
    from normlab.terminal import print_line

    try:
        yield
    except (*MISTAKES, OSError) as error:
        message = with_option_names(explain(error), options)
        print_line(f"error: {message}")
        sys.exit(USER_MISTAKE)
