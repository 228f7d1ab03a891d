"""List files, globs, folders and the table of strings."""

import pickle

import numpy as np
import pytest

from input_pipeline.errors import DataError
from input_pipeline.partitions import lists
from input_pipeline.sources import string_table
from input_pipeline.sources.string_table import StringIndex, StringTable


@pytest.mark.parametrize(
    "text",
    [
        "a.jpg a.png\nb.jpg b.png\n",
        "a.jpg a.png\r\nb.jpg b.png\r\n",
        "\n  a.jpg   a.png  \n\n\nb.jpg\tb.png\n\n",
        "\ufeffa.jpg a.png\nb.jpg b.png",
    ],
    ids=["plain", "crlf", "blank lines", "byte order mark"],
)
def test_pairs(folder, text):
    path = folder.write("list.txt", text)
    assert lists.read_pairs(path, field="f") == (["a.jpg", "b.jpg"], ["a.png", "b.png"])
    assert list(lists.read_images(path, field="f")) == ["a.jpg", "b.jpg"]


def test_images_of_one_column_and_blanks_in_tabbed_paths(folder):
    path = folder.write("list.txt", "a.jpg\r\nb.jpg\r\n\r\n")
    assert list(lists.read_images(path, field="f")) == ["a.jpg", "b.jpg"]
    path = folder.write("list.txt", "my image.jpg\tits mask.png\n")
    assert lists.read_pairs(path, field="f") == (["my image.jpg"], ["its mask.png"])


@pytest.mark.parametrize(
    ("text", "line"),
    [("a.jpg a.png\nb.jpg\n", 2), ("\r\na.jpg a.png c.png\r\n", 2), ("my a.jpg my a.png\n", 1)],
)
def test_line_that_is_no_pair(folder, text, line):
    path = folder.write("list.txt", text)
    with pytest.raises(DataError, match=rf"list\.txt:{line}: expected one `image label` pair"):
        lists.read_pairs(path, field="data.labeled")


@pytest.mark.parametrize("text", ["", "\n \r\n"])
def test_empty_list(folder, text):
    path = folder.write("list.txt", text)
    with pytest.raises(DataError, match=r"list\.txt:1: the list is empty \(data\.val\)"):
        lists.read_pairs(path, field="data.val")
    with pytest.raises(DataError, match=r"list\.txt:1: the list is empty"):
        list(lists.read_images(path, field="data.unlabeled"))


def test_list_that_is_no_text(folder):
    with pytest.raises(DataError, match=r"0\.jpg: cannot be read as a text list"):
        list(lists.read_images(str(folder.root / "i/0.jpg"), field="data.unlabeled"))


def test_three_columns_of_images(folder):
    path = folder.write("list.txt", "a b c\n")
    with pytest.raises(DataError, match=r"list\.txt:1: expected one image path.*3 columns"):
        list(lists.read_images(path, field="data.unlabeled"))


def test_list_is_looked_for_in_root_then_in_working_directory(folder, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "own.txt").write_text("x")
    (elsewhere / "val.txt").write_text("x")
    monkeypatch.chdir(elsewhere)
    root = str(folder.root)
    assert lists.resolve_list("val.txt", root=root, field="f") == str(folder.root / "val.txt")
    assert lists.resolve_list("own.txt", root=root, field="f") == str(elsewhere / "own.txt")
    absolute = str(elsewhere / "val.txt")
    assert lists.resolve_list(absolute, root=root, field="f") == absolute
    with pytest.raises(DataError, match=r"data\.val = 'none\.txt': no such file or folder"):
        lists.resolve_list("none.txt", root=root, field="data.val")


def test_numbers_of_lines(folder):
    path = folder.write("list.txt", "\ufeffa.jpg\r\n\r\nb.jpg b.png\n\nc.jpg\n")
    expected = [(1, ["a.jpg"]), (3, ["b.jpg", "b.png"]), (5, ["c.jpg"])]
    assert list(lists.numbered_lines(path, field="f")) == expected


@pytest.mark.parametrize("ended", ["", "\n"])
def test_plain_paths_are_read_at_once(folder, ended):
    path = folder.write("list.txt", f"a.jpg\nsub/b.jpg\nx/c.d.jpg{ended}")
    assert list(lists.plain_paths(path)) == list(lists.read_images(path, field="f"))


@pytest.mark.parametrize(
    "line",
    ["", "a b", "a\tb", "a\r", "a\x1cb", "ä", "./a", "a/../b", "a//b", "a/./b", "/a", "a/", "a/."],
)
def test_other_paths_are_read_by_lines(folder, line):
    for lines in ([line, "x", "y"], ["x", line, "y"], ["x", "y", line]):
        path = folder.write("list.txt", "".join(f"{each}\n" for each in lines))
        assert lists.plain_paths(path) is None
    assert lists.plain_paths(folder.write("list.txt", "")) is None
    assert lists.plain_paths(str(folder.root / "absent.txt")) is None


def test_find_images_in_folder_and_by_glob(folder):
    (folder.root / "i/deep").mkdir()
    folder.save("i/deep/x.PNG", [[[1, 2, 3]]])
    folder.write("i/notes.txt", "no image")
    folder.write("i/.hidden.jpg", "")
    root = str(folder.root)
    expected = [f"{root}/i/{n}.jpg" for n in range(9)] + [f"{root}/i/deep/x.PNG"]
    assert lists.find_images("i", root=root, field="f") == expected
    assert lists.find_images("i/**", root=root, field="f") == expected
    assert lists.find_images("i/[12].jpg", root=root, field="f") == expected[1:3]
    with pytest.raises(DataError, match=r"data\.unlabeled = 'x/\*\.jpg': no image found"):
        lists.find_images("x/*.jpg", root=root, field="data.unlabeled")


