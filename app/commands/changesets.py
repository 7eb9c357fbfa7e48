"""`nextbest changesets`: change sets of a service: made of files, looked at, approved and applied."""

from pathlib import Path
from typing import Any

import typer

from app.commands.catalog import can_ask, print_differences
from app.commands.remote import KEY_FILE_OPTION, KEY_OPTION, URL_OPTION, Remote, remote
from app.commands.terminal import fail, read_file
from app.config import get_settings
from decisioning.catalog.diff import Difference
from decisioning.catalog.yaml_document import MAX_BYTES

app = typer.Typer()

_ID = typer.Argument(..., min=1, help="the number of the change set, see `list`")
_YES = typer.Option(False, "--yes", help="do not ask")
_NOTE = typer.Option("", help="for the trail of the change set")


@app.command("list")
def list_changesets(
    state: str | None = typer.Option(None, help="these alone, such as submitted"),
    limit: int = typer.Option(50, min=1, max=200, help="so many, the newest first"),
    url: str | None = URL_OPTION,
    key: str | None = KEY_OPTION,
    key_file: Path | None = KEY_FILE_OPTION,
) -> None:
    """Show change sets: number, state, author and title."""
    params = {"limit": limit} | ({"state": state} if state else {})
    found = _service(url, key, key_file).call("GET", "/v1/changesets", params=params).json()
    for one in found["changesets"]:
        typer.echo(_line(one))


@app.command()
def show(
    number: int = _ID,
    url: str | None = URL_OPTION,
    key: str | None = KEY_OPTION,
    key_file: Path | None = KEY_FILE_OPTION,
) -> None:
    """Show a change set: its items, and who did what with it and when."""
    found = _service(url, key, key_file).call("GET", f"/v1/changesets/{number}").json()
    typer.echo(_line(found))
    for item in found["items"]:
        typer.echo(f"    {'-' if item['removal'] else '~'} {item['kind']}/{item['id']}")
    for step in found["trail"]:
        about = f" {step['kind']}/{step['id']}" if step["kind"] else ""
        note = f": {step['note']}" if step["note"] else ""
        typer.echo(f"{step['done_at']}  {step['author']}  {step['action'].replace('_', ' ')}{about}{note}")


@app.command()
def diff(
    number: int = _ID,
    url: str | None = URL_OPTION,
    key: str | None = KEY_OPTION,
    key_file: Path | None = KEY_FILE_OPTION,
) -> None:
    """Show what a change set changes, value by value and in words, and what others have changed since."""
    _print_diff(_service(url, key, key_file), number)


@app.command()
def propose(
    file: Path = typer.Argument(
        ..., help="a YAML file, as `catalog export` writes it; - is the standard input"
    ),
    title: str = typer.Option(..., help="the title of the change set"),
    note: str = typer.Option("", help="for those who look at it"),
    delete: bool = typer.Option(False, "--delete", help="delete what the file does not have"),
    url: str | None = URL_OPTION,
    key: str | None = KEY_OPTION,
    key_file: Path | None = KEY_FILE_OPTION,
) -> None:
    """Make a change set of what applying a file would change, to be submitted and approved."""
    made = (
        _service(url, key, key_file)
        .call(
            "POST",
            "/v1/catalog/changeset",
            params={"title": title, "note": note, "delete": delete},
            headers={"Content-Type": "application/yaml"},
            content=read_file(file, str, MAX_BYTES).encode(),
            file=str(file),
        )
        .json()
    )
    typer.echo(f"change set {made['changeset_id']} is a draft: {title}")


@app.command()
def submit(
    number: int = _ID,
    note: str = _NOTE,
    url: str | None = URL_OPTION,
    key: str | None = KEY_OPTION,
    key_file: Path | None = KEY_FILE_OPTION,
) -> None:
    """Submit a draft to be approved; what is wrong with it is said."""
    typer.echo(_line(_act(_service(url, key, key_file), number, "submit", note)))


@app.command()
def approve(
    number: int = _ID,
    yes: bool = _YES,
    note: str = _NOTE,
    url: str | None = URL_OPTION,
    key: str | None = KEY_OPTION,
    key_file: Path | None = KEY_FILE_OPTION,
) -> None:
    """Show what a change set changes, and approve just that, as another person than those who wrote it."""
    typer.echo(_line(_looked_at(_service(url, key, key_file), number, "approve", note, yes)))


@app.command()
def apply(
    number: int = _ID,
    yes: bool = _YES,
    note: str = _NOTE,
    url: str | None = URL_OPTION,
    key: str | None = KEY_OPTION,
    key_file: Path | None = KEY_FILE_OPTION,
) -> None:
    """Show what a change set changes, and publish it as one version of the catalogue."""
    answer = _looked_at(_service(url, key, key_file), number, "apply", note, yes)
    typer.echo(f"the catalogue is at version {answer['catalog_version']}")


def _service(url: str | None, key: str | None, key_file: Path | None) -> Remote:
    # Always a service: whose key it is tells who approves, which a user of a database could say at will.
    settings = get_settings()
    found = remote(url or f"http://{settings.host}:{settings.port}", key, key_file)
    assert found is not None
    return found


def _looked_at(service: Remote, number: int, action: str, note: str, yes: bool) -> Any:
    """Do something with the revision of a change set that is shown, after a question."""
    tag = service.call("GET", f"/v1/changesets/{number}").headers["ETag"]
    _print_diff(service, number)
    if not yes:
        if not can_ask():
            fail("nothing was done: there is nobody to ask, so say --yes")
        typer.confirm(f"{action.capitalize()} change set {number}?", abort=True)
    return _act(service, number, action, note, {"If-Match": tag})


def _act(service: Remote, number: int, action: str, note: str, headers: dict[str, str] | None = None) -> Any:
    path = f"/v1/changesets/{number}/{action}"
    return service.call(
        "POST", path, json={"note": note}, headers=headers, file=f"change set {number}"
    ).json()


def _print_diff(service: Remote, number: int) -> None:
    found = service.call("GET", f"/v1/changesets/{number}/diff").json()
    print_differences(Difference(**difference) for difference in found["differences"])
    for line in found["words"]:
        typer.secho(line, fg=typer.colors.RED if line.lstrip().startswith("!") else None)
    for overlap in found["overlaps"]:
        typer.secho(f"others have changed {overlap['path']} meanwhile:", fg=typer.colors.YELLOW)
        print_differences(Difference(**difference) for difference in overlap["theirs"])


def _line(of: Any) -> str:
    state = of["state"].replace("_", " ")
    approved = f" (approved by {of['approved_by']})" if of["approved_by"] else ""
    return f"{of['changeset_id']}  {state}{approved}  {of['author']}  {of['title']}"
