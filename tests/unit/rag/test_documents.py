"""Bytes to text to chunks: encodings, markup, and offsets that hold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragrid.services.rag.chunk import ChunkSize, Span, split
from ragrid.services.rag.parse import Upload, parse, parse_markdown
from ragrid.services.rag.parse_html import parse_html
from ragrid.web.problem import Problem


def _text(content: bytes, name: str = "a.txt", content_type: str = "") -> str:
    return parse(Upload(name, content, content_type)).parsed.text


@pytest.mark.parametrize(
    ("content", "name", "content_type", "encoding"),
    [
        ("Größe ☃".encode(), "a.txt", "", "utf-8"),
        ("\ufeffGröße ☃".encode(), "a.txt", "", "utf-8"),
        ("\ufeffGröße ☃".encode("utf-16-le"), "a.txt", "", "utf-16-le"),
        ("\ufeffGröße ☃".encode("utf-16-be"), "a.txt", "", "utf-16-be"),
        ("\ufeffGröße ☃".encode("utf-32-le"), "a.txt", "", "utf-32-le"),
        ("Größe ☃".encode("gb18030"), "a.txt", "text/plain; charset=gb18030", "gb18030"),
        ('<meta charset="koi8-r"><p>Привет'.encode("koi8-r"), "a.html", "", "koi8-r"),
        ("<meta charset=latin1><p>“Größe”".encode("cp1252"), "a.html", "", "cp1252"),
        ("<meta charset=nonsense><p>Größe".encode(), "a.html", "", "utf-8"),
        ("Größe".encode("cp1252"), "a.txt", "", "cp1252"),
    ],
)
def test_encodings_are_found(content: bytes, name: str, content_type: str, encoding: str) -> None:
    file = parse(Upload(name, content, content_type))
    assert file.encoding == encoding
    assert any(word in file.parsed.text for word in ("Größe", "Привет"))
    guessed = name == "a.txt" and encoding == "cp1252"
    assert file.parsed.notes == (("encoding-guessed",) if guessed else ())


def test_what_cannot_be_decoded_is_replaced_and_said() -> None:
    file = parse(Upload("a.txt", b"\xff\xfea\x00b\x00\x00\xd8", ""))
    assert file.parsed.text.startswith("ab")
    assert file.parsed.notes == ("undecodable-bytes-replaced",)


@pytest.mark.parametrize("magic", [b"%PDF-1.7", b"PK\x03\x04", b"\x1f\x8b\x08", b"\x89PNG\r\n", b"{\\rtf1", b"\x7fELF"])
def test_known_binary_formats_are_named(magic: bytes) -> None:
    with pytest.raises(Problem, match="convert it") as caught:
        _text(magic + b" and so on")
    assert caught.value.status == 415


@pytest.mark.parametrize(
    ("name", "content_type", "wanted"),
    [
        ("a.md", "", "text/markdown"),
        ("a.md", "text/plain", "text/markdown"),
        ("a.MD", "application/octet-stream", "text/markdown"),
        ("a.html", "", "text/html"),
        ("a", "text/html; charset=utf-8", "text/html"),
        ("a", "application/xhtml+xml", "text/html"),
        ("a.py", "text/x-python", "text/plain"),
        ("README", "", "text/plain"),
    ],
)
def test_the_kind_comes_from_header_and_name(name: str, content_type: str, wanted: str) -> None:
    assert parse(Upload(name, b"some words", content_type)).media_type == wanted


def test_html_keeps_what_a_reader_sees() -> None:
    page = parse_html("""<!doctype html><html><head><title>The  page</title><style>p{}</style></head><body>
      <nav>Home</nav><div role="navigation">Next</div><script>alert(1)</script>
      <h1>Title<a class="headerlink" href="#t">¶</a></h1><p>One <b>bold</b>,
      two.<br>Three &amp; &lt;four&gt;</p><ul><li>first</li><li>second</li></ul>
      <pre>  code
    stays</pre><table><tr><td>a</td><td>b</td></tr><tr><td>c</td><td>d</td></tr></table>
      <h2>Deeper</h2>tail<!-- not this --> text</body></html>""")
    assert page.title == "The page"
    assert page.text == (
        "Title\n\nOne bold, two.\nThree & <four>\n\n- first\n- second\n\n  code\n    stays\n\na | b\nc | d\n\n"
        "Deeper\n\ntail text"
    )
    assert [(page.text[h.start :][: len(h.title)], h.level) for h in page.headings] == [("Title", 1), ("Deeper", 2)]


def test_html_reads_the_marked_main_content_only() -> None:
    assert parse_html("<p>menu</p><main><p>text</p></main><p>foot</p>").text == "text"
    assert parse_html("<div role=main></div><p>text</p>").text == "text"


def test_html_in_an_xml_declaration_is_read() -> None:
    assert _text(b'<?xml version="1.0" encoding="utf-8"?><html><body><p>hello</p></body></html>', "a.xhtml") == "hello"


def test_markdown_loses_its_marks_and_keeps_its_words() -> None:
    page = parse_markdown(
        "# Title\n\nOne *bold* [link](http://x) and `code`\nmore.\n\n- first\n- second\n  still\n\n```\nx = 1\n```\n\n"
        "| a | b |\n|---|---|\n| c | d |\n\n<div>raw <i>html</i></div>\n\n## Next\n\n> quoted\n"
    )
    assert page.text == (
        "Title\n\nOne bold link and code more.\n\n- first\n- second still\n\nx = 1\n\na | b\nc | d\n\nraw html\n\nNext"
        "\n\nquoted"
    )
    assert page.title == "Title"
    assert page.context_at(len(page.text)) == "Title > Next"
    assert page.context_at(0) == "Title"


@given(
    st.text(alphabet=st.sampled_from("ab .?\n☃é"), max_size=600),
    st.integers(1, 30),
    st.integers(0, 15),
    st.lists(st.integers(0, 600), max_size=5),
)
def test_chunks_cover_every_word_in_order(text: str, words: int, overlap: int, breaks: list[int]) -> None:
    size = ChunkSize(words, min(overlap, words // 2))
    spans = split(text, size, breaks=breaks)
    covered: set[int] = set()
    for span in spans:
        piece = text[span.start : span.end]
        assert piece == piece.strip()
        assert 0 < len(piece.split()) <= words
        covered.update(range(span.start, span.end))
    assert all(position in covered for position, letter in enumerate(text) if not letter.isspace())
    assert [span.start for span in spans] == sorted({span.start for span in spans})
    assert [span.end for span in spans] == sorted({span.end for span in spans})


def test_chunks_end_with_sentences_and_repeat_whole_ones() -> None:
    text = " ".join(f"This is sentence number {number} here." for number in range(12))
    spans = split(text, ChunkSize(20, 8))
    pieces = [text[span.start : span.end] for span in spans]
    assert all(piece.startswith("This") and piece.endswith("here.") for piece in pieces)
    assert pieces[1].startswith("This is sentence number 2")


def test_a_text_without_spaces_is_cut_as_well() -> None:
    spans = split("x" * 10_000, ChunkSize(10, 2))
    assert max(span.end - span.start for span in spans) <= 100
    assert spans[0] == Span(0, 96)


@pytest.mark.parametrize(("words", "overlap"), [(0, 0), (10, 6), (10, -1)])
def test_an_overlap_of_more_than_half_is_refused(words: int, overlap: int) -> None:
    with pytest.raises(ValueError, match="overlap_words"):
        ChunkSize(words, overlap)