def test_find_images_does_not_follow_a_link_in_circles(folder):
    (folder.root / "i/self").symlink_to(".")
    (folder.root / "other").mkdir()
    folder.write("other/x.png", "")
    (folder.root / "i/linked").symlink_to("../other")
    root = str(folder.root)
    expected = [f"{root}/i/{n}.jpg" for n in range(9)] + [f"{root}/i/linked/x.png"]
    assert lists.find_images("i", root=root, field="f") == expected


def test_find_images_takes_no_folders_and_roots_as_they_are(folder):
    root = folder.root / "a[1]"
    (root / "i/sub.png").mkdir(parents=True)
    for name in ("i/0.png", "i/sub.png/1.png"):
        (root / name).write_bytes(b"")
    for pattern in ("i", "i/**"):
        found = lists.find_images(pattern, root=str(root), field="f")
        assert found == [f"{root}/i/0.png", f"{root}/i/sub.png/1.png"]


def test_string_table_is_a_compact_sequence():
    strings = ["", "a/b.jpg", "grün/ß.png", "", "語"] * 3
    table = pickle.loads(pickle.dumps(StringTable(strings)))
    assert list(table) == strings
    assert len(table) == 15
    assert table[-1] == "語"
    assert table[1:4] == strings[1:4]
    with pytest.raises(IndexError):
        table[15]
    assert len(StringTable()) == 0
    many = StringTable(f"images/{number:08d}.jpg" for number in range(10_000))
    assert len(pickle.dumps(many)) < 10_000 * (8 + 19) + 1000


def test_string_table_takes_joins_and_splits_at_once(monkeypatch):
    monkeypatch.setattr(string_table, "_COPIED", 2)  # In several pieces.
    monkeypatch.setattr(string_table, "_SPLIT", 2)
    strings = ["", "a/b.jpg", "grün/ß.png", "", "語", "a"]
    table = StringTable(strings)
    places = np.array([5, 0, 2, 2, 4])
    assert list(table.take(places)) == [strings[place] for place in places]
    assert list(table.take(np.arange(1, 5))) == strings[1:5]
    assert len(table.take(np.zeros(0, np.int64))) == 0
    joined = StringTable.joined([table, StringTable(), table.take(places[:1])])
    assert list(joined) == [*strings, "a"]
    assert joined.take(np.arange(6)).equals(table)
    assert not joined.equals(table)
    assert not StringTable(["ab", "c"]).equals(StringTable(["a", "bc"]))
    assert [table.has(string) for string in ("", "語", "a", "b", "a/b")] == [True] * 3 + [False] * 2
    assert not StringTable().has("")
    rows = [("a b", "", "fine"), ("語", "x", "coarse")]
    text = "\n".join("\t".join(row) for row in rows).encode()
    for ended in (text, text + b"\n"):
        columns = StringTable.columns(ended, 3)
        assert [tuple(row) for row in zip(*columns, strict=True)] == rows
    assert [list(column) for column in StringTable.columns(b"", 3)] == [[], [], []]
    for wrong in (
        *(text + b"\n\n", b"a\tb\n", b"a\tb\tc\td\te\tf\n", b"a\n" * 3, b"a\na\tb\tc\td\te\n"),
        *(b"\n", b"a\tb\tc\n\n\n"),
    ):
        assert StringTable.columns(wrong, 3) is None
    assert list(StringTable.columns(b"\nab\n\nc\n\n", 1)[0]) == ["", "ab", "", "c", ""]
    assert list(StringTable.lines(b"\nab\n\nc\n\n")) == ["", "ab", "", "c", ""]
    assert len(StringTable.lines(b"")) == 0


def test_hashes_of_strings_depend_on_every_byte_and_on_nothing_else():
    pairs = [a + b for a in "abcdefgh" for b in "abcdefgh"]
    strings = [
        "",
        "\0",
        "\0\0",
        *"ab",
        *(8 * "x" + p for p in pairs),
        *(p + 9 * "x" for p in pairs),
    ]
    hashes = StringTable(strings).hashes()
    assert len(set(hashes.tolist())) == len(strings)
    alone = [StringTable([string]).hashes()[0] for string in strings]
    assert hashes.tolist() == alone
    many = StringTable(f"images/{number}.jpg" for number in range(100_000))
    assert len(set(many.hashes().tolist())) == len(many)
    assert many.hashes()[99_999] == StringTable(["images/99999.jpg"]).hashes()[0]
    assert StringTable().hashes().shape == (0,)


@pytest.mark.parametrize("buckets", [1, 2, None])
def test_string_index_finds_first_places_whatever_the_hashes(monkeypatch, buckets):
    if buckets:  # Different strings of the same hash are rare, but must be distinguished.
        monkeypatch.setattr(
            StringTable,
            "hashes",
            lambda table: np.array([len(x) % buckets for x in table], np.int64),
        )
    table = StringTable(["b", "aa", "", "ccc", "aa", "d", "aa", "d"])
    index = StringIndex(table)
    assert index.find(["d", "x", "aa", "", "yy", "b"]).tolist() == [5, -1, 1, 2, -1, 0]
    assert index.repeated() == "aa"
    assert StringIndex(["a", "b"]).repeated() is None
    empty = StringIndex(StringTable())
    assert empty.find(["a"]).tolist() == [-1]
    assert empty.repeated() is None
    assert index.find([]).tolist() == []
