"""Pages of results on disk."""

import pathlib


def save(page: str, path: pathlib.Path, drawing: tuple[str, str] | None = None) -> None:
    """Writes a page and, beside it, the name and text of the picture it shows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page)
    if drawing:
        name, text = drawing
        path.with_name(name).write_text(text)
    print(f"{path}: written")
