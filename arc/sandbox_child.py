"""The program that runs inside the sandbox; `arc.sandbox` sends its text to `python -c`.

It reads a job from standard input, the pair (source, inputs) as `marshal` writes it, and answers each input
with one line of ASCII: `+` and the output as Python shows it, or `-` and an error. The source can forge the
answers, so whoever reads them has to check them. All that is imported here is built into the interpreter or
frozen: a module read from a file makes the start of the sandbox slower, `json` alone doubles it.
"""

import marshal
import os
import sys

FILE = "<solution>"


def describe(error: BaseException) -> str:
    """Give an error's type, message and line in the source, in one line."""
    lines = [error.lineno] if isinstance(error, SyntaxError) and error.filename == FILE else []
    traceback = error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == FILE:
            lines.append(traceback.tb_lineno)
        traceback = traceback.tb_next
    message = " ".join(str(error.msg if isinstance(error, SyntaxError) else error).split())[:200]
    text = f"{type(error).__name__}: {message}" if message else type(error).__name__
    return f"{text}, line {lines[-1]}" if lines else text


def show(output: object) -> str:
    """Write an output in one line, its tuples as lists; a grid reads the same in JSON."""
    if isinstance(output, list | tuple):
        output = [list(row) if isinstance(row, tuple) else row for row in output]
    return " ".join(ascii(output).split())


def main() -> None:
    """Run the job. Never raises, whatever the source does short of ending the process."""
    source, inputs = marshal.loads(sys.stdin.buffer.read())
    # The answers keep a descriptor of their own; what the source prints goes where standard
    # error goes, to the null device.
    answers = os.fdopen(os.dup(1), "w", encoding="ascii", errors="backslashreplace")
    os.dup2(2, 1)

    def answer(line: str) -> None:
        answers.write(line + "\n")
        answers.flush()

    if inputs is None:
        # Only to be read: compiling runs nothing of a source, so many may share this process.
        for text in source:
            try:
                compile(text, FILE, "exec")
                answer("+")
            except BaseException as error:
                answer("-" + describe(error))
        return
    try:
        namespace: dict[str, object] = {"__name__": "solution"}
        exec(compile(source, FILE, "exec"), namespace)
        solve = namespace.get("solve")
        if not callable(solve):
            raise NameError("the source defines no function solve")
    except BaseException as error:
        answer("-" + describe(error))
        return
    for grid in inputs:
        try:
            line = "+" + show(solve(grid))
        except BaseException as error:
            line = "-" + describe(error)
        answer(line)


if __name__ == "__main__":
    main()
    # Without the shutdown of the interpreter, which would wait for threads the source started.
    os._exit(0)
