"""Text feeds without Spark: the dialect that is guessed, the records that are read, the lines that are set aside."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pytest

from vsspark.catalogue import csv_chunks, csv_records
from vsspark.catalogue.csv_chunks import decoded
from vsspark.catalogue.csv_dialect import Dialect, find_layout
from vsspark.catalogue.csv_records import read_pages
from vsspark.catalogue.hadoop_feed import read_contents
from vsspark.catalogue.text_feed import FILE, LINE, REASON, TEXT
from vsspark.config import CatalogueConfig, CsvConfig
from vsspark.errors import ConfigError

WANTED = ("product_id", "image")


def _read(content: str | bytes, default=",", **settings):
    """(layout, {line: cells}, [(line, text, reason)], blank rows)."""
    content = content.encode() if isinstance(content, str) else content
    layout = find_layout(content, True, CsvConfig(**settings), WANTED, default, "feed")
    blocks = decoded(io.BytesIO(content), layout.body, None, layout.dialect.encoding)
    pages = list(read_pages(blocks, layout.dialect, len(layout.columns), layout.body_line))
    records = {line: cells for page in pages for line, cells in zip(page.lines, page.records, strict=True)}
    return layout, records, [tuple(r) for page in pages for r in page.rejects], sum(page.blank for page in pages)


def _lines(rejects):
    return [line for line, _, _ in rejects]


@pytest.mark.parametrize("title", ['"Big Bang T-shirt', '"C" line', '12" vinyl', 'a "b"', '"x', '""'])
def test_quotes_in_a_tsv_are_text(title):
    rows = [f"P{i}\t{title if i % 7 == 3 else 'plain'}\t{i}.jpg" for i in range(30)]
    layout, records, rejects, _ = _read("product_id\ttitle\timage\n" + "\n".join(rows) + "\n", default="\t")
    assert not rejects
    assert [cells[2] for cells in records.values()] == [f"{i}.jpg" for i in range(30)]
    if title != '""':  # in quotes or not: an empty field is both
        assert records[5][1] == title
    assert (not layout.dialect.quote) == (title in ('"Big Bang T-shirt', '"C" line', '"x'))


def test_a_tsv_with_quoted_fields_is_read_as_one():
    _, records, rejects, _ = _read('product_id\timage\tabout\nA\t1.jpg\t"two\nlines, ""one"" tab\t"\n', default="\t")
    assert records == {2: ["A", "1.jpg", 'two\nlines, "one" tab\t']}
    assert not rejects


@pytest.mark.parametrize("quote", ["none", "", "off", False])
def test_no_quote_by_the_settings(quote):
    _, records, _, _ = _read('product_id,image\n"A","1.jpg"\n', quote=quote)
    assert records == {2: ['"A"', '"1.jpg"']}


def test_single_quotes_by_the_settings():
    _, records, _, _ = _read("product_id,image\n'A,B','1.jpg'\n", quote="'")
    assert records == {2: ["A,B", "1.jpg"]}


@pytest.mark.parametrize("ends", [("\r\n", "\n"), ("\n", "\r\n"), ("\r\n", "\r\n"), ("\r", "\r"), ("\r\r\n", "\n")])
def test_line_ends_are_no_part_of_a_field(ends):
    rows = "".join(f"{i}.jpg,P{i}{ends[i % 2]}" for i in range(30))
    _, records, rejects, _ = _read(f"image,product_id{ends[0]}{rows}")
    assert [cells[1] for cells in records.values()] == [f"P{i}" for i in range(30)]
    assert not rejects


def test_line_ends_inside_quotes_are():
    _, records, _, _ = _read('product_id,image,about\nA,1.jpg,"x\r\ny\n\nz"\r\nB,2.jpg,w\n')
    assert records == {2: ["A", "1.jpg", "x\r\ny\n\nz"], 6: ["B", "2.jpg", "w"]}


def test_short_and_long_rows_are_set_aside_with_their_lines():
    _, records, rejects, _ = _read("product_id,title,image\nA,red, blue,1.jpg\nB,2.jpg\nC,c,3.jpg\n")
    assert records == {4: ["C", "c", "3.jpg"]}
    assert rejects == [
        (2, "A,red, blue,1.jpg", "4 fields, the header has 3"),
        (3, "B,2.jpg", "2 fields, the header has 3"),
    ]


def test_a_backslash_before_a_quote():
    feed = 'product_id,title,image\nA,"12\\" vinyl, red",1.jpg\nB,"C:\\new \\\\ x",2.jpg\nC,\\N,3.jpg\n'
    layout, records, rejects, _ = _read(feed)
    assert layout.guesses
    assert (records[2], records[3], records[4]) == (
        ["A", '12" vinyl, red', "1.jpg"],
        ["B", "C:\\new \\ x", "2.jpg"],
        ["C", "\\N", "3.jpg"],
    )
    assert not rejects
    assert _read(feed, escape="\\")[1] == records
    _, records, rejects, _ = _read(feed, escape="none")
    assert _lines(rejects) == [2]
    assert "catalogue.csv.escape" in rejects[0][2]
    assert records[3] == ["B", "C:\\new \\\\ x", "2.jpg"]  # without an escape a backslash is a backslash


def test_an_unclosed_quote_costs_one_line():
    rows = [f"P{i},{i},{i}.jpg" for i in range(50)]
    rows[20] = 'P20,"twenty,20.jpg'
    rows[40] = 'P40,"forty"x,40.jpg'
    _, records, rejects, _ = _read("product_id,title,image\n" + "\n".join(rows), quote='"', escape="none")
    assert _lines(rejects) == [22, 42]
    assert len(records) == 48


def test_an_unclosed_quote_that_another_one_closes_swallows_no_row():
    feed = 'product_id,title,image\nA,"a,1.jpg\nB,b,2.jpg\nC,c,3.jpg\nD,d,"\nE,e,5.jpg\n'
    _, records, rejects, _ = _read(feed, quote='"', escape="none")
    assert set(records) >= {3, 4, 6}
    assert _lines(rejects)[0] == 2


@pytest.mark.parametrize(("separator", "name"), [(";", "semicolon"), ("\t", "tab"), ("|", "pipe")])
def test_the_separator_is_guessed_from_the_header_and_said(separator, name):
    row = [
        x.replace(",", separator)
        for x in ("product_id,image,name", "A,1.jpg,a; b| c" if name == "tab" else "A,1.jpg,x")
    ]
    layout, records, _, _ = _read("\n".join(row))
    assert layout.dialect.separator == separator
    assert any(name in guess and "catalogue.csv.separator" in guess for guess in layout.guesses)
    assert records[2][:2] == ["A", "1.jpg"]


def test_the_separator_of_a_feed_whose_columns_nobody_has_named():
    layout, records, _, _ = _read("SKU;Bild;Preis\n1;a.jpg;19,99\n2;b.jpg;5,00\n")
    assert layout.columns == ("SKU", "Bild", "Preis")
    assert records[2] == ["1", "a.jpg", "19,99"]


@pytest.mark.parametrize("given", ["tab", "\\t", "\t"])
def test_the_separator_by_the_settings(given):
    assert _read("product_id\timage,x\nA\t1.jpg\n", separator=given)[1] == {2: ["A", "1.jpg"]}


def test_excels_separator_line():
    layout, records, _, _ = _read("sep=;\r\nproduct_id;image\r\nA;1,5.jpg\r\n")
    assert (layout.columns, records) == (WANTED, {3: ["A", "1,5.jpg"]})


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_encodings_that_are_found(encoding):
    _, records, rejects, _ = _read("product_id,image\nA,Röcke/Ж.jpg\n".encode(encoding))
    assert records == {2: ["A", "Röcke/Ж.jpg"]}
    assert not rejects


@pytest.mark.parametrize(
    ("written", "setting"),
    [("cp1252", "cp1252"), ("cp1252", "Windows-1252"), ("utf-16", "utf-16"), ("utf-16-le", "utf-16"), ("shift_jis", "sjis"),
     ("utf-8-sig", "utf-8"), ("utf-8-sig", "utf-8-sig")],
)  # fmt: skip
def test_encodings_by_the_settings(written, setting):
    name = "表ソ.jpg" if written == "shift_jis" else "Röcke.jpg"
    assert _read(f"product_id,image\nA,{name}\n".encode(written), encoding=setting)[1] == {2: ["A", name]}


def test_bytes_that_are_not_in_the_encoding_are_set_aside_with_their_line():
    feed = "product_id,image\nA,1.jpg\nB,Röcke.jpg\nC,3.jpg\n".encode("cp1252")
    _, records, rejects, _ = _read(feed)
    assert list(records) == [2, 4]
    assert rejects == [(3, "B,R\\xf6cke.jpg", "byte 0xF6 is not utf-8: see catalogue.csv.encoding")]
    _, records, rejects, _ = _read(feed, encoding="ascii")
    assert _lines(rejects) == [3]


def test_a_header_that_is_not_in_the_encoding():
    with pytest.raises(ConfigError, match=r"line 1, the header, is not utf-8.*catalogue\.csv\.encoding"):
        _read("product_id,image,größe\n".encode("cp1252"))
    with pytest.raises(ConfigError, match="got 'utf-9'"):
        _read("product_id,image\n", encoding="utf-9")


def test_blanks_in_a_header_and_after_separators():
    layout, records, _, _ = _read('product_id, image ,\u200btitle\nA, "1, 2.jpg", x\n')
    assert layout.columns == ("product_id", "image", "title")
    assert records == {2: ["A", "1, 2.jpg", "x"]}


def test_blank_rows_are_counted():
    _, records, rejects, blank = _read("\n,,\nproduct_id,image\n\nA,1.jpg\n,\n , \n\n\n")
    assert (list(records), rejects, blank) == ([5], [], 5)


def test_files_that_only_spark_reaches():
    config = CatalogueConfig(table="hdfs://shop/feed.csv")
    contents = [b"\xef\xbb\xbfproduct_id;image\r\nA;1.jpg\n\nshort\n", b"product_id;image\nB;2.jpg"]
    paths = ["hdfs://shop/feed.csv/0.csv", "hdfs://shop/feed.csv/1.csv"]
    batch = pa.RecordBatch.from_arrays([pa.array(paths), pa.array(contents, pa.binary())], ["path", "content"])
    rows = [row for b in read_contents(config, ["product_id", "image"], iter([batch])) for row in b.to_pylist()]
    good = [(row["product_id"], row["image"], row[LINE], row[FILE]) for row in rows if row[REASON] is None]
    assert good == [("A", "1.jpg", 2, paths[0]), ("B", "2.jpg", 2, paths[1])]
    assert [(row[LINE], row[TEXT]) for row in rows if row[REASON] is not None] == [(4, "short"), (None, "1")]


def _random_feed(rng, n):
    """Lines of every kind, good and bad, that begin and end anywhere."""
    kinds = [
        "P{i},plain,{i}.jpg\n", 'P{i},"a, ""b""",{i}.jpg\r\n', 'P{i},"two\nlines, x\n\n",{i}.jpg\n', "\n", "P{i},short\n",
        'P{i},"open,{i}.jpg\n', 'P{i},"a" b,{i}.jpg\n', "P{i},größe,{i}.jpg\n", 'P{i},x "y",{i}.jpg\n', 'P{i},"a\nb",c,d\n',
    ]  # fmt: skip
    weights = np.array([20, 10, 10, 1, 1, 0.4, 0.4, 5, 2, 1])
    return "".join(kinds[k].format(i=i) for i, k in enumerate(rng.choice(len(kinds), n, p=weights / weights.sum())))


