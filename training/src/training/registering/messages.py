"""The messages to and from the process that opens a model; arrays are sent as separate files."""

from typing import Literal

from msgspec import Struct

from modelformat.columns import Kind
from modelformat.mlmodel import Label, Labels, Task
from training.confinement import Bounds

# How a model is stored. `pickle` is any pickle, also of cloudpickle and joblib.
Form = Literal["pickle", "skops", "onnx", "xgboost", "lightgbm", "catboost"]

REQUEST_FILE, OUTCOME_FILE = "request.json", "outcome.json"
TABLE_FILE, ANSWERS_FILE, TWIN_FILE, SKOPS_FILE = "table.parquet", "answers.npz", "model.onnx", "model.skops"


class ColumnGiven(Struct, frozen=True):
    """A column of the table: its name, its kind, and whether it has gaps."""

    name: str
    kind: Kind
    optional: bool


class Request(Struct, frozen=True, kw_only=True):
    """What to open, and how to test it.

    Attributes:
        path: The model's file.
        form: How it is stored.
        model_class: The class of a native file, if it is known.
        beside: A folder with further files of the model; empty if there is none.
        code: A folder of Python code that was logged with the model.
        columns: The table's columns without the target, in its order.
        rows: The number of rows of the table that are data; the difficult rows come after them.
        tolerance: The allowed difference of the ONNX form from the model: a probability, or a share of the values'
            standard deviation.
        trusted: Whether types that skops does not know may be constructed.
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
    """The result of opening a model.

    Attributes:
        problems: Why the model cannot be registered, in sentences; if there are any, the other fields may be empty.
        confinement: What confined the process, in words.
        kind: The class of the model.
        task: The task that it does.
        classes: Its labels, in the order of its probabilities; empty for regression.
        columns: The positions in the table of the columns that it takes, in its order.
        labels: How its label is decided.
        form: The stored form that gives the model's answers: an ONNX graph or a skops file.
        untrusted: Types in the skops file that serving does not trust by default.
        refuses_unknown: The positions (in `columns`) of the columns for which it refuses unknown texts.
        notes: Remarks for people, in sentences.
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
