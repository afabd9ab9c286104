import contextlib
import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visarch.data.sheet import read_sheet
from visarch.errors import UserError


def sheet(path, content, encoding="utf-8"):
    path.mkdir(exist_ok=True)
    file = path / "labels.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return read_sheet(file)


def values(read):
    return [(row.file, row.label, row.split, row.vector) for row in read.rows]


PLAIN = [("1.png", "cat", "", None), ("2.png", "dog", "", None)]


@pytest.mark.parametrize(
    "content",
    [
        "file,label\n1.png,cat\n2.png,dog\n",
        "file,label\r\n1.png,cat\r\n2.png,dog",
        "file,label\r1.png,cat\r2.png,dog\r",
        "\ufefffile,label\n1.png,cat\n2.png,dog\n",
        "File, Label\n 1.png , cat\n2.png,dog\n\n  ,\n",
        "file;label\n1.png;cat\n2.png;dog\n",
        "file\tlabel\n1.png\tcat\n2.png\tdog\n",
        "file|label\n1.png|cat\n2.png|dog\n",
        "sep=;\r\nfile;label\r\n1.png;cat\r\n2.png;dog\r\n",
        '"file","label"\n"1.png","cat"\n2.png,"dog"\n',
        "label,file\ncat,1.png\ndog,2.png\n",
        "file_name,label\n1.png,cat\n2.png,dog\n",
        "filename,class\n1.png,cat\n2.png,dog\n",
        "1.png,cat\n2.png,dog\n",
        "file,label,\n1.png,cat,\n2.png,dog,\n",
        "file,label\n1.png,cat,\n2.png,dog,,\n",
    ],
)
def test_ways_to_write_the_same_table(tmp_path, content):
    read = sheet(tmp_path, content)
    assert values(read) == PLAIN
    assert read.errors == []
    assert read.vector_names is None


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_encodings(tmp_path, encoding):
    read = sheet(tmp_path, "file,label\nä.png,Käfer\n", encoding)
    assert values(read) == [("ä.png", "Käfer", "", None)]
    assert bool(read.reasons) == (encoding == "cp1252")


def test_cells_in_quotation_marks_may_hold_anything(tmp_path):
    read = sheet(tmp_path, 'file,label\n"a, b.png","say ""cat"""\n"two\nlines.png",dog\n')
    assert values(read) == [
        ("a, b.png", 'say "cat"', "", None),
        ("two\nlines.png", "dog", "", None),
    ]
    assert [row.line for row in read.rows] == [2, 4]


def test_columns_of_numbers_are_the_vector(tmp_path):
    read = sheet(
        tmp_path, "file,age,label,dose,note,\n1.png,34,cat,-5e-1,ok,\n2.png,+7,dog,.25,,\n"
    )
    assert read.vector_names == ("age", "dose")
    assert values(read) == [("1.png", "cat", "", (34.0, -0.5)), ("2.png", "dog", "", (7.0, 0.25))]
    assert ("columns", "note, one without a name") in [reason[:2] for reason in read.reasons]


def test_decimal_commas_where_semicolons_separate(tmp_path):
    assert values(sheet(tmp_path, "file;dose\n1.png;0,5\n2.png;1.5\n"))[0][3] == (0.5,)


@pytest.mark.parametrize(
    ("content", "row", "names"),
    [
        ("1.png,3\n2.png,4\n", ("1.png", "3", "", None), None),
        ("1.png,0.5\n2.png,4\n", ("1.png", None, "", (0.5,)), ("v1",)),
        ("1.png,3,4\n2.png,4,5\n", ("1.png", None, "", (3.0, 4.0)), ("v1", "v2")),
        ("1.png,cat,4\n2.png,4,5\n", ("1.png", "cat", "", (4.0,)), ("v1",)),
        ("1.png\n2.png\n", ("1.png", None, "", None), None),
    ],
)
def test_without_a_header(tmp_path, content, row, names):
    read = sheet(tmp_path, content)
    assert values(read)[0] == row
    assert len(read.rows) == 2
    assert read.vector_names == names
    assert "has no header" in read.reasons[0][2]


def test_splits(tmp_path):
    read = sheet(tmp_path, "file,split\n1.png,Train\n2.png,val\n3.png,testing\n4.png,dev\n5.png,\n")
    assert [row.split for row in read.rows] == ["train", "validation", "test"]
    assert read.errors == [
        "line 5: split is 'dev'; it must be train, validation or test",
        "line 6: split is ''; it must be train, validation or test",
    ]
    assert sheet(tmp_path, "file,split\n1.png,\n2.png,\n").errors == []


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("file,age\n1.png,34\n2.png,n/a\n3.png,5\n", "line 3: age is 'n/a', which is no finite"),
        ("file,age\n1.png,34\n2.png,\n3.png,5\n", "line 3: age is '', which is no finite number"),
        ("file,age\n1.png,34\n2.png,nan\n3.png,5\n", "line 3: age is 'nan'"),
        ("file,age\n1.png,34\n2.png,1e999\n3.png,5\n", "line 3: age is '1e999'"),
        ("file,age\n1.png,34\n2.png,1_0\n3.png,5\n", "line 3: age is '1_0'"),
        ("file,label\n1.png,cat,x\n2.png,dog\n", "line 2 has 3 cells where 2 are named"),
        ("file,label\n1.png\n2.png,dog\n", "line 2 has 1 cells where 2 are named"),
        ("file,label\n,cat\n2.png,dog\n", "line 2 names no file"),
    ],
)
def test_rows_that_must_be_mended_are_named(tmp_path, content, error):
    read = sheet(tmp_path, content)
    assert len(read.errors) == 1
    assert read.errors[0].startswith(error)
    assert all(row.file for row in read.rows)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no rows"),
        ("\n ,\n", "has no rows"),
        ("name,label\n1.png,cat\n", "has the columns name, label; one must be called file"),
        ("file,file\n1.png,2.png\n", "two columns called file"),
        ("file,age,age\n1.png,2,3\n", "two columns called age"),
        ('file,label\n1.png,"cat\n', "is no proper CSV: line 2: unexpected end of data"),
        ('file,label\n1.png,"c"at\n', "is no proper CSV: line 2"),
        (b"PK\x03\x04\0\0\0\0", "is no text; save the table as CSV"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        sheet(tmp_path, content)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match="cannot be read: No such file"):
        read_sheet(tmp_path / "labels.csv")


CELL = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=6)
NUMBER = st.floats(-1e6, 1e6, width=32)


@given(
    rows=st.lists(st.tuples(CELL, CELL, NUMBER, NUMBER), min_size=1, max_size=5),
    delimiter=st.sampled_from(",;\t|"),
    ending=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_whatever_a_writer_writes_is_read_back(tmp_path_factory, rows, **style):
    text = io.StringIO(newline="")
    writer = csv.writer(
        text,
        delimiter=style["delimiter"],
        lineterminator=style["ending"],
        quoting=style["quoting"],
    )
    writer.writerow(["file", "label", "a", "b"])
    writer.writerows(rows)
    read = sheet(tmp_path_factory.mktemp("csv"), text.getvalue(), style["encoding"])
    assert read.errors == []
    assert values(read) == [(file, label, "", (a, b)) for file, label, a, b in rows]


@given(st.binary(max_size=60) | st.text('file,label\n;"1.png\r', max_size=40))
def test_any_bytes_are_read_or_refused_in_a_sentence(tmp_path_factory, content):
    with contextlib.suppress(UserError):
        assert all(row.file for row in sheet(tmp_path_factory.mktemp("csv"), content).rows)
