"""The process that opens a model of somebody else's: `python -m training.registering.child FOLDER`.

It is confined before the model's file is opened (see `training.confinement`), reads its request and the table from a
folder, and leaves there what it found: the answers of the model, its ONNX form or a skops file, and a report.
"""

import gc
import sys
import traceback
from pathlib import Path

import msgspec

from training.confinement import confine
from training.registering.messages import OUTCOME_FILE, REQUEST_FILE, Outcome, Request


def main() -> None:
    """Do what the request in the folder says, and write an outcome whatever happens."""
    folder = Path(sys.argv[1])
    request = msgspec.json.decode((folder / REQUEST_FILE).read_bytes(), type=Request)
    readable = [Path(place) for place in (request.path, request.beside, request.code) if place]
    confinement = confine(request.bounds, folder, readable)
    try:
        # A seventh of the time that libraries take to load goes into looking for garbage among what stays.
        gc.disable()
        from training.registering.examination import examine  # noqa: PLC0415  (confined before libraries are loaded)

        gc.freeze()
        gc.enable()
        outcome = examine(request, folder)
    except MemoryError:
        outcome = Outcome(problems=("opening it needs more memory than is allowed; raise --memory-mb",))
    except BaseException as error:  # noqa: BLE001  (code of somebody else's raises what it likes)
        traceback.print_exc()
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:400]
        outcome = Outcome(problems=(f"it cannot be opened or run here ({reason})",))
    outcome = msgspec.structs.replace(outcome, confinement=confinement)
    (folder / OUTCOME_FILE).write_bytes(msgspec.json.encode(outcome))


if __name__ == "__main__":
    main()
