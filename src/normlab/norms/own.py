"""Norms of the user's own as an option of `norm`, as in `norm=my_norms.py:MyBatchNorm`.

A configuration names such a norm and holds a digest of its source; it cannot bring the
code. The code comes from the person who types the command or calls a function of the
package: `offer` takes it, and `own_norm`, which a configuration calls, finds it by the
digest. Processes that this one starts find it through the environment variable
`NORMLAB_OWN_NORMS`. A line of it is `FILE.py:CLASS`, or a file that `share` has
written for a class that lives in this process only.
"""

import atexit
import hashlib
import os
import pickle
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from torch import nn

from normlab.config.trust import OWN_NORM, OWN_NORMS_VARIABLE
from normlab.messages import first_line
from normlab.norms.construction import build_norm, function_of, name_of
from normlab.norms.loading import load_norm, source_file
from normlab.norms.own_source import source_digest


@dataclass(frozen=True)
class OwnNorm:
    """A norm of the user's own.

    Attributes:
        name: `FILE.CLASS`, such as `my_norms.MyBatchNorm`.
        digest: of its source, see `normlab.norms.own_source`.
        target: the class or function.
    """

    name: str
    digest: str
    target: Callable[..., Any]

    def options(self) -> dict[str, Any]:
        """What the group `norm` of a configuration holds for this norm."""
        return {
            "_target_": OWN_NORM,
            "_partial_": True,
            "norm": self.name,
            "source": self.digest,
        }


_offered: dict[str, OwnNorm] = {}  # by digest


def offer(target: Callable[..., Any]) -> OwnNorm:
    """Make a class or function available to the runs of this process.

    Args:
        target: a class derived from `torch.nn.Module`, or a function, see `build_norm`.

    Raises:
        ValueError: it is something else, it has no name, or its source cannot be
            found.
    """
    _check_kind(target)
    file = source_file(function_of(target))
    name = name_of(target)
    if file is not None and file.suffix == ".py" and file.stem.isidentifier():
        name = f"{file.stem}.{name}"
    norm = OwnNorm(name, source_digest(target), target)
    _offered[norm.digest] = norm
    return norm


def _check_kind(target: Any) -> None:
    """Refuse what builds no layers, or has no name for its runs."""
    name = name_of(target)
    if isinstance(target, nn.Module):
        raise ValueError(
            f"norm must be a class or a function, got a layer that was built already; "
            f"give its class {name}"
        )
    if not name.isidentifier():
        raise ValueError(
            f"a norm must be a class or a function with a name, got {name}; define it "
            f"with def or class"
        )


def offer_file(reference: str) -> OwnNorm:
    """Make a norm in a file available to this process and to those that it starts.

    The code of the file runs, see `load_norm`.

    Args:
        reference: `FILE.py:NAME`, or `FILE.py` if the file defines one norm only.

    Raises:
        ValueError: there is no such norm, or its code fails.
    """
    norm = offer(load_norm(reference))
    path, _, name = reference.rpartition(":")
    if not path.endswith(".py"):
        path, name = reference, name_of(norm.target)
    _tell_processes(f"{Path(path).expanduser().resolve()}:{name}")
    return norm


def share(norm: OwnNorm) -> OwnNorm:
    """Make a norm available to the processes that this one starts.

    The class is pickled with its code, since it may be defined in a notebook, and
    importing the script that is running would run it once more.
    """
    import cloudpickle

    path = _folder_of_pickles() / f"{norm.digest}.pickle"
    module = sys.modules.get(function_of(norm.target).__module__)
    is_importable = module is not None and module.__name__ != "__main__"
    if is_importable:
        cloudpickle.register_pickle_by_value(module)
    try:
        path.write_bytes(cloudpickle.dumps((norm.name, norm.digest, norm.target)))
    finally:
        if is_importable:
            cloudpickle.unregister_pickle_by_value(module)
    _tell_processes(str(path))
    return norm


@cache
def _folder_of_pickles() -> Path:
    folder = tempfile.mkdtemp(prefix="normlab-norms-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _tell_processes(line: str) -> None:
    lines = os.environ.get(OWN_NORMS_VARIABLE, "").splitlines()
    if line not in lines:
        os.environ[OWN_NORMS_VARIABLE] = "\n".join([*lines, line])


def packed() -> list[str | bytes]:
    """What `unpack` needs on another machine to find the norms that this process finds.

    Returns:
        lines of the environment variable. In the place of a file that `share` has
        written stands its content, since the other machine may not have the file.
    """
    items: list[str | bytes] = []
    for line in os.environ.get(OWN_NORMS_VARIABLE, "").splitlines():
        if line.endswith(".pickle"):
            items.append(Path(line).read_bytes())
        else:
            items.append(line)
    return items


def unpack(items: Iterable[str | bytes]) -> None:
    """Make norms available to this process and to those that it starts.

    Args:
        items: what `packed` returned in a process of the same user. The code of the
            norms runs once they are looked for.
    """
    for item in items:
        if isinstance(item, str):
            _tell_processes(item)
            continue
        digest = hashlib.sha256(item).hexdigest()
        path = _folder_of_pickles() / f"{digest}.pickle"
        path.write_bytes(item)
        _tell_processes(str(path))


def _read_shared() -> list[str]:
    """Offer what the process that started this one has shared.

    The variable is set by the user's own processes, so what it names is trusted.

    Returns:
        why norms are not offered: in a notebook, files are renamed and changed between
        the sweeps.
    """
    failed = []
    for line in os.environ.get(OWN_NORMS_VARIABLE, "").splitlines():
        try:
            if line.endswith(".pickle"):
                norm = OwnNorm(*pickle.loads(Path(line).read_bytes()))
                _offered[norm.digest] = norm
            else:
                offer(load_norm(line))
        except Exception as error:  # of any code
            failed.append(first_line(error))
    return failed


def own_norm(
    num_features: int, dim: int, *, norm: str, source: str, **options: Any
) -> nn.Module:
    """Build a layer of a norm that was offered to this process.

    Args:
        num_features: number of channels C.
        dim: 1, 2 or 3, as in the names of PyTorch's classes.
        norm: its name.
        source: the digest of its source.
        options: further arguments of its constructor, by name.

    Raises:
        ValueError: the norm was not offered, or was changed since.
    """
    target = find_own_norm(norm, source).target
    return build_norm(target, num_features, dim, options)


def find_own_norm(name: str, digest: str) -> OwnNorm:
    """Return a norm that was offered to this process or to one that started it.

    Raises:
        ValueError: there is none with this source.
    """
    failed = []
    if digest not in _offered:
        failed = _read_shared()
    if digest in _offered:
        return _offered[digest]
    if any(one.name == name for one in _offered.values()):
        raise ValueError(
            f"the source of norm {name} must be the one with which the run was made, "
            f"the file given has another; take the file as it was then"
        )
    others = f" ({'; '.join(failed)})" if failed else ""
    file, _, class_name = name.rpartition(".")
    reference = f"{file or 'FILE'}.py:{class_name}"
    raise ValueError(
        f"norm {name} is code of the run's author, which a run folder cannot bring; "
        f"if you trust it, name its file: --trust {reference}, or norm={reference} "
        f"to train{others}"
    )
