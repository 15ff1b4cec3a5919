"""The process that opens a foreign model: `python -m training.registering.child FOLDER`.

It is confined before it opens the model's file (see `training.confinement`). It reads its request and the table from
a folder, and writes its results there: the model's answers, its ONNX form or a skops file, and a report.
"""

import gc
import sys
import traceback
from pathlib import Path

import msgspec

from training.confinement import confine
from training.registering.messages import OUTCOME_FILE, REQUEST_FILE, Outcome, Request


def main() -> None:
    """Do what the request in the folder says, and always write an outcome."""
    folder = Path(sys.argv[1])
    request = msgspec.json.decode((folder / REQUEST_FILE).read_bytes(), type=Request)
    readable = [Path(place) for place in (request.path, request.beside, request.code) if place]
    confinement = confine(request.bounds, folder, readable)
    try:
        # While libraries load, garbage collection takes a seventh of the time and finds nothing.
        gc.disable()
        from training.registering.examination import examine  # noqa: PLC0415  (confined before libraries are loaded)

        gc.freeze()
        gc.enable()
        outcome = examine(request, folder)
    except MemoryError:
        outcome = Outcome(problems=("opening it needs more memory than is allowed; raise --memory-mb",))
    except BaseException as error:  # noqa: BLE001  (a foreign model may raise anything)
        traceback.print_exc()
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:400]
        outcome = Outcome(problems=(f"it cannot be opened or run here ({reason})",))
    outcome = msgspec.structs.replace(outcome, confinement=confinement)
    (folder / OUTCOME_FILE).write_bytes(msgspec.json.encode(outcome))


if __name__ == "__main__":
    main()
