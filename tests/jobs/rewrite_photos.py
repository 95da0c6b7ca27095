"""A process that keeps replacing the pictures of a folder until it is told to stop: `python rewrite_photos.py FOLDER CONTENTS SEEN SEED`.

CONTENTS holds pictures of one size in bytes; SEEN gets every state a file has been in, named by its SHA-256. A line on stdin ends it; then it
prints how many files it has rewritten.
"""

from __future__ import annotations

import hashlib
import os
import random
import select
import sys
import time
from pathlib import Path

AT_ONCE = 20  # files that are in pieces at a time


def main(folder: Path, contents: Path, seen: Path, seed: int) -> None:
    dice = random.Random(seed)
    photos, pictures = sorted(folder.glob("p*.jpg")), [path.read_bytes() for path in sorted(contents.iterdir())]
    rewritten = 0
    while not select.select([sys.stdin], [], [], 0)[0]:
        replaced = [(photo, dice.choice(("renamed", "emptied", "overwritten", "gone")), dice.choice(pictures)) for photo in dice.sample(photos, AT_ONCE)]
        for photo, way, new in replaced:
            half = begin(photo, way, new)
            for state in (half, new):
                (seen / hashlib.sha256(state).hexdigest()).write_bytes(state)
        time.sleep(dice.uniform(0, 0.2))
        for photo, way, new in replaced:
            complete(photo, way, new)
        rewritten += AT_ONCE
        time.sleep(dice.uniform(0, 0.2))
    print(rewritten)


def begin(photo: Path, way: str, new: bytes) -> bytes:
    """What stands in the file, or beside it, while it is being replaced."""
    half, old = new[: len(new) // 2], photo.read_bytes()
    if way == "renamed":
        photo.with_suffix(".tmp").write_bytes(new)
        return old
    if way == "gone":
        photo.unlink()
        return old
    if way == "emptied":
        photo.write_bytes(half)
        return half
    with photo.open("r+b", buffering=0) as file:
        file.write(half)
    return half + old[len(half) :]


def complete(photo: Path, way: str, new: bytes) -> None:
    if way == "renamed":
        os.replace(photo.with_suffix(".tmp"), photo)
    elif way == "gone":
        photo.write_bytes(new)
    else:
        with photo.open("r+b", buffering=0) as file:
            file.seek(len(new) // 2)
            file.write(new[len(new) // 2 :])


if __name__ == "__main__":
    main(*(Path(part) for part in sys.argv[1:4]), int(sys.argv[4]))
