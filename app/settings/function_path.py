"""The setting of a function, `package.module:function`: its form, and what was meant where it has another."""

from __future__ import annotations

import re


def is_function_path(text: str) -> bool:
    """Tell whether a text is `package.module:function`; the part behind the colon may be dotted, too.

    A module that is called `py` is not one: somebody has written the name of a file.
    """
    module, _, function = text.partition(":")
    names = (*module.split("."), *function.split("."))
    return all(map(str.isidentifier, names)) and not module.endswith(".py")


def spelling_hint(spec: str) -> str:
    """Say what to write in place of a path of a file, a dot for the colon, or another slip."""
    given = spec.strip().strip("\"'").replace("：", ":").replace("\\", "/")
    place, colon, function = given.removesuffix("()").rpartition(":")
    if not colon or "/" in function:  # no function; the colon, if any, is a drive's
        place, function = given.removesuffix("()"), ""
    if not colon and "/" not in place and not place.endswith(".py"):
        place, _, function = place.rpartition(".")
    names = [name for name in place.rstrip(":").removesuffix(".py").split("/") if name not in ("", ".")]
    is_elsewhere = given.startswith(("/", "~")) or ".." in names or ":" in place.rstrip(":")
    module = ".".join(names[-1:] if is_elsewhere else names)
    guess = f"{module}:{function.strip() or 'callback'}"
    if guess.count(":") > 1 or not all(name.isidentifier() for name in re.split("[.:]", guess)):
        return "write the module, a colon and the function's name, such as models.load:callback"
    hint = f"write {guess}" if function else f"write {guess}, with your function's name behind the colon"
    return f"{hint}, and put {place.rpartition('/')[0] or '/'} on PYTHONPATH" if is_elsewhere else hint
