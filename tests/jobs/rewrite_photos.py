"""A process that keeps replacing the pictures of a folder until it is told to stop: `python rewrite_photos.py FOLDER
CONTENTS SEEN SEED`.

CONTENTS holds pictures of one size in bytes; SEEN gets every state a file has been in, named by its SHA-256. A line
on stdin ends it; then it prints how many files it has rewritten.
"""

from __future__ import annotations

import hashlib
import os
import random
import select
import sys
import time
from pathlib import Path

AT_ONCE = 40  # files that are in pieces at a time
# Share of a new picture that stands in the file before the rest follows: less than any picture without its padding.
THERE = 0.25


def main(folder: Path, contents: Path, seen: Path, seed: int) -> None:
    dice = random.Random(seed)
    photos, pictures = sorted(folder.glob("p*.jpg")), [path.read_bytes() for path in sorted(contents.iterdir())]
    rewritten = 0
    while not select.select([sys.stdin], [], [], 0)[0]:
        replaced = [
            (photo, dice.choice(("renamed", "emptied", "overwritten", "gone")), dice.choice(pictures))
            for photo in dice.sample(photos, AT_ONCE)
        ]
        for photo, way, new in replaced:
            unfinished = begin(photo, way, new)
            for state in (unfinished, new):
                (seen / hashlib.sha256(state).hexdigest()).write_bytes(state)
        time.sleep(dice.uniform(0.1, 0.3))
        for photo, way, new in replaced:
            complete(photo, way, new)
        rewritten += AT_ONCE
        time.sleep(dice.uniform(0, 0.1))
    print(rewritten)


def begin(photo: Path, way: str, new: bytes) -> bytes:
    """What stands in the file, or beside it, while it is being replaced."""
    part, old = new[: int(THERE * len(new))], photo.read_bytes()
    if way == "renamed":
        photo.with_suffix(".tmp").write_bytes(new)
        return old
    if way == "gone":
        photo.unlink()
        return old
    if way == "emptied":
        photo.write_bytes(part)
        return part
    with photo.open("r+b", buffering=0) as file:
        file.write(part)
    return part + old[len(part) :]


def complete(photo: Path, way: str, new: bytes) -> None:
    if way == "renamed":
        os.replace(photo.with_suffix(".tmp"), photo)
    elif way == "gone":
        photo.write_bytes(new)
    else:
        with photo.open("r+b", buffering=0) as file:
            file.seek(int(THERE * len(new)))
            file.write(new[int(THERE * len(new)) :])


if __name__ == "__main__":
    main(*(Path(part) for part in sys.argv[1:4]), int(sys.argv[4]))
