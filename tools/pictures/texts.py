"""Draw the beginning of a Markdown text as a picture, as Rich renders it."""

import io
import re
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown
from rich.terminal_theme import TerminalTheme

_WIDTH = 96
_LIGHT = TerminalTheme(
    (255, 255, 255),
    (36, 41, 47),
    [
        (36, 41, 47), (207, 34, 46), (17, 99, 41), (149, 56, 0),
        (9, 105, 218), (130, 80, 223), (27, 124, 131), (110, 119, 129),
    ],
)  # fmt: skip


def draw(text: str, title: str, lines: int, path: Path) -> None:
    """Write the first lines of a Markdown text as an SVG.

    Args:
        text: Markdown.
        title: The title of the picture.
        lines: How many rendered lines to show; a note says that the rest is left out.
        path: The file to write.
    """
    shown = Console(
        width=_WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor", legacy_windows=False
    )
    rendered = shown.render_lines(Markdown(re.sub(r"<!--.*?-->\n*", "", text, flags=re.DOTALL)), pad=False)
    console = Console(width=_WIDTH, file=io.StringIO(), record=True, force_terminal=True, color_system="truecolor")
    blank = [not "".join(segment.text for segment in line).strip() for line in rendered]
    # Merge consecutive empty lines.
    rendered = [
        line for number, line in enumerate(rendered) if not (blank[number] and (not number or blank[number - 1]))
    ]
    for line in rendered[:lines]:
        for segment in line:
            console.print(segment.text, style=segment.style or "", end="", markup=False, highlight=False)
        console.print()
    if len(rendered) > lines:
        console.print(f"... {len(rendered) - lines} lines more", style="bright_black", highlight=False)
    # Forges do not load fonts from other servers.
    drawn = re.sub(r"@font-face \{.*?\}", "", console.export_svg(title=title, theme=_LIGHT), flags=re.DOTALL)
    path.write_text(drawn, encoding="utf-8")
