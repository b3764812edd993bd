"""Conditions mean what Python means, row by row, but for values that are absent."""

import contextlib
import operator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medssl.artifacts import archive, tables
from medssl.data import conditions
from medssl.foundation.errors import UsageError

TEXTS = ("CT", "MR", "it's", "µ")
FLAGS = ("lossy", "gaps", "no_patient")
VALUES = ("0", "1", "1.0", "10", "-2.5", "none", "Ω")
ORDER = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
NUMBERS = st.integers(-3, 3) | st.sampled_from([0.5, -2.5, 1e9])


def archive_of(rows):
    """Tables of dicts with columns of images.parquet and the targets `finding` and `No Finding`."""
    images = [{"image_id": f"i{n}", **row} for n, row in enumerate(rows)]
    labels = [
        {"image_id": f"i{n}", "target": target, "value": row[target]}
        for n, row in reversed(list(enumerate(rows)))  # labels may stand in any order
        for target in ("finding", "No Finding")
        if target in row
    ]
    labels += [
        {"image_id": "elsewhere", "target": target, "value": "1"}
        for target in ("finding", "No Finding")
    ]
    return (
        tables.build(
            [{k: v for k, v in row.items() if k in archive.IMAGES.names} for row in images],
            archive.IMAGES,
        ),
        tables.build(labels, archive.LABELS),
    )


def rows_of(absent):
    """Rows; with ``absent``, any value may be."""

    def maybe(values):
        return st.none() | values if absent else values

    known = {
        "modality": maybe(st.sampled_from(TEXTS)),
        "slice_index": maybe(st.integers(-3, 3)),
        "kvp": maybe(st.sampled_from([-2.5, 0.5, 1.0, 120.0])),
        "lossy": maybe(st.booleans()),
        "flags": maybe(st.lists(st.sampled_from(FLAGS), max_size=2)),
        "finding": maybe(st.sampled_from(VALUES)),
        "No Finding": maybe(st.sampled_from(VALUES)),
    }
    row = st.fixed_dictionaries(known)
    if absent:  # an image without a row in the label table
        row |= row.map(lambda found: {k: v for k, v in found.items() if "inding" not in k})
    return st.lists(row, min_size=1, max_size=6)


def known(compare):
    """Return what a comparison says of a cell, or None where the cell is absent."""
    return lambda cell: None if cell is None else compare(cell)


def ordered(text, column, values, of=lambda cell: cell):
    """`column < value`, or the other way round."""

    def build(sign, value, swap):
        words = f"{value!r} {sign} {text}" if swap else f"{text} {sign} {value!r}"

        def says(cell):
            left, right = (value, of(cell)) if swap else (of(cell), value)
            return bool(ORDER[sign](left, right))

        return words, lambda row: known(says)(row.get(column))

    return st.builds(build, st.sampled_from(sorted(ORDER)), values, st.booleans())


def listed(text, column, values, of=lambda cell: cell):
    def build(chosen, inside):
        words = f"{text} {'in' if inside else 'not in'} {chosen!r}"
        return words, lambda row: known(lambda cell: (of(cell) in chosen) == inside)(
            row.get(column)
        )

    return st.builds(build, st.lists(values, max_size=3) | st.tuples(values), st.booleans())


def number(cell):
    try:
        return float(cell)
    except ValueError:
        return float("nan")


def leaves(*, absent):
    """Comparisons as (words, what each row says of them: True, False or None)."""
    texts, label = st.sampled_from(TEXTS), "label['No Finding']"
    found = [
        ordered("modality", "modality", texts),
        listed("modality", "modality", texts),
        ordered("slice_index", "slice_index", NUMBERS),
        listed("slice_index", "slice_index", NUMBERS),
        ordered("kvp", "kvp", NUMBERS),
        ordered("finding", "finding", st.sampled_from(VALUES)),
        listed("finding", "finding", st.sampled_from(VALUES)),
        ordered(label, "No Finding", st.sampled_from(VALUES)),
        st.builds(
            lambda low, high: (
                f"{low} <= slice_index < {high}",
                lambda row: known(lambda cell: low <= cell < high)(row["slice_index"]),
            ),
            NUMBERS,
            NUMBERS,
        ),
        st.builds(
            lambda flag, inside: (
                f"{flag!r} {'in' if inside else 'not in'} flags",
                lambda row: known(lambda cell: (flag in cell) == inside)(row["flags"]),
            ),
            st.sampled_from(FLAGS),
            st.booleans(),
        ),
        st.builds(
            lambda value, equal: (
                f"lossy {'==' if equal else '!='} {value}",
                lambda row: known(lambda cell: (cell == value) == equal)(row["lossy"]),
            ),
            st.booleans(),
            st.booleans(),
        ),
        st.builds(
            lambda name, no: (
                f"{name} is {'not ' if no else ''}None",
                lambda row: (row.get(name) is None) != no,
            ),
            st.sampled_from(["modality", "kvp", "lossy", "flags", "finding"]),
            st.booleans(),
        ),
    ]
    if absent:  # Python itself does not compare text with numbers
        found += [
            ordered("finding", "finding", NUMBERS, of=number),
            listed(label, "No Finding", NUMBERS, of=number),
        ]
    return st.one_of(found)


