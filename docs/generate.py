"""Write the reference pages that follow from the program: `cli.md` and `plugins.md`.

python docs/generate.py          rewrite them
python docs/generate.py --check  exit 1 if one of them is not current
"""

import sys
from pathlib import Path
from types import ModuleType

import typer

from medssl import freezing, methods, reduction
from medssl.cli.main import app
from medssl.config import loading
from medssl.foundation import plugins
from medssl.ingestion import readers
from medssl.models import encoders

REFERENCE = Path(__file__).parent / "reference"
NOTICE = "<!-- written by docs/generate.py; change the program instead -->\n"
FOLDERS: dict[str, ModuleType] = {
    "--method": methods,
    "--encoder": encoders,
    "--schedule": freezing,
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
    for name, command in group.commands.items():
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
        parts.append("| name | what it is |\n|---|---|")
        parts += [
            f"| `{name}` | {plugins.summary(package, name)} |" for name in plugins.names(package)
        ]
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


def main() -> int:
    pages = {REFERENCE / "cli.md": cli_page(), REFERENCE / "plugins.md": plugins_page()}
    stale = [p for p, text in pages.items() if not p.is_file() or p.read_text() != text]
    if "--check" in sys.argv:
        for path in stale:
            print(f"{path.name} is not current: run `make docs`", file=sys.stderr)
        return int(bool(stale))
    for path in stale:
        path.write_text(pages[path])
    return 0


if __name__ == "__main__":
    sys.exit(main())
