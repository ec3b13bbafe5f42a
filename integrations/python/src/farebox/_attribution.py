"""Whose a call is, as headers."""

from collections.abc import Mapping

# Farebox keeps so much of a value.
VALUE_BYTES_MAX = 256


def headers(
    *,
    organisation: str | None = None,
    team: str | None = None,
    project: str | None = None,
    user: str | None = None,
    end_user: str | None = None,
    session: str | None = None,
    run: str | None = None,
    environment: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The `x-farebox-*` headers that say this. What is None is not said.

    Raises ValueError for a text that no header can hold.
    """
    said = {
        "organisation": organisation,
        "team": team,
        "project": project,
        "user": user,
        "end-user": end_user,
        "session": session,
        "run": run,
        "environment": environment,
    }
    said |= {f"tag-{name}": value for name, value in (tags or {}).items()}
    return {f"x-farebox-{name}": _checked(name, value) for name, value in said.items() if value is not None}


def _checked(name: str, value: str) -> str:
    if not name.replace("-", "").replace("_", "").replace(".", "").isalnum() or not name.isascii():
        raise ValueError(f"{name!r} cannot be the name of a header: letters, digits, '.', '_' and '-' only")
    if not value or not value.isascii() or not value.isprintable() or len(value) > VALUE_BYTES_MAX:
        raise ValueError(f"the value of {name!r} must be 1 to {VALUE_BYTES_MAX} printable ASCII letters")
    return value
