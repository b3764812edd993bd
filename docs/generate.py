"""Write the pages that follow from the program.

They are `cli.md`, `plugins.md` and `quarantine-codes.md` of the reference, and page and model card
of the sample report, drawn again from its numbers.

python docs/generate.py          rewrite them
python docs/generate.py --check  exit 1 if one of them is not current
"""

import dataclasses
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import typer

from medssl import freezing, losses, methods, reduction
from medssl.artifacts import report
from medssl.cli.main import app
from medssl.config import loading
from medssl.foundation import plugins
from medssl.ingestion import flags, readers
from medssl.ingestion.codes import FIXES, MEANINGS, NO_IMAGES, STEPS, Code
from medssl.models import encoders
from medssl.reporting import model_card, page

REFERENCE = Path(__file__).parent / "reference"
SAMPLE = Path(__file__).parent / "sample-report"
IMAGE = re.compile(r"<img [^>]*>")
NOTICE = "<!-- written by docs/generate.py; change the program instead -->\n"
FOLDERS: dict[str, ModuleType] = {
    "--method": methods,
    "--encoder": encoders,
    "--schedule": freezing,
    "--loss": losses,
    "--by": reduction,
    "by content": readers,
}


def cli_page() -> str:
    group = typer.main.get_command(app)
    parts = [
        "# Command line\n",
        NOTICE,
        "Results go to stdout, progress and errors to stderr. "
        "Exit codes: [exit-codes.md](exit-codes.md).\n",
        "Settings come from defaults < `--preset` < `-c FILE.yaml` < `--set key=value` < flags. "
        "Options of a method, schedule or encoder belong to it: choosing another one leaves those "
        "of the preset or the file behind.\n",
    ]
    for name, command in commands_of(group):
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        flags = [p for p in command.params if p.param_type_name == "option"]
        usage = " ".join(p.name.upper() for p in arguments)
        parts.append(f"## medssl {name}\n")
        parts.append(f"{command.help}\n")
        parts.append(f"```\nmedssl {name} {usage} [OPTIONS]\n```\n".replace("  ", " "))
        rows = [(f"`{p.name.upper()}`", p.help or "") for p in arguments]
        rows += [(option_names(p), option_help(p)) for p in flags]
        if rows:
            parts.append("| | |\n|---|---|")
            parts += [f"| {left} | {right} |" for left, right in rows]
            parts.append("")
    return "\n".join(parts)


def commands_of(group: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - of the library typer brings
    """Every command; those of a group under both names."""
    for name, command in group.commands.items():
        if not hasattr(command, "commands"):
            yield name, command
        for inner, one in getattr(command, "commands", {}).items():
            yield f"{name} {inner}", one


def option_names(option: object) -> str:
    return ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))


def option_help(option: object) -> str:
    text = option.help or ""
    shown = option.default
    if shown not in (None, False, ()) and not callable(shown):
        text = f"{text} Default: `{shown}`."
    if option.multiple and "repeated" not in text:
        text = f"{text} May be repeated."
    return text.replace("|", "\\|").strip()


def plugins_page() -> str:
    parts = [
        "# Plugins and presets\n",
        NOTICE,
        "Each is one file; its name is what you type. `medssl list` prints the same.\n",
    ]
    for flag, package in FOLDERS.items():
        chosen = flag if flag.startswith("by") else f"`{flag}`"
        parts.append(f"## {package.KIND.capitalize()} ({chosen})\n")
        parts += plugin_table(package)
        parts.append("")
    parts.append("## Presets (`--preset`)\n")
    parts.append("| stage | name | settings |\n|---|---|---|")
    for stage in loading.STAGES:
        for name in loading.presets(stage):
            values = loading.read_preset(stage, name).items()
            shown = ", ".join(f"`{key}` {value}" for key, value in values)
            parts.append(f"| {stage} | `{name}` | {shown} |")
    parts.append("")
    return "\n".join(parts)