def negated(part):
    words, says = part

    def result(row):
        found = says(row)
        return None if found is None else not found

    return f"not ({words})", result


def joined(word, first, second):
    """`and` or `or`: one decides where it can, otherwise both have to be known."""
    decides = word == "or"

    def result(row):
        found = {first[1](row), second[1](row)}
        return decides if decides in found else None if None in found else not decides

    return f"({first[0]}) {word} ({second[0]})", result


def expressions(*, absent):
    def extend(parts):
        return parts.map(negated) | st.builds(joined, st.sampled_from(["and", "or"]), parts, parts)

    return st.recursive(leaves(absent=absent), extend, max_leaves=6)


@settings(max_examples=120)
@given(expression=expressions(absent=False), rows=rows_of(absent=False))
def test_a_condition_matches_where_python_says_true(expression, rows):
    """The text is run by Python itself on every row."""
    found = conditions.matches(expression[0], *archive_of(rows))
    for match, row in zip(found, rows, strict=True):
        assert match == eval(expression[0], {}, {**row, "label": row})


@settings(max_examples=120)
@given(expression=expressions(absent=True), rows=rows_of(absent=True))
def test_what_is_not_known_matches_nothing(expression, rows):
    """Three values of truth, computed row by row beside the text."""
    found = conditions.matches(expression[0], *archive_of(rows))
    assert found.dtype == bool
    assert found.tolist() == [expression[1](row) is True for row in rows]


def test_not_binds_closest_and_or_loosest():
    rows = [{"modality": m, "slice_index": n} for m in ("CT", "MR") for n in (0, 1, 2)]
    for text in (
        "modality == 'CT' or slice_index == 1 and not slice_index > 0",
        "not modality == 'CT' and slice_index == 1 or slice_index == 2",
        "modality == 'CT' and (slice_index == 1 or slice_index == 2)",
    ):
        expected = [eval(text, {}, row) for row in rows]
        assert conditions.matches(text, *archive_of(rows)).tolist() == expected


def test_nothing_but_is_none_matches_what_is_absent():
    images, labels = archive_of([{"modality": None}, {"modality": "CT", "finding": None}])
    for text, expected in (
        ("modality == 'CT'", [False, True]),
        ("not modality == 'CT'", [False, False]),
        ("modality != 'MR'", [False, True]),
        ("modality in []", [False, False]),
        ("modality not in []", [False, True]),
        ("'x' not in flags", [False, False]),
        ("modality is None", [True, False]),
        ("finding is None", [True, True]),
        ("finding == '1' or modality is not None", [False, True]),
    ):
        assert conditions.matches(text, images, labels).tolist() == expected, text


def test_a_column_goes_before_a_target_of_its_name():
    images = tables.build([{"image_id": "a", "site": "north"}], archive.IMAGES)
    labels = tables.build([{"image_id": "a", "target": "site", "value": "lung"}], archive.LABELS)
    assert conditions.matches("site == 'north'", images, labels).all()
    assert conditions.matches("label['site'] == 'lung'", images, labels).all()


