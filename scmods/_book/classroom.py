"""Everything a workshop hands out: ``python -m scmods._book.classroom`` makes, tries and packs it.

For each chapter the participant copy is executed from top to bottom, the state at the border of every section is
written to a file, and every section is run alone from that file. A second call only packs, as results are kept.
The zip and the copies go to ``book/participant``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from scmods import _checks
from scmods._book import execute, notebook_file
from scmods._book.handout import Handout, write_zip
from scmods._book.rehearsal import Chapter, ClassroomError, make, prepare
from scmods._book.sections import start_notebook

__all__ = ["main"]


def _say(text: str) -> None:
    print(text, flush=True)


def _line(chapter: Chapter, word: str) -> str:
    record = chapter.record
    if record is None:
        return f"{chapter.name:10s} no states at hand"
    told = f"{record['sections']} sections run alone, {record['claims']} equal claims, "
    return f"{word:8s} {chapter.name:10s} {told}{record['bytes'] / 2**20:.2f} MB of states, " + (
        f"{record['whole']:.0f} + {record['alone']:.0f} CPU s"
    )


def _make_all(todo: Sequence[Chapter], jobs: int) -> list[str]:
    """Run chapters side by side; the errors, after all have ended."""
    threads = max(1, (os.cpu_count() or 1) // max(1, jobs))
    errors: list[str] = []

    def one(chapter: Chapter) -> None:
        try:
            make(chapter, threads)
        except ClassroomError as error:
            errors.append(str(error))
            _say(f"FAILED   {str(error).splitlines()[0]}")
        else:
            _say(_line(chapter, "made"))

    with ThreadPoolExecutor(max(1, min(jobs, len(todo)))) as pool:
        futures = [pool.submit(one, chapter) for chapter in todo]
        try:
            for future in futures:
                future.result()
        except BaseException:
            for future in futures:
                future.cancel()
            execute.stop_all()
            raise
    return errors


def _handouts(chapters: Sequence[Chapter]) -> list[Handout]:
    """What the zip takes of each chapter; starts only where the states are at hand."""
    made = []
    for chapter in chapters:
        started: dict[str, dict[str, Any]] = {}
        files: list[Path] = []
        if chapter.record is not None:
            later = [s for s in chapter.starts if s.names]
            started = {s.section.slug: start_notebook(chapter.copied, s, chapter.name) for s in later}
            files = sorted(p for p in chapter.folder.iterdir() if p.suffix in (".h5", ".h5ad", ".csv"))
        made.append(Handout(chapter.name, chapter.copied, started, files))
    return made


def _chosen(chapters: Sequence[Chapter], names: Sequence[str]) -> list[Chapter]:
    known = [c.name for c in chapters]
    for name in names:
        if name not in known:
            told = [f"--only {name}: no such chapter.", _checks.nearest(name, known)]
            raise ClassroomError(" ".join(t for t in (*told, f"There are: {', '.join(known)}.") if t))
    return [c for c in chapters if not names or c.name in names]


def _sweep(folder: Path) -> None:
    """Remove unfinished results whose process is gone."""
    import psutil

    for part in folder.glob("*.part"):
        number = part.suffixes[-2].lstrip(".") if len(part.suffixes) > 1 else ""
        if not number.isdigit() or not psutil.pid_exists(int(number)):
            shutil.rmtree(part, ignore_errors=True)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m scmods._book.classroom", description=__doc__)
    add = parser.add_argument
    add("--root", type=Path, default=Path(), help="folder of the project")
    add("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="chapters side by side")
    add("--only", action="append", default=[], metavar="CHAPTER", help="run this chapter; repeatable")
    add("--docs", action="store_true", help="run nothing; pack what is at hand")
    return parser.parse_args(argv)


def _run(args: argparse.Namespace) -> int:
    root = args.root.resolve()
    chapters = [prepare(path, root) for path in sorted((root / "notebooks").glob("*.ipynb"))]
    chosen = _chosen(chapters, args.only)
    _sweep(root / ".cache" / "class")
    target = root / "book" / "participant"
    for chapter in chapters:
        notebook_file.write_if_changed(target / f"{chapter.name}.ipynb", chapter.copied)
    todo = [] if args.docs else [c for c in chosen if c.record is None]
    for chapter in chosen:
        if chapter not in todo:
            _say(_line(chapter, "cached"))
    errors = _make_all(todo, args.jobs) if todo else []
    write_zip(_handouts(chapters), root, target)
    size = (target / "scmods-workshop.zip").stat().st_size
    _say(f"book/participant/scmods-workshop.zip: {size / 2**20:.2f} MB")
    for error in errors:
        _say(f"\n== FAILED: {error}")
    return 1 if errors else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Make the classroom; 0 when every chosen chapter ran whole and in parts, 1 otherwise, 130 after Ctrl-C."""
    args = _arguments(argv)
    notebook_file.printable()
    try:
        return _run(args)
    except (ClassroomError, notebook_file.NotebookError) as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        print(
            "stopped; finished chapters are kept, the same command does the rest", file=sys.stderr, flush=True
        )
        return 130


if __name__ == "__main__":
    sys.exit(main())
