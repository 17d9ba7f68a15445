"""Damage stored files at random, read them, and say what came of it.

Every damage must end in one of these:

- refused: in one or two lines that name the file or its run;
- told: another value came out, and the file or its run was named;
- same: nothing else came out than from the intact files.
"""

import pickle
import random
import shutil
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from readings import Answer, Subject, Values, read_all
from runs import EVENTS, PRELOAD

from normlab.sweeps.workers import start_server

MOST_SECONDS = 300  # for the readings of one damage; more is a hang
LARGEST_BLOCK = 64  # bytes that change places
MOST_LINES = 2  # of a message about a damaged file

Mutation = Callable[[bytes, random.Random], bytes]


def bit_flipped(content: bytes, generator: random.Random) -> bytes:
    changed = bytearray(content)
    changed[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
    return bytes(changed)


def cut(content: bytes, generator: random.Random) -> bytes:
    return content[: generator.randrange(len(content))]


def digit_changed(content: bytes, generator: random.Random) -> bytes:
    """One decimal digit is another one; a flipped bit if there is none."""
    places = [place for place, byte in enumerate(content) if chr(byte) in "0123456789"]
    if not places:
        return bit_flipped(content, generator)
    changed = bytearray(content)
    changed[generator.choice(places)] = ord(generator.choice("0123456789"))
    return bytes(changed)


def blocks_swapped(content: bytes, generator: random.Random) -> bytes:
    """Two blocks of the same length have changed places."""
    length = generator.randint(1, min(LARGEST_BLOCK, len(content) // 2))
    first = generator.randrange(len(content) - 2 * length + 1)
    second = generator.randrange(first + length, len(content) - length + 1)
    changed = bytearray(content)
    changed[first : first + length] = content[second : second + length]
    changed[second : second + length] = content[first : first + length]
    return bytes(changed)


MUTATIONS: tuple[Mutation, ...] = (bit_flipped, cut, digit_changed, blocks_swapped)
SHARE_OF_TWINS = 0.05  # of the damages: there is only one of them for every subject


def mutated(subject: Subject, generator: random.Random) -> tuple[str, bytes]:
    """The name of a damage, and the content that it makes of the subject's file."""
    content = (subject.outputs / subject.file).read_bytes()
    if generator.random() < SHARE_OF_TWINS:
        return "another one's file", (subject.outputs / subject.twin).read_bytes()
    mutation = generator.choice(MUTATIONS)
    changed = content
    while changed == content:
        changed = mutation(content, generator)
    return mutation.__name__.replace("_", " "), changed


def answer_to(subject: Subject, scratch: Path, content: bytes | None) -> Answer:
    """What comes of the readings if the file has this content; None leaves it.

    They are done in a process of their own, which may hang or crash.
    """
    outputs, path = scratch / "outputs", scratch / "answer"
    shutil.copytree(subject.outputs, outputs)
    if content is not None:
        (outputs / subject.file).write_bytes(content)
    process = start_server(PRELOAD).Process(
        target=_store_answer, args=(subject, outputs, path)
    )
    process.start()
    process.join(MOST_SECONDS)
    if process.is_alive():
        process.kill()
        process.join()
        answer = Answer(failed=f"still at work after {MOST_SECONDS} s")
    elif not path.is_file():
        answer = Answer(failed=f"exit code {process.exitcode}")
    else:
        answer = pickle.loads(path.read_bytes())
        path.unlink()
    shutil.rmtree(outputs)
    return answer


def _store_answer(subject: Subject, outputs: Path, path: Path) -> None:
    import torch

    torch.set_num_threads(1)
    try:
        answer = read_all(subject, outputs)
    except BaseException:
        answer = Answer(failed=traceback.format_exc())
    path.write_bytes(pickle.dumps(answer))


def verdict(subject: Subject, answer: Answer, expected: Answer) -> str:
    """`same`, `told`, `refused`, or what is wrong."""
    if answer.failed:
        return f"wrong: {answer.failed}"
    parts = Path(subject.file).parts
    names = {parts[-1], parts[1]}  # the file and its run
    said = answer.told + "".join(answer.refused.values())
    for reading, message in answer.refused.items():
        named = any(name in said for name in names)
        if not named or len(message.splitlines()) > MOST_LINES:
            return f"wrong: {reading} said {message}"
    different = [
        label
        for reading, values in answer.values.items()
        for label in _differences(values, expected.values[reading])
    ]
    untold = [label for label in different if label not in answer.told]
    if untold:
        return f"wrong: {', '.join(untold)} silently different"
    if answer.refused:
        return "refused"
    return "told" if different else "same"


def _differences(found: Values, expected: Values) -> list[str]:
    """The labels of values that are not as they were.

    TensorBoard shows nothing behind a damaged record; what it shows must be right.
    """
    labels = []
    for label in sorted({*found, *expected}):
        now, then = found.get(label, {}), expected.get(label, {})
        is_prefix = label == EVENTS and _is_part(now, then)
        if not is_prefix and found.get(label) != expected.get(label):
            labels.append(label)
    return labels


def _is_part(shown: dict[str, list], everything: dict[str, list]) -> bool:
    return all(
        tag in everything and set(points) <= set(everything[tag])
        for tag, points in shown.items()
    )


def mutate(
    subjects: Sequence[Subject], scratch: Path, number: int, seed: int = 0
) -> dict:
    """Damage files at random, one after the other, and count what came of it.

    Args:
        subjects: the files, which take turns.
        scratch: an empty folder.
        number: of damages.
        seed: of the damages.
    """
    generator = random.Random(seed)
    expected = [_intact(subject, scratch) for subject in subjects]
    ended: Counter[str] = Counter()
    wrong = []
    for count in range(number):
        choice = count % len(subjects)
        name, content = mutated(subjects[choice], generator)
        answer = answer_to(subjects[choice], scratch, content)
        found = verdict(subjects[choice], answer, expected[choice])
        ended[found.partition(":")[0]] += 1
        if found.startswith("wrong"):
            wrong.append(f"{name}, number {count}: {found}")
    return {"mutations": number, **_counts(ended), "wrong": wrong}


def _intact(subject: Subject, scratch: Path) -> Answer:
    """The answer of the intact files, which must not be refused."""
    answer = answer_to(subject, scratch, None)
    assert not answer.failed, answer.failed
    assert not answer.refused, answer.refused
    return answer


def _counts(ended: Counter[str]) -> dict[str, int]:
    return {name: ended[name] for name in ("refused", "told", "same")}
