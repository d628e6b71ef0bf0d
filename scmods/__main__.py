"""``python -m scmods run | sweep | check | list``: chapters on own data, checks of set-up and file, contents."""

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
    sweep = commands.add_parser("sweep", help="run a list of runs and compare their claims on one page")
    sweep.add_argument("file", type=Path, help="a .csv or .yml file, one run a row: chapter and parameters")
    for one, what in (
        (run, "folder for the run folder"),
        (sweep, "folder for the runs and their comparison"),
    ):
        one.add_argument("-o", "--out", type=Path, default=Path("results"), help=what)
        one.add_argument("--timeout", type=float, help="most seconds for one cell (default: no limit)")
        one.add_argument("--memory-mb", type=float, help="most memory in MB (default: no limit)")
    check = commands.add_parser("check", help="check the set-up, or what a .h5ad, .fcs or .csv file allows")
    check.add_argument("file", nargs="?", type=Path, help="your file; without it the set-up is checked")
    overview = commands.add_parser("list", help="chapters with their parameters, and data sets")
    overview.add_argument("chapter", nargs="?", default="", help="only this chapter")
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


def _sweep(args: argparse.Namespace) -> int:
    from scmods._book.own_data import OwnDataError
    from scmods._book.sweep import sweep

    try:
        return sweep(args.file, out=args.out, timeout=args.timeout, memory_mb=args.memory_mb)
    except OwnDataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _list(args: argparse.Namespace) -> int:
    from scmods._book.overview import overview
    from scmods._book.own_data import OwnDataError

    try:
        print(overview(args.chapter))
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
        return {"run": _run, "sweep": _sweep, "check": _check, "list": _list}[args.command](args)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
