"""The one error root of this package."""


class RulesError(Exception):
    """The root of this package's errors."""


class VocabularyError(RulesError):
    """The vocabulary itself is wrong: a name, a type, or a value that does not fit its type."""


class RuleError(RulesError):
    """An expression is wrong. ``line`` and ``column`` (from 1) say where, ``suggestion`` what may have been meant."""

    def __init__(self, message: str, line: int = 1, column: int = 1, suggestion: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.column = column
        self.suggestion = suggestion