def plugin_table(package: ModuleType) -> list[str]:
    """One row per plugin of a folder, with its default threshold and its options if any."""
    rows = [(name, plugins.load(package, name)) for name in plugins.names(package)]
    kinds = [("threshold", lambda plugin: f"{plugin.THRESHOLD:g}", "THRESHOLD"),
             ("options and their defaults", options_of, "Config")]  # fmt: skip
    shown = [(title, tell) for title, tell, needed in kinds
             if all(hasattr(plugin, needed) for _, plugin in rows)]  # fmt: skip
    table = [f"| name | what it is |{''.join(f' {title} |' for title, _ in shown)}",
             "|---|---|" + "---|" * len(shown)]  # fmt: skip
    for name, plugin in rows:
        more = "".join(f" {tell(plugin)} |" for _, tell in shown)
        table.append(f"| `{name}` | {plugins.summary(package, name)} |{more}")
    return table


def options_of(plugin: ModuleType) -> str:
    """The options of a plugin as `name=default`."""
    fields = dataclasses.fields(plugin.Config)
    return ", ".join(f"`{field.name}={field.default}`" for field in fields)


def quarantine_page() -> str:
    images = [code for code in Code if code not in NO_IMAGES]
    return "\n".join(
        (
            "# Why a file is not in the archive\n",
            NOTICE,
            "Every file that `medssl ingest` finds is either written to the archive or listed in "
            "`quarantine.parquet` with one of these codes: files found = files written + rows of "
            "that table. The codes are stable. `report.html` of the archive counts them, step by "
            "step.\n",
            "`quarantine.parquet` names no path. The same `file_id` stands beside the path in "
            "`private/paths.parquet`, which stays on the machine; `medssl info ARCHIVE "
            "--quarantined CODE` lists the paths there.\n",
            "## Not images\n",
            "Leaving them out loses nothing. They do not count as rejects.\n",
            *code_table(NO_IMAGES),
            "## Images left out by design\n",
            "Copies, and kinds of images that are left out unless they are asked for. They do not "
            "count as rejects.\n",
            *code_table(code for code in images if code.is_skip),
            "## Rejected\n",
            "Where more than `max_rejects` (5 %) of the image files are rejected, `ingest` ends in "
            "exit code 8; the archive is usable.\n",
            *code_table(code for code in images if not code.is_skip),
            "## Steps\n",
            "The column `stage` of the table says where a file was left out: `sniff` (what is "
            "it?), `header`, `group` (whose is it, and which series?), `geometry` (where in the "
            "patient?) or `decode`.\n",
            "## Flags of images that are in the archive\n",
            "`images.parquet` has a column `flags`; an image may have several.\n",
            "| flag | meaning |\n|---|---|",
            *(f"| `{name}` | {meaning} |" for name, meaning in flags.MEANINGS.items()),
            "",
        )
    )


def code_table(codes: Iterable[Code]) -> list[str]:
    chosen = set(codes)
    return [
        "| code | step | meaning | what to do |\n|---|---|---|---|",
        *(
            f"| `{code.value}` | {', '.join(STEPS[code])} | {MEANINGS[code]} | {remedy(code)} |"
            for code in Code
            if code in chosen
        ),
        "",
    ]


def remedy(code: Code) -> str:
    text = FIXES.get(code, "")
    if not text:
        return "–"
    return f"{text if text[0] == '`' else text[0].upper() + text[1:]}."


def sample_pages() -> dict[Path, str]:
    """Return the page of the sample report and its model card, drawn from the kept record.

    Pixels are no part of a record: the pictures of the page are put back in their places.
    """
    record = report.read(SAMPLE)
    maps = (record["saliency"] or {}).get("maps", [])
    held = {f"map-{n}": "<img><img>" for n in range(len(maps))} | {"map-scale": "<img>"}
    pictures = iter(IMAGE.findall((SAMPLE / "report.html").read_text(encoding="utf-8")))
    drawn = re.sub("<img>", lambda _: next(pictures), page.render(record, held))
    return {SAMPLE / "report.html": drawn, SAMPLE / "model_card.md": model_card.render(record)}


def main() -> int:
    pages = {
        **sample_pages(),
        REFERENCE / "cli.md": cli_page(),
        REFERENCE / "plugins.md": plugins_page(),
        REFERENCE / "quarantine-codes.md": quarantine_page(),
    }
    stale = [p for p, text in pages.items() if not p.is_file() or p.read_text() != text]
    if "--check" in sys.argv:
        for path in stale:
            print(f"{path.name} is not current: run `python docs/generate.py`", file=sys.stderr)
        return int(bool(stale))
    for path in stale:
        path.write_text(pages[path])
    return 0


if __name__ == "__main__":
    sys.exit(main())
