"""The messages to and from the process that opens a model; arrays are sent as separate files."""

from typing import Literal

from msgspec import Struct

from modelformat.columns import Kind
from modelformat.mlmodel import Label, Labels, Task
from training.confinement import Bounds

# How a model is stored. `pickle` is any pickle, of cloudpickle and joblib too.
Form = Literal["pickle", "skops", "onnx", "xgboost", "lightgbm", "catboost"]

REQUEST_FILE, OUTCOME_FILE = "request.json", "outcome.json"
TABLE_FILE, ANSWERS_FILE, TWIN_FILE, SKOPS_FILE = "table.parquet", "answers.npz", "model.onnx", "model.skops"


class ColumnGiven(Struct, frozen=True):
    """A column of the table: its name, what it holds, and whether it has gaps."""

    name: str
    kind: Kind
    optional: bool


class Request(Struct, frozen=True, kw_only=True):
    """What to open, and by which table to try it.

    Attributes:
        path: The file that holds the model.
        form: How it is stored.
        model_class: The class that a native file belongs to, where one is told.
        beside: A folder of other files that belong to the model; empty where there is none.
        code: A folder of Python code that was logged with the model.
        columns: The table's columns but the target, in its order.
        rows: How many of the table's rows are data; those after them are the difficult ones.
        tolerance: How far the ONNX form may be from the model, as a share of 1, or of the values' standard deviation.
        trusted: Whether types that skops does not know may be made.
    """

    path: str
    form: Form
    model_class: str = ""
    beside: str = ""
    code: str = ""
    columns: tuple[ColumnGiven, ...]
    rows: int
    tolerance: float
    trusted: bool
    bounds: Bounds


class Outcome(Struct, frozen=True, kw_only=True):
    """What was found.

    Attributes:
        problems: Why the model cannot be taken, a sentence each; the other fields are only filled where there is none.
        confinement: What kept the process, in words.
        kind: The class of the model.
        task: What it does.
        classes: Its labels, in the order of its probabilities; empty for regression.
        columns: The columns that it takes, in its order, by their places in the table.
        labels: How its label is found.
        form: Whether there is an ONNX form that answers alike, or a skops file.
        untrusted: Types of the skops file that serving does not trust by itself.
        refuses_unknown: Places (in `columns`) of the texts of which it takes none that it has not seen.
        notes: What should be known of it.
    """

    problems: tuple[str, ...] = ()
    confinement: str = ""
    kind: str = ""
    task: Task = "classification"
    classes: tuple[Label, ...] = ()
    columns: tuple[int, ...] = ()
    labels: Labels = "largest"
    form: Literal["onnx", "skops"] = "onnx"
    untrusted: tuple[str, ...] = ()
    refuses_unknown: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
