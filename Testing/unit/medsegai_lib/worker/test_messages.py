"""One JSON object per line, whatever the line end; everything else is refused."""

import json

import pytest

from MedSegAICore.errors import WorkerError
from MedSegAILib.worker.messages import decode, encode


def test_a_message_is_one_line_of_json_with_version_type_and_id():
    line = encode("segment", 7, path="海馬\nhippocampus")
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert json.loads(line.decode("utf-8")) == {
        "version": 1, "type": "segment", "id": 7, "path": "海馬\nhippocampus",
    }  # fmt: skip


@pytest.mark.parametrize(
    "text", ["海馬", "a b\tc", "line\r\nend\u2028\x85", "not text: \udce9", '"quoted" \\ path', "\0"]
)
def test_any_text_comes_back(text):
    assert decode(encode("load", 1, path=text))["path"] == text


def test_windows_line_ends_and_plain_utf8_are_read():
    line = '{"version": 1, "type": "load", "id": 1, "path": "C:\\\\海馬"}\r\n'.encode()
    assert decode(line)["path"] == "C:\\海馬"


@pytest.mark.parametrize(
    "line",
    [b"", b"\r\n", b"5\n", b"{}\n", b"null\n", b"[1]\n", b'{"type": "load"\n', b'{"type": 3, "version": 1}\n',
     b'{"type": "load", "id": 1}\n', b"\xff\xfe\n", b"Downloading: 5%\n", b"[" * 100_000],
)  # fmt: skip
def test_what_is_no_message_is_refused(line):
    with pytest.raises(WorkerError, match="is not a message, expected a JSON object"):
        decode(line)


def test_another_version_is_refused_with_both_numbers():
    with pytest.raises(WorkerError, match="has version 2, expected 1"):
        decode(b'{"version": 2, "type": "load", "id": 1}\n')


def test_content_that_json_has_no_notation_for_is_a_mistake_of_the_caller():
    with pytest.raises(TypeError):
        encode("load", 1, options={"device": object()})
