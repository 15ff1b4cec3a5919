"""The columns that an Arrow IPC stream declares in its schema (Arrow's `Schema.fbs`)."""

from struct import unpack_from

import msgspec

from serving.arrow_messages import TableError, number, table, tables

# The positions of fields in Schema.fbs.
_ENDIANNESS, _FIELDS = 0, 1
_NAME, _TYPE, _DETAILS, _DICTIONARY = 0, 2, 3, 4
_ID, _INDEX = 0, 1
# Arrow's types, in the order of the union `Type`.
_NAMES = (
    "none", "null", "int", "float", "binary", "string", "bool", "decimal128", "date", "time", "timestamp", "interval",
    "list", "struct", "union", "fixed size binary", "fixed size list", "map", "duration", "large binary",
    "large string", "large list", "run end encoded", "binary view", "string view", "list view", "large list view",
)  # fmt: skip
_NULL, _INT, _FLOAT, _TEXT, _BOOL, _DATE, _MOMENT, _LARGE_TEXT = 1, 2, 3, 5, 6, 8, 10, 20
_PLAIN = {_TEXT: ("text", "<i4"), _LARGE_TEXT: ("text", "<i8"), _BOOL: ("bool", "u1"), _NULL: ("null", "")}
_FLOATS = ("<f2", "<f4", "<f8")
# How dates and timestamps of each unit are stored, and how many of the unit make a second.
_DATES: tuple[tuple[str, float], ...] = (("<i4", 1 / 86400), ("<i8", 1e3))
_MOMENTS: tuple[tuple[str, float], ...] = (("<i8", 1), ("<i8", 1e3), ("<i8", 1e6), ("<i8", 1e9))


class Column(msgspec.Struct, frozen=True):
    """A column: its name, its Arrow type, and how its values are stored.

    Attributes:
        kind: How it is read: `number`, `text`, `bool`, `moment` or `null`. Empty if its type is not supported.
        stored: The NumPy type of its values, or of the ends of its texts.
        in_a_second: For moments, how many units make a second.
        dictionary: The id of the dictionary that has its values. None if the column has them itself.
        places: The NumPy type of its indices in that dictionary.
    """

    name: str
    type: str
    kind: str = ""
    stored: str = ""
    in_a_second: float = 1.0
    dictionary: int | None = None
    places: str = ""


def columns(body: bytes, schema: int) -> list[Column]:
    """Read the columns from the schema's table at a position in the body.

    Raises:
        TableError: if its numbers are big-endian, or a name is not UTF-8.
        IndexError, struct.error: if it points outside the stream.
    """
    if number(body, schema, _ENDIANNESS, "<h"):
        raise TableError("its numbers are big-endian; send them little-endian")
    return [_column(body, at) for at in tables(body, schema, _FIELDS)]


def _column(body: bytes, at: int) -> Column:
    kind, details = number(body, at, _TYPE, "<B"), table(body, at, _DETAILS)
    name = _text(body, table(body, at, _NAME))
    found = Column(name, _NAMES[kind] if kind < len(_NAMES) else f"type {kind}")
    if details:
        found = _stored(body, found, kind, details)
    encoding = table(body, at, _DICTIONARY)
    if not encoding:
        return found
    index = table(body, encoding, _INDEX)
    places = _integer(body, index) if index else "<i4"
    return msgspec.structs.replace(found, dictionary=number(body, encoding, _ID), places=places)


def _stored(body: bytes, column: Column, kind: int, details: int) -> Column:
    if kind in {_DATE, _MOMENT}:
        # The schema leaves out the default unit, which is milliseconds for dates.
        unit = number(body, details, 0, "<h", int(kind == _DATE))
        units = _DATES if kind == _DATE else _MOMENTS
        if not 0 <= unit < len(units):
            raise IndexError
        stored, in_a_second = units[unit]
        return msgspec.structs.replace(column, kind="moment", stored=stored, in_a_second=in_a_second)
    if kind == _FLOAT:
        precision = number(body, details, 0, "<h")
        return msgspec.structs.replace(column, kind="number", stored=_FLOATS[abs(precision)])
    if kind == _INT:
        return msgspec.structs.replace(column, kind="number", stored=_integer(body, details))
    name, stored = _PLAIN.get(kind, ("", ""))
    return msgspec.structs.replace(column, kind=name, stored=stored)


def _integer(body: bytes, details: int) -> str:
    bits, signed = number(body, details, 0, "<i"), number(body, details, 1, "<B")
    if bits not in {8, 16, 32, 64}:
        raise TableError(f"a column has integers of {bits} bits; send 8, 16, 32 or 64")
    return f"<{'i' if signed else 'u'}{bits // 8}"


def _text(body: bytes, at: int) -> str:
    if not at:
        return ""
    length = unpack_from("<I", body, at)[0]
    if at + 4 + length > len(body):
        raise IndexError
    try:
        return body[at + 4 : at + 4 + length].decode()
    except UnicodeDecodeError:
        raise TableError("the name of a column is not UTF-8") from None
