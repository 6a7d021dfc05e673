"""How a command ends: with a sentence instead of a traceback, and a code that scripts can use."""

import io
import os
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import typer

from entropic.errors import EntropicError, EntropicWarning, ModelError, ParameterError, RunsFailedWarning, StoreError
from entropic.support.show import visible

FINE, FOUND, USAGE, NOTHING, INTERRUPTED, PIPE = 0, 1, 2, 5, 130, 141


_UNWRITTEN = "the output cannot be written"


class UsageError(Exception):
    """The command was used wrongly; the text says how to use it."""


def say(text: str) -> None:
    """Print to stderr."""
    print(visible(text), file=sys.stderr)


def end(code: int, text: str = "") -> NoReturn:
    """End the command."""
    if text:
        say(text)
    raise typer.Exit(code)


def prepare_output() -> None:
    """Let stdout escape what its character set has not; end if there is none, since a file might take its place."""
    if sys.stdout is None:
        say(f"entropic: {_UNWRITTEN}: it is closed")
        raise SystemExit(USAGE)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _drop_output() -> str | None:
    """Return why nothing can be written to stdout, and let it go nowhere, where the exit's flush does not fail."""
    try:
        sys.stdout.write("\n")  # which goes out at once where nothing is buffered
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return error.strerror or str(error)
    return None


@contextmanager
def errors_as_sentences(looks: bool = False) -> Iterator[None]:
    """Turn what the library raises into a sentence and a code; of a command that only looks nothing is stored."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RunsFailedWarning)  # the command says so itself

        def show(message: Any, category: Any, filename: str, lineno: int, *_: object) -> None:
            is_ours = issubclass(category, EntropicWarning)
            text = f"warning: {message}" if is_ours else warnings.formatwarning(message, category, filename, lineno)
            say(text.rstrip())

        warnings.showwarning = show  # type: ignore[assignment]  # of the shape that it is called in
        try:
            yield
        except UsageError as error:
            end(USAGE, f"entropic: {error}" if "\n" not in str(error) else str(error))
        except KeyboardInterrupt:
            end(INTERRUPTED, "entropic: interrupted" + ("" if looks else "; finished runs are stored"))
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nor may the exit flush into it
            end(PIPE)
        except EntropicError as error:
            wrong = isinstance(error, ParameterError | ModelError | StoreError)
            end(USAGE if wrong else FOUND, f"entropic: {error}")
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:  # noqa: BLE001  (a fault of ours, or of what a script has in the store)
            # What could not be written is still to be; after errors of entropic's own, some of which are OSErrors.
            if isinstance(error, OSError) and (reason := _drop_output()) is not None:
                end(USAGE, f"entropic: {_UNWRITTEN}: {reason}")
            end(FOUND, traceback.format_exc().rstrip())