def test_an_archive_without_images_or_labels_matches_nothing():
    images, labels = archive_of([])
    assert conditions.matches("modality == 'CT'", images, labels).shape == (0,)


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("", "", "not a condition"),
        ("modality == ", "", "not a condition"),
        ("modality = 'CT'", "", "not a condition"),
        ("modality", "character 1", "`modality` is no comparison"),
        ("True", "character 1", "`True` is no comparison"),
        ("lossy and kvp > 1", "character 1", "`lossy` is no comparison"),
        ("kvp > 1 and f(1)", "character 13", "`f(1)` is no comparison"),
        ("modalty == 'CT'", "character 1", "`modalty` is no column"),
        ("modality == 'µ' and fnding == 1", "character 21", "`fnding` is no column"),
        ("label['x'] == 1", "character 1", "`label['x']` is no column"),
        ("label.x == 1", "character 1", "`label.x` is no column"),
        ("__import__('os').system('id') == 0", "character 1", "is no column"),
        ("(lambda: 1)() == kvp", "character 1", "`(lambda: 1)()` is no value"),
        ("kvp == 1 if True else 2", "character 1", "is no comparison"),
        ("kvp + 1 == 2", "character 1", "`kvp + 1` is no column"),
        ("kvp == rows", "character 8", "`rows` is no value"),
        ("-kvp == 1", "character 9", "`1` is no column"),
        ("1 == 1", "character 6", "`1` is no column"),
        ("kvp == 2j", "character 8", "`2j` does not fit: kvp holds numbers"),
        ("kvp == '1'", "character 8", "kvp holds numbers"),
        ("kvp == True", "character 8", "kvp holds numbers"),
        ("modality == 1", "character 13", "modality holds text"),
        ("modality == -'a'", "character 13", "modality holds text"),
        ("modality in ['CT', 1]", "character 20", "modality holds text"),
        ("modality in ['CT', None]", "character 20", "NAME is None"),
        ("modality == None", "character 13", "NAME is None"),
        ("modality is 'CT'", "character 13", "only None can"),
        ("'C' in modality", "character 8", "holds no lists"),
        ("modality in 'CT'", "character 13", "`'CT'` is no column"),
        ("1 in flags", "character 1", "`1` is no text"),
        ("flags == 'gaps'", "character 10", "flags holds lists of text"),
        ("lossy < True", "character 9", "neither more nor less"),
        ("lossy == 1", "character 10", "lossy holds True or False"),
        ("finding == True", "character 12", "finding holds text or numbers"),
        ("spacing == 1", "character 12", "spacing holds nothing to compare"),
        ("kvp == f'{1}'", "character 8", "is no value"),
        ("[x for x in (1,)] == kvp", "character 1", "is no value"),
        ("(kvp := 1) == 1", "character 2", "`kvp := 1` is no column"),
        ("kvp == 1\0", "", "not a condition"),
        ("(" * 500, "", "not a condition"),
        ("not " * 100_000 + "kvp", "", "not a condition"),
        ("-" * 100_000 + "1 == kvp", "", "not a condition"),
    ],
)
def test_anything_else_is_refused_at_its_place(text, place, message):
    images, labels = archive_of([{"modality": "CT", "finding": "1"}])
    with pytest.raises(UsageError) as caught:
        conditions.matches(text, images, labels)
    assert message in caught.value.problem
    assert caught.value.where.startswith(place)
    assert len(caught.value.problem) < 200
    assert caught.value.fix


def test_a_refusal_lists_what_can_be_named_or_guesses_it():
    images, labels = archive_of([{"finding": "1"}])
    with pytest.raises(UsageError, match="did you mean 'modality'"):
        conditions.matches("modalty == 'CT'", images, labels)
    with pytest.raises(UsageError, match="did you mean 'finding'"):
        conditions.matches("label['fnding'] == 1", images, labels)
    with pytest.raises(
        UsageError, match=r"columns: image_id, .*, flags; targets: No Finding, finding"
    ):
        conditions.matches("f(1)", images, labels)


TOKENS = (
    "modality", "kvp", "flags", "lossy", "label", "spacing", "'CT'", "'[x]'", "1", "2.5", "None",
    "True", "==", "<", "in", "not", "is", "and", "or", "(", ")", "[", "]", ",", "-", "~", ".", ":",
    "if", "else", "lambda", "*", "f'{1}'", "b'x'", "...", ":=", "await", "\\", "'", "\n", "\0", "µ",
)  # fmt: skip


@settings(max_examples=300)
@given(words=st.lists(st.sampled_from(TOKENS), max_size=9) | st.text(max_size=12).map(list))
def test_any_text_is_a_condition_or_a_usage_error(words):
    images, labels = archive_of([{"modality": "CT", "kvp": 1.0, "lossy": True, "flags": ["gaps"]}])
    for text in ("".join(words), " ".join(words)):
        with contextlib.suppress(UsageError):
            assert conditions.matches(text, images, labels).shape == (1,)
