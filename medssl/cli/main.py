"""The `medssl` program: its commands, and how failures become exit codes."""

import json
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from medssl import __version__
from medssl.cli import (
    compare,
    console,
    demo,
    doctor,
    embed,
    evaluate,
    export,
    finetune,
    info,
    ingest,
    list_plugins,
    predict,
    pretrain,
    reduce,
    tune,
)
from medssl.foundation.errors import Interrupted, MedSSLError, ResourceError

CTRL_C = 130  # exit code
_CONTINUE = (
    "the same command with --resume, and with -o for its folder, continues what was begun; "
    "if nothing was, leave --resume out"
)

app = typer.Typer(
    name="medssl",
    help="From a folder of scans to a validated site model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # locals in a traceback could show patients
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
STAGES = (ingest, reduce, pretrain, finetune, evaluate)
for command in (*STAGES, tune, predict, embed, export, compare, demo, doctor, info):
    app.command()(getattr(command, command.__name__.rpartition(".")[2]))
app.command("list")(list_plugins.list_plugins)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"medssl {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del version


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; nothing escapes."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        app(arguments)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(bool(stop.code))
        if code == CTRL_C:
            console.error(f"stopped by Ctrl-C\n  fix: {_CONTINUE}")
        return code
    except KeyboardInterrupt:  # while a command was still being loaded
        console.error("stopped by Ctrl-C")
        return CTRL_C
    except MedSSLError as failure:
        return _report(failure, as_json="--json" in arguments)
    except MemoryError:
        return _report(_out_of_memory(), as_json="--json" in arguments)
    except Exception as bug:  # noqa: BLE001 - the last resort, and it says so
        if _is_out_of_memory(bug):
            return _report(_out_of_memory(), as_json="--json" in arguments)
        console.error(_bug(bug))
        return 1
    return 0


def run() -> None:
    """Entry point of the installed program; a termination signal ends it like a failure."""
    # Threads that spin while they wait all but stop two trainings that share a machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    signal.signal(signal.SIGTERM, _stop)
    sys.exit(main())


def _stop(signum: int, frame: FrameType | None) -> None:
    del signum, frame
    raise Interrupted(
        "stopped by SIGTERM",
        fix=_CONTINUE,
    )


def _report(failure: MedSSLError, *, as_json: bool) -> int:
    if as_json:
        fields = {"problem": failure.problem, "where": failure.where, "fix": failure.fix}
        record = {"error": type(failure).__name__, **fields, "exit_code": failure.exit_code}
        print(json.dumps({"schema": "medssl.error/1", **record}))
    else:
        console.error(str(failure))
    return failure.exit_code


def _is_out_of_memory(failure: Exception) -> bool:
    """Recognise torch's failures by name and text, as torch is not imported here."""
    return type(failure).__name__ == "OutOfMemoryError" or (
        isinstance(failure, RuntimeError) and "DefaultCPUAllocator" in str(failure)
    )


def _out_of_memory() -> ResourceError:
    return ResourceError("out of memory", fix="lower batch_size or image_size")


def _bug(bug: Exception) -> str:
    """Return the place of a bug without any value, as values may identify a patient."""
    frames = [f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in traceback.extract_tb(
        bug.__traceback__
    )]  # fmt: skip
    stack = "\n  ".join(frames[-12:])
    return f"this is a bug, please report it ({type(bug).__name__})\n  {stack}"
