"""``python -m scmods run | check | list``: a chapter on own data, checks of set-up and file, contents."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["main"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scmods", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run a chapter, for instance on your own file")
    run.add_argument("chapter", help="name of the chapter, see `list`")
    run.add_argument(
        "-p",
        "--parameter",
        action="append",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="a parameter of the chapter; repeat for more",
    )
    run.add_argument("-o", "--out", type=Path, default=Path("results"), help="folder for the run folder")
    run.add_argument("--timeout", type=float, help="most seconds for one cell (default: no limit)")
    run.add_argument("--memory-mb", type=float, help="most memory in MB (default: no limit)")
    check = commands.add_parser("check", help="check the set-up, or what a .h5ad or .fcs file allows")
    check.add_argument("file", nargs="?", type=Path, help="an AnnData file; without it the set-up is checked")
    commands.add_parser("list", help="chapters with their parameters, and data sets")
    return parser


def _run(args: argparse.Namespace) -> int:
    from scmods._book.notebook_file import NotebookError
    from scmods._book.own_data import OwnDataError, run_chapter
    from scmods._book.params import ParameterError, assignments

    try:
        given = assignments(args.parameter)
        return run_chapter(args.chapter, given, out=args.out, timeout=args.timeout, memory_mb=args.memory_mb)
    except (ParameterError, OwnDataError, NotebookError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _check(args: argparse.Namespace) -> int:
    if args.file is None:
        from scmods._book.setup_check import check_setup

        return check_setup()
    from scmods._book.inspect_file import check_file

    return check_file(args.file)


def _list() -> int:
    from scmods._book.overview import overview
    from scmods._book.own_data import OwnDataError

    try:
        print(overview())
    except OwnDataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 when all is well, 1 when a run or a check failed, 2 when the call was wrong."""
    from scmods._book.notebook_file import printable

    args = _parser().parse_args(argv)
    printable()
    try:
        if args.command == "run":
            return _run(args)
        return _check(args) if args.command == "check" else _list()
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
