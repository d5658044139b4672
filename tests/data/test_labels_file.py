"""Labels as CSV and as JSON-lines."""

import pytest

from squeezekit.data.folder_layout import Part
from squeezekit.data.labels_file import read_labels
from squeezekit.system.errors import SqueezekitError


@pytest.fixture
def read(tmp_path):
    def read(content):
        file = tmp_path / "labels"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_labels(file)

    return read


def short(rows):
    return [(row.path, row.label, row.part) for row in rows]


@pytest.mark.parametrize(
    "content",
    [
        "path,label,split\na/1.jpg,cat,train\nb 2.jpg,dog,test\n",
        "\ufeffLabel;PATH;Split\r\ncat;./a//1.jpg;\r\n dog ;b 2.jpg;TEST\r\n",
        'label\tpath\tsplit\n"cat"\ta/1.jpg\ttrain\n\ndog\tb 2.jpg\ttest',
        '{"path": "a/1.jpg", "label": "cat"}\n\n{"path": "b 2.jpg", "label": "dog", "split": "test", "x": null}\n',
    ],
)
def test_all_ways_to_write_it(read, content):
    assert short(read(content)) == [("a/1.jpg", "cat", Part.TRAINING), ("b 2.jpg", "dog", Part.TEST)]


def test_numbers_are_labels_and_names_are_one_form(read):
    rows = read('{"path": "1.jpg", "label": 3, "patient": 7.5}\n{"path": "2.jpg", "label": "e\u0301"}\n')
    assert [row.label for row in rows] == ["3", "é"]
    assert rows[0].columns["patient"] == "7.5" and rows[0].line == 1 and rows[1].line == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file,label\na,b\n", "names no column 'path'; begin with: path,label"),
        ("", "names no column 'path'"),
        ("path,label\na.jpg\n", "line 2: has 1 columns, and the first line 2"),
        ('path,label\n"a.jpg,x\n', "not valid CSV"),
        ("path,label\n/etc/passwd,x\n", "line 2: '/etc/passwd' is no path relative to the folder"),
        ("path,label\nC:\\x.jpg,x\n", "is no path relative to the folder"),
        ("path,label\n,x\n", "is no path relative to the folder"),
        ("path,label\na/../../x.jpg,x\n", "line 2: '../x.jpg' leads out of the folder"),
        ("path,label\n..,x\n", "leads out of the folder"),
        ("path,label\na.jpg,x\n./a.jpg,y\n", "line 3: 'a.jpg' stands in line 2 already"),
        ("path,label\na.jpg, \n", "line 2: a label of 0 characters"),
        ("path,label\na.jpg," + "x" * 201, "a label of 201 characters"),
        ("path,label,split\na.jpg,x,holdout\n", "split 'holdout' is unknown; give train, val or test"),
        ("path,label\na\x1b.jpg,x\na\x1b.jpg,x\n", r"'a\\x1b.jpg' stands in line 2"),
        ('{"path": "a.jpg"}\n', "line 1: is no object with 'path' and 'label'"),
        ('{"path": "a.jpg", "label": "x"}\n[1]\n', "line 2: is no object"),
        ('{"path": "a.jpg", "label": ["x"]}\n', "line 1: 'label' is neither text nor a number"),
        ('{"path": "a.jpg", "label": NaN}\n', "line 1: not valid JSON"),
        ('{"path": "a.jpg", "label": "\\ud800"}\n', "half of a character"),
        ('{"path": ' + "[" * 100_000, "not valid JSON"),
        (b"path,label\n\xff.jpg,x\n", "is not UTF-8"),
    ],
)
def test_what_is_wrong_is_one_sentence(read, content, message):
    with pytest.raises(SqueezekitError, match=message) as raised:
        read(content)
    assert "\n" not in str(raised.value) and "\x1b" not in str(raised.value)
