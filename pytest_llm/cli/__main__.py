"""``python -m pytest_llm.cli``: the command, by the interpreter that has it."""

from pytest_llm.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