@pytest.mark.parametrize("seed", range(8))
def test_chunks_hold_what_one_reader_finds(seed, monkeypatch):
    monkeypatch.setattr(csv_chunks, "CHUNK", 1500)
    monkeypatch.setattr(csv_chunks, "_BLOCK", 512)
    monkeypatch.setattr(csv_chunks, "_STARTS", 3)  # now and then a chunk has to be read again from its true start
    monkeypatch.setattr(csv_records, "MAX_LINES", 25)
    data = ("product_id,title,image\n" + _random_feed(np.random.default_rng(seed), 600)).encode()
    dialect, body = Dialect(), len("product_id,title,image\n")

    def read(start, end, line):
        pages = list(read_pages(decoded(io.BytesIO(data), start, end, "utf-8"), dialect, 3, line))
        return (
            [record for page in pages for record in zip(page.lines, page.records, strict=True)],
            [(reject.line, reject.text) for page in pages for reject in page.rejects],
            sum(page.blank for page in pages),
        )

    stretches = csv_chunks.cuts(body, len(data))
    scans = [csv_chunks.scan(io.BytesIO(data), *s, dialect, 3, exact=s[0] == body) for s in stretches]
    rescans = []

    def rescan(start, stop):
        rescans.append(start)
        return csv_chunks.scan(io.BytesIO(data), start, stop, dialect, 3, exact=True)

    chunks = csv_chunks.chain("f", (body, 2), stretches, scans, rescan)
    assert len(chunks) > 5
    assert [chunk.start for chunk in chunks[1:]] == [chunk.end for chunk in chunks[:-1]]
    parts = [read(chunk.start, chunk.end, chunk.line) for chunk in chunks]
    records, rejects, blank = read(body, None, 2)
    assert [record for part in parts for record in part[0]] == records
    assert [reject for part in parts for reject in part[1]] == rejects
    assert sum(part[2] for part in parts) == blank
    assert records
    assert rejects
    text = data.decode().split("\n")  # and the numbers are those of the file's lines
    assert all(text[line - 1].startswith(cells[0]) for line, cells in records)
