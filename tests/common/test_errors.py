"""What a user can mend is one message and exit code 2; anything else keeps its traceback."""

import errno
import os
import subprocess
import sys

import pytest

from megatron_snow.common.errors import UserError, exit_code_of, nearest


def raising(error: BaseException):
    def main() -> int:
        raise error

    return main


def test_user_error_is_one_line_and_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of(raising(UserError("a.yaml: model.x: 3 is odd; use 4"))) == 2
    assert capsys.readouterr().err == "error: a.yaml: model.x: 3 is odd; use 4\n"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.ENOENT, errno.EROFS])
def test_disk_errors_name_the_file_and_a_remedy(code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of(raising(OSError(code, os.strerror(code), "out/file.bin"))) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: out/file.bin: ")
    assert message.count("\n") == 1


def test_interrupt_is_130_and_says_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of(raising(KeyboardInterrupt())) == 130
    assert "run the same command again" in capsys.readouterr().err


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        exit_code_of(raising(ZeroDivisionError()))


def test_nearest() -> None:
    assert nearest("hiden_size", ["hidden_size", "seed"]) == "; did you mean hidden_size?"
    assert nearest("qqq", ["hidden_size"]) == ""


def test_a_full_disk_is_one_message() -> None:
    """/dev/full is a real device that has no space left."""
    code = (
        "from megatron_snow.common.errors import exit_code_of\nimport sys\n"
        "def main():\n    with open('/dev/full', 'w') as file: file.write('x' * 100_000)\nsys.exit(exit_code_of(main))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "no space left" in result.stderr
    assert "Traceback" not in result.stderr
